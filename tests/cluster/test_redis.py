# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Redis that goes, comes, stalls or refuses: nodes go on and heal."""

import asyncio
import contextlib
import re
import socket
import threading

import pytest

from harness import (clients, connect, eventually, eventually_async, free_port,
                     notice_of, on_loop, recv, recv_all, settled)


@pytest.fixture
def redis(cluster):
    return cluster.redis()


async def state_becomes(node, *states):
    loop = asyncio.get_running_loop()

    async def reached():
        state = await loop.run_in_executor(None, node.cluster_state)
        return state in states

    await eventually_async(reached)


# Away and back. ------------------------------------------------------------


@on_loop
async def test_restart_with_two_thousand_users(cluster, redis):
    """kill -9, the same port: everybody is subscribed again, and nobody's
    connection ended."""
    n = 2000
    nodes = cluster.nodes(2, redis)
    urls = [nodes[i % 2].url(f"u{i}") for i in range(n)]
    async with contextlib.AsyncExitStack() as stack:
        everybody = []
        for at in range(0, n, 100):
            everybody += await asyncio.gather(*(
                stack.enter_async_context(connect(url))
                for url in urls[at:at + 100]))
        a, b = [await stack.enter_async_context(connect(node.url("sender")))
                for node in nodes]
        redis.kill()
        for node in nodes:
            await state_becomes(node, "down")
        redis.restart()
        for node in nodes:
            await state_becomes(node, "up")
        assert redis.n_subscribers("u0") == redis.n_subscribers("u1999") == 1
        for i in range(n):  # from the other node
            await (b if i % 2 == 0 else a).send(f"u{i} after the restart {i}")
        for i, ws in enumerate(everybody):
            assert await recv(ws) == f"after the restart {i}"


@on_loop
async def test_local_users_are_served_while_redis_is_away(cluster, redis):
    a, b = cluster.nodes(2, redis, "--receipts")
    async with clients(a.url("alice"), a.url("ann"), b.url("bob")) as (
            alice, ann, bob):
        redis.kill()
        await state_becomes(a, "down")
        await ann.send("alice near")
        assert await recv(alice) == "near"
        # Who connects meanwhile is let in, and reached as soon as it is back.
        async with connect(a.url("late")) as late:
            await ann.send("late welcome")
            assert await recv(late) == "welcome"
            redis.restart()
            await state_becomes(a, "up")
            await state_becomes(b, "up")
            # What waited for the other nodes has gone out, and isn't heard
            # here a second time.
            assert re.match("(ok|unsure) alice", await recv(ann))
            assert re.match("(ok|unsure) late", await recv(ann))
            await bob.send("late from afar")
            assert await recv(late) == "from afar"


@on_loop
async def test_messages_wait_for_redis(cluster, redis):
    """What is sent to another node's users during an outage arrives after it,
    in order, before what is sent later."""
    a, b = cluster.nodes(2, redis)
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        redis.kill()
        await state_becomes(a, "down")
        await state_becomes(b, "down")
        for i in range(500):
            await alice.send(f"bob {i}")
        await eventually_async(
            lambda: a.metrics()["clusterpush_outbox_messages"] == 500)
        redis.restart()
        for i in range(500, 600):
            await alice.send(f"bob {i}")
        assert await recv_all(bob, 600) == [str(i) for i in range(600)]
        metrics = a.metrics()
        assert metrics["clusterpush_outbox_messages"] == 0
        assert metrics["clusterpush_outbox_bytes"] == 0
        assert metrics["clusterpush_outbox_dropped_total"] == 0


@on_loop
async def test_order_and_no_duplicates_through_restarts(cluster, redis):
    """Links are cut in the midst of a stream, from a node whose user it is and
    from another: each of both gets every message at most once, in order; on
    the sender's own node, each of them."""
    a, b = cluster.nodes(2, redis)
    async with clients(a.url("ann"), a.url("alice"), b.url("alice")) as (
            ann, near, far):
        n = 3000
        for i in range(n):
            await ann.send(f"alice {i}")
            if i % 500 == 250:
                redis.cli("CLIENT", "KILL", "TYPE", "normal")
        assert await recv_all(near, n) == [str(i) for i in range(n)]
        heard = []
        while not heard or heard[-1] != n - 1:
            heard.append(int(await recv(far)))
        assert heard == sorted(set(heard))
        # Its own subscriber was cut only with the other link: what it missed
        # was published while it was coming back.
        assert len(heard) > n / 2


