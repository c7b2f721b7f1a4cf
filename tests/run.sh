#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
#
# Install what is missing, build, run the tests:
#
#   tests/run.sh [SUITE...]
#
# Suites: unit, loop (C, by meson), structure, conformance, cluster, browser (by
# pytest); all of them by default. `threads` is the part of loop that sends from
# threads of its own. The last line counts test cases: "N passed, N failed", and
# "N skipped" if a test lacked something that can be done without.
#
# Environment:
#   CC        the compiler
#   SANITIZE  for example address,undefined
#   BUILD_DIR where to build: build, with CC and SANITIZE appended if they are
#             set
#   PYTHON    the system's by default

set -u
cd "$(dirname "$0")/.." || exit 1
. tests/packages.sh

meson_suites=()
pytest_suites=()
reports=()

give_up() {
  echo "$1" >&2
  echo "0 passed, 1 failed"
  exit 1
}

sort_suites() {
  local suite

  for suite in "$@"; do
    case $suite in
    unit | loop | threads) meson_suites+=("$suite") ;;
    structure | conformance | cluster | browser) pytest_suites+=("$suite") ;;
    *) give_up "unknown suite: $suite" ;;
    esac
  done
}

choose_build_dir() {
  local name=build${CC:+-$CC}${SANITIZE:+-$SANITIZE}

  BUILD_DIR=${BUILD_DIR:-${name//[^A-Za-z0-9_]/-}}
  mkdir -p "$BUILD_DIR" && BUILD_DIR=$(cd "$BUILD_DIR" && pwd)
  export BUILD_DIR
}

build() {
  local options=(-Dtests=enabled -Dexamples=enabled)

  [ -z "${SANITIZE:-}" ] ||
    options+=("-Db_sanitize=$SANITIZE" -Db_lundef=false)
  [ ! -f "$BUILD_DIR/build.ninja" ] || options+=(--reconfigure)
  "$MESON" setup "$BUILD_DIR" "${options[@]}" >"$BUILD_DIR/setup.log" 2>&1 || {
    cat "$BUILD_DIR/setup.log"
    return 1
  }
  ninja -C "$BUILD_DIR"
}

run_meson_suites() {
  local report=$BUILD_DIR/meson-logs/run.json suite args=()

  for suite in "${meson_suites[@]}"; do
    args+=(--suite "$suite")
  done
  rm -f "$report"
  reports+=("$report")
  "$MESON" test -C "$BUILD_DIR" --no-rebuild --print-errorlogs \
    --logbase run ${SANITIZE:+--timeout-multiplier 4} "${args[@]}"
}

# Most of these tests wait most of the time: several files at once, where
# pytest can. The browser is busy by itself.
pytest_workers() {
  [ "$1" != browser ] && packages_have python:xdist || return 0
  echo "-n 3 --dist loadfile"
}

# pytest answers 0 or 1 when it came to its end.
run_pytest_suite() {
  local report=$BUILD_DIR/pytest-$1.xml

  rm -f "$report"
  reports+=("$report")
  timeout --kill-after=10 900 "$PYTHON" -B -m pytest -p no:cacheprovider \
    --tb=short --junitxml="$report" $(pytest_workers "$1") "tests/$1"
  [ $? -le 1 ] || rm -f "$report"
}

main() {
  local suite

  [ $# -gt 0 ] || set -- unit loop structure conformance cluster browser
  sort_suites "$@"
  packages_install test || give_up "Without these the tests can't be run."
  choose_build_dir
  build || give_up "The build failed."
  [ ${#meson_suites[@]} -eq 0 ] || run_meson_suites
  for suite in ${pytest_suites[@]+"${pytest_suites[@]}"}; do
    run_pytest_suite "$suite"
  done
  "$PYTHON" -B tests/count.py "${reports[@]}"
}

main "$@"
