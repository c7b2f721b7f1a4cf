# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""A million messages through Redis and two nodes, each one accounted for: none
lost, none doubled, none out of order. No part of the test suite, as it takes a
while.

    relay_run.py [MESSAGES]

Exit: 0 if all is well.
"""

import subprocess
import sys

from harness import BUILD_DIR, ENV, Cluster

RELAY_LOAD = BUILD_DIR / "tests" / "cluster" / "relay_load"


def run(cluster, messages):
    nodes = cluster.nodes(2, cluster.redis())
    ports = [str(node.port) for node in nodes]
    done = subprocess.run([RELAY_LOAD, *ports, messages], env=ENV, check=False)
    for node in nodes:
        sent = node.metrics()["clusterpush_sends_total"]
        print(f"{node.name}: {sent:.0f} sends")
    return done.returncode


def main():
    messages = sys.argv[1] if len(sys.argv) > 1 else "1000000"
    subprocess.run(["ninja", "-C", BUILD_DIR, "--quiet",
                    "tests/cluster/relay_load"], check=True)
    cluster = Cluster()
    try:
        code = run(cluster, messages)
    finally:
        faults = cluster.close()
        cluster.remove()
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else code)


if __name__ == "__main__":
    main()
