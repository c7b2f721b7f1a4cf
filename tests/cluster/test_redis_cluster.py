# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Redis Cluster with sharded pub/sub: three masters with a replica each."""

import asyncio
import contextlib
import subprocess
import time

import pytest

from harness import (CP_PUBLISH, ENV, PATIENCE, Cluster, clients,
                     close_code_of, connect, eventually, eventually_async,
                     make_certificate, on_loop, recv, redis_has_tls, settled)
from redis_cluster import N_SLOTS, RedisCluster, slot_of


@pytest.fixture(scope="module")
def healthy():
    """One for all tests that leave it as it was."""
    cluster = Cluster()
    yield RedisCluster(cluster)
    cluster.close()
    cluster.remove()


@pytest.fixture
def mortal(cluster):
    return RedisCluster(cluster)


def channel_of(user):
    return f"cp:u:{{{user}}}"


def group_channel(group):
    return f"cp:g:{{{group}}}"


def n_in(redis_cluster, group):
    """Nodes with a member."""
    channel = group_channel(group)
    owner = redis_cluster.owner_of(slot_of(channel))
    return int(owner.cli("PUBSUB", "SHARDNUMSUB", channel)[1])


def users_of(redis_cluster, server, n):
    """So many users whose slots a master has."""
    ranges = [(first, last) for first, last, port in redis_cluster.ranges()
              if port == server.port]
    users = (f"u{i}" for i in range(N_SLOTS))
    return [user for user in users
            if any(first <= slot_of(channel_of(user)) <= last
                   for first, last in ranges)][:n]


async def in_thread(function, *args):
    return await asyncio.get_running_loop().run_in_executor(
        None, function, *args)


async def state_becomes(node, *states):
    async def reached():
        return await in_thread(node.cluster_state) in states

    await eventually_async(reached)


# All is well. --------------------------------------------------------------


@on_loop
async def test_users_of_all_slots_and_an_even_load(cluster, healthy):
    """Every message arrives, both ways, in order; and each master does its
    share."""
    n, rounds = 300, 10
    a, b = cluster.nodes(2, healthy.url)
    before = {s.port: s.n_calls("spublish") for s in healthy.masters()}
    async with contextlib.AsyncExitStack() as stack:
        urls = [(a if i % 2 == 0 else b).url(f"u{i}") for i in range(n)]
        everybody = [await stack.enter_async_context(connect(url))
                     for url in urls]
        for k in range(rounds):
            for i in range(n):  # each to the next one, on the other node
                await everybody[i].send(f"u{(i + 1) % n} {k}")
        for ws in everybody:
            for k in range(rounds):
                assert await recv(ws) == str(k)
        loads = [s.n_calls("spublish") - before[s.port]
                 for s in healthy.masters()]
    assert len(loads) == 3 and sum(loads) >= n * rounds
    assert min(loads) > sum(loads) / 5 and max(loads) < sum(loads) / 2, loads
    assert sum(s.n_calls("publish") for s in healthy.servers) == 0


@on_loop
async def test_results_count_the_owners(cluster, healthy):
    a, b = cluster.nodes(2, healthy.url, "--receipts")
    urls = a.url("alice"), b.url("alice"), b.url("bob")
    async with clients(*urls) as (one, two, bob):
        await settled(bob)
        await bob.send("alice hello")
        assert await recv(one) == await recv(two) == "hello"
        assert await recv(bob) == "ok alice nodes=2 conns=2"
        await bob.send("nobody hello")
        assert await recv(bob) == "offline nobody"
        await bob.send("* everybody")
        assert await recv(one) == await recv(two) == "everybody"
        assert {await recv(bob), await recv(bob)} == \
            {"everybody", "ok * nodes=2 conns=3"}


@on_loop
async def test_groups(cluster, healthy):
    """Each at a master of its own."""
    nodes = cluster.nodes(3, healthy.url, "--receipts")
    rooms = [f"room{i}" for i in range(8)]
    owners = {healthy.owner_of(slot_of(group_channel(room)))
              for room in rooms}
    assert len(owners) == 3
    async with clients(nodes[0].url("alice"), nodes[1].url("bob"),
                       nodes[2].url("carol")) as (alice, bob, carol):
        await settled(carol)
        for room in rooms:
            await alice.send(f"+{room}")
            assert await recv(alice) == f"ok +{room}"
            # Wherever bob is.
            await carol.send(f"bob+{room}")
            assert await recv(carol) == f"ok bob+{room} nodes=1 conns=1"
        await eventually_async(
            lambda: all(n_in(healthy, room) == 2 for room in rooms))
        for room in rooms:
            await carol.send(f"#{room} to {room}")
            assert await recv(carol) == f"ok #{room} nodes=2 conns=2"
            assert await recv(alice) == await recv(bob) == f"to {room}"


