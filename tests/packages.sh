#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
#
# The one list of system packages, and what installs those that are missing:
#
#   tests/packages.sh build|demo|test|ci     each group holds those before it
#   tests/packages.sh bench                  build, demo, and what measures
#
# It looks for the thing itself (a program, a header, a Python module), not for
# the package, so whatever is there already is good, wherever it came from. On
# Debian and Ubuntu it installs by apt-get; elsewhere it prints the names. It is
# quiet when nothing is missing, and fails when something that is needed still
# is. To be sourced by other scripts, too: they get packages_install and the
# variables PYTHON and MESON.

# Programs that Debian keeps out of a user's PATH, nginx among them.
PATH=$PATH:/usr/sbin:/sbin

# A Python of pyenv's may stand first in PATH, without the system's modules.
packages_prefer() {
  if [ -x "/usr/bin/$1" ]; then echo "/usr/bin/$1"; else echo "$1"; fi
}
PYTHON=${PYTHON:-$(packages_prefer python3)}
MESON=${MESON:-$(packages_prefer meson)}

# "?" marks what can be done without: the tests that need it are skipped. "-":
# no such package. @ stands for clang's major version. zstd is what newer
# OpenSSLs ask for when one links statically.
packages_list() {
  cat <<'END'
# group what it is                Debian             Fedora             Alpine           Homebrew
build   program:cc                gcc                gcc                gcc              -
build   header:stdio.h            libc6-dev          glibc-devel        musl-dev         -
build   program:pkg-config        pkg-config         pkgconf-pkg-config pkgconf          pkgconf
build   meson                     meson              meson              meson            meson
build   program:ninja             ninja-build        ninja-build        ninja            ninja
build   library:libuv             libuv1-dev         libuv-devel        libuv-dev        libuv
build   header:wslay/wslay.h      libwslay-dev       wslay-devel        wslay-dev        wslay
build   library:hiredis           libhiredis-dev     hiredis-devel      hiredis-dev      hiredis
build   library:libcrypto         libssl-dev         openssl-devel      openssl-dev      openssl@3
build   ?library:liburing         liburing-dev       liburing-devel     liburing-dev     -
build   header:zlib.h             zlib1g-dev         zlib-devel         zlib-dev         -
demo    program:redis-server      redis-server       redis              redis            redis
demo    program:nginx             nginx              nginx              nginx            nginx
demo    python                    python3            python3            python3          python3
demo    python:websockets         python3-websockets python3-websockets py3-websockets   -
test    program:g++               g++                gcc-c++            g++              -
test    header:zstd.h             libzstd-dev        libzstd-devel      zstd-dev         -
test    library:cmocka            libcmocka-dev      libcmocka-devel    cmocka-dev       cmocka
test    program:openssl           openssl            openssl            openssl          openssl@3
test    python:pytest             python3-pytest     python3-pytest     py3-pytest       -
test    ?python:xdist             python3-pytest-xdist python3-pytest-xdist py3-pytest-xdist -
test    ?python:redis             python3-redis      python3-redis      py3-redis        -
test    ?python:selenium          python3-selenium   python3-selenium   -                -
test    ?program:chromium         chromium           chromium           chromium         chromium
test    ?program:node             nodejs             nodejs             nodejs           node
test    ?node:ws                  node-ws            -                  -                -
test    ?node:redis               node-redis         -                  -                -
test    ?program:chromedriver     chromium-driver    chromedriver       chromium-chromedriver chromedriver
ci      program:git               git                git                git              git
ci      node:ws                   node-ws            -                  -                -
ci      node:redis                node-redis         -                  -                -
ci      program:clang             clang              clang              clang            llvm
ci      fuzzer                    libclang-rt-@-dev  compiler-rt        compiler-rt      llvm
ci      program:llvm-symbolizer   llvm               llvm               llvm             llvm
ci      program:clang-format      clang-format       clang-tools-extra  clang-extra-tools clang-format
ci      program:clang-tidy        clang-tidy         clang-tools-extra  clang-extra-tools llvm
bench   program:openssl           openssl            openssl            openssl          openssl@3
bench   program:gnuplot           gnuplot-nox        gnuplot            gnuplot          gnuplot
bench   program:valgrind          valgrind           valgrind           valgrind         -
bench   program:taskset           util-linux         util-linux         util-linux-misc  -
END
}

