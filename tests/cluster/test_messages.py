# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Messages between nodes: what is sent on one arrives on the others."""

import subprocess

import pytest

from harness import (CP_PUBLISH, ENV, PATIENCE, clients, connect, eventually,
                     eventually_async, notice_of, on_loop, recv, recv_all,
                     settled)

SIZES = [0, 1, 125, 126, 65535, 65536, 1 << 20]


@pytest.fixture
def redis(cluster):
    return cluster.redis()


@on_loop
async def test_text_reaches_another_node(cluster, redis):
    a, b = cluster.nodes(2, redis)
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await bob.send("alice hello there")
        assert await recv(alice) == "hello there"
        await alice.send("bob and back, größer als ASCII: 🦉")
        assert await recv(bob) == "and back, größer als ASCII: 🦉"


@on_loop
async def test_binary_reaches_another_node(cluster, redis):
    a, b = cluster.nodes(2, redis)
    every_byte = bytes(range(256))
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await bob.send(b"alice \0" + every_byte)
        assert await recv(alice) == every_byte


@on_loop
async def test_text_that_is_binary_stays_binary(cluster, redis):
    """A binary message whose bytes are valid UTF-8 doesn't become text."""
    a, b = cluster.nodes(2, redis)
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await bob.send(b"alice \0plain ASCII")
        assert await recv(alice) == b"plain ASCII"
        await bob.send(b"alice \0\xc1\x00 like an envelope")
        assert await recv(alice) == b"\xc1\x00 like an envelope"


@on_loop
async def test_same_node(cluster, redis):
    node = cluster.node(redis)
    async with clients(node.url("alice"), node.url("bob")) as (alice, bob):
        await bob.send("alice near")
        assert await recv(alice) == "near"
        await bob.send("bob myself")
        assert await recv(bob) == "myself"


@on_loop
async def test_one_node_without_redis(cluster):
    node = cluster.node()
    async with clients(node.url("alice"), node.url("bob")) as (alice, bob):
        await bob.send("alice no Redis needed")
        assert await recv(alice) == "no Redis needed"
        await bob.send("* all")
        assert await recv(alice) == await recv(bob) == "all"


@on_loop
async def test_unix_socket_url(cluster, redis):
    a, b = cluster.nodes(2, redis.unix_url)
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await bob.send("alice by Unix socket")
        assert await recv(alice) == "by Unix socket"


