#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the jobs of remote-ssh with OpenSSH's sftp and scp and with rsync: one sshd of this user on loopback, with and without 50 ms of latency.

    remote.py --job BUILD/tests/remote/remote-job [--megabytes 128] [--files 40] [--rounds 3]

Every figure is the time of a whole command, the best of the rounds, which take turns. kolm runs a whole job: it connects, sends,
checks the SHA-256 there, runs a program that does nothing, and fetches its results. The peers only copy. No file that is
sent exists there already. The files of the far end are in memory, so that no disk is measured.

The latency is added by a program between the two that delays every byte: it shows the cost of waiting, not that of
packet loss.
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "remote"))
sys.path.insert(0, HERE)
import box as boxes  # noqa: E402
from line import Distance  # noqa: E402
from bench import best_in_turns, child, table  # noqa: E402

# The program of the job. Its results already exist next to it and are hard-linked, so making them takes no time.
PROGRAM = """#!/usr/bin/python3
import os, sys
if sys.argv[1:] == ["--version"]:
    print("kolm 9.9.9")
    sys.exit()
print('{"event":"progress","phase":"working","step":1,"total":1}', flush=True)
made, work = os.path.join(os.path.dirname(os.path.abspath(__file__)), "made"), sys.argv[-1]
os.mkdir(os.path.join(work, "model"))
for name in os.listdir(made):
    os.link(os.path.join(made, name), os.path.join(work, "model", name))
with open(os.path.join(work, "result.json"), "w") as file:
    file.write("{}")
print('{"event":"result","device":"none","toolchain":"none"}')
"""


