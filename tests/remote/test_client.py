#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The near end of remote jobs alone (remote-job) against a real sshd: many files, a very large one, and a far end that sends garbage."""
import fcntl
import filecmp
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import box as boxes  # noqa: E402
from far_end import BOOTSTRAP, other_bootstrap  # noqa: E402
from line import UP, Distance, Line  # noqa: E402

os.umask(0o022)
HERE = os.path.dirname(os.path.abspath(__file__))
CLIENT = os.path.abspath(sys.argv[1])
WHY_NOT = boxes.usable()
SANITIZED = b"__asan_init" in open(CLIENT, "rb").read()
MEGABYTE = 1 << 20

# A kolm on the box that returns its base model as the result.
MIRROR = """#!/usr/bin/python3
import json, os, sys
if sys.argv[1:] == ["--version"]:
    print("kolm 9.9.9")
    sys.exit()
work = sys.argv[-1]
with open(os.path.join(work, "job.json")) as file:
    base = json.load(file)["options"]["base"]["path"]
os.mkdir(os.path.join(work, "model"))
for name in sorted(os.listdir(base)):
    os.link(os.path.join(base, name), os.path.join(work, "model", name))
with open(os.path.join(work, "result.json"), "w") as file:
    file.write("{}")
print('{"event":"result","device":"mirror","toolchain":"none"}')
"""


def roomy(place):
    return os.path.isdir(place) and os.access(place, os.W_OK) and shutil.disk_usage(place).free > 1 << 30


class Case(unittest.TestCase):
    def setUp(self):
        # The usual place for temporary files may be small and in memory; that suits many files, but not large ones.
        memory = "large" not in self.id() and roomy("/dev/shm")
        self.dir = tempfile.mkdtemp(prefix="kolm-client-", dir="/dev/shm" if memory else os.path.dirname(CLIENT))
        self.addCleanup(self.remove)
        self.kolm = os.path.join(self.dir, "kolm")
        with open(self.kolm, "w") as file:
            file.write(MIRROR)
        os.chmod(self.kolm, 0o755)
        self.base = os.path.join(self.dir, "base")
        os.mkdir(self.base)
        self.job = os.path.join(self.dir, "job")

    def remove(self):
        end = time.monotonic() + 10  # a keeper may still be writing its last files
        while os.path.exists(self.dir) and time.monotonic() < end:
            shutil.rmtree(self.dir, True)

    def write_job(self):
        shutil.rmtree(self.job, True)
        os.mkdir(self.job)
        with open(os.path.join(self.job, "job.json"), "w") as file:
            json.dump({"format": 1, "kind": "train", "task": "mirror", "recipe": "linear", "seed": 1, "effort": "quick", "rows": 1, "labels": 0,
                       "options": {"base": {"path": self.base}}}, file)
        with open(os.path.join(self.job, "train.jsonl"), "w") as file:
            file.write("{}\n")

    def train(self, far=("-",), codes=(0,), **env):
        """Returns (exit code, output, peak memory in bytes)."""
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen([CLIENT, "train", self.job, "/nonexistent", *far], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                       env={**os.environ, "FAR_KOLM": self.kolm, **env})
            _, how, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(how)
            said.seek(0)
            text = said.read().decode("utf-8", "replace")
        self.assertIn(process.returncode, codes, text[-3000:])
        return process.returncode, text, usage.ru_maxrss * 1024


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Real(Case):
    """Against a real sshd."""

    def setUp(self):
        super().setUp()
        # The far end's memory must not grow with what is sent either.
        self.box = boxes.Box(before="ulimit -v 262144")
        self.addCleanup(self.box.remove)
        home = os.path.join(self.dir, "home")
        os.mkdir(home)
        self.box.configure(before="ulimit -v 262144", home=home)
        self.box.restart()
        self.ssh = {"SSH_TARGET": "%s@127.0.0.1:%d" % (boxes.USER, self.box.port), "SSH_KEY": self.box.user_key, "SSH_KNOWN": self.box.known}


