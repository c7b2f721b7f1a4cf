# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""The proof of quickstart.sh: two clients come through the load balancer to two
different nodes, and what one of them sends reaches the other.

    quickstart_check.py ws://HOST:PORT/ws
"""

import asyncio
import json
import sys
import time

import websockets

NOTICE = "cp-node: "
DEADLINE = 20  # seconds for everything
TEXT = "hello from another node"


async def connect(url, user):
    """A connection, and what the node says about itself at its beginning."""
    socket = await websockets.connect(f"{url}?user={user}&notices=1")
    first = await socket.recv()
    if not first.startswith(NOTICE):
        raise RuntimeError(f"{user} expected a notice, got {first!r}")
    return socket, json.loads(first[len(NOTICE):])["node"]


async def connect_elsewhere(url, user, node):
    """Like connect(), but not to that node."""
    while True:
        socket, other = await connect(url, user)
        if other != node:
            return socket, other
        await socket.close()


async def next_messages(socket, n):
    """The next ones that are no notices."""
    messages = []
    while len(messages) < n:
        message = await socket.recv()
        if not message.startswith(NOTICE):
            messages.append(message)
    return messages


async def settled(socket, user):
    """For its first seconds a node can't rule out that others are missing, and
    its receipts say `unsure`: send to oneself until they say `ok`."""
    while True:
        await socket.send(f"{user} settled?")
        if f"ok {user} nodes=1 conns=1" in await next_messages(socket, 2):
            return
        await asyncio.sleep(0.1)


async def prove(url):
    alice, alices_node = await connect(url, "alice")
    bob, bobs_node = await connect_elsewhere(url, "bob", alices_node)
    print(f"  alice  connected through nginx, she is on {alices_node}")
    print(f"  bob    connected through nginx, he is on {bobs_node}")

    await settled(bob, "bob")

    start = time.perf_counter()
    await bob.send(f"alice {TEXT}")
    print(f'  bob    sends on {bobs_node}:  alice {TEXT}')
    [got] = await next_messages(alice, 1)
    took = (time.perf_counter() - start) * 1000
    if got != TEXT:
        raise RuntimeError(f"alice got {got!r} instead")
    print(f"  alice  got on {alices_node}:   {got}   ({took:.1f} ms)")

    [receipt] = await next_messages(bob, 1)
    print(f"  bob    has the receipt:  {receipt}")
    if receipt != "ok alice nodes=1 conns=1":
        raise RuntimeError(f"bob got {receipt!r} as the receipt")
    await asyncio.gather(alice.close(), bob.close())
    print(f"\nProved: sent on {bobs_node}, delivered on {alices_node}.")


def main():
    try:
        asyncio.run(asyncio.wait_for(prove(sys.argv[1]), DEADLINE))
    except asyncio.TimeoutError:
        sys.exit(f"quickstart_check: not done after {DEADLINE} s")
    except (OSError, RuntimeError, websockets.WebSocketException) as error:
        sys.exit(f"quickstart_check: {error!r}")


if __name__ == "__main__":
    main()
