# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""What a stranger may do to a node, and somebody else's pings meanwhile.

An attack is a function of a node and a number of peers; what it opens it also
ends. survive() runs one, and then nothing may be left of it: no connection, no
descriptor, no memory."""

import multiprocessing
import os
import random
import select
import socket
import ssl
import time
from typing import NamedTuple

from harness import PATIENCE, eventually
from rawsocket import (BINARY, CLOSE, CONT, PING, PONG, TEXT, Frame, RawSocket,
                       close_frame, frame, open_raw, request, reset)

SEND_QUEUE = 1 << 16
MAX_MESSAGE = 1 << 20
MESSAGE = 1 << 14  # of those that nobody reads

# What memory may stay with the node: its pools, and what malloc keeps (the
# sanitizers' keep much).
SLACK = (64 if os.environ.get("SANITIZE") else 16) << 20

OPTIONS = ["--compress", "--send-queue", str(SEND_QUEUE),
           "--max-message", str(MAX_MESSAGE)]


# Peers. --------------------------------------------------------------------


def connect_tcp(node):
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.settimeout(PATIENCE)
    peer.connect(("127.0.0.1", node.port))
    return peer


def open_peer(node, i):
    """It has a small buffer and will not read."""
    return RawSocket(node, receive_buffer=4096).open(f"peer{i}")


def send_if_possible(raw, data):
    """False once the node has closed."""
    try:
        raw.send(data)
        return True
    except OSError:
        return False


def close_all(peers):
    for peer in peers:
        getattr(peer, "socket", peer).close()


def code_of(raw):
    """That of the close frame; whatever came before is passed over."""
    while (got := raw.recv()).opcode != CLOSE:
        pass
    return got.code


# Attacks. ------------------------------------------------------------------


def trickle(peers, data, patience=40):
    """Every peer sends a byte now and then, until the node has ended all."""
    open_ones = dict(enumerate(peers))
    deadline = time.monotonic() + patience
    at = 0
    while open_ones:
        assert time.monotonic() < deadline, f"{len(open_ones)} still open"
        for i, peer in list(open_ones.items()):
            try:
                peer.sendall(data[at % len(data):][:1])
                if select.select([peer], [], [], 0)[0]:
                    del open_ones[i]
            except OSError:
                del open_ones[i]
        at += 1
        time.sleep(0.1)


def slow_loris(node, n):
    """Heads that come a byte at a time; over TLS half of the peers don't get
    so far, their handshake does the same."""
    if node.tls is None:
        peers = [connect_tcp(node) for _ in range(n)]
        trickle(peers, b"GET /ws?user=slow")
    else:
        done = [RawSocket(node) for _ in range(n // 2)]
        peers = [connect_tcp(node) for _ in range(n - n // 2)]
        for raw in done:
            raw.send(b"GET /ws?us")
        trickle(peers, bytes.fromhex("1603010200010001fc0303") + bytes(500))
        assert [raw.response_head()[0] for raw in done] == [408] * len(done)
        peers += done
    close_all(peers)


def non_readers(node, n):
    """They ask for 16 MiB each, as long as they are let, and read nothing."""
    peers = [open_peer(node, i) for i in range(n)]
    message = frame(BINARY, bytes(MESSAGE))
    for peer in peers:
        peer.socket.settimeout(2)
    left = list(peers)
    for _ in range((16 << 20) // MESSAGE):
        left = [peer for peer in left if send_if_possible(peer, message)]
    close_all(peers)
    return f"{len(left)} of {n} were still let send"


def non_readers_of_a_broadcast(node, n):
    """The same, but each is sent 16 MiB by somebody else: the node is one
    that relays."""
    peers = [open_peer(node, i) for i in range(n)]
    before = node.memory()
    body = b"* " + b"x" * MESSAGE
    most = 0
    with open_raw(node, "sender") as sender:
        for _ in range((16 << 20) // MESSAGE):
            sender.send(frame(TEXT, body))
            # It is among everybody.
            assert len(sender.recv().payload) == MESSAGE
            most = max(most, node.memory() - before)
    close_all(peers)
    # Each may hold its queue, a message above it, and one that is written.
    assert most < n * (SEND_QUEUE + 2 * MESSAGE) + SLACK
    return f"at most {most / n / 1024:.0f} KiB a peer"


CLAIMS = [
    frame(BINARY, length=1 << 62),
    frame(TEXT, b"x", length=1 << 62),
    frame(TEXT, b"x", fin=False) + frame(CONT, length=(1 << 63) - 1),
    frame(BINARY, length=MAX_MESSAGE + 1),
]


def claims(node, n):
    """Frames of 2^62 bytes, of which none come."""
    peers = [open_raw(node, f"peer{i}") for i in range(n)]
    for i, peer in enumerate(peers):
        peer.send(CLAIMS[i % len(CLAIMS)])
    for peer in peers:
        assert code_of(peer) == 1009
        assert peer.ended()
    close_all(peers)


def just_below(node, n):
    """Messages as long as may be, of which all but the last byte come: this is
    what a peer may cost."""
    n = min(n, 100)
    before = node.memory()
    peers = [open_raw(node, f"peer{i}") for i in range(n)]
    whole = frame(BINARY, bytes(MAX_MESSAGE))
    for peer in peers:
        peer.send(whole[:-1])
    peers[-1].send(whole[-1:])
    assert len(peers[-1].recv().payload) == MAX_MESSAGE
    most = node.memory() - before
    close_all(peers)
    assert most < n * 2 * MAX_MESSAGE + SLACK
    return f"{n} peers, {most / n / 1024:.0f} KiB each"


def flood(node, n, data, total):
    """A few peers send the same again and again, and read nothing."""
    n = min(n, 20)
    peers = [open_peer(node, i) for i in range(n)]
    for peer in peers:
        peer.socket.settimeout(2)
    left = list(peers)
    sent = 0
    while left and sent < total:
        left = [peer for peer in left if send_if_possible(peer, data)]
        sent += len(left) * len(data)
    close_all(peers)
    return f"{n} peers, {sent >> 20} MiB"


def pings(node, n):
    return flood(node, n, frame(PING, b"p" * 125) * 500, n << 20)


def empty_pings(node, n):
    return flood(node, n, frame(PING) * 5000, n << 18)


def one_byte_messages(node, n):
    return flood(node, n, frame(TEXT, b"x") * 5000, n << 18)


def one_byte_fragments(node, n):
    """One message, which grows to what a message may be, and then too long."""
    n = max(2, min(n, 20))
    peers = [open_raw(node, f"peer{i}") for i in range(n)]
    rest = MAX_MESSAGE
    for peer in peers:
        peer.send(frame(BINARY, fin=False))
    while rest > 0:
        now = min(rest, 1 << 15)
        rest -= now
        for peer in peers:
            peer.send(frame(CONT, b"x", fin=False) * now)
    for peer in peers:
        peer.send(frame(CONT, b"x"))
        assert code_of(peer) == 1009
    close_all(peers)
    return f"{n} peers, {n * MAX_MESSAGE} fragments"


def empty_fragments(node, n):
    """Messages without an end, and without a byte."""
    data = frame(CONT, fin=False) * 5000
    n = min(n, 20)
    peers = [open_raw(node, f"peer{i}") for i in range(n)]
    for peer in peers:
        peer.send(frame(BINARY, fin=False))
    for _ in range(20):
        for peer in peers:
            peer.send(data)
    for peer in peers:
        peer.send(frame(CONT, b"end"))
        assert peer.recv() == Frame(BINARY, True, b"end")
    close_all(peers)
    return f"{n} peers, {20 * len(data) // 6} fragments each"


def random_bytes(node, n):
    """For a head, for TLS, for frames."""
    chance = random.Random(n)
    for i in range(n):
        data = chance.randbytes(chance.randrange(1, 4096))
        if i % 3 == 0:
            with connect_tcp(node) as peer:
                peer.sendall(data)
        else:
            with RawSocket(node) as peer:
                if i % 3 == 1:
                    peer.open(f"peer{i}")
                send_if_possible(peer, data)


HEAD = request()

# Of TCP, of the head, of frames, of the close.
STAGES = [None, b"", HEAD[:20], HEAD[:-1], HEAD,
          HEAD + frame(TEXT, b"x" * 1000)[:4],
          HEAD + frame(TEXT, b"x" * 1000)[:-1],
          HEAD + frame(TEXT, b"x" * 1000) * 10,
          HEAD + frame(TEXT, b"x", fin=False),
          HEAD + close_frame(1000)[:-1], HEAD + close_frame(1000),
          HEAD + frame(3), HEAD[:9] + b"\0"]


def resets(node, n):
    """RST at every stage, with whole crowds at a stage."""
    for stage in STAGES:
        peers = []
        for _ in range(max(1, n // len(STAGES))):
            if stage is None:
                peers.append(connect_tcp(node))
            else:
                peers.append(RawSocket(node))
                send_if_possible(peers[-1], stage)
        reset_all(peers)
    if node.tls is not None:
        hello = client_hello(node)
        for cut in (1, 5, 6, len(hello) // 2, len(hello) - 1, len(hello)):
            peers = [connect_tcp(node) for _ in range(max(1, n // 50))]
            for peer in peers:
                peer.sendall(hello[:cut])
            reset_all(peers)


def reset_all(peers):
    for peer in peers:
        reset(getattr(peer, "socket", peer))


def client_hello(node):
    """A good one."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = node.tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


