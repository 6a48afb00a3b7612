# SPDX-License-Identifier: Apache-2.0
"""What the tests of kolm compute share: an installed tree of their own, and fake backends."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

os.umask(0o022)  # kolm refuses a home that its group can write

BUILT_KOLM, BUILT_HOST, FAKES = (os.path.abspath(word) for word in sys.argv[1:4])
LIBEXEC, BACKENDS = sys.argv[4:6]  # directories of an installed tree, relative to its prefix
KOLM = None


def setUpModule():
    """Creates an installed tree, because a kolm in a build tree would also find the real backends."""
    global KOLM
    prefix = tempfile.mkdtemp(prefix="kolm-prefix-")
    unittest.addModuleCleanup(shutil.rmtree, prefix, True)
    KOLM = os.path.join(prefix, "bin", "kolm")
    own = os.path.join(prefix, LIBEXEC)
    lazy = os.path.join(os.path.dirname(BUILT_HOST), "..", "lazy", "kolm-lazy.so")
    for source, target in ((BUILT_KOLM, KOLM), (BUILT_HOST, os.path.join(own, "kolm-host")), (lazy, os.path.join(own, "kolm-lazy.so"))):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(source, target)
        os.chmod(target, 0o755)
    os.makedirs(os.path.join(prefix, BACKENDS), exist_ok=True)
    for directory, _, _ in os.walk(prefix):
        os.chmod(directory, 0o755)


def manifest(name, **changes):
    fields = {
        "name": name, "kind": "local", "train": True, "infer": True, "airgap": "yes", "billing": "free",
        "cost_per_hour_usd": 0, "cold_start_seconds": 0, "vram_cap_gb": None, "auth": [], "tier": 1, "perf": 0.3,
        "runtime": "fake runtime", "requires": [], "hint": "always available", "summary": "A fake for tests.",
    }
    fields.update(changes)
    return fields


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-compute-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.home = os.path.join(self.dir, "home")
        self.backends = os.path.join(self.dir, "backends")
        os.mkdir(self.backends, 0o755)
        self.env = {"KOLM_HOME": self.home, "KOLM_BACKEND_PATH": self.backends, "PATH": "/nonexistent", "LANG": "C.UTF-8"}

    # ---- helpers

    def add(self, name, **changes):
        shutil.copy(os.path.join(FAKES, name + ".so"), os.path.join(self.backends, name + ".so"))
        self.write_manifest(manifest(name, **changes))
        if changes.get("auth"):
            self.kolm("backend", "grant", name)

    def write_manifest(self, fields):
        path = os.path.join(self.backends, fields["name"] + ".json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(fields, out)
        os.chmod(path, 0o644)

    def add_usual(self):
        self.add("fake-cpu")
        self.add("fake-gpu", vram_cap_gb="own", perf=1.0, hint="a fake card")
        self.add("fake-absent", perf=0.9)
        self.add("fake-cloud", kind="cloud-marketplace", airgap="no", cost_per_hour_usd=2.5, cold_start_seconds=5,
                 vram_cap_gb=80, auth=["FAKE_TOKEN"], tier=2, perf=0.95, billing="per-hour", hint="FAKE_TOKEN")

    def kolm(self, *words, code=0, env=None, **more):
        full = dict(self.env)
        full.update(env or {})
        full = {k: v for k, v in full.items() if v is not None}
        done = subprocess.run([KOLM, *words], env=full, capture_output=True, text=True, timeout=60, check=False,
                              stdin=subprocess.DEVNULL, **more)
        self.assertEqual(done.returncode, code, (words, done.stdout, done.stderr))
        return done

    def compute(self, *words, **more):
        return self.kolm("compute", *words, **more)

    def json(self, *words, schema=None, **more):
        value = json.loads(self.compute(*words, "--json", **more).stdout)
        if schema:
            self.assertEqual(value["schema"], schema)
        return value

    def assert_error(self, done, *pieces):
        self.assertTrue(done.stderr.startswith("kolm: ") or "\nkolm: " in done.stderr, done.stderr)
        self.assertIn("  -> ", done.stderr)
        for piece in pieces:
            self.assertIn(piece, done.stderr)

    def write_home(self, name, text, mode=0o600):
        path = os.path.join(self.home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(path, mode)
        return path

    def states(self, *words, **more):
        value = self.json("detect", *words, **more)
        return {b["name"]: b["detection"]["state"] for b in value["backends"]}
