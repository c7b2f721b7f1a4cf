# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Every rule of RFC 6455 and RFC 7692 that a server has to keep, as tables of
what is sent and what must come of it. The node echoes, and is one for all the
rows of a scheme: what one connection did must not matter to the next. Each row
is sent over ws and wss, and cut in several ways.

The helpers are those of the cluster tests."""

# pylint: disable=unused-import,wrong-import-position
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cluster"))

from harness import (Cluster, cluster, eventually, has_tls,  # noqa: E402,F401
                     programs, pytest_runtest_makereport)
from rows import MAX_MESSAGE  # noqa: E402


@pytest.fixture(scope="session", params=["ws", "wss"])
def scheme(request):
    if request.param == "wss" and not has_tls():
        pytest.skip("this build has no TLS")
    return request.param


def at_rest(node):
    """All connections ended but the one that asks, and nobody's bytes wait."""
    metrics = node.metrics()
    return (metrics["clusterpush_connections"] == 0
            and node.n_files() <= node.files_at_rest)


@pytest.fixture(scope="session")
def node(scheme):
    started = Cluster()
    certificate = started.certificate() if scheme == "wss" else None
    one = started.node(None, "--mode", "echo", "--compress", "--max-message",
                       str(MAX_MESSAGE), certificate=certificate)
    one.files_at_rest = one.n_files()
    yield one
    log = one.log()
    try:
        eventually(lambda: at_rest(one))
    finally:
        faults = started.close()
        started.remove()
    assert not faults, "\n".join(faults)
    assert "error" not in log
