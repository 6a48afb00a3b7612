# SPDX-License-Identifier: Apache-2.0
"""The home and what is read from it: who could have changed it, and things in it that are not regular files."""
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case  # noqa: E402

setUpModule = harness.set_up_tree
ROOT = os.geteuid() == 0
AT_ONCE = 10  # seconds within which a busy machine gives an immediate reply
KEY = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n"


class Owners(Case):
    """The rule for plugins: they and all directories above belong to root or the user, and no other user can write there."""

    def setUp(self):
        super().setUp()
        os.mkdir(self.home, 0o700)

    def refused(self, *words, code=2, path=None, env=None):
        done = self.kolm(*words, code=code, env=env)
        self.assert_error(done, path or self.home)
        return done

    def test_a_home_that_others_may_change(self):
        os.chmod(self.home, 0o777)
        self.assert_error(self.refused("compute", "list"), "every user", "chmod go-w", "KOLM_HOME")
        os.chmod(self.home, 0o775)
        self.assert_error(self.refused("keys", "list"), "its group", "chmod go-w", "KOLM_HOME")
        os.chmod(self.home, 0o755)
        self.kolm("compute", "list")

    @unittest.skipUnless(os.path.isdir("/dev/shm"), "no /dev/shm")
    def test_in_memory(self):
        """A call that works has its own /dev/shm, but the files that it needs are present in it nevertheless."""
        home = tempfile.mkdtemp(prefix="kolm-e2e-", dir="/dev/shm")
        self.addCleanup(shutil.rmtree, home)
        self.write_tickets(rows=60)
        env = {"KOLM_HOME": home}
        self.kolm("compile", "-t", "router", "-d", "tickets.jsonl", "--backend", "test-word", "--gate", "0.1", "--min-accuracy", "0.1", "--allow-baseline", env=env)
        self.kolm("run", "router-1.0.0.kolm", "login", env=env)

    def test_above_the_home(self):
        middle = os.path.join(self.dir, "middle")
        inner = os.path.join(middle, "inner")
        os.makedirs(inner)
        os.chmod(middle, 0o777)
        for home in (inner, os.path.join(inner, "none"), os.path.join(middle, "none", "yet")):
            self.assert_error(self.refused("compute", "list", path=middle, env={"KOLM_HOME": home}), "chmod go-w", "KOLM_HOME")
        link = os.path.join(self.dir, "link")
        os.symlink(inner, link)
        self.refused("compute", "list", path=middle, env={"KOLM_HOME": link})
        os.chmod(middle, 0o755)
        self.kolm("compute", "list", env={"KOLM_HOME": link})
        # Below a directory with the sticky bit, like /tmp, a home may be created.
        if ROOT:
            os.chmod(middle, 0o1777)
            self.kolm("compute", "list", env={"KOLM_HOME": os.path.join(middle, "none")})

    @unittest.skipUnless(ROOT, "only root can give files away")
    def test_the_home_of_another(self):
        os.chown(self.home, 1234, 1234)
        done = self.refused("compute", "list")
        self.assert_error(done, "belongs to another user", "KOLM_HOME")
        # sudo without -H: HOME is the caller's.
        os.rename(self.home, os.path.join(self.dir, ".kolm"))
        done = self.refused("compute", "list", env={"KOLM_HOME": None}, path=".kolm")
        self.assert_error(done, "belongs to another user", "sudo -H")
        os.chown(os.path.join(self.dir, ".kolm"), 0, 0)
        self.kolm("compute", "list", env={"KOLM_HOME": None})

    def test_files_that_others_may_change(self):
        self.add_backend("test-other", auth=["KOLM_X_TOKEN"])
        for name, text, words in (("config.json", "{}", ("compute", "list")), ("policy.json", "{}", ("backend", "list")),
                                  ("credentials", "A=b\n", ("compute", "detect", "--refresh"))):
            path = self.write_home(name, text)
            self.kolm(*words)
            os.chmod(path, 0o666)
            self.assert_error(self.refused(*words, code=6, path=path), "is not used", "chmod")
            os.chmod(path, 0o600)
            if ROOT:
                os.chown(path, 1234, 1234)
                self.assert_error(self.refused(*words, code=6, path=path), "is not used", "another user")
            os.remove(path)
            # A link through a directory in which others could replace the file.
            open_place = os.path.join(self.dir, "open")
            os.mkdir(open_place)
            os.chmod(open_place, 0o777)
            with open(os.path.join(open_place, name), "w", encoding="ascii") as file:
                file.write(text)
            os.chmod(os.path.join(open_place, name), 0o600)
            os.symlink(os.path.join(open_place, name), path)
            self.refused(*words, code=6, path=path if name == "credentials" else open_place)
            os.remove(path)
            # A dangling link does not mean that there is no file.
            os.symlink(os.path.join(self.dir, "nowhere"), path)
            self.refused(*words, code=6, path=path)
            os.remove(path)
            shutil.rmtree(open_place)

    def test_a_link_into_nowhere_is_not_written_over(self):
        path = os.path.join(self.home, "config.json")
        os.symlink(os.path.join(self.dir, "nowhere"), path)
        self.kolm("compute", "use", "test-word", code=6)
        self.assertTrue(os.path.islink(path))

    def test_keyring_links(self):
        self.write("key.pem", KEY)
        self.kolm("keys", "trust", "key.pem")
        for name in ("trusted", "revoked"):
            path = os.path.join(self.home, "keys", name)
            shutil.rmtree(path, True)
            os.symlink(os.path.join(self.dir, "nowhere"), path)
            self.refused("keys", "list", code=2, path=path)
            os.remove(path)