@on_loop
async def test_disconnect_users(cluster, healthy):
    a, b = cluster.nodes(2, healthy.url, "--receipts")
    users = [user for master in healthy.masters()
             for user in users_of(healthy, master, 1)]
    urls = [node.url(user) for user in users for node in (a, b)]
    async with connect(a.url("judge")) as judge, clients(*urls) as all_of_them:
        await settled(judge)
        for user in users:
            await judge.send(f"!{user} 4001 go")
            assert await recv(judge) == f"ok !{user} nodes=2 conns=2"
        for ws in all_of_them:
            assert await close_code_of(ws) == 4001


@on_loop
async def test_any_redis_client_can_push(cluster, healthy):
    node = cluster.node(healthy.url)
    async with connect(node.url("alice")) as alice:
        owner = healthy.owner_of(slot_of(channel_of("alice")))
        assert owner.cli("SPUBLISH", channel_of("alice"), "hi") == ["1"]
        assert await recv(alice) == "hi"
        # A client that knows clusters finds the owner by itself.
        other = next(s for s in healthy.masters() if s is not owner)
        done = subprocess.run(
            ["redis-cli", "-c", "-p", str(other.port), "SPUBLISH",
             channel_of("alice"), "you"], env=ENV, check=True, timeout=PATIENCE,
            stdout=subprocess.PIPE)
        assert done.stdout.split()[-1] == b"1"
        assert await recv(alice) == "you"


@on_loop
async def test_published_twice(cluster, healthy):
    """A master and its replica pass on what is published at either, and count
    their own subscribers alone: so a node that reached nobody may publish again
    what has arrived. It is delivered once, to the sender's own users too."""
    redis = pytest.importorskip("redis")
    a, b = cluster.nodes(2, healthy.url)
    async with clients(a.url("bob"), a.url("alice"), b.url("alice")) as (
            bob, *alice):
        owner = healthy.owner_of(slot_of(channel_of("alice")))
        port = healthy.replica_of(owner).port
        observer = redis.Connection("127.0.0.1", port)
        observer.send_command("SSUBSCRIBE", channel_of("alice"))
        assert observer.read_response()[0] == b"ssubscribe"
        await bob.send("alice hello")
        for ws in alice:
            assert await recv(ws) == "hello"
        payload = (await in_thread(observer.read_response))[2]
        with redis.Redis("127.0.0.1", port) as replica:
            assert replica.execute_command(
                "SPUBLISH", channel_of("alice"), payload) == 1
        observer.disconnect()
        await eventually_async(lambda: all(
            node.metrics()["clusterpush_duplicates_total"] == 1
            for node in (a, b)))
        await bob.send("alice next")
        for ws in alice:
            assert await recv(ws) == "next"


@on_loop
async def test_redis_py(cluster, healthy):
    """As docs/wire-format.md has it."""
    redis = pytest.importorskip("redis")
    users = [user for master in healthy.masters()
             for user in users_of(healthy, master, 1)]
    node = cluster.node(healthy.url)

    def send():
        r = redis.RedisCluster("127.0.0.1", healthy.servers[0].port)
        return [r.execute_command(
                    "SPUBLISH", channel_of(user), "hello",
                    target_nodes=r.get_node_from_key(channel_of(user)))
                for user in users]

    async with clients(*(node.url(user) for user in users)) as everybody:
        assert await in_thread(send) == [1, 1, 1]
        for ws in everybody:
            assert await recv(ws) == "hello"


@on_loop
async def test_publisher(cluster, healthy):
    node = cluster.node(healthy.url)
    async with connect(node.url("alice")) as alice:
        done = await in_thread(lambda: subprocess.run(
            [CP_PUBLISH, "--redis", healthy.url, "alice", "from afar"],
            env=ENV, timeout=PATIENCE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT))
        assert done.returncode == 0, done.stdout.decode()
        assert await recv(alice) == "from afar"


