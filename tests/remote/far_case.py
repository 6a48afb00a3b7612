# SPDX-License-Identifier: Apache-2.0
"""What the tests of the far end share: a separate home, and commands that run in a job."""
import os
import shutil
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from far_end import FarEnd  # noqa: E402

ID = "ab" * 16
OTHER = "cd" * 16
TREE = "ef" * 16
PYTHON = sys.executable


def script(text):
    """Returns a command that runs Python text in the job's directory."""
    return [PYTHON, "-I", "-c", text]


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def wait_until(what, seconds=20):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        time.sleep(0.01)


class Case(unittest.TestCase):
    def setUp(self):
        self.home = os.path.realpath(tempfile.mkdtemp(prefix="kolm-far-"))
        self.addCleanup(shutil.rmtree, self.home, True)
        self.ends = []

    def tearDown(self):
        base = os.path.join(self.home, ".cache", "kolm")
        if os.path.isdir(os.path.join(base, "jobs")):
            with FarEnd(self.home) as far:
                for job in far.ask("jobs")["jobs"]:
                    far.ask("cancel", job=job["job"])
        for far in self.ends:
            far.kill()

    def far(self, **options):
        far = FarEnd(self.home, **options)
        self.ends.append(far)
        return far

    def refused(self, answer, code, word=""):
        self.assertFalse(answer["ok"], answer)
        self.assertEqual(answer["code"], code, answer)
        self.assertIn(word, answer["text"])

    def path(self, *names):
        return os.path.join(self.home, ".cache", "kolm", *names)
