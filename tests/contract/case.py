# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of providers: a home with one cloud backend that talks to a contract server."""
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

os.umask(0o022)
LABELS = ("billing", "login", "shipping", "refund")
NOWHERE = "https://%s.example" % ("n" * 64)  # resolvers reject a label of 64 letters without a query
FILLER = ("please", "help", "the", "invoice", "today", "again", "my", "order", "is", "wrong", "since", "monday", "cannot", "why")


def tickets(rows, seed=1):
    """Returns rows whose text contains the label, so that a model that looks for similar rows is right."""
    draw = random.Random(seed)
    return [{"input": " ".join([label, label + "s", "about", label] + draw.choices(FILLER, k=draw.randint(2, 5)) + [str(number)]), "output": label}
            for number in range(rows) for label in [draw.choice(LABELS)]]


class CloudCase(unittest.TestCase):
    """kolm: the program that was built; folder: the directory of the plugin that was built; source: the directory of its manifest."""
    kolm = folder = source = name = variable = None

    @classmethod
    def is_sanitized(cls):
        with open(cls.kolm, "rb") as program:
            return b"__asan_init" in program.read()

    @classmethod
    def drawn(cls, cases, stride=1, features_of=lambda case: ()):
        """Returns every stride-th case, and one with each feature. With sanitizers, where a start takes five times as long, at most every fourth:
        what they find hardly depends on the request. KOLM_TEST_ALL: all."""
        if os.environ.get("KOLM_TEST_ALL"):
            return list(cases)
        stride = max(stride, 4) if cls.is_sanitized() else stride
        drawn, seen = [], set()
        for number, case in enumerate(cases):
            features = set(features_of(case))
            if number % stride == 0 or features - seen:
                drawn.append(case)
                seen |= features
        return drawn

    def set_up(self, provider, **settings):
        self.provider = provider
        self.addCleanup(provider.close)
        self.dir = tempfile.mkdtemp(prefix="kolm-cloud-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        os.chmod(self.dir, 0o755)
        self.plugins = os.path.join(self.dir, "plugins")
        self.home = os.path.join(self.dir, "home")
        self.work = os.path.join(self.dir, "work")
        os.mkdir(self.plugins)
        os.mkdir(self.work)
        os.mkdir(self.home, 0o700)
        shutil.copy(os.path.join(self.folder, self.name + ".so"), self.plugins)
        shutil.copy(os.path.join(self.source, self.name + ".json"), self.plugins)
        self.env = {"PATH": "/usr/bin:/bin", "HOME": self.dir, "KOLM_HOME": self.home, "KOLM_BACKEND_PATH": self.plugins, "LANG": "C.UTF-8", self.variable: provider.token,
                    **{name: value for name, value in os.environ.items() if name.startswith(("ASAN_", "UBSAN_", "LSAN_"))}}
        self.configure(**settings)
        done = self.run_kolm("backend", "grant", self.name)
        self.assertEqual(done.returncode, 0, done.stdout)

    def configure(self, **settings):
        with open(os.path.join(self.home, "config.json"), "w", encoding="utf-8") as file:
            json.dump({"backends": {self.name: {"api": self.provider.address, "poll_seconds": 0.01, **settings}}}, file)
        os.chmod(os.path.join(self.home, "config.json"), 0o600)

    def run_kolm(self, *words, timeout=120, env=None, stderr=subprocess.STDOUT):
        return subprocess.run([self.kolm, *words], env={**self.env, **(env or {})}, cwd=self.work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
                              timeout=timeout, check=False)

    def json(self, *words, **more):
        return json.loads(self.run_kolm(*words, "--json", stderr=subprocess.DEVNULL, **more).stdout)

    def write_rows(self, rows=160):
        with open(os.path.join(self.work, "rows.jsonl"), "w", encoding="utf-8") as file:
            for row in tickets(rows):
                file.write(json.dumps(row) + "\n")

    def compile(self, *words, **more):
        self.write_rows()
        return self.run_kolm("compile", "-t", "router", "-d", "rows.jsonl", "--backend", self.name, "--recipe", "hosted-lora", "--force", *words, **more)

    def open_leases(self):
        """Returns the leases that kolm lists as still there, or as unknown."""
        return json.dumps(self.json("compute", "status")["leases"])

    # ---- asserting

    def assert_nothing_left(self):
        self.assertEqual(self.provider.running(), [])
        self.assertEqual(self.provider.stored(), [])
        self.assertLessEqual(self.provider.submits, 1)
        self.assertEqual(self.provider.strangers, [], "the token was sent to an address that must not get it")

    def assert_sentence(self, done, *pieces):
        """Asserts that it failed with one sentence about what happened, and one about what to do."""
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertEqual(len(re.findall(r"^kolm: (?!warning: |info: )", done.stdout, re.M)), 1, done.stdout)
        self.assertIn("\n  -> ", done.stdout)
        for piece in pieces:
            self.assertIn(piece, done.stdout)

    def assert_no_canary(self):
        """Asserts that no file below the home or the working directory contains the token."""
        for root in (self.home, self.work):
            for folder, _, names in os.walk(root):
                for name in names:
                    with open(os.path.join(folder, name), "rb") as file:
                        self.assertNotIn(self.provider.token.encode(), file.read(), os.path.join(folder, name))


def main():
    """Runs the tests of a program: PROGRAM KOLM PLUGIN_DIRECTORY SOURCE_DIRECTORY [TEST]"""
    CloudCase.kolm, CloudCase.folder, CloudCase.source = (os.path.abspath(word) for word in sys.argv[1:4])
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
