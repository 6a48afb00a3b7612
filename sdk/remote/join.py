#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Joins the modules of far/kolm_remote into the one program that is sent: join.py DIRECTORY OUT."""
import ast
import os
import sys

# Each imports only from those before it.
MODULES = ("opening", "errors", "fields", "frames", "files", "blobs", "keeper", "machine", "uploads", "running", "results", "housekeeping",
           "guard", "agent")


def joined(directory):
    """Returns the texts of the modules, one after the other, without their imports of each other."""
    out = []
    for number, name in enumerate(MODULES):
        with open(os.path.join(directory, name + ".py"), encoding="utf-8") as file:
            lines = file.read().split("\n")
        for node in ast.parse("\n".join(lines)).body:
            if isinstance(node, ast.ImportFrom) and node.module in MODULES:
                if MODULES.index(node.module) >= number:
                    raise SystemExit("%s imports %s, which comes after it" % (name, node.module))
                lines[node.lineno - 1:node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
        out.append("\n".join(lines))
    return "\n".join(out)


if __name__ == "__main__":
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(joined(sys.argv[1]))
