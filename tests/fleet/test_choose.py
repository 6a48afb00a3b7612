#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What decides which backend does a job (flag, environment, configuration, picker), and that a named one is never replaced."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

os.umask(0o022)  # kolm does not trust a home that the group may change

PROBE, HOST, FAKES = (os.path.abspath(word) for word in sys.argv[1:4])
LIBEXEC, BACKENDS = sys.argv[4:6]


def manifest(name, **changes):
    fields = {
        "name": name, "kind": "local", "train": True, "infer": True, "airgap": "yes", "billing": "free", "cost_per_hour_usd": 0,
        "cold_start_seconds": 0, "vram_cap_gb": None, "auth": [], "tier": 1, "perf": 0.3, "runtime": "fake", "requires": [],
        "summary": "A fake for tests.",
    }
    fields.update(changes)
    return fields


class Choose(unittest.TestCase):
    def setUp(self):
        self.prefix = tempfile.mkdtemp(prefix="kolm-choose-")
        self.addCleanup(shutil.rmtree, self.prefix, True)
        self.backends = os.path.join(self.prefix, BACKENDS)
        self.home = os.path.join(self.prefix, "home")
        self.probe = os.path.join(self.prefix, "bin", "kolm")
        for source, target in ((PROBE, self.probe), (HOST, os.path.join(self.prefix, LIBEXEC, "kolm-host"))):
            os.makedirs(os.path.dirname(target))
            shutil.copy(source, target)
            os.chmod(target, 0o755)
        os.makedirs(self.backends)
        self.add("fake-cpu")
        self.add("fake-gpu", perf=1.0, vram_cap_gb="own")
        self.add("fake-absent")
        self.add("fake-detect-only", perf=0.1)
        self.add("fake-cloud", kind="cloud-marketplace", airgap="no", billing="per-hour", cost_per_hour_usd=2.5, vram_cap_gb=80,
                 auth=["FAKE_TOKEN"])
        for directory, _, _ in os.walk(self.prefix):
            os.chmod(directory, 0o755)

    def add(self, name, **changes):
        shutil.copy(os.path.join(FAKES, name + ".so"), self.backends)
        os.chmod(os.path.join(self.backends, name + ".so"), 0o755)
        path = os.path.join(self.backends, name + ".json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(manifest(name, **changes), out)
        os.chmod(path, 0o644)

    def config(self, text):
        os.makedirs(self.home, exist_ok=True)
        with open(os.path.join(self.home, "config.json"), "w", encoding="utf-8") as out:
            out.write(text)

    def choose(self, *words, code=0, **env):
        full = {"KOLM_HOME": self.home, "LANG": "C.UTF-8"}
        full.update(env)
        done = subprocess.run([self.probe, *words], env=full, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, code, (done.stdout, done.stderr))
        return done.stdout if code == 0 else done.stderr

    def test_flag_before_environment_before_config_before_picker(self):
        self.assertIn("using fake-gpu (picked: score 1.000)\nby picker\n", self.choose())
        self.config('{"backend": "fake-cpu"}')
        self.assertIn("using fake-cpu (config: kolm compute use fake-cpu)\nby config\npicker fake-gpu\n", self.choose())
        self.assertIn("using fake-gpu (env: KOLM_BACKEND=fake-gpu)\nby env\n", self.choose(KOLM_BACKEND="fake-gpu"))
        self.assertIn("using fake-cpu (flag: --backend fake-cpu)\nby flag\n", self.choose("--backend", "fake-cpu", KOLM_BACKEND="fake-gpu"))
        self.assertIn("by config", self.choose(KOLM_BACKEND=""))

    def test_a_named_backend_is_never_replaced(self):
        for words, code, piece in [
            (["--backend", "fake-absent"], 3, "no such card"), (["--backend", "fake-detect-only"], 5, "detect only"),
            (["--backend", "fake-cloud"], 3, "FAKE_TOKEN is not set"), (["--backend", "fake-cloud", "--airgap"], 5, "needs the network"),
            (["--backend", "fake-cloud", "--budget", "1"], 5, "$2.50/hr > 1.00"), (["--backend", "fake-gpuu"], 2, "did you mean 'fake-gpu'"),
        ]:
            with self.subTest(words=words):
                self.assertIn(piece, self.choose(*words, code=code))
        self.assertIn("KOLM_BACKEND", self.choose(code=3, KOLM_BACKEND="fake-absent"))
        self.config('{"backend": "fake-absent"}')
        self.assertIn("kolm compute use", self.choose(code=3))

    def test_a_refused_backend_is_not_replaced_either(self):
        os.chmod(os.path.join(self.backends, "fake-gpu.so"), 0o777)
        self.assertIn("refused", self.choose("--backend", "fake-gpu", code=3))
        self.assertIn("using fake-cpu", self.choose())

    def test_a_config_that_says_nonsense_is_an_error(self):
        self.config('{"backend": 7}')
        self.assertIn("config.json", self.choose(code=6))
        self.config("{")
        self.assertIn("line 1", self.choose(code=6))
        self.assertIn("line 1", self.choose("--backend", "fake-cpu", code=6))

    def test_nothing_available_is_exit_3(self):
        for name in ("fake-cpu", "fake-gpu", "fake-detect-only"):
            os.remove(os.path.join(self.backends, name + ".json"))
            os.remove(os.path.join(self.backends, name + ".so"))
        self.assertIn("no such card", self.choose(code=3))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[6:])