class Bench:
    def __init__(self, args):
        self.args = args
        self.work = tempfile.mkdtemp(prefix="kolm-bench-", dir="/dev/shm")
        self.box = boxes.Box()
        self.box.configure(home=os.path.join(self.work, "home"), lines=["Subsystem sftp /usr/lib/openssh/sftp-server"])
        self.box.restart()
        self.sink, self.made = os.path.join(self.work, "sink"), os.path.join(self.work, "made")
        self.kolm, self.job = os.path.join(self.work, "kolm"), os.path.join(self.work, "job")
        os.mkdir(self.made)
        with open(self.kolm, "w") as file:
            file.write(PROGRAM)
        os.chmod(self.kolm, 0o755)
        self.port = self.box.port

    def remove(self):
        self.box.remove()
        shutil.rmtree(self.work, True)

    def fresh(self, base=None):
        for path in (self.sink, self.job, os.path.join(self.work, "home")):
            shutil.rmtree(path, True)
        for path in (self.sink, self.job, os.path.join(self.work, "home")):
            os.mkdir(path)
        with open(os.path.join(self.job, "job.json"), "w") as file:
            json.dump({"format": 1, "kind": "train", "task": "none", "recipe": "linear", "seed": 1, "effort": "quick", "rows": 1, "labels": 0,
                       "options": {"base": {"path": base}} if base else {}}, file)
        with open(os.path.join(self.job, "train.jsonl"), "w") as file:
            file.write("{}\n")

    # ---- Measurements

    def words(self):
        return [self.args.job, "train", self.job, "/nonexistent", "-"]

    def env(self):
        return dict(os.environ, FAR_KOLM=self.kolm, SSH_TARGET="%s@127.0.0.1:%d" % (boxes.USER, self.port), SSH_KEY=self.box.user_key,
                    SSH_KNOWN=self.known())

    def run_job(self, base=None):
        self.fresh(base)
        return child(self.words(), self.env())[0]

    def first_word(self):
        """Seconds until the first progress event of the remote program."""
        self.fresh()
        start = time.perf_counter()
        process = subprocess.Popen(self.words(), env=self.env(), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        for line in process.stdout:
            if line.startswith(b"progress working"):
                break
        seconds = time.perf_counter() - start
        process.communicate()
        return seconds

    def known(self):
        path = os.path.join(self.work, "known")
        with open(self.box.host_key + ".pub") as key, open(path, "w") as file:
            file.write("[127.0.0.1]:%d %s\n" % (self.port, " ".join(key.read().split()[:2])))
        return path

    def ssh_words(self, port="-p"):
        return [port, str(self.port), "-F", "none", "-i", self.box.user_key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
                "-o", "UserKnownHostsFile=" + self.known()]

    def scp(self, *words):
        self.fresh()
        return child(["scp", "-q", "-r", *self.ssh_words("-P"), *words])[0]

    def sftp(self, command):
        self.fresh()
        batch = os.path.join(self.work, "batch")
        with open(batch, "w") as file:
            file.write(command + "\n")
        return child(["sftp", "-q", *self.ssh_words("-P"), "-b", batch, self.there("")[:-1]])[0]

    def rsync(self, *words):
        self.fresh()
        return child(["rsync", "-r", "-e", " ".join(["ssh", *self.ssh_words()]), *words])[0]

    def there(self, path):
        return "%s@127.0.0.1:%s" % (boxes.USER, path)

    def up(self, base):
        source = base + "/."
        jobs = {"kolm, a whole job": lambda: self.run_job(base), "sftp put -r": lambda: self.sftp("put -r %s %s" % (source, self.sink)),
                "scp -r": lambda: self.scp(source, self.there(self.sink)), "rsync -r": lambda: self.rsync(base + "/", self.there(self.sink))}
        return dict(jobs, **{"rsync -rz": lambda: self.rsync("-z", base + "/", self.there(self.sink))})

    def down(self):
        source = self.made + "/."
        jobs = {"kolm, a whole job": self.run_job, "sftp get -r": lambda: self.sftp("get -r %s %s" % (source, self.sink)),
                "scp -r": lambda: self.scp(self.there(source), self.sink), "rsync -r": lambda: self.rsync(self.there(self.made + "/"), self.sink)}
        return dict(jobs, **{"rsync -rz": lambda: self.rsync("-z", self.there(self.made + "/"), self.sink)})

    # ---- Tables

    def compare(self, title, jobs, megabytes):
        best = best_in_turns(jobs, self.args.rounds)
        own = next(iter(best.values()))
        table(title, ["command", "time", "MB/s", "times kolm's"],
              [(name, "%.2f s" % seconds, "%.0f" % (megabytes / seconds), "%.2f" % (seconds / own)) for name, seconds in best.items()])

    def jobs_of_nothing(self, where):
        jobs = {"ssh, true": lambda: child(["ssh", *self.ssh_words(), self.there("")[:-1], "true"])[0],
                "a job, to the first word of it": self.first_word, "a whole job": self.run_job}
        best = best_in_turns(jobs, 5 * self.args.rounds)
        table("A job of nothing, " + where, ["command", "time", "times ssh's"],
              [(name, "%.0f ms" % (1000 * seconds), "%.1f" % (seconds / best["ssh, true"])) for name, seconds in best.items()])

    def all(self):
        sources = {name: os.path.join(self.work, name) for name in ("noise", "text", "small")}
        for path in sources.values():
            os.mkdir(path)
        draw, size = random.Random(1), self.args.megabytes << 20
        with open(os.path.join(sources["noise"], "weights"), "wb") as file:
            for _ in range(self.args.megabytes):
                file.write(draw.randbytes(1 << 20))
        words = ["w%x" % draw.getrandbits(16) for _ in range(5000)]
        with open(os.path.join(sources["text"], "rows.jsonl"), "w") as file:
            while file.tell() < size:
                file.write("".join(json.dumps({"input": " ".join(draw.choices(words, k=12)), "output": draw.choice(words)}) + "\n" for _ in range(1000)))
        for i in range(self.args.files):
            with open(os.path.join(sources["small"], "part-%05d" % i), "wb") as file:
                file.write(draw.randbytes(2000))
        titles = {"noise": "%d MB that cannot be made smaller" % self.args.megabytes, "text": "%d MB of rows of JSON" % self.args.megabytes,
                  "small": "%d files of 2 kB" % self.args.files}
        for where, seconds in (("loopback", 0), ("50 ms away", 0.025)):
            line = Distance(self.box.port, seconds) if seconds else None
            self.port = line.port if line else self.box.port
            self.jobs_of_nothing(where)
            for kind, path in sources.items():
                megabytes = sum(entry.stat().st_size for entry in os.scandir(path)) / 1e6
                self.compare("There: %s, %s" % (titles[kind], where), self.up(path), megabytes)
                for name in os.listdir(path):
                    os.link(os.path.join(path, name), os.path.join(self.made, name))
                self.compare("And home: %s, %s" % (titles[kind], where), self.down(), megabytes)
                for name in os.listdir(path):
                    os.unlink(os.path.join(self.made, name))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--job", required=True, type=os.path.abspath)
    parser.add_argument("--megabytes", type=int, default=128)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    bench = Bench(parser.parse_args())
    try:
        bench.all()
    finally:
        bench.remove()


if __name__ == "__main__":
    main()
