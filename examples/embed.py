# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
"""embed.py IN OUT NAME: a C file that holds the bytes of a file as NAME and
NAME_len."""
import sys

source, target, name = sys.argv[1:]
with open(source, "rb") as file:
    data = file.read()
rows = [data[i : i + 16] for i in range(0, len(data), 16)]
with open(target, "w") as file:
    file.write(f"extern const char {name}[];\nextern const unsigned long {name}_len;\n")
    file.write(f"const char {name}[] = {{\n")
    for row in rows:
        numbers = ", ".join(str(b - 256 if b > 127 else b) for b in row)
        file.write(f"    {numbers},\n")
    file.write(f"}};\nconst unsigned long {name}_len = {len(data)};\n")
