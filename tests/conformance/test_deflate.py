# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""RFC 7692: what is negotiated, and compressed messages both ways."""

import os
import zlib
from typing import NamedTuple

from rawsocket import (BINARY, CLOSE, CONT, PING, PONG, TEXT, Frame, RawSocket,
                       close_frame, frame, request)
from rows import MAX_MESSAGE, each_cut, parametrize, still_answers

RSV1 = 4
PMD = "permessage-deflate"
BOTH = PMD + "; server_no_context_takeover; client_no_context_takeover"
TAIL = b"\0\0\xff\xff"

HELLO = bytes.fromhex("f248cdc9c90700")  # section 7.2.3.1


def deflate(data, level=9, bits=15, flush=zlib.Z_SYNC_FLUSH, strategy=0):
    """A message's payload."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -bits, 9, strategy)
    out = deflater.compress(data) + deflater.flush(flush)
    return out[:-4] if flush == zlib.Z_SYNC_FLUSH else out


def inflate(payload, bits=15):
    inflater = zlib.decompressobj(-bits)
    out = inflater.decompress(payload + TAIL)
    assert not inflater.unused_data
    return out


class Offer(NamedTuple):
    section: str
    name: str
    offers: tuple  # of Sec-WebSocket-Extensions headers
    answer: object  # None: no extension; 400: the handshake is refused


def offer(section, offers, answer):
    if isinstance(offers, str):
        offers = (offers,)
    return Offer(section, " + ".join(offers) or "nothing", offers, answer)


def with_bits(bits):
    return f"{BOTH}; server_max_window_bits={bits}"


OFFERS = [
    offer("7", PMD, BOTH),
    offer("7.1.1.1", PMD + "; server_no_context_takeover", BOTH),
    offer("7.1.1.1", PMD + "; server_no_context_takeover=1", None),
    offer("7.1.1.2", PMD + "; client_no_context_takeover", BOTH),
    offer("7.1.1.2", PMD + "; client_no_context_takeover=true", None),
    offer("7.1.2.1", PMD + "; server_max_window_bits", None),
    offer("7.1.2.2", PMD + "; client_max_window_bits", BOTH),
    offer("7.1.2.2", PMD + "; client_max_window_bits=8", BOTH),
    offer("7.1.2.2", PMD + "; client_max_window_bits=15", BOTH),
] + [
    offer("7.1.2.1", f"{PMD}; server_max_window_bits={bits}", with_bits(bits))
    for bits in range(8, 16)
] + [
    offer("7.1.2.1", f"{PMD}; server_max_window_bits={bits}", None)
    for bits in ("7", "16", "08", "0x9", "-9", "9.0", "99999999999999999999")
] + [
    offer("7.1.2.2", f"{PMD}; client_max_window_bits={bits}", None)
    for bits in ("7", "16", "015")
] + [
    offer("7.1.2.1", f'{PMD}; server_max_window_bits="10"', with_bits(10)),
    offer("7.1", PMD + "; unknown", None),
    offer("7.1", PMD + "; server_max_window_bits=9; "
          "server_max_window_bits=9", None),
    offer("7.1", PMD + "; client_no_context_takeover; "
          "client_no_context_takeover", None),
    offer("5.1", "x-webkit-deflate-frame", None),
    offer("5.1", PMD + "2", None),
    offer("5.1", f"{PMD}; unknown, {PMD}", BOTH),
    offer("5.1", f"{PMD}; server_max_window_bits=10, {PMD}", with_bits(10)),
    offer("5.1", f"{PMD}; server_max_window_bits=99, {PMD}; "
          "server_max_window_bits=11", with_bits(11)),
    offer("5.1", f"x-foo; a=b, {PMD}", BOTH),
    offer("5.1", ("x-foo; a=b", PMD), BOTH),
    offer("5.1", (PMD + "; unknown", PMD + "; server_max_window_bits=12"),
          with_bits(12)),
    offer("RFC 9110 5.6.1", f",, {PMD} ,", BOTH),
    offer("RFC 9110 5.6.3", f"\t{PMD}\t;\tserver_max_window_bits = 9",
          with_bits(9)),
    offer("RFC 6455 9.1", "", None),
] + [
    offer("RFC 6455 9.1", text, 400)
    for text in (PMD + ";", ";" + PMD, PMD + "; =9", PMD + "; a==b",
                 PMD + '; server_max_window_bits="9', PMD + " " + PMD,
                 f"{PMD}; x=(", f"{PMD}, ;", "a/b")
]


def open_with(raw, *offers):
    """Open it; what the node answered."""
    raw.send_cut(request(add=[f"Sec-WebSocket-Extensions: {one}"
                              for one in offers]))
    status, headers = raw.response_head()
    assert status == 101
    return headers.get("sec-websocket-extensions")


LONG = " ".join(str(i * i) for i in range(9000)).encode()[:60_000]


@parametrize(OFFERS)
def test_offers(node, row):
    """... and that the node keeps to them: a long message goes out compressed
    if, and only if, that was agreed on, within the client's window."""
    sent = sum(map(len, row.offers))
    for raw in each_cut(node, sent):
        if row.answer == 400:
            raw.send_cut(request(add=[f"Sec-WebSocket-Extensions: {one}"
                                      for one in row.offers]))
            assert raw.response_head()[0] == 400
            continue
        assert open_with(raw, *row.offers) == row.answer
        raw.send(frame(TEXT, LONG))
        got = raw.recv()
        assert (got.opcode, got.fin) == (TEXT, True)
        if row.answer is None:
            assert got == Frame(TEXT, True, LONG)
            still_answers(raw)
            continue
        bits = int(row.answer.partition("bits=")[2] or 15)
        assert got.rsv in (0, RSV1)
        if bits == 15:
            assert got.rsv == RSV1
        plain = inflate(got.payload, bits) if got.rsv else got.payload
        assert plain == LONG
        short = LONG[:1 << bits][:MAX_MESSAGE]
        raw.send(frame(BINARY, deflate(short), rsv=RSV1))
        got = raw.recv()
        assert (inflate(got.payload, bits) if got.rsv else got.payload) == short
        still_answers(raw)


