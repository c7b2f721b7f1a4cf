# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""What became of each message of a chaos run, at each connection that it was
for. One row of the table for each such pair, the first that fits:

    delivered             and what its sender was told
    sender gone           nobody was there any more to be told
    connection gone       it ended before the sender was told, or just then
    told: ...             the result was no plain success
    gap                   the connection was told of a span with the message in
    not up yet            it had opened unconfirmed, its node was not up, and
                          had said so
    receipt: ...          success, but on fewer connections, or `partial`

In a row for those missed, `in a gap` counts whom a gap would have covered as
well. Everything else is a fault: a message lost silently, twice, out of order
or at the wrong connection; a result that never came, or was wrong; and a
connection that ended for no reason. Times are seconds since 1970."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import inf

# A gap is told in whole milliseconds.
ROUNDING = 0.002
# A success that is this fresh may still be in the sockets of a killed node.
ENDING = 1.0
# A node that was stopped takes a connection for open that ended so long ago.
LINGERING = 15.0

NOT_PUBLISHED = ("CP_E_TIMEOUT", "CP_E_FULL", "CP_E_CANCELED")

RESULT = re.compile(
    r"(?P<state>ok|unsure|offline|error) (?P<target>\S+)"
    r"(?: nodes=(?P<nodes>\d+) conns=(?P<conns>\d+)(?P<partial> partial)?"
    r"| (?P<error>CP_E_\w+))?")


@dataclass
class Stream:
    """One connection of a sender: its messages have an order."""
    name: str
    node: str
    ended: float = inf


@dataclass
class Message:
    number: int
    stream: Stream
    target: str  # a user, or "*"
    sent: float
    results: list = field(default_factory=list)  # [text, when]

    @property
    def answered(self):
        return self.results[0][1] if self.results else inf


@dataclass
class Connection:
    user: str
    node: str
    opening: float
    opened: float = inf
    up: float = 0  # when its node had said that it is
    ended: float = inf  # when its end began
    cause: str = ""  # of its end; "": none is known
    received: list = field(default_factory=list)  # numbers
    gaps: list = field(default_factory=list)  # (from, to, reason)

    def __str__(self):
        return f"{self.user} at {self.node}"

    def is_open(self, when):
        return self.opened <= when < self.ended

    def has_gap(self, when):
        return any(begin - ROUNDING <= when <= end + ROUNDING
                   for begin, end, _ in self.gaps)


@dataclass
class Record:
    """All that was seen of a run."""
    messages: dict = field(default_factory=dict)  # by number
    connections: list = field(default_factory=list)
    faults: list = field(default_factory=list)  # seen by others: texts
    by_target: bool = False  # a stream has an order for each target only


