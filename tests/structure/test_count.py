# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""tests/count.py has the last word on every run, so it is held to account."""

import json
import subprocess
import sys

import pytest

from project import ROOT


def count(*reports):
    command = [sys.executable, "-B", ROOT / "tests/count.py", *reports]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[-1], done.returncode


def meson_report(tmp_path, *runs):
    path = tmp_path / "run.json"
    lines = [
        json.dumps({"name": "x", "result": result, "stdout": output})
        for result, output in runs
    ]
    path.write_text("\n".join(lines))
    return path


GOOD = "1..2\nok 1 - a\nsome print\nok 2 - b\n# ok - group\n"
BAD = "1..3\nok 1 - a\nnot ok 2 - b\n# 1 != 2\nnot ok 3 # SKIP c\n"
CRASHED = "1..3\nok 1 - a\n"


@pytest.mark.parametrize(
    "runs, line, status",
    [
        ([("OK", GOOD)], "2 passed, 0 failed", 0),
        ([("OK", GOOD), ("OK", GOOD)], "4 passed, 0 failed", 0),
        ([("OK", GOOD), ("FAIL", BAD)], "3 passed, 1 failed, 1 skipped", 1),
        ([("FAIL", CRASHED)], "1 passed, 1 failed", 1),
        ([("TIMEOUT", GOOD)], "2 passed, 1 failed", 1),
        ([("FAIL", GOOD)], "2 passed, 1 failed", 1),  # leaked at exit
        ([("OK", "1..0\n")], "0 passed, 1 failed", 1),
        ([], "0 passed, 1 failed", 1),
    ],
)
def test_meson(tmp_path, runs, line, status):
    assert count(meson_report(tmp_path, *runs)) == (line, status)


def test_pytest(tmp_path):
    path = tmp_path / "report.xml"
    path.write_text(
        "<testsuites><testsuite><testcase name='a'/><testcase name='b'>"
        "<failure/></testcase><testcase name='c'><error/></testcase>"
        "<testcase name='d'><skipped/></testcase></testsuite></testsuites>"
    )
    assert count(path) == ("1 passed, 2 failed, 1 skipped", 1)


def test_reports_add_up(tmp_path):
    path = tmp_path / "report.xml"
    path.write_text("<testsuite><testcase name='a'/></testsuite>")
    meson = meson_report(tmp_path, ("OK", GOOD))
    assert count(path, meson) == ("3 passed, 0 failed", 0)


def test_nothing_is_a_failure(tmp_path):
    assert count() == ("0 passed, 0 failed", 1)
    assert count(tmp_path / "missing.xml") == ("0 passed, 1 failed", 1)
    path = tmp_path / "report.xml"
    path.write_text("<testsuite><testcase name='a'><skipped/></testcase></testsuite>")
    assert count(path) == ("0 passed, 0 failed, 1 skipped", 1)
