# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""The fixtures stand in harness.py, which the browser tests use as well."""

# pylint: disable=unused-import
from harness import cluster, programs, pytest_runtest_makereport  # noqa: F401
