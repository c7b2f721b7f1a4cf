# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""A node that was deaf says from when to when, and to whom."""

import asyncio
import json
import time

import pytest

from harness import (NOTICE, clients, connect, eventually_async, on_loop, recv,
                     settled)

# Redis' clock and a node's are one here, but both round.
ROUNDING_MS = 2


@pytest.fixture
def redis(cluster):
    return cluster.redis("--client-output-buffer-limit", "pubsub 1mb 0 0")


class Listener:
    """Takes what a user gets apart: messages, and gaps told of."""

    def __init__(self, ws):
        self.ws = ws
        self.messages = []
        self.gaps = []
        self.task = asyncio.create_task(self.listen())

    async def listen(self):
        async for message in self.ws:
            if not message.startswith(NOTICE):
                self.messages.append(message)
                continue
            notice = json.loads(message[len(NOTICE):])
            if "gap" in notice:
                self.gaps.append(notice["gap"])

    def is_covered(self, when_ms):
        return any(gap["from"] - ROUNDING_MS <= when_ms
                   <= gap["to"] + ROUNDING_MS for gap in self.gaps)


def now_ms():
    return time.time() * 1000


@on_loop
async def test_a_lagging_subscriber_is_cut(cluster, redis):
    """The node sleeps, and Redis gives it up: messages are gone though Redis
    counted it as their receiver. Each is within the gap."""
    node = cluster.node(redis)
    async with clients(node.url("alice", notices=True),
                       node.url("bob", notices=True)) as (alice, bob):
        alice, bob = Listener(alice), Listener(bob)
        padding = "x" * 30000
        sent = {}

        def publish(i):
            before = now_ms()
            assert redis.cli("PUBLISH", "cp:u:{alice}", f"{i} {padding}") == [
                "1"]
            sent[i] = before, now_ms()

        publish(0)
        await eventually_async(lambda: len(alice.messages) == 1)
        node.pause()
        # More than the sockets hold.
        i = 1
        while redis.n_subscribers("alice") == 1:
            try:
                publish(i)
            except AssertionError:  # cut before this one
                break
            i += 1
        node.resume()
        await eventually_async(lambda: alice.gaps and bob.gaps)
        await eventually_async(lambda: redis.n_subscribers("alice") == 1)
        publish("last")
        await eventually_async(
            lambda: alice.messages[-1].startswith("last "))
        got = [message.split()[0] for message in alice.messages]
        missed = [i for i in sent if str(i) not in got]
        assert missed and len(got) == len(set(got))
        for i in missed:
            assert alice.is_covered(sent[i][0]) and alice.is_covered(
                sent[i][1]), (i, sent[i], alice.gaps)
        assert not alice.is_covered(sent["last"][0])
        assert len(alice.gaps) == len(bob.gaps) == 1
        assert node.metrics()["clusterpush_gaps_total"] == 1
        assert node.metrics()["clusterpush_lags_total"] == 1
        assert "client-output-buffer-limit" in alice.gaps[0]["reason"]
        assert "n1: warn: gap: 2 users, " in node.log()


@on_loop
async def test_each_link_is_cut(cluster, redis):
    """Whichever of the two it is, and while messages flow."""
    a, b = cluster.nodes(2, redis, "--receipts")
    async with clients(a.url("sender"), b.url("bob", notices=True)) as (
            sender, bob):
        await settled(sender)
        bob = Listener(bob)
        sent, results = {}, []

        async def send():
            for i in range(10 ** 6):
                sent[i] = now_ms()
                await sender.send(f"bob {i}")
                results.append((await recv(sender), now_ms()))

        task = asyncio.create_task(send())
        try:
            for kind in "pubsub", "normal":
                n = len(bob.gaps)
                redis.cli("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
                await eventually_async(lambda n=n: len(bob.gaps) > n)
                n = len(bob.messages)
                await eventually_async(lambda n=n: len(bob.messages) > n + 10)
        finally:
            task.cancel()
        await eventually_async(
            lambda: int(bob.messages[-1]) >= len(results) - 1)
        assert len(bob.messages) == len(set(bob.messages))
        missed = [i for i in range(len(results))
                  if str(i) not in bob.messages]
        for i in missed:
            result, answered = results[i]
            assert not result.startswith("ok") or any(
                bob.is_covered(when) for when in (sent[i], answered)), (
                    i, sent[i], result, bob.gaps)


@on_loop
async def test_nobody_is_told_without_a_cause(cluster, redis):
    node = cluster.node(redis)
    async with connect(node.url("alice", notices=True)) as alice:
        alice = Listener(alice)
        redis.cli("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually_async(lambda: alice.gaps)
        # Who comes later has missed nothing.
        async with connect(node.url("late", notices=True)) as late:
            late = Listener(late)
            redis.cli("PUBLISH", "cp:u:{late}", "hello")
            await eventually_async(lambda: late.messages == ["hello"])
            assert not late.gaps and len(alice.gaps) == 1
    assert node.metrics()["clusterpush_gaps_total"] == 1
