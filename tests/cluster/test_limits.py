# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Limits of cp-node from outside, and what its metrics say of them."""

import pytest
from harness import eventually
from rawsocket import PING, TEXT, RawSocket, frame, open_raw


def test_connections(cluster):
    node = cluster.node(None, "--max-conns", "1")
    with open_raw(node), RawSocket(node) as other:
        other.send(other.request())
        status, headers = other.response_head()
        assert status == 503
        assert headers["retry-after"] == "5"
        assert node.metrics()["clusterpush_full_refusals_total"] == 1


def metrics_if_let_in(node):
    """None while too many connections are there."""
    try:
        return node.metrics()
    except OSError:
        return None


def test_connections_of_an_address(cluster):
    node = cluster.node(None, "--max-conns-per-address", "2")
    with open_raw(node):
        with RawSocket(node):  # silent
            with RawSocket(node) as third:
                assert third.ended()
        metrics = eventually(lambda: metrics_if_let_in(node))
        assert metrics["clusterpush_address_refusals_total"] >= 1


@pytest.mark.parametrize("opcode", [TEXT, PING])
def test_messages_a_second(cluster, opcode):
    node = cluster.node(None, "--mode", "echo", "--max-messages", "50")
    with open_raw(node) as client:
        client.send(frame(opcode, b"hi") * 1000)
        code = None
        while code is None:
            answer = client.recv()
            code = answer.code if answer.opcode == 8 else None
        assert code == 1008
        assert node.metrics()["clusterpush_rate_closes_total"] == 1


def test_bytes_a_second(cluster):
    node = cluster.node(None, "--max-bytes", "10000")
    with open_raw(node) as client:
        client.send(frame(TEXT, b"x" * 20000))
        assert client.recv().code == 1008
