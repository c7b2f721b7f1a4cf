#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""The abuse run: every attack of abuse.py with 1,000 peers, over ws and wss,
twice, each followed by a look at what is left of it.

    tests/conformance/abuse_run.py [--peers N] [--scheme ws|wss] [ATTACK...]

A line tells how many pings of a bystander were answered during the attack, how
long half, 99 of 100 and the longest of them took, what processor time it cost
the node, and by how much the node's memory has grown when all was over. The
programs come from BUILD_DIR (build)."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cluster"))

import abuse  # noqa: E402
from harness import Cluster, has_tls  # noqa: E402

POLICIES = ["close", "drop-new", "drop-old"]


def tell(scheme, outcome, cpu):
    answers = sorted(outcome.answers)
    half, most, last = (answers[int(len(answers) * part)] * 1000
                        for part in (0.5, 0.99, 0.9999999))
    print(f"{scheme:3} {outcome.name:26} {outcome.seconds:6.1f} s "
          f"{cpu:6.1f} cpu-s  {len(answers):6} answers "
          f"{half:6.1f} {most:6.1f} {last:7.1f} ms  "
          f"{outcome.grown / 1024:+7.0f} KiB  {outcome.note}", flush=True)


def run(cluster, scheme, attacks, peers, *options):
    node = abuse.start(cluster, scheme, *options)
    for attack in attacks:
        before = abuse.processor_seconds(node)
        outcome = abuse.survive(node, attack, peers)
        tell(scheme, outcome, abuse.processor_seconds(node) - before)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--peers", type=int, default=1000)
    parser.add_argument("--scheme", choices=["ws", "wss"])
    parser.add_argument("attack", nargs="*")
    args = parser.parse_args()
    schemes = [args.scheme] if args.scheme else ["ws", "wss"]
    if not has_tls():
        schemes = [one for one in schemes if one == "ws"]
    chosen = [one for one in abuse.ATTACKS
              if not args.attack or one.__name__ in args.attack]
    broadcast = abuse.non_readers_of_a_broadcast
    cluster = Cluster()
    try:
        for scheme in schemes:
            run(cluster, scheme, chosen * 2, args.peers, "--mode", "echo")
            if args.attack and broadcast.__name__ not in args.attack:
                continue
            for policy in POLICIES:
                print(f"--slow {policy}")
                run(cluster, scheme, [broadcast] * 2, args.peers,
                    "--slow", policy)
    finally:
        faults = cluster.close()
        cluster.remove()
    print("\n".join(faults) or "every node ended well")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
