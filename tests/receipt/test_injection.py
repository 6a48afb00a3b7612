#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs kolm verify with one failure of memory or disk, at every place in turn: it never reports anything that it has not checked.

usage: test_injection.py KOLM FAIL_NTH ARTIFACT_TOOL
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

KOLM, LIBRARY, TOOL = sys.argv[1:4]
del sys.argv[1:4]


class Injection(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-injection-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.model = os.path.join(self.dir, "x.kolm")
        payload = os.path.join(self.dir, "payload")
        with open(payload, "wb") as file:
            file.write(b"payload")
        subprocess.run([TOOL, "write", self.dir, self.model, "model/a=" + payload], check=True)

    def verify(self, **environment):
        env = {"PATH": os.environ["PATH"], "HOME": self.dir, "KOLM_HOME": self.dir, "LC_ALL": "C.UTF-8", "LD_PRELOAD": LIBRARY}
        return subprocess.run([KOLM, "verify", "--receipts", "--json", self.model], capture_output=True, text=True,
                              env={**env, **environment}, timeout=60)

    def count(self, what):
        path = os.path.join(self.dir, "count")
        self.verify(FAIL_WHAT=what, FAIL_COUNT=path)
        with open(path, encoding="ascii") as file:
            return int(file.read())

    def every_place(self, what, truth):
        """truth: the exit code and verdict without failures. Returns how often the check was impossible."""
        record, unjudged = self.verify(), 0
        self.assertEqual((record.returncode, json.loads(record.stdout)["verdict"]), truth)
        calls = self.count(what)
        self.assertGreater(calls, 10)
        for nth in range(1, calls + 1):
            found = self.verify(FAIL_WHAT=what, FAIL_NTH=str(nth))
            said = f"{what} {nth} of {calls}: {found.returncode} {found.stdout} {found.stderr}"
            if found.returncode == truth[0]:
                # The failure made no difference: then the record is identical.
                self.assertEqual(found.stdout, record.stdout, said)
            elif found.returncode == 8:
                unjudged += 1
                value = json.loads(found.stdout)
                self.assertEqual((value["verdict"], value["trusted"]), ("could not be checked", False), said)
                self.assertRegex(value["text"], "memory|error|cannot", said)
                self.assertNotIn("again from where", value["remedy"], said)
            else:
                # The record itself could not be made.
                self.assertEqual(found.returncode, 1, said)
                self.assertEqual(found.stdout, "", said)
                self.assertIn("kolm: ", found.stderr, said)
        return unjudged

    def test_trusted(self):
        self.assertGreater(self.every_place("memory", (0, "trusted")), 100)
        self.assertGreater(self.every_place("input", (0, "trusted")), 10)

    def test_tampered(self):
        with open(self.model + ".intoto.jsonl", "r+b") as file:
            data = file.read().replace(b'"sig":"', b'"sig":"A', 2)
            at = data.rindex(b'"sig":"A') + len(b'"sig":"A')
            file.seek(0)
            file.write(data[:at] + data[at + 1:])
            file.truncate()
        truth = self.verify()
        self.assertEqual(truth.returncode, 7)
        self.every_place("input", (7, json.loads(truth.stdout)["verdict"]))


if __name__ == "__main__":
    unittest.main()
