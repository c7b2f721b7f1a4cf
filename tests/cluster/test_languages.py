# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""The senders in docs/wire-format.md, run as they stand there."""

import re
import shutil
import subprocess
import sys

import pytest

from harness import (ENV, PATIENCE, ROOT, clients, close_code_of, eventually,
                     on_loop, recv_all)

SENDERS = dict(re.findall(r"^```(\w+)\n(.*?)^```",
                          (ROOT / "docs/wire-format.md").read_text(),
                          re.M | re.S))


def run(redis, *argv, code):
    env = dict(ENV, REDIS_URL=redis.url)
    done = subprocess.run([*argv, code], env=env, timeout=PATIENCE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()


def has_node_redis():
    return shutil.which("node") is not None and subprocess.run(
        ["node", "-e", 'require("redis")'], env=ENV, check=False,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


async def assert_sends(cluster, *argv, code, then=None):
    """Alice is in the room, bob too, on another node."""
    redis = cluster.redis()
    a, b = cluster.nodes(2, redis)
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        for ws in (alice, bob):
            await ws.send("+room")
        eventually(lambda: redis.cli("PUBSUB", "NUMSUB", "cp:g:{room}")[1]
                   == "2")
        run(redis, *argv, code=code)
        # A user's channel and a group's have no order between them.
        got = await recv_all(alice, 3)
        assert sorted(got, key=str) == [b"\x00\x01\x02", "hello",
                                        "to all who are in it"]
        assert await recv_all(bob, 1) == ["to all who are in it"]
        if then is not None:
            await then(alice)


def test_they_are_short():
    assert set(SENDERS) == {"python", "js", "java"}
    for name, code in SENDERS.items():
        assert len(code.splitlines()) <= 10, name


@on_loop
async def test_python(cluster):
    pytest.importorskip("redis")

    async def logged_out(alice):
        assert await close_code_of(alice) == 4001
        assert alice.close_reason == "logged out"

    await assert_sends(cluster, sys.executable, "-c", code=SENDERS["python"],
                       then=logged_out)


@pytest.mark.skipif(not has_node_redis(), reason="no node-redis")
@on_loop
async def test_node(cluster):
    await assert_sends(cluster, "node", "-e", code=SENDERS["js"])
