#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# pyarrow 26.0.1, 2026-11-29: how many rows a valid CSV file has depends on the size of the blocks that it is read in.
#
# One would guess: pyarrow.csv reads texts of several lines in quotes (RFC 4180), since it does so for small files; or it refuses them, since
# the option newlines_in_values is off by default.
# What happens: the file is cut into blocks (1 MiB by default) at any line end, also inside quotes. A file smaller than a block is read right.
# Of a larger one the parser sometimes notices ("got out of sync with chunker") and sometimes not: then a few rows more come out, made of the
# halves of others, without an error. With newlines_in_values on, all is well.
#
# The output seen:
#   pyarrow 26.0.1, 100000 rows in the file
#   block_size 1048576: 100001 rows
#   block_size 4194304: 100000 rows
#   newlines_in_values: 100000 rows
#
# Needs pip and the network; installs into a directory that it removes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --no-input --disable-pip-version-check pyarrow==26.0.1
"$dir/venv/bin/python" - <<'END'
import io
import sys

import pyarrow
from pyarrow import csv

ROWS = 100000
text = ("text,label\n" + "".join('"Dear team,\nticket %d,\n\nthanks",a\n' % i for i in range(ROWS))).encode()


def count(**options):
    block = options.pop("block_size", 1 << 20)
    return csv.read_csv(io.BytesIO(text), read_options=csv.ReadOptions(block_size=block), parse_options=csv.ParseOptions(**options)).num_rows


small, large, right = count(), count(block_size=1 << 22), count(newlines_in_values=True)
print("pyarrow %s, %d rows in the file" % (pyarrow.__version__, ROWS))
print("block_size %d: %d rows" % (1 << 20, small))
print("block_size %d: %d rows" % (1 << 22, large))
print("newlines_in_values: %d rows" % right)
sys.exit(0 if (small, large, right) == (100001, ROWS, ROWS) else 1)
END
