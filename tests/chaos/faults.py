# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""What goes wrong in a chaos run. A fault is a coroutine function that does it
and heals it, and tells in a few words what it did; it needs Redis, or one node,
for itself. Some last shorter than a node's limits (a probe is awaited for 5 s,
what waits for Redis is kept for 10 s), some longer."""

import asyncio
import time
from dataclasses import dataclass

# Redis gives up a subscriber that lags by as much.
LAG_LIMIT = 1 << 20
LAG_OPTIONS = ("--client-output-buffer-limit", f"pubsub {LAG_LIMIT} 0 0",
               "--enable-debug-command", "yes")
# An envelope of a form that isn't known: nodes count and drop it.
JUNK = b"\xc1\x7f" + b"x" * (LAG_LIMIT // 8)


@dataclass
class Fault:
    name: str
    weight: int
    redis: bool
    node: bool
    function: object


def fault_of(faults, weight, redis=False, node=False):
    """A decorator that puts the function into the list."""

    def add(function):
        name = function.__name__.replace("_", " ")
        faults.append(Fault(name, weight, redis, node, function))
        return function

    return add


def short_or_long(random, short, long, share=0.25):
    """Seconds: mostly up to `short`, else about `long`."""
    if random.random() < share:
        return random.uniform(long, long * 1.4)
    return random.uniform(0.1, short)


class Faults:
    """One begins every few seconds, while others may still last. One node at
    least is left alone."""

    def __init__(self, chaos, faults):
        self.chaos = chaos
        self.faults = faults
        self.redis_busy = False
        self.tasks = set()
        self.done = []  # names

    def choose(self):
        random = self.chaos.random
        free = [slot for slot in self.chaos.slots if not slot.busy]
        able = [one for one in self.faults
                if not (one.redis and self.redis_busy)
                and not (one.node and len(free) < 2)]
        chosen = random.choices(able, [one.weight for one in able])[0]
        return chosen, random.choice(free) if chosen.node else None

    async def commit(self, chosen, slot):
        began = time.monotonic()
        said = await chosen.function(self.chaos, slot)
        self.chaos.say(began, f"{chosen.name}: {said}")
        self.done.append(chosen.name)
        if slot is not None:
            slot.busy = False
        if chosen.redis:
            self.redis_busy = False

    def begin(self):
        chosen, slot = self.choose()
        if slot is not None:
            slot.busy = True
        if chosen.redis:
            self.redis_busy = True
        self.tasks.add(asyncio.create_task(self.commit(chosen, slot)))

    async def run(self, seconds):
        """For so long; then until all is healed."""
        end = time.monotonic() + seconds
        while True:
            pause = self.chaos.random.uniform(1, 7)
            await asyncio.sleep(min(pause, max(0, end - time.monotonic())))
            if time.monotonic() >= end:
                break
            self.begin()
        await asyncio.gather(*self.tasks)
