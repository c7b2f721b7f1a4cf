# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""A Redis Cluster of real servers: three masters with a replica each.

    redis_cluster = RedisCluster(cluster)
    a, b = cluster.nodes(2, redis_cluster.url)
"""

import binascii
import subprocess

from harness import ENV, PATIENCE, eventually, free_port

N_SLOTS = 16384
NODE_TIMEOUT_MS = 1000


def slot_of(name):
    """Of what stands between the braces, if there are any."""
    data = name.encode()
    start = data.find(b"{")
    end = data.find(b"}", start + 1)
    if start >= 0 and end > start + 1:
        data = data[start + 1:end]
    return binascii.crc_hqx(data, 0) % N_SLOTS


class RedisCluster:
    """What only the cluster as a whole can do; `servers` are the Redis."""

    def __init__(self, cluster, n=6, options=(), cli_options=()):
        self.cli_options = cli_options  # to reach their ports
        self.servers = [
            cluster.redis("--cluster-enabled", "yes",
                          "--cluster-config-file", f"cluster{i}.conf",
                          "--cluster-node-timeout", str(NODE_TIMEOUT_MS),
                          "--cluster-port", str(free_port()), *options,
                          tls=bool(cli_options))
            for i in range(n)]
        self.create(n)

    def create(self, n):
        hosts = [f"127.0.0.1:{server.port}" for server in self.servers]
        done = subprocess.run(
            ["redis-cli", *self.cli_options, "--cluster", "create", *hosts,
             "--cluster-replicas", "1" if n > 3 else "0", "--cluster-yes"],
            env=ENV, timeout=60, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout.decode()
        eventually(self.is_whole)

    @property
    def url(self):
        hosts = ",".join(f"127.0.0.1:{s.port}" for s in self.servers)
        return f"redis+cluster://{hosts}"

    @staticmethod
    def is_master(server):
        return server.alive() and server.cli("ROLE")[0] == "master"

    def is_whole(self):
        """All are there, agree, and the replicas are in sync."""
        views = [sorted(self.ranges(server)) for server in self.servers]
        return all(view == views[0] for view in views) and all(
            "cluster_state:ok" in server.cli("CLUSTER", "INFO")
            and (self.is_master(server) or "master_link_status:up"
                 in server.cli("INFO", "replication"))
            for server in self.servers)

    def masters(self):
        """Those that have slots."""
        ports = {port for _, _, port in self.ranges()}
        return [s for s in self.servers if s.port in ports]

    def ranges(self, server=None):
        """(first, last, port of the master), as a server sees it."""
        server = server or next(s for s in self.servers if s.alive())
        for line in server.cli("CLUSTER", "NODES"):
            words = line.split()
            if "master" not in words[2]:
                continue
            port = int(words[1].split("@")[0].rsplit(":", 1)[1])
            for word in words[8:]:
                if not word.startswith("["):
                    first, _, last = word.partition("-")
                    yield int(first), int(last or first), port

    def owner_of(self, slot):
        for first, last, port in self.ranges():
            if first <= slot <= last:
                return next(s for s in self.servers if s.port == port)
        return None

    def id_of(self, server):
        return server.cli("CLUSTER", "MYID")[0]

    def replica_of(self, master):
        own_id = self.id_of(master)
        for line in master.cli("CLUSTER", "REPLICAS", own_id):
            port = int(line.split()[1].split("@")[0].rsplit(":", 1)[1])
            return next(s for s in self.servers if s.port == port)
        return None

    def begin_move(self, slot, source, target):
        target.cli("CLUSTER", "SETSLOT", slot, "IMPORTING",
                   self.id_of(source))
        source.cli("CLUSTER", "SETSLOT", slot, "MIGRATING",
                   self.id_of(target))

    def end_move(self, slot, source, target):
        """As redis-cli --cluster does: the target first."""
        for server in (target, source):
            answer = server.cli("CLUSTER", "SETSLOT", slot, "NODE",
                                self.id_of(target))
            assert answer == ["OK"], answer

    def move(self, slot, source, target):
        self.begin_move(slot, source, target)
        self.end_move(slot, source, target)

    def n_subscribers(self, user, prefix="cp"):
        """At the master that has the user's slot."""
        channel = f"{prefix}:u:{{{user}}}"
        server = self.owner_of(slot_of(channel))
        return int(server.cli("PUBSUB", "SHARDNUMSUB", channel)[1])


def await_subscribed(redis_cluster, *users):
    for user in users:
        eventually(lambda: redis_cluster.n_subscribers(user) > 0, PATIENCE)