class Sizes(Real):
    def mirror(self):
        self.write_job()
        held = self.train(**self.ssh)[2]
        same = filecmp.dircmp(self.base, os.path.join(self.job, "model"))
        self.assertEqual((same.left_only, same.right_only), ([], []))
        self.assertEqual(filecmp.cmpfiles(self.base, os.path.join(self.job, "model"), same.common_files, shallow=False)[1:], ([], []))
        return held

    def test_many_small_files(self):
        count = 2000 if SANITIZED else 10000
        for i in range(count):
            with open(os.path.join(self.base, "part %05d" % i), "w") as file:
                file.write("%d\n" % i * (i % 50))
        held = self.mirror()
        print("%d files: %d MB held" % (count, held // MEGABYTE), flush=True)
        if not SANITIZED:
            self.assertLess(held, 96 * MEGABYTE)

    @unittest.skipIf(SANITIZED, "done with the build that is released")
    def test_large_file(self):
        """A quarter of a gigabyte; half of it is incompressible, twice the allowed memory, and the rest are holes. With KOLM_TEST_ALL the
        file has more than two gigabytes."""
        size = (9 if os.environ.get("KOLM_TEST_ALL") else 1) << 28
        if shutil.disk_usage(self.dir).free < 6 * size:
            self.skipTest("less than %d GB free" % (6 * size >> 30))
        draw = random.Random(1)
        with open(os.path.join(self.base, "weights"), "wb") as file:
            for place in range(0, size, size // 64):
                file.seek(place)
                file.write(draw.randbytes(2 * MEGABYTE))
            file.truncate(size)
        held = self.mirror()
        print("%d MB: %d MB held" % (size // MEGABYTE, held // MEGABYTE), flush=True)
        self.assertLess(held, 64 * MEGABYTE)


class Wide(Real):
    """Large uploads over a long distance use several streams."""

    def setUp(self):
        super().setUp()
        with open(os.path.join(self.base, "weights"), "wb") as file:
            file.write(random.Random(1).randbytes(40 * MEGABYTE))
        with open(os.path.join(self.base, "more"), "wb") as file:
            file.write(random.Random(2).randbytes(MEGABYTE + 1))

    def send(self, port=None, lines=()):
        """Checks that the returned files are those that were sent; returns the output."""
        if lines:
            self.box.configure(home=os.path.join(self.dir, "home"), lines=lines)
            self.box.restart()
        self.write_job()
        distance = Distance(port or self.box.port, 0.01)
        self.addCleanup(distance.stop)
        with open(self.box.host_key + ".pub") as key, open(os.path.join(self.dir, "known"), "w") as file:
            file.write("[127.0.0.1]:%d %s\n" % (distance.port, " ".join(key.read().split()[:2])))
        said = self.train(**dict(self.ssh, SSH_TARGET="%s@127.0.0.1:%d" % (boxes.USER, distance.port), SSH_KNOWN=file.name))[1]
        for name in ("weights", "more"):
            self.assertTrue(filecmp.cmp(os.path.join(self.base, name), os.path.join(self.job, "model", name), shallow=False))
        return said

    def test_all_streams(self):
        said = self.send()
        self.assertIn("sends over all streams", said)
        self.assertNotIn("connecting again", said)

    def test_cut_on_the_way(self):
        for at in (20, 30, 40):
            with self.subTest(at=at):
                shutil.rmtree(os.path.join(self.dir, "home"), True)
                os.mkdir(os.path.join(self.dir, "home"))
                line = Line(self.box.port, at * MEGABYTE, UP)
                self.addCleanup(line.stop)
                said = self.send(line.port)
                self.assertIn("connecting again", said)
                # Received data was not sent again, except what was in flight.
                self.assertLess(line.passed[UP], (41 + 1 + 12) * MEGABYTE)

    def test_a_server_that_opens_no_further_session(self):
        said = self.send(lines=["MaxSessions 1"])
        self.assertIn("does not open another session", said)
        self.assertNotIn("connecting again", said)

    def test_lenders_that_end(self):
        """They end before they lend their stream, or afterwards."""
        for old, new, cuts in (("lender.connect", "sys.exit", 0), ("lender.recv(1)", "0", 2)):
            with self.subTest(old=old):
                home = os.path.join(self.dir, "home")
                shutil.rmtree(home, True)
                os.mkdir(home)
                with open(os.path.join(self.dir, "python3"), "w") as file:
                    file.write("#!/bin/sh\nexec %s -I -B -c '%s'\n" % (sys.executable, other_bootstrap(old, new)))
                os.chmod(file.name, 0o755)
                self.box.configure(before="PATH=%s:$PATH" % self.dir, home=home)
                self.box.restart()
                said = self.send()
                self.assertEqual((said.count("connecting again"), "was not lent" in said), (cuts, not cuts), said[-3000:])


class Ends(Case):
    """Jobs in which something ends at the wrong moment."""

    def setUp(self):
        super().setUp()
        self.home = os.path.join(self.dir, "home")
        os.mkdir(self.home)
        with open(os.path.join(self.base, "one"), "w") as file:
            file.write("one")
        self.env = {"HOME": self.home, "XDG_CACHE_HOME": "", "PATIENCE": "5"}

    def far(self, old=None, new=None):
        return sys.executable, "-I", "-B", "-c", other_bootstrap(old, new) if old else BOOTSTRAP

    def ask(self, far=None, codes=(0,)):
        if not os.path.exists(self.job):
            self.write_job()
        return self.train(far or self.far(), codes, **self.env)[1]

    def kept(self, kind):
        return os.listdir(os.path.join(self.home, ".cache", "kolm", kind))

    def begun(self, far):
        self.write_job()
        return subprocess.Popen([CLIENT, "train", self.job, "/nonexistent", *far], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, env={**os.environ, "FAR_KOLM": self.kolm, **self.env}, text=True)

    def stopped(self, process):
        process.terminate()
        said = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, 1, said)
        self.assertIn("error 1 ", said)
        return said

    def test_lanes_of_a_wire_that_is_not_ssh(self):
        with open(os.path.join(self.base, "weights"), "wb") as file:
            draw = random.Random(1)
            for _ in range(40):  # in pieces, because a child's peak memory includes that of its parent at the fork
                file.write(draw.randbytes(MEGABYTE))
        self.env["FAR_LANES"] = "1"
        self.assertIn("sends over all streams", self.ask())
        self.assertTrue(filecmp.cmp(file.name, os.path.join(self.job, "model", "weights"), shallow=False))

    def test_what_the_far_end_refuses_for_good(self):
        for i in range(40):
            with open(os.path.join(self.base, "part %d" % i), "w") as file:
                file.write("%d" % i)
        said = self.ask(self.far("HEADER_MAX = 16 << 20", "HEADER_MAX = 3000"), (1,))
        self.assertIn("a frame of", said)
        self.assertNotIn("connecting again", said)

    def test_results_that_cannot_be_written(self):
        self.write_job()
        os.mkdir(os.path.join(self.job, "result.json"))
        self.assertIn("cannot write", self.ask(codes=(1,)))
        self.assertEqual(len(self.kept("jobs")), 1)
        os.rmdir(os.path.join(self.job, "result.json"))
        self.assertIn("already done there", self.ask())
        self.assertEqual(self.kept("jobs"), [])

    def test_a_cut_before_the_start_of_what_was_stopped(self):
        with open(self.kolm, "w") as file:
            file.write(MIRROR.replace("work = sys.argv[-1]\n", "work = sys.argv[-1]\nif not os.path.exists(work + '/tried'):\n    os.mkdir(work + '/tried')\n"
                                      "    print('{\"event\":\"progress\",\"phase\":\"waiting\",\"step\":1}', flush=True)\n    __import__('signal').pause()\n"))
        process = self.begun(self.far())
        while "progress waiting" not in process.stdout.readline():
            self.assertIsNone(process.poll())
        self.stopped(process)
        cut = os.path.join(self.dir, "cut")
        said = self.ask(self.far("environment[\"KOLM_REMOTE_JOB\"] = job.mark()",
                                 "environment[\"KOLM_REMOTE_JOB\"] = job.mark() if os.path.exists(\"%s\") else os._exit(os.mkdir(\"%s\") or 0)" % (cut, cut)))
        self.assertIn("connecting again", said)
        self.assertIn("continuing", said)

    def test_stopping_while_the_far_end_waits(self):
        self.ask()
        (tree,) = self.kept("trees")
        with open(os.path.join(self.home, ".cache", "kolm", "locks", "tree-" + tree), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            process, waiting = self.begun(self.far()), False
            while not waiting:  # the kernel lists locks that are waited for
                with open("/proc/locks") as locks:
                    waiting = any("->" in line and ":%d " % os.fstat(file.fileno()).st_ino in line for line in locks)
                self.assertIsNone(process.poll())
            self.assertIn("was asked to stop", self.stopped(process))

    def test_a_socket_that_was_not_requested(self):
        with open(os.path.join(self.base, "much"), "wb") as file:
            file.write(random.Random(1).randbytes(20 * MEGABYTE))
        self.ask(self.far("wide = needed >= WIDE and request.get(\"wide\") is True", "wide = not select.select([], [], [], 0.02)[0]"))

    def test_pieces_without_bytes(self):
        said = self.ask(self.far("packer.send({\"id\": request.get(\"id\"), \"ok\": True, \"more\": bool(following)}, chunk)",
                                 "[self.link.send({\"id\": request.get(\"id\"), \"ok\": True, \"more\": True}) for _ in iter(int, 1)]"), (1,))
        self.assertIn("sent data that does not match", said)


class Engine(Case):
    """The engine on this machine lists the files that are sent."""

    def test_one_that_hangs_when_the_user_stops(self):
        engine, begun = os.path.join(self.dir, "engine"), os.path.join(self.dir, "begun")
        os.mkfifo(begun)
        with open(engine, "w") as file:
            file.write("#!/bin/sh\necho > %s\nexec /bin/sleep 1000\n" % begun)
        os.chmod(engine, 0o755)
        self.write_job()
        home = os.path.join(self.dir, "home")
        os.mkdir(home)
        env = {name: value for name, value in os.environ.items() if name != "FAR_KOLM"}
        process = subprocess.Popen([CLIENT, "train", self.job, engine, sys.executable, "-I", "-B", "-c", BOOTSTRAP], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(env, HOME=home, XDG_CACHE_HOME=""))
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        with open(begun) as file:
            file.read()
        process.terminate()
        said = process.communicate(timeout=30)[0].decode("utf-8", "replace")
        self.assertEqual((process.returncode, "stopped" in said), (1, True), said)


class Rubbish(Case):
    """Whatever the far end sends: no crash, no hang, nothing outside the job, and no wrong bytes are accepted."""

    def setUp(self):
        super().setUp()
        for name in ("one", "two", "three"):
            with open(os.path.join(self.base, name), "w") as file:
                file.write(name * 1000)
        self.homes = os.path.join(self.dir, "homes")
        os.mkdir(self.homes)

    def ask(self, *spoiler, codes=(0, 1)):
        # A new one each time: processes of the previous far end may still use the last one.
        self.home = tempfile.mkdtemp(dir=self.homes)
        self.write_job()
        code, said, _ = self.train((sys.executable, os.path.join(HERE, "spoiler.py"), self.home) + spoiler, codes, HOME=self.home, XDG_CACHE_HOME="",
                                   PATIENCE="5")
        self.assertEqual("\nok " in "\n" + said, code == 0, said)
        self.assertEqual("\nerror " in "\n" + said, code == 1, said)
        self.assertLessEqual(set(os.listdir(self.dir)), {"kolm", "base", "job", "homes"})
        return code == 0, said

    def test_spoilt_at_any_place(self):
        good, kinds = 0, {}
        for seed in range(40):
            with self.subTest(seed=seed):
                whole, said = self.ask(str(seed))
                place = os.path.join(self.home, "spoilt")
                if os.path.exists(place):
                    with open(place) as file:
                        kind = file.read()
                    kinds[kind] = kinds.get(kind, 0) + 1
                good += whole
                if whole:
                    self.assertEqual(filecmp.cmpfiles(self.base, os.path.join(self.job, "model"), ("one", "two", "three"), shallow=False)[1:], ([], []), said)
        print("spoilt %s; %d of 40 came home all the same" % (json.dumps(kinds, sort_keys=True), good), flush=True)
        self.assertGreaterEqual(len(kinds), 5)

    def test_names_outside_the_directory(self):
        for name in ("../escaped", "../../escaped", "model/../../escaped", os.path.join(self.dir, "escaped"), "model/./x", "model//x", "model/", "model/a\\nb", "other/x", ""):
            with self.subTest(name=name):
                said = self.ask("lie", 'return {"name": text,', 'return {"name": "%s",' % name, codes=(1,))[1]
                self.assertIn("error 15", said)
                self.assertIn("bad name", said)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[2:])
