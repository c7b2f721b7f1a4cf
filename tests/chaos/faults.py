# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""What goes wrong in a chaos run. A fault is a coroutine function that does it
and heals it, and tells in a few words what it did; it needs Redis, or one node,
for itself. Some last shorter than a node's limits (a probe is awaited for 5 s,
what waits for Redis is kept for 10 s), some longer."""

import asyncio
import signal
import time
from dataclasses import dataclass

FAULTS = []

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


def fault(weight, redis=False, node=False):
    def add(function):
        name = function.__name__.replace("_", " ")
        FAULTS.append(Fault(name, weight, redis, node, function))
        return function

    return add


def short_or_long(random, short, long, share=0.25):
    """Seconds: mostly up to `short`, else about `long`."""
    if random.random() < share:
        return random.uniform(long, long * 1.4)
    return random.uniform(0.1, short)


# Redis. ---------------------------------------------------------------------


@fault(3, redis=True)
async def redis_is_killed(chaos, _):
    seconds = short_or_long(chaos.random, 4, 9, 0.15)
    chaos.redis.kill()
    await asyncio.sleep(seconds)
    chaos.redis.path.unlink(missing_ok=True)
    chaos.redis.start()
    chaos.redis.await_ready()
    return f"back after {seconds:.1f} s"


@fault(3, redis=True)
async def redis_is_stopped(chaos, _):
    seconds = short_or_long(chaos.random, 3, 5.5)
    chaos.redis.pause()
    await asyncio.sleep(seconds)
    chaos.redis.resume()
    return f"for {seconds:.1f} s"


@fault(2, redis=True)
async def redis_is_slow(chaos, _):
    """Several short stops in a row."""
    stops = [chaos.random.uniform(0.02, 0.5) for _ in range(6)]
    for seconds in stops:
        await chaos.cli("DEBUG", "SLEEP", f"{seconds:.3f}")
    return f"{sum(stops):.1f} s in {len(stops)} parts"


@fault(1, redis=True)
async def redis_pauses_clients(chaos, _):
    seconds = short_or_long(chaos.random, 2, 5.5)
    await chaos.cli("CLIENT", "PAUSE", int(seconds * 1000), "ALL")
    return f"for {seconds:.1f} s"


@fault(1, redis=True)
async def everything_is_flushed(chaos, _):
    return " ".join(await chaos.cli("FLUSHALL"))


@fault(2, redis=True)
async def links_are_killed(chaos, _):
    kind = chaos.random.choice(("pubsub", "normal"))
    n = await chaos.cli("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    return f"{' '.join(n)} of type {kind}"


@fault(3, redis=True)
async def one_link_is_killed(chaos, _):
    lines = await chaos.cli("CLIENT", "LIST")
    links = [dict(word.split("=", 1) for word in line.split())
             for line in lines if " name=clusterpush" in line]
    if not links:
        return "there was none"
    link = chaos.random.choice(links)
    await chaos.cli("CLIENT", "KILL", "ID", link["id"])
    return f"cmd={link['cmd']} of {len(links)}"


@fault(2, redis=True, node=True)
async def a_subscriber_lags(chaos, slot):
    """Its node stops, more comes than the sockets hold, messages come, and
    Redis cuts it off."""
    channel = f"cp:u:{{{chaos.user_only_at(slot)}}}"
    slot.proxy.open["to node"].clear()
    slot.node.pause()
    n = 0
    try:
        while await chaos.publish(channel, JUNK) > 0 and n < 100:
            n += 1
            if n % 8 == 0:
                await asyncio.sleep(chaos.random.uniform(0.1, 0.4))
    finally:
        slot.node.resume()
        slot.proxy.open["to node"].set()
    return f"{slot.name} after {n / 8:.1f} MiB"


# What is between them. ------------------------------------------------------


@fault(4, node=True)
async def a_way_is_blocked(chaos, slot):
    """Nothing comes through, and nobody is told."""
    seconds = short_or_long(chaos.random, 3, 5.5, 0.5)
    ways = chaos.random.choice((["to node"], ["to redis"], list(
        slot.proxy.open)))
    for way in ways:
        slot.proxy.open[way].clear()
    await asyncio.sleep(seconds)
    for way in ways:
        slot.proxy.open[way].set()
    return f"{slot.name} {' and '.join(ways)} for {seconds:.1f} s"


@fault(2, node=True)
async def the_way_is_long(chaos, slot):
    slot.proxy.delay = chaos.random.uniform(0.01, 0.5)
    await asyncio.sleep(chaos.random.uniform(1, 8))
    said = f"{slot.name} by {slot.proxy.delay * 1000:.0f} ms"
    slot.proxy.delay = 0
    return said


# Nodes. ---------------------------------------------------------------------


@fault(4, node=True)
async def a_node_is_stopped(chaos, slot):
    seconds = short_or_long(chaos.random, 3, 5.5, 0.15)
    slot.node.pause()
    await asyncio.sleep(seconds)
    slot.node.resume()
    return f"{slot.name} for {seconds:.1f} s"


@fault(3, node=True)
async def a_node_is_killed(chaos, slot):
    slot.gone("node killed")
    slot.node.kill()
    return await start_again(chaos, slot)


@fault(1, node=True)
async def a_node_is_ended(chaos, slot):
    slot.gone("node ended")
    slot.node.child.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(slot.node.wait)
    if code != 0:
        chaos.swarm.record.faults.append(
            f"exit code: {code} of {slot.node.name}")
    return await start_again(chaos, slot)


async def start_again(chaos, slot):
    seconds = chaos.random.uniform(0, 3)
    await asyncio.sleep(seconds)
    slot.n_starts += 1
    slot.node = chaos.start_node(slot.name, slot.n_starts, slot.proxy)
    slot.serves = True
    return f"{slot.name}, back after {seconds:.1f} s"


# Users. ---------------------------------------------------------------------


@fault(4)
async def users_move(chaos, _):
    swarm = chaos.swarm
    movers = chaos.random.sample(swarm.listeners,
                                 1 + len(swarm.listeners) // 20)
    politely = chaos.random.random() < 0.5
    await asyncio.gather(*(
        client.move(chaos.random.choice(swarm.slots), politely)
        for client in movers))
    return f"{len(movers)}, {'closing' if politely else 'breaking off'}"


# All of them. ---------------------------------------------------------------


class Faults:
    """One begins every few seconds, while others may still last. One node at
    least is left alone."""

    def __init__(self, chaos):
        self.chaos = chaos
        self.redis_busy = False
        self.tasks = set()
        self.done = []  # names

    def choose(self):
        random = self.chaos.random
        free = [slot for slot in self.chaos.slots if not slot.busy]
        able = [one for one in FAULTS
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
