#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm with remote-ssh during failures: kills, cuts at every message, restarts, full disks, wrong clocks, servers that hang."""
import contextlib
import glob
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import box as boxes  # noqa: E402
import test_remote as remote  # noqa: E402
from line import DOWN, UP, Line  # noqa: E402

ROOT = os.geteuid() == 0


def drawn(every, some):
    """How many instants or places of one rule are tried. KOLM_TEST_ALL: all of them."""
    return every if os.environ.get("KOLM_TEST_ALL") else some


class Case(remote.Case):
    def line(self, *what, **more):
        """Makes kolm connect to the box through a Line from now on."""
        line = Line(self.box.port, *what, **more)
        self.addCleanup(line.stop)
        self.box.know(self.box.host_key, line.port)
        self.env["KOLM_REMOTE_HOST"] = "%s@127.0.0.1:%d" % (boxes.USER, line.port)
        return line

    def empty(self):
        shutil.rmtree(self.box.base, True)

    def finish(self, process, code=0):
        said = process.communicate(timeout=120)[0].decode("utf-8", "replace")
        self.assertEqual(process.returncode, code, said)
        return " ".join(said.split())

    def mount(self, path, *options):
        if not ROOT:
            self.skipTest("mounts need root")
        os.makedirs(path, exist_ok=True)
        if subprocess.call(["mount", "-t", "tmpfs", *options, "none", path], stderr=subprocess.DEVNULL) != 0:
            self.skipTest("no mounts here")
        self.addCleanup(self.unmount, path)

    def unmount(self, path):
        self.wait_for(lambda: subprocess.call(["umount", path], stderr=subprocess.DEVNULL) == 0)


