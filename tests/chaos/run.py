#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""The chaos run: three nodes, users, numbered messages at a steady rate, and
something that goes wrong every few seconds. At the end each message is
accounted for, at each connection that it was for.

    tests/chaos/run.py [--seconds N] [--users N] [--rate N] [--seed N]
                       [--redis-cluster]

accounting.py tells what the rows of the table mean. Exit 1 if a message was
lost silently, came twice or out of order, or if anything else was wrong. The
programs come from BUILD_DIR (build)."""

import argparse
import asyncio
import random
import sys
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "cluster"),
                str(Path(__file__).resolve().parent)]

from accounting import Account  # noqa: E402
from chaos import Chaos  # noqa: E402
from harness import Cluster  # noqa: E402

MOST_FAULTS = 50
MOST_EXAMPLES = 10


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--rate", type=float, default=200,
                        help="messages a second, of all senders")
    parser.add_argument("--redis-cluster", action="store_true",
                        help="three masters with a replica each, not one Redis")
    parser.add_argument("--seed", type=int,
                        default=random.SystemRandom().randrange(10 ** 6))
    return parser.parse_args()


def report(args, chaos, account):
    record = account.record
    print(f"\nseed {args.seed}: {args.seconds:g} s, {args.users} users, "
          f"{len(record.messages)} messages, {len(record.connections)} "
          f"connections, {sum(len(c.gaps) for c in record.connections)} gaps "
          f"told")
    for name, n in sorted(Counter(chaos.faults.done).items()):
        print(f"{n:6}  {name}")
    print()
    for fault in account.faults[:MOST_FAULTS]:
        print(fault)
    for text in account.by_receipt[::10][:MOST_EXAMPLES]:
        print(f"only the receipt tells: {text}")
    print("\n".join(account.lines()), flush=True)


def main():
    args = parse()
    print(f"seed {args.seed}", flush=True)
    cluster = Cluster()
    try:
        chaos = Chaos(cluster, args.seed, args.users, args.rate,
                      lambda text: print(text, flush=True),
                      args.redis_cluster)
        record = asyncio.run(chaos.run(args.seconds))
        record.faults += [f"exit: {text}" for text in cluster.close()]
        account = Account(record)
        report(args, chaos, account)
        if account.faults:
            for name, text in cluster.logs():
                print(f"--- {name}\n{text}")
        return 1 if account.faults else 0
    finally:
        cluster.close()
        cluster.remove()


sys.exit(main())
