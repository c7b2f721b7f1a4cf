# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""The abuse run in short: fewer peers. abuse_run.py has 1,000."""

import pytest

import abuse
from harness import Cluster

PEERS = 60


@pytest.fixture(scope="module", name="abused")
def fixture_abused(scheme):
    """One node for all of it: what an attack leaves behind adds up."""
    cluster = Cluster()
    yield abuse.start(cluster, scheme, "--mode", "echo")
    faults = cluster.close()
    cluster.remove()
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("attack", abuse.ATTACKS, ids=lambda a: a.__name__)
def test_attack(abused, attack):
    abuse.survive(abused, attack, PEERS)


@pytest.mark.parametrize("policy", ["close", "drop-new", "drop-old"])
def test_non_readers_of_a_broadcast(cluster, scheme, policy):
    node = abuse.start(cluster, scheme, "--slow", policy)
    abuse.survive(node, abuse.non_readers_of_a_broadcast, PEERS)
