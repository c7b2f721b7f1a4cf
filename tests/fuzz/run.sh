#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
#
# Fuzz each target for some seconds, on from its kept corpus:
#
#   tests/fuzz/run.sh SECONDS [NAME...]
#
# New inputs stay in BUILD_DIR/corpus/NAME; to keep what is worth it:
#
#   BUILD_DIR/tests/fuzz/fuzz_NAME -merge=1 tests/fuzz/corpus/NAME \
#     BUILD_DIR/corpus/NAME
#
# An input that broke something is in BUILD_DIR; the target takes it as its only
# argument to break again. The last line counts targets.
#
# A long run, an hour each, leaves a core free with two at a time:
#
#   JOBS=2 nice tests/fuzz/run.sh 3600
#
# Environment: BUILD_DIR (build-fuzz), JOBS (1): targets at the same time.

set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/packages.sh

BUILD_DIR=${BUILD_DIR:-build-fuzz}
n_passed=0
n_failed=0

build() {
  local again=()

  [ ! -f "$BUILD_DIR/build.ninja" ] || again=(--reconfigure)
  CC=clang "$MESON" setup "$BUILD_DIR" ${again[@]+"${again[@]}"} -Dfuzz=true \
    -Dtests=disabled -Dexamples=disabled \
    -Db_sanitize=address,undefined -Db_lundef=false &&
    ninja -C "$BUILD_DIR"
}

fuzz() {
  local name=$1 kept=tests/fuzz/corpus/$1 found=$BUILD_DIR/corpus/$1

  mkdir -p "$found"
  UBSAN_OPTIONS=print_stacktrace=1 \
    "$BUILD_DIR/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 \
    -verbosity=0 -print_final_stats=1 \
    -artifact_prefix="$BUILD_DIR/broken-$name-" "$found" "$kept"
}

# The output is shown when it has ended; NAME.passed says how.
fuzz_logged() {
  rm -f "$BUILD_DIR/fuzz-$1.passed"
  fuzz "$1" >"$BUILD_DIR/fuzz-$1.log" 2>&1 && touch "$BUILD_DIR/fuzz-$1.passed"
  echo "fuzz_$1, ${seconds} s:"
  cat "$BUILD_DIR/fuzz-$1.log"
}

seconds=${1:?how many seconds for each target?}
shift
[ $# -gt 0 ] || set -- $(cd tests/fuzz && ls fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')
packages_install ci && build || {
  echo "0 passed, 1 failed"
  exit 1
}
for name in "$@"; do
  while [ "$(jobs -r | wc -l)" -ge "${JOBS:-1}" ]; do wait -n; done
  fuzz_logged "$name" &
done
wait
for name in "$@"; do
  if [ -f "$BUILD_DIR/fuzz-$name.passed" ]; then
    n_passed=$((n_passed + 1))
  else
    n_failed=$((n_failed + 1))
    echo "failed: fuzz_$name"
  fi
done
echo "$n_passed passed, $n_failed failed"
[ "$n_failed" -eq 0 ] && [ "$n_passed" -gt 0 ]
