#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sdk/http inside a backend's process: it works in the fence, leaves no thread behind, and creates no socket under --airgap.

usage: test_fence.py KOLM PLUGIN
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "contract"))
from server import Server, answer  # noqa: E402

os.umask(0o022)
KOLM, PLUGIN = (os.path.abspath(word) for word in sys.argv[1:3])
MANIFEST = {"name": "fetches", "kind": "self-hosted", "tier": 1, "train": True, "infer": True, "airgap": "depends", "billing": "free", "cost_per_hour_usd": 0,
            "cold_start_seconds": 0, "vram_cap_gb": None, "auth": [], "requires": [{"env": "FETCHES_URL"}], "runtime": "fetches 1.0", "summary": "Fetches a page.", "hint": "for tests", "settings": []}


class Fence(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="kolm-http-fence-")
        self.addCleanup(shutil.rmtree, self.root, True)
        self.server = Server(lambda request, connection: answer(200, "a page"))
        self.addCleanup(self.server.close)
        os.chmod(self.root, 0o755)
        os.mkdir(os.path.join(self.root, "plugins"))
        shutil.copy(PLUGIN, os.path.join(self.root, "plugins", "fetches.so"))
        os.mkdir(os.path.join(self.root, "home"), 0o700)
        self.describe()

    def describe(self, **changes):
        with open(os.path.join(self.root, "plugins", "fetches.json"), "w", encoding="utf-8") as file:
            json.dump({**MANIFEST, **changes}, file)
        done = self.kolm("backend", "grant", "fetches")
        self.assertEqual(done.returncode, 0, done.stdout)

    def kolm(self, *words, tracer=()):
        env = {"PATH": "/usr/bin:/bin", "HOME": self.root, "KOLM_HOME": os.path.join(self.root, "home"), "KOLM_BACKEND_PATH": os.path.join(self.root, "plugins"), "FETCHES_URL": "http://localhost:%d/" % self.server.port,
               **{name: value for name, value in os.environ.items() if name.startswith(("ASAN_", "UBSAN_", "LSAN_"))}}
        return subprocess.run([*tracer, KOLM, *words], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=250, check=False)

    def test_works_and_leaves_nothing(self):
        done = self.kolm("compute", "test", "fetches", "-v")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("[3/3]", done.stdout)
        self.assertEqual(len(self.server.seen), 3)
        for word in ("still run", "still open", "warning"):
            self.assertNotIn(word, done.stdout)

    def test_holds_what_backend_check_asks(self):
        """A call leaves no descriptor, thread or process, prints nothing, and does not violate the contract."""
        done = self.kolm("backend", "check", os.path.join(self.root, "plugins", "fetches.so"), "--network", "--json")
        outcomes = {check["name"]: check["outcome"] for check in json.loads(done.stdout)["checks"]}
        self.assertEqual((outcomes["test"], outcomes["manners.leaves-nothing"]), ("pass", "pass"), done.stdout)
        self.assertEqual([name for name, outcome in outcomes.items() if outcome == "fail"], [], done.stdout)
        self.assertGreaterEqual(len(self.server.seen), 3)

    def test_no_socket_under_airgap(self):
        """Its manifest says that it needs no network, so it is loaded; but then it requests a page."""
        self.describe(kind="local", airgap="yes")
        log = os.path.join(self.root, "strace")
        tracer = [shutil.which("strace"), "-f", "-o", log, "-e", "trace=network"] if shutil.which("strace") else []
        for tool in ([], tracer):
            done = self.kolm("compute", "test", "fetches", "--airgap", tracer=tool)
            if tool and "ptrace" in done.stdout:
                return  # tracing is not allowed here
            if "cannot be enforced" in done.stdout or "cannot enforce" in done.stdout:
                self.skipTest("no airgap on this machine")
            self.assertNotEqual(done.returncode, 0, done.stdout)
            self.assertIn("this call may not use the network", done.stdout)
        self.assertEqual(self.server.connections, 0)
        if tracer:
            with open(log, encoding="utf-8", errors="replace") as file:
                made = [line for line in file if "socket(AF_INET" in line and " = -1" not in line]
            self.assertEqual(made, [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
