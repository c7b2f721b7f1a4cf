# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""A short chaos run, and whether its accounting would see what is wrong."""

import copy
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chaos"))

from accounting import (ENDING, Account, Connection, Message,  # noqa: E402
                        Record, Stream)
from chaos import Chaos  # noqa: E402
from harness import on_loop  # noqa: E402


def a_record(result="ok alice nodes=2 conns=2", n=3):
    """Alice has two connections, and got all of bob's messages on both."""
    bob = Stream("bob", "n1")
    record = Record()
    for number in range(n):
        record.messages[number] = Message(number, bob, "alice", 100 + number,
                                          [[result, 100.1 + number]])
    record.connections = [
        Connection("alice", node, 90, 91, received=list(range(n)))
        for node in ("n1", "n2")]
    return record


def kinds(record):
    return [fault.split(":")[0] for fault in Account(record).faults]


def test_all_is_delivered():
    account = Account(a_record())
    assert account.faults == [] and account.n_pairs == 6
    assert account.rows == {"delivered; told: ok": 6}


def test_who_was_not_there_is_not_counted():
    record = a_record()
    record.connections[0].opened = 101.5
    record.connections[0].received.remove(0)
    record.connections[1].ended = 101.5
    record.connections[1].cause = "moved"
    record.connections.append(Connection("carol", "n1", 90, 91))
    account = Account(record)
    assert account.faults == [] and account.n_pairs == 3


# What is missed.


def row_of_a_miss(record):
    """Where number 1 at the first connection stands, if it isn't there."""
    record.connections[0].received.remove(1)
    account = Account(record)
    assert account.n_pairs == 6
    if account.faults:
        return [fault.split(":")[0] for fault in account.faults]
    (row,) = [row for row in account.rows if not row.startswith("delivered")]
    assert account.rows[row] == 1
    return row


def test_a_silent_loss():
    assert row_of_a_miss(a_record()) == ["silent"]


@pytest.mark.parametrize("result, row", [
    ("unsure alice nodes=2 conns=2", "told: unsure"),
    ("error alice CP_E_CLOSED", "told: CP_E_CLOSED"),
    ("ok alice nodes=2 conns=1 partial", "receipt: partial"),
    ("ok alice nodes=1 conns=1", "receipt: fewer connections"),
    ("ok alice nodes=3 conns=3", ["silent"])])
def test_the_sender_is_told(result, row):
    record = a_record()
    record.messages[1].results[0][0] = result
    assert row_of_a_miss(record) == row


@pytest.mark.parametrize("begin, end, row", [
    (100.9, 101.1, "gap"), (101.001, 105, "gap"), (90, 100.999, "gap"),
    (101.1, 105, ["silent"]), (90, 100.9, ["silent"])])
def test_a_gap_covers_its_span(begin, end, row):
    record = a_record()
    record.connections[0].gaps.append((begin, end, "a test"))
    assert row_of_a_miss(record) == row


def test_a_gap_of_another_connection_covers_nothing():
    record = a_record()
    record.connections[1].gaps.append((90, 200, "a test"))
    assert row_of_a_miss(record) == ["silent"]


@pytest.mark.parametrize("ended, row", [
    (101.05, "connection gone"), (102.0, "connection gone"),
    (102.5, ["silent"])])
def test_a_connection_ends(ended, row):
    record = a_record("ok alice nodes=3 conns=3", n=2)
    record.connections.append(Connection("alice", "n3", 90, 91,
                                         received=[0, 1]))
    record.connections[0].ended = ended
    record.connections[0].cause = "moved"
    assert row_of_a_miss(record) == row


@pytest.mark.parametrize("up, row", [
    (101.1, "not up yet"), (100.9, ["silent"])])
def test_a_node_is_not_up(up, row):
    record = a_record()
    record.connections[0].up = up
    assert row_of_a_miss(record) == row


def test_a_sender_goes():
    record = a_record()
    record.messages[1].results.clear()
    record.messages[1].stream.ended = 101.01
    assert Account(record).rows["delivered; sender gone"] == 2
    assert row_of_a_miss(record) == "sender gone"


# What is wrong.


def test_a_duplicate():
    record = a_record()
    record.connections[0].received.append(1)
    assert kinds(record) == ["duplicate"]


def test_an_inversion():
    record = a_record()
    record.connections[1].received = [1, 0, 2]
    assert kinds(record) == ["inversion"]
    record.by_target = True
    assert kinds(record) == ["inversion"]
    # Two senders have no order.
    record.messages[1].stream = Stream("carol", "n1")
    assert kinds(record) == []


def test_two_targets():
    record = a_record()
    record.messages[1].target = "*"
    record.messages[1].results = [["ok * nodes=2 conns=2", 101.1]]
    record.connections[1].received = [1, 0, 2]
    assert kinds(record) == ["inversion"]
    record.by_target = True
    assert kinds(record) == []


def test_a_stranger():
    record = a_record()
    record.connections.append(Connection("carol", "n1", 90, 91, received=[2]))
    record.connections[0].received.append(99)
    assert kinds(record) == ["stranger", "stranger"]


def test_a_drop_is_none():
    record = a_record("error alice CP_E_TIMEOUT")
    assert kinds(record) == ["wrong result"] * 3
    # At the sender's own node it was delivered at once.
    record.connections[1].received.clear()
    assert kinds(record) == []


@pytest.mark.parametrize("results, kind", [
    ([], "no result"),
    ([["ok alice nodes=2 conns=2", 101]] * 2, "two results"),
    ([["ok carol nodes=2 conns=2", 101]], "wrong result"),
    ([["nonsense", 101]], "wrong result"),
    ([["offline alice", 101]], "wrong result")])
def test_a_result_is_wrong(results, kind):
    record = a_record()
    record.messages[1].results = results
    assert kinds(record) == [kind]


def test_a_connection_is_lost():
    record = a_record()
    record.connections[0].ended = 200
    assert kinds(record) == ["lost connection"]


# The run.


def is_plain(message, connection):
    """Nothing would excuse its loss."""
    result = message.results[0][0] if message.results else ""
    return (message.target == connection.user
            and result.startswith("ok ") and not result.endswith(" partial")
            and message.answered + 2 * ENDING < connection.ended
            and not connection.has_gap(message.sent))


def falsify(record):
    """Each is one thing wrong with a record that was right."""
    at, number = next(
        (at, number) for at, connection in enumerate(record.connections)
        for number in connection.received
        if is_plain(record.messages[number], connection))
    lost, twice, early = (copy.deepcopy(record) for _ in range(3))
    lost.connections[at].received.remove(number)
    yield "silent", lost
    twice.connections[at].received.append(number)
    yield "duplicate", twice
    early.connections[at].received.reverse()
    yield "inversion", early


@pytest.mark.parametrize("by", ["one Redis", "a Redis Cluster"])
@on_loop
async def test_a_short_run(cluster, by):
    chaos = Chaos(cluster, seed=1, n_users=60, rate=150,
                  by_redis_cluster=by == "a Redis Cluster")
    record = await chaos.run(seconds=12)
    account = Account(record)
    print("\n".join(account.lines()))
    assert account.faults == []
    assert chaos.faults.done
    assert account.rows["delivered; told: ok"] > 0
    assert account.n_pairs > len(record.messages) > 0
    for kind, falsified in falsify(record):
        assert set(kinds(falsified)) == {kind}