@on_loop
async def test_online(cluster, healthy):
    """Users of all masters in one question."""
    a, b = cluster.nodes(2, healthy.url)
    users = [f"u{i}" for i in range(40)]
    owners = {healthy.owner_of(slot_of(channel_of(user))) for user in users}
    assert len(owners) == 3
    urls = [node.url(user) for i, user in enumerate(users)
            for node in (a, b)[:i % 3]]
    async with connect(a.url("zoe")) as zoe, clients(*urls):
        before = [s.n_calls("pubsub|shardnumsub") for s in healthy.masters()]
        question = f"?{','.join(users)}"
        await zoe.send(question)
        assert await recv(zoe) == f"online {question} nodes=" + ",".join(
            str(i % 3) for i in range(len(users)))
        asked = [s.n_calls("pubsub|shardnumsub") for s in healthy.masters()]
        assert [n - m for m, n in zip(before, asked)] == [1, 1, 1]


@on_loop
async def test_users_come_and_go(cluster, healthy):
    node = cluster.node(healthy.url)
    users = [f"c{i}" for i in range(30)]
    async with clients(*(node.url(user) for user in users)):
        assert all(healthy.n_subscribers(user) == 1 for user in users)
    await eventually_async(
        lambda: all(healthy.n_subscribers(user) == 0 for user in users))


def test_a_replica_may_be_asked_for_the_slots(cluster, healthy):
    replica = next(s for s in healthy.servers if not healthy.is_master(s))
    cluster.node(f"redis+cluster://127.0.0.1:{replica.port}")


def test_user_with_the_fewest_rights(cluster, healthy):
    for server in healthy.servers:
        server.cli("ACL", "SETUSER", "app", "reset", "on", ">pw",
                   "resetchannels", "&cp:*", "-@all", "+ssubscribe",
                   "+sunsubscribe", "+spublish", "+cluster|slots")
    host = f"127.0.0.1:{healthy.servers[0].port}"
    node = cluster.node(f"redis+cluster://app:pw@{host}")
    refusals = [line for line in node.log().splitlines() if "NOPERM" in line]
    assert len(refusals) == len(set(refusals)), node.log()
    # Without the right to ask for the slots it is said why.
    for server in healthy.servers:
        server.cli("ACL", "SETUSER", "app", "-cluster|slots")
    other = cluster.node(f"redis+cluster://app:pw@{host}", up=False)
    eventually(lambda: "NOPERM" in other.log() and
               "CLUSTER SLOTS" in other.log())
    assert other.cluster_state() == "down" and other.alive()


def test_wrong_password(cluster, healthy):
    host = f"127.0.0.1:{healthy.servers[0].port}"
    node = cluster.node(f"redis+cluster://nobody:wrong@{host}", up=False)
    eventually(lambda: "WRONGPASS" in node.log())
    assert node.cluster_state() == "down" and node.alive()


def test_no_cluster(cluster):
    redis = cluster.redis()
    node = cluster.node(f"redis+cluster://127.0.0.1:{redis.port}", up=False)
    eventually(lambda: "cluster support disabled" in node.log())
    assert node.cluster_state() == "down" and node.alive()


@on_loop
async def test_tls(cluster):
    """To the scout's host and to the masters, whose certificate must be for the
    address that CLUSTER SLOTS names."""
    if not redis_has_tls():
        pytest.skip("this Redis has no TLS")
    path = cluster.dir / "redis"
    make_certificate(path, "127.0.0.1", "IP")
    files = ("--tls-cert-file", f"{path}.pem", "--tls-key-file", f"{path}.key",
             "--tls-ca-cert-file", f"{path}.pem", "--tls-auth-clients", "no",
             "--tls-cluster", "yes", "--tls-replication", "yes")
    secure = RedisCluster(cluster, 3, files,
                          ["--tls", "--cacert", f"{path}.pem"])
    url = secure.url.replace("redis+", "rediss+")
    a, b = cluster.nodes(2, url, "--redis-ca", f"{path}.pem")
    users = [user for master in secure.masters()
             for user in users_of(secure, master, 1)]
    async with clients(*(a.url(user) for user in users), b.url("bob")) as (
            *there, bob):
        for user, ws in zip(users, there):
            await bob.send(f"{user} over TLS")
            assert await recv(ws) == "over TLS"
    stranger = cluster.node(url, up=False)
    eventually(lambda: "certificate verify failed" in stranger.log())
    assert stranger.cluster_state() == "down"


# Numbered messages. --------------------------------------------------------


