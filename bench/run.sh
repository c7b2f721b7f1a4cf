#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
#
# Build, measure, compare: the numbers of bench/README.md.
#
#   bench/run.sh [OPTION]...
#
#   --runs N        each measurement so often; medians count (3)
#   --seconds N     of measuring, each time (5)
#   --only A,B,...  these measurements: relay latency growth wakeups fanout
#                   twonodes joined slow idle kinds restart micro
#   --core N        where measurements of CPU time run (the last core)
#   --peers DIR     compare with the peers of bench/peers; npm puts what they
#                   need into DIR, once
#   --out DIR       where the results go (bench/results)
#
# A run of everything without --out also puts its tables into bench/README.md.
#
# Everything runs on this machine, on private ports, and is gone at the end.
# What is measured in CPU time has one core to itself, the load program
# included: then nothing crosses cores and the figures are steady. The runs of
# all measurements alternate, so that a slow minute of the machine hits all.
#
# BUILD_DIR: where to build (default: build-bench in the source tree).

set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD_DIR:-$root/build-bench}
runs=3
seconds=5
all='relay latency growth wakeups fanout twonodes joined slow idle kinds restart micro'
only=$all
core=$(($(nproc) - 1))
peers=
out=$root/bench/results

while [ $# -gt 0 ]; do
  case $1 in
  --runs) runs=$2 ;;
  --seconds) seconds=$2 ;;
  --only) only=${2//,/ } ;;
  --core) core=$2 ;;
  --peers) peers=$2 ;;
  --out) out=$2 ;;
  --help) sed -n '5,27s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "run.sh: unknown option $1 (there is --help)" >&2; exit 2 ;;
  esac
  shift 2 || { echo "run.sh: $1 wants a value" >&2; exit 2; }
done

# shellcheck source=tests/packages.sh
. "$root/tests/packages.sh" # which also sets MESON, PYTHON and PATH

open_files=$(ulimit -Hn)
ulimit -n "$open_files"

# Processes. -----------------------------------------------------------------

dir=
redis_pid=
node_pids=()
node_ports=()

end() { # PID...
  local pid
  for pid in "$@"; do kill "$pid" 2>/dev/null || true; done
  for pid in "$@"; do wait "$pid" 2>/dev/null || true; done
}

stop_all() {
  end ${redis_pid:+"$redis_pid"} "${node_pids[@]}"
  redis_pid=
  node_pids=()
  node_ports=()
}

cleanup() {
  trap '' INT TERM HUP
  # shellcheck disable=SC2046 # one word a process
  end $(jobs -pr)
  [ -z "$dir" ] || rm -rf "$dir"
}

