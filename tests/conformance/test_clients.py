# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Clients that others wrote: python3-websockets and npm's ws, over ws and wss,
with and without compression. Chromium is among the browser tests."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import (ENV, TEST_PATIENCE, close_code_of, connect, extensions,
                     on_loop, recv, recv_all)

HERE = Path(__file__).resolve().parent
MIB = 1 << 20

COMPRESSION = pytest.mark.parametrize("compression", [None, "deflate"])


@pytest.fixture(name="node")
def fixture_node(cluster, scheme):
    certificate = cluster.certificate() if scheme == "wss" else None
    return cluster.node(None, "--mode", "echo", "--compress",
                        certificate=certificate)


def connect_to(node, compression=None, user="alice", **options):
    if node.tls is not None:
        options["ssl"] = node.tls
    return connect(node.url(user), compression, **options)


@COMPRESSION
@on_loop
async def test_websockets(node, compression):
    async with connect_to(node, compression) as ws:
        assert len(extensions(ws)) == (compression is not None)
        for message in ("", "a", "é" * 1000, "🦉" * 5000, "x" * 65536,
                        "y" * MIB, b"", b"\0\xff", bytes(MIB),
                        os.urandom(MIB)):
            await ws.send(message)
            assert await recv(ws) == message
        messages = [f"{i} " * (1 + i % 100) for i in range(1000)]
        for message in messages:
            await ws.send(message)
        assert await recv_all(ws, len(messages)) == messages
        await ws.send(["in ", "three ", "pieces"])
        assert await recv(ws) == "in three pieces"
        await ws.send([b"\x01", b"", b"\x02"])
        assert await recv(ws) == b"\x01\x02"
        await (await ws.ping(b"payload"))
        await ws.close(4001, "done")
        assert await close_code_of(ws) == 4001


@COMPRESSION
@on_loop
async def test_websockets_too_big(node, compression):
    async with connect_to(node, compression) as ws:
        await ws.send("x" * (MIB + 1))
        assert await close_code_of(ws) == 1009


@pytest.fixture(name="node_js")
def fixture_node_js():
    program = shutil.which("node")
    if program is None:
        pytest.skip("no node.js here")
    has_ws = subprocess.run([program, "-e", "require('ws')"], env=ENV,
                            timeout=TEST_PATIENCE, stderr=subprocess.DEVNULL)
    if has_ws.returncode != 0:
        pytest.skip("no npm package ws here")

    def run(*argv):
        done = subprocess.run([program, *argv], env=ENV, timeout=TEST_PATIENCE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("compression", ["plain", "deflate"])
def test_npm_ws(node, node_js, compression):
    argv = [HERE / "npm_ws.js", node.url("alice"), compression]
    if node.tls is not None:
        argv.append(node.certificate_file)
    end = node_js(*argv)
    assert end["code"] == 4001 and end["clean"]
    assert ("permessage-deflate" in end["extensions"]) == \
        (compression == "deflate")
    compressed = node.metrics()["clusterpush_compressed_total"]
    assert (compressed > 0) == (compression == "deflate")