class Row(NamedTuple):
    section: str
    name: str
    sent: bytes
    got: tuple = ()  # messages and pongs, inflated
    close: object = None


def text(payload=b""):
    return Frame(TEXT, True, payload)


def binary(payload=b""):
    return Frame(BINARY, True, payload)


def good(section, name, *frames, got):
    return Row(section, name, b"".join(frames), tuple(got))


def bad(section, name, *frames, code, got=()):
    return Row(section, name, b"".join(frames), tuple(got), code)


def packed(opcode, payload, **options):
    return frame(opcode, payload, rsv=RSV1, **options)


def in_pieces(opcode, payload, *cuts):
    """Fragments of which the first says that they are compressed."""
    edges = [0, *cuts, len(payload)]
    n = len(edges) - 1
    return b"".join(
        frame(CONT if i else opcode, payload[edges[i]:edges[i + 1]],
              fin=i == n - 1, rsv=0 if i else RSV1) for i in range(n))


RANDOM = os.urandom(3000)
BOMB = deflate(bytes(100_000_000))
HALF = deflate(b"abc" * 100)

ROWS = [
    good("7.2.3.1", "one block", packed(TEXT, HELLO), got=[text(b"Hello")]),
    good("7.2.3.1", "in two fragments", in_pieces(TEXT, HELLO, 3),
         got=[text(b"Hello")]),
    good("7.2.3.1", "in fragments of a byte",
         in_pieces(TEXT, HELLO, *range(1, 7)), got=[text(b"Hello")]),
    good("7.2.3.2", "no context: the same twice",
         packed(TEXT, HELLO) * 2, got=[text(b"Hello")] * 2),
    bad("7.1.1.2", "refers to the message before",
        packed(TEXT, HELLO), packed(TEXT, bytes.fromhex("f200110000")),
        got=[text(b"Hello")], code=1007),
    good("7.2.3.3", "a stored block",
         packed(TEXT, bytes.fromhex("000500faff48656c6c6f00")),
         got=[text(b"Hello")]),
    good("7.2.3.4", "BFINAL", packed(TEXT, bytes.fromhex("f348cdc9c9070000")),
         got=[text(b"Hello")]),
    good("7.2.3.5", "two blocks",
         packed(TEXT, bytes.fromhex("f24805000000ffffcac9c90700")), got=[text(b"Hello")]),
    good("7.2.3.6", "an empty message", packed(TEXT, b"\0"), got=[text()]),
    good("7.2.3.6", "no payload at all", packed(BINARY, b""), got=[binary()]),
    good("6.2", "an empty last fragment", in_pieces(TEXT, HELLO, len(HELLO)),
         got=[text(b"Hello")]),
    good("6.2", "an empty first fragment", in_pieces(TEXT, HELLO, 0),
         got=[text(b"Hello")]),
    good("6", "messages that are not compressed",
         frame(TEXT, b"a"), packed(TEXT, HELLO), frame(BINARY, b"b"),
         got=[text(b"a"), text(b"Hello"), binary(b"b")]),
    good("6", "control frames between fragments",
         packed(TEXT, HELLO[:2], fin=False), frame(PING, b"p"),
         frame(CONT, HELLO[2:4], fin=False), frame(PONG),
         frame(CONT, HELLO[4:]),
         got=[Frame(PONG, True, b"p"), text(b"Hello")]),
    bad("6", "close between fragments",
        packed(TEXT, HELLO[:2], fin=False), close_frame(1001), code=1001),
    good("7.2.1", "what doesn't get shorter", packed(BINARY, deflate(RANDOM)),
         got=[binary(RANDOM)]),
    good("7.2.1", "a character over fragments",
         in_pieces(TEXT, deflate("🦉".encode(), 0), 6, 7, 8),
         got=[text("🦉".encode())]),
] + [
    good("7.2.1", f"level {level}, strategy {strategy}",
         packed(TEXT, deflate(LONG, level, strategy=strategy)),
         got=[text(LONG)])
    for level, strategy in ((0, 0), (1, 0), (9, 0), (6, zlib.Z_FIXED),
                            (6, zlib.Z_RLE), (6, zlib.Z_HUFFMAN_ONLY))
] + [
    good("7.1.2.2", f"a client's window of {bits} bits",
         packed(TEXT, deflate(LONG, bits=bits)), got=[text(LONG)])
    for bits in range(9, 16)
] + [
    good("8", "as long as a message may be",
         packed(BINARY, deflate(bytes(MAX_MESSAGE))),
         got=[binary(bytes(MAX_MESSAGE))]),
    # Where RSV1 may stand.
    bad("6.1", "RSV1 on a continuation",
        packed(TEXT, HELLO[:3], fin=False), frame(CONT, HELLO[3:], rsv=RSV1),
        code=1002),
    bad("6.1", "RSV1 on a continuation of a plain message",
        frame(TEXT, b"a", fin=False), frame(CONT, HELLO, rsv=RSV1), code=1002),
    bad("6.1", "RSV1 on a ping", frame(PING, HELLO, rsv=RSV1), code=1002),
    bad("6.1", "RSV1 on a pong", frame(PONG, HELLO, rsv=RSV1), code=1002),
    bad("6.1", "RSV1 on a close", frame(CLOSE, b"\x03\xe8", rsv=RSV1),
        code=1002),
    bad("6.1", "RSV2 with it", frame(TEXT, HELLO, rsv=6), code=1002),
    bad("6.1", "RSV3 alone", frame(TEXT, b"a", rsv=1), code=1002),
    # What is no DEFLATE.
    bad("7.2.2", "block type 3", packed(TEXT, b"\xff" * 8), code=1007),
    bad("7.2.2", "fail fast: the message goes on",
        packed(TEXT, b"\xff" * 8, fin=False), code=1007),
    bad("7.2.2", "stored block with a bad length",
        packed(BINARY, b"\0\5\0\0\0hello\0"), code=1007),
    bad("7.2.2", "cut in a block", packed(BINARY, HALF[:-3]), code=1007),
    bad("7.2.2", "a zlib head", packed(BINARY, zlib.compress(b"abc" * 100)),
        code=1007),
    bad("7.2.2", "refers to before its begin",
        packed(BINARY, bytes.fromhex("f200110000")), code=1007),
    # Text, after all.
    bad("RFC 6455 8.1", "text that is no UTF-8", packed(TEXT, deflate(b"\xff")),
        code=1007),
    bad("RFC 6455 8.1", "... in the middle of much",
        packed(TEXT, deflate(b"a" * 9999 + b"\xed\xa0\x80" + b"b" * 9999)),
        code=1007),
    bad("RFC 6455 8.1", "text that ends in a character",
        packed(TEXT, deflate(b"\xe2\x82")), code=1007),
    # Bombs.
    bad("8", "a byte longer than a message may be",
        packed(BINARY, deflate(bytes(MAX_MESSAGE + 1))), code=1009),
    bad("8", "100 MB in 100 KB",
        packed(BINARY, BOMB), code=1009),
    bad("8", "100 MB in fragments",
        in_pieces(BINARY, BOMB, 5, 500, 50_000), code=1009),
    bad("8", "100 MB of text", packed(TEXT, BOMB), code=1009),
    bad("8", "empty blocks without end",
        packed(BINARY, (b"\0\0\0\xff\xff" * 13_000), fin=False),
        frame(CONT, b"\0\0\0\xff\xff" * 20_000), code=1009),
    bad("8", "2^62 bytes, head alone",
        frame(BINARY, rsv=RSV1, length=1 << 62), code=1009),
]


