# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Groups across nodes, and connections closed from afar."""

import pytest

from harness import (clients, close_code_of, connect, eventually,
                     eventually_async, on_loop, recv, recv_all, settled)


@pytest.fixture
def redis(cluster):
    return cluster.redis()


def n_subscribed(redis, group):
    return int(redis.cli("PUBSUB", "NUMSUB", f"cp:g:{{{group}}}")[1])


def await_subscribed(redis, group, n):
    eventually(lambda: n_subscribed(redis, group) == n)


async def do(ws, command):
    """Say it, and return what becomes of it."""
    await ws.send(command)
    return await recv(ws)


@on_loop
async def test_a_room_on_three_nodes(cluster, redis):
    nodes = cluster.nodes(3, redis, "--receipts")
    names = ["alice", "bob", "carol", "dave"]
    urls = [nodes[i % 3].url(name) for i, name in enumerate(names)]
    async with clients(*urls) as (alice, bob, carol, dave):
        await settled(carol)
        for ws in (alice, bob, dave):  # carol stays outside, and may send
            assert await do(ws, "+room") == "ok +room"
        await_subscribed(redis, "room", 2)
        for i in range(50):
            await carol.send(f"#room {i}")
        assert await recv_all(carol, 50) == ["ok #room nodes=2 conns=3"] * 50
        for ws in (alice, bob, dave):
            assert await recv_all(ws, 50) == [str(i) for i in range(50)]
        assert await do(bob, "-room") == "ok -room"
        assert await do(bob, "-room") == "error -room CP_E_NOTFOUND"
        await_subscribed(redis, "room", 1)
        assert await do(carol, "#room less") == "ok #room nodes=1 conns=2"
        await carol.send(b"#room \0\x00\xff")
        assert await recv(carol) == "ok #room nodes=1 conns=2"
        assert await recv_all(dave, 2) == ["less", b"\x00\xff"]


@on_loop
async def test_a_room_without_redis(cluster):
    node = cluster.node(None, "--receipts")
    async with clients(node.url("alice"), node.url("bob")) as (alice, bob):
        assert await do(bob, "#room x") == "offline #room"
        assert await do(alice, "+room") == "ok +room"
        assert await do(bob, "#room x") == "ok #room nodes=1 conns=1"
        assert await do(bob, "alice-room") == "ok alice-room nodes=1 conns=1"
        assert await do(bob, "#room x") == "offline #room"


@on_loop
async def test_a_room_is_left_with_its_last_member(cluster, redis):
    node = cluster.node(redis, "--receipts")
    async with connect(node.url("alice")) as alice:
        assert await do(alice, "+room") == "ok +room"
        await_subscribed(redis, "room", 1)
    await_subscribed(redis, "room", 0)


@on_loop
async def test_any_redis_client_sends_to_a_group(cluster, redis):
    node = cluster.node(redis)
    async with connect(node.url("alice")) as alice:
        await alice.send("+room")
        await_subscribed(redis, "room", 1)
        assert redis.cli("PUBLISH", "cp:g:{room}", "hello") == ["1"]
        assert await recv(alice) == "hello"


@on_loop
async def test_a_user_is_put_in_and_out(cluster, redis):
    a, b, c = cluster.nodes(3, redis, "--receipts")
    async with clients(a.url("alice"), a.url("alice"), b.url("alice"),
                       c.url("bob")) as (*all_of_alice, bob):
        await settled(bob)
        assert await do(bob, "alice+my-room") == "ok alice+my-room " \
            "nodes=2 conns=3"
        await_subscribed(redis, "my-room", 2)
        # Who opens later is not in it.
        async with connect(b.url("alice")):
            assert await do(bob, "#my-room hi") == "ok #my-room " \
                "nodes=2 conns=3"
        for ws in all_of_alice:
            assert await recv(ws) == "hi"
        assert await do(bob, "carol+my-room") == "offline carol+my-room"
        assert await do(bob, "alice-room") == "ok alice-room nodes=2 conns=0"
        assert await do(bob, "alice-my-room") == "ok alice-my-room " \
            "nodes=2 conns=3"
        assert await do(bob, "#my-room hi") == "ok #my-room nodes=2 conns=0"
        assert await do(bob, "alice+") == "error alice+ CP_E_INVALID"


@on_loop
async def test_a_room_survives_redis(cluster, redis):
    a, b = cluster.nodes(2, redis, "--receipts")
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        assert await do(alice, "+room") == "ok +room"
        redis.restart()
        a.await_up()
        b.await_up()
        await settled(bob)
        assert await do(bob, "#room back") == "ok #room nodes=1 conns=1"
        assert await recv(alice) == "back"


@on_loop
async def test_many_groups(cluster, redis):
    a, b = cluster.nodes(2, redis, "--receipts")
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await settled(bob)
        for i in range(128):
            await alice.send(f"+g{i}")
        assert await recv_all(alice, 128) == [f"ok +g{i}" for i in range(128)]
        assert await do(alice, "+one") == "error +one CP_E_FULL"
        for i in (0, 127):
            await_subscribed(redis, f"g{i}", 1)
            assert await do(bob, f"#g{i} x") == f"ok #g{i} nodes=1 conns=1"


# Closing. ------------------------------------------------------------------


@on_loop
async def test_disconnect_a_user(cluster, redis):
    a, b, c = cluster.nodes(3, redis, "--receipts")
    async with clients(a.url("alice"), b.url("alice"), b.url("alice"),
                       c.url("bob")) as (*all_of_alice, bob):
        await settled(bob)
        await bob.send("alice a last word")
        assert await recv(bob) == "ok alice nodes=2 conns=3"
        assert await do(bob, "!alice 4001 you must go") == \
            "ok !alice nodes=2 conns=3"
        for ws in all_of_alice:
            assert await recv(ws) == "a last word"
            assert await close_code_of(ws) == 4001
            assert ws.close_reason == "you must go"
        for wrong in ("!alice 1006 x", "!alice 40011", "!alice four", "! 4001",
                      "!alice 4001x", "!alice 999"):
            await bob.send(wrong)
            assert (await recv(bob)).endswith("CP_E_INVALID")


@on_loop
async def test_log_out_my_other_devices(cluster, redis):
    a, b = cluster.nodes(2, redis, "--receipts")
    async with clients(a.url("alice"), a.url("alice"), b.url("alice")) as (
            here, beside, there):
        await settled(here)
        assert await do(here, "!alice 4002") == "ok !alice nodes=2 conns=2"
        assert await close_code_of(beside) == 4002
        assert await close_code_of(there) == 4002

        async def alone():
            await here.send("alice me")
            return sorted(await recv_all(here, 2)) == \
                ["me", "ok alice nodes=1 conns=1"]

        await eventually_async(alone)
