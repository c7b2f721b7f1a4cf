# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""A chaos run: a cluster, a swarm of clients, and faults. Its result is a
Record, for an Account."""

import asyncio
import random as randoms
import time

import faults_cluster
import faults_nodes
import faults_redis
from faults import LAG_OPTIONS, Faults
from harness import eventually_async
from proxy import Proxy
from redis_cluster import RedisCluster
from swarm import END_PATIENCE, TWICE, Slot, Swarm

N_NODES = 3


class Chaos:
    """Over one Redis, each node by a proxy; or over a Redis Cluster."""

    def __init__(self, cluster, seed, n_users, rate, say=print,
                 by_redis_cluster=False):
        self.cluster = cluster
        self.random = randoms.Random(seed)
        self.print = say
        self.began = time.monotonic()
        self.redis = self.redis_cluster = None
        if by_redis_cluster:
            self.redis_cluster = RedisCluster(cluster, options=LAG_OPTIONS)
            faults = faults_cluster.FAULTS
        else:
            self.redis = cluster.redis(*LAG_OPTIONS)
            faults = faults_redis.FAULTS
        self.slots = []
        self.swarm_options = n_users, rate, randoms.Random(seed + 1)
        self.swarm = None
        self.faults = Faults(self, faults + faults_nodes.FAULTS)

    async def add_slot(self, name):
        proxy = None
        if self.redis is not None:
            proxy = Proxy(self.redis.path)
            await proxy.start()
        self.slots.append(Slot(name, self.start_node(name, 1, proxy), proxy))

    def start_node(self, name, n_starts, proxy):
        redis = self.redis_cluster if proxy is None else proxy
        return self.cluster.node(redis.url, "--receipts", "--mode", "relay",
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

    @staticmethod
    async def publish(redis, command, channel, body):
        """The number of nodes that Redis gave it to."""
        words = [command, channel.encode(), body]
        request = b"*%d\r\n" % len(words)
        for word in words:
            word = word.encode() if isinstance(word, str) else word
            request += b"$%d\r\n%s\r\n" % (len(word), word)
        reader, writer = await asyncio.open_unix_connection(redis.path)
        writer.write(request)
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
        # What is for all goes by another master than what is for a user.
        self.swarm.record.by_target = self.redis_cluster is not None
        await self.swarm.start()
        self.began = time.monotonic()
        self.print(f"{'0.0':>7} s is {time.time():.3f}")

    async def finish(self):
        """All is healed. Returns the record."""
        self.note_deaths()
        await self.swarm.finish(self.await_up)
        for slot in self.slots:
            if slot.proxy is not None:
                await slot.proxy.close()
        return self.swarm.record

    async def run(self, seconds):
        await self.start()
        await self.faults.run(seconds)
        return await self.finish()
