# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""On how many nodes is a user? Redis knows, nobody else keeps it."""

import pytest

from harness import clients, connect, eventually_async, on_loop, recv


@pytest.fixture
def redis(cluster):
    return cluster.redis()


async def ask(ws, users):
    await ws.send(f"?{users}")
    return await recv(ws)


@on_loop
async def test_one_and_many(cluster, redis):
    a, b = cluster.nodes(2, redis)
    async with clients(a.url("alice"), a.url("alice"), b.url("alice"),
                       b.url("bob")) as (_, _, _, bob):
        assert await ask(bob, "alice") == "online ?alice nodes=2"
        assert await ask(bob, "carol") == "online ?carol nodes=0"
        assert await ask(bob, "carol,bob,alice,bob") == \
            "online ?carol,bob,alice,bob nodes=0,1,2,1"
        assert await ask(bob, "a,,b") == "error ?a,,b CP_E_INVALID"


@on_loop
async def test_without_redis(cluster):
    node = cluster.node()
    async with connect(node.url("bob")) as bob:
        assert await ask(bob, "alice,bob") == "online ?alice,bob nodes=0,1"


@on_loop
async def test_redis_away(cluster, redis):
    node = cluster.node(redis)
    async with connect(node.url("bob")) as bob:
        redis.kill()

        async def down():
            return await ask(bob, "bob") == "error ?bob CP_E_DOWN"

        await eventually_async(down)


@on_loop
async def test_redis_refuses(cluster, redis):
    """A right that is missing costs that answer, and no more."""
    redis.cli("ACL", "SETUSER", "node", "on", ">secret", "+@all", "-pubsub",
              "&*", "~*")
    node = cluster.node(f"redis://node:secret@127.0.0.1:{redis.port}",
                        "--receipts")
    async with connect(node.url("bob")) as bob:
        assert await ask(bob, "bob") == "error ?bob CP_E_REDIS"
        await bob.send("bob still here")
        assert {await recv(bob), await recv(bob)} >= {"still here"}
        assert "PUBSUB NUMSUB" in node.log()
