#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes files as a C array of {name, text}, called X_files in X.h: embed.py X.h FILE..."""
import os
import sys

with open(sys.argv[1], "w", encoding="ascii") as out:
    out.write("/* SPDX-License-Identifier: Apache-2.0 */\n/* Files that travel inside kolm; made by embed.py. */\n")
    out.write("static const struct {\n    const char *name, *text;\n} %s_files[] = {\n" % os.path.basename(sys.argv[1])[:-2])
    for path in sys.argv[2:]:
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines(keepends=True)
        out.write('    {"%s",\n' % os.path.basename(path))
        for line in lines:
            out.write('     "%s"\n' % line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
        out.write("    },\n")
    out.write("};\n")
