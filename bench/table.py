# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""From the reports of a run to the table, as ratios, and to data for plots.gp.

    table.py MEASURED.jsonl PLOT_DIRECTORY
"""

import json
import statistics
import sys
from pathlib import Path

SUBJECTS = {"cp": "libclusterpush", "ws": "ws + ioredis"}
PERCENTILES = {"p50": "50%", "p90": "90%", "p99": "99%", "p999": "99.9%"}


class Measured:
    def __init__(self, path):
        self.reports = [json.loads(line) for line in path.read_text().splitlines()]

    def runs(self, label, **match):
        """Each run's reports: most have one, a storm has one for each node."""
        runs = {}
        for report in self.reports:
            if report["label"] == label and match.items() <= report.items():
                runs.setdefault(report["run"], []).append(report)
        return list(runs.values())

    def median(self, label, key, **match):
        """Over the runs; within a run the worst. None: it was not measured."""
        values = self.values(label, key, **match)
        return statistics.median(values) if values else None

    def values(self, label, key, **match):
        return [max(r[key] for r in run) for run in self.runs(label, **match)]

    def ratio(self, this, that):
        """Of one figure to another, each (label, key, match): their medians, and
        the median of the ratios of each run, for a machine may be slower in one
        run than in the next. None: one of them was not measured."""
        mine, theirs = (self.values(label, key, **match)
                        for label, key, match in (this, that))
        if not mine or not theirs:
            return None
        return (statistics.median(mine), statistics.median(theirs),
                statistics.median(a / b for a, b in zip(mine, theirs)))


def at_most(limit):
    return lambda value: value <= limit, f"≤ {limit:g}"


def at_least(limit):
    return lambda value: value >= limit, f"≥ {limit:g}"


def figure(label, key="node_us", **match):
    return label, key, match


def rows(m):
    """What, value, unit, target; a ratio's value is what Measured.ratio says."""
    limit = figure("write", window=1)

    yield ("relay: CPU of both nodes, a message",
           m.median("relay cp", "node_us"), "µs", at_most(2.8))
    yield ("… to that of ws + ioredis",
           m.ratio(figure("relay cp"), figure("relay ws")), "µs", at_most(0.17))
    yield ("relay: CPU of Redis, a message",
           m.median("relay cp", "redis_us"), "µs", at_most(0.7))
    yield ("… to that of ws + ioredis",
           m.ratio(figure("relay cp", "redis_us"), figure("relay ws", "redis_us")),
           "µs", at_most(0.5))
    for batch in (128, 16, 1):
        yield (f"… the limit: PUBLISH to SUBSCRIBE alone, {batch} at once",
               m.median("PUBLISH", "redis_us", window=batch), "µs", None)
    yield ("relay: messages a second, all cores, to ws + ioredis",
           m.ratio(figure("throughput cp", "per_second"),
                   figure("throughput ws", "per_second")), "/s", at_least(4))
    yield ("latency at 5,000 messages/s: median, to that of ws + ioredis",
           m.ratio(figure("latency cp", "p50_us"), figure("latency ws", "p50_us")),
           "µs", at_most(0.55))
    yield ("… 99 % to the median",
           m.ratio(figure("latency cp", "p99_us"), figure("latency cp", "p50_us")),
           "µs", at_most(4))
    yield ("… of the machine: the same 2 ms of work over and over, 99.9 % to the median",
           m.ratio(figure("core", "p999_us"), figure("core", "p50_us")), "µs", None)
    yield ("saturated: CPU of all nodes, a message, 8 nodes to 2",
           m.ratio(figure("growth8 cp"), figure("growth2 cp")), "µs", at_most(1.1))
    yield ("2,500 messages/s: the same, 8 nodes to 1",
           m.ratio(figure("wakeups8 cp"), figure("wakeups1 cp")), "µs", at_most(1.3))
    yield ("fan-out to 5,000: CPU a delivery, to a bare loop of write(2)",
           m.ratio(figure("fanout cp"), limit), "µs", at_most(1.06))
    yield ("… of ws + ioredis to that loop",
           m.ratio(figure("fanout ws"), limit), "µs", None)
    yield ("… of a loop through io_uring to that loop",
           m.ratio(figure("batched", window=1), limit), "µs", None)
    yield ("16 messages to each of 5,000, to a loop that joins 16 frames",
           m.ratio(figure("joined cp"), figure("write", window=16)), "µs", at_most(1.3))
    yield ("fan-out to 2,500 on each of two nodes, to 5,000 on one",
           m.ratio(figure("twonodes cp"), figure("fanout cp")), "µs", at_most(1.1))
    yield ("half of 5,000 stop reading: the others' 99 %, to before",
           m.ratio(figure("slow cp", "p99_us"), figure("slow cp", "before_p99_us")),
           "µs", at_most(1.5))
    yield ("… the node's memory at its peak",
           scaled(m.median("slow cp", "node_peak_bytes"), 2**20), "MiB", None)
    yield ("idle: process memory, a connection",
           m.median("idle cp", "node_bytes_each"), "bytes", at_most(560))
    yield ("… of ws + ioredis",
           m.median("idle ws", "node_bytes_each"), "bytes", None)
    yield ("… of ours, over TLS", m.median("idle tls", "node_bytes_each"), "bytes", None)
    yield ("… of ours, with compression",
           m.median("idle deflate", "node_bytes_each"), "bytes", None)
    yield ("… Redis' memory, a user",
           m.median("idle cp", "redis_bytes_each"), "bytes", None)
    yield ("handshake: CPU of the node",
           m.median("idle cp", "handshake_node_us"), "µs", at_most(12))
    yield ("… to that of ws + ioredis",
           m.ratio(figure("idle cp", "handshake_node_us"),
                   figure("idle ws", "handshake_node_us")), "µs", at_most(0.11))
    yield ("Redis restarted: until 100,000 users are subscribed again",
           m.median("restart cp", "restored_s"), "s", at_most(1.5))
    yield ("… longest round trip of a ping meanwhile",
           scaled(m.median("restart cp", "ping_max_us"), 1000), "ms", at_most(10))


