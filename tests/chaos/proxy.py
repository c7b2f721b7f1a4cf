# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""A network between one node and Redis, that can be slow, or deaf: what the
two say then stays in it while both take their link for open. Or it breaks."""

import asyncio

CHUNK = 1 << 16


class Link:
    def __init__(self):
        self.kind = "commands"  # or "subscriber", once it shows

    def look_at(self, data):
        """A subscriber subscribes to its node's channel first of all."""
        if b"SUBSCRIBE" in data:
            self.kind = "subscriber"


class Proxy:
    """Await start(), then `url` is Redis'. `open` has an event each for the
    way "to redis" and "to node", which is clear while nothing goes through; of
    the links of one kind, if `kind` says so."""

    def __init__(self, redis_path):
        self.redis_path = redis_path
        self.delay = 0  # seconds, of each chunk
        self.open = {"to redis": asyncio.Event(), "to node": asyncio.Event()}
        for event in self.open.values():
            event.set()
        self.kind = None  # or "commands", "subscriber"
        self.cuts = False  # the next thing to node breaks off in the middle
        self.links = set()  # tasks
        self.server = None

    async def start(self):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)

    @property
    def url(self):
        return "redis://127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]

    async def accept(self, reader, writer):
        self.links.add(asyncio.current_task())
        try:
            from_redis, to_redis = await asyncio.open_unix_connection(
                self.redis_path)
        except OSError:
            writer.close()
        else:
            link = Link()
            await asyncio.gather(
                self.pump(link, "to redis", reader, to_redis, writer),
                self.pump(link, "to node", from_redis, writer, to_redis))
        self.links.discard(asyncio.current_task())

    async def pass_on(self, link, way, data):
        if self.delay > 0:
            await asyncio.sleep(self.delay)
        if self.kind in (None, link.kind):
            await self.open[way].wait()
        if way == "to redis":
            link.look_at(data)
        elif self.cuts and len(data) > 1:
            self.cuts = False
            return data[:len(data) // 2]
        return data

    async def pump(self, link, way, reader, writer, back):
        """When one side ends, both do."""
        try:
            while data := await reader.read(CHUNK):
                passed = await self.pass_on(link, way, data)
                writer.write(passed)
                await writer.drain()
                if passed != data:
                    break
        except OSError:
            pass
        writer.close()
        back.close()

    async def close(self):
        self.server.close()
        for link in self.links:
            link.cancel()
        await asyncio.gather(*self.links, return_exceptions=True)
