#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm compute setup: environments made from locks, with wheels made here. Needs no network."""
import json
import os
import pty
import re
import shutil
import subprocess
import sys

import harness
import setup_case
from setup_case import Case, NAME, PYTHON, bundled_pip, setUpModule, sha256  # noqa: F401


class Making(Case):
    """Successful setups, the Pythons they use, and questions to the user."""

    def test_made_shown_kept_removed(self):
        self.lock(self.wheel(script=True), self.wheel("torch", "9.9"), head="# kolm: summary tiny things\n# kolm: python >=3.6,<4.0\n# kolm: note a word of care\n"
                  "# kolm: download-bytes 1500000\n# kolm: disk-bytes 2500000\n# kolm: index-url https://pypi.org/simple\n# kolm: of-a-later-kolm 1\n")
        out = self.setup(python=PYTHON).out
        for piece in ("tiny things", "2 packages", "about 2.5 MB", "a word of care", self.wheels, "is ready", "kolm compute test " + NAME):
            self.assertIn(piece, out)
        about = self.about()
        self.assertEqual((about["format"], about["backend"]), (1, NAME))
        self.assertEqual(about["lock_sha256"], sha256(os.path.join(self.plugins, NAME + ".lock.txt")))
        self.assertEqual(about["python"], "%d.%d.%d" % sys.version_info[:3])
        self.assertEqual(about["packages"], {"tiny": "1.0", "torch": "9.9"})  # and nothing that is not in the lock
        self.assertGreater(about["bytes"], 10000)
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
        bundled = bundled_pip()
        if not bundled:
            self.skipTest("this Python brings no wheel of pip")
        self.lock(shutil.copy(bundled, self.wheels), self.wheel(), hashes={"pip": "0" * 64})
        self.fails(7, "pip", "does not match the lock")
        log = self.read(os.path.join(self.partial, "pip.txt"))
        self.assertTrue(log.startswith(b"pip=="))
        self.assertEqual(log.count(b"\n"), 2)
        self.lock(os.path.join(self.wheels, os.path.basename(bundled)), self.wheel())
        self.setup(python=PYTHON)
        self.assertEqual(self.about()["packages"]["pip"], os.path.basename(bundled).split("-")[1])

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
        self.lock(self.wheel("nearer", "1.0"))  # next to the manifest: comes first
        self.setup()
        self.assertIn("nearer", self.about()["packages"])

    # ---- questions to the user

    def test_the_lock_is_read_once(self):
        """What was digested is installed, even if the file of the lock is replaced before pip begins."""
        first, second = self.wheel(), self.wheel(version="2.0", body="VERSION = 2\n")
        other = self.lock(second, path=os.path.join(self.dir, "other.txt"))
        lock = self.lock(first)
        digest = sha256(lock)
        # The lock is read before Python is asked for its version.
        python = self.write(os.path.join(self.dir, "python3"), "#!/bin/sh\ncp '%s' '%s'\nexec '%s' \"$@\"\n" % (other, lock, setup_case.QUICK), 0o755)
        self.setup(python=python, env={"PATH": "/usr/bin:/bin"})
        self.assertNotEqual(sha256(lock), digest)
        self.assertEqual((self.about()["packages"]["tiny"], self.about()["lock_sha256"]), ("1.0", digest))

    def test_its_files_are_compared(self):
        """Before each use they are compared with those of its creation. A copy of the whole is accepted, and a change that times do not
        show is found by content."""
        name = "test-nb"
        self.add_backend(name, recipes=[{"name": "acme-nb", "base": "none", "outputs": "labels"}], formats=["acme-nb"])
        self.lock(self.wheel(script=True), path=os.path.join(self.plugins, name + ".lock.txt"))
        words = ("compute", "setup", name, "--yes", "--from", self.wheels, "--python", setup_case.QUICK)
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
        # A copy, as a backup makes it.
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
                self.assert_error(self.kolm(*verb, code=7), "has changed since it was set up", said, "kolm compute setup " + name)
            undo()
            self.kolm(*run)
        # The same command makes it again.
        overwrite()
        done = self.kolm(*words)
        self.assertIn("has other contents", done.err)
        self.assertIn("is ready", done.out)
        self.kolm(*run)
        self.kolm("compute", "setup", name, "--remove")
        self.assertEqual([entry for entry in os.listdir(os.path.join(self.home, "runtimes")) if not entry.endswith(".lock")], [])

    def test_no_terminal_to_ask_on(self):
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
        # The first python3 is too old for the lock; a newer one with its version in its name is next to it.
        self.write(os.path.join(directory, "python3"), "#!%s\nprint('kolm-answer {\"version\": \"3.2.0\", \"major\": 3, \"minor\": 2, \"venv\": true}')\n" % PYTHON, 0o755)
        self.fails(2, "is Python 3.2.0", python=None, env={"PATH": directory})
        os.symlink(setup_case.QUICK, os.path.join(directory, "python3.%d" % sys.version_info[1]))
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
        self.assertIn("overrides this environment", self.setup().err)
        self.kolm("compute", "setup", NAME, "--remove")
        with open(os.path.join(self.home, "config.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["runtimes"], {"other": "/o"})


if __name__ == "__main__":
    harness.main()
