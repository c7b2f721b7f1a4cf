# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Real processes for tests: redis-server, cp-node and nginx, each on a private
port or Unix socket in a directory of the test's own, each ended by its pid.

A test asks for the fixture `cluster` and gets a Cluster:

    redis = cluster.redis()
    a, b = cluster.nodes(2, redis)

The programs come from BUILD_DIR (default: build in the source tree).
"""

import asyncio
import contextlib
import ctypes
import functools
import http.client
import json
import os
import random
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import websockets

ROOT = Path(__file__).resolve().parents[2]
BUILD_DIR = Path(os.environ.get("BUILD_DIR", ROOT / "build")).resolve()
CP_NODE = BUILD_DIR / "examples" / "cp-node"
CP_PUBLISH = BUILD_DIR / "examples" / "cp-publish"

NOTICE = "cp-node: "
PATIENCE = 20  # seconds that any condition may take to come true
TEST_PATIENCE = 120  # seconds for a whole test on the loop

# Thousands of clients are thousands of descriptors.
_, MOST_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, MOST_FILES))

ENV = dict(os.environ)
ENV["PATH"] = ENV.get("PATH", "") + ":/usr/sbin:/sbin"
# What Debian's packages bring.
ENV["NODE_PATH"] = ":".join(filter(None, [
    ENV.get("NODE_PATH"), "/usr/share/nodejs", "/usr/lib/node_modules"]))
# Freed memory that ASan keeps would look like a queue that grows.
ENV["ASAN_OPTIONS"] = ENV.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4"


# Waiting. ------------------------------------------------------------------


def eventually(condition, patience=PATIENCE):
    """Call `condition` until it returns something true; return that."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{condition} never came true"
        time.sleep(0.02)


async def eventually_async(condition, patience=PATIENCE):
    """The same on a running loop; `condition` may be a coroutine function."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"{condition} never came true"
        await asyncio.sleep(0.02)


def on_loop(test):
    """Make a coroutine function a test that asyncio.run() runs."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), TEST_PATIENCE))

    return run


# Processes. ----------------------------------------------------------------

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def die_with_parent():
    """In a child: whatever ends the tests, kill -9 even, ends it too."""
    if hasattr(LIBC, "prctl"):
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def first_ephemeral_port():
    path = Path("/proc/sys/net/ipv4/ip_local_port_range")
    return int(path.read_text().split()[0]) if path.exists() else 32768


def free_port():
    """A TCP port that nobody listens on now, and none of those that the system
    gives to who connects: else somebody might have it when its server, once
    killed, comes back."""
    while True:
        with socket.socket() as s, contextlib.suppress(OSError):
            port = random.randrange(10000, max(first_ephemeral_port(), 20000))
            s.bind(("127.0.0.1", port))
            return port


class Process:
    """A child with its stdout in NAME.out and its stderr in NAME.log."""

    def __init__(self, cluster, name, argv):
        self.name = name
        self.argv = [str(arg) for arg in argv]
        self.out_path = cluster.dir / f"{name}.out"
        self.log_path = cluster.dir / f"{name}.log"
        self.expected_exit = 0  # of a SIGTERM; None: don't care
        self.start()

    def start(self):
        with open(self.out_path, "ab") as out, open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                env=ENV, preexec_fn=die_with_parent)
        self.paused = False

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child.poll() is None

    def out(self):
        return self.out_path.read_text(errors="replace")

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait(self):
        """Its exit code, once it ended by itself."""
        return self.child.wait(PATIENCE)

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.expected_exit = None

    def pause(self):
        self.child.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        self.child.send_signal(signal.SIGCONT)
        self.paused = False

    def stop(self, sig=signal.SIGTERM):
        """End it; its exit code, or None for one that had to be killed. To one
        that is ending already SIGCONT would do harm: it cancels the stop by
        which the leak sanitizer, at the very end, attaches to the threads."""
        if self.alive():
            if self.paused:
                self.resume()
            self.child.send_signal(sig)
        try:
            return self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            return None

    def n_files(self):
        """Open descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self):
        """Resident bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no VmRSS")


