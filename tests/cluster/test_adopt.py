# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""examples/adopt: an HTTP server on epoll that hands its WebSocket clients over,
alone and as a node of a cluster."""

import sys
import urllib.error
import urllib.request

import pytest
import websockets
from harness import BUILD_DIR, Process, eventually, free_port, on_loop
from rawsocket import PING, PONG, RawSocket, close_frame, frame

ADOPT = BUILD_DIR / "examples" / "adopt"
pytestmark = pytest.mark.skipif(sys.platform != "linux",
                                reason="no epoll here")


class Adopt(Process):
    tls = None

    def __init__(self, cluster, redis=None):
        self.port = free_port()
        argv = [ADOPT, str(self.port)]
        if redis is not None:
            argv = ["env", f"REDIS_URL={redis.url}", *argv]
        super().__init__(cluster, f"adopt{len(cluster.processes)}", argv)
        eventually(self.answers)

    def get(self, path):
        url = f"http://{self.address}{path}"
        with urllib.request.urlopen(url) as answer:
            return answer.status, answer.read().decode()

    def answers(self):
        try:
            return self.get("/")[0] == 200
        except urllib.error.URLError:
            return False

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def connect(self):
        return websockets.connect(f"ws://{self.address}/ws")


@pytest.fixture
def server(cluster):
    return cluster.add(Adopt(cluster))


@on_loop
async def test_http_and_websocket_on_one_port(server):
    assert "new WebSocket" in server.get("/")[1]
    async with server.connect() as one, server.connect() as two:
        assert server.get("/news?hello")[0] == 202
        assert await one.recv() == "hello"
        assert await two.recv() == "hello"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        server.get("/nothing")


def test_frames_that_came_with_the_head_are_not_lost(server):
    with RawSocket(server) as client:
        client.send(client.request("/ws") + frame(PING, b"early"))
        assert client.response_head()[0] == 101
        answer = client.recv()
        assert (answer.opcode, answer.payload) == (PONG, b"early")


def test_a_bad_upgrade_is_answered_by_the_library(server):
    with RawSocket(server) as client:
        request = client.request("/ws", drop=["Sec-WebSocket-Key"])
        assert client.ask(request) == 400


@on_loop
async def test_it_is_a_node_of_the_cluster(cluster):
    redis = cluster.redis()
    server = cluster.add(Adopt(cluster, redis))
    async with server.connect() as client:
        eventually(lambda: redis.cli("PUBLISH", "cp:u:{reader}", "hi") == ["1"])
        assert await client.recv() == "hi"


def test_it_ends_cleanly_with_clients(server):
    with RawSocket(server) as client:
        assert client.ask(client.request("/ws")) == 101
        server.child.terminate()
        assert client.recv().code == 1001
        client.send(close_frame(1001))
        assert server.wait() == 0
