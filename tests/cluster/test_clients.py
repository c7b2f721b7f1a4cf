# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Clients that read slowly or not at all, vanish, or come back at once."""

import asyncio
import subprocess

import pytest

from harness import (ENV, clients, connect, eventually, eventually_async,
                     on_loop, recv, recv_all, settled)
from rawsocket import (BINARY, CLOSE, PING, PONG, TEXT, Frame, RawSocket,
                       close_frame, frame, open_raw)

# A reader that doesn't read. -----------------------------------------------

QUEUE = 1 << 18
SIZE = 1 << 16  # of a message
COUNT = 1000    # 64 MiB: more than the kernel's buffers and the queue hold


def slow_node(cluster, policy):
    return cluster.node(None, "--slow", policy, "--send-queue", str(QUEUE),
                        "--receipts")


async def flood(node):
    """Send COUNT numbered messages to `slow`, and to `fast`, who reads."""
    async with clients(node.url("fast"), node.url("sender")) as (fast, sender):
        for i in range(COUNT):
            body = f"{i:06d}".ljust(SIZE, "x")
            await sender.send("slow " + body)
            await recv(sender)  # its receipt: so the queue of `fast` is short
            if i % 10 == 0:
                await sender.send("fast " + body)
                await recv(sender)
                assert await recv(fast) == body


def numbers_of(raw, last):
    """What `slow` finds once it reads, up to a text that says `last`."""
    numbers = []
    while True:
        got = raw.recv()
        assert got.opcode == TEXT, got
        if got.payload == last:
            return numbers
        assert len(got.payload) == SIZE
        numbers.append(int(got.payload[:6]))


@on_loop
async def test_slow_reader_is_closed(cluster):
    node = slow_node(cluster, "close")
    with open_raw(node, "slow", receive_buffer=4096) as raw:
        await flood(node)
        # It gets the begun messages, or not; in the end 1013, or nothing more.
        try:
            expected = 0
            while (got := raw.recv()).opcode == TEXT:
                assert int(got.payload[:6]) == expected
                expected += 1
            assert got.opcode == CLOSE and got.code == 1013
        except (EOFError, ConnectionResetError):
            pass
        assert expected < COUNT
    assert node.alive()


@on_loop
async def test_slow_reader_misses_the_newest(cluster):
    node = slow_node(cluster, "drop-new")
    with open_raw(node, "slow", receive_buffer=4096) as raw:
        await flood(node)
        numbers = await end_of(node, raw)
    assert numbers[:3] == [0, 1, 2]
    assert numbers == sorted(set(numbers)) and len(numbers) < COUNT
    # Nothing is missing before the queue was full.
    first_gap = next(i for i, n in enumerate(numbers + [None]) if i != n)
    assert first_gap * SIZE >= QUEUE - SIZE


@on_loop
async def test_slow_reader_misses_the_oldest(cluster):
    node = slow_node(cluster, "drop-old")
    with open_raw(node, "slow", receive_buffer=4096) as raw:
        await flood(node)
        numbers = await end_of(node, raw)
    assert numbers == sorted(set(numbers)) and len(numbers) < COUNT
    assert numbers[-2:] == [COUNT - 2, COUNT - 1]


async def end_of(node, raw):
    """Everything that waits for `slow`. Its end is told by a message that is
    sent until it comes: the queue, still full, may drop it."""
    loop = asyncio.get_running_loop()
    reading = loop.run_in_executor(None, numbers_of, raw, b"end")
    async with connect(node.url("sender")) as sender:
        while not reading.done():
            await sender.send("slow end")
            await asyncio.wait([reading], timeout=0.05)
    return await reading


@pytest.mark.parametrize("policy", ["drop-new", "drop-old"])
@on_loop
async def test_memory_is_bounded(cluster, policy):
    node = slow_node(cluster, policy)
    with open_raw(node, "slow", receive_buffer=4096):
        await flood(node)
        before = node.memory()
        await flood(node)
        await flood(node)
        # Three times 64 MiB were sent; a queue holds 256 KiB.
        assert node.memory() - before < 16 << 20


@on_loop
async def test_one_slow_reader_holds_up_nobody(cluster):
    """Nor does it on the other node of two."""
    redis = cluster.redis()
    a, b = cluster.nodes(2, redis, "--slow", "drop-old", "--receipts",
                         "--send-queue", str(QUEUE))
    with open_raw(a, "slow", receive_buffer=4096):
        async with clients(a.url("fast"), b.url("sender")) as (fast, sender):
            for i in range(300):
                await sender.send("slow " + "x" * SIZE)
                await sender.send(f"fast {i}")
                assert await recv(fast) == str(i)
                await recv_all(sender, 2)


@on_loop
async def test_slow_but_steady_reader_gets_everything(cluster):
    node = cluster.node(None, "--send-queue", str(128 << 20))
    n = 500
    with open_raw(node, "slow", receive_buffer=4096) as raw:
        async with connect(node.url("sender")) as sender:
            for i in range(n):
                await sender.send("slow " + f"{i:06d}".ljust(SIZE, "y"))
            read = asyncio.get_running_loop().run_in_executor
            for i in range(n):
                got = await read(None, raw.recv)
                assert int(got.payload[:6]) == i


