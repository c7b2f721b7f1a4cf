# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""Add up what test runs left behind: one total line, and who failed.

    count.py REPORT...

A report is meson's testlog.json, whose programs print TAP, or a JUnit file of
pytest's. One that is missing or in which no test ran counts as a failure: what
was to be run did not run.
"""

import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

TAP_LINE = re.compile(r"^(?P<bad>not )?ok \d+\b(?P<text>.*)$", re.MULTILINE)


def tap_cases(output):
    """cmocka prints a skipped case as "not ok 3 # SKIP name"."""
    for match in TAP_LINE.finditer(output):
        if re.search(r"# SKIP\b", match["text"]):
            yield "skipped", match["text"]
        else:
            yield "failed" if match["bad"] else "passed", match["text"]


def meson_cases(path):
    for line in path.read_text().splitlines():
        run = json.loads(line)
        cases = list(tap_cases(run.get("stdout", "")))
        for outcome, text in cases:
            yield outcome, run["name"] + text
        # Crashed, timed out, leaked, or never began: no TAP line tells.
        well = run["result"] == "OK" and cases
        if not well and "failed" not in (outcome for outcome, _ in cases):
            yield "failed", f"{run['name']} - {run['result']}"


def pytest_cases(path):
    for case in ET.parse(path).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            yield "failed", name
        elif case.find("skipped") is not None:
            yield "skipped", name
        else:
            yield "passed", name


def cases_of(path):
    if not path.exists():
        return [("failed", f"{path}: no such report")]
    read = meson_cases if path.suffix == ".json" else pytest_cases
    return list(read(path)) or [("failed", f"{path}: no test ran")]


def main():
    total = {"passed": 0, "failed": 0, "skipped": 0}
    for report in sys.argv[1:]:
        for outcome, name in cases_of(Path(report)):
            total[outcome] += 1
            if outcome != "passed":
                print(f"{outcome}: {name}")
    line = f"{total['passed']} passed, {total['failed']} failed"
    if total["skipped"] > 0:
        line += f", {total['skipped']} skipped"
    print(line)
    return 0 if total["failed"] == 0 and total["passed"] > 0 else 1


sys.exit(main())
