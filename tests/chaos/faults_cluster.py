# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Faults of a Redis Cluster: three masters with a replica each. Each lasts until
the cluster is whole again."""

import asyncio
import itertools

from faults import JUNK, fault_of, short_or_long
from harness import eventually_async
from redis_cluster import NODE_TIMEOUT_MS, slot_of

FAULTS = []

# Others take the place of a master that was away for so long, in seconds.
FAILOVER_S = 2 * NODE_TIMEOUT_MS / 1000
WHOLE_PATIENCE = 30


async def a_master(chaos):
    masters = await asyncio.to_thread(chaos.redis_cluster.masters)
    return chaos.random.choice(masters)


async def await_whole(chaos):
    await eventually_async(
        lambda: asyncio.to_thread(chaos.redis_cluster.is_whole),
        WHOLE_PATIENCE)


def name_of(chaos, server):
    return f"redis{chaos.redis_cluster.servers.index(server)}"


async def away_for(chaos, seconds, server):
    await asyncio.sleep(seconds)
    return f"{name_of(chaos, server)} for {seconds:.1f} s"


@fault_of(FAULTS, 3, redis=True)
async def a_master_is_killed(chaos, _):
    server = await a_master(chaos)
    server.kill()
    said = await away_for(
        chaos, short_or_long(chaos.random, 4, 12, 0.15), server)
    server.path.unlink(missing_ok=True)
    server.start()
    await asyncio.to_thread(server.await_ready)
    await await_whole(chaos)
    return said


@fault_of(FAULTS, 3, redis=True)
async def a_master_is_stopped(chaos, _):
    server = await a_master(chaos)
    server.pause()
    said = await away_for(
        chaos, short_or_long(chaos.random, FAILOVER_S, 5.5), server)
    server.resume()
    await await_whole(chaos)
    return said


@fault_of(FAULTS, 2, redis=True)
async def a_master_is_slow(chaos, _):
    """Several short stops in a row."""
    server = await a_master(chaos)
    stops = [chaos.random.uniform(0.02, 0.5) for _ in range(6)]
    for seconds in stops:
        await asyncio.to_thread(server.cli, "DEBUG", "SLEEP", f"{seconds:.3f}")
    await await_whole(chaos)
    return f"{name_of(chaos, server)} {sum(stops):.1f} s in {len(stops)} parts"


@fault_of(FAULTS, 4, redis=True)
async def a_replica_takes_over(chaos, _):
    master = await a_master(chaos)
    replica = await asyncio.to_thread(chaos.redis_cluster.replica_of, master)
    answer = await asyncio.to_thread(replica.cli, "CLUSTER", "FAILOVER")
    await eventually_async(
        lambda: asyncio.to_thread(chaos.redis_cluster.is_master, replica))
    await await_whole(chaos)
    return f"{name_of(chaos, replica)} for {name_of(chaos, master)}: {answer}"


@fault_of(FAULTS, 4, redis=True)
async def slots_move(chaos, _):
    """Those of some users and of everybody, from master to master."""
    redis_cluster = chaos.redis_cluster
    users = chaos.random.sample(chaos.swarm.users, 5)
    channels = [f"cp:u:{{{user}}}" for user in users] + ["cp:all"]
    for channel in chaos.random.sample(channels, 4):
        slot = slot_of(channel)
        source = await asyncio.to_thread(redis_cluster.owner_of, slot)
        masters = await asyncio.to_thread(redis_cluster.masters)
        target = chaos.random.choice([s for s in masters if s is not source])
        await asyncio.to_thread(redis_cluster.begin_move, slot, source, target)
        await asyncio.sleep(chaos.random.choice((0, 0.1, 1)))
        await asyncio.to_thread(redis_cluster.end_move, slot, source, target)
    return "4"


@fault_of(FAULTS, 3, redis=True)
async def links_are_killed(chaos, _):
    server = await a_master(chaos)
    kind = chaos.random.choice(("pubsub", "normal"))
    n = await asyncio.to_thread(
        server.cli, "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    return f"{' '.join(n)} of type {kind} at {name_of(chaos, server)}"


@fault_of(FAULTS, 2, redis=True, node=True)
async def a_subscriber_lags(chaos, slot):
    """Its node stops, more comes than the sockets hold, messages come, and the
    master cuts it off."""
    channel = f"cp:u:{{{chaos.user_only_at(slot)}}}"
    server = await asyncio.to_thread(chaos.redis_cluster.owner_of,
                                     slot_of(channel))
    slot.node.pause()
    try:
        for n in itertools.count():
            n_nodes = await chaos.publish(server, "SPUBLISH", channel, JUNK)
            if n_nodes == 0 or n >= 100:
                break
            if n % 8 == 7:
                await asyncio.sleep(chaos.random.uniform(0.1, 0.4))
    finally:
        slot.node.resume()
    return f"{slot.name} after {n / 8:.1f} MiB"
