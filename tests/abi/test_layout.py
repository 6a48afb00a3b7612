#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All C sources are formatted as clang-format does with .clang-format. usage: test_layout.py SOURCE_ROOT"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lint  # noqa: E402

VERSION = 14  # the version in Debian 12; others break some lines differently
GENERATED = {"plugins/local-cpu/unicode_table.h", "plugins/local-cpu/encoder/token_tables.h"}
FROZEN = {"tests/abi/backend-1.0.h"}  # as published


def main():
    root = sys.argv[1]
    try:
        words = subprocess.run(["clang-format", "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout
    except FileNotFoundError:
        words = ""
    found = re.search(r"version (\d+)\.", words)
    if not found or int(found.group(1)) != VERSION:
        print("clang-format %d is not here: %s" % (VERSION, words.strip() or "none is"))
        return 77
    sources = [path for path in lint.Lint(root).files() if path.endswith((".c", ".h", ".hpp")) and path not in GENERATED | FROZEN]
    if len(sources) < 100:
        print("only %d sources in %s" % (len(sources), root))
        return 1
    done = subprocess.run(["clang-format", "--dry-run", "--Werror", *sources], cwd=root, stderr=subprocess.PIPE, text=True, check=False)
    wrong = sorted({line.split(":")[0] for line in done.stderr.splitlines() if ": error:" in line})
    for path in wrong:
        print("%s: not laid out by .clang-format; run `clang-format -i %s`" % (path, path))
    return 1 if wrong or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
