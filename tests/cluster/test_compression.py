# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""permessage-deflate (RFC 7692) with a client that others wrote."""

import contextlib
import os

import pytest
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory)

from harness import (connect, eventually, extensions, on_loop, recv,
                     recv_all)

MIB = 1 << 20


def long_text(size):
    """Text that gets shorter, but not to nothing."""
    words = " ".join(str(i * i) for i in range(size // 6))
    return words[:size].ljust(size, "x")


def offer(**parameters):
    """Options for connect(): exactly this offer."""
    factory = ClientPerMessageDeflateFactory(**parameters)
    return {"compression": None, "extensions": [factory]}


@pytest.fixture
def node(cluster):
    return cluster.node(None, "--mode", "echo", "--compress")


async def check_echo(ws):
    for message in ("", "a", "é" * 1000, long_text(5000), long_text(MIB),
                    b"", bytes(MIB), os.urandom(MIB), os.urandom(300)):
        await ws.send(message)
        assert await recv(ws) == message


@on_loop
async def test_echo(node):
    async with connect(node.url("alice"), "deflate") as ws:
        assert len(extensions(ws)) == 1
        await check_echo(ws)
    assert node.metrics()["clusterpush_compressed_total"] == 4


@pytest.mark.parametrize("parameters", [
    {},
    {"client_max_window_bits": 9},
    {"client_max_window_bits": True},
    {"server_max_window_bits": 9},
    {"server_max_window_bits": 15},
    {"server_no_context_takeover": True, "client_no_context_takeover": True},
    {"server_max_window_bits": 10, "client_max_window_bits": 10},
], ids=str)
@on_loop
async def test_offers(node, parameters):
    async with connect(node.url("alice"), **offer(**parameters)) as ws:
        assert len(extensions(ws)) == 1
        await check_echo(ws)


@on_loop
async def test_fragments(node):
    pieces = [long_text(100_000)[i::7] for i in range(7)]
    async with connect(node.url("alice"), "deflate") as ws:
        await ws.send(pieces)
        assert await recv(ws) == "".join(pieces)
        await ws.send([b"\x01" * 1000, b"", b"\x02" * 1000])
        assert await recv(ws) == b"\x01" * 1000 + b"\x02" * 1000
        await (await ws.ping(b"payload"))


@on_loop
async def test_a_client_without(node):
    async with connect(node.url("alice")) as ws:
        assert not extensions(ws)
        await check_echo(ws)
    assert node.metrics()["clusterpush_compressed_total"] == 0


@on_loop
async def test_a_node_without(cluster):
    node = cluster.node(None, "--mode", "echo")
    async with connect(node.url("alice"), "deflate") as ws:
        assert not extensions(ws)
        await check_echo(ws)


@on_loop
async def test_the_cluster_carries_it_plain(cluster):
    """Each node compresses for its own clients: once, however many they are."""
    redis = cluster.redis()
    a, b = cluster.nodes(2, redis, "--compress")
    text = long_text(50_000)
    async with contextlib.AsyncExitStack() as stack:
        sender = await stack.enter_async_context(
            connect(a.url("sender"), "deflate"))
        bobs = [await stack.enter_async_context(
            connect(node.url("bob"), "deflate" if i % 3 else None))
                for node in (a, b) for i in range(9)]
        await sender.send("bob " + text)
        for bob in bobs:
            assert await recv(bob) == text
        assert a.metrics()["clusterpush_compressed_total"] == 1
        assert b.metrics()["clusterpush_compressed_total"] == 1
        redis.cli("PUBLISH", "cp:all", text)
        for client in [sender, *bobs]:
            assert await recv(client) == text
        assert b.metrics()["clusterpush_compressed_total"] == 2


@on_loop
async def test_many_messages(node):
    """In order, whatever form each has."""
    messages = [f"{i} " * (1 + i % 200) for i in range(2000)]
    async with connect(node.url("alice"), "deflate") as ws:
        for i in range(0, len(messages), 100):
            for message in messages[i:i + 100]:
                await ws.send(message)
            assert await recv_all(ws, 100) == messages[i:i + 100]


@on_loop
async def test_too_big(cluster):
    """Refused by what it would become, not by what came."""
    node = cluster.node(None, "--mode", "echo", "--compress",
                        "--max-message", "100000")
    async with connect(node.url("alice"), "deflate") as ws:
        await ws.send("x" * 100_000)
        assert await recv(ws) == "x" * 100_000
        await ws.send("x" * 100_001)
        await ws.wait_closed()
        assert ws.close_code == 1009
    eventually(lambda: node.metrics()["clusterpush_connections"] == 0)
