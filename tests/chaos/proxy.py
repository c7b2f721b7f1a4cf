# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""A network between one node and Redis, that can be slow, or deaf: what the
two say then stays in it while both take their link for open."""

import asyncio

CHUNK = 1 << 16


class Proxy:
    """Await start(), then `url` is Redis'. `open` has an event each for the
    way "to redis" and "to node", which is clear while nothing goes through."""

    def __init__(self, redis_path):
        self.redis_path = redis_path
        self.delay = 0  # seconds, of each chunk
        self.open = {"to redis": asyncio.Event(), "to node": asyncio.Event()}
        for event in self.open.values():
            event.set()
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
            await asyncio.gather(
                self.pump("to redis", reader, to_redis, writer),
                self.pump("to node", from_redis, writer, to_redis))
        self.links.discard(asyncio.current_task())

    async def pump(self, way, reader, writer, back):
        """When one side ends, both do."""
        try:
            while data := await reader.read(CHUNK):
                if self.delay > 0:
                    await asyncio.sleep(self.delay)
                await self.open[way].wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()
        back.close()

    async def close(self):
        self.server.close()
        for link in self.links:
            link.cancel()
        await asyncio.gather(*self.links, return_exceptions=True)
