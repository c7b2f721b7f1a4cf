# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""One node as a program: options, plain HTTP, who may connect, its end."""

import re
import signal
import socket
import subprocess

import pytest

from harness import (CP_NODE, CP_PUBLISH, ENV, PATIENCE, ROOT, clients,
                     close_code_of, connect, eventually, free_port, on_loop,
                     recv)
from rawsocket import TEXT, RawSocket, close_frame, frame, open_raw

# Options. ------------------------------------------------------------------


def run(program, *args):
    return subprocess.run([program, *args], env=ENV, timeout=PATIENCE,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)


WRONG_OPTIONS = {
    "unknown": ["--nonsense"],
    "unknown short": ["-z"],
    "argument": ["stray"],
    "listen without value": ["--listen"],
    "listen without port": ["--listen", "127.0.0.1"],
    "listen with a bad port": ["--listen", "127.0.0.1:99999"],
    "listen with a word as port": ["--listen", "127.0.0.1:http8"],
    "redis without value": ["--redis"],
    "redis no URL": ["--redis", "localhost"],
    "redis scheme": ["--redis", "http://localhost"],
    "redis port": ["--redis", "redis://localhost:0x10"],
    "redis db": ["--redis", "redis://localhost/nodb"],
    "mode": ["--mode", "rely"],
    "mode empty": ["--mode", ""],
    "max-message no number": ["--max-message", "many"],
    "max-message with a tail": ["--max-message", "10k"],
    "max-message negative": ["--max-message", "-1"],
    "max-message zero": ["--max-message", "0"],
    "max-message too large": ["--max-message", "99999999999999999999999"],
    "send-queue no number": ["--send-queue", ""],
    "send-queue negative": ["--send-queue", "-5"],
    "slow": ["--slow", "drop"],
    "log": ["--log", "loud"],
    "prefix empty": ["--prefix", ""],
    "prefix with braces": ["--prefix", "a{b}"],
    "prefix with a space": ["--prefix", "a b"],
    "prefix too long": ["--prefix", "p" * 65],
}


@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_wrong_options(name):
    args = WRONG_OPTIONS[name]
    if "--listen" not in args:
        args = ["--listen", "127.0.0.1:0", *args]
    done = run(CP_NODE, *args)
    assert done.returncode == 2, done
    assert "cp-node: " in done.stderr, done
    assert "listening on" not in done.stdout


def test_wrong_option_is_named_in_the_message():
    done = run(CP_NODE, "--listen", "127.0.0.1:0", "--slow", "sometimes")
    assert "sometimes" in done.stderr or "--slow" in done.stderr


@pytest.mark.parametrize("args", [
    [], ["alice"], ["--redis"], ["--redis", "redis://localhost"],
    ["--nonsense", "alice", "x"],
    ["--redis", "redis://localhost", "alice", "x", "stray"],
    ["--redis", "nonsense", "alice", "x"]])
def test_wrong_options_of_cp_publish(args):
    done = run(CP_PUBLISH, *args)
    assert done.returncode == 2, done
    assert done.stderr != ""


@pytest.mark.parametrize("program", [CP_NODE, CP_PUBLISH])
def test_help(program):
    done = run(program, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert program.name in done.stdout and "--redis" in done.stdout


def test_help_names_every_option():
    text = run(CP_NODE, "--help").stdout
    for option in ("listen", "redis", "name", "prefix", "mode", "max-message",
                   "send-queue", "slow", "origin", "receipts", "log"):
        assert f"--{option}" in text


def test_address_in_use(cluster):
    node = cluster.node()
    done = run(CP_NODE, "--listen", node.address)
    assert done.returncode not in (0, 2), done
    assert node.address in done.stderr, done


# Plain HTTP. ---------------------------------------------------------------


@pytest.fixture
def node(cluster):
    return cluster.node()


def test_page(node):
    status, headers, body = node.get("/")
    assert status == 200
    assert headers["Content-Type"].lower() == "text/html; charset=utf-8"
    assert body == (ROOT / "examples" / "page.html").read_bytes()


def test_healthz_without_redis(cluster):
    node = cluster.node(name="lonely")
    status, headers, _ = node.get("/healthz")
    assert status == 200
    assert headers["Content-Type"].startswith("application/json")
    health = node.health()
    assert health["node"] == "lonely" and health["alive"] is True
    assert health["cluster"] == "up"


def test_healthz_with_a_name_that_needs_escaping(cluster):
    node = cluster.node(name='a"b\\c')
    assert node.health()["node"] == 'a"b\\c'


def test_head_and_404(node):
    status, _, body = node.get("/", method="HEAD")
    assert status == 200 and body == b""
    assert node.get("/nope")[0] == 404
    assert node.get("/healthz/")[0] == 404


LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
                    rf"(?:\{{{LABEL}(?:,{LABEL})*,?\}})?"
                    r" (?P<value>[-+0-9.eE]+|NaN|[-+]Inf)")


