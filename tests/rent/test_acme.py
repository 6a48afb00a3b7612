#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The provider of examples/backends/acme, built out of tree against the installed SDK alone: kolm's own check of a backend, and the host
key that the provider reports.

usage: test_acme.py BUILD_DIR SOURCE_DIR"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
for room in ("contract", "remote", "slurm"):
    sys.path.insert(0, os.path.join(HERE, "..", room))
import box as boxes  # noqa: E402
from case import tickets  # noqa: E402
from installed import install  # noqa: E402
sys.path.insert(0, HERE)
from providers import PROVIDERS  # noqa: E402

os.umask(0o022)
BUILD, SOURCE = (os.path.abspath(word) for word in sys.argv[1:3])
del sys.argv[1:3]
PROVIDER = PROVIDERS["acme"]


@unittest.skipIf(boxes.usable(), boxes.usable())
class Example(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="kolm-acme-")
        cls.addClassCleanup(shutil.rmtree, cls.root, True)
        os.chmod(cls.root, 0o755)
        cls.kolm, cls.built = install(BUILD, os.path.join(SOURCE, "examples", "backends", "acme"), cls.root)

    def setUp(self):
        self.dir = tempfile.mkdtemp(dir=self.root)
        self.cloud = PROVIDER.make(boot=0.2, port=boxes.free_port())
        self.cloud.tools = os.path.join(self.dir, "tools")
        self.addCleanup(self.cloud.close)
        home = os.path.join(self.dir, "home")
        os.mkdir(home, 0o700)
        with open(os.path.join(home, "config.json"), "w") as file:
            json.dump({"backends": {"acme": {"api": self.cloud.api(), "poll_seconds": 0.1, "ssh_user": boxes.USER}}}, file)
        self.env = {"PATH": "/usr/bin:/bin", "HOME": self.dir, "KOLM_HOME": home, "KOLM_BACKEND_PATH": self.built, "LANG": "C.UTF-8", PROVIDER.variable: self.cloud.key}

    def run_kolm(self, *words, code=0):
        done = subprocess.run([self.kolm, *words], env=self.env, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=300, check=False)
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def test_the_check_of_a_backend(self):
        """Without network, as for every backend: tests/rent drives the slots that rent."""
        said = json.loads(self.run_kolm("backend", "check", os.path.join(self.built, "acme.so"), "--json"))
        results = [one["outcome"] for one in said["checks"]]
        self.assertTrue(said["good"], said)
        self.assertGreater(results.count("pass"), 20)
        self.assertEqual(self.cloud.requests, [])

    def test_the_host_key_that_it_tells_is_the_only_one(self):
        self.run_kolm("backend", "grant", "acme")
        with open(os.path.join(self.dir, "rows.jsonl"), "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in tickets(200))
        words = ("compile", "-t", "router", "-d", "rows.jsonl", "--backend", "acme", "--recipe", "linear", "--effort", "quick", "--force")
        self.cloud.lies = True
        self.assertRegex(self.run_kolm(*words, code=5), r"the host key of \[127\..* is SHA256:.*, and acme reports SHA256:AAAA.*; it cost 0.00")
        self.assertEqual((len(self.cloud.instances), self.cloud.running()), (1, []))
        self.cloud.lies = False
        said = self.run_kolm(*words, "-v")
        self.assertNotIn("does not report the host keys", said)
        self.assertEqual(self.cloud.running(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
