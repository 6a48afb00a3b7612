#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/trainer.md says of every option what options.py says of it."""
import os
import re
import sys
import unittest

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(SOURCE, "sdk", "trainer"))
from kolm_trainer.options import TABLE  # noqa: E402


def shown(default):
    if isinstance(default, bool):
        return "true" if default else "false"
    return str(default) if default != "" else "none"


class Docs(unittest.TestCase):
    maxDiff = None

    def test_every_option_is_described_as_it_is(self):
        with open(os.path.join(SOURCE, "docs", "trainer.md"), encoding="utf-8") as file:
            rows = re.findall(r"(?m)^\| `(\w+)` \| (.*?) \| (.*?) \| (.*) \|$", file.read())
        self.assertEqual(rows, [(name, shown(default), parse.expected, what) for name, (parse, default, what) in TABLE.items()])


if __name__ == "__main__":
    unittest.main()
