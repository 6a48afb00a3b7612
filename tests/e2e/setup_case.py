# SPDX-License-Identifier: Apache-2.0
"""What the tests of kolm compute setup share: wheels and locks made here."""
import base64
import errno
import hashlib
import importlib.util
import json
import os
import sys
import unittest
import zipfile

import harness

NAME = "test-word"
PYTHON = os.path.realpath(sys.executable)


def setUpModule():
    if not importlib.util.find_spec("ensurepip") or not importlib.util.find_spec("venv"):
        raise unittest.SkipTest("python3-venv is not installed")
    harness.set_up_tree()


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class Case(harness.Case):
    def setUp(self):
        super().setUp()
        self.wheels = os.path.join(self.dir, "wheels")
        os.mkdir(self.wheels)
        self.runtime = os.path.join(self.home, "runtimes", NAME)
        self.partial = os.path.join(self.home, "runtimes", "." + NAME + ".partial")

    # ---- helpers

    def wheel(self, name="tiny", version="1.0", body="VERSION = 1\n", script=False):
        """Makes a wheel with one module; returns its path."""
        info = "%s-%s.dist-info/" % (name, version)
        files = {
            name + "/__init__.py": body,
            info + "METADATA": "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version),
            info + "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        if script:
            files[info + "entry_points.txt"] = "[console_scripts]\n%s-run = %s:main\n" % (name, name)
        record = "".join("%s,sha256=%s,%d\n" % (path, base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode(), len(text))
                         for path, text in files.items())
        files[info + "RECORD"] = record + info + "RECORD,,\n"
        path = os.path.join(self.wheels, "%s-%s-py3-none-any.whl" % (name, version))
        with zipfile.ZipFile(path, "w") as out:
            for inner, text in files.items():
                out.writestr(zipfile.ZipInfo(inner), text)  # with a constant timestamp
        return path

    def lock(self, *wheels, head="# kolm: summary tiny things\n# kolm: python >=3.6 <4.0\n", hashes=None, path=None, mode=0o644):
        lines = [head]
        for path_of in wheels:
            name, version = os.path.basename(path_of).split("-")[:2]
            lines.append("%s==%s \\\n    --hash=sha256:%s\n" % (name, version, (hashes or {}).get(name) or sha256(path_of)))
        return self.write(path or os.path.join(self.plugins, NAME + ".lock.txt"), "".join(lines), mode)

    def setup(self, *words, python=PYTHON, code=0, offline=True, **more):
        return self.kolm("compute", "setup", NAME, "--yes", *(("--from", self.wheels) if offline else ()),
                         *(("--python", python) if python else ()), *words, code=code, **more)

    def begin(self, *words):
        return self.start("compute", "setup", NAME, "--yes", "--python", PYTHON, *words)

    def about(self):
        with open(os.path.join(self.runtime, "runtime.json"), encoding="utf-8") as file:
            return json.load(file)

    def fails(self, code, *pieces, **more):
        """Checks that setup fails and leaves nothing that could be mistaken for an environment."""
        done = self.setup(*more.pop("words", ()), code=code, **more)
        self.assert_error(done, *pieces)
        self.assertFalse(os.path.lexists(self.runtime))
        return done

    def stuck_wheel(self, name="slow"):
        """Makes a wheel that cannot be read to its end, because it is a pipe. Returns its path and the real file."""
        path = self.wheel(name)
        true = path + ".true"
        os.rename(path, true)
        os.mkfifo(path)
        return path, true

    def wait_for_reader(self, path, process):
        """Waits until pip reads the pipe at path; returns the writing end."""
        def attempt():
            self.assertIsNone(process.poll(), "kolm ended early")
            try:
                return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                self.assertEqual(error.errno, errno.ENXIO)
                return None
        end = self.wait_for(attempt, "pip to read " + path, 60)
        self.addCleanup(os.close, end)
        return end

    def lock_stuck(self):
        first = self.wheel()
        path, true = self.stuck_wheel()
        self.lock(first, path, hashes={"slow": sha256(true)})
        return path, true