class Kills(Case):
    KILLS = drawn(50, 20)

    def there(self):
        """Returns the job's progress on the box, for the statistics."""
        states = glob.glob(os.path.join(self.box.base, "jobs", "*", "state.json"))
        if states:
            return "job " + remote_state(states[0])
        if glob.glob(os.path.join(self.box.base, "jobs", "*", "spec.json")):
            return "job made"
        if not os.path.isdir(self.box.base):
            return "nothing there"
        return "before or after the jobs" if glob.glob(os.path.join(self.box.base, "trees", "*")) else "sending the engine"

    def test_many_instants(self):
        """Kills kolm at instants spread over the whole job; each time the next command must finish the job, with the right bytes."""
        seed = int(os.environ.get("KOLM_TEST_SEED", "20"))
        draw = random.Random(seed)
        here = self.local()
        whole = {}
        for cold in (True, False):
            begun = remote.time.monotonic()
            self.compile()
            whole[cold] = remote.time.monotonic() - begun
        slots = list(range(self.KILLS))
        draw.shuffle(slots)
        tally, tries = {}, 0
        while slots and tries < 4 * self.KILLS:
            tries += 1
            cold = tries % 4 == 0
            if cold:
                self.empty()
            begun = remote.time.monotonic()
            process = self.start(*self.compile_words())
            try:
                process.wait(whole[cold] * (slots[0] + draw.random()) / self.KILLS)
                process.communicate()
                whole[cold] = remote.time.monotonic() - begun  # it ended before the kill: only its time is used
                slots.append(slots.pop(0))
                continue
            except subprocess.TimeoutExpired:
                pass
            where = self.there()
            # The terminal kills the whole group, the out-of-memory killer only kolm.
            (os.killpg if tries % 2 else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
            if process.returncode != -signal.SIGKILL:
                continue
            slots.pop(0)
            tally[where] = tally.get(where, 0) + 1
            self.compile()
            self.assertEqual(self.artifact(), here)
            os.unlink(os.path.join(self.dir, "out", "router-1.0.0.kolm"))
        print("seed %d: %d kills in %d tries: %s" % (seed, self.KILLS - len(slots), tries, json.dumps(tally, sort_keys=True)), flush=True)
        self.assertEqual(slots, [])
        self.assertGreaterEqual(len(tally), 2)
        self.assertEqual(glob.glob(os.path.join(self.box.base, "jobs", "*")), [])


def remote_state(path):
    try:
        with open(path) as file:
            return json.load(file).get("state", "?")
    except (OSError, ValueError):
        return "?"


class Cuts(Case):
    def places(self, line, way, most):
        """Returns the beginnings of messages and their middles, evenly thinned if there are many."""
        ends = sorted(set(line.pieces[way]))
        places = ends[:-1] + [(a + b) // 2 for a, b in zip(ends, ends[1:]) if b - a > 1]
        places.sort()
        return places if len(places) <= most else [places[i * len(places) // most] for i in range(most)]

    def through(self, at, way, then, folder, here, **settings):
        line = self.line(at, way, then)
        self.set(**settings)
        try:
            self.compile(folder=folder)
            self.assertEqual(self.artifact(folder), here)
            return line.tripped.is_set()
        finally:
            line.stop()

    def at_each(self, way, then, most, **settings):
        here = self.local()
        self.compile()
        line = self.line()
        self.compile()
        line.stop()
        places = self.places(line, way, most)
        tripped = 0
        for at in places:
            with self.subTest(way=way, at=at, of=line.passed[way]):
                tripped += self.through(at, way, then, "cut", here, **settings)
        print("%s, %s: %d of %d places, %d messages" % (then, way, tripped, len(places), len(line.pieces[way]) - 1), flush=True)
        self.assertGreater(tripped, len(places) * 3 // 4)  # the last may not be reached: the number of polls depends on the time

    def test_cut_upward(self):
        self.at_each(UP, "cut", drawn(24, 10))

    def test_cut_downward(self):
        self.at_each(DOWN, "cut", drawn(24, 10))

    def test_cut_while_the_engine_is_sent(self):
        here = self.local()
        line = self.line()
        self.compile()
        line.stop()
        for part in range(1, 5):  # less than half, because the line's speed decides how much is compressed (to 54 % at most)
            self.empty()
            with self.subTest(part=part):
                self.assertTrue(self.through(line.connections[0][UP] * part // 10, UP, "cut", "cold", here))

    def test_silence_upward(self):
        self.at_each(UP, "still", 5, idle_timeout_seconds=1, connect_timeout_seconds=1)

    def test_silence_downward(self):
        self.at_each(DOWN, "still", 5, idle_timeout_seconds=1, connect_timeout_seconds=1)


class Hangs(Case):
    """A server that stops at some stage of the connection setup and leaves the connection open: kolm gives up and says at which stage."""

    def setUp(self):
        super().setUp()
        self.set(connect_timeout_seconds=1, idle_timeout_seconds=1, patience_seconds=1)

    def test_each_message_of_the_handshake(self):
        line = self.line()
        self.compile()
        line.stop()
        self.empty()
        # Up to the first large upload, our program, which comes after the handshake.
        first = next(a for a, b in zip(line.pieces[UP], line.pieces[UP][1:]) if b - a > 20000)
        places = [place for place in sorted(set(line.pieces[UP])) if place <= first]
        lines = [Line(self.box.port, at, UP, "still", each=True) for at in places]
        for line in lines:
            self.addCleanup(line.stop)
        self.box.know(self.box.host_key, *(line.port for line in lines))
        processes = []
        for line in lines:  # in parallel, because each of them waits most of the time
            self.env["KOLM_REMOTE_HOST"] = "%s@127.0.0.1:%d" % (boxes.USER, line.port)
            processes.append(self.start(*self.compile_words(), folder="hang%d" % line.port))
        stages = set()
        for at, process in zip(places, processes):
            with self.subTest(at=at):
                said = self.finish(process, 5)
                self.assertRegex(said, "did not finish (the )?[a-z ]+ in time|did not respond for|timed out|started nothing within")
                stages.update(word for word in ("the handshake", "the authentication", "the start of a session", "its work") if word in said)
        self.assertGreaterEqual(len(places), 8)
        self.assertEqual(len(stages), 4, stages)
        self.assertFalse(os.path.exists(self.box.base))

    def test_a_login_shell_that_does_not_get_anywhere(self):
        self.box.configure(before="sleep 600")
        self.box.restart()
        said = " ".join(self.compile(code=5).split())
        self.assertIn("login shell", said)

    @unittest.skipUnless(ROOT, "only root's sshd runs a command for keys")
    def test_keys_that_are_looked_up_for_ever(self):
        self.box.configure(lines=["AuthorizedKeysCommand /bin/sleep 600", "AuthorizedKeysCommandUser nobody"])
        with open(os.path.join(self.box.dir, "authorized"), "w"):
            pass
        self.box.restart()
        said = " ".join(self.compile(code=5).split())
        self.assertIn("in time", said)


class Restarts(Case):
    """The server restarts, and with it every connection, while the line is held at a known position."""

    def restart_at(self, at, way, then="hold"):
        line = self.line(at, way, then)
        process = self.start(*self.compile_words(), folder="restarted")
        self.wait_for(line.tripped.is_set)
        self.box.restart()
        line.go()
        self.finish(process)
        self.assertEqual(self.artifact("restarted"), self.local())
        self.assertGreaterEqual(len(line.connections), 3)  # training, training again, answering
        line.stop()

    def test_while_it_uploads(self):
        self.restart_at(1 << 20, UP)

    def test_while_it_runs(self):
        go = self.slow()
        process = self.start(*self.compile_words())
        self.wait_for(lambda: len(self.runs()) == 1)
        self.box.restart()
        go()
        self.finish(process)
        self.assertEqual(len(self.runs()), 2)
        self.assertEqual(self.artifact(), self.local())

    def test_while_it_downloads(self):
        line = self.line()
        self.compile()  # sends what is missing, so its connections differ from all later ones
        self.compile(folder="second")
        line.stop()
        # The training's connection receives more than the answering's, and most of this is the model.
        training, answering = (connection[DOWN] for connection in line.connections[2:])
        self.assertGreater(training, 2 * answering)
        self.restart_at((training + answering) // 2, DOWN, "lose")  # the line may already have received the whole model


class Disks(Case):
    def far_disk(self, size):
        disk = os.path.join(self.box.dir, "disk")
        self.mount(disk, "-o", "size=%d,mode=0700" % size)
        self.set(dir=disk)
        return disk

    @staticmethod
    def fill(disk):
        path = os.path.join(disk, "filler")
        with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        return path

    def test_it_fills_up_while_the_engine_is_sent(self):
        disk = self.far_disk(64 << 20)
        line = self.line(1 << 20, UP, "hold")
        process = self.start(*self.compile_words())
        self.wait_for(line.tripped.is_set)
        filler = self.fill(disk)
        line.go()
        said = self.finish(process, 5)
        self.assertIn("No space left on device", said)
        self.assertIn("free some space there", said)
        os.unlink(filler)
        line.stop()
        self.line()
        self.set(dir=disk)
        self.compile()
        self.assertEqual(self.artifact(), self.local())

    def test_it_fills_up_while_the_job_runs(self):
        disk = self.far_disk(64 << 20)
        go = self.slow()
        self.set(dir=disk, kolm=os.path.join(self.box.dir, "kolm"))
        process = self.start(*self.compile_words())
        self.wait_for(lambda: len(self.runs()) == 1)
        filler = self.fill(disk)
        go()
        # The keeper waits for space to record how it ended.
        self.wait_for(lambda: not self.children())
        os.unlink(filler)
        said = self.finish(process, 5)
        self.assertIn("No space left on device", said)
        self.compile()
        self.assertEqual(self.artifact(), self.local())

    def children(self):
        table = boxes.processes()
        return [pid for pid in self.runs() if pid in table]

    def test_a_quota(self):
        """The disk reports free space, but not one more byte can be written."""
        if not ROOT or shutil.which("mkfs.btrfs", path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
            self.skipTest("a disk with a quota needs root and btrfs-progs")
        image, disk = os.path.join(self.box.dir, "image"), os.path.join(self.box.dir, "disk")
        with open(image, "wb") as file:
            file.truncate(256 << 20)
        os.mkdir(disk)
        subprocess.check_call(["mkfs.btrfs", "-q", image], stdout=subprocess.DEVNULL)
        if subprocess.call(["mount", "-o", "loop", image, disk], stderr=subprocess.DEVNULL) != 0:
            self.skipTest("this kernel or container mounts no btrfs")
        self.addCleanup(self.unmount, disk)
        os.chmod(disk, 0o700)
        subprocess.check_call(["btrfs", "quota", "enable", disk])
        subprocess.check_call(["btrfs", "qgroup", "limit", "2M", disk])
        self.set(dir=disk)
        said = " ".join(self.compile(code=5).split())
        self.assertIn("Disk quota exceeded", said)
        self.assertIn("free some space there", said)
        subprocess.check_call(["btrfs", "qgroup", "limit", "none", disk])
        self.compile()
        self.assertEqual(self.artifact(), self.local())

    def test_a_home_that_is_read_only(self):
        self.mount(self.box.home, "-o", "size=1m")
        subprocess.check_call(["mount", "-o", "remount,ro", self.box.home])
        said = " ".join(self.compile(code=5).split())
        self.assertIn("Read-only file system", said)
        self.assertIn("backends.remote-ssh.dir", said)
        self.set(dir=os.path.join(self.box.dir, "elsewhere"))
        self.compile()
        self.assertEqual(self.artifact(), self.local())


class Clocks(Case):
    """A machine whose clock is years off but agrees with its own files, and is corrected while it has files of kolm."""

    def setUp(self):
        self.addCleanup(self.remove_clocks, self.pids_of_clocks())
        super().setUp()

    @staticmethod
    def pids_of_clocks():
        return {int(path.rpartition("_")[2]) for path in glob.glob("/dev/shm/faketime_shm_*")}

    def remove_clocks(self, before):
        """Of killed processes of the box, which the test does not know."""
        boxes.remove_clocks(self.pids_of_clocks() - before - set(boxes.processes()))

    def clock(self, offset):
        library = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None)
        if library is None:
            self.skipTest("faketime is not installed")
        self.box.configure(before="export LD_PRELOAD=%s FAKETIME=%s" % (library, offset) if offset else "")
        self.box.restart()

    def shift(self, years):
        """Shifts the times of the files that the box wrote with the wrong clock."""
        for folder, names, files in os.walk(self.box.base):
            for path in [folder] + [os.path.join(folder, name) for name in files]:
                about = os.lstat(path)
                os.utime(path, (about.st_atime + years * 31536000, about.st_mtime + years * 31536000))

    def test_years_off(self):
        here = self.local()
        for offset in ("-5y", "+5y"):
            with self.subTest(offset=offset):
                self.clock(offset)
                self.compile(folder=offset)
                self.compile(folder=offset)
                self.assertEqual(self.artifact(offset), here)
                self.empty()

    def test_clock_corrected_without_a_connection(self):
        """The job is running, or has ended: none of its files is removed as old."""
        here = self.local()
        for years, ended in ((-5, False), (5, False), (-5, True), (5, True)):
            with self.subTest(years=years, ended=ended):
                self.clock("%+dy" % years)
                go = self.slow()
                before = len(self.runs())
                process = self.start(*self.compile_words(), folder="run%d" % years)
                self.wait_for(lambda: len(self.runs()) == before + 1)
                self.box.stop()
                if ended:
                    go()
                    states = os.path.join(self.box.base, "jobs", "*", "state.json")
                    self.wait_for(lambda: [remote_state(path) for path in glob.glob(states)] == ["done"])
                self.shift(years)
                self.clock(None)
                go()
                self.finish(process)
                self.assertEqual(len(self.runs()), before + 2)
                self.assertEqual(self.artifact("run%d" % years), here)
                os.unlink(os.path.join(self.box.dir, "go"))
                self.empty()

    def test_clock_corrected_between_two_jobs(self):
        here = self.local()
        for years in (-5, 5):
            with self.subTest(years=years):
                self.clock("%+dy" % years)
                self.set(keep=True)
                self.compile(folder="first")
                self.shift(years)
                self.clock(None)
                self.compile(folder="second")
                self.assertEqual(self.artifact("second"), here)
                self.empty()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[3:])
