# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Redis behind sentinels: nodes find the master, and find it again."""

import asyncio
import subprocess
import time

import pytest

from harness import (CP_PUBLISH, ENV, clients, connect, eventually,
                     eventually_async, free_port, make_certificate, on_loop,
                     recv, redis_has_tls, settled)
from sentinels import MASTER, Sentinel, Watched


@pytest.fixture
def watched(cluster):
    return Watched(cluster)


class Traffic:
    """Numbered messages from one connection to a user elsewhere, at a steady
    rate; what the sender was told of each, and what arrived."""

    def __init__(self, sender, receiver, user):
        self.sender, self.receiver, self.user = sender, receiver, user
        self.n = 0
        self.told, self.got, self.at = [], [], []
        self.stopped = False

    async def send(self):
        while not self.stopped:
            await self.sender.send(f"{self.user} {self.n}")
            self.n += 1
            await asyncio.sleep(0.01)

    async def hear_results(self):
        while True:
            self.told.append((await self.sender.recv()).split()[0])

    async def hear_messages(self):
        while True:
            self.got.append(int(await self.receiver.recv()))
            self.at.append(time.monotonic())

    async def __aenter__(self):
        self.tasks = [asyncio.create_task(task()) for task in
                      (self.send, self.hear_results, self.hear_messages)]
        return self

    async def __aexit__(self, *_):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def sure_now(self):
        """The last messages were all taken for sure."""
        return len(self.told) > 20 and set(self.told[-20:]) == {"ok"}

    async def finish(self):
        """Account for every message."""
        self.stopped = True
        await eventually_async(lambda: len(self.told) == self.n)
        sure = [i for i, word in enumerate(self.told) if word == "ok"]
        await eventually_async(lambda: set(sure) <= set(self.got))
        assert self.got == sorted(set(self.got))  # in order, and no one twice
        lost = set(range(self.n)) - set(self.got)
        assert all(self.told[i] != "ok" for i in lost)
        return lost

    def longest_silence(self, since):
        times = [since] + [at for at in self.at if at >= since]
        return max(b - a for a, b in zip(times, times[1:]))


async def fail_over(cluster, watched, trouble, record_property,
                    *node_options):
    """Nodes heal from `trouble` by themselves, while messages flow."""
    a, b = cluster.nodes(2, watched.url, "--receipts", *node_options)
    old = watched.sentinels[-1].master_port()
    async with clients(a.url("ann"), b.url("bob")) as (ann, bob):
        await settled(ann)
        async with Traffic(ann, bob, "bob") as traffic:
            await eventually_async(traffic.sure_now)
            since = time.monotonic()
            trouble()
            await eventually_async(lambda: traffic.at[-1] > since + 0.5 and
                                   watched.sentinels[-1].master_port() != old,
                                   60)
            told = len(traffic.told)
            await eventually_async(
                lambda: len(traffic.told) > told + 20 and traffic.sure_now())
            lost = await traffic.finish()
        record_property("silence_ms",
                        round(traffic.longest_silence(since) * 1000))
        record_property("lost", len(lost))
        print(f"silence {traffic.longest_silence(since):.2f} s, "
              f"{len(lost)} of {traffic.n} not delivered: "
              f"{sorted({traffic.told[i] for i in lost})}")
        # Both ways, and for who comes now.
        async with connect(a.url("late")) as late:
            await bob.send("late welcome")
            assert await recv(late) == "welcome"


@on_loop
async def test_master_killed(cluster, watched, record_property):
    await fail_over(cluster, watched, watched.master.kill, record_property)


@on_loop
async def test_master_hangs(cluster, watched, record_property):
    await fail_over(cluster, watched, watched.master.pause, record_property)
    watched.master.resume()


@on_loop
async def test_failover_by_command(cluster, watched, record_property):
    def trouble():
        assert watched.sentinels[0].cli("SENTINEL", "FAILOVER", MASTER) == ["OK"]

    await fail_over(cluster, watched, trouble, record_property)


@on_loop
async def test_master_and_a_sentinel_killed(cluster, watched, record_property):
    """The sentinel is the one that the nodes follow."""
    def trouble():
        watched.sentinels[0].kill()
        watched.master.kill()

    await fail_over(cluster, watched, trouble, record_property)


@on_loop
async def test_only_sentinels_killed(cluster, watched):
    """A link that stands needs none of them; one by one they come back."""
    a, b = cluster.nodes(2, watched.url, "--receipts")
    async with clients(a.url("ann"), b.url("bob")) as (ann, bob):
        await settled(ann)
        for sentinel in watched.sentinels:
            sentinel.kill()
        await eventually_async(
            lambda: "no sentinel names the master" in a.log())
        await ann.send("bob still here")
        assert await recv(bob) == "still here"
        assert (await recv(ann)).startswith("ok bob")
        assert a.cluster_state() == b.cluster_state() == "up"
        for sentinel in watched.sentinels:
            sentinel.start()
        watched.master.kill()
        for node in (a, b):
            await eventually_async(
                lambda n=node: n.cluster_state() == "up" and
                n.metrics()["clusterpush_links_total"] > 1, 60)
        await ann.send("bob and again")
        assert await recv(bob) == "and again"


