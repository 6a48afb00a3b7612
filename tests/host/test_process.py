#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests that need whole processes: set-uid, an installed tree that was moved, a caller that is killed, secrets in /proc."""
import json
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import unittest

PROBE, HOST, ZOO = (os.path.abspath(word) for word in sys.argv[1:4])
LIBEXEC, BACKENDS = sys.argv[4:6]  # below the prefix
NOBODY = 65534


def manifest(name):
    return {"name": name, "kind": "local", "tier": 1, "train": True, "infer": True, "airgap": "yes", "billing": "free", "cost_per_hour_usd": 0,
            "cold_start_seconds": 0, "vram_cap_gb": None, "auth": [], "requires": [], "runtime": "zoo", "summary": "An animal."}


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def session_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[3])


def living(session):
    """Returns the processes of a call and those that they left behind: all are in the session that kolm-host started."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if session_of(pid) == session and not gone(pid):
                found.append(int(pid))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def outer(number, session):
    """Returns the process of the call that has this number in its own namespace."""
    for pid in living(session):
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            if next(line for line in file if line.startswith("NSpid:")).split()[-1] == str(number):
                return pid
    raise AssertionError(f"no process of the call has the number {number}")


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


class Process(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-process-")
        os.chmod(self.dir, 0o755)
        self.addCleanup(shutil.rmtree, self.dir, True)

    def tree(self, *names):
        """Makes an installed tree with these backends; returns the path of the program in it."""
        prefix = os.path.join(self.dir, "prefix")
        program = os.path.join(prefix, "bin", "probe")
        for source, target in ((PROBE, program), (HOST, os.path.join(prefix, LIBEXEC, "kolm-host"))):
            os.makedirs(os.path.dirname(target))
            shutil.copy(source, target)
        self.fill(os.path.join(prefix, BACKENDS), *names)
        return program

    def fill(self, directory, *names):
        os.makedirs(directory, exist_ok=True)
        for name in names:
            shutil.copy(os.path.join(ZOO, name + ".so"), directory)
            with open(os.path.join(directory, name + ".json"), "w", encoding="utf-8") as file:
                json.dump(manifest(name), file)
        for root, _, files in os.walk(self.dir):
            os.chmod(root, 0o755)
            for file in files:
                path = os.path.join(root, file)
                os.chmod(path, 0o755 if stat.S_IMODE(os.stat(path).st_mode) & 0o100 else 0o644)

    def run_probe(self, program, *words, **options):
        return subprocess.run([program, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False, **options)

    def test_installed_tree_may_be_moved(self):
        program = self.tree("good")
        result = self.run_probe(program, "call", "good", env={})
        self.assertIn(f"program {self.dir}/prefix/{LIBEXEC}/kolm-host\n", result.stdout)
        self.assertIn(f"row good 0 2 {self.dir}/prefix/{BACKENDS}/good.so\n", result.stdout)
        self.assertIn("verdict ok", result.stdout)
        os.rename(os.path.join(self.dir, "prefix"), os.path.join(self.dir, "moved"))
        result = self.run_probe(program.replace("prefix", "moved"), "call", "good", env={})
        self.assertIn(f"row good 0 2 {self.dir}/moved/{BACKENDS}/good.so\n", result.stdout)
        self.assertIn("verdict ok", result.stdout)

    def test_program_that_others_can_change(self):
        program = self.tree("good")
        os.chmod(os.path.join(self.dir, "prefix", LIBEXEC, "kolm-host"), 0o777)
        result = self.run_probe(program, "call", "good", env={})
        self.assertIn("kolm-host can be changed by every user", result.stdout)
        self.assertIn("verdict could not load", result.stdout)

    def test_order(self):
        program = self.tree("good")
        front = os.path.join(self.dir, "front")
        self.fill(front, "good")
        result = self.run_probe(program, "scan", env={"KOLM_BACKEND_PATH": front})
        self.assertIn(f"row good 0 0 {front}/good.so\nrow good 2 2 hidden by good in {front}, which is searched first\n", result.stdout)

    @unittest.skipUnless(os.geteuid() == 0, "only root can make a set-uid program of another user's")
    def test_set_uid(self):
        program = self.tree("good")
        evil = os.path.join(self.dir, "evil")
        self.fill(evil, "good", "prints")
        environment = {"KOLM_BACKEND_PATH": evil, "KOLM_HOME": self.dir, "HOME": self.dir, "LTDL_LIBRARY_PATH": evil}
        plain = self.run_probe(program, "scan", env=environment, user=NOBODY, group=NOBODY, extra_groups=[])
        self.assertIn(f"row prints 0 0 {evil}/prints.so\n", plain.stdout)  # the control: the variable has an effect
        os.chmod(program, 0o4755)
        elevated = self.run_probe(program, "scan", env=environment, user=NOBODY, group=NOBODY, extra_groups=[])
        if elevated.stdout == plain.stdout and os.statvfs(program).f_flag & os.ST_NOSUID:
            self.skipTest("this file system knows no set-uid")
        self.assertEqual(elevated.returncode, 0, elevated.stdout)
        self.assertNotIn(self.dir, elevated.stdout)  # neither the directory in the variable nor that of the program

    @unittest.skipUnless(os.geteuid() == 0, "is this test as root; otherwise every other test is")
    def test_ordinary_user(self):
        program = self.tree("good")
        result = self.run_probe(program, "call", "good", env={}, user=NOBODY, group=NOBODY, extra_groups=[])
        self.assertIn("verdict ok", result.stdout)

    # ---- User namespaces: files of root and of unmapped users look the same there

    ALICE, MALLORY = 12345, 54321

    def in_namespace(self, program, *words, before="", path=None):
        """Returns the output of the program in a new user namespace, run by a user who is root inside it and unprivileged outside."""
        if os.getuid() != 0:
            self.skipTest("files of several owners need root")
        script = before + ' exec "$@"'
        try:
            subprocess.run(["unshare", "-Urm", "true"], user=self.ALICE, group=self.ALICE, extra_groups=[], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            self.skipTest(f"user namespaces are not permitted here: {error}")
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        if path:
            env["KOLM_BACKEND_PATH"] = path
        done = subprocess.run(["unshare", "-Urm", "sh", "-c", script, "sh", program, *words], user=self.ALICE, group=self.ALICE, extra_groups=[],
                              env=env, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    def place(self, name, owner, *animals):
        """Makes a directory with backends of this owner, outside the installed tree."""
        place = os.path.join(self.dir, name)
        self.fill(place, *animals)
        for root, _, files in os.walk(place):
            for path in (root, *(os.path.join(root, file) for file in files)):
                os.chown(path, owner, owner)
        return place

    def test_installed_backends_in_a_user_namespace(self):
        program = self.tree("good", "fails")
        said = self.in_namespace(program, "call", "good")
        self.assertRegex(said, r"program /.*/kolm-host\n")
        self.assertRegex(said, r"row good 0 ")
        self.assertRegex(said, r"row fails 0 ")
        self.assertIn("verdict ok", said)

    def test_own_backends_in_a_user_namespace(self):
        program = self.tree()
        said = self.in_namespace(program, "scan", path=self.place("own", self.ALICE, "good"))
        self.assertRegex(said, r"row good 0 ")

    def test_a_stranger_looks_like_root_in_a_user_namespace(self):
        program = self.tree()
        for owner in (self.MALLORY, 0, NOBODY):  # root, too, because this directory is not a known system directory
            place = self.place("foreign-%d" % owner, owner, "good")
            said = self.in_namespace(program, "scan", path=place)
            self.assertRegex(said, r"row good 1 .*belongs to a user that this user namespace does not map")

    def test_what_others_can_change_in_a_user_namespace(self):
        program = self.tree("good", "fails")
        backends = os.path.join(self.dir, "prefix", BACKENDS)
        os.chmod(os.path.join(backends, "good.so"), 0o775)
        said = self.in_namespace(program, "scan")
        self.assertRegex(said, r"row good 1 .*good\.so can be changed by its group")
        self.assertRegex(said, r"row fails 0 ")
        os.chmod(backends, 0o757)
        self.assertRegex(self.in_namespace(program, "scan"), r"row fails 1 .*can be changed by every user")

    def test_a_read_only_mount_in_a_user_namespace(self):
        program = self.tree()
        place = self.place("mounted", self.MALLORY, "good")
        mount = f"mount --bind {place} {place} && mount -o remount,bind,ro {place} &&"
        self.assertRegex(self.in_namespace(program, "scan", path=place, before=mount), r"row good 0 ")
        os.chmod(os.path.join(place, "good.json"), 0o666)
        self.assertRegex(self.in_namespace(program, "scan", path=place, before=mount), r"row good 1 .*can be changed by every user")

    def test_children_of_the_shell_before(self):
        # `service & exec kolm`: the program inherits a child, which must keep running; processes that the backend leaves are ended
        # anyway.
        program = self.tree("forks")
        told, tell = os.pipe()
        self.addCleanup(os.close, told)

        def leave_children():
            if os.fork() == 0:
                os.fork()  # a process that the child started
                os.write(tell, b"%d\n" % os.getpid())
                os.closerange(0, 1024)
                signal.pause()

        caller = subprocess.Popen([program, "call", "forks"], env={"TMPDIR": self.dir}, stdout=subprocess.PIPE, text=True, preexec_fn=leave_children)
        os.close(tell)
        self.addCleanup(caller.stdout.close)
        strangers = []
        while len(strangers) < 2:
            strangers += [int(word) for word in os.read(told, 99).split()]
        for pid in strangers:
            self.addCleanup(lambda pid=pid: gone(pid) or os.kill(pid, signal.SIGKILL))
        left, sessions = [], set()
        for line in caller.stdout:
            if line.startswith("log ") and line.split()[1].isdigit():
                left.append(int(line.split()[1]))
                sessions.update(pid for pid in children_of(caller.pid) if pid == session_of(pid))
        self.assertEqual(caller.wait(), 0)
        self.assertEqual([gone(pid) for pid in strangers], [False, False])
        self.assertEqual(len(left), 1)  # it existed, whatever its id is outside the namespace
        self.assertEqual([living(session) for session in sessions], [[]] * len(sessions))

    def start_hanging(self):
        program = self.tree("hang-slot")
        caller = subprocess.Popen([program, "call", "hang-slot"], env={"TMPDIR": self.dir}, stdout=subprocess.PIPE, text=True)
        self.addCleanup(caller.stdout.close)
        self.addCleanup(caller.wait)
        self.addCleanup(caller.kill)
        for line in caller.stdout:
            if line == "log hanging\n":
                break
        children = children_of(caller.pid)
        self.assertEqual(len(children), 1)
        return caller, children[0]

    def test_process_of_a_call(self):
        _, pid = self.start_hanging()
        self.assertEqual(os.getsid(pid), pid)  # no terminal of the user
        self.assertEqual(os.getpgid(pid), pid)
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            self.assertEqual(file.read(), b"kolm-host\0hang-slot\0")
        if os.geteuid() == 0:
            self.assertEqual(os.readlink(f"/proc/{pid}/fd/0"), "/dev/null")
            with open(f"/proc/{pid}/limits", encoding="ascii") as file:
                self.assertRegex(file.read(), r"Max core file size +1 +1 ")
        else:
            with self.assertRaises(PermissionError):  # not dumpable: even its own user has no access
                os.readlink(f"/proc/{pid}/fd/0")

    def test_caller_that_is_killed(self):
        # The plugin ignores SIGTERM and never checks for cancellation; the alarm of kolm-host ends it seconds after the caller died.
        caller, session = self.start_hanging()
        handles = [os.pidfd_open(pid) for pid in living(session)]
        for handle in handles:
            self.addCleanup(os.close, handle)
        caller.send_signal(signal.SIGKILL)
        caller.wait()
        self.assertNotEqual(living(session), [])  # it has time to return what it rented
        for handle in handles:
            self.assertTrue(select.select([handle], [], [], 60)[0], "it lives on")
        self.assertEqual(living(session), [])

    def test_what_a_backend_started_ends_with_it(self):
        # In a separate process group, as the kit starts children; the caller was killed, and the plugin sleeps.
        program = self.tree("forks-away")
        caller = subprocess.Popen([program, "call", "forks-away"], env={"TMPDIR": self.dir}, stdout=subprocess.PIPE, text=True)
        self.addCleanup(caller.stdout.close)
        told = next(int(line.split()[1]) for line in caller.stdout if line.startswith("log ") and line.split()[1].isdigit())
        left = outer(told, children_of(caller.pid)[0])
        self.addCleanup(lambda: gone(left) or os.kill(left, signal.SIGKILL))
        handle = os.pidfd_open(left)
        self.addCleanup(os.close, handle)
        caller.send_signal(signal.SIGKILL)
        caller.wait()
        self.assertTrue(select.select([handle], [], [], 60)[0], "it lives on")

    def test_by_hand(self):
        result = subprocess.run([HOST], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(result.returncode, 2)
        self.assertIn("started by kolm itself", result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
