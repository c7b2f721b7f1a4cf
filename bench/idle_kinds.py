#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""idle, for connections that are more than plain ones: over TLS, or with
permessage-deflate. Each sends a message, gets an answer, and is idle then. What
it weighs in the node's memory.

    idle_kinds.py LABEL PORT PID N tls CERTIFICATE
    idle_kinds.py LABEL PORT PID N deflate
"""

import json
import socket
import ssl
import struct
import sys
import time
import zlib

MASK = b"\0\0\0\0"
TEXT = b"\x81"
DEFLATED_TEXT = b"\xc1"
SETTLE_S = 1.0


def deflated(text):
    deflater = zlib.compressobj(wbits=-15)
    data = deflater.compress(text) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return data[:-4]


class Client:
    def __init__(self, port, number, kind, context):
        self.stream = socket.create_connection(("127.0.0.1", port))
        if kind == "tls":
            self.stream = context.wrap_socket(self.stream,
                                              server_hostname="localhost")
        self.kind = kind
        self.upgrade(number)

    def upgrade(self, number):
        offer = ("Sec-WebSocket-Extensions: permessage-deflate\r\n"
                 if self.kind == "deflate" else "")
        self.stream.sendall((
            f"GET /ws?user=u{number} HTTP/1.1\r\nHost: localhost\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
        ).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.receive()
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert self.kind != "deflate" or b"permessage-deflate" in head, head

    def receive(self):
        data = self.stream.recv(65536)
        assert data, "the node closed"
        return data

    def say(self, text):
        """Any answer will do."""
        head, body = ((DEFLATED_TEXT, deflated(text))
                      if self.kind == "deflate" else (TEXT, text))
        self.stream.sendall(head + struct.pack("!BH", 0xFE, len(body)) + MASK
                            + body)
        self.receive()


def memory_of(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * 4096


def main():
    label, port, pid, n, kind, *rest = sys.argv[1:]
    context = ssl.create_default_context(cafile=rest[0]) if rest else None
    n = int(n)
    # What is allocated once is there.
    warm = [Client(int(port), f"w{i}", kind, context) for i in range(20)]
    for client in warm:
        client.say(b"nobody " + b"hello " * 100)
    before = memory_of(pid)
    clients = [Client(int(port), i, kind, context) for i in range(n)]
    for client in clients:
        client.say(b"nobody " + b"hello " * 100)
    time.sleep(SETTLE_S)
    grown = memory_of(pid) - before
    print(json.dumps({"kind": "idle", "label": label, "open": len(clients),
                      "node_bytes_each": round(grown / n, 3)},
                     separators=(",", ":")))


if __name__ == "__main__":
    main()
