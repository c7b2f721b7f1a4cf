# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""The fixtures of the cluster tests, and a browser."""

# pylint: disable=unused-import,wrong-import-position
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cluster"))

from harness import cluster, programs, pytest_runtest_makereport  # noqa: E402,F401

FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic",
    "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]


@pytest.fixture
def browser(tmp_path):
    """Call it, with flags more, for a new headless Chromium; all are ended with
    the test."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver here")
    started = []

    def start(*more):
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in [*FLAGS, *more]:
            options.add_argument(flag)
        profile = tmp_path / f"profile{len(started)}"
        options.add_argument(f"--user-data-dir={profile}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.chrome.service.Service(driver)
        started.append(webdriver.Chrome(service=service, options=options))
        return started[-1]

    yield start
    for one in started:
        one.quit()