class Redis(Process):
    """redis-server on a TCP port and a Unix socket, without persistence."""

    def __init__(self, cluster, name, *options, tls=False):
        self.port = free_port()
        ports = ["--port", 0, "--tls-port"] if tls else ["--port"]
        self.path = cluster.dir / f"{name}.sock"
        super().__init__(cluster, name, [
            "redis-server", "--bind", "127.0.0.1", *ports, self.port,
            "--unixsocket", self.path, "--dir", cluster.dir, "--save", "",
            "--appendonly", "no", "--daemonize", "no", *options])
        self.expected_exit = None
        self.await_ready()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    @property
    def unix_url(self):
        return f"unix://{self.path}"

    def cli_argv(self, *words):
        return ["redis-cli", "-s", str(self.path), *map(str, words)]

    def cli(self, *words):
        """What redis-cli prints for a command, as lines."""
        done = subprocess.run(self.cli_argv(*words), env=ENV, timeout=PATIENCE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.stdout.decode().splitlines()

    def await_ready(self):
        def answers():
            answer = " ".join(self.cli("PING"))
            return "PONG" in answer or "NOAUTH" in answer

        eventually(answers)

    def restart(self):
        """Like a crash: kill -9, and the same port again."""
        self.kill()
        self.path.unlink(missing_ok=True)
        self.start()
        self.await_ready()

    def n_subscribers(self, user, prefix="cp"):
        channel = f"{prefix}:u:{{{user}}}"
        return int(self.cli("PUBSUB", "NUMSUB", channel)[1])

    def n_calls(self, command):
        """How often a command was executed since the start."""
        for line in self.cli("INFO", "commandstats"):
            if line.startswith(f"cmdstat_{command}:calls="):
                return int(line.split("=")[1].split(",")[0])
        return 0


def has_tls():
    """Was cp-node built with it?"""
    done = subprocess.run(
        [CP_NODE, "--listen", "127.0.0.1:0", "--tls-cert", "/nowhere",
         "--tls-key", "/nowhere"], timeout=PATIENCE, stderr=subprocess.PIPE,
        text=True)
    return "this build has no TLS" not in done.stderr


def make_certificate(path, name="localhost", kind="DNS"):
    """A self-signed one in PATH.pem, its key in PATH.key. `kind` may be IP."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext",
         f"subjectAltName={kind}:{name}",
         "-keyout", f"{path}.key", "-out", f"{path}.pem"],
        check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)


def redis_has_tls():
    done = subprocess.run(["redis-cli", "--help"], env=ENV, text=True,
                          capture_output=True, check=False)
    return "--tls" in done.stdout + done.stderr


def trust(path):
    """A client's side of that."""
    return ssl.create_default_context(cafile=f"{path}.pem")


class Node(Process):
    """cp-node on a port that it chose. `certificate`: serve wss with what
    make_certificate() made."""

    def __init__(self, cluster, name, redis_url=None, *options, up=True,
                 certificate=None):
        argv = [CP_NODE, "--listen", "127.0.0.1:0", "--name", name]
        if redis_url is not None:
            argv += ["--redis", redis_url]
        self.tls = None
        if certificate is not None:
            self.certificate_file = f"{certificate}.pem"
            argv += ["--tls-cert", self.certificate_file,
                     "--tls-key", f"{certificate}.key"]
            self.tls = trust(certificate)
        super().__init__(cluster, name, [*argv, *options])
        self.port = self.await_port()
        if up:
            self.await_up()

    def await_port(self):
        def ready():
            assert self.alive(), f"{self.name} ended:\n{self.log()}"
            return self.out().endswith("\n")

        eventually(ready)
        head, port = self.out().strip().rsplit(":", 1)
        assert head == f"cp-node {self.name} listening on 127.0.0.1"
        return int(port)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def url(self, user, notices=False, path="/ws"):
        more = "&notices=1" if notices else ""
        scheme = "ws" if self.tls is None else "wss"
        return (f"{scheme}://{self.address}{path}"
                f"?user={quote(user, safe='')}{more}")

    def connection(self):
        """For plain requests."""
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port,
                                              timeout=PATIENCE)
        # The certificate is that of localhost.
        conn = http.client.HTTPSConnection("localhost", self.port,
                                           timeout=PATIENCE, context=self.tls)
        conn._create_connection = lambda _, *rest: socket.create_connection(
            ("127.0.0.1", self.port), *rest)
        return conn

    def get(self, path, method="GET"):
        """(status, headers, body) of a plain request."""
        conn = self.connection()
        try:
            conn.request(method, path)
            response = conn.getresponse()
            return response.status, response.headers, response.read()
        finally:
            conn.close()

    def health(self):
        return json.loads(self.get("/healthz")[2])

    def cluster_state(self):
        return self.health()["cluster"]

    def await_up(self):
        eventually(lambda: self.cluster_state() == "up")

    def metrics(self):
        """Every sample by its name with labels."""
        lines = self.get("/metrics")[2].decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines
                   if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}


