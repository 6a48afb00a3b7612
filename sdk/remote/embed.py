#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a file as a C array of bytes: embed.py IN OUT.h NAME."""
import sys

with open(sys.argv[1], "rb") as file:
    data = file.read()
with open(sys.argv[2], "w", encoding="ascii") as out:
    out.write("/* SPDX-License-Identifier: Apache-2.0 */\n/* %s as bytes; made by embed.py. */\n" % sys.argv[3])
    out.write("static const unsigned char %s[%d] = {\n" % (sys.argv[3], len(data)))
    for at in range(0, len(data), 32):
        out.write("    %s,\n" % ",".join(str(byte) for byte in data[at:at + 32]))
    out.write("};\n")