@on_loop
async def test_node_starts_before_redis(cluster, redis):
    redis.kill()
    node = cluster.node(redis, up=False)
    assert node.get("/healthz")[0] == 503
    async with connect(node.url("alice", notices=True)) as alice:
        assert notice_of(await recv(alice))["cluster"] == "down"
        redis.restart()
        states = []
        while "up" not in states:
            states.append(notice_of(await recv(alice))["cluster"])
        assert node.get("/healthz")[0] == 200
        assert redis.cli("PUBLISH", "cp:u:{alice}", "there") == ["1"]
        assert await recv(alice) == "there"


@on_loop
async def test_notices_tell_of_the_cluster(cluster, redis):
    node = cluster.node(redis)
    async with connect(node.url("alice", notices=True)) as alice:
        first = notice_of(await recv(alice))
        assert (first["cluster"], first["redis"]) == ("up", True)
        redis.kill()
        states = []
        while "down" not in states:
            states.append(notice_of(await recv(alice))["cluster"])
        # Attempts that fail are no change.
        await eventually_async(lambda: "no link to Redis" in node.log())
        redis.restart()
        while states[-1] != "up":
            states.append(notice_of(await recv(alice))["cluster"])
        # A change each.
        assert all(x != y for x, y in zip(states, states[1:]))


@on_loop
async def test_paused_redis(cluster, redis):
    """SIGSTOP: the sockets stay open and nothing answers. The node must find
    that out by itself, serve meanwhile, and heal."""
    a, b = cluster.nodes(2, redis, "--receipts")
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await settled(bob)
        redis.pause()
        for i in range(20):
            await bob.send(f"alice {i}")
        await state_becomes(a, "down")  # it answers all the while
        await state_becomes(b, "down")
        redis.resume()
        await state_becomes(a, "up")
        await state_becomes(b, "up")
        # A receipt for each, whatever became of it, in order.
        receipts = await recv_all(bob, 20)
        assert all(re.match("(ok|unsure|error|offline) alice", r)
                   for r in receipts)
        await bob.send("alice healed")
        while await recv(alice) != "healed":
            pass
        assert (await recv(bob)).startswith(("ok alice", "unsure alice"))


@on_loop
async def test_redis_restarts_many_times(cluster, redis):
    a, b = cluster.nodes(2, redis)
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        for i in range(5):
            redis.restart()

            async def reached():
                await bob.send(f"alice round {i}")
                with contextlib.suppress(asyncio.TimeoutError):
                    return await asyncio.wait_for(alice.recv(), 0.5) == \
                        f"round {i}"

            await eventually_async(reached)


@on_loop
async def test_links_are_killed_by_redis(cluster, redis):
    """CLIENT KILL on both links, as an administrator would."""
    a, b = cluster.nodes(2, redis)
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        for kind in ("pubsub", "normal"):
            links = a.metrics(), b.metrics()
            redis.cli("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            await eventually_async(
                lambda: (a.metrics(), b.metrics()) != links)
            await state_becomes(a, "up")
            await state_becomes(b, "up")

            async def reached():
                await bob.send("alice again")
                with contextlib.suppress(asyncio.TimeoutError):
                    return await asyncio.wait_for(alice.recv(), 0.5)

            await eventually_async(reached)


# Wrong from the start. -----------------------------------------------------


def is_down(node):
    health = node.health()
    assert node.alive()
    return health["cluster"] == "down" and health["redis"] is False


def test_wrong_password(cluster):
    redis = cluster.redis("--requirepass", "right")
    wrong = f"redis://:wrong@127.0.0.1:{redis.port}"
    node = cluster.node(wrong, up=False)
    eventually(lambda: re.search("WRONGPASS|invalid password", node.log()))
    assert is_down(node) and node.get("/healthz")[0] == 503
    # The administrator mends it, the node needs no restart.
    redis.cli("--no-auth-warning", "-a", "right", "CONFIG", "SET",
              "requirepass", "wrong")
    node.await_up()


def test_no_password(cluster):
    redis = cluster.redis("--requirepass", "secret")
    node = cluster.node(redis, up=False)
    eventually(lambda: "NOAUTH" in node.log())
    assert is_down(node)


@on_loop
async def test_right_password(cluster):
    redis = cluster.redis("--requirepass", "s3cret:/@%")
    url = f"redis://:s3cret%3A%2F%40%25@127.0.0.1:{redis.port}"
    a, b = cluster.nodes(2, url)
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await bob.send("alice hi")
        assert await recv(alice) == "hi"
    assert "s3cret" not in a.log()