@pytest.mark.parametrize("size", SIZES)
@on_loop
async def test_sizes(cluster, redis, size):
    options = ["--max-message", str(2 << 20), "--send-queue", str(8 << 20)]
    a, b = cluster.nodes(2, redis, *options)
    text = "t" * size
    binary = bytes(i * 7 & 255 for i in range(251)) * (size // 251 + 1)
    binary = binary[:size]
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await bob.send("alice " + text)
        await bob.send(b"alice \0" + binary)
        assert await recv(alice) == text
        assert await recv(alice) == binary


@pytest.mark.parametrize("user", [
    "a", "u" * 255, "Jürgen", "日本", "a{b}c", "a*b?[c]", "a:b/c&d=e%41+",
    "{curly}", "\x7f\x01"])
@on_loop
async def test_users_of_any_name(cluster, redis, user):
    a, b = cluster.nodes(2, redis)
    async with clients(a.url(user), b.url("bob")) as (there, bob):
        await bob.send(f"{user} for you")
        assert await recv(there) == "for you"


@on_loop
async def test_similar_names_get_nothing(cluster, redis):
    a, b = cluster.nodes(2, redis, "--receipts")
    names = ["alice", "alic", "alice2", "Alice", "a*", "alice}"]
    urls = [a.url(name) for name in names]
    async with clients(b.url("bob"), *urls) as (bob, *others):
        await bob.send("alice only for alice")
        assert await recv(others[0]) == "only for alice"
        # Behind it in order: whoever got the first would have it before this.
        await bob.send("* end")
        for ws in others:
            assert await recv(ws) == "end"


@on_loop
async def test_one_user_on_three_nodes_with_two_connections_each(
        cluster, redis):
    nodes = cluster.nodes(3, redis, "--receipts")
    urls = [node.url("alice") for node in nodes for _ in range(2)]
    async with clients(nodes[0].url("bob"), *urls) as (bob, *all_of_alice):
        await settled(bob)
        for i in range(20):
            await bob.send(f"alice number {i}")
        expected = [f"number {i}" for i in range(20)]
        for ws in all_of_alice:
            assert await recv_all(ws, 20) == expected
        assert await recv_all(bob, 20) == ["ok alice nodes=3 conns=6"] * 20


@on_loop
async def test_order_of_ten_thousand(cluster, redis):
    n = 10_000
    a, b = cluster.nodes(2, redis, "--send-queue", str(64 << 20))
    async with clients(a.url("alice"), b.url("alice"), b.url("bob")) as (
            here, there, bob):
        for i in range(n):
            await bob.send(f"alice {i}")
        expected = [str(i) for i in range(n)]
        assert await recv_all(here, n) == expected
        assert await recv_all(there, n) == expected


@on_loop
async def test_order_of_text_and_binary(cluster, redis):
    a, b = cluster.nodes(2, redis)
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        for i in range(500):
            await bob.send(f"alice {i}")
            await bob.send(b"alice \0%d" % i)
        for i in range(500):
            assert await recv(alice) == str(i)
            assert await recv(alice) == b"%d" % i


@on_loop
async def test_broadcast(cluster, redis):
    nodes = cluster.nodes(3, redis)
    urls = [node.url(f"u{i}") for node in nodes for i in range(5)]
    async with clients(*urls) as everybody:
        await everybody[0].send("* to all of you")
        await everybody[7].send(b"* \0\x00\xff")
        for ws in everybody:
            got = await recv_all(ws, 2)
            assert sorted(map(repr, got)) == ["'to all of you'",
                                              repr(b"\x00\xff")]


@on_loop
async def test_prefixes_keep_clusters_apart(cluster, redis):
    one = cluster.node(redis, "--prefix", "one")
    two = cluster.node(redis, "--prefix", "two")
    other = cluster.node(redis, "--prefix", "two")
    async with clients(one.url("alice"), two.url("alice"),
                       other.url("bob")) as (outside, inside, bob):
        await bob.send("alice within two")
        assert await recv(inside) == "within two"
        await outside.send("alice within one")
        assert await recv(outside) == "within one"
        assert redis.cli("PUBLISH", "one:u:{alice}", "one only") == ["1"]
        assert await recv(outside) == "one only"


@on_loop
async def test_notices_name_node_and_user(cluster, redis):
    a, b = cluster.nodes(2, redis)
    async with clients(a.url("alice", notices=True),
                       b.url("bob", notices=True)) as (alice, bob):
        notice = notice_of(await recv(alice))
        assert notice["node"] == "n1" and notice["user"] == "alice"
        assert notice["cluster"] == "up" and notice["redis"] is True
        assert notice_of(await recv(bob))["node"] == "n2"
        # A client can't forge one.
        await bob.send('alice cp-node: {"node":"forged"}')
        await bob.send("alice honest")
        assert await recv(alice) == "honest"


@pytest.mark.parametrize("user", ["Zoë", 'a"b\\c', "tab\there", "🦉"])
@on_loop
async def test_notices_are_json_for_any_name(cluster, user):
    node = cluster.node(None, name="knoten-ä")
    async with connect(node.url(user, notices=True)) as ws:
        notice = notice_of(await recv(ws))
        assert (notice["user"], notice["node"]) == (user, "knoten-ä")
    assert node.health()["node"] == "knoten-ä"


# Receipts. -----------------------------------------------------------------


@on_loop
async def test_receipts(cluster, redis):
    a, b = cluster.nodes(2, redis, "--receipts")
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await settled(bob)
        await bob.send("alice hi")
        assert await recv(bob) == "ok alice nodes=1 conns=1"
        assert await recv(alice) == "hi"
        await bob.send("carol anybody?")
        assert await recv(bob) == "offline carol"
        async with connect(a.url("carol")) as carol:
            await bob.send("carol now")
            assert await recv(bob) == "ok carol nodes=1 conns=1"
            assert await recv(carol) == "now"


@on_loop
async def test_offline_again_after_the_last_connection(cluster, redis):
    a, b = cluster.nodes(2, redis, "--receipts")
    async with connect(b.url("bob")) as bob:
        await settled(bob)
        async with connect(a.url("alice")):
            await bob.send("alice hi")
            assert await recv(bob) == "ok alice nodes=1 conns=1"

        async def offline():
            await bob.send("alice still there?")
            return await recv(bob) == "offline alice"

        await eventually_async(offline)


@on_loop
async def test_receipt_of_an_error(cluster, redis):
    node = cluster.node(redis, "--receipts")
    async with connect(node.url("bob")) as bob:
        await bob.send("}brace no such user")
        assert (await recv(bob)).startswith("error }brace ")
        await bob.send("u" * 256 + " too long a name")
        assert (await recv(bob)).startswith("error ")
        for message in ("", " ", "alice", " no name", b"", b"alice", b"a b",
                        b"alice ", "alice cp-node: forged"):
            await bob.send(message)
            assert (await recv(bob)).startswith("error ")
        await settled(bob)
        await bob.send("bob still served")
        assert sorted(await recv_all(bob, 2)) == ["ok bob nodes=1 conns=1",
                                                  "still served"]


@on_loop
async def test_no_receipts_unless_asked_for(cluster, redis):
    a, b = cluster.nodes(2, redis)
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await bob.send("alice hi")
        assert await recv(alice) == "hi"
        await alice.send("bob ho")
        assert await recv(bob) == "ho"  # and no receipt before it


# Senders that are no nodes. ------------------------------------------------


@on_loop
async def test_redis_cli_publishes_text(cluster, redis):
    a, b = cluster.nodes(2, redis)
    async with clients(a.url("alice"), b.url("alice")) as both:
        assert redis.cli("PUBLISH", "cp:u:{alice}", "hello") == ["2"]
        for ws in both:
            assert await recv(ws) == "hello"
        assert redis.cli("PUBLISH", "cp:all", "everyone") == ["2"]
        for ws in both:
            assert await recv(ws) == "everyone"


@on_loop
async def test_foreign_payloads(cluster, redis):
    """Text if it is UTF-8, else binary; C1 opens an envelope, and one that is
    malformed is dropped."""
    node = cluster.node(redis)
    async with connect(node.url("alice")) as alice:
        for payload in (b"\xff\xfe", b"", b"\xc1\x00raw", b"\xc1\x00",
                        b"\xc1", b"\xc1\x01broken", b"\xc1\x77", b"end"):
            done = subprocess.run(redis.cli_argv("-x", "PUBLISH",
                                                 "cp:u:{alice}"),
                                  input=payload, env=ENV, timeout=PATIENCE,
                                  stdout=subprocess.PIPE, check=True)
            assert done.stdout == b"1\n"
        got = await recv_all(alice, 5)
        assert got == [b"\xff\xfe", "", b"raw", b"", "end"]


def publish(redis, *args, text=None):
    return subprocess.run([CP_PUBLISH, "--redis", redis.url, *args],
                          input=text, env=ENV, timeout=PATIENCE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)


@on_loop
async def test_cp_publish(cluster, redis):
    a, b = cluster.nodes(2, redis)
    async with clients(a.url("alice"), b.url("alice")) as both:
        done = publish(redis, "alice", "from a batch job")
        assert done.returncode == 0 and b"2" in done.stdout, done
        done = publish(redis, "alice", "-", text="grüße from stdin".encode())
        assert done.returncode == 0 and b"2" in done.stdout, done
        for ws in both:
            assert await recv(ws) == "from a batch job"
            assert (await recv(ws)).rstrip("\n") == "grüße from stdin"


@on_loop
async def test_cp_publish_with_a_prefix(cluster, redis):
    node = cluster.node(redis, "--prefix", "shop")
    async with connect(node.url("alice")) as alice:
        assert publish(redis, "alice", "lost").returncode == 1
        assert publish(redis, "--prefix", "shop", "alice", "won").returncode \
            == 0
        assert await recv(alice) == "won"


def test_cp_publish_says_offline(redis):
    done = eventually(lambda: publish(redis, "nobody", "hello?"))
    assert done.returncode == 1, done
    assert b"0" in done.stdout or b"offline" in done.stdout + done.stderr, done


def test_cp_publish_without_redis(redis):
    redis.kill()
    done = publish(redis, "alice", "hello?")
    assert done.returncode not in (0, 1) or done.stderr, done
    assert done.returncode != 0, done
