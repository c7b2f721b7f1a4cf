# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""RFC 6455 sections 5, 7 and 8: what frames bring about."""

import struct
from random import Random
from typing import NamedTuple

from rawsocket import (BINARY, CLOSE, CONT, PING, PONG, TEXT, Frame,
                       close_frame, frame, open_raw)
from rows import MAX_MESSAGE, each_cut, parametrize, still_answers

OWL = "🦉".encode()
HUGE = (1 << 63) - 1


def text(payload=b""):
    return Frame(TEXT, True, payload)


def binary(payload=b""):
    return Frame(BINARY, True, payload)


def pong(payload=b""):
    return Frame(PONG, True, payload)


class Row(NamedTuple):
    section: str
    name: str
    sent: bytes
    # Messages and pongs; a pong may overtake messages.
    got: tuple = ()
    # The node's close frame: its code, or b"" for one without. None: the
    # connection goes on.
    close: object = None


def bad(section, name, *frames, code=1002, got=()):
    return Row(section, name, b"".join(frames), got, code)


def head(opcode, claim, **options):
    """The head of a frame of which no payload comes."""
    return frame(opcode, length=claim, **options)


def in_16_bits(n):
    return 126, struct.pack(">H", n)


def in_64_bits(n):
    return 127, struct.pack(">Q", n)


def fragments(opcode, *pieces):
    return b"".join(
        frame(CONT if i else opcode, piece, fin=i == len(pieces) - 1)
        for i, piece in enumerate(pieces))


def in_bytes(payload):
    """A text in fragments of a byte."""
    return fragments(TEXT, *(payload[i:i + 1] for i in range(len(payload))))


