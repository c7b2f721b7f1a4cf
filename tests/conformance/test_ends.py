# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""RFC 6455 section 7.1: how connections end, well or not, in every state, and
that nothing stays behind; time limits; peers that close one half."""

import socket
import time
from typing import NamedTuple

import pytest

from harness import eventually
from rawsocket import (BINARY, PING, TEXT, RawSocket, close_frame, frame,
                       open_raw, request)
from rows import parametrize, still_answers


def nothing_left(node):
    return (node.n_files() <= node.files_at_rest
            and node.metrics()["clusterpush_connections"] == 0)


class Stage(NamedTuple):
    section: str
    name: str
    is_open: bool
    sent: bytes


HEAD = request()
HELLO = frame(TEXT, b"Hello")

STAGES = [
    Stage("4.2", "before a byte", False, b""),
    Stage("4.2", "in the request line", False, HEAD[:9]),
    Stage("4.2", "between CR and LF", False, HEAD[:HEAD.index(b"\n")]),
    Stage("4.2", "in a header", False, HEAD[:60]),
    Stage("4.2", "before the last LF", False, HEAD[:-1]),
    Stage("4.2", "behind the head", False, HEAD),
    Stage("4.2", "behind a bad head", False, b"\0"),
    Stage("4.2", "in an early frame", False, HEAD + HELLO[:-1]),
    Stage("5.2", "at rest", True, b""),
    Stage("5.2", "behind a frame's first byte", True, HELLO[:1]),
    Stage("5.2", "behind a frame's head", True, HELLO[:6]),
    Stage("5.2", "in a payload", True, HELLO[:-1]),
    Stage("5.2", "in a long payload", True, frame(BINARY, bytes(60_000))[:-1]),
    Stage("5.2", "behind a message", True, HELLO * 50),
    Stage("5.4", "between fragments", True, frame(TEXT, b"a", fin=False)),
    Stage("5.5", "behind pings", True, frame(PING, b"p") * 50),
    Stage("5.5.1", "in a close frame", True, close_frame(1000)[:-1]),
    Stage("5.5.1", "behind a close frame", True, close_frame(1000)),
    Stage("7.1.7", "behind a violation", True, frame(3)),
    Stage("7.1.7", "behind a violation and more", True,
          frame(3) + HELLO * 1000),
]


def reach(node, stage):
    raw = RawSocket(node)
    if stage.is_open:
        raw.open()
    raw.send(stage.sent)
    return raw


@parametrize(STAGES)
def test_reset(node, row):
    for _ in range(5):
        reach(node, row).reset()
    eventually(lambda: nothing_left(node))


@parametrize(STAGES)
def test_vanished(node, row):
    """A FIN, and a RST for whatever the node still sends; over TLS without
    close_notify."""
    for _ in range(5):
        reach(node, row).socket.close()
    eventually(lambda: nothing_left(node))


def read_to_the_end(raw):
    """All that comes; over TLS the end without close_notify is one, too."""
    data = raw.pending
    try:
        while more := raw.stream.recv(65536):
            data += more
    except (ConnectionResetError, OSError):
        pass
    return data


@parametrize(STAGES)
def test_half_closed(node, row):
    """The node ends what the peer has half ended, at once: it doesn't wait for
    a time limit, nor for the other half."""
    with reach(node, row) as raw:
        raw.end_sending()
        read_to_the_end(raw)
        eventually(lambda: nothing_left(node))


@pytest.mark.parametrize("sent, status", [
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200), (b"G\0", 400),
    (request("/ws"), 401), (request(drop=["Host"]), 400)],
    ids=["plain", "no HTTP", "refused", "bad"])
def test_half_closed_behind_a_request(node, sent, status):
    """... which is answered all the same."""
    with RawSocket(node) as raw:
        raw.send(sent)
        raw.end_sending()
        got, headers = raw.response_head()
        assert got == status
        raw.recv_exactly(int(headers["content-length"]))
        assert raw.ended()


def test_half_closed_behind_a_close(node):
    with open_raw(node) as raw:
        raw.send(HELLO + close_frame(1000))
        raw.end_sending()
        assert raw.recv().payload == b"Hello"
        assert raw.recv().code == 1000
        assert raw.ended()


# Peers that leave the end to us. -------------------------------------------


def test_peer_that_never_answers_a_close(node):
    """The node's FIN came, ours never does: its socket is gone in time."""
    with open_raw(node) as failed, open_raw(node) as closed:
        failed.send(frame(3))
        closed.send(close_frame(1000))
        for raw, code in ((failed, 1002), (closed, 1000)):
            assert raw.recv().code == code
            assert raw.ended()
        eventually(lambda: nothing_left(node))


def test_peer_that_never_reads_its_close(node):
    """Nor what comes before: what waits for it is dropped in time."""
    with RawSocket(node, receive_buffer=4096) as raw:
        raw.open()
        raw.socket.settimeout(1)
        try:
            for _ in range(300):
                raw.send(frame(BINARY, bytes(65536)))
        except OSError:  # it takes no more, or is closed with 1013
            pass
        try:
            raw.send(close_frame(1000))
        except OSError:
            pass
        eventually(lambda: nothing_left(node))


def test_peer_that_sends_on_behind_its_end(node):
    """Until the node has enough of it, and does not read without end."""
    with open_raw(node) as raw:
        raw.send(close_frame(1000))
        assert raw.recv().code == 1000
        assert raw.ended()
        deadline = time.monotonic() + 60
        with pytest.raises(OSError):
            while time.monotonic() < deadline:
                raw.socket.sendall(bytes(1000))
                time.sleep(0.01)
        eventually(lambda: nothing_left(node))


# Time limits. --------------------------------------------------------------

SLOW = {
    "nothing": b"",
    "a byte": b"G",
    "an empty line": b"\r\n",
    "half a request line": b"GET /ws?user",
    "all but the last byte": HEAD[:-1],
}


def test_slow_heads(node):
    """408, also for one who sends a byte now and then. (Over TLS the handshake
    is done.)"""
    slow = {name: RawSocket(node) for name in SLOW}
    for name, raw in slow.items():
        raw.send(SLOW[name])
    trickle = slow["trickle"] = RawSocket(node)
    deadline = time.monotonic() + 60
    trickle.socket.settimeout(0.1)
    while time.monotonic() < deadline:
        trickle.stream.sendall(b"G")
        try:
            trickle.pending = trickle.stream.recv(65536)
            break
        except TimeoutError:
            pass
    for name, raw in slow.items():
        raw.socket.settimeout(60)
        status, headers = raw.response_head()
        assert status == 408, name
        raw.recv_exactly(int(headers["content-length"]))
        assert raw.ended(), name
        raw.socket.close()
    with open_raw(node) as raw:
        still_answers(raw)


@pytest.mark.parametrize("scheme", ["wss"], indirect=True)
def test_slow_tls(node):
    """Nobody may take longer for a TLS handshake, and there is nothing to say
    to who does."""
    hello = bytes.fromhex("1603010200010001fc0303")
    slow = []
    for sent in (b"", hello[:1], hello, hello + bytes(400)):
        slow.append(socket.create_connection(("127.0.0.1", node.port), 60))
        slow[-1].sendall(sent)
    for one in slow:
        try:
            assert one.recv(1000) == b""
        except ConnectionResetError:
            pass
        one.close()
    eventually(lambda: nothing_left(node))
