#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
#
# Instructions for each operation of bench/micro, counted by callgrind, as a
# table in Markdown. They are the same in every run on the same build, however
# busy the machine is. What the setup costs falls out: an operation is the
# difference between two runs, of 2,000 and of 6,000.
#
#   bench/micro.sh MICRO [NAME]...    MICRO: the program, in a build directory

set -eu

[ $# -ge 1 ] || { sed -n '5,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
micro=$1
shift
few=2000
many=6000

# count NAME N: the instructions of such a run.
count() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null \
    "$micro" "$1" "$2" 2>&1 | sed -n 's/.*Collected : //p'
}

echo '| step | instructions | |'
echo '|---|---:|---|'
"$micro" | while IFS=$'\t' read -r name what; do
  case " ${*:-$name} " in *" $name "*) ;; *) continue ;; esac
  each=$((($(count "$name" $many) - $(count "$name" $few)) / (many - few)))
  echo "| $name | $each | $what |"
done
