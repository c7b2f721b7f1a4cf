# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""One fault of Redis at a time, while numbered messages flow: each of them is
accounted for, clients stay connected, and everything heals by itself."""

import asyncio
import socket

import pytest

from harness import on_loop
from trial import trial


@on_loop
async def test_killed_and_restarted(cluster, record_property):
    async with trial(cluster, record_property) as t:
        t.redis.kill()
        await t.states_become("down")
        await t.some_are_sent()
        t.redis.path.unlink(missing_ok=True)
        t.redis.start()
        await t.heals()
    # What waited, or was published twice, was not lost; who was deaf was told.
    assert t.account.told("CP_E_TIMEOUT", "CP_E_FULL", "CP_E_DOWN") == 0
    assert t.all_have_a_gap()


@on_loop
async def test_stopped_for_less_than_the_limit(cluster, record_property):
    async with trial(cluster, record_property) as t:
        t.redis.pause()
        await t.some_are_sent()
        t.redis.resume()
        await t.heals()
    assert t.account.missed() == {}
    assert t.metric("links") == 1 and t.metric("gaps") == 0


@on_loop
async def test_stopped_for_longer(cluster, record_property):
    """Its links stay open: only probes that are not answered tell."""
    async with trial(cluster, record_property) as t:
        t.redis.pause()
        await t.states_become("down")
        t.redis.resume()
        await t.heals()
    assert t.all_have_a_gap()


@on_loop
async def test_demoted(cluster, record_property):
    """Both links of a node stay open, and go on answering."""
    other = cluster.redis()
    async with trial(cluster, record_property) as t:
        t.redis.cli("REPLICAOF", "127.0.0.1", str(other.port))
        await t.states_become("down")
        assert all("replica" in node.health()["reason"] for node in t.nodes)
        t.redis.cli("REPLICAOF", "NO", "ONE")
        await t.heals()


@on_loop
async def test_the_password_is_another_one(cluster, record_property):
    """Links that stand are not asked for it, new ones are."""
    async with trial(cluster, record_property) as t:
        t.redis.cli("CONFIG", "SET", "requirepass", "rotated")
        await t.some_are_sent()
        assert t.states() == ["up"] * 3
        t.redis.cli("-a", "rotated", "CLIENT", "KILL", "TYPE", "normal")
        t.redis.cli("-a", "rotated", "CLIENT", "KILL", "TYPE", "pubsub")
        await t.states_become("down")
        await t.until(lambda: all("NOAUTH" in node.log() for node in t.nodes))
        t.redis.cli("-a", "rotated", "CONFIG", "SET", "requirepass", "")
        await t.heals()
    assert t.all_have_a_gap()


@on_loop
async def test_flushed(cluster, record_property):
    async with trial(cluster, record_property) as t:
        t.redis.cli("FLUSHALL")
        await t.some_are_sent()
        await t.heals()
    assert t.account.missed() == {}
    assert t.metric("links") == 1 and t.metric("gaps") == 0


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
@on_loop
async def test_links_are_killed(cluster, record_property, kind):
    async with trial(cluster, record_property) as t:
        assert t.redis.cli("CLIENT", "KILL", "TYPE", kind) == ["3"]
        t.ends()
        await t.until(lambda: t.metric("links") == 2)
        await t.heals()
    assert t.all_have_a_gap()


@on_loop
async def test_a_subscriber_is_cut_off(cluster, record_property):
    """It lags by more than client-output-buffer-limit."""
    async with trial(cluster, record_property) as t:
        await t.a_subscriber_lags(t.slots[0])
        t.ends()
        await t.until(lambda: t.nodes[0].metrics()["clusterpush_lags_total"])
        await t.heals()
    assert t.all_have_a_gap(t.slots[0])


@on_loop
async def test_no_place_for_another_client(cluster, record_property):
    async with trial(cluster, record_property) as t:
        with socket.socket(socket.AF_UNIX) as the_one_client:
            the_one_client.connect(str(t.redis.path))
            the_one_client.sendall(b"CONFIG SET maxclients 1\r\n"
                                   b"CLIENT KILL TYPE pubsub\r\n")
            await t.states_become("down")
            await t.until(lambda: all("max number of clients" in node.log()
                                      for node in t.nodes))
            await t.some_are_sent()
            the_one_client.sendall(b"CONFIG SET maxclients 1000\r\n")
            await t.heals()
    assert t.all_have_a_gap()


@on_loop
async def test_slow(cluster, record_property):
    """Half a second for nothing, again and again."""
    async with trial(cluster, record_property) as t:
        for _ in range(4):
            await t.chaos.cli("DEBUG", "SLEEP", "0.5")
            await asyncio.sleep(0)
        await t.heals()
    assert t.account.missed() == {}
    assert t.metric("links") == 1 and t.metric("gaps") == 0