def test_unknown_host(cluster):
    node = cluster.node("redis://no-such-host.invalid:6379", up=False)
    eventually(lambda: "no-such-host.invalid" in node.log())
    assert is_down(node)


def test_nobody_listens(cluster):
    port = free_port()
    node = cluster.node(f"redis://127.0.0.1:{port}", up=False)
    eventually(lambda: re.search("ECONNREFUSED|refused", node.log()))
    assert is_down(node)


class Impostor:
    """Listens, answers every connection with the same bytes, counts them."""

    def __init__(self, answer):
        self.answer = answer
        self.n_connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        kept = []
        with contextlib.suppress(OSError):
            while True:
                conn, _ = self.listener.accept()
                self.n_connections += 1
                kept.append(conn)  # the node has to give up, not the peer
                conn.sendall(self.answer)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x00\x01\x02\x03" * 100,
    b"*1000000000\r\n",
    b"$999999999999\r\n",
    b"-ERR go away\r\n-ERR go away\r\n-ERR go away\r\n",
    b"+OK\r\n" * 100,
], ids=["http", "ssh", "zeros", "huge array", "huge string", "errors",
        "unasked"])
def test_a_port_that_speaks_no_redis(cluster, answer):
    impostor = Impostor(answer)
    node = cluster.node(f"redis://127.0.0.1:{impostor.port}", up=False)
    eventually(lambda: impostor.n_connections >= 4)  # it tries again
    assert is_down(node)
    assert "no link to Redis: " in node.log()
    impostor.close()


def test_a_port_that_says_nothing(cluster):
    impostor = Impostor(b"")
    node = cluster.node(f"redis://127.0.0.1:{impostor.port}", up=False)
    eventually(lambda: impostor.n_connections >= 4)
    assert is_down(node)
    impostor.close()


@on_loop
async def test_user_with_the_fewest_rights(cluster, redis):
    """Neither ROLE nor INFO nor CLIENT nor anything but pub/sub."""
    redis.cli("ACL", "SETUSER", "app", "reset", "on", ">pw", "resetchannels",
              "&cp:*", "-@all", "+subscribe", "+unsubscribe", "+publish")
    url = f"redis://app:pw@127.0.0.1:{redis.port}"
    a, b = cluster.nodes(2, url, "--receipts")
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await settled(bob)
        await bob.send("alice hi")
        assert await recv(alice) == "hi"
        assert await recv(bob) == "ok alice nodes=1 conns=1"
        # Two probes of each: commands that are refused don't break the link.
        logs, probes = (a.log(), b.log()), redis.n_calls("publish")
        await eventually_async(
            lambda: redis.n_calls("publish") >= probes + 4)
        assert (a.log(), b.log()) == logs
        assert a.cluster_state() == b.cluster_state() == "up"


def test_redis_allows_a_subscriber_less_than_nodes_send(cluster, redis):
    low = cluster.redis("--client-output-buffer-limit", "pubsub 32mb 1mb 60")
    node, other = cluster.node(low), cluster.node(redis)
    warning = "Redis closes a subscriber when 1048576 bytes wait for it"
    assert node.log().count(warning) == 1
    assert "Redis closes a subscriber" not in other.log()
    low.cli("CLIENT", "KILL", "TYPE", "pubsub")
    eventually(lambda: node.log().count("linked to Redis") == 2)
    assert node.log().count(warning) == 1


def test_user_without_the_channels(cluster, redis):
    """No right to our channels: said, and mended without a restart."""
    redis.cli("ACL", "SETUSER", "app", "reset", "on", ">pw", "resetchannels",
              "&other:*", "+@all")
    node = cluster.node(f"redis://app:pw@127.0.0.1:{redis.port}", up=False)
    eventually(lambda: "NOPERM" in node.log())
    assert node.cluster_state() != "up" and node.alive()
    redis.cli("ACL", "SETUSER", "app", "&cp:*")
    node.await_up()


def test_replica_is_no_master(cluster, redis):
    """A replica takes subscriptions, but what is published there reaches
    nobody at the master: such a link must not count as up."""
    replica = cluster.redis("--replicaof", "127.0.0.1", str(redis.port))
    eventually(lambda: "master_link_status:up" in replica.cli("INFO",
                                                              "replication"))
    node = cluster.node(replica, up=False)
    eventually(lambda: re.search("master|replica|slave", node.log()))
    assert node.cluster_state() != "up"
    replica.cli("REPLICAOF", "NO", "ONE")
    node.await_up()