class Account:
    """`rows` counts pairs, `in_gap` those of them that a gap covers, `faults`
    are texts."""

    def __init__(self, record):
        self.rows = Counter()
        self.in_gap = Counter()
        self.faults = list(record.faults)
        self.by_receipt = []  # texts: without receipts these were silent
        self.record = record
        self.by_user = defaultdict(list)
        self.receivers = defaultdict(list)  # of a number
        for connection in record.connections:
            self.by_user[connection.user].append(connection)
            self.take_received(connection)
        for message in record.messages.values():
            self.take_message(message)

    def fault(self, kind, text):
        self.faults.append(f"{kind}: {text}")

    # What connections saw.

    def take_received(self, connection):
        if connection.ended < inf and not connection.cause:
            self.fault("lost connection", f"{connection} ended by itself at "
                       f"{connection.ended:.3f}")
        seen = set()
        last = {}  # of a stream, or of one's messages to one target
        for number in connection.received:
            if number in seen:
                self.fault("duplicate", f"{number} at {connection}")
                continue
            seen.add(number)
            self.receivers[number].append(connection)
            message = self.record.messages.get(number)
            if message is None or message.target not in ("*", connection.user):
                self.fault("stranger", f"{number} at {connection}")
                continue
            order = (id(message.stream),
                     self.record.by_target and message.target)
            before = last.get(order, message)
            if number < before.number:
                self.fault("inversion", f"{describe(message)}, behind "
                           f"{describe(before)}, at {connection}, open since "
                           f"{connection.opened:.3f}")
            else:
                last[order] = message

    # What senders were told.

    def take_message(self, message):
        connections = (self.record.connections if message.target == "*"
                       else self.by_user[message.target])
        expected = [c for c in connections if c.is_open(message.sent)]
        got = self.receivers[message.number]
        result = self.result_of(message)
        if result is not None:
            self.contradict(result, message, got)
        row = "sender gone" if result is None else outcome(result)
        arrived = set(map(id, got))
        for connection in expected:
            if id(connection) in arrived:
                self.rows[f"delivered; {row}"] += 1
            else:
                self.miss(message, connection,
                          excuse(message, result, connection)
                          or self.receipt(result, message, connections, got))

    def result_of(self, message):
        """None if there is none."""
        if len(message.results) > 1:
            self.fault("two results", describe(message))
        if not message.results:
            if message.stream.ended == inf:
                self.fault("no result", describe(message))
            return None
        result = RESULT.fullmatch(message.results[0][0])
        if result is None or result["target"] != message.target:
            self.fault("wrong result", describe(message))
            return None
        return result

    def contradict(self, result, message, got):
        """Nobody has what is for nobody, or was dropped before it was
        published; but for those at the sender's node, who have it at once."""
        if result["error"] in NOT_PUBLISHED:
            got = [c for c in got if c.node != message.stream.node]
        elif result["state"] != "offline":
            return
        if got:
            self.fault("wrong result", f"{describe(message)}, though "
                       f"{', '.join(map(str, got))} got it")

    def receipt(self, result, message, connections, got):
        """The row of who was missed by a success, None if it hides that: it
        counts more connections than got it, or may have been about to."""
        if result["partial"]:
            return "receipt: partial"
        arrived = set(map(id, got))
        about_to = sum(
            id(c) not in arrived and c.opening <= message.answered and
            message.sent - LINGERING <= c.ended <= message.answered + ENDING
            for c in connections)
        if int(result["conns"]) <= len(got) + about_to:
            return "receipt: fewer connections"
        return None

    def miss(self, message, connection, row):
        text = (f"{describe(message)}, not at {connection}, open since "
                f"{connection.opened:.3f}, gaps: {connection.gaps}")
        if row is None:
            self.fault("silent", text)
            return
        if row.startswith("receipt"):
            self.by_receipt.append(text)
        self.rows[row] += 1
        self.in_gap[row] += connection.has_gap(message.sent)

    # For people.

    @property
    def n_pairs(self):
        return sum(self.rows.values()) + self.n_faults("silent")

    def n_faults(self, kind):
        return sum(fault.startswith(f"{kind}: ") for fault in self.faults)

    def lines(self):
        yield f"{'message and connection':32} {'pairs':>9} {'in a gap':>9}"
        for row in sorted(self.rows, key=lambda row: (
                not row.startswith("delivered"), -self.rows[row])):
            in_gap = "" if row.startswith("delivered") else self.in_gap[row]
            yield f"{row:32} {self.rows[row]:9} {in_gap:>9}"
        yield f"{'silent':32} {self.n_faults('silent'):9}"
        yield f"{'all':32} {self.n_pairs:9}"
        kinds = Counter(fault.split(":")[0] for fault in self.faults)
        yield "faults: " + (", ".join(f"{n} {kind}" for kind, n
                                      in kinds.items()) or "none")


def outcome(result):
    """What a sender was told, in short."""
    if result["state"] == "error":
        return f"told: {result['error']}"
    if result["state"] != "ok":
        return f"told: {result['state']}"
    return "told: ok, partial" if result["partial"] else "told: ok"


def excuse(message, result, connection):
    """The row of a pair that was missed, None if only the receipt can tell."""
    if result is None:
        return "sender gone"
    if connection.ended <= message.answered + ENDING:
        return "connection gone"
    if result["state"] != "ok":
        return outcome(result)
    if connection.has_gap(message.sent):
        return "gap"
    if message.sent < connection.up:
        return "not up yet"
    return None


def describe(message):
    answers = "; ".join(f"{text} after {when - message.sent:.3f} s"
                        for text, when in message.results)
    return (f"{message.number} of {message.stream.name} at "
            f"{message.stream.node} to {message.target}, "
            f"sent {message.sent:.3f}: {answers or 'no result'}")