# On nodes that echo; the other one is for a node that relays.
ATTACKS = [slow_loris, non_readers, claims, just_below, pings, empty_pings,
           one_byte_messages, one_byte_fragments, empty_fragments,
           random_bytes, resets]


# The bystander. ------------------------------------------------------------


def keep_pinging(node, told, tell):
    """In a process of its own: pings one by one, one at least; how long each
    took."""
    times = []
    with open_raw(node, "bystander") as raw:
        tell.send("open")
        while not (times and told.poll()):
            sent = time.monotonic()
            raw.send(frame(PING, b"%d" % len(times)))
            while (got := raw.recv()).opcode != PONG:
                pass  # a broadcast
            assert got.payload == b"%d" % len(times)
            times.append(time.monotonic() - sent)
            time.sleep(0.002)
        raw.send(close_frame(1000))
        code_of(raw)
    tell.send(times)


class Bystander:
    def __init__(self, node):
        fork = multiprocessing.get_context("fork")
        theirs, self.tell = fork.Pipe(False)
        self.told, ours = fork.Pipe(False)
        self.process = fork.Process(target=keep_pinging,
                                    args=(node, theirs, ours))
        self.process.start()
        ours.close()
        assert self.told.recv() == "open"

    def stop(self):
        """The time of each answer; EOFError if one failed to come."""
        self.tell.send("stop")
        times = self.told.recv()
        self.process.join()
        return times


