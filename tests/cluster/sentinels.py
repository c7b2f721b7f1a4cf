# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""A master, its replicas and the sentinels that watch them, on private ports."""

from harness import Process, Redis, eventually, free_port

MASTER = "mymaster"


class Sentinel(Process):
    """redis-server --sentinel; `lines` are added to its configuration."""

    def __init__(self, cluster, name, redis, *lines, cli_options=()):
        """`cli_options`: to reach it over TLS."""
        self.port = free_port()
        self.cli_options = cli_options
        config = cluster.dir / f"{name}.conf"
        port = "port 0\ntls-port" if cli_options else "port"
        config.write_text("\n".join([
            f"{port} {self.port}", "bind 127.0.0.1", f"dir {cluster.dir}",
            f"sentinel monitor {MASTER} 127.0.0.1 {redis.port} 2",
            f"sentinel down-after-milliseconds {MASTER} 500",
            f"sentinel failover-timeout {MASTER} 3000", *lines, ""]))
        super().__init__(cluster, name, ["redis-server", config, "--sentinel"])
        self.expected_exit = None
        self.await_ready()

    def cli_argv(self, *words):
        return ["redis-cli", *self.cli_options, "-p", str(self.port),
                *map(str, words)]

    cli = Redis.cli
    await_ready = Redis.await_ready

    def master_port(self):
        return int(self.cli("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def fields(self):
        """What it knows of the master."""
        lines = self.cli("SENTINEL", "MASTER", MASTER)
        return dict(zip(lines[::2], lines[1::2], strict=False))

    def sees(self, n_replicas, n_sentinels):
        fields = self.fields()
        return fields.get("flags") == "master" and \
            int(fields["num-slaves"]) == n_replicas and \
            int(fields["num-other-sentinels"]) == n_sentinels - 1


class Watched:
    """One master, two replicas, three sentinels that know each other."""

    def __init__(self, cluster, n_replicas=2, n_sentinels=3):
        self.master = cluster.redis("--repl-diskless-sync-delay", "0")
        self.redises = [self.master] + [
            cluster.redis("--replicaof", f"127.0.0.1 {self.master.port}")
            for _ in range(n_replicas)]
        self.sentinels = [
            cluster.add(Sentinel(cluster, f"sentinel{i}", self.master))
            for i in range(n_sentinels)]
        for replica in self.redises[1:]:
            eventually(lambda r=replica: "master_link_status:up" in
                       r.cli("INFO", "replication"))
        for sentinel in self.sentinels:
            eventually(lambda s=sentinel: s.sees(n_replicas, n_sentinels))

    @property
    def url(self):
        return self.url_of(*self.sentinels)

    @staticmethod
    def url_of(*sentinels):
        hosts = ",".join(f"127.0.0.1:{s.port}" for s in sentinels)
        return f"redis+sentinel://{hosts}/{MASTER}"

    def at(self, port):
        return next(redis for redis in self.redises if redis.port == port)
