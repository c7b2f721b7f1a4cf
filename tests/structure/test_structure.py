# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""The house rules, as far as a machine can judge them."""

import os
import re
import statistics

import pytest

from project import (
    BUILD,
    HEADERS,
    LIB,
    LIB_FILES,
    ROOT,
    exported_functions,
    functions,
    includes,
    meson_data,
    run,
    without_comments,
)

MAX_LINES = 70
MAX_MEDIAN_LINES = 15

# What C11 and POSIX bring; the second list means I/O, threads or a clock.
PURE = """assert ctype errno float inttypes limits locale math setjmp signal
    stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn
    string strings sys/types sys/uio sys/un""".split()
IMPURE = """arpa/inet dirent fcntl grp net/if netdb netinet/in netinet/tcp poll
    pthread pwd sched semaphore spawn sys/ioctl sys/mman sys/random
    sys/resource sys/select sys/socket sys/stat sys/time sys/wait threads time
    unistd""".split()

TOP_LEVEL = """COPYING NEWS README.md bench docs examples include lib
    meson.build meson_options.txt pkgconfig subprojects tests""".split()

DATA = meson_data(LIB / "meson.build")
FLOORS = [DATA[name] for name in sorted(DATA) if name.startswith("floor_")]
LISTED = [name for names in FLOORS for name in names]


def complain(faults):
    __tracebackhide__ = True
    faults = list(faults)
    assert not faults, "\n" + "\n".join(str(fault) for fault in faults)


# Floors.


def floor_of(stem):
    """The top one for a file that is not listed, which is a fault of its own."""
    for number, names in enumerate(FLOORS):
        if stem in names:
            return number
    return len(FLOORS)


def test_every_file_lives_on_one_floor():
    stems = {path.stem for path in LIB_FILES}
    complain(f"{stem}: on no floor" for stem in sorted(stems - set(LISTED)))
    complain(f"{stem}: no such file" for stem in sorted(set(LISTED) - stems))
    assert len(LISTED) == len(stems), "a file lives on two floors"


def test_floors_are_listed_in_alphabetical_order():
    for names in FLOORS:
        assert names == sorted(names)


def test_includes_go_down():
    faults = []
    for path in LIB_FILES:
        for name in includes(path):
            stem = name.strip('"').removesuffix(".h")
            if not name.startswith('"') or stem.startswith("clusterpush/"):
                continue
            if floor_of(stem) > floor_of(path.stem):
                faults.append(f"{path.name} includes {name} of a higher floor")
    complain(faults)


def test_codecs_know_only_the_base_of_the_public_headers():
    faults = []
    for path in LIB_FILES:
        public = [i for i in includes(path) if i.startswith('"clusterpush/')]
        if floor_of(path.stem) < 2 and public not in ([], ['"clusterpush/base.h"']):
            faults.append(f"{path.name} includes {public}")
    complain(faults)


def test_third_party_headers_have_their_owners():
    faults = []
    for path in LIB_FILES:
        for name in includes(path):
            header = name.strip("<>")
            if not name.startswith("<") or header.removesuffix(".h") in PURE + IMPURE:
                continue
            owners = [
                stem
                for pattern, stems in DATA["third_party"].items()
                if header.startswith(pattern)
                for stem in stems
            ]
            if path.stem not in owners:
                faults.append(f"{path.name} includes {name}")
    complain(faults)


def test_base_and_codecs_have_no_io_and_no_clock():
    faults = []
    for path in LIB_FILES:
        for name in includes(path):
            impure = name.strip("<>").removesuffix(".h") in IMPURE
            if floor_of(path.stem) < 2 and impure:
                faults.append(f"{path.name} includes {name}")
    complain(faults)


# The binary.


def defined_symbols(path, *options):
    for line in run("nm", "--defined-only", *options, path).splitlines():
        words = line.split()
        if len(words) == 3:
            yield words[1], words[2].partition("@")[0]


def test_shared_library_exports_what_the_headers_declare():
    library = BUILD / "lib/libclusterpush.so"
    symbols = {name for _, name in defined_symbols(library, "-D")}
    declared = set(exported_functions())
    complain(f"{name} is not declared" for name in sorted(symbols - declared))
    complain(f"{name} is not defined" for name in sorted(declared - symbols))
    assert symbols


def test_static_library_keeps_to_its_prefix():
    library = BUILD / "lib/libclusterpush.a"
    symbols = {name for kind, name in defined_symbols(library, "-g")}
    assert symbols
    complain(sorted(name for name in symbols if not name.startswith("cp_")))