class Stream:
    """Numbered messages from one user to others, at a steady rate, with a
    receipt each; and what became of them."""

    def __init__(self, sender, receivers):
        self.sender = sender
        self.receivers = receivers  # user: connection
        self.got = {user: [] for user in receivers}
        self.receipts = {user: [] for user in receivers}
        self.n_sent = {user: 0 for user in receivers}
        self.last_bad = None  # when the last receipt came that was not "ok"
        self.running = True

    async def send(self):
        while self.running:
            for user in self.receivers:
                await self.sender.send(f"{user} {self.n_sent[user]}")
                self.n_sent[user] += 1
            await asyncio.sleep(0.005)

    async def listen(self, user, ws):
        while True:
            self.got[user].append(int(await ws.recv()))

    async def read_receipts(self):
        while True:
            state, user, *_ = (await self.sender.recv()).split()
            self.receipts[user].append(state)
            if state != "ok":
                self.last_bad = time.monotonic()

    @contextlib.asynccontextmanager
    async def run(self):
        tasks = [asyncio.create_task(self.listen(user, ws))
                 for user, ws in self.receivers.items()]
        tasks.append(asyncio.create_task(self.read_receipts()))
        sending = asyncio.create_task(self.send())
        yield self
        self.running = False
        await sending
        # A receipt for each; and what was ok arrives.
        await eventually_async(lambda: all(
            len(self.receipts[user]) == self.n_sent[user]
            for user in self.receivers))
        await eventually_async(lambda: all(
            self.n_missing(user) <= self.n_told(user)
            for user in self.receivers))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def n_missing(self, user):
        return self.n_sent[user] - len(set(self.got[user]))

    def n_told(self, user):
        return sum(state != "ok" for state in self.receipts[user])

    def check(self):
        """Nothing twice, nothing out of order, nothing lost in silence."""
        for user in self.receivers:
            got = self.got[user]
            assert got == sorted(set(got)), f"{user}: {got}"
            assert self.n_missing(user) <= self.n_told(user)

    async def flows(self):
        """Fifty messages to each in a row went well."""
        await eventually_async(lambda: all(
            self.receipts[user][-50:] == ["ok"] * 50
            for user in self.receivers), 30)


@contextlib.asynccontextmanager
async def stream(cluster, redis_cluster, users):
    a, b = cluster.nodes(2, redis_cluster.url, "--receipts")
    async with clients(a.url("sender"), *(b.url(user) for user in users)) as (
            sender, *receivers):
        await settled(sender)
        async with Stream(sender, dict(zip(users, receivers))).run() as s:
            await s.flows()
            s.nodes = a, b
            yield s
    s.check()


@on_loop
async def test_slots_move_while_messages_flow(cluster, healthy):
    """To the next master and back. What is under way goes round by the new
    owner; nobody's order changes."""
    masters = healthy.masters()
    users = [user for master in masters
             for user in users_of(healthy, master, 2)]
    async with stream(cluster, healthy, users) as s:
        for turn in range(2):
            for user in users:
                slot = slot_of(channel_of(user))
                source = await in_thread(healthy.owner_of, slot)
                target = masters[(masters.index(source) + (1, 2)[turn]) % 3]
                await in_thread(healthy.begin_move, slot, source, target)
                await asyncio.sleep(0.1)
                await in_thread(healthy.end_move, slot, source, target)
                await eventually_async(
                    lambda: healthy.n_subscribers(user) == 1)
        await s.flows()
        assert [n.cluster_state() for n in s.nodes] == ["up", "up"]
        # No link broke.
        assert not any("lost Redis" in node.log() for node in s.nodes)
    missing = sum(s.n_missing(user) for user in users)
    print(f"12 slots moved, {sum(s.n_sent.values())} messages, "
          f"{missing} missed and told")


@on_loop
async def test_probe_and_node_slots_move(cluster, healthy):
    """All slots of one master but a few go: its probe has to find another
    channel, again and again."""
    node = cluster.node(healthy.url)
    source, target, _ = healthy.masters()
    moved = [slot for first, last, port in healthy.ranges()
             if port == source.port for slot in range(first, last + 1)]

    def move(slots, a, b):
        for server, state, owner in ((b, "IMPORTING", a), (b, "NODE", b),
                                     (a, "NODE", b)):
            owner_id = healthy.id_of(owner)
            words = "".join(f"CLUSTER SETSLOT {slot} {state} {owner_id}\n"
                            for slot in slots)
            subprocess.run(server.cli_argv(), input=words.encode(), env=ENV,
                           check=True, timeout=PATIENCE,
                           stdout=subprocess.PIPE)

    await in_thread(move, moved[:-3], source, target)
    probes = source.n_calls("spublish")
    await eventually_async(lambda: source.n_calls("spublish") >= probes + 2)
    assert await in_thread(node.cluster_state) == "up"
    await in_thread(move, moved[:-3], target, source)
    await state_becomes(node, "up")
    assert "lost Redis" not in node.log(), node.log()


