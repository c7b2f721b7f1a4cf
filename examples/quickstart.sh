#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
#
# A cluster to look at: a Redis of its own, three nodes, nginx in front of them
# with nginx.conf of this directory, and the proof that a message sent on one
# node arrives on another. Then it stays up, with the page to play with, until
# Ctrl-C. It listens on 127.0.0.1 only, and everything that it started is gone
# when it ends.
#
#   examples/quickstart.sh           install what is missing, build, run
#   examples/quickstart.sh --check   prove and end: exit 0 or 1
#
# BUILD_DIR: where to build (default: build in the source tree).
# PORT: the page's port (default: 8080, or the next free one).

set -euo pipefail

check_only=
case ${1-} in
  '') ;;
  --check) check_only=yes ;;
  --help) sed -n '5,16s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "quickstart: unknown option $1 (there is --check)" >&2; exit 2 ;;
esac

root=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD_DIR:-$root/build}
dir=

# The end, whatever the reason: every process still running is a job of this
# shell, and nothing else is touched.
cleanup() {
  trap '' INT TERM HUP
  stop TERM 5 || stop KILL 5 || true
  [ -z "$dir" ] || rm -rf "$dir"
}

# stop SIGNAL SECONDS: and wait until all are gone, at most so long. The shell's
# own kill: a small system has no other.
stop() {
  local end=$((SECONDS + $2)) job
  for job in $(jobs -pr); do
    kill -s "$1" "$job" 2>/dev/null || true
  done
  while [ -n "$(jobs -pr)" ]; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
  echo "quickstart: $*" >&2
  for log in ${dir:+"$dir"/*.log}; do
    if [ -s "$log" ]; then
      echo "--- ${log##*/}" >&2
      tail -n 20 "$log" >&2
    fi
  done
  exit 1
}

# In the background, so that a signal interrupts the wait for it.
run() {
  "$@" &
  wait "$!"
}

# start NAME COMMAND...: its output goes to NAME.log.
start() {
  local name=$1
  shift
  "$@" >"$dir/$name.log" 2>&1 &
  pid[$name]=$!
}

# await NAME COMMAND...: until it succeeds, as long as NAME lives.
await() {
  local name=$1 end=$((SECONDS + 10))
  shift
  until "$@" >/dev/null 2>&1; do
    kill -0 "${pid[$name]}" 2>/dev/null || fail "$name ended"
    [ "$SECONDS" -lt "$end" ] || fail "$name is not ready after 10 s"
    sleep 0.05
  done
}

# Does anything listen there?
listens() {
  (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

free_port() {
  local port
  for port in {8080..8179}; do
    listens "$port" || break
  done
  echo "$port"
}

# 1. What is needed.

# shellcheck source=tests/packages.sh
. "$root/tests/packages.sh" # which also sets MESON, PYTHON and PATH
packages_install demo || fail 'without these it can not run'

dir=$(mktemp -d "${TMPDIR:-/tmp}/clusterpush.XXXXXX")
declare -A pid address

if [ ! -x "$build/examples/cp-node" ] && [ ! -f "$build/build.ninja" ]; then
  echo "Configuring $build"
  run "$MESON" setup "$build" "$root" >"$dir/build.log" 2>&1 ||
    fail 'meson failed'
fi
if [ -f "$build/build.ninja" ]; then
  echo "Building in $build"
  run ninja -C "$build" examples/cp-node examples/cp-publish \
    >"$dir/build.log" 2>&1 || fail 'the build failed'
fi

# 2. The cluster, in a directory of its own.

start redis redis-server --port 0 --unixsocket "$dir/redis.sock" --dir "$dir" \
  --save '' --appendonly no --daemonize no
await redis redis-cli -s "$dir/redis.sock" ping

for name in n1 n2 n3; do
  start $name "$build/examples/cp-node" --listen 127.0.0.1:0 --name $name \
    --redis "unix://$dir/redis.sock" --receipts
done
for name in n1 n2 n3; do
  await $name grep "listening on" "$dir/$name.log"
  address[$name]=$(sed -n 's/.* listening on //p' "$dir/$name.log")
done

port=${PORT:-$(free_port)}
sed -e "s/127.0.0.1:9001/${address[n1]}/" \
  -e "s/127.0.0.1:9002/${address[n2]}/" \
  -e "s/127.0.0.1:9003/${address[n3]}/" \
  -e "s/listen 80;/listen 127.0.0.1:$port;/" \
  "$root/examples/nginx.conf" >"$dir/nodes.conf"
{
  # As root the workers are nobody, who must get at the temporary files.
  if [ "$(id -u)" -eq 0 ]; then
    echo "user nobody $(id -gn nobody);"
    chmod 711 "$dir"
  fi
  echo "pid $dir/nginx.pid;"
  echo 'events {}'
  echo 'http {'
  echo '  access_log off;'
  for what in client_body proxy fastcgi uwsgi scgi; do
    echo "  ${what}_temp_path $dir/$what;"
  done
  echo "  include $dir/nodes.conf;"
  echo '}'
} >"$dir/nginx.conf"
start nginx nginx -p "$dir" -c "$dir/nginx.conf" -e stderr -g 'daemon off;'
await nginx test -s "$dir/nginx.pid" # written once it listens

cat <<END

  redis  $dir/redis.sock
  n1     ${address[n1]}   (process ${pid[n1]})
  n2     ${address[n2]}   (process ${pid[n2]})
  n3     ${address[n3]}   (process ${pid[n3]})
  nginx  127.0.0.1:$port

END

# 3. The proof.

run "$PYTHON" "$root/examples/quickstart_check.py" "ws://127.0.0.1:$port/ws" ||
  fail 'the proof failed'
[ -z "$check_only" ] || exit 0

# 4. Something to play with.

cat <<END

Open       http://127.0.0.1:$port/#alice
and        http://127.0.0.1:$port/#bob in a second tab.
Push       redis-cli -s $dir/redis.sock publish 'cp:u:{alice}' hello
Or end a node, and see its page come back on another:  kill ${pid[n1]}

Ctrl-C ends it all.
END
wait
