# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""A trial: three nodes, some users, messages at a steady rate, and one fault,
that a test makes. What a chaos run does at random, by itself."""

import asyncio
import contextlib
import sys
import time
from pathlib import Path

from harness import PATIENCE, eventually_async

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chaos"))

import faults_redis  # noqa: E402
from accounting import Account  # noqa: E402
from chaos import Chaos  # noqa: E402

N_USERS = 15
RATE = 90  # messages a second, all senders together
N_SOME = 100  # messages


class Verdict(Account):
    def told(self, *errors):
        """How many pairs were missed, or delivered, with these results."""
        return sum(n for row, n in self.rows.items()
                   if any(row.endswith(f"told: {error}") for error in errors))

    def missed(self):
        """Rows, and how many pairs, that were not delivered."""
        assert self.n_pairs > 0
        return {row: n for row, n in self.rows.items()
                if not row.startswith("delivered; ")}


class Trial:
    def __init__(self, chaos):
        self.chaos = chaos
        self.redis = chaos.redis
        self.account = None
        self.ended = None  # when the fault did
        self.seconds_to_heal = None

    @property
    def slots(self):
        return self.chaos.slots

    @property
    def nodes(self):
        return [slot.node for slot in self.slots]

    def states(self):
        return [node.cluster_state() for node in self.nodes]

    def metric(self, name, slot=None):
        """Of one node, or of all if they agree."""
        values = {node.metrics()[f"clusterpush_{name}_total"]
                  for node in ([slot.node] if slot else self.nodes)}
        return values.pop() if len(values) == 1 else values

    async def until(self, condition, patience=PATIENCE):
        """The swarm goes on meanwhile."""
        async def holds():
            return await asyncio.to_thread(condition)

        await eventually_async(holds, patience)

    async def states_become(self, state):
        await self.until(lambda: self.states() == [state] * 3)

    async def some_are_sent(self):
        messages = self.chaos.swarm.record.messages
        n = len(messages) + N_SOME
        await eventually_async(lambda: len(messages) >= n)

    async def a_subscriber_lags(self, slot):
        await faults_redis.a_subscriber_lags(self.chaos, slot)

    def ends(self):
        """The fault is over, whenever its consequences show."""
        self.ended = time.monotonic()

    async def heals(self):
        """All nodes are up, which takes the time to heal, and then messages go
        on. The fault ends now, unless it was said when."""
        ended = self.ended or time.monotonic()
        await self.chaos.await_up()
        self.seconds_to_heal = time.monotonic() - ended
        await self.some_are_sent()

    def all_have_a_gap(self, slot=None):
        """Everybody who was there all the time, at one node or at all."""
        names = [s.node.name for s in ([slot] if slot else self.slots)]
        there = [c for c in self.account.record.connections
                 if c.node in names and c.cause == "the end"]
        assert there
        return all(c.gaps for c in there)


@contextlib.asynccontextmanager
async def trial(cluster, record_property):
    """At the end nothing may be unaccounted for."""
    t = Trial(Chaos(cluster, 1, N_USERS, RATE))
    await t.chaos.start()
    await t.some_are_sent()
    yield t
    t.account = Verdict(await t.chaos.finish())
    record_property("seconds_to_heal", round(t.seconds_to_heal, 2))
    print(f"healed after {t.seconds_to_heal:.2f} s")
    print("\n".join(t.account.lines()))
    assert t.account.faults == []
