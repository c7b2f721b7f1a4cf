# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""A WebSocket client on a bare socket: it sends whatever it is told to, also
what no decent client would, cut as it is told to, and shows every frame that
comes. To a node with a certificate it speaks TLS."""

import base64
import os
import socket
import ssl
import struct
from typing import NamedTuple

from harness import PATIENCE

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Frame(NamedTuple):
    opcode: int
    fin: bool
    payload: bytes
    rsv: int = 0

    @property
    def code(self):
        """Of a close frame; None if it has none."""
        if len(self.payload) < 2:
            return None
        return struct.unpack(">H", self.payload[:2])[0]


def frame(opcode, payload=b"", fin=True, masked=True, rsv=0, length=None):
    """The bytes of one frame. `length` may lie: a number, or its raw bytes
    behind the second byte's (7 bits, bytes) pair."""
    first = bytes([opcode | (0x80 if fin else 0) | rsv << 4])
    n = len(payload) if length is None else length
    mask_bit = 0x80 if masked else 0
    if isinstance(n, tuple):
        head = bytes([n[0] | mask_bit]) + n[1]
    elif n < 126:
        head = bytes([n | mask_bit])
    elif n < 65536:
        head = bytes([126 | mask_bit]) + struct.pack(">H", n)
    else:
        head = bytes([127 | mask_bit]) + struct.pack(">Q", n)
    if not masked:
        return first + head + payload
    mask = b"\x5a\x0f\xc3\x71"
    repeated = mask * (len(payload) // 4 + 1)
    body = (int.from_bytes(payload, "big") ^
            int.from_bytes(repeated[:len(payload)], "big"))
    return first + head + mask + body.to_bytes(len(payload), "big")


def close_frame(code, reason=b""):
    return frame(CLOSE, struct.pack(">H", code) + reason)


def request(target="/ws?user=raw", method="GET", version="HTTP/1.1",
            drop=(), add=(), **headers):
    """The bytes of an upgrade request. Headers by name with _ for -, to
    replace; `drop`: left out; `add`: raw lines more."""
    fields = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
    }
    fields.update({k.replace("_", "-"): v for k, v in headers.items()})
    lines = [f"{method} {target} {version}"]
    lines += [f"{k}: {v}" for k, v in fields.items() if k not in drop]
    lines += add
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def reset(tcp):
    """Close it by a RST."""
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    tcp.close()


class TlsStream:
    """A client's TLS over a connected socket, with a hold on how its records
    are cut."""

    def __init__(self, plain, context, cut=None):
        self.plain = plain
        self.cut = cut  # bytes of a TCP segment; None: as it comes
        self.received, self.to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.received, self.to_send,
                                    server_hostname="localhost")
        self.until_done(self.tls.do_handshake)
        self.flush()

    def until_done(self, step, *args):
        while True:
            try:
                return step(*args)
            except ssl.SSLWantReadError:
                self.flush()
                data = self.plain.recv(1 << 16)
                if data:
                    self.received.write(data)
                else:
                    self.received.write_eof()  # SSLEOFError is next

    def flush(self):
        data = self.to_send.read()
        step = self.cut or len(data) or 1
        for i in range(0, len(data), step):
            self.plain.sendall(data[i:i + step])

    def sendall(self, data):
        self.tls.write(data)
        self.flush()

    def recv(self, n):
        """b"" if close_notify came; an end without it is an error."""
        try:
            return self.until_done(self.tls.read, n)
        except ssl.SSLZeroReturnError:
            return b""

    def close_notify(self):
        """Say that nothing more comes."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.flush()


class RawSocket:
    """One connection to a node. `cut`: of a TLS record that is sent in TCP
    segments."""

    def __init__(self, node, receive_buffer=None, cut=None):
        self.node = node
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                   receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", node.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket
        if node.tls is not None:
            self.stream = TlsStream(self.socket, node.tls, cut)
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data, piece=None):
        """In pieces of so many bytes, each a write of its own."""
        step = piece or len(data) or 1
        for i in range(0, len(data), step):
            self.stream.sendall(data[i:i + step])

    def end_sending(self):
        """Close our half."""
        if self.stream is not self.socket:
            self.stream.close_notify()
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        """Vanish: the peer gets a RST."""
        reset(self.socket)

    # HTTP.

    def request(self, *args, **options):
        """request() for this node."""
        options.setdefault("Host", self.node.address)
        return request(*args, **options)

    def response_head(self):
        """(status, headers in lower case) of the next response."""
        while b"\r\n\r\n" not in self.pending:
            data = self.stream.recv(65536)
            if not data:
                raise EOFError(self.pending)
            self.pending += data
        head, self.pending = self.pending.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, value = line.split(": ", 1)
            name = name.lower()
            headers[name] = ", ".join(
                [headers[name], value] if name in headers else [value])
        return int(first.split()[1]), headers

    def ask(self, data):
        """Send a request; the status of its response."""
        self.send(data)
        return self.response_head()[0]

    def open(self, user="raw"):
        assert self.ask(self.request(f"/ws?user={user}")) == 101
        return self

    # WebSocket.

    def recv_exactly(self, n):
        while len(self.pending) < n:
            data = self.stream.recv(1 << 20)
            if not data:
                raise EOFError(self.pending)
            self.pending += data
        data, self.pending = self.pending[:n], self.pending[n:]
        return data

    def recv(self):
        """The next frame; EOFError at the end."""
        first, second = self.recv_exactly(2)
        assert not second & 0x80, "a server doesn't mask"
        n = second & 0x7F
        if n == 126:
            n, = struct.unpack(">H", self.recv_exactly(2))
        elif n == 127:
            n, = struct.unpack(">Q", self.recv_exactly(8))
        return Frame(first & 0x0F, bool(first & 0x80), self.recv_exactly(n),
                     first >> 4 & 7)

    def ended(self):
        """Is the connection at its end, by a FIN behind all that was sent (and
        behind close_notify)? We may still send then: the node closes first."""
        if self.pending != b"" or self.stream.recv(1) != b"":
            return False
        return self.stream is self.socket or self.socket.recv(1) == b""


def open_raw(node, user="raw", **options):
    return RawSocket(node, **options).open(user)