packages_have() {
  local name=${1#*:}

  case $1 in
  program:*) command -v "$name" ;;
  header:*) echo "#include <$name>" | ${CC:-cc} -E - ;;
  library:*) pkg-config --exists "$name" ;;
  python:*) "$PYTHON" -c "import $name" ;;
  node:*) NODE_PATH=${NODE_PATH:-}:/usr/share/nodejs node -e "require('$name')" ;;
  python) "$PYTHON" --version ;;
  meson) "$MESON" --version ;;
  fuzzer) ls "$(clang -print-resource-dir)"/lib/*/*clang_rt.fuzzer* ;;
  esac >/dev/null 2>&1
}

# packages_missing GROUP COLUMN [WHAT]: one name a line; column 2 is the thing
# itself, the package columns follow. WHAT `needed` leaves out what can be done
# without.
packages_missing() {
  local groups='' group what debian fedora alpine brew names name

  for group in build demo test ci; do
    groups="$groups $group"
    [ "$group" = "$1" ] && break
  done
  [ "$1" = bench ] && groups='build demo bench'
  packages_list | while read -r group what debian fedora alpine brew; do
    case " $groups " in *" $group "*) ;; *) continue ;; esac
    case ${3:-}$what in needed\?*) continue ;; esac
    packages_have "${what#\?}" && continue
    names=(- "$group" "${what#\?}" "$debian" "$fedora" "$alpine" "$brew")
    name=${names[$2]}
    [ "$name" = - ] || echo "$name"
  done | sort -u
}

packages_as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "This needs root, and there is no sudo: $*" >&2
    return 1
  fi
}

packages_clang_version() {
  apt-cache depends clang | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p'
}

# Ubuntu has chromium as a snap only, and its package is an empty shell.
packages_apt_names() {
  packages_missing "$1" 3 | sed "s/@/$(packages_clang_version)/" |
    if grep -q '^ID=ubuntu' /etc/os-release; then
      grep -v '^chromium'
    else
      cat
    fi
}

packages_apt_get() {
  packages_as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

packages_apt_install() {
  local log names

  log=$(mktemp)
  packages_apt_get update >"$log" 2>&1
  names=$(packages_apt_names "$1" | tr '\n' ' ')
  if [ -n "$names" ]; then
    echo "Installing by apt-get: $names"
    case " $names" in
    *' redis-server '* | *' nginx '*)
      echo "(Where systemd runs, Debian starts redis and nginx as services at" \
        "once. Nothing here uses those; stop them if you don't want them.)"
      ;;
    esac
    # shellcheck disable=SC2086 # one word a name
    packages_apt_get install -y --no-install-recommends $names >"$log" 2>&1 ||
      cat "$log" >&2
  fi
  rm -f "$log"
}

packages_install() {
  local missing

  [ -n "$(packages_missing "$1" 2)" ] || return 0
  if command -v apt-get >/dev/null; then
    packages_apt_install "$1"
  elif command -v dnf >/dev/null; then
    echo "To install: sudo dnf install" $(packages_missing "$1" 4)
  elif command -v apk >/dev/null; then
    echo "To install: sudo apk add" $(packages_missing "$1" 5)
  elif command -v brew >/dev/null; then
    echo "To install: brew install" $(packages_missing "$1" 6)
  fi
  missing=$(packages_missing "$1" 2 needed)
  [ -z "$missing" ] && return 0
  echo "Still missing:" $missing >&2
  return 1
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  case ${1:-} in
  build | demo | test | ci | bench) packages_install "$1" ;;
  *)
    echo "usage: tests/packages.sh build|demo|test|ci|bench" >&2
    exit 2
    ;;
  esac
fi