def test_old_news(cluster, watched):
    """The only sentinel left slept through a failover: its word moves no node
    off the master."""
    *others, sleeper = watched.sentinels
    node = cluster.node(watched.url)
    old = sleeper.master_port()
    sleeper.kill()
    assert others[0].cli("SENTINEL", "FAILOVER", MASTER) == ["OK"]
    eventually(lambda: old not in [s.master_port() for s in others], 30)
    eventually(lambda: node.metrics()["clusterpush_links_total"] > 1 and
               node.cluster_state() == "up", 30)
    n_links = node.metrics()["clusterpush_links_total"]
    for sentinel in others:
        sentinel.kill()
    sleeper.start()
    eventually(lambda: "has old news" in node.log(), 30)
    assert sleeper.master_port() == old
    assert node.cluster_state() == "up"
    assert node.metrics()["clusterpush_links_total"] == n_links


def test_sentinels_are_learned(cluster, watched):
    """Named is one, and it dies with the master."""
    url = watched.url_of(watched.sentinels[0])
    node = cluster.node(url)
    watched.sentinels[0].kill()
    watched.master.kill()
    eventually(lambda: node.cluster_state() == "down")
    eventually(lambda: node.cluster_state() == "up", 60)


def reason_of(node):
    return node.health()["reason"]


def test_reasons(cluster):
    """What is wrong is said by those who are asked how it stands."""
    redis = cluster.redis()
    sentinel = cluster.add(Sentinel(cluster, "lone", redis))
    nowhere = free_port()
    for url, reason in (
            (f"redis+sentinel://127.0.0.1:{sentinel.port}/other",
             "knows no such master"),
            (f"redis+sentinel://127.0.0.1:{redis.port}/{MASTER}",
             "is no sentinel"),
            (f"redis+sentinel://127.0.0.1:{nowhere}/{MASTER}",
             "connection refused")):
        node = cluster.node(url, up=False)
        eventually(lambda n=node, r=reason: r in reason_of(n))
        assert node.cluster_state() == "down"
        node.stop()


def test_a_hanging_sentinel_costs_a_second(cluster, watched):
    watched.sentinels[0].pause()
    node = cluster.node(watched.url)  # waits for "up"
    assert node.alive()
    watched.sentinels[0].resume()


def test_passwords_of_their_own(cluster):
    """The sentinel's is not the server's."""
    redis = cluster.redis("--requirepass", "r3dis")
    sentinel = cluster.add(Sentinel(
        cluster, "guarded", redis, "requirepass s3ntinel",
        f"sentinel auth-pass {MASTER} r3dis"))
    url = f"redis+sentinel://:r3dis@127.0.0.1:{sentinel.port}/{MASTER}"
    cluster.node(url, "--sentinel-password", "s3ntinel")
    for options in ((), ("--sentinel-password", "wrong")):
        node = cluster.node(url, *options, up=False)
        eventually(lambda n=node: "NOAUTH" in reason_of(n) or
                   "WRONGPASS" in reason_of(n))
        assert "s3ntinel" not in node.log() and "r3dis" not in node.log()


@pytest.mark.skipif(not redis_has_tls(), reason="this Redis has no TLS")
@on_loop
async def test_tls(cluster):
    """With both, the sentinels and the master that they name."""
    path = cluster.dir / "redis"
    make_certificate(path, "127.0.0.1", "IP")
    files = {"tls-cert-file": f"{path}.pem", "tls-key-file": f"{path}.key",
             "tls-ca-cert-file": f"{path}.pem", "tls-auth-clients": "no",
             "tls-replication": "yes"}
    master = cluster.redis(*(word for name, value in files.items()
                             for word in (f"--{name}", value)), tls=True)
    sentinel = cluster.add(Sentinel(
        cluster, "sentinel", master,
        *(" ".join(line) for line in files.items()),
        cli_options=("--tls", "--cacert", f"{path}.pem")))
    url = Watched.url_of(sentinel).replace("redis+", "rediss+")
    a, b = cluster.nodes(2, url, "--redis-ca", f"{path}.pem")
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await bob.send("alice over TLS")
        assert await recv(alice) == "over TLS"
    stranger = cluster.node(url, up=False)
    eventually(lambda: "certificate verify failed" in stranger.log())
    assert stranger.cluster_state() == "down"


def test_publisher(cluster, watched):
    node = cluster.node(watched.url)
    del node
    done = subprocess.run([CP_PUBLISH, "--redis", watched.url, "nobody", "hi"],
                          env=ENV, stdout=subprocess.PIPE, timeout=20)
    assert (done.returncode, done.stdout) == (1, b"0\n")
    watched.master.kill()
    eventually(lambda: subprocess.run(
        [CP_PUBLISH, "--redis", watched.url, "nobody", "hi"], env=ENV,
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        timeout=20).returncode == 1, 60)
