#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keys that kolm makes for one rental, read by OpenSSH's ssh-keygen."""
import os
import shutil
import stat
import subprocess
import tempfile
import unittest

TOOL = os.environ["KEY_TOOL"]


class Keys(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-key-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.path = os.path.join(self.dir, "key")

    def make(self, comment="kolm-0123456789ab", path=None):
        return subprocess.run([TOOL, path or self.path, comment], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)

    def test_ssh_keygen_reads_it_and_finds_the_same_public_half(self):
        for _ in range(20):
            made = self.make()
            self.assertEqual(made.returncode, 0, made.stderr)
            read = subprocess.run(["ssh-keygen", "-y", "-P", "", "-f", self.path], stdout=subprocess.PIPE, text=True, check=True, stdin=subprocess.DEVNULL)
            self.assertEqual(read.stdout.strip(), made.stdout.strip())
            self.assertTrue(made.stdout.endswith(" kolm-0123456789ab\n"))

    def test_it_is_the_users_alone_and_another_each_time(self):
        first = self.make().stdout
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertNotEqual(first, self.make().stdout)
        self.assertEqual(os.listdir(self.dir), ["key"])

    def test_it_signs_and_the_public_half_verifies(self):
        public = self.make().stdout
        message, allowed = os.path.join(self.dir, "message"), os.path.join(self.dir, "allowed")
        with open(message, "w") as file:
            file.write("hello\n")
        with open(allowed, "w") as file:
            file.write("me " + public)
        subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", self.path, message], check=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        with open(message) as file:
            subprocess.run(["ssh-keygen", "-q", "-Y", "verify", "-n", "file", "-f", allowed, "-I", "me", "-s", message + ".sig"], check=True, stdin=file)

    def test_remarks_that_are_not_one_word_are_refused(self):
        for bad in ("two words", "line\nend", "x" * 101, "caf\u00e9"):
            self.assertIn("3 ", self.make(bad).stderr)
            self.assertEqual(os.listdir(self.dir), [])

    def test_a_directory_that_is_not_there_is_named(self):
        made = self.make(path=os.path.join(self.dir, "no", "key"))
        self.assertEqual(made.returncode, 1)
        self.assertIn(self.dir, made.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