class Outcome(NamedTuple):
    name: str
    seconds: float
    answers: list  # how long each took
    grown: int     # bytes of memory, at the end of it all
    note: str


def connections(node):
    return node.metrics()["clusterpush_connections"]


def survive(node, attack, n):
    """`node` must be at rest, as start() leaves it."""
    bystander = Bystander(node)
    began = time.monotonic()
    try:
        note = attack(node, n)
        seconds = time.monotonic() - began
    finally:
        answers = bystander.stop()
    assert answers
    eventually(lambda: connections(node) == 0
               and node.n_files() <= node.files_at_rest, 60)
    grown = node.memory() - node.memory_at_rest
    assert grown < SLACK, f"{grown} bytes more than at the beginning"
    return Outcome(attack.__name__, seconds, answers, grown, note or "")


def start(cluster, scheme, *options):
    """A node that has served a little: what it allocates once is there."""
    certificate = cluster.certificate() if scheme == "wss" else None
    node = cluster.node(None, *OPTIONS, *options, certificate=certificate)
    for _ in range(3):
        peers = [open_raw(node, f"peer{i}") for i in range(50)]
        close_all(peers)
    eventually(lambda: connections(node) == 0)
    node.files_at_rest = node.n_files()
    node.memory_at_rest = node.memory()
    return node


def processor_seconds(node):
    with open(f"/proc/{node.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