fail() {
  echo "run.sh: $*" >&2
  tail -n 5 "$dir"/*.log >&2 2>/dev/null || true
  exit 1
}

# await PID COMMAND...: until it succeeds, as long as the process lives.
await() {
  local pid=$1 i
  shift
  for ((i = 0; i < 1200; i++)); do
    "$@" >/dev/null 2>&1 && return
    kill -0 "$pid" 2>/dev/null || fail "a process ended: $*"
    sleep 0.05
  done
  fail "not after a minute: $*"
}

listens() {
  (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

free_port() {
  local port
  for port in {7400..7499}; do
    listens "$port" || break
  done
  echo "$port"
}

# pinned COMMAND...: on the one core, unless $pin is empty.
pinned() {
  exec ${pin:+taskset -c "$core"} "$@"
}

start_redis() {
  pinned redis-server --port "$redis_port" --bind 127.0.0.1 --dir "$dir" \
    --save '' --appendonly no >"$dir/redis.log" 2>&1 &
  redis_pid=$!
  await "$redis_pid" redis-cli -p "$redis_port" ping
}

# start_node WHO [OPTION]...: cp or ws.
start_node() {
  local who=$1 log=$dir/node${#node_pids[@]}.log
  shift
  : >"$log"
  case $who in
  cp) pinned "$build/examples/cp-node" --listen 127.0.0.1:0 --log error \
    --redis "redis://127.0.0.1:$redis_port" "$@" >"$log" 2>&1 & ;;
  ws) NODE_PATH=$peers/node_modules pinned node "$root/bench/peers/ws_user.js" \
    "$redis_port" >"$log" 2>&1 & ;;
  esac
  node_pids+=($!)
  await $! grep -q 'listening on' "$log"
  node_ports+=("$(sed -n 's/.*listening on .*://p' "$log")")
}

# start WHO N [OPTION]...: Redis and so many nodes.
start() {
  local who=$1 n=$2 i
  shift 2
  start_redis
  for ((i = 0; i < n; i++)); do start_node "$who" "$@"; done
}

joined() {
  local IFS=,
  echo "$*"
}

# load MODE LABEL [OPTION]...: against what was started; the report is kept. In
# the layout "cross" the senders are on the first node, the users on the others.
load() {
  local mode=$1 label=$2 users senders pids
  shift 2
  users=("${node_ports[@]}")
  senders=("${node_ports[@]}")
  if [ "$layout" = cross ] && [ ${#node_ports[@]} -gt 1 ]; then
    users=("${node_ports[@]:1}")
    senders=("${node_ports[0]}")
  fi
  pids=("${node_pids[@]/#/node=}" "redis=$redis_pid")
  (pinned "$build/bench/load" "$mode" --label "$label" \
    --ports "$(joined "${users[@]}")" --send-ports "$(joined "${senders[@]}")" \
    --pids "$(joined "${pids[@]}")" --seconds "$seconds" "$@") | keep ||
    fail "load $mode, $label: something was lost"
}

# Adds the number of the run to a report.
keep() {
  sed "s/}\$/,\"run\":$run}/" | tee -a "$measured"
}

limit() {
  (pinned "$build/bench/limits" "$@") | keep
}

# Measurements. --------------------------------------------------------------

pin=yes
layout=cross
# Who is measured.
subjects() {
  echo cp ${peers:+ws}
}

run_relay() {
  local who batch
  for who in $(subjects); do
    start "$who" 2
    load relay "relay $who"
    stop_all
  done
  pin=
  for who in $(subjects); do
    start "$who" 2
    load relay "throughput $who"
    stop_all
  done
  pin=yes
  start_redis
  for batch in 128 16 1; do
    limit redis "$redis_port" "$redis_pid" 64 "$batch" "$seconds"
  done
  stop_all
}

run_latency() {
  local who
  limit core "$seconds"
  for who in $(subjects); do
    start "$who" 2
    load relay "latency $who" --rate 5000
    stop_all
  done
}

run_growth() {
  local n
  layout=all
  for n in 2 8; do
    start cp $n
    load relay "growth$n cp"
    stop_all
  done
  layout=cross
}

run_wakeups() {
  local n
  layout=all
  for n in 1 8; do
    start cp $n
    load relay "wakeups$n cp" --rate 2500
    stop_all
  done
  layout=cross
}

fan_out() { # WHO
  start "$1" 1
  load fanout "fanout $1" --users 5000
  stop_all
}

# What is compared stands side by side in time, too.
run_fanout() {
  fan_out cp
  limit fanout 5000 64 1 "$seconds"
  [ -z "$liburing" ] || limit batched 5000 64 1 "$seconds"
  [ -z "$peers" ] || fan_out ws
}

run_joined() {
  start cp 1
  load fanout "joined cp" --users 5000 --window 16
  stop_all
  limit fanout 5000 64 16 "$seconds"
}

run_twonodes() {
  layout=all
  start cp 2
  load fanout "twonodes cp" --users 5000
  stop_all
  layout=cross
}

# Queues so short that they are full, and the limit at work, all the time.
run_slow() {
  start cp 1 --send-queue 65536 --slow drop-old
  load fanout "slow cp" --users 5000 --size 8192 --rate 5 --slow-half
  stop_all
}

run_idle() {
  local who n_users=$((open_files > 18500 ? 18000 : open_files - 500))
  for who in $(subjects); do
    start "$who" 1
    load idle "idle $who" --users "$n_users"
    stop_all
  done
}

# Idle over TLS, and with compression.
run_kinds() {
  local n_users=$((open_files > 4500 ? 4000 : open_files - 500))
  [ -f "$dir/node.pem" ] ||
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
      -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
      -keyout "$dir/node.key" -out "$dir/node.pem" 2>"$dir/openssl.log" ||
    fail 'openssl failed'
  start cp 1 --tls-cert "$dir/node.pem" --tls-key "$dir/node.key"
  idle_kind tls "$dir/node.pem"
  start cp 1 --compress
  idle_kind deflate
}

idle_kind() { # KIND [CERTIFICATE]
  "$PYTHON" "$root/bench/idle_kinds.py" "idle $1" "${node_ports[0]}" \
    "${node_pids[0]}" "$n_users" "$@" | keep || fail "idle, $1"
  stop_all
}

# As many nodes as 100,000 users need, a load program for each; every user gets
# a message from the next node, before and after.
run_restart() {
  local total=100000 n each i pids=()
  n=$((total / (open_files - 1000) + 1))
  each=$(((total + n - 1) / n))
  pin=
  start cp "$n"
  rm -f "$dir"/ready*
  for ((i = 0; i < n; i++)); do
    "$build/bench/load" storm --label 'restart cp' --users "$each" \
      --ports "${node_ports[i]}" --send-ports "${node_ports[(i + 1) % n]}" \
      --pids "node=${node_pids[i]}" --redis-port "$redis_port" \
      --first-user $((i * each)) >"$dir/restart$i" 2>"$dir/ready$i" &
    pids+=($!)
  done
  for ((i = 0; i < n; i++)); do await "${pids[i]}" grep -q ready "$dir/ready$i"; done
  sleep 1
  kill -KILL "$redis_pid"
  wait "$redis_pid" 2>/dev/null || true
  sleep 2
  start_redis
  for ((i = 0; i < n; i++)); do
    wait "${pids[i]}" || fail "restart: $(cat "$dir/ready$i")"
    keep <"$dir/restart$i"
  done
  stop_all
  pin=yes
}

run_micro() {
  [ "$run" = 1 ] || return 0
  "$root/bench/micro.sh" "$build/bench/micro" | tee "$dir/micro.md"
}

# ----------------------------------------------------------------------------

install_peers() {
  [ -n "$peers" ] || return 0
  mkdir -p "$peers"
  peers=$(cd "$peers" && pwd)
  [ -d "$peers/node_modules/ws" ] && return
  cp "$root/bench/peers/package.json" "$peers"
  npm install --prefix "$peers" --no-audit --no-fund >"$dir/npm.log" 2>&1 ||
    fail 'npm failed'
}

build_all() {
  [ -f "$build/build.ninja" ] ||
    "$MESON" setup "$build" "$root" --buildtype=release -Dbench=enabled \
      -Dtests=disabled >"$dir/build.log" 2>&1 || fail 'meson failed'
  ninja -C "$build" >"$dir/build.log" 2>&1 || fail 'the build failed'
}

# splice MARKER FILE: put it between <!-- MARKER --> and <!-- end --> of README.
splice() {
  local readme=$root/bench/README.md
  [ -s "$2" ] || return 0
  awk -v marker="<!-- $1 -->" -v file="$2" '
    $0 == "<!-- end -->" { skip = 0 }
    !skip
    $0 == marker { skip = 1; while ((getline line < file) > 0) print line }
  ' "$readme" >"$dir/readme" && cat "$dir/readme" >"$readme"
}

main() {
  packages_install bench || fail 'without these it can not run'
  dir=$(mktemp -d "${TMPDIR:-/tmp}/clusterpush.XXXXXX")
  trap cleanup EXIT
  trap 'exit 130' INT TERM HUP
  install_peers
  build_all
  liburing=$(pkg-config --modversion 'liburing >= 2.2' 2>/dev/null || true)
  mkdir -p "$out"
  measured=$out/measured.jsonl
  : >"$measured"
  redis_port=$(free_port)
  for ((run = 1; run <= runs; run++)); do
    for what in $only; do "run_$what"; done
  done
  "$PYTHON" "$root/bench/table.py" "$measured" "$dir" | tee "$dir/table.md"
  (cd "$dir" && gnuplot -e "out='$out'" "$root/bench/plots.gp")
  if [ "$only$out" = "$all$root/bench/results" ]; then
    splice results "$dir/table.md"
    splice instructions "$dir/micro.md"
  fi
}

main
