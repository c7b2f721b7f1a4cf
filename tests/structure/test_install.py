# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""What is installed can be used: consumers are built against it, and run."""

import os
import re
import shutil
from pathlib import Path

import pytest

from project import HEADERS, MESON, ROOT, run

CONSUMER = Path(__file__).parent / "consumer"
C = "cc -std=c99 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror".split()
CXX = "g++ -std=c++11 -Wall -Wextra -Werror -x c++".split()
VERSION = re.search(r"version: '(.*?)'", (ROOT / "meson.build").read_text())[1]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("install")
    prefix = scratch / "prefix"
    run(
        *(MESON, "setup", scratch / "build", ROOT),
        *(f"--prefix={prefix}", "--libdir=lib"),
        *("-Dtests=disabled", "-Dexamples=disabled"),
    )
    run(MESON, "install", "-C", scratch / "build")
    return prefix


@pytest.fixture(scope="module")
def static_prefix(prefix, tmp_path_factory):
    """The same without the shared library, which a linker would prefer."""
    copy = tmp_path_factory.mktemp("static") / "prefix"
    shutil.copytree(prefix, copy)
    pc_file = copy / "lib/pkgconfig/clusterpush.pc"
    pc_file.write_text(pc_file.read_text().replace(str(prefix), str(copy)))
    for path in (copy / "lib").glob("libclusterpush.so*"):
        path.unlink()
    return copy


def pkg_config(prefix, *options):
    env = dict(os.environ, PKG_CONFIG_PATH=str(prefix / "lib/pkgconfig"))
    return run("pkg-config", *options, "clusterpush", env=env).split()


def build_consumer(compiler, flags, tmp_path):
    program = tmp_path / "consumer"
    run(*compiler, CONSUMER / "consumer.c", "-o", program, *flags)
    return program


def test_what_is_installed(prefix):
    headers = {path.name for path in HEADERS} | {"version.h"}
    assert {p.name for p in (prefix / "include/clusterpush").iterdir()} == headers
    libraries = {path.name for path in (prefix / "lib").iterdir()}
    assert {"libclusterpush.a", "libclusterpush.so", "pkgconfig"} <= libraries
    assert not any("internal" in name for name in libraries)
    assert {path.name for path in prefix.iterdir()} == {"include", "lib"}


def test_pc_file(prefix):
    text = (prefix / "lib/pkgconfig/clusterpush.pc").read_text()
    assert not re.search(r"/\S*\.(so|a)\b", text)
    assert pkg_config(prefix, "--modversion") == [VERSION]
    shared = pkg_config(prefix, "--libs")
    assert {"-lclusterpush", "-luv"} <= set(shared)
    private = {"-lhiredis", "-lcrypto", "-lwslay"}
    assert not private & set(shared)
    assert private <= set(pkg_config(prefix, "--static", "--libs"))


@pytest.mark.parametrize("compiler", [C, CXX], ids=["C", "C++"])
def test_shared(compiler, prefix, tmp_path):
    flags = pkg_config(prefix, "--cflags", "--libs")
    program = build_consumer(compiler, flags, tmp_path)
    env = dict(os.environ, LD_LIBRARY_PATH=str(prefix / "lib"))
    assert run(program, env=env) == VERSION + "\n"


def test_static(static_prefix, tmp_path):
    flags = pkg_config(static_prefix, "--static", "--cflags", "--libs")
    program = build_consumer(C, flags, tmp_path)
    assert "clusterpush" not in run("ldd", program)
    assert run(program) == VERSION + "\n"


def test_meson_subproject(tmp_path):
    app = tmp_path / "app"
    shutil.copytree(CONSUMER, app)
    shutil.copytree(
        ROOT,
        app / "subprojects/libclusterpush",
        ignore=shutil.ignore_patterns("build*", ".*", "__pycache__"),
    )
    build = tmp_path / "build"
    run(MESON, "setup", build, app, "--force-fallback-for=clusterpush")
    run("ninja", "-C", build)
    assert run(build / "consumer") == VERSION + "\n"
    assert not (build / "subprojects/libclusterpush/tests").exists()
    assert not (build / "subprojects/libclusterpush/examples").exists()
