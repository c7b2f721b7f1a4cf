# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Receipts: the nodes themselves say on how many connections a message is."""

import subprocess

import pytest

from harness import (ENV, clients, connect, eventually, on_loop, recv, recv_all,
                     settled)


@pytest.fixture
def redis(cluster):
    return cluster.redis()


@on_loop
async def test_connections_on_several_nodes(cluster, redis):
    nodes = cluster.nodes(3, redis, "--receipts")
    urls = [nodes[i].url("alice") for i in (0, 0, 1, 1, 1)]
    async with clients(nodes[2].url("bob"), *urls) as (bob, *all_of_alice):
        await settled(bob)
        for i in range(100):
            await bob.send(f"alice {i}")
        assert await recv_all(bob, 100) == ["ok alice nodes=2 conns=5"] * 100
        for ws in all_of_alice:
            assert await recv_all(ws, 100) == [str(i) for i in range(100)]
        await bob.send("* all of you")
        assert sorted(await recv_all(bob, 2)) == ["all of you",
                                                  "ok * nodes=3 conns=6"]


@on_loop
async def test_the_own_node_answers_too(cluster, redis):
    a, b = cluster.nodes(2, redis, "--receipts")
    async with clients(a.url("alice"), b.url("alice"), a.url("bob")) as (
            _, _, bob):
        await settled(bob)
        await bob.send("alice hi")
        assert await recv(bob) == "ok alice nodes=2 conns=2"
        await bob.send("bob me")
        assert sorted(await recv_all(bob, 2)) == ["me",
                                                  "ok bob nodes=1 conns=1"]


@on_loop
async def test_one_node_without_redis(cluster):
    node = cluster.node(None, "--receipts")
    async with clients(node.url("alice"), node.url("alice"),
                       node.url("bob")) as (_, _, bob):
        await bob.send("alice hi")
        assert await recv(bob) == "ok alice nodes=1 conns=2"
        await bob.send("carol hi")
        assert await recv(bob) == "offline carol"


@on_loop
async def test_a_foreign_observer_makes_it_partial(cluster, redis):
    """It is counted by Redis, never answers, and is waited for no longer than
    the deadline."""
    a, b = cluster.nodes(2, redis, "--receipts")
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await settled(bob)
        with subprocess.Popen(redis.cli_argv("SUBSCRIBE", "cp:u:{alice}"),
                              env=ENV, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL) as observer:
            eventually(lambda: redis.n_subscribers("alice") == 2)
            await bob.send("alice hi")
            assert await recv(alice) == "hi"
            assert await recv(bob) == "ok alice nodes=2 conns=1 partial"
            observer.kill()


@on_loop
async def test_a_node_that_sleeps_makes_it_partial(cluster, redis):
    a, b = cluster.nodes(2, redis, "--receipts")
    async with clients(a.url("alice"), b.url("alice"), b.url("bob")) as (
            _, _, bob):
        await settled(bob)
        a.pause()
        await bob.send("alice hi")
        assert await recv(bob) == "ok alice nodes=2 conns=1 partial"
        a.resume()


@on_loop
async def test_user_on_the_way_out(cluster, redis):
    """For a while the node stays subscribed, and says that nobody is there."""
    a, b = cluster.nodes(2, redis, "--receipts")
    async with connect(b.url("bob")) as bob:
        await settled(bob)
        async with connect(a.url("alice")):
            pass
        await bob.send("alice hi")
        assert await recv(bob) == "ok alice nodes=1 conns=0"


@on_loop
async def test_a_number_in_front_comes_back(cluster, redis):
    """Whatever the result is, and only where it is a number."""
    a, b = cluster.nodes(2, redis, "--receipts")
    async with clients(a.url("alice"), a.url("@bob"), b.url("bob")) as (
            alice, at_bob, bob):
        await settled(bob)

        async def do(command):
            await bob.send(command)
            return await recv(bob)

        assert await do("@17 alice hi") == "@17 ok alice nodes=1 conns=1"
        assert await do(b"@18 alice \0hi") == "@18 ok alice nodes=1 conns=1"
        assert await recv_all(alice, 2) == ["hi", b"hi"]
        assert await do("@19 nobody hi") == "@19 offline nobody"
        assert await do("@20 }x hi") == "@20 error }x CP_E_INVALID"
        assert await do("@21 alone") == "@21 error - MALFORMED"
        assert await do("@22 ?alice,nobody") == "@22 online ?alice,nobody " \
            "nodes=1,0"
        assert await do("@23 +room") == "@23 ok +room"
        assert await do("@24 alice+room") == "@24 ok alice+room nodes=1 conns=1"
        assert await do("@25 !alice 4001") == "@25 ok !alice nodes=1 conns=1"
        assert await do("@bob hi") == "ok @bob nodes=1 conns=1"
        assert await recv(at_bob) == "hi"
        assert await do("@26") == "error - MALFORMED"
        assert await do("@ @bob") == "offline @"
        assert await do("@" + "1" * 21 + " x") == "offline @" + "1" * 21
