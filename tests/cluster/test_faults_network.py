# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""One fault at a time between nodes and Redis, or of a node, while numbered
messages flow: each of them is accounted for."""

import contextlib

import pytest

from harness import connect, on_loop
from trial import trial

WAYS = {"to node": ["to node"], "to redis": ["to redis"],
        "both": ["to node", "to redis"]}


def was_lost(t, slot, n_links):
    """The link is, or another was made since: so soon perhaps that nobody saw the
    node down, if only to be lost as well."""
    return (slot.node.cluster_state() == "down"
            or t.metric("links", slot) > n_links)


@pytest.mark.parametrize("kind", ["subscriber", "commands", None])
@pytest.mark.parametrize("ways", WAYS)
@on_loop
async def test_half_open(cluster, record_property, kind, ways):
    """Packets are dropped, and nobody is told: the probe notices; that nothing
    can be subscribed, once somebody comes."""
    async with trial(cluster, record_property) as t:
        slot = t.slots[0]
        n_links = t.metric("links", slot)
        slot.proxy.kind = kind
        for way in WAYS[ways]:
            slot.proxy.open[way].clear()
        async with contextlib.AsyncExitStack() as stack:
            # Whatever else is deaf the probe has to find alone.
            if kind == "subscriber" and ways == "to redis":
                await stack.enter_async_context(
                    connect(slot.node.url("newcomer")))
            await t.until(lambda: was_lost(t, slot, n_links))
        slot.proxy.kind = None
        for way in WAYS[ways]:
            slot.proxy.open[way].set()
        await t.heals()
    assert t.all_have_a_gap(slot)
    assert t.metric("gaps", t.slots[1]) == t.metric("gaps", t.slots[2]) == 0


@on_loop
async def test_a_long_way(cluster, record_property):
    async with trial(cluster, record_property) as t:
        for slot in t.slots:
            slot.proxy.delay = 0.2
        await t.some_are_sent()
        await t.some_are_sent()
        for slot in t.slots:
            slot.proxy.delay = 0
        await t.heals()
    assert t.account.missed() == {}
    assert t.metric("links") == 1 and t.metric("gaps") == 0


@on_loop
async def test_broken_off_in_the_middle(cluster, record_property):
    async with trial(cluster, record_property) as t:
        for slot in t.slots:
            slot.proxy.cuts = True
        await t.until(lambda: not any(slot.proxy.cuts for slot in t.slots))
        t.ends()
        await t.until(lambda: t.metric("links") == 2)
        await t.heals()
    assert t.all_have_a_gap()


@on_loop
async def test_a_node_is_stopped(cluster, record_property):
    """For less than its limits, so that nothing breaks."""
    async with trial(cluster, record_property) as t:
        t.nodes[0].pause()
        await t.some_are_sent()
        t.nodes[0].resume()
        await t.heals()
    assert t.account.missed() == {}
    assert t.metric("links") == 1 and t.metric("gaps") == 0


@on_loop
async def test_a_node_is_killed(cluster, record_property):
    """Its users come back at the others."""
    async with trial(cluster, record_property) as t:
        slot = t.slots[0]
        slot.gone("node killed")
        slot.node.kill()
        await t.some_are_sent()
        slot.node = t.chaos.start_node(slot.name, 2, slot.proxy)
        slot.serves = True
        await t.heals()
    assert t.metric("links", t.slots[1]) == 1
