# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""What rows of the tables have in common: how they are sent, and what may
follow."""

import contextlib
from typing import Any, NamedTuple

import pytest

from rawsocket import CLOSE, PING, PONG, Frame, RawSocket, close_frame, frame

MAX_MESSAGE = 70_000

# No row is cut into more pieces than this.
MAX_PIECES = 2000


class Cut(NamedTuple):
    """Bytes that are written at once (in a TLS record), and bytes of a TCP
    segment that hold a piece of a record."""

    piece: Any
    segment: Any


CUTS = {
    "ws": [Cut(None, None), Cut(1, None), Cut(2, None), Cut(7, None)],
    "wss": [Cut(None, None), Cut(1, None), Cut(None, 1), Cut(5, 11)],
}


def parametrize(table):
    """One test a row, named by its section and name."""
    ids = [f"{row.section} {row.name}".replace("/", "|") for row in table]
    assert len(set(ids)) == len(ids)
    return pytest.mark.parametrize("row", table, ids=ids)


def not_too_small(size, n_bytes):
    return None if size is None else max(size, n_bytes // MAX_PIECES)


@contextlib.contextmanager
def raw_socket(node, cut, n_bytes):
    """A connection that sends n_bytes cut like this."""
    with RawSocket(node, cut=not_too_small(cut.segment, n_bytes)) as raw:
        plain_send = raw.send
        raw.send_cut = lambda data: plain_send(
            data, not_too_small(cut.piece, len(data)))
        yield raw


def each_cut(node, n_bytes):
    for cut in CUTS["ws" if node.tls is None else "wss"]:
        with raw_socket(node, cut, n_bytes) as raw:
            yield raw


def still_answers(raw):
    """The connection goes on, and ends well."""
    raw.send(frame(PING, b"still here?"))
    assert raw.recv() == Frame(PONG, True, b"still here?")
    raw.send(close_frame(1000))
    answer = raw.recv()
    assert answer.opcode == CLOSE and answer.code == 1000
    assert raw.ended()
