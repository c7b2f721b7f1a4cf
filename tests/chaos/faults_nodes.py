# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Faults of nodes, and users who move."""

import asyncio
import signal

from faults import fault_of, short_or_long

FAULTS = []

# Nodes. ---------------------------------------------------------------------


@fault_of(FAULTS, 4, node=True)
async def a_node_is_stopped(chaos, slot):
    seconds = short_or_long(chaos.random, 3, 5.5, 0.15)
    slot.node.pause()
    await asyncio.sleep(seconds)
    slot.node.resume()
    return f"{slot.name} for {seconds:.1f} s"


@fault_of(FAULTS, 3, node=True)
async def a_node_is_killed(chaos, slot):
    slot.gone("node killed")
    slot.node.kill()
    return await start_again(chaos, slot)


@fault_of(FAULTS, 1, node=True)
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


@fault_of(FAULTS, 4)
async def users_move(chaos, _):
    swarm = chaos.swarm
    movers = chaos.random.sample(swarm.listeners,
                                 1 + len(swarm.listeners) // 20)
    politely = chaos.random.random() < 0.5
    await asyncio.gather(*(
        client.move(chaos.random.choice(swarm.slots), politely)
        for client in movers))
    return f"{len(movers)}, {'closing' if politely else 'breaking off'}"