def test_sender_that_never_reads_its_echo(cluster):
    """The client's own messages come back into a queue that is full."""
    node = cluster.node(None, "--mode", "echo", "--send-queue", str(QUEUE))
    with open_raw(node, receive_buffer=4096) as raw:
        try:
            for _ in range(COUNT):
                raw.send(frame(BINARY, bytes(SIZE)))
        except (BrokenPipeError, ConnectionResetError):
            pass
    with open_raw(node, "other") as other:
        other.send(frame(TEXT, b"ok"))
        assert other.recv().payload == b"ok"


def test_flood_of_pings_by_one_who_reads_nothing(cluster):
    """Pongs are bounded, too."""
    node = cluster.node(None, "--mode", "echo", "--send-queue", str(QUEUE))
    pings = frame(PING, b"p" * 125) * 1000
    with open_raw(node, receive_buffer=4096) as raw:
        raw.socket.settimeout(2)
        before = node.memory()
        try:
            for _ in range(500):
                raw.send(pings)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass  # it may close, or stop reading
        assert node.memory() - before < 32 << 20
    with open_raw(node, "other") as other:
        other.send(frame(PING, b"alive"))
        assert other.recv() == Frame(PONG, True, b"alive")


# Clients that vanish. ------------------------------------------------------


@on_loop
async def test_clients_vanish_under_load(cluster):
    """RST in every state while messages are on their way to them."""
    redis = cluster.redis()
    a, b = cluster.nodes(2, redis, "--receipts")
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    async def blast(node):
        async with connect(node.url("sender")) as sender:
            i = 0
            while not stop.is_set():
                await sender.send(f"u{i % 50} " + "z" * 20_000)
                await sender.send("* " + "all")
                i += 1
                while True:
                    if (await recv(sender)).startswith(("ok *", "unsure *")):
                        break

    def come_and_vanish():
        for round_ in range(10):
            here = [open_raw(a if i % 2 else b, f"u{i}") for i in range(50)]
            for i, raw in enumerate(here):
                if i % 3 == 0:
                    raw.send(frame(TEXT, b"u1 half a message")[:-5])
                elif i % 3 == 1:
                    raw.send(close_frame(1000))
            for i, raw in enumerate(here):
                raw.socket.close() if (i + round_) % 5 == 0 else raw.reset()

    tasks = [asyncio.create_task(blast(node)) for node in (a, b)]
    await loop.run_in_executor(None, come_and_vanish)
    stop.set()
    await asyncio.gather(*tasks)
    await eventually_async(lambda: all(
        redis.n_subscribers(f"u{i}") == 0 for i in range(50)))
    async with clients(a.url("alice"), b.url("bob")) as (alice, bob):
        await bob.send("alice still fine")
        assert await recv(alice) == "still fine"


# Coming back at once. ------------------------------------------------------


@on_loop
async def test_reload_costs_redis_nothing(cluster):
    """A user's channel is left a little later than the user."""
    redis = cluster.redis()
    node = cluster.node(redis)
    monitor = cluster.dir / "monitor"
    with open(monitor, "wb") as out:
        watcher = subprocess.Popen(redis.cli_argv("MONITOR"), stdout=out,
                                   env=ENV)
    try:
        await eventually_async(lambda: b"OK" in monitor.read_bytes())

        def commands():
            """SUBSCRIBE and UNSUBSCRIBE with alice's channel in them."""
            lines = monitor.read_text().lower().splitlines()
            return [line for line in lines
                    if '"cp:u:{alice}"' in line and 'subscribe"' in line]

        for _ in range(10):
            async with connect(node.url("alice")) as alice:
                await alice.send("alice me")
                assert await recv(alice) == "me"
        await eventually_async(lambda: len(commands()) == 1)
        # In the end it does leave.
        await eventually_async(lambda: len(commands()) == 2)
        assert '"unsubscribe"' in commands()[1]
        assert redis.n_subscribers("alice") == 0
    finally:
        watcher.terminate()
        watcher.wait()


@on_loop
async def test_open_means_reachable(cluster):
    """From onopen on, every node's send reaches the connection: no retry."""
    redis = cluster.redis()
    a, b = cluster.nodes(2, redis, "--receipts")
    async with connect(b.url("bob")) as bob:
        await settled(bob)
        for i in range(300):
            async with connect(a.url(f"new{i}")) as new:
                await bob.send(f"new{i} at once")
                assert await recv(new) == "at once"
                assert await recv(bob) == f"ok new{i} nodes=1 conns=1"


@on_loop
async def test_user_moves_between_nodes(cluster):
    redis = cluster.redis()
    nodes = cluster.nodes(3, redis)
    async with connect(nodes[0].url("bob")) as bob:
        for i in range(60):
            async with connect(nodes[i % 3].url("alice")) as alice:
                await bob.send(f"alice move {i}")
                # Where she was before, an older one may still be on its way.
                got = await recv(alice)
                while got != f"move {i}":
                    assert got in [f"move {older}" for older in range(i)]
                    got = await recv(alice)


def test_connections_that_never_speak(cluster):
    """They hold up nobody."""
    node = cluster.node(None, "--mode", "echo")
    before = node.n_files()
    silent = [RawSocket(node) for _ in range(500)]
    eventually(lambda: node.n_files() >= 500)
    with open_raw(node) as raw:
        raw.send(frame(TEXT, b"in between"))
        assert raw.recv().payload == b"in between"
    for one in silent:
        one.reset()
    eventually(lambda: node.n_files() <= before)