class Interpreters(Case):
    """The programs that runtimes.NAME of config.json leads to are run: no other user may be able to change them."""

    def setUp(self):
        super().setUp()
        self.place = os.path.join(self.dir, "venv")
        self.packages = os.path.join(self.place, "lib", "python3.11", "site-packages")
        self.base = os.path.join(self.dir, "base")
        for path in (os.path.join(self.place, "bin"), self.packages, self.base):
            os.makedirs(path)
        self.real = self.write(os.path.join(self.base, "python3"), "#!/bin/sh\nexit 1\n", 0o755)
        self.python = os.path.join(self.place, "bin", "python")
        os.symlink("python3", self.python)
        os.symlink(self.real, os.path.join(self.place, "bin", "python3"))
        self.settings = self.write(os.path.join(self.place, "pyvenv.cfg"), "home = %s\nversion = 3.11\n" % self.base)
        self.write_home("config.json", json.dumps({"runtimes": {"test-word": self.python}}))

    def test_each_part(self):
        self.assertIn("yes", self.kolm("backend", "why", "test-word").out)
        for path, mode in ((self.real, 0o777), (self.base, 0o777), (self.place, 0o775), (os.path.join(self.place, "bin"), 0o777),
                           (self.settings, 0o666), (self.packages, 0o777), (os.path.dirname(self.packages), 0o775)):
            before = os.stat(path).st_mode
            os.chmod(path, mode)
            done = self.kolm("compute", "info", "test-word", code=None)
            said = done.out + done.err
            self.write_tickets(rows=40)
            for piece in ("runtimes.test-word", path, "chmod go-w", "compute setup test-word --use"):
                self.assertIn(piece, said)
            self.assertIn("runtimes.test-word", self.compile("--backend", "test-word", code=6).err)
            self.assertEqual(self.left(), [])
            os.chmod(path, before)
        self.kolm("compute", "info", "test-word")

    @unittest.skipUnless(ROOT, "only root can give files away")
    def test_of_another_user(self):
        self.write_tickets(rows=40)
        for path in (self.real, self.settings, self.packages):
            os.chown(path, 1234, 1234)
            self.assertIn("belongs to another user", self.compile("--backend", "test-word", code=6).err)
            os.chown(path, 0, 0)

    def test_use_refuses_it_before_it_runs(self):
        os.chmod(self.real, 0o777)
        with open(self.real, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\ntouch %s/ran\n" % self.dir)
        self.assert_error(self.kolm("compute", "setup", "test-word", "--use", self.python, code=6), self.real, "chmod go-w")
        self.assertFalse(os.path.exists(os.path.join(self.dir, "ran")))


def fifo(path):
    os.mkfifo(path, 0o600)


def directory(path):
    os.mkdir(path, 0o700)


def zero(path):
    os.symlink("/dev/zero", path)


def huge(path):
    with open(path, "wb") as file:
        os.truncate(path, 10 << 30)
    os.chmod(path, 0o600)


def limit():
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


class Readers(Case):
    """Anything that cannot be read as a file of reasonable size is an immediate error, wherever it is read."""

    def setUp(self):
        super().setUp()
        self.write_tickets(rows=60)
        self.compile("--gate", "0.1", "--min-accuracy", "0.1", "--allow-baseline")
        self.write("key.pem", KEY)
        self.kolm("keys", "trust", "key.pem")
        self.trusted = next(n[:-4] for n in os.listdir(os.path.join(self.home, "keys", "trusted")) if n.endswith(".pem"))
        self.add_backend("test-other", auth=["KOLM_X_TOKEN"])
        self.kolm("compute", "detect")

    def at_once(self, words, what):
        try:
            return self.kolm(*words, code=None, timeout=AT_ONCE, preexec_fn=None if harness.SANITIZED else limit)
        except subprocess.TimeoutExpired:
            self.fail("waits for ever: %s, %s" % (words, what))

    def test_each_place(self):
        model, home = os.path.join(self.work, "router-1.0.0.kolm"), lambda *name: os.path.join(self.home, *name)
        verify = ("verify", model)
        # path, words, whether it is an error: it is not if the file may be deleted at any time.
        table = [
            (home("config.json"), ("compute", "list"), True),
            (home("config.json"), ("compute", "use", "test-word"), True),
            (home("policy.json"), ("backend", "list"), True),
            (home("credentials"), ("compute", "detect", "--refresh"), True),
            (home("keys", "signing.pem"), ("keys", "list"), True),
            (home("keys", "signing.pem"), verify, True),
            (home("keys", "signing.pub.pem"), ("keys", "export"), False),
            (home("keys", "trusted", self.trusted + ".pem"), ("keys", "list"), True),
            (home("keys", "trusted", self.trusted + ".json"), verify, True),
            (home("keys", "revoked", self.trusted + ".json"), ("keys", "list"), True),
            (home("keys", "lock"), ("keys", "trust", "key.pem"), None),
            (home("receipts.jsonl"), verify, True),
            (home("receipts.jsonl"), ("compute", "status"), None),
            (home("receipts.jsonl.heads"), verify, True),
            (home("cache", "detect.json"), ("compute", "pick"), False),
            (home("cache", "key"), ("compute", "pick"), False),
            (os.path.join(self.plugins, "test-word.json"), ("compute", "pick", "--exclude", "test-other"), True),
            (os.path.join(self.plugins, "test-word.so"), ("compute", "pick"), None),
            (os.path.join(self.plugins, "test-word.so.sig"), ("compute", "pick", "--exclude", "test-other"), True),
            (model, verify, True),
            (model, ("inspect", model), True),
            (model, ("run", model, "billing"), True),
            (model, ("score", model, "--eval", "tickets.jsonl"), True),
            (model, ("export", model, "--to", "out"), True),
            (model + ".intoto.jsonl", verify, True),
            (os.path.join(self.work, "key.pem"), ("keys", "trust", "key.pem"), True),
            (os.path.join(self.work, "record.json"), ("compute", "pick", "--replay", "record.json"), True),
        ]
        for path, words, error in table:
            for make in (fifo, directory, zero, huge):
                kept = path + ".kept"
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                if os.path.exists(path):
                    os.rename(path, kept)
                make(path)
                done = self.at_once(words, (path, make.__name__))
                said = (path, make.__name__, words, done.returncode, done.out, done.err)
                self.assertGreaterEqual(done.returncode, 0, said)
                if error is not None:
                    self.assertEqual(done.returncode != 0, error, said)
                if error:
                    self.assertRegex(done.out + done.err, re.escape(os.path.basename(path).split(".")[0]) + "|/dev/zero", said)
                for name in (path,):
                    if os.path.isdir(name) and not os.path.islink(name):
                        shutil.rmtree(name)
                    elif os.path.lexists(name):
                        os.remove(name)
                if os.path.exists(kept):
                    os.rename(kept, path)

    # ---- Ctrl-C while another process holds what kolm waits for

    def interrupted_at(self, path, *words):
        with open(path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            process = self.start(*words)
            inode = ":%d " % os.fstat(file.fileno()).st_ino

            def waits():
                with open("/proc/locks", encoding="ascii") as locks:
                    return any("->" in line and inode in line for line in locks)
            self.wait_for(waits, "the lock of " + path)
            code, _, err = self.interrupt(process, timeout=AT_ONCE)
            self.assertEqual(code, 130, err)

    def test_interrupted_while_the_keys_are_locked(self):
        lock = os.path.join(self.home, "keys", "lock")
        self.interrupted_at(lock, "keys", "trust", "key.pem")
        self.interrupted_at(lock, "keys", "rotate")
        self.kolm("keys", "list")

    def test_interrupted_while_the_log_is_locked(self):
        self.interrupted_at(os.path.join(self.home, "receipts.jsonl"), "keys", "rotate")
        self.kolm("keys", "list")
        self.kolm("verify", "router-1.0.0.kolm")

    def test_interrupted_while_the_settings_are_locked(self):
        path = os.path.join(self.home, "config.json.lock")
        with open(path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            process = self.start("compute", "use", "test-word")
            # As soon as it catches the signal, at whatever point: it keeps retrying this lock.
            self.wait_for(lambda: self.catches(process.pid, signal.SIGINT), "the handler")
            code, _, err = self.interrupt(process, timeout=4)
            self.assertEqual(code, 130, err)

    def catches(self, pid, number):
        with open("/proc/%d/status" % pid, encoding="utf-8", errors="replace") as status:
            caught = next((line.split()[1] for line in status if line.startswith("SigCgt:")), "0")
        return int(caught, 16) >> (number - 1) & 1


if __name__ == "__main__":
    harness.main()