def inflated(one):
    """A frame of the node's as it was before it was compressed."""
    if one.rsv == 0:
        return one
    assert one.rsv == RSV1 and one.opcode in (TEXT, BINARY)
    return Frame(one.opcode, one.fin, inflate(one.payload))


@parametrize(ROWS)
def test_messages(node, row):
    for raw in each_cut(node, len(row.sent)):
        assert open_with(raw, PMD) == BOTH
        raw.send_cut(row.sent)
        got = [inflated(raw.recv()) for _ in row.got]
        assert sorted(got) == sorted(row.got)
        if row.close is None:
            still_answers(raw)
            continue
        last = raw.recv()
        assert (last.opcode, last.rsv, last.code) == (CLOSE, 0, row.close)
        assert raw.ended()


def test_without_negotiation(node):
    for raw in each_cut(node, 0):
        raw.open()
        raw.send(packed(TEXT, HELLO))
        assert raw.recv().code == 1002
        assert raw.ended()


def test_memory_of_bombs(node):
    """Each is worth a gigabyte; none gets more than the limit."""
    bomb = in_pieces(BINARY, BOMB * 10, 1000)
    before = node.memory()
    for _ in range(20):
        with RawSocket(node) as raw:
            raw.send_cut = raw.send
            assert open_with(raw, PMD) == BOTH
            raw.send(bomb)
            assert raw.recv().code == 1009
            assert raw.ended()
    assert node.memory() - before < 8 << 20