def test_no_mutable_static_data():
    if os.environ.get("SANITIZE"):
        pytest.skip("sanitizers add data of their own")
    faults = []
    member = None
    for line in run("size", "-A", BUILD / "lib/libclusterpush.a").splitlines():
        words = line.split()
        if "(ex " in line or line.endswith(":"):
            member = words[0]
        elif len(words) == 3 and re.match(r"\.t?(data|bss)", words[0]):
            if not words[0].startswith(".data.rel.ro") and words[1] != "0":
                faults.append(f"{member} has {words[1]} bytes of {words[0]}")
    assert member is not None
    complain(faults)


# The public headers.


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: path.name)
@pytest.mark.parametrize("language", ["c99", "c++11"])
def test_header_compiles_alone(header, language, tmp_path):
    plus = language == "c++11"
    source = tmp_path / ("alone.cc" if plus else "alone.c")
    source.write_text(f'#include "clusterpush/{header.name}"\nint alone;\n')
    compiler = os.environ.get("CXX", "g++") if plus else os.environ.get("CC", "cc")
    run(
        *compiler.split(),
        f"-std={language}",
        *"-pedantic -Wall -Wextra -Werror -Wshadow -c".split(),
        f"-I{ROOT}/include",
        f"-I{BUILD}/include",
        source,
        cwd=tmp_path,
    )


def test_headers_do_not_bring_libuv_along():
    for path in HEADERS:
        for name in includes(path):
            assert name.startswith('"') or name.strip("<>").removesuffix(".h") in PURE


def test_every_exported_function_is_documented():
    """Declarations without a blank line between them share their comment."""
    faults = []
    for name, (path, number) in exported_functions().items():
        lines = path.read_text().splitlines()[:number]
        while lines and not lines[-1].endswith("*/") and lines[-1].strip():
            lines.pop()
        if not lines or not lines[-1].endswith("*/"):
            faults.append(f"{path.name}: {name} has no comment above it")
    complain(faults)


def error_codes():
    text = (ROOT / "include/clusterpush/base.h").read_text()
    return set(re.findall(r"^#define (CP_E_\w+)", text, re.M))


def test_error_codes_that_are_named_exist():
    faults = []
    places = ["README.md", "NEWS", "docs", "examples", "include", "lib", "tests"]
    for place in places:
        path = ROOT / place
        files = [path] if path.is_file() else path.rglob("*.*")
        for file in files:
            if file.suffix not in (".c", ".h", ".md", ".py") and file.is_file():
                continue
            for name in re.findall(r"\bCP_E_[A-Z0-9]\w*", file.read_text()):
                if name not in error_codes():
                    faults.append(f"{file.relative_to(ROOT)} names {name}")
    complain(faults)


def test_error_codes_are_tested():
    text = (ROOT / "tests/unit/test_error.c").read_text()
    assert set(re.findall(r"CODE\((CP_E_\w+)\)", text)) == error_codes()


# The text.


def test_licence_stands_in_every_file():
    faults = []
    for directory in ("include", "lib", "tests"):
        for path in (ROOT / directory).rglob("*"):
            if path.suffix not in (".c", ".cc", ".h", ".py", ".sh"):
                continue
            head = "".join(path.read_text().splitlines(True)[:3])
            if "SPDX-License-Identifier: MIT" not in head:
                faults.append(path.relative_to(ROOT))
    complain(faults)


def test_functions_are_short():
    sizes = [
        (n_lines, f"{path.name}: {name} has {n_lines} lines")
        for path in LIB_FILES
        for name, n_lines in functions(path)
    ]
    complain(text for n_lines, text in sizes if n_lines > MAX_LINES)
    assert statistics.median(n_lines for n_lines, _ in sizes) < MAX_MEDIAN_LINES


def test_functions_are_recognised(tmp_path):
    path = tmp_path / "sample.c"
    path.write_text(
        "struct a {\n  int b;\n};\n\n"
        "static int one(int a,\n               int b) {\n"
        "#ifdef X\n  goto done;\n#endif\ndone:\n  return a;\n}\n\n"
        "void two(void) {\n}\n"
    )
    assert list(functions(path)) == [("one", 8), ("two", 2)]


def test_top_level_is_tidy():
    faults = []
    for path in ROOT.iterdir():
        tidy = path.name in TOP_LEVEL or path.name.startswith((".", "build"))
        if not tidy:
            faults.append(path.name)
    complain(faults)


def test_comments_of_c_are_blanked_not_cut():
    assert without_comments("a /* b\nc */ d") == "a     \n     d"
