#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm compute setup: environments from locks, with wheels made here; every way in which that goes wrong. Needs no network."""
import base64
import errno
import hashlib
import http.server
import importlib.util
import json
import os
import pty
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
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
        """A wheel of one module; returns its path."""
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
                out.writestr(zipfile.ZipInfo(inner), text)  # with the same time every time
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
        """No attempt that fails leaves anything that could be taken for an environment."""
        done = self.setup(*more.pop("words", ()), code=code, **more)
        self.assert_error(done, *pieces)
        self.assertFalse(os.path.lexists(self.runtime))
        return done

    def stuck_wheel(self, name="slow"):
        """A wheel that nobody can read to its end: a pipe. Returns its path and the true file."""
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



class Making(Case):
    """It works; the Pythons that do it; who is asked."""

    def test_made_shown_kept_removed(self):
        self.lock(self.wheel(script=True), self.wheel("torch", "9.9"), head="# kolm: summary tiny things\n# kolm: python >=3.6,<4.0\n# kolm: note a word of care\n"
                  "# kolm: download-bytes 1500000\n# kolm: disk-bytes 2500000\n# kolm: index-url https://pypi.org/simple\n# kolm: of-a-later-kolm 1\n")
        out = self.setup().out
        for piece in ("tiny things", "2 packages", "about 2.5 MB", "a word of care", self.wheels, "is ready", "kolm compute test " + NAME):
            self.assertIn(piece, out)
        about = self.about()
        self.assertEqual((about["format"], about["backend"]), (1, NAME))
        self.assertEqual(about["lock_sha256"], sha256(os.path.join(self.plugins, NAME + ".lock.txt")))
        self.assertEqual(about["python"], "%d.%d.%d" % sys.version_info[:3])
        self.assertEqual((about["packages"]["tiny"], about["packages"]["torch"]), ("1.0", "9.9"))
        self.assertGreater(about["bytes"], 100000)
        self.assertFalse(os.path.lexists(self.partial))
        python = os.path.join(self.runtime, "bin", "python")
        said = subprocess.run([python, "-I", "-B", "-c", "import tiny, sys; print(tiny.VERSION, sys.prefix)"], capture_output=True, text=True, check=True)
        self.assertEqual(said.stdout.split(), ["1", self.runtime])
        with open(os.path.join(self.runtime, "bin", "tiny-run"), encoding="utf-8") as script:
            text = script.read()
        self.assertIn(self.runtime + "/bin/python", text)
        self.assertNotIn(".partial", text)
        info = self.kolm("compute", "info", NAME).out
        self.assertRegex(info, r"environment +Python %s, \d+ packages, .*: %s" % (about["python"], python))
        self.assertIn("torch 9.9", info)
        shown = self.json("compute", "info", NAME)["environment"]
        self.assertEqual((shown["python"], shown["own"], shown["about"]), (python, False, about))
        before = os.stat(python, follow_symlinks=False).st_ino
        again = self.json("compute", "setup", NAME, schema="kolm.compute.setup/1")
        self.assertEqual((again["state"], again["packages"], again["python"]), ("kept", about["packages"], python))
        self.assertEqual(os.stat(python, follow_symlinks=False).st_ino, before)
        self.assertIn("removed", self.kolm("compute", "setup", NAME, "--remove").out)
        self.assertFalse(os.path.lexists(self.runtime))
        self.assertIn("none; `kolm compute setup", self.kolm("compute", "info", NAME).out)
        self.assertIn("nothing to remove", self.kolm("compute", "setup", NAME, "--remove").out)

    def test_pip_of_the_lock_comes_first(self):
        bundled = [path for place in (os.path.join(os.path.dirname(importlib.util.find_spec("ensurepip").origin), "_bundled"), "/usr/share/python-wheels")
                   if os.path.isdir(place) for path in (os.path.join(place, name) for name in os.listdir(place)) if os.path.basename(path).startswith("pip-")]
        if not bundled:
            self.skipTest("this Python brings no wheel of pip")
        self.lock(shutil.copy(bundled[0], self.wheels), self.wheel(), hashes={"pip": "0" * 64})
        log = os.path.join(self.partial, "pip.txt")
        done = self.setup(code=None)
        # A pip that is there already in this version is not fetched again.
        self.assertIn(done.returncode, (0, 7), done.err)
        if done.returncode == 7:
            self.assertTrue(self.read(log).startswith(b"pip=="))
            self.assertEqual(self.read(log).count(b"\n"), 2)
        self.lock(os.path.join(self.wheels, os.path.basename(bundled[0])), self.wheel())
        self.setup()
        self.assertEqual(self.about()["packages"]["pip"], os.path.basename(bundled[0]).split("-")[1])

    def test_another_lock_replaces(self):
        self.lock(self.wheel())
        self.setup()
        self.lock(self.wheel("other", "2.0"))
        self.assertIn("made from another lock", self.kolm("compute", "info", NAME).out)
        done = self.setup("--json")
        self.assertEqual(json.loads(done.out)["state"], "replaced")
        packages = self.about()["packages"]
        self.assertIn("other", packages)
        self.assertNotIn("tiny", packages)
        self.assertEqual([n for n in os.listdir(os.path.dirname(self.runtime)) if n not in ("." + NAME + ".lock", "." + NAME + ".files")], [NAME])

    def test_the_lock_of_kolm_itself(self):
        locks = os.path.join(harness.TREE.prefix, "share", "kolm", "trainer", "locks")
        os.makedirs(locks, 0o755)
        self.addCleanup(shutil.rmtree, os.path.dirname(locks), True)
        self.fails(2, "no lock file comes with it", "--use")
        path = self.lock(self.wheel(), path=os.path.join(locks, NAME + ".txt"), head="# kolm: unavailable the moon is down\n")
        self.fails(3, "the moon is down", "--use")
        self.lock(self.wheel(), path=path, head="# kolm: python >=2.0 <3.0\n")
        self.fails(2, "needs python >=2.0 <3.0", "--python")
        self.lock(self.wheel("nearer", "1.0"))  # beside the manifest: comes first
        self.setup()
        self.assertIn("nearer", self.about()["packages"])

    # ---- asking

    def test_the_lock_is_read_once(self):
        """What was digested is installed, whatever lies under the name of the lock when pip begins."""
        first, second = self.wheel(), self.wheel(version="2.0", body="VERSION = 2\n")
        other = self.lock(second, path=os.path.join(self.dir, "other.txt"))
        lock = self.lock(first)
        digest = sha256(lock)
        # The lock is read before the Python is asked what it is.
        python = self.write(os.path.join(self.dir, "python3"), "#!/bin/sh\ncp '%s' '%s'\nexec '%s' \"$@\"\n" % (other, lock, PYTHON), 0o755)
        self.setup(python=python, env={"PATH": "/usr/bin:/bin"})
        self.assertNotEqual(sha256(lock), digest)
        self.assertEqual((self.about()["packages"]["tiny"], self.about()["lock_sha256"]), ("1.0", digest))

    def test_its_files_are_compared(self):
        """Between its making and each use; a copy of the whole is as good, and what is not told apart by its times is by its contents."""
        name = "test-nb"
        self.add_backend(name, recipes=[{"name": "acme-nb", "base": "none", "outputs": "labels"}], formats=["acme-nb"])
        self.lock(self.wheel(script=True), path=os.path.join(self.plugins, name + ".lock.txt"))
        words = ("compute", "setup", name, "--yes", "--from", self.wheels, "--python", PYTHON)
        self.assertIn("is ready", self.kolm(*words).out)
        runtime = os.path.join(self.home, "runtimes", name)
        self.write_tickets(rows=60)
        compile_words = ("compile", "-t", "router", "-d", "tickets.jsonl", "--backend", name, "--recipe", "acme-nb", "--gate", "0.1", "--min-accuracy", "0.1", "--allow-baseline",
                         "--force")
        self.kolm(*compile_words)
        run = ("run", "router-1.0.0.kolm", "login")
        self.kolm(*run)
        package = os.path.dirname(next(os.path.join(folder, "__init__.py") for folder, _, files in os.walk(runtime) if folder.endswith("/tiny") and "__init__.py" in files))
        module = os.path.join(package, "__init__.py")
        # A copy, as a backup leaves it.
        shutil.copytree(runtime, runtime + ".copy", symlinks=True)
        shutil.rmtree(runtime)
        os.rename(runtime + ".copy", runtime)
        self.kolm(*run)
        with open(module, "rb") as file:
            good = file.read()
        info = os.stat(module)
        script = os.path.join(runtime, "bin", "tiny-run")

        def write(path, text):
            with open(path, "wb") as file:
                file.write(text)

        def overwrite():
            write(module, good.replace(b"1", b"2"))
            os.utime(module, ns=(info.st_atime_ns, info.st_mtime_ns))

        def link():
            os.rename(script, script + ".was")
            os.symlink("tiny-run.was", script)
        for change, undo, said in (
                (overwrite, lambda: write(module, good), "tiny/__init__.py has other contents"),
                (lambda: write(os.path.join(package, "more.py"), b""), lambda: os.remove(os.path.join(package, "more.py")), "tiny/more.py was added"),
                (lambda: os.rename(module, module + "c"), lambda: os.rename(module + "c", module), "tiny/__init__.py"),
                (link, lambda: os.replace(script + ".was", script), "bin/tiny-run"),
        ):
            change()
            for verb in (run, compile_words, ("score", "router-1.0.0.kolm", "--eval", "tickets.jsonl")):
                self.assert_error(self.kolm(*verb, code=7), "is not as it was set up", said, "kolm compute setup " + name)
            undo()
            self.kolm(*run)
        # The same command makes it anew.
        overwrite()
        done = self.kolm(*words)
        self.assertIn("has other contents", done.err)
        self.assertIn("is ready", done.out)
        self.kolm(*run)
        self.kolm("compute", "setup", name, "--remove")
        self.assertEqual([entry for entry in os.listdir(os.path.join(self.home, "runtimes")) if not entry.endswith(".lock")], [])

    def test_nobody_to_ask(self):
        self.lock(self.wheel())
        done = self.kolm("compute", "setup", NAME, "--python", PYTHON, "--from", self.wheels, code=2)
        self.assertIn("tiny things", done.out)
        self.assert_error(done, "--yes")
        self.assertFalse(os.path.lexists(os.path.dirname(self.runtime)))

    def test_no_is_no(self):
        self.lock(self.wheel())
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        process = subprocess.Popen([harness.TREE.kolm, "compute", "setup", NAME, "--python", PYTHON, "--from", self.wheels], env=self.full_env(None),
                                   stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        said = b""
        while b"[y/N] " not in said:
            said += os.read(master, 4096)
        os.write(master, b"n\n")
        self.assertEqual(process.wait(60), 130)
        self.assertFalse(os.path.lexists(os.path.dirname(self.runtime)))

    def test_airgap_downloads_nothing(self):
        self.lock(self.wheel())
        self.fails(2, "--airgap", "--from", words=("--airgap",), offline=False)
        self.setup("--airgap")

    def test_the_locks_that_come_with_kolm(self):
        """Every package of every lock has one version and hashes; the fields are there; the names are those of backends."""
        source = os.path.join(harness.SOURCE, "sdk", "trainer", "locks")
        names = [n[:-4] for n in os.listdir(source) if n.endswith(".txt")]
        self.assertEqual(len(names), 6)
        for name in names:
            self.assertTrue(os.path.exists(os.path.join(harness.SOURCE, "plugins", name, name + ".json")), name)
            with open(os.path.join(source, name + ".txt"), encoding="ascii") as file:
                lines = file.read().replace(" \\\n", " ").splitlines()
            fields = dict(line[8:].partition(" ")[::2] for line in lines if line.startswith("# kolm: "))
            pins = [line for line in lines if not line.startswith("#")]
            self.assertIn("summary", fields)
            if "unavailable" in fields:
                self.assertEqual(pins, [])
                continue
            for field in ("python", "system", "machine", "index-url", "download-bytes", "disk-bytes"):
                self.assertIn(field, fields, name)
            seen = set()
            for pin in pins:
                found = re.fullmatch(r"([a-z0-9-]+)==[0-9][0-9a-z.+]*( ; [a-z_0-9.'<>= ]+)?((?: +--hash=sha256:[0-9a-f]{64})+)", pin)
                self.assertTrue(found, (name, pin[:100]))
                self.assertNotIn(found.group(1, 2), seen)
                seen.add(found.group(1, 2))

    # ---- Pythons

    def test_no_python(self):
        self.lock(self.wheel())
        self.fails(2, "there is no python3 in path", "apt install python3 python3-venv", python=None)
        self.fails(6, "cannot find the python", python="/nonexistent/python3")
        self.fails(2, "is not an absolute path", python="python3")
        mute = self.write("mute", "#!%s\nprint('hello')\n" % PYTHON, 0o755)
        self.fails(6, "is not a Python 3", "hello", python=mute)

    def test_python_of_the_path(self):
        self.lock(self.wheel())
        directory = os.path.join(self.dir, "bin")
        os.mkdir(directory)
        # The first python3 is too old for the lock; a newer one with its version in its name stands beside it.
        self.write(os.path.join(directory, "python3"), "#!%s\nprint('kolm-answer {\"version\": \"3.2.0\", \"major\": 3, \"minor\": 2, \"venv\": true}')\n" % PYTHON, 0o755)
        self.fails(2, "is Python 3.2.0", python=None, env={"PATH": directory})
        os.symlink(PYTHON, os.path.join(directory, "python3.%d" % sys.version_info[1]))
        self.setup(python=None, env={"PATH": "relative:" + directory})
        self.assertEqual(self.about()["python"], "%d.%d.%d" % sys.version_info[:3])

    def test_python_without_venv(self):
        self.lock(self.wheel())
        bare = self.write("bare", "#!%s\nprint('kolm-answer {\"version\": \"3.11.2\", \"major\": 3, \"minor\": 11, \"venv\": false, \"executable\": \"/bare\"}')\n" % PYTHON, 0o755)
        self.fails(2, "cannot make virtual environments", "apt install python3-venv", python=bare)
        liar = self.write("liar", "#!%s\nimport sys\nif 'probe' not in sys.argv: sys.exit('no ensurepip here')\n"
                          "print('kolm-answer {\"version\": \"3.11.2\", \"major\": 3, \"minor\": 11, \"venv\": true, \"executable\": \"%s\"}')\n"
                          % (PYTHON, os.path.join(self.work, "liar")), 0o755)
        self.fails(5, "could not make a virtual environment", "setup.log", python=liar)

    def test_use(self):
        self.lock(self.wheel())
        self.assert_error(self.kolm("compute", "setup", NAME, "--use", "bin/python", code=2), "is not an absolute path")
        self.assert_error(self.kolm("compute", "setup", NAME, "--use", self.write("mute", "#!%s\n" % PYTHON, 0o755), code=6), "is not a Python 3")
        self.assertFalse(os.path.exists(os.path.join(self.home, "config.json")))
        self.write_home("config.json", json.dumps({"backend": "x", "runtimes": {"other": "/o"}}))
        used = self.json("compute", "setup", NAME, "--use", PYTHON, schema="kolm.compute.setup/1")
        self.assertEqual((used["state"], used["python"]), ("used", PYTHON))
        with open(os.path.join(self.home, "config.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file), {"backend": "x", "runtimes": {"other": "/o", NAME: PYTHON}})
        self.assertIn("your own", self.kolm("compute", "info", NAME).out)
        self.assertIn("comes before this environment", self.setup().err)
        self.kolm("compute", "setup", NAME, "--remove")
        with open(os.path.join(self.home, "config.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["runtimes"], {"other": "/o"})


class Trouble(Case):
    """Wheels, locks, homes and networks that are not what they should be; and what is interrupted."""

    # ---- wheels that are not what they should be

    def test_wrong_hash(self):
        wheel = self.wheel()
        self.lock(wheel, hashes={"tiny": "0" * 64})
        self.fails(7, "tiny", "is not the one that was pinned", "nothing was installed")
        self.lock(wheel)
        self.setup()

    def test_truncated_wheel(self):
        wheel = self.wheel()
        self.lock(wheel)
        with open(wheel, "r+b") as file:
            file.truncate(os.path.getsize(wheel) // 2)
        self.fails(7, "tiny", "is not the one that was pinned")

    def test_pinned_but_no_wheel(self):
        wheel = self.wheel()
        with open(wheel, "wb") as file:
            file.write(b"this is no zip file")
        self.lock(wheel)
        self.fails(6, "pip could not install", "setup.log")

    def test_missing_wheel(self):
        wheel = self.wheel()
        self.lock(wheel, self.wheel("other"))
        os.unlink(os.path.join(self.wheels, "other-1.0-py3-none-any.whl"))
        self.fails(6, self.wheels + " has no wheel of other==1.0")
        self.wheel("other")
        self.setup()

    def test_a_source_is_no_wheel(self):
        self.lock(self.wheel())
        os.rename(os.path.join(self.wheels, "tiny-1.0-py3-none-any.whl"), os.path.join(self.wheels, "tiny-1.0.tar.gz"))
        self.fails(6, "has no wheel of tiny==1.0")

    def test_a_lock_without_hashes(self):
        self.wheel()
        self.write(os.path.join(self.plugins, NAME + ".lock.txt"), "tiny==1.0\n")
        self.fails(6, "pip could not install", "hashes")

    def test_no_directory_of_wheels(self):
        self.lock(self.wheel())
        self.fails(6, "cannot find the directory", words=("--from", os.path.join(self.dir, "nowhere")), offline=False)
        self.fails(6, "is not a directory", words=("--from", self.write("file", "")), offline=False)

    # ---- locks that are not what they should be

    def test_bad_locks(self):
        wheel = self.wheel()
        self.assert_error(self.setup(code=2), "no lock file comes with it", "the package kolm-trainer")
        self.lock(wheel, mode=0o666)
        self.fails(6, "can be changed by every user")
        self.lock(head="# nothing\n", mode=0o644)
        os.chmod(os.path.join(self.plugins, NAME + ".lock.txt"), 0o644)
        self.fails(6, "names no package")
        self.lock(wheel, head="# kolm: download-bytes many\n")
        self.fails(6, "download-bytes many")
        self.lock(wheel, head="# kolm: index-url http://example.org\n")
        self.fails(6, "index-url http://example.org")
        self.lock(wheel, head="# kolm: python newest\n")
        self.fails(2, "needs python newest")
        self.lock(wheel, head="# kolm: system amiga\n")
        self.fails(2, "is for amiga")
        self.write(os.path.join(self.plugins, NAME + ".lock.txt"), b"tiny==1.0 \xff\n")
        self.fails(6, "not UTF-8")

    def test_disk_too_small(self):
        self.lock(self.wheel(), head="# kolm: disk-bytes 9007199254740991\n")
        self.fails(1, "of disk", "KOLM_HOME")

    # ---- homes and backends

    def test_unknown_backend(self):
        self.assert_error(self.kolm("compute", "setup", "test-wrod", code=2), "no backend is called 'test-wrod'", "test-word")
        self.assert_error(self.kolm("compute", "setup", code=2), "missing NAME")

    def test_home_that_cannot_be_written(self):
        self.lock(self.wheel())
        self.write_home("runtimes", "")
        done = self.setup(code=None)
        self.assertNotEqual(done.returncode, 0)
        self.assert_error(done, "runtimes")
        if os.geteuid() != 0:
            os.unlink(os.path.join(self.home, "runtimes"))
            os.chmod(self.home, 0o500)
            self.addCleanup(os.chmod, self.home, 0o700)
            self.fails(6, "runtimes")

    # ---- interrupted ones

    def test_half_made_is_made_anew(self):
        self.lock(self.wheel())
        for path in (self.runtime, os.path.join(self.partial, "venv"), os.path.join(os.path.dirname(self.runtime), "." + NAME + ".old")):
            os.makedirs(os.path.join(path, "lib"))
            self.write(os.path.join(path, "lib", "half"), "half")
        os.chmod(self.home, 0o700)
        self.assertIn("none; `kolm compute setup", self.kolm("compute", "info", NAME).out)
        self.setup()
        self.assertIn("tiny", self.about()["packages"])
        self.assertFalse(os.path.exists(os.path.join(self.runtime, "lib", "half")))
        self.assertEqual([n for n in os.listdir(os.path.dirname(self.runtime)) if n not in ("." + NAME + ".lock", "." + NAME + ".files")], [NAME])

    def test_a_python_that_is_gone(self):
        self.lock(self.wheel())
        self.setup()
        python = os.path.join(self.runtime, "bin", "python")
        os.unlink(python)
        os.symlink("/nonexistent/python3.1", python)
        self.setup()
        self.assertTrue(os.access(python, os.X_OK))

    def test_killed_and_done_again(self):
        path, true = self.lock_stuck()
        process = self.begin("--from", self.wheels)
        self.wait_for_reader(path, process)
        below = self.children_of(process.pid)
        self.assertTrue(below)
        process.kill()
        process.communicate()
        self.wait_for(lambda: not any(self.alive(pid) for pid in below), "pip to end with kolm")
        self.assertFalse(os.path.lexists(self.runtime))
        os.rename(true, path)
        self.setup()
        self.assertEqual({"tiny", "slow"} - set(self.about()["packages"]), set())
        self.assertFalse(os.path.lexists(self.partial))

    def test_interrupted(self):
        path, true = self.lock_stuck()
        process = self.begin("--from", self.wheels)
        self.wait_for_reader(path, process)
        below = self.children_of(process.pid)
        code, _, err = self.interrupt(process)
        self.assertEqual(code, 130)
        self.assertIn("what was downloaded is kept", err)
        self.assertFalse(any(self.alive(pid) for pid in below))
        self.assertFalse(os.path.lexists(self.runtime))
        os.rename(true, path)
        self.setup()

    def test_two_at_once(self):
        path, _ = self.lock_stuck()
        process = self.begin("--from", self.wheels)
        self.wait_for_reader(path, process)
        self.assert_error(self.setup(code=5), "another `kolm compute setup %s` is at work" % NAME)
        self.assert_error(self.kolm("compute", "setup", NAME, "--remove", code=5), "is at work")
        self.assertEqual(self.interrupt(process)[0], 130)

    # ---- the network, as far as this machine

    def serve(self):
        """An index of self.wheels; (address, names of the files asked for, event that lets the held file go)."""
        asked, held, wheels = [], threading.Event(), self.wheels
        self.holding = None

        class Index(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                name = os.path.basename(handler.path.rstrip("/"))
                if handler.path.startswith("/simple/"):
                    body = "".join('<a href="/files/%s">%s</a>' % (f, f) for f in os.listdir(wheels) if f.startswith(name + "-")).encode()
                    kind = "text/html"
                else:
                    asked.append(name)
                    if name == self.holding:
                        held.wait(60)
                    with open(os.path.join(wheels, name), "rb") as file:
                        body = file.read()
                    kind = "application/octet-stream"
                try:
                    handler.send_response(200)
                    for field in (("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "max-age=1000")):
                        handler.send_header(*field)
                    handler.end_headers()
                    handler.wfile.write(body)
                except OSError:
                    pass

            def log_message(self, *words):
                pass

        # pip keeps nothing that came unencrypted.
        key, certificate = os.path.join(self.dir, "key.pem"), os.path.join(self.dir, "certificate.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1",
                        "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.env["PIP_CERT"] = certificate
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        self.addCleanup(held.set)
        return "https://127.0.0.1:%d/simple" % server.server_port, asked, held

    def test_downloads_are_kept(self):
        first, second = self.wheel("aaa"), self.wheel("bbb")
        self.lock(first, second)
        address, asked, _ = self.serve()
        self.holding = os.path.basename(second)
        process = self.begin("--index-url", address)
        self.wait_for(lambda: self.holding in asked, "the second download", 60)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.holding = None
        del asked[:]
        out = self.setup("--index-url", address, offline=False).out
        self.assertIn("from an earlier attempt", out)
        self.assertEqual(asked, [os.path.basename(second)])
        self.assertEqual({"aaa", "bbb"} - set(self.about()["packages"]), set())

    def test_a_changed_file_on_the_index(self):
        wheel = self.wheel()
        self.lock(wheel)
        self.wheel(body="EVIL = 1\n")
        address, _, _ = self.serve()
        self.fails(7, "is not the one that was pinned", words=("--index-url", address), offline=False)

    def test_no_network(self):
        self.lock(self.wheel())
        self.fails(5, "could not be downloaded", "http://127.0.0.1:9", words=("--index-url", "http://127.0.0.1:9/simple"), offline=False)

    def test_the_index_that_is_away_is_named(self):
        """Not the first one of the lock, which answers; and pip, which would ask for minutes, is not begun."""
        wheel = self.wheel()
        address, asked, _ = self.serve()
        self.lock(wheel, head="# kolm: summary tiny things\n# kolm: python >=3.6 <4.0\n# kolm: index-url %s\n# kolm: index-url https://127.0.0.1:9/extra\n" % address)
        done = self.fails(5, "could not be downloaded", "https://127.0.0.1:9/extra is away: Connection refused", "--from DIR", offline=False)
        self.assertNotIn(address, done.err)
        self.assertEqual(asked, [])
        self.assertFalse(os.path.exists(os.path.join(self.home, "runtimes", ".%s.partial" % NAME, "venv")))
        self.fails(5, "http://127.0.0.1:9/simple is away", words=("--index-url", "http://me:secret@127.0.0.1:9/simple"), offline=False)
        self.assertNotIn("secret", self.setup("--index-url", "http://me:secret@127.0.0.1:9/simple", code=5, offline=False).err)

    def test_what_an_index_may_answer(self):
        """The question itself, with a short patience: what counts as away, and what is left to pip."""
        with open(os.path.join(harness.SOURCE, "core", "runtime", "reach.py"), encoding="utf-8") as file:
            driver = file.read()
        self.assertIn("REACH_SECONDS = 15", driver)
        driver = driver.replace("REACH_SECONDS = 15", "REACH_SECONDS = 1")

        class Odd(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                code = handler.path.split("/")[1]
                if code == "hangup":
                    return
                handler.send_response(int(code))
                handler.end_headers()

            def log_message(self, *words):
                pass

        odd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
        thread = threading.Thread(target=odd.serve_forever)
        thread.start()
        self.addCleanup(odd.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(odd.shutdown)
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        encrypted = self.serve()[0]
        here = "http://127.0.0.1:%d" % odd.server_port
        silence = "http://127.0.0.1:%d" % silent.getsockname()[1]

        def reach(*urls, **env):
            read, write = os.pipe()  # its end would have the child kill its process group
            done = subprocess.run([PYTHON, "-I", "-B", "-c", driver, *urls], stdin=read, capture_output=True, text=True, timeout=60, check=True, env=env, start_new_session=True)
            os.close(read)
            os.close(write)
            return json.loads(done.stdout.rpartition("kolm-answer ")[2])

        for url in (here + "/200/simple", here + "/404", here + "/403/", "http://me:pw@127.0.0.1:%d/401" % odd.server_port, encrypted, "file:///nowhere"):
            self.assertEqual(reach(url), {}, url)
        for url, why in ((here + "/503", "503"), (here + "/hangup", "closed"), (silence, "no answer in 1 seconds"), ("http://127.0.0.1:9", "refused"), ("http://nowhere.invalid", "")):
            answer = reach(here + "/200", url)
            self.assertEqual(answer["number"], 1, url)
            self.assertIn(why, answer["why"])
        self.assertIn("refused", reach(here + "/200", http_proxy="http://127.0.0.1:9")["why"])
        for name in ("all_proxy", "PIP_PROXY"):
            self.assertEqual(reach("http://127.0.0.1:9", **{name: "socks5://127.0.0.1:9"}), {})


if __name__ == "__main__":
    harness.main()