def check_exposition(text):
    """The text format of Prometheus, version 0.0.4."""
    types, seen, family = {}, set(), None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family not in types, f"{family} has two types"
            assert kind in ("counter", "gauge", "untyped"), line
            types[family] = kind
        elif line.startswith("# HELP "):
            assert len(line.split(" ", 3)) == 4, line
        elif line and not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            float(match["value"])
            assert match["name"] == family, f"{line} outside its family"
            series = line.rsplit(" ", 1)[0]
            assert series not in seen, f"{series} twice"
            seen.add(series)
    assert seen
    return types


def test_metrics_are_valid(node):
    status, headers, body = node.get("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    types = check_exposition(body.decode())
    for name, kind in types.items():
        assert name.endswith("_total") == (kind == "counter"), name


@on_loop
async def test_metrics_count(node):
    before = node.metrics()
    async with clients(node.url("alice"), node.url("bob")) as (alice, bob):
        await bob.send("alice hi")
        assert await recv(alice) == "hi"
        during = node.metrics()
    changed = {k: during[k] - v for k, v in before.items() if during[k] != v}
    assert 2 in changed.values(), "no metric counts the two connections"
    assert 1 in changed.values(), "no metric counts the message"


# Who may connect. ----------------------------------------------------------


@pytest.fixture
def raw(node):
    with RawSocket(node) as raw:
        yield raw


def test_upgrade(raw):
    raw.send(raw.request(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ=="))
    status, headers = raw.response_head()
    assert status == 101
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert headers["upgrade"].lower() == "websocket"
    assert headers["connection"].lower() == "upgrade"


@pytest.mark.parametrize("target, status", [
    ("/ws", 401), ("/", 401), ("/ws?name=alice", 401),
    ("/ws?user=" + "u" * 256, 400), ("/ws?user=%7Dalice", 400),
    ("/ws?user=%zz", 400), ("/ws?user=%4", 400),
    ("/nope?user=alice", 404), ("/ws/?user=alice", 404),
    ("/ws?user=" + "u" * 255, 101), ("/?user=alice", 101),
    ("/ws?user=a%20b", 101), ("/ws?x=1&user=alice", 101)],
    ids=lambda value: str(value)[:20])
def test_users(raw, target, status):
    assert raw.ask(raw.request(target)) == status


@pytest.mark.parametrize("status, change", [
    (405, {"method": "POST"}),
    (405, {"method": "PUT"}),
    (405, {"method": "HEAD"}),
    (400, {"method": "GE T"}),
    (426, {"Sec_WebSocket_Version": "8"}),
    (426, {"Sec_WebSocket_Version": "14"}),
    (400, {"Sec_WebSocket_Version": "x"}),
    (400, {"drop": ["Sec-WebSocket-Version"]}),
    (400, {"drop": ["Sec-WebSocket-Key"]}),
    (400, {"Sec_WebSocket_Key": "short"}),
    (400, {"Sec_WebSocket_Key": "!" * 24}),
    (400, {"drop": ["Connection"]}),
    (400, {"drop": ["Host"]}),
    (400, {"add": ["Host: again"]}),
    (400, {"add": ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]}),
    (400, {"add": ["Content-Length: 5"]}),
    (400, {"add": ["Transfer-Encoding: chunked"]}),
    (400, {"add": ["no colon"]}),
    (400, {"add": [" folded: line"]}),
    (400, {"add": ["Name : space"]}),
    (400, {"add": ["X: \x01"]}),
    (414, {"target": "/ws?user=" + "u" * 9000}),
    (431, {"add": ["X: " + "x" * 17000]}),
    (431, {"add": [f"X-{i}: y" for i in range(65)]}),
    (505, {"version": "HTTP/2.0"}),
    (101, {"Connection": "keep-alive, Upgrade"}),
    (101, {"Upgrade": "WebSocket"}),
    (101, {"add": ["X-Empty:"]}),
])
def test_handshakes(raw, status, change):
    assert raw.ask(raw.request(**change)) == status


def test_what_a_refusal_says(raw):
    raw.send(raw.request(Sec_WebSocket_Version="8"))
    status, headers = raw.response_head()
    assert status == 426 and headers["sec-websocket-version"] == "13"
    with RawSocket(raw.node) as other:
        other.send(other.request(method="POST"))
        status, headers = other.response_head()
        assert status == 405 and "GET" in headers["allow"]
    with RawSocket(raw.node) as other:
        other.send(other.request("/ws"))
        status, headers = other.response_head()
        body = other.recv_exactly(int(headers["content-length"]))
        assert status == 401 and body
        assert other.ended()


@pytest.mark.parametrize("options, origin, status", [
    ([], None, 101),
    ([], "http://HOST", 101),
    ([], "https://evil.example", 403),
    ([], "http://HOST.evil.example", 403),
    ([], "null", 403),
    (["--origin", "https://app.example"], "https://app.example", 101),
    (["--origin", "https://app.example"], "https://app.example.evil", 403),
    (["--origin", "https://app.example"], "http://app.example", 403),
    (["--origin", "https://a.example", "--origin", "https://b.example"],
     "https://b.example", 101),
    (["--origin", "*"], "https://anything.example", 101),
])
def test_origins(cluster, options, origin, status):
    node = cluster.node(None, *options)
    with RawSocket(node) as raw:
        headers = {}
        if origin is not None:
            headers["Origin"] = origin.replace("HOST", node.address)
        assert raw.ask(raw.request(**headers)) == status


def test_head_byte_by_byte(raw):
    data = raw.request()
    for i in range(len(data)):
        raw.send(data[i:i + 1])
    assert raw.response_head()[0] == 101


def test_not_http(raw):
    raw.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64))
    status, headers = raw.response_head()
    assert status == 400
    raw.recv_exactly(int(headers["content-length"]))
    assert raw.ended()


