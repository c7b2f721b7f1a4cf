# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""A chaos run: a cluster, a swarm of clients, and faults. Its result is a
Record, for an Account."""

import asyncio
import random as randoms
import time

from faults import LAG_OPTIONS, Faults
from harness import eventually_async
from proxy import Proxy
from swarm import END_PATIENCE, TWICE, Slot, Swarm

N_NODES = 3


class Chaos:
    def __init__(self, cluster, seed, n_users, rate, say=print):
        self.cluster = cluster
        self.random = randoms.Random(seed)
        self.print = say
        self.began = time.monotonic()
        self.redis = cluster.redis(*LAG_OPTIONS)
        self.slots = []
        self.swarm_options = n_users, rate, randoms.Random(seed + 1)
        self.swarm = None
        self.faults = Faults(self)

    async def add_slot(self, name):
        proxy = Proxy(self.redis.path)
        await proxy.start()
        self.slots.append(Slot(name, self.start_node(name, 1, proxy), proxy))

    def start_node(self, name, n_starts, proxy):
        return self.cluster.node(proxy.url, "--receipts", "--mode", "relay",
                                 name=f"{name}.{n_starts}", up=False)

    def say(self, began, text):
        self.print(f"{began - self.began:7.1f} s to "
                   f"{time.monotonic() - self.began:5.1f} s  {text}")

    def user_only_at(self, slot):
        """A user with one place, which is this node now; else any."""
        for i, client in enumerate(self.swarm.listeners):
            if i % TWICE != 0 and client.slot is slot and client.is_there():
                return client.user
        return "nobody"

    # Redis, without holding up the swarm.

    async def cli(self, *words):
        return await asyncio.to_thread(self.redis.cli, *words)

    async def publish(self, channel, body):
        """The number of nodes that Redis gave it to."""
        words = ["PUBLISH", channel.encode(), body]
        command = b"*%d\r\n" % len(words)
        for word in words:
            word = word.encode() if isinstance(word, str) else word
            command += b"$%d\r\n%s\r\n" % (len(word), word)
        reader, writer = await asyncio.open_unix_connection(self.redis.path)
        writer.write(command)
        answer = await reader.readline()
        writer.close()
        return int(answer[1:])

    # The run.

    async def await_up(self):
        async def all_up():
            states = [await asyncio.to_thread(slot.node.cluster_state)
                      for slot in self.slots]
            return states == ["up"] * len(states)

        await eventually_async(all_up, END_PATIENCE)

    def note_deaths(self):
        for slot in self.slots:
            if not slot.node.alive():
                self.swarm.record.faults.append(
                    f"dead node: {slot.node.name}: {slot.node.log()[-500:]}")

    async def start(self):
        for i in range(N_NODES):
            await self.add_slot(f"n{i + 1}")
        await self.await_up()
        self.swarm = Swarm(self.slots, *self.swarm_options)
        await self.swarm.start()
        self.began = time.monotonic()

    async def finish(self):
        """All is healed. Returns the record."""
        self.note_deaths()
        await self.swarm.finish(self.await_up)
        for slot in self.slots:
            await slot.proxy.close()
        return self.swarm.record

    async def run(self, seconds):
        await self.start()
        await self.faults.run(seconds)
        return await self.finish()
