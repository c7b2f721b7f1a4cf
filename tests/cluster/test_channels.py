# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""The application's own channels, with redis-cli at the other end."""

import signal
import subprocess

import pytest

from harness import BUILD_DIR, ENV, PATIENCE, Process, eventually
from redis_cluster import RedisCluster
from sentinels import Watched


class Channels(Process):
    """examples/channels.c; `say` publishes a line to channel:demo."""

    def __init__(self, cluster, name, *words):
        super().__init__(cluster, name,
                         [BUILD_DIR / "examples" / "channels", *words])

    def start(self):
        with open(self.out_path, "ab") as out, open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(
                self.argv, stdin=subprocess.PIPE, stdout=out, stderr=log,
                env=ENV)
        self.paused = False

    def say(self, text):
        self.child.stdin.write(text.encode() + b"\n")
        self.child.stdin.flush()

    def stop(self, sig=signal.SIGKILL):
        """The end of its input ends it."""
        self.child.stdin.close()
        try:
            return self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return super().stop(sig)

    def lines(self):
        return self.out().splitlines()

    def has(self, line, n=1):
        eventually(lambda: self.lines().count(line) >= n)
        assert self.lines().count(line) == n


@pytest.fixture
def redis(cluster):
    return cluster.redis()


def channels(cluster, redis, *names):
    url = redis if isinstance(redis, str) else redis.url
    return cluster.add(Channels(
        cluster, f"c{len(cluster.processes)}", url, *names))


def test_both_ways_with_redis_cli(cluster, redis):
    a, b = channels(cluster, redis), channels(cluster, redis)
    for each in (a, b):
        each.has("[channel:demo] subscribed")
        each.has("[channel:*] subscribed")
    assert redis.cli("PUBLISH", "channel:demo", "hello") == ["4"]
    assert redis.cli("PUBLISH", "channel:other", "you") == ["2"]
    for each in (a, b):
        each.has("[channel:demo] channel:demo: hello")
        each.has("[channel:*] channel:demo: hello")
        each.has("[channel:*] channel:other: you")
    a.say("from a")
    a.has("published to 4")
    b.has("[channel:demo] channel:demo: from a")


def test_unsubscribed_from_inside(cluster, redis):
    node = channels(cluster, redis)
    node.has("[channel:*] subscribed")
    node.has("[channel:demo] subscribed")
    redis.cli("PUBLISH", "channel:other", "stop")
    node.has("[channel:*] channel:other: stop")
    eventually(lambda: redis.cli("PUBSUB", "NUMPAT") == ["0"])
    assert redis.cli("PUBLISH", "channel:demo", "on") == ["1"]
    node.has("[channel:demo] channel:demo: on")


def test_no_link_without_subscriptions(cluster, redis):
    cluster.node(redis)
    assert len([line for line in redis.cli("CLIENT", "LIST")
                if "name=clusterpush" in line]) == 2


def test_subscribed_again(cluster, redis):
    """After the break of its own link alone, and of all of them."""
    node = channels(cluster, redis)
    node.has("[channel:demo] subscribed")
    node.has("[channel:*] subscribed")
    for client in redis.cli("CLIENT", "LIST"):
        if "psub=1" in client:
            redis.cli("CLIENT", "KILL", "ID", client.split()[0][3:])
    node.has("[channel:demo] subscribed", 2)
    node.has("[channel:*] subscribed", 2)
    redis.restart()
    node.has("[channel:demo] subscribed", 3)
    node.has("[channel:*] subscribed", 3)
    assert redis.cli("PUBLISH", "channel:demo", "back") == ["2"]
    node.has("[channel:demo] channel:demo: back")


def test_a_forbidden_channel(cluster, redis):
    """It is told, and nobody else suffers; and it is tried again."""
    redis.cli("ACL", "SETUSER", "app", "on", ">pw", "+@all", "~*",
              "resetchannels", "&cp:*", "&channel:*")
    url = redis.url.replace("//", "//app:pw@")
    node = channels(cluster, url, "channel:1", "secret:1", "channel:2")
    node.has("[channel:1] subscribed")
    node.has("[channel:2] subscribed")
    node.has("[secret:1] Redis answered with an error")
    assert redis.cli("PUBLISH", "channel:2", "fine") == ["1"]
    node.has("[channel:2] channel:2: fine")
    redis.cli("ACL", "SETUSER", "app", "&secret:*")
    node.has("[secret:1] subscribed")


def test_without_redis(cluster):
    node = cluster.add(Channels(cluster, "alone"))
    node.has("[channel:demo] subscribed")
    node.say("hello")
    node.has("[channel:demo] channel:demo: hello")
    node.has("[channel:*] channel:demo: hello")
    node.has("published to 1")


def test_behind_sentinels(cluster):
    watched = Watched(cluster)
    node = channels(cluster, watched.url)
    node.has("[channel:*] subscribed")
    watched.master.kill()
    eventually(lambda: node.lines().count("[channel:*] subscribed") == 2, 60)
    # The node may have heard it from another sentinel, before this one knows.
    asked = watched.sentinels[0]
    eventually(lambda: asked.master_port() != watched.master.port)
    master = watched.at(asked.master_port())
    assert master.cli("PUBLISH", "channel:x", "healed") == ["1"]
    node.has("[channel:*] channel:x: healed")


def test_on_a_redis_cluster(cluster):
    """Whichever of its servers a message is published at; and when the master
    that has the channels is lost."""
    redis = RedisCluster(cluster)
    a, b = channels(cluster, redis.url), channels(cluster, redis.url)
    for each in (a, b):
        each.has("[channel:demo] subscribed")
        each.has("[channel:*] subscribed")
    for i, server in enumerate(redis.servers):
        server.cli("PUBLISH", "channel:demo", f"from {i}")
        for each in (a, b):
            each.has(f"[channel:demo] channel:demo: from {i}")
            each.has(f"[channel:*] channel:demo: from {i}")
    a.say("from a")
    a.has("published to 4")
    b.has("[channel:demo] channel:demo: from a")
    redis.owner_of(0).kill()
    for each in (a, b):
        each.has("[channel:demo] subscribed", 2)
        each.has("[channel:*] subscribed", 2)
    a.say("healed")
    b.has("[channel:demo] channel:demo: healed")


def test_what_is_ours_is_refused(cluster, redis):
    for name in ("cp:all", "*", "c*", "[a-d]p:x", "cp:u:{alice}"):
        node = channels(cluster, redis, name)
        assert node.wait() == 1
        assert "argument" in node.log()
        node.expected_exit = None