def test_vanished_before_and_during_the_handshake(node):
    for i in range(100):
        raw = RawSocket(node)
        raw.send(raw.request()[:i])
        raw.reset()
    with open_raw(node) as raw:
        raw.send(frame(TEXT, b"raw hello"))
        assert raw.recv().payload == b"hello"


@on_loop
async def test_most_connections_of_a_user(node):
    """The oldest goes, with a code that tells why."""
    async with clients(*[node.url("alice")] * 33) as (oldest, *others):
        assert await close_code_of(oldest) == 4008
        await others[0].send("alice the others stay")
        for ws in others:
            assert await recv(ws) == "the others stay"


# The end. ------------------------------------------------------------------


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
@on_loop
async def test_a_signal_closes_every_client(cluster, sig):
    redis = cluster.redis()
    node = cluster.node(redis)
    async with clients(*[node.url(f"u{i}") for i in range(50)]) as everybody:
        # Still in the handshake, and deaf: neither may hold up the end.
        with RawSocket(node) as half, RawSocket(node):
            half.send(half.request()[:20])
            node.child.send_signal(sig)
            for ws in everybody:
                assert await close_code_of(ws) == 1001
            assert node.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", node.port)).close()
    assert redis.cli("PUBSUB", "CHANNELS", "cp:*") in ([], [""])


def test_a_client_that_does_not_answer_the_close(node):
    with open_raw(node) as deaf:
        node.child.send_signal(signal.SIGTERM)
        assert deaf.recv().code == 1001
        assert node.wait() == 0
        assert deaf.ended()


def test_second_signal_does_no_harm(node):
    with open_raw(node):
        node.child.send_signal(signal.SIGTERM)
        node.child.send_signal(signal.SIGTERM)
        assert node.wait() == 0


@on_loop
async def test_what_is_queued_still_arrives(cluster):
    node = cluster.node(None, "--send-queue", str(64 << 20))
    async with connect(node.url("alice")) as alice:
        with open_raw(node, "bob") as bob:
            # Written in one turn: the last one proves that all were taken.
            bob.send(b"".join(frame(TEXT, b"alice %07d" % i + b"x" * 1000)
                              for i in range(2000)))
            bob.send(frame(TEXT, b"bob done"))
            assert bob.recv().payload == b"done"
            node.child.send_signal(signal.SIGTERM)
        for i in range(2000):
            assert (await recv(alice)).startswith(f"{i:07d}")
        assert await close_code_of(alice) == 1001
    assert node.wait() == 0


def test_port_is_free_again_at_once(cluster):
    port = free_port()
    for _ in range(3):
        node = cluster.node(None, "--listen", f"127.0.0.1:{port}")
        assert node.port == port
        with open_raw(node) as raw:
            node.child.send_signal(signal.SIGTERM)
            raw.send(close_frame(raw.recv().code))
            assert node.wait() == 0


def test_silent_on_stdout(node):
    with open_raw(node):
        pass
    assert node.get("/healthz")[0] == 200
    assert node.stop() == 0
    assert node.out().count("\n") == 1


def test_many_connections_leave_nothing(node):
    before = node.n_files()
    for _ in range(5):
        everybody = [open_raw(node, f"u{i}") for i in range(100)]
        for i, raw in enumerate(everybody):
            raw.reset() if i % 2 else raw.socket.close()
    eventually(lambda: node.n_files() <= before)