MESSAGES = [
    Row("5.2", f"length {n}", frame(BINARY, b"s" * n), (binary(b"s" * n),))
    for n in (0, 1, 125, 126, 127, 128, 65535, 65536, MAX_MESSAGE)
] + [
    Row("5.2", "empty text", frame(TEXT), (text(),)),
    Row("5.3", "mask of zeros",
        b"\x81\x83" + bytes(4) + b"abc", (text(b"abc"),)),
    Row("5.3", "mask of ones",
        b"\x81\x83" + b"\xff" * 4 + b"\x9e\x9d\x9c", (text(b"abc"),)),
    Row("5.3", "mask goes on over its four bytes",
        frame(TEXT, b"abcdefghijk"), (text(b"abcdefghijk"),)),
    Row("5.4", "two fragments", fragments(TEXT, b"Hel", b"lo"),
        (text(b"Hello"),)),
    Row("5.4", "a hundred fragments", fragments(BINARY, *[b"\x01\x02"] * 100),
        (binary(b"\x01\x02" * 100),)),
    Row("5.4", "empty fragments alone", fragments(TEXT, b"", b"", b""),
        (text(),)),
    Row("5.4", "an empty first fragment", fragments(TEXT, b"", b"a"),
        (text(b"a"),)),
    Row("5.4", "an empty fragment in the middle",
        fragments(BINARY, b"a", b"", b"b"), (binary(b"ab"),)),
    Row("5.4", "an empty last fragment", fragments(TEXT, b"a", b""),
        (text(b"a"),)),
    Row("5.4", "fragments as long as may be",
        fragments(BINARY, *[b"f" * (MAX_MESSAGE // 4)] * 4),
        (binary(b"f" * MAX_MESSAGE),)),
    Row("5.4", "control frames between fragments",
        frame(TEXT, b"a", fin=False) + frame(PING, b"1") +
        frame(CONT, b"b", fin=False) + frame(PONG, b"unasked") +
        frame(PING, b"2") + frame(CONT, b"c"),
        (pong(b"1"), pong(b"2"), text(b"abc"))),
    Row("5.4", "messages one behind the other",
        fragments(TEXT, b"a", b"b") + frame(BINARY, b"c") +
        fragments(BINARY, b"d", b"e") + frame(TEXT),
        (text(b"ab"), binary(b"c"), binary(b"de"), text())),
    Row("5.5.2", "ping", frame(PING), (pong(),)),
    Row("5.5.2", "ping of 125 bytes", frame(PING, b"\xff" * 125),
        (pong(b"\xff" * 125),)),
    Row("5.5.2", "ping that is no text", frame(PING, b"\0\xff\xfe"),
        (pong(b"\0\xff\xfe"),)),
    Row("5.5.2", "ten pings",
        b"".join(frame(PING, b"%d" % i) for i in range(10)),
        tuple(pong(b"%d" % i) for i in range(10))),
    Row("5.5.3", "pongs that nobody asked for",
        frame(PONG) + frame(PONG, b"x" * 125)),
    Row("5.6", "binary need not be text", frame(BINARY, b"\xff\xfe\x80\0"),
        (binary(b"\xff\xfe\x80\0"),)),
    Row("5.6", "text with NUL", frame(TEXT, b"a\0b"), (text(b"a\0b"),)),
    Row("8.1", "a character in fragments of a byte", in_bytes(OWL),
        (text(OWL),)),
    Row("8.1", "... with a ping in it",
        frame(TEXT, OWL[:2], fin=False) + frame(PING) + frame(CONT, OWL[2:]),
        (pong(), text(OWL))),
    Row("8.1", "... with an empty fragment in it",
        fragments(TEXT, OWL[:1], b"", OWL[1:]), (text(OWL),)),
]

# The borders of RFC 3629's table.
GOOD_TEXTS = [
    "\x00", "\x7f", "\x80", "\u07ff", "\u0800", "\u0fff", "\u1000", "\ucfff",
    "\ud000", "\ud7ff", "\ue000", "\ufeff", "\ufffd", "\ufffe", "\uffff",
    "\U00010000", "\U0003ffff", "\U00040000", "\U000fffff", "\U00100000",
    "\U0010ffff", "\u0301\u0301", "κόσμε"]

BAD_TEXTS = {
    "a continuation alone": b"\x80",
    "ten of them": b"\xbf" * 10,
    "overlong in 2 bytes": b"\xc0\xaf",
    "C1": b"\xc1\xbf",
    "overlong in 3 bytes": b"\xe0\x9f\xbf",
    "overlong in 4 bytes": b"\xf0\x8f\xbf\xbf",
    "overlong NUL": b"\xc0\x80",
    "the first surrogate": b"\xed\xa0\x80",
    "the last surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "F5": b"\xf5\x80\x80\x80",
    "5 bytes": b"\xf8\x88\x80\x80\x80",
    "6 bytes": b"\xfc\x84\x80\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "cut by ASCII": b"\xe2\x82a",
    "cut by the next character": b"\xe2\x82\xe2\x82\xac",
    "2 bytes, cut by the end": b"\xc3",
    "3 bytes, cut by the end": b"\xe2\x82",
    "4 bytes, cut by the end": b"\xf0\x9f\xa6",
}

TEXTS = [
    Row("8.1", f"{ascii(one)}", frame(TEXT, one.encode()) +
        in_bytes(one.encode()), (text(one.encode()),) * 2)
    for one in GOOD_TEXTS
] + [
    bad("8.1", name, frame(TEXT, b"ok " + data), code=1007)
    for name, data in BAD_TEXTS.items()
] + [
    bad("8.1", f"{name}, in fragments", in_bytes(b"ok " + data), code=1007)
    for name, data in BAD_TEXTS.items()
] + [
    bad("8.1", "fail fast: inside a frame",
        frame(TEXT, b"ab\xff", length=100), code=1007),
    bad("8.1", "fail fast: inside a message",
        frame(TEXT, b"\xed", fin=False) + frame(CONT, b"\xa0", fin=False),
        code=1007),
    bad("8.1", "fail fast: in a character",
        frame(TEXT, b"\xf4\x90", length=4), code=1007),
    bad("8.1", "a good message before it",
        frame(TEXT, b"good") + frame(TEXT, b"\xff"), got=(text(b"good"),),
        code=1007),
]

VIOLATIONS = [
    bad("5.1", "no mask", frame(TEXT, b"x", masked=False)),
    bad("5.1", "no mask, empty", frame(TEXT, masked=False)),
    bad("5.1", "no mask, head alone", head(TEXT, 5, masked=False)),
    bad("5.1", "no mask, long head alone", head(BINARY, 70000, masked=False)),
    bad("5.1", "no mask, ping", frame(PING, masked=False)),
    bad("5.1", "no mask, close", frame(CLOSE, b"\x03\xe8", masked=False)),
] + [
    bad("5.2", f"reserved bits {bits:03b} of {name}",
        frame(opcode, b"x" * (opcode != CLOSE), rsv=bits))
    for bits in range(1, 8)
    for name, opcode in (("text", TEXT), ("binary", BINARY), ("ping", PING),
                         ("pong", PONG), ("close", CLOSE))
] + [
    bad("5.2", "reserved bits of a continuation",
        frame(TEXT, b"a", fin=False) + frame(CONT, b"b", rsv=4)),
    bad("5.2", "reserved bit, head alone", head(TEXT, 9, rsv=2)),
] + [
    bad("5.2", f"opcode {opcode}", frame(opcode, b"x"))
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
] + [
    bad("5.2", f"opcode {opcode}, head alone", head(opcode, 2))
    for opcode in (3, 11)
] + [
    bad("5.2", "an unknown opcode between fragments",
        frame(TEXT, b"a", fin=False) + frame(3)),
    bad("5.2", "16 bits for 0", frame(TEXT, b"", length=in_16_bits(0))),
    bad("5.2", "16 bits for 1", frame(TEXT, b"x", length=in_16_bits(1))),
    bad("5.2", "16 bits for 125",
        frame(TEXT, b"x" * 125, length=in_16_bits(125))),
    bad("5.2", "64 bits for 1", frame(TEXT, b"x", length=in_64_bits(1))),
    bad("5.2", "64 bits for 126",
        frame(TEXT, b"x" * 126, length=in_64_bits(126))),
    bad("5.2", "64 bits for 65535", head(BINARY, in_64_bits(65535))),
    bad("5.2", "the highest of 64 bits",
        head(BINARY, (127, b"\x80" + bytes(7)))),
    bad("5.2", "all of 64 bits", head(BINARY, (127, b"\xff" * 8))),
    bad("5.4", "continuation of nothing", frame(CONT, b"x")),
    bad("5.4", "empty continuation of nothing", frame(CONT)),
    bad("5.4", "continuation of nothing that goes on",
        frame(CONT, b"x", fin=False)),
    bad("5.4", "continuation behind a message",
        frame(TEXT, b"x") + frame(CONT, b"y"), got=(text(b"x"),)),
    bad("5.4", "continuation behind a fragmented message",
        fragments(TEXT, b"x", b"y") + frame(CONT), got=(text(b"xy"),)),
    bad("5.4", "continuation, head alone", head(CONT, 10)),
    bad("5.4", "a message inside a message",
        frame(TEXT, b"a", fin=False) + frame(TEXT, b"b")),
    bad("5.4", "a binary inside a text",
        frame(TEXT, b"a", fin=False) + frame(BINARY, b"b", fin=False)),
    bad("5.4", "... head alone",
        frame(TEXT, b"a", fin=False) + head(TEXT, 7)),
    bad("5.5", "fragmented ping", frame(PING, b"x", fin=False)),
    bad("5.5", "fragmented pong", frame(PONG, fin=False)),
    bad("5.5", "fragmented close", frame(CLOSE, b"\x03\xe8", fin=False)),
    bad("5.5", "ping of 126 bytes", frame(PING, b"x" * 126)),
    bad("5.5", "pong of 126 bytes", frame(PONG, b"x" * 126)),
    bad("5.5", "close of 126 bytes", close_frame(1000, b"x" * 124)),
    bad("5.5", "ping of 126 bytes, head alone", head(PING, 126)),
    bad("5.5", "ping with a long length", frame(PING, length=in_16_bits(3))),
    bad("5.5", "close of 2^62 bytes", head(CLOSE, 1 << 62)),
]

TOO_BIG = [
    bad("10.4", name, *frames, code=1009) for name, *frames in (
        ("a byte too long", frame(BINARY, b"x" * (MAX_MESSAGE + 1))),
        ("a byte too long, head alone", head(BINARY, MAX_MESSAGE + 1)),
        ("2^32 bytes", head(BINARY, 1 << 32)),
        ("2^62 bytes", head(TEXT, 1 << 62)),
        ("2^62 bytes, and the first", frame(TEXT, b"x", length=1 << 62)),
        ("2^63 - 1 bytes", head(BINARY, HUGE)),
        ("too long in fragments",
         frame(BINARY, b"x" * MAX_MESSAGE, fin=False),
         frame(CONT, b"", fin=False), frame(CONT, b"x")),
        ("a fragment that will be too long",
         frame(TEXT, b"x", fin=False), head(CONT, MAX_MESSAGE)),
        ("a fragment of 2^63 - 1 bytes",
         frame(TEXT, b"x", fin=False), head(CONT, HUGE)),
    )
]

LEGAL_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012,
               1013, 1014, 3000, 3999, 4000, 4999]
ILLEGAL_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999,
                 5000, 65535]

CLOSES = [
    Row("7.4", f"close {code}", close_frame(code), (), code)
    for code in LEGAL_CODES
] + [
    bad("7.4", f"close {code}", close_frame(code)) for code in ILLEGAL_CODES
] + [
    Row("5.5.1", "close without a code", frame(CLOSE), (), b""),
    Row("5.5.1", "close with a reason", close_frame(1000, b"bye"), (), 1000),
    Row("5.5.1", "the longest reason", close_frame(1000, b"b" * 123), (),
        1000),
    Row("5.5.1", "reason beyond ASCII", close_frame(3000, OWL * 30), (), 3000),
    bad("5.5.1", "close with one byte", frame(CLOSE, b"\x03")),
    bad("5.5.1", "reason that is no text", close_frame(1000, b"\xff"),
        code=1007),
    bad("5.5.1", "reason cut in a character", close_frame(1000, OWL[:3]),
        code=1007),
    Row("5.5.1", "close between fragments",
        frame(TEXT, b"a", fin=False) + close_frame(1001), (), 1001),
    Row("5.5.1", "what comes before a close is answered first",
        frame(TEXT, b"a") + frame(PING, b"b") + close_frame(1000),
        (pong(b"b"), text(b"a")), 1000),
    Row("5.5.1", "a message behind it is ignored",
        close_frame(1000) + frame(TEXT, b"late"), (), 1000),
    Row("5.5.1", "a ping behind it is ignored",
        close_frame(1000) + frame(PING, b"late"), (), 1000),
    Row("5.5.1", "a second close is ignored",
        close_frame(1000) + close_frame(1001), (), 1000),
    Row("5.5.1", "rubbish behind it is ignored",
        close_frame(1000) + b"\xff" * 300, (), 1000),
    Row("7.1.7", "what comes behind a violation is ignored",
        frame(3) + frame(TEXT, b"late") + close_frame(1000), (), 1002),
]


def of_kind(frames, pongs):
    return [one for one in frames if (one.opcode == PONG) == pongs]


def check_row(raw, row):
    got = [raw.recv() for _ in row.got]
    for pongs in (False, True):
        assert of_kind(got, pongs) == of_kind(row.got, pongs)
    if row.close is None:
        still_answers(raw)
        return
    last = raw.recv()
    assert (last.opcode, last.fin, last.rsv) == (CLOSE, True, 0)
    if row.close == b"":
        assert last.payload == b""
    else:
        assert last.code == row.close
    assert raw.ended()


@parametrize(MESSAGES + TEXTS + VIOLATIONS + TOO_BIG + CLOSES)
def test_frames(node, row):
    """The node closes its TCP connection first (7.1.1), when both close frames
    were sent or it failed the connection: it does not wait for ours."""
    for raw in each_cut(node, len(row.sent)):
        raw.open()
        raw.send_cut(row.sent)
        check_row(raw, row)


def test_others_are_not_harmed(node):
    """While one connection breaks every rule in turn."""
    with open_raw(node, "other") as other:
        for row in VIOLATIONS + TOO_BIG:
            with open_raw(node) as raw:
                raw.send(row.sent[:-1])
                other.send(frame(TEXT, b"in between"))
                assert other.recv() == text(b"in between")
                raw.send(row.sent[-1:])
                check_row(raw, row)
        still_answers(other)


def test_many_messages_at_once(node):
    with open_raw(node) as raw:
        raw.send(b"".join(frame(TEXT, b"%d" % i) for i in range(1000)))
        for i in range(1000):
            assert raw.recv() == text(b"%d" % i)
        still_answers(raw)


def test_random_bytes(node):
    """Whatever they mean, the node says so by a close frame or goes on, and
    never falls over."""
    random = Random(4)
    for _ in range(200):
        with open_raw(node) as raw:
            raw.send(random.randbytes(random.randrange(1, 2000)))
            raw.send(frame(TEXT, b"x", masked=False))
            raw.reset()
    with open_raw(node) as raw:
        still_answers(raw)
