# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""wss with clients that others wrote: python3-websockets, openssl, Python."""

import os
import signal
import socket
import ssl
import subprocess

import pytest

from harness import (CP_NODE, PATIENCE, connect, eventually, has_tls,
                     make_certificate, on_loop, recv, recv_all, trust)

MIB = 1 << 20


def start_with(*options):
    return subprocess.run([CP_NODE, "--listen", "127.0.0.1:0", *options],
                          timeout=PATIENCE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(autouse=True, scope="module")
def fixture_tls():
    if not has_tls():
        pytest.skip("this build has no TLS")


@pytest.fixture(name="certificate")
def fixture_certificate(cluster):
    return cluster.certificate()


@pytest.fixture(name="node")
def fixture_node(cluster, certificate):
    return cluster.node(None, "--mode", "echo", "--compress",
                        certificate=certificate)


def connect_tls(node, certificate, compression=None):
    return connect(node.url("alice"), compression, ssl=trust(certificate))


@pytest.mark.parametrize("compression", [None, "deflate"])
@on_loop
async def test_echo(node, certificate, compression):
    async with connect_tls(node, certificate, compression) as ws:
        for message in ("", "a", "é" * 1000, "x" * 65536, bytes(MIB),
                        os.urandom(MIB)):
            await ws.send(message)
            assert await recv(ws) == message
        messages = [f"{i}" * 100 for i in range(1000)]
        for message in messages:
            await ws.send(message)
        assert await recv_all(ws, len(messages)) == messages
    assert ws.close_code == 1000


def s_client(node, *options):
    """What openssl says about a handshake."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", node.address, "-servername",
         "localhost", *options], stdin=subprocess.DEVNULL, timeout=PATIENCE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode(errors="replace")


@pytest.mark.parametrize("option, version", [
    ("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_versions(node, option, version):
    code, text = s_client(node, option)
    assert code == 0
    assert f"New, {version}" in text


# At its own level 0, since otherwise openssl would refuse it itself.
@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(node, option):
    code, text = s_client(node, option, "-cipher", "ALL:@SECLEVEL=0")
    assert code != 0
    assert "alert protocol version" in text


def test_plain_http_is_closed_at_once(node):
    with socket.create_connection(("127.0.0.1", node.port), PATIENCE) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP" not in s.recv(4096)


def get(node, certificate):
    """The answer to a GET, up to close_notify: without it recv would raise."""
    context = trust(certificate)
    with socket.create_connection(("127.0.0.1", node.port), PATIENCE) as plain:
        with context.wrap_socket(plain, server_hostname="localhost",
                                 suppress_ragged_eofs=False) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return b"".join(iter(lambda: s.recv(65536), b""))


def test_page(node, certificate):
    answer = get(node, certificate)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.rstrip().endswith(b"</html>")


@on_loop
async def test_reload(node, certificate):
    old = certificate.with_name("old")
    os.link(f"{certificate}.pem", f"{old}.pem")
    async with connect_tls(node, certificate) as ws:
        for suffix in ("pem", "key"):
            os.unlink(f"{certificate}.{suffix}")
        make_certificate(certificate)
        node.child.send_signal(signal.SIGHUP)
        eventually(lambda: "was read again" in node.log())
        await ws.send("still here")
        assert await recv(ws) == "still here"
        async with connect_tls(node, certificate) as new:
            await new.send("new")
            assert await recv(new) == "new"
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect_tls(node, old)


@on_loop
async def test_reload_of_rubbish_changes_nothing(node, certificate):
    keep = certificate.with_name("keep")
    os.rename(f"{certificate}.pem", f"{keep}.pem")
    node.child.send_signal(signal.SIGHUP)
    eventually(lambda: "error: tls: certificate" in node.log())
    async with connect_tls(node, keep) as ws:
        await ws.send("as before")
        assert await recv(ws) == "as before"


@pytest.mark.parametrize("options, text", [
    (["--tls-cert", "/nowhere.pem"], "belong together"),
    (["--tls-key", "/nowhere.key"], "belong together"),
    (["--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.key"],
     "tls: certificate /nowhere.pem: No such file or directory"),
])
def test_wrong_options(options, text):
    done = start_with(*options)
    assert done.returncode == 2
    assert text in done.stderr
