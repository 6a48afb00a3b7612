#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes files as a C array of {name, text}, called X_files in X.h: embed.py X.h FILE..."""
import os
import sys

with open(sys.argv[1], "w", encoding="ascii") as out:
    out.write("/* SPDX-License-Identifier: Apache-2.0 */\n/* Files that travel inside kolm; made by embed.py. */\n")
    # Arrays of characters: ISO C promises string literals of 4095 characters only.
    for number, path in enumerate(sys.argv[2:]):
        with open(path, "rb") as file:
            data = file.read() + b"\0"
        data.decode("ascii")
        out.write("static const char text_%d[%d] = {\n" % (number, len(data)))
        for at in range(0, len(data), 32):
            out.write("    %s,\n" % ",".join(str(byte) for byte in data[at:at + 32]))
        out.write("};\n")
    out.write("static const struct {\n    const char *name, *text;\n} %s_files[] = {\n" % os.path.basename(sys.argv[1])[:-2])
    for number, path in enumerate(sys.argv[2:]):
        out.write('    {"%s", text_%d},\n' % (os.path.basename(path), number))
    out.write("};\n")
