#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/trainer.md describes every option as options.py does."""
import glob
import json
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

    def declared(self, option):
        """Returns the type of an option in a manifest, worded as in options.py."""
        kinds = option["type"] if isinstance(option["type"], list) else [option["type"]]
        if kinds == ["boolean"]:
            return "true or false"
        if kinds == ["string"]:
            return "one of " + ", ".join(option["values"]) if "values" in option else "text"
        number = "a whole number" if kinds[-1] == "integer" else "a number"
        return "%s%s from %s to %s" % ("auto, or " if option.get("values") == ["auto"] else "", number, option["min"], option["max"])

    def test_every_manifest_declares_them_as_they_are(self):
        found = 0
        for path in glob.glob(os.path.join(SOURCE, "plugins", "*", "*.json")):
            with open(path, encoding="utf-8") as file:
                recipes = json.load(file)["recipes"]
            for lora in [r for r in recipes if r != "lora" and r["name"] == "lora"]:
                found += 1
                said = [(o["key"], o.get("default", ""), self.declared(o), o["summary"]) for o in lora["options"]]
                self.assertEqual(said, [(name, default, parse.expected, what[0].upper() + what[1:] + ".") for name, (parse, default, what) in TABLE.items()], path)
        self.assertEqual(found, 7)  # every backend that runs the trainer


if __name__ == "__main__":
    unittest.main()
