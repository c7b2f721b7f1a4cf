# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""The WebSocket protocol against a node that echoes (RFC 6455)."""

import struct

import pytest

from harness import clients, connect, on_loop, recv
from rawsocket import (BINARY, CLOSE, CONT, PING, PONG, TEXT, Frame, RawSocket,
                       close_frame, frame, open_raw)

MAX_MESSAGE = 70_000


@pytest.fixture
def node(cluster):
    return cluster.node(None, "--mode", "echo",
                        "--max-message", str(MAX_MESSAGE))


@pytest.fixture
def raw(node):
    with open_raw(node) as raw:
        yield raw


@on_loop
async def test_echo(node):
    async with connect(node.url("alice")) as ws:
        for message in ("", "a", "é" * 100, "x" * MAX_MESSAGE, b"", b"\0\xff",
                        bytes(MAX_MESSAGE)):
            await ws.send(message)
            assert await recv(ws) == message


@on_loop
async def test_echo_on_both_paths(node):
    async with clients(node.url("a", path="/"),
                       node.url("b", path="/ws")) as both:
        for ws in both:
            await ws.send("here")
            assert await recv(ws) == "here"


@on_loop
async def test_echo_of_fragments_by_a_client(node):
    async with connect(node.url("alice")) as ws:
        await ws.send(["in ", "three ", "pieces"])
        assert await recv(ws) == "in three pieces"
        await ws.send([b"\x01", b"", b"\x02"])
        assert await recv(ws) == b"\x01\x02"


@on_loop
async def test_pings_by_a_client(node):
    async with connect(node.url("alice")) as ws:
        await (await ws.ping(b"payload"))


# Raw: messages. ------------------------------------------------------------


def test_byte_by_byte(raw):
    data = frame(TEXT, "zwölf".encode()) + frame(PING, b"p") + \
        frame(BINARY, b"\xff")
    for i in range(len(data)):
        raw.send(data[i:i + 1])
    # A pong may overtake a message.
    got = [raw.recv() for _ in range(3)]
    assert [f for f in got if f.opcode != PONG] == [
        Frame(TEXT, True, "zwölf".encode()), Frame(BINARY, True, b"\xff")]
    assert Frame(PONG, True, b"p") in got


def test_many_frames_in_one_packet(raw):
    raw.send(b"".join(frame(TEXT, b"%d" % i) for i in range(1000)))
    for i in range(1000):
        assert raw.recv() == Frame(TEXT, True, b"%d" % i)


def test_frame_behind_the_request_in_one_packet(node):
    with RawSocket(node) as raw:
        raw.send(raw.request() + frame(TEXT, b"early"))
        assert raw.response_head()[0] == 101
        assert raw.recv() == Frame(TEXT, True, b"early")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536,
                                  MAX_MESSAGE])
def test_lengths(raw, size):
    raw.send(frame(BINARY, b"s" * size))
    assert raw.recv() == Frame(BINARY, True, b"s" * size)


def test_fragments_with_control_frames_between(raw):
    raw.send(frame(TEXT, b"one ", fin=False))
    raw.send(frame(PING, b"1"))
    assert raw.recv() == Frame(PONG, True, b"1")
    raw.send(frame(CONT, b"", fin=False) + frame(PONG, b"unasked"))
    raw.send(frame(CONT, b"two", fin=False) + frame(PING, b"2"))
    assert raw.recv() == Frame(PONG, True, b"2")
    raw.send(frame(CONT, b""))
    assert raw.recv() == Frame(TEXT, True, b"one two")


def test_character_cut_by_fragments(raw):
    owl = "🦉".encode()
    raw.send(b"".join(frame(CONT if i else TEXT, owl[i:i + 1], fin=i == 3)
                      for i in range(4)))
    assert raw.recv() == Frame(TEXT, True, owl)


def test_ping_payloads(raw):
    for payload in (b"", b"x" * 125, b"\xff\0"):
        raw.send(frame(PING, payload))
        assert raw.recv() == Frame(PONG, True, payload)


