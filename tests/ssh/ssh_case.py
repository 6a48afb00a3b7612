# SPDX-License-Identifier: Apache-2.0
"""What the tests of the SSH transport share: an OpenSSH server, its keys, and the tool that connects."""
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
import time
import unittest

from servers import Sshd, keygen, read, write

TOOL = os.environ["SSH_TOOL"]
SLOW = 10 if os.environ.get("KOLM_UNDER_VALGRIND") else 1


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="kolm-ssh.")
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        cls.host_key = keygen(cls.at("host"), comment="host")
        cls.key = keygen(cls.at("id"))
        cls.authorized = write(cls.at("authorized"), read(cls.key + ".pub"))
        cls.sshd = Sshd(cls.root, cls.host_key, cls.authorized)
        cls.addClassCleanup(cls.sshd.stop)

    @classmethod
    def at(cls, name):
        return os.path.join(cls.root, name)

    def setUp(self):
        self.own = tempfile.mkdtemp(dir=self.root)
        self.known = self.know(self.sshd)

    def mine(self, name):
        return os.path.join(self.own, name)

    def serve(self, *lines, host_key=None, authorized=None, **more):
        server = Sshd(self.own, host_key or self.host_key, authorized or self.authorized, *lines, **more)
        self.addCleanup(server.stop)
        return server

    def know(self, *servers, key=None, host="127.0.0.1"):
        text = "".join(f"[{host}]:{s.port} {' '.join(read((key or self.host_key) + '.pub').split()[:2])}\n" for s in servers)
        return write(self.mine(f"known{len(os.listdir(self.own))}"), text)

    def tool(self, *arguments, server=None, known=None, key=None, stdin=b"", target=None, timeout=60 * SLOW, environment=None,
             binary=False):
        """Options first, then the verb; the target is inserted between them. Returns (code, stdout, stderr)."""
        arguments = list(arguments)
        options = []
        while arguments and arguments[0].startswith("--"):
            options += arguments[:2]
            del arguments[:2]
        command = [TOOL] + (["--known", known or self.known] if known != "" else [])
        if key != "":
            command += ["--identity", key or self.key]
        command += options + [target or f"127.0.0.1:{(server or self.sshd).port}"] + arguments
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, check=False,
                              env={**os.environ, "HOME": self.own, "SSH_AUTH_SOCK": "", **(environment or {})})
        return done.returncode, done.stdout.decode("latin-1" if binary else "utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    def good(self, *arguments, **more):
        code, out, err = self.tool(*arguments, **more)
        self.assertEqual(code, 0, err)
        return out

    def there_and_back(self, size, *options, **more):
        """Sends that many bytes through a program on the box that returns its input."""
        data = random.Random(size).randbytes(size)
        out = self.good(*options, "run", "cat", stdin=data, binary=True, **more)
        self.assertEqual(hashlib.sha256(out.encode("latin-1")).digest(), hashlib.sha256(data).digest())

    def bad(self, status, *arguments, within=None, **more):
        start = time.monotonic()
        code, out, err = self.tool(*arguments, **more)
        took = time.monotonic() - start
        self.assertEqual(code, 1, out + err)
        self.assertTrue(err.split("\n")[-2].startswith(status + ": "), err)
        self.assertNotIn("the record says", err)
        if within is not None:
            self.assertLess(took, within * SLOW, err)
        return err
