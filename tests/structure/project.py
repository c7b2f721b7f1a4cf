# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""What the structure tests know of the project."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD_DIR", ROOT / "build"))
LIB = ROOT / "lib"
HEADERS = sorted((ROOT / "include/clusterpush").glob("*.h"))
LIB_FILES = sorted(LIB.glob("*.[ch]"))
MESON = "/usr/bin/meson" if Path("/usr/bin/meson").exists() else "meson"


def run(*command, **options):
    """The output of a command that must succeed, and says why if it doesn't."""
    __tracebackhide__ = True
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}"
    return done.stdout


def without_comments(text):
    """Comments become blanks; line numbers stay."""
    return re.sub(
        r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S
    )


def includes(path):
    """The names in #include lines, quotes and brackets kept."""
    code = without_comments(path.read_text())
    return re.findall(r'^\s*#\s*include\s+(["<].*?[">])', code, re.M)


def meson_data(path):
    """The lists and dicts that a meson.build assigns at the top level. Their
    syntax is Python's, too; what calls functions is left out."""
    values = {}
    text = path.read_text()
    for name, value in re.findall(r"^(\w+) = ([\[{].*?[\]}])$", text, re.M | re.S):
        try:
            values[name] = eval(value, {"__builtins__": {}}, values)
        except NameError:
            continue
    return values


def exported_functions():
    """Name -> (file, line number) of everything declared CP_EXTERN."""
    found = {}
    for path in HEADERS:
        code = without_comments(path.read_text())
        for match in re.finditer(r"^CP_EXTERN\b[^;]*?(\w+)\(", code, re.M):
            found[match[1]] = (path, code.count("\n", 0, match.start()))
    return found


def functions(path):
    """(name, number of lines) of the functions in a file as clang-format
    leaves it: a body ends with a brace alone in the first column, and begins
    with the last line before it that has something else there."""
    lines = path.read_text().splitlines()
    start = None
    for number, line in enumerate(lines):
        if line == "}" and start is not None:
            name = re.search(r"(\w+)\(", lines[start])
            yield (name[1] if name else lines[start]), number - start + 1
            start = None
        elif re.match(r"[A-Za-z_]", line) and not re.match(r"\w+:$", line):
            start = number