class Nginx(Process):
    """nginx with examples/nginx.conf, its three servers replaced."""

    def __init__(self, cluster, name, nodes):
        self.port = free_port()
        self.dir = cluster.dir / name
        self.dir.mkdir()
        self.dir.chmod(0o711)
        (self.dir / "nodes.conf").write_text(self.adapted(nodes))
        (self.dir / "nginx.conf").write_text(self.main_config())
        super().__init__(cluster, name, [
            "nginx", "-p", self.dir, "-c", self.dir / "nginx.conf",
            "-e", "stderr", "-g", "daemon off;"])
        eventually((self.dir / "nginx.pid").exists)

    def adapted(self, nodes):
        config = (ROOT / "examples" / "nginx.conf").read_text()
        for port, node in zip((9001, 9002, 9003), nodes, strict=True):
            assert f"127.0.0.1:{port}" in config
            config = config.replace(f"127.0.0.1:{port}", node.address)
        assert "listen 80;" in config
        return config.replace("listen 80;", f"listen 127.0.0.1:{self.port};")

    def main_config(self):
        # As root its workers are nobody.
        user = ""
        if os.geteuid() == 0:
            group = subprocess.check_output(["id", "-gn", "nobody"], text=True)
            user = f"user nobody {group.strip()};"
        temp = "".join(f"{what}_temp_path {self.dir}/{what};\n" for what in
                       ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        return (f"{user}\npid {self.dir}/nginx.pid;\nworker_processes 2;\n"
                f"events {{}}\nhttp {{\naccess_log off;\n{temp}"
                f"include {self.dir}/nodes.conf;\n}}\n")

    tls = None
    url = Node.url
    address = Node.address
    connection = Node.connection
    get = Node.get


class Cluster:
    """What one test started. It is all gone when the test ends."""

    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="cp-test."))
        self.dir.chmod(0o711)
        self.processes = []

    def add(self, process):
        self.processes.append(process)
        return process

    def redis(self, *options, **more):
        name = f"redis{len(self.processes)}"
        return self.add(Redis(self, name, *options, **more))

    def node(self, redis=None, *options, name=None, up=True,
             certificate=None):
        """`redis` is a Redis, a URL, or None for a node without one."""
        url = redis.url if isinstance(redis, Redis) else redis
        name = name or f"n{len(self.processes)}"
        return self.add(Node(self, name, url, *options, up=up,
                             certificate=certificate))

    def certificate(self, name="node"):
        """A new one, for localhost."""
        make_certificate(self.dir / name)
        return self.dir / name

    def nodes(self, n, redis, *options):
        return [self.node(redis, *options, name=f"n{i + 1}") for i in range(n)]

    def nginx(self, nodes):
        return self.add(Nginx(self, "nginx", nodes))

    def logs(self):
        for path in sorted(self.dir.glob("*.log")):
            text = path.read_text(errors="replace")
            yield path.name, text[-4000:]

    def close(self):
        """End everything; say whose end was not clean."""
        faults = []
        for process in reversed(self.processes):
            code = process.stop()
            if process.expected_exit is not None and \
                    code != process.expected_exit:
                faults.append(f"{process.name} ended with {code}:\n"
                              f"{process.log()[-4000:]}")
        return faults

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


# Clients. ------------------------------------------------------------------


def connect(url, compression=None, **options):
    """websockets.connect() without what would blur a test: pings of its own,
    limits, compression unless asked for. For wss, `ssl` is the node's `tls`. An
    async context manager, or awaited."""
    if "ssl" in options:
        options.setdefault("server_hostname", "localhost")
    return websockets.connect(url, ping_interval=None, max_size=None,
                              max_queue=None, compression=compression,
                              close_timeout=5, open_timeout=PATIENCE,
                              **options)


def extensions(ws):
    """Those that were agreed on, whatever the client's version calls them."""
    return getattr(ws, "protocol", ws).extensions


async def recv(ws):
    """The next message; a missing one is a failure, not a hang."""
    return await asyncio.wait_for(ws.recv(), PATIENCE)


async def recv_all(ws, n):
    return [await recv(ws) for _ in range(n)]


def notice_of(message):
    assert isinstance(message, str) and message.startswith(NOTICE), message
    return json.loads(message[len(NOTICE):])


async def close_code_of(ws):
    """The close code that the server sent, once the connection has ended."""
    await asyncio.wait_for(ws.wait_closed(), PATIENCE)
    return ws.close_code


@contextlib.asynccontextmanager
async def clients(*urls, **options):
    """Several connections, all closed at the end."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connect(url, **options))
               for url in urls]


async def settled(ws):
    """Wait until the node of `ws` (with --receipts) knows who is offline: for
    the first seconds after it reached Redis it may say `unsure`."""

    async def offline():
        await ws.send("nobody-at-all are you there?")
        return await recv(ws) == "offline nobody-at-all"

    await eventually_async(offline)


# Fixtures, for conftest.py. ------------------------------------------------


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Let fixtures know whether their test failed."""
    outcome = yield
    if call.when == "call":
        item.failed = outcome.get_result().failed


@pytest.fixture(scope="session", autouse=True)
def programs():
    if not CP_NODE.exists():
        pytest.exit(f"{CP_NODE} is missing: build first, set BUILD_DIR", 3)


@pytest.fixture
def cluster(request):
    cluster = Cluster()
    yield cluster
    faults = cluster.close()
    if faults or getattr(request.node, "failed", False):
        for name, text in cluster.logs():
            print(f"--- {name}\n{text}")
    cluster.remove()
    assert not faults, "\n".join(faults)
