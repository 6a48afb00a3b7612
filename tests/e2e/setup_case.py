# SPDX-License-Identifier: Apache-2.0
"""What the tests of kolm compute setup share: wheels and locks made here."""
import base64
import errno
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

import harness

NAME = "test-word"
PYTHON = os.path.realpath(sys.executable)
# In place of PYTHON, for tests that are not about pip: environments of this one find pip in a directory, compiled. In its wheel, pip is
# compiled each time that it starts, which takes three quarters of a setup.
QUICK = None
QUICK_PYTHON = """#!%s -IB
import os, sys
driver, sys.argv[:] = sys.argv[4], ["-c", *sys.argv[5:]]
sys.executable = os.path.abspath(__file__)
exec(driver)
if sys.argv[1] == "venv":
    (packages,) = (path for path, _, _ in os.walk(os.path.join(sys.argv[2], "lib")) if path.endswith("/site-packages"))
    with open(os.path.join(packages, "quick.pth"), "w") as file:
        file.write(%r)
"""


def setUpModule():
    global QUICK
    if not importlib.util.find_spec("ensurepip") or not importlib.util.find_spec("venv"):
        raise unittest.SkipTest("python3-venv is not installed")
    harness.set_up_tree()
    QUICK = make_quick()


def bundled_pip():
    """The wheel of pip that this Python brings; None if there is none."""
    for place in (os.path.join(os.path.dirname(importlib.util.find_spec("ensurepip").origin), "_bundled"), "/usr/share/python-wheels"):
        for name in os.listdir(place) if os.path.isdir(place) else ():
            if name.startswith("pip-"):
                return os.path.join(place, name)
    return None


def make_quick():
    wheel = bundled_pip()
    if wheel is None:
        return PYTHON
    made = tempfile.mkdtemp(prefix="kolm-quick-")
    unittest.addModuleCleanup(shutil.rmtree, made, True)
    packages, path = os.path.join(made, "packages"), os.path.join(made, "python3")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(packages, [name for name in file.namelist() if name.startswith("pip/")])
    # An installation compiles what an installation imports.
    words = ["install", "--no-index", "--no-cache-dir", "--no-compile", "--target", os.path.join(made, "installed"), wheel]
    subprocess.run([PYTHON, "-I", "-c", "import runpy, sys; sys.path.insert(0, %r); runpy.run_module('pip', run_name='__main__', alter_sys=True)" % packages, *words],
                   check=True, capture_output=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(QUICK_PYTHON % (PYTHON, packages + "\n"))
    os.chmod(path, 0o755)
    return path


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

    def setup(self, *words, python="", code=0, offline=True, **more):
        """python: QUICK if empty; None leaves the choice to kolm."""
        python = QUICK if python == "" else python
        return self.kolm("compute", "setup", NAME, "--yes", *(("--from", self.wheels) if offline else ()),
                         *(("--python", python) if python else ()), *words, code=code, **more)

    def begin(self, *words):
        return self.start("compute", "setup", NAME, "--yes", "--python", QUICK, *words)

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
