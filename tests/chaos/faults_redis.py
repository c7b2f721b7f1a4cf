# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Faults of one Redis, and of the ways between it and the nodes."""

import asyncio

from faults import JUNK, fault_of, short_or_long

FAULTS = []

# Redis. ---------------------------------------------------------------------


@fault_of(FAULTS, 3, redis=True)
async def redis_is_killed(chaos, _):
    seconds = short_or_long(chaos.random, 4, 9, 0.15)
    chaos.redis.kill()
    await asyncio.sleep(seconds)
    chaos.redis.path.unlink(missing_ok=True)
    chaos.redis.start()
    chaos.redis.await_ready()
    return f"back after {seconds:.1f} s"


@fault_of(FAULTS, 3, redis=True)
async def redis_is_stopped(chaos, _):
    seconds = short_or_long(chaos.random, 3, 5.5)
    chaos.redis.pause()
    await asyncio.sleep(seconds)
    chaos.redis.resume()
    return f"for {seconds:.1f} s"


@fault_of(FAULTS, 2, redis=True)
async def redis_is_slow(chaos, _):
    """Several short stops in a row."""
    stops = [chaos.random.uniform(0.02, 0.5) for _ in range(6)]
    for seconds in stops:
        await chaos.cli("DEBUG", "SLEEP", f"{seconds:.3f}")
    return f"{sum(stops):.1f} s in {len(stops)} parts"


@fault_of(FAULTS, 1, redis=True)
async def redis_pauses_clients(chaos, _):
    seconds = short_or_long(chaos.random, 2, 5.5)
    await chaos.cli("CLIENT", "PAUSE", int(seconds * 1000), "ALL")
    return f"for {seconds:.1f} s"


@fault_of(FAULTS, 1, redis=True)
async def everything_is_flushed(chaos, _):
    return " ".join(await chaos.cli("FLUSHALL"))


@fault_of(FAULTS, 2, redis=True)
async def links_are_killed(chaos, _):
    kind = chaos.random.choice(("pubsub", "normal"))
    n = await chaos.cli("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    return f"{' '.join(n)} of type {kind}"


@fault_of(FAULTS, 3, redis=True)
async def one_link_is_killed(chaos, _):
    lines = await chaos.cli("CLIENT", "LIST")
    links = [dict(word.split("=", 1) for word in line.split())
             for line in lines if " name=clusterpush" in line]
    if not links:
        return "there was none"
    link = chaos.random.choice(links)
    await chaos.cli("CLIENT", "KILL", "ID", link["id"])
    return f"cmd={link['cmd']} of {len(links)}"


@fault_of(FAULTS, 2, redis=True, node=True)
async def a_subscriber_lags(chaos, slot):
    """Its node stops, more comes than the sockets hold, messages come, and
    Redis cuts it off."""
    channel = f"cp:u:{{{chaos.user_only_at(slot)}}}"
    slot.proxy.open["to node"].clear()
    slot.node.pause()
    n = 0
    try:
        while await chaos.publish(chaos.redis, "PUBLISH", channel,
                                  JUNK) > 0 and n < 100:
            n += 1
            if n % 8 == 0:
                await asyncio.sleep(chaos.random.uniform(0.1, 0.4))
    finally:
        slot.node.resume()
        slot.proxy.open["to node"].set()
    return f"{slot.name} after {n / 8:.1f} MiB"


# What is between them. ------------------------------------------------------


@fault_of(FAULTS, 4, node=True)
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


@fault_of(FAULTS, 2, node=True)
async def the_way_is_long(chaos, slot):
    slot.proxy.delay = chaos.random.uniform(0.01, 0.5)
    await asyncio.sleep(chaos.random.uniform(1, 8))
    said = f"{slot.name} by {slot.proxy.delay * 1000:.0f} ms"
    slot.proxy.delay = 0
    return said