# Raw: the end. -------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 3000, 4999])
def test_close_is_answered_with_its_code(raw, code):
    raw.send(close_frame(code, b"bye"))
    answer = raw.recv()
    assert answer.opcode == CLOSE and answer.code == code
    assert raw.ended()


def test_close_without_code(raw):
    raw.send(frame(CLOSE))
    assert raw.recv() == Frame(CLOSE, True, b"")
    assert raw.ended()


def test_what_comes_before_a_close_is_answered_before_it(raw):
    raw.send(frame(TEXT, b"last words") + close_frame(1000))
    assert raw.recv() == Frame(TEXT, True, b"last words")
    assert raw.recv().code == 1000
    assert raw.ended()


def test_what_comes_behind_a_close_is_ignored(raw):
    raw.send(close_frame(1000) + frame(TEXT, b"too late"))
    assert raw.recv().code == 1000
    assert raw.ended()


VIOLATIONS = {
    "unmasked": (frame(TEXT, b"x", masked=False), 1002),
    "unmasked and empty": (frame(TEXT, masked=False), 1002),
    "reserved bit 1": (frame(TEXT, b"x", rsv=4), 1002),
    "reserved bit 3": (frame(PING, rsv=1), 1002),
    "opcode 3": (frame(3, b"x"), 1002),
    "opcode 11": (frame(11), 1002),
    "continuation of nothing": (frame(CONT, b"x"), 1002),
    "new message inside a message":
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "long close": (close_frame(1000, b"x" * 124), 1002),
    "length not minimal, 16 bits":
        (frame(TEXT, b"x", length=(126, b"\0\1")), 1002),
    "length not minimal, 64 bits":
        (frame(TEXT, b"x", length=(127, bytes(7) + b"\1")), 1002),
    "length with its highest bit":
        (frame(TEXT, b"", length=(127, b"\x80" + bytes(7))), 1002),
    "close with one byte": (frame(CLOSE, b"\x03"), 1002),
    "close 999": (close_frame(999), 1002),
    "close 1004": (close_frame(1004), 1002),
    "close 1005": (close_frame(1005), 1002),
    "close 1006": (close_frame(1006), 1002),
    "close 1015": (close_frame(1015), 1002),
    "close 2999": (close_frame(2999), 1002),
    "close 5000": (close_frame(5000), 1002),
    "close with a bad reason": (close_frame(1000, b"\xff"), 1007),
    "text not UTF-8": (frame(TEXT, b"a\xffb"), 1007),
    "text that ends inside a character": (frame(TEXT, b"\xe2\x82"), 1007),
    "surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "overlong": (frame(TEXT, b"\xc0\xaf"), 1007),
    "above the last character": (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    "bad text in a second fragment":
        (frame(TEXT, b"\xe2", fin=False) + frame(CONT, b"x"), 1007),
    "too long": (frame(BINARY, b"x" * (MAX_MESSAGE + 1)), 1009),
    "too long in pieces":
        (frame(BINARY, b"x" * MAX_MESSAGE, fin=False) +
         frame(CONT, b"x" * 2), 1009),
    "announced as huge":
        (frame(BINARY, b"x", length=(127, b"\x7f" + b"\xff" * 7)), 1009),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations_are_closed_with_a_code(node, raw, name):
    data, code = VIOLATIONS[name]
    raw.send(data)
    answer = raw.recv()
    assert answer.opcode == CLOSE and answer.code == code
    with open_raw(node, "other") as other:
        other.send(frame(TEXT, b"the node goes on"))
        assert other.recv().payload == b"the node goes on"


def test_garbage_instead_of_frames(node):
    for seed in range(50):
        with open_raw(node) as raw:
            word = seed * 0x9E3779B97F4A7C15 & (1 << 64) - 1
            raw.send(struct.pack(">Q", word) * 20)
    with open_raw(node) as raw:
        raw.send(frame(TEXT, b"still there"))
        assert raw.recv().payload == b"still there"


def test_half_closed_client_still_gets_its_answer(raw):
    raw.send(frame(TEXT, b"question") + close_frame(1000))
    raw.socket.shutdown(1)
    assert raw.recv().payload == b"question"
