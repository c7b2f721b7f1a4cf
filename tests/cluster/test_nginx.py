# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Three nodes behind nginx with examples/nginx.conf, and the quickstart."""

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest
import websockets

from harness import (BUILD_DIR, ENV, PATIENCE, ROOT, clients, connect,
                     close_code_of, notice_of, on_loop, recv)
from rawsocket import RawSocket

QUICKSTART = ROOT / "examples" / "quickstart.sh"


@pytest.fixture
def nodes(cluster):
    return cluster.nodes(3, cluster.redis())


@pytest.fixture
def nginx(cluster, nodes):
    return cluster.nginx(nodes)


async def node_of(ws):
    """Of a connection that asked for notices."""
    return notice_of(await recv(ws))["node"]


@on_loop
async def test_connections_spread_over_the_nodes(nginx):
    urls = [nginx.url(f"u{i}", notices=True) for i in range(9)]
    async with clients(*urls) as everybody:
        names = [await node_of(ws) for ws in everybody]
        assert {name: names.count(name) for name in names} == {
            "n1": 3, "n2": 3, "n3": 3}
        await everybody[0].send("* across all of them")
        for ws in everybody:
            assert await recv(ws) == "across all of them"


@pytest.mark.parametrize("size", [0, 100, 1 << 20])
@on_loop
async def test_messages_pass_nginx(nginx, size):
    async with clients(nginx.url("alice"), nginx.url("bob")) as (alice, bob):
        await bob.send(b"alice \0" + b"b" * (size - 10))
        assert len(await recv(alice)) == max(size - 10, 0)


@on_loop
async def test_a_killed_node(nginx, nodes):
    """Its client comes back through nginx, on another node, and is reached."""
    async with clients(*[nginx.url("alice", notices=True)] * 3,
                       *[nginx.url("bob", notices=True)] * 3) as everybody:
        places = {}
        for ws in everybody:
            places.setdefault(await node_of(ws), []).append(ws)
        nodes[0].kill()
        for ws in places["n1"]:
            assert await close_code_of(ws) == 1006
        for _ in range(6):
            async with connect(nginx.url("carol", notices=True)) as carol:
                assert await node_of(carol) in ("n2", "n3")
                await places["n2"][0].send("carol welcome back")
                assert await recv(carol) == "welcome back"


@on_loop
async def test_a_stopped_node(nginx, nodes):
    """A deploy: 1001, and the next connection lands elsewhere at once."""
    async with clients(*[nginx.url("alice", notices=True)] * 3) as everybody:
        places = {await node_of(ws): ws for ws in everybody}
        nodes[1].child.send_signal(signal.SIGTERM)
        assert await close_code_of(places["n2"]) == 1001
        for _ in range(4):
            async with connect(nginx.url("alice", notices=True)) as alice:
                assert await node_of(alice) in ("n1", "n3")


@on_loop
async def test_all_nodes_gone_and_one_back(cluster, nginx, nodes):
    for node in nodes:
        node.kill()
    with pytest.raises(websockets.InvalidHandshake):
        async with connect(nginx.url("alice")):
            pass
    cluster.node(None, "--listen", nodes[2].address, name="back")

    async def served():
        with contextlib.suppress(websockets.InvalidHandshake):
            async with connect(nginx.url("alice", notices=True)) as ws:
                return await node_of(ws) == "back"

    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not await served():
        assert asyncio.get_running_loop().time() < deadline


def test_browsers_of_the_same_host_only(nginx):
    """nginx hands on Host and Origin as they came."""
    for origin, status in ((f"http://{nginx.address}", 101),
                           ("http://evil.example", 403)):
        with RawSocket(nginx) as raw:
            assert raw.ask(raw.request(Origin=origin)) == status


def test_refusals_pass_nginx(nginx):
    for target, status in (("/ws", 401), ("/ws?user=%7Dx", 400),
                           ("/nope?user=x", 404)):
        with RawSocket(nginx) as raw:
            assert raw.ask(raw.request(target)) == status


def test_page_passes_nginx(nginx):
    status, _, body = nginx.get("/")
    assert status == 200
    assert body == (ROOT / "examples" / "page.html").read_bytes()
    assert nginx.get("/healthz")[0] == 200
    assert nginx.get("/metrics")[0] == 404


# The quickstart. -----------------------------------------------------------


def quickstart(cluster, *args):
    """Started in a session of its own, with temporary files of its own."""
    env = dict(ENV, BUILD_DIR=str(BUILD_DIR), TMPDIR=str(cluster.dir))
    return subprocess.Popen([QUICKSTART, *args], env=env, text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, start_new_session=True)


def left_of(session):
    """Processes of that session; zombies are up to init."""
    left = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            pid, rest = path.read_text().split(" (", 1)
            name, fields = rest.rsplit(") ", 1)
            state, _, _, its_session = fields.split()[:4]
            if its_session == str(session) and state != "Z":
                left.append(f"{pid} {name}")
    return left


def check_gone(cluster, session):
    assert left_of(session) == []
    assert list(cluster.dir.glob("clusterpush.*")) == []


def test_quickstart_check(cluster):
    child = quickstart(cluster, "--check")
    output, _ = child.communicate(timeout=90)
    assert child.returncode == 0, output
    assert "Proved: sent on" in output
    check_gone(cluster, child.pid)


@pytest.mark.parametrize("sig, group", [
    (signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGHUP, False)],
    ids=["Ctrl-C", "TERM", "HUP"])
def test_quickstart_until_a_signal(cluster, sig, group):
    child = quickstart(cluster)
    for line in child.stdout:
        if line.startswith("Ctrl-C"):
            break
    else:
        pytest.fail("the quickstart ended by itself")
    os.killpg(child.pid, sig) if group else child.send_signal(sig)
    assert child.wait(PATIENCE) == 128 + sig
    child.stdout.close()
    check_gone(cluster, child.pid)


def test_quickstart_that_fails_in_the_middle(cluster, tmp_path):
    (tmp_path / "examples").mkdir()
    broken = tmp_path / "examples" / "cp-node"
    broken.write_text("#!/bin/sh\necho 'cp-node: out of luck' >&2\nexit 1\n")
    broken.chmod(0o755)
    env = dict(ENV, BUILD_DIR=str(tmp_path), TMPDIR=str(cluster.dir))
    done = subprocess.run([QUICKSTART, "--check"], env=env, text=True,
                          timeout=60, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 1
    assert "out of luck" in done.stdout
    assert list(cluster.dir.glob("clusterpush.*")) == []


def test_quickstart_refuses_unknown_options():
    done = subprocess.run([QUICKSTART, "--chekc"], stderr=subprocess.PIPE,
                          check=False)
    assert done.returncode == 2 and b"--chekc" in done.stderr