def scaled(value, divisor):
    return value / divisor if value is not None else None


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def row(what, value, unit, target):
    """A line of the table, or None if something was not measured."""
    judge, text = target or (None, "")
    if value is None:
        return None
    if isinstance(value, tuple):
        value, reference, judged = value
        cells = [f"{number(value)} : {number(reference)} {unit}", f"{judged:.2f}"]
    else:
        judged = value
        cells = [f"{number(value)} {unit}", ""]
    verdict = "" if judge is None else "yes" if judge(judged) else "**no**"
    return "| " + " | ".join([what, *cells, text, verdict]) + " |"


def table(m):
    yield "| | measured | ratio | target | met |"
    yield "|---|---:|---:|---:|---|"
    for fields in rows(m):
        line = row(*fields)
        if line is not None:
            yield line
    others = [report.get("others_cores", 0) for report in m.reports]
    yield ""
    yield (f"Runs: {max(report['run'] for report in m.reports)}. Meanwhile other "
           f"processes of the machine took {statistics.median(others):.2f} cores "
           f"(median; at most {max(others):.2f}).")


# Data for the pictures: columns with a header. What was not measured is left
# out, a file without data is empty.


def write(path, head, lines):
    path.write_text("\n".join([head, *lines]) + "\n" if lines else "")


def write_cpu(m, path):
    lines = []
    for who, name in SUBJECTS.items():
        nodes = m.median(f"relay {who}", "node_us")
        if nodes is not None:
            lines.append(f'"{name}" {nodes} {m.median(f"relay {who}", "redis_us")}')
    limit = m.median("PUBLISH", "redis_us", window=128)
    if limit is not None:
        lines.append(f'"PUBLISH alone" 0 {limit}')
    write(path, "who nodes redis", lines)


def write_latency(m, path):
    here = [who for who in SUBJECTS if m.runs(f"latency {who}")]
    lines = []
    for key, name in PERCENTILES.items():
        values = (m.median(f"latency {who}", f"{key}_us") for who in here)
        lines.append(" ".join([name, *map(str, values)]))
    names = [f'"{SUBJECTS[who]}"' for who in here]
    write(path, " ".join(["percentile", *names]), lines if here else [])


def main():
    m = Measured(Path(sys.argv[1]))
    plots = Path(sys.argv[2])
    print("\n".join(table(m)))
    write_cpu(m, plots / "cpu.dat")
    write_latency(m, plots / "latency.dat")


main()
