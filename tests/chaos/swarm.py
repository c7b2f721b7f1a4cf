# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""The clients of a chaos run: users who listen, and senders who number what
they send. Each comes back whenever its connection ends, and writes down in the
record what it saw."""

import asyncio
import json
import re
import time
from math import inf

import websockets
from accounting import Connection, Message, Record, Stream
from harness import NOTICE, connect, eventually_async

RETRY_S = 0.1
# Between two markers.
MARK_S = 0.5
# Until everything is back at the end, more than what a node takes to give up.
END_PATIENCE = 60

SENDERS_PER_NODE = 3
# One user in so many has two connections, one message in so many is for all.
TWICE = 5
FOR_ALL = 200


class Slot:
    """The place of a node, which may be a new process after a while."""

    def __init__(self, name, node, proxy):
        self.name = name
        self.node = node
        self.proxy = proxy  # between it and Redis, or None
        self.serves = True
        self.busy = False  # with a fault
        self.n_starts = 1
        self.clients = set()

    def gone(self, cause):
        """All of its connections end now."""
        self.serves = False
        for client in self.clients:
            client.end(cause)


class Client:
    """A place in the swarm with one connection at a time."""

    def __init__(self, swarm, user, slot):
        self.swarm = swarm
        self.user = user
        self.slot = slot
        self.ws = None
        self.seen = None  # a Connection
        self.marks = set()
        self.task = asyncio.create_task(self.live())

    async def live(self):
        while not self.swarm.over:
            self.choose_slot()
            if not await self.open():
                await asyncio.sleep(RETRY_S)
                continue
            self.slot.clients.add(self)
            await self.use()
            self.slot.clients.discard(self)
            self.end("the end" if self.swarm.over else "")

    def choose_slot(self):
        """As a load balancer does."""
        if not self.slot.serves:
            self.slot = self.swarm.random.choice(self.swarm.slots)

    async def open(self):
        node = self.slot.node
        self.marks = set()
        self.seen = Connection(self.user, node.name, time.time(), up=inf)
        self.swarm.record.connections.append(self.seen)
        try:
            self.ws = await connect(node.url(self.user, notices=True))
        except (OSError, asyncio.TimeoutError,
                websockets.exceptions.WebSocketException):
            self.end("not opened")
            return False
        self.seen.opened = time.time()
        # The node went in the last moment.
        if node is not self.slot.node or not self.slot.serves:
            self.end("opened too late")
        return True

    def is_there(self):
        return self.seen is not None and self.seen.is_open(time.time())

    def end(self, cause):
        """The first cause counts."""
        if self.seen.cause == "":
            self.seen.ended = min(self.seen.ended, time.time())
            self.seen.cause = cause

    async def use(self):
        """Until the connection ends."""
        try:
            async for text in self.ws:
                self.take(text)
        except websockets.exceptions.ConnectionClosed:
            pass

    def take(self, text):
        if text.startswith("end "):
            self.marks.add(text)
        elif text.startswith(NOTICE):
            self.take_notice(json.loads(text[len(NOTICE):]))
        else:
            self.seen.received.append(int(text.split(" ", 1)[0]))

    def take_notice(self, notice):
        gap = notice.get("gap")
        if gap is not None:
            self.seen.gaps.append((gap["from"] / 1000, gap["to"] / 1000,
                                   gap["reason"]))
        elif notice["cluster"] == "up":
            self.seen.up = min(self.seen.up, time.time())

    async def move(self, slot, politely):
        """End the connection, and open the next one elsewhere."""
        if not self.is_there():
            return
        self.end("moved")
        self.slot.clients.discard(self)
        self.slot = slot
        if politely:
            await self.ws.close()
        else:
            self.ws.transport.abort()

    async def close(self):
        if self.ws is not None:
            await self.ws.close()
        await self.task


class Sender(Client):
    """Stays at its node, and sends numbers to anybody."""

    def choose_slot(self):
        pass

    async def open(self):
        return self.slot.serves and await super().open()

    async def use(self):
        stream = Stream(self.user, self.slot.node.name)
        sending = asyncio.create_task(self.send_steadily(stream))
        await super().use()
        stream.ended = time.time()
        sending.cancel()
        await asyncio.wait([sending])

    async def send_steadily(self, stream):
        swarm = self.swarm
        due = time.monotonic()
        try:
            while swarm.sends:
                message = swarm.next_message(stream)
                await self.ws.send(f"@{message.number} {message.target} "
                                   f"{message.number} {swarm.padding()}")
                due += swarm.interval
                await asyncio.sleep(max(0, due - time.monotonic()))
        except websockets.exceptions.ConnectionClosed:
            pass

    def take(self, text):
        tagged = re.match(r"@(\d+) ", text)
        if tagged:
            message = self.swarm.record.messages[int(tagged[1])]
            message.results.append((text[tagged.end():], time.time()))
        elif not re.match(r"(ok|unsure|offline|error) \*", text):
            super().take(text)


class Swarm:
    def __init__(self, slots, n_users, rate, random):
        self.slots = slots
        self.random = random
        self.record = Record()
        self.interval = SENDERS_PER_NODE * len(slots) / rate
        self.sends = True
        self.over = False
        self.users = [f"u{i}" for i in range(n_users)]
        homes = [(user, slots[i % len(slots)])
                 for i, user in enumerate(self.users)]
        homes += [(user, slots[(i + 1) % len(slots)])
                  for i, user in enumerate(self.users) if i % TWICE == 0]
        self.listeners = [Client(self, user, slot) for user, slot in homes]
        self.senders = []

    async def start(self):
        """Senders begin when everybody is there."""
        await eventually_async(lambda: all(
            client.is_there() for client in self.listeners))
        self.senders = [Sender(self, f"s{slot.name}.{i}", slot)
                        for slot in self.slots for i in range(SENDERS_PER_NODE)]

    @property
    def clients(self):
        return self.listeners + self.senders

    def next_message(self, stream):
        number = len(self.record.messages)
        for_all = self.random.randrange(FOR_ALL) == 0
        target = "*" if for_all else self.random.choice(self.users)
        message = Message(number, stream, target, time.time())
        self.record.messages[number] = message
        return message

    def padding(self):
        return "x" * self.random.choice((0, 20, 100, 1000))

    # The end.

    async def finish(self, await_up):
        """Everything is healed: wait for what is still on its way."""
        self.sends = False
        try:
            await await_up()
            await eventually_async(self.is_answered, END_PATIENCE)
            # What comes behind a marker was sent behind it. The second round
            # is for what nodes tell when they are back.
            for number in range(2):
                await self.mark(number)
        except (AssertionError, OSError) as error:
            self.record.faults.append(f"never healed: {error}")
        self.over = True
        await asyncio.gather(*(client.close() for client in self.clients))

    def is_answered(self):
        """All are back, and all results are there."""
        return all(client.is_there() for client in self.clients) and all(
            message.results or message.stream.ended < time.time()
            for message in self.record.messages.values())

    async def mark(self, number):
        """Every connection has heard the marker of every node."""
        marks = {f"end {number} {slot.name}" for slot in self.slots}
        due = 0

        async def all_heard():
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + MARK_S
                for slot, mark in zip(self.slots, sorted(marks), strict=True):
                    sender = next(s for s in self.senders if s.slot is slot)
                    await sender.ws.send(f"* {mark}")
            return all(marks <= client.marks for client in self.clients)

        await eventually_async(all_heard, END_PATIENCE)