# Masters that go. ----------------------------------------------------------


@on_loop
async def test_a_master_is_killed(cluster, mortal):
    """The others go on at once; its users come back with the replica that is
    promoted, by themselves."""
    victim, other, _ = mortal.masters()
    users = users_of(mortal, victim, 2)
    unhurt = users_of(mortal, other, 2)
    async with stream(cluster, mortal, users + unhurt) as s:
        await in_thread(victim.kill)
        killed = time.monotonic()
        a, b = s.nodes
        await state_becomes(a, "degraded")
        # Those of another master miss nothing.
        seen = {user: len(s.got[user]) for user in unhurt}
        await eventually_async(lambda: all(
            len(s.got[user]) > seen[user] + 20 for user in unhurt))
        await state_becomes(a, "up")
        await state_becomes(b, "up")
        healed = time.monotonic() - killed
        await s.flows()
        sure = s.last_bad - killed
    for user in unhurt:
        assert s.got[user] == list(range(s.n_sent[user]))
    missing = sum(s.n_missing(user) for user in users)
    print(f"a master killed: up again after {healed:.1f} s, sure again after "
          f"{sure:.1f} s; of {sum(s.n_sent.values())} messages {missing} "
          "missed and told")


@on_loop
async def test_a_master_hangs_with_own_messages(cluster, mortal):
    """What a node sends to its own users and a master has swallowed: they get
    it when the link breaks, whatever came by another master meanwhile; once,
    and before what is sent later."""
    victim, other, _ = mortal.masters()
    (alice_id,), (bob_id,) = (users_of(mortal, server, 1)
                              for server in (victim, other))
    node = cluster.node(mortal.url)
    async with clients(node.url(alice_id), node.url(bob_id)) as (alice, bob):
        victim.pause()
        await bob.send(f"{alice_id} swallowed")
        await bob.send(f"{bob_id} unhurt")
        assert await recv(bob) == "unhurt"
        await in_thread(victim.kill)
        assert await recv(alice) == "swallowed"
        await bob.send(f"{alice_id} later")
        assert await recv(alice) == "later"
        await state_becomes(node, "up")
        await bob.send(f"{alice_id} healed")
        assert await recv(alice) == "healed"


@on_loop
async def test_manual_failover(cluster, mortal):
    """Master and replica change places: both links stay open to a server that
    is a replica now."""
    master = mortal.masters()[0]
    users = users_of(mortal, master, 2)
    async with stream(cluster, mortal, users) as s:
        replica = await in_thread(mortal.replica_of, master)
        assert replica.cli("CLUSTER", "FAILOVER") == ["OK"]
        await eventually_async(lambda: mortal.is_master(replica))
        await eventually_async(lambda: all(
            mortal.n_subscribers(user) == 1 for user in users))
        await s.flows()
        for node in s.nodes:
            await state_becomes(node, "up")
    print(f"failover: {sum(s.n_missing(user) for user in users)} missed of "
          f"{sum(s.n_sent.values())}")


@on_loop
async def test_cluster_is_restarted(cluster, mortal):
    a, b = cluster.nodes(2, mortal.url)
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        for server in mortal.servers:
            await in_thread(server.kill)
        await state_becomes(a, "down")
        for server in mortal.servers:
            await in_thread(server.restart)
        await state_becomes(a, "up")
        await state_becomes(b, "up")

        async def reached():
            await bob.send("alice again")
            with contextlib.suppress(asyncio.TimeoutError):
                return await asyncio.wait_for(alice.recv(), 0.5)

        await eventually_async(reached)


@on_loop
async def test_node_starts_while_a_master_is_away(cluster, mortal):
    """What works goes on: users of the others are served."""
    victim, other, _ = mortal.masters()
    replica = mortal.replica_of(victim)
    replica.kill()
    victim.kill()
    node = cluster.node(mortal.url, up=False)
    await state_becomes(node, "degraded")
    users = users_of(mortal, other, 2)
    async with clients(*(node.url(user) for user in users)) as (one, two):
        await one.send(f"{users[1]} hello")
        assert await recv(two) == "hello"
    await in_thread(victim.restart)
    await state_becomes(node, "up")
