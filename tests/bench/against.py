#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the cost of this build with that of an earlier one, in turns, and prints a table of docs/performance.md.

Shows lower quartiles of CPU time, user and system, of the whole command and all processes that it waited for: on a machine that
also does other work they are more meaningful than wall time. Each build answers with a model that it made from the same rows, in a
home directory of its own.
Scratch files are in memory, so that the speed of a disk has no influence. BASE, a sentence encoder, adds answers of a model based on
it, trained on ten rows per label; single answers also have wall times, for which `chrt -f 1` gives them priority over all others.

usage: against.py BUILD EARLIER_BUILD DATA [ROUNDS [BASE [WORDS]]]     DATA holds train.jsonl and test.jsonl; WORDS: only rows that contain them
"""
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time


QUESTION = "where is my card"
LONGER = "my card has not arrived and I wait for it since monday"


def write_few(source, to):
    """Writes the first ten rows of each label."""
    seen = {}
    with open(source, encoding="utf-8") as rows, open(to, "w", encoding="utf-8") as out:
        for row in rows:
            label = json.loads(row)["output"]
            seen[label] = seen.get(label, 0) + 1
            if seen[label] <= 10:
                out.write(row)


class Side:
    def __init__(self, build, work, name, data, base):
        self.build = os.path.abspath(build)
        self.kolm = os.path.join(self.build, "core", "cli", "kolm")
        self.home, self.model = os.path.join(work, name), os.path.join(work, name + ".kolm")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("KOLM_")}
        self.env.update(KOLM_HOME=self.home, TMPDIR=work)
        self.server = None
        os.mkdir(self.home, 0o700)
        self.cost([self.kolm, "compile", "-t", "bench", "-d", os.path.join(data, "train.jsonl"), "-o", self.model, "--effort", "quick",
                   "--backend", "local-cpu", "--gate", "0.1", "--min-accuracy", "0.1"])
        self.encoder = os.path.join(work, name + "-encoder.kolm")
        if base:
            self.cost([self.kolm, "compile", "-t", "encoder", "-d", os.path.join(work, "few.jsonl"), "-o", self.encoder, "--base", base,
                       "--gate", "0", "--min-accuracy", "0", "--allow-baseline"])

    def cost(self, argv, stdin=os.devnull):
        """Milliseconds of CPU time of argv, which must succeed."""
        with open(stdin, "rb") as source, open(os.devnull, "wb") as nowhere:
            start = time.monotonic()
            child = subprocess.Popen(argv, env=self.env, stdin=source, stdout=nowhere, stderr=subprocess.PIPE)
            said = child.stderr.read()
            _, status, used = os.wait4(child.pid, 0)
            self.clock = (time.monotonic() - start) * 1e3
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            sys.exit("against: %s: %s" % (" ".join(argv), said.decode(errors="replace")))
        return (used.ru_utime + used.ru_stime) * 1e3

    def serve(self):
        """Returns a connection to a server that answers with the encoder."""
        self.server = subprocess.Popen([self.kolm, "run", "--serve", self.encoder], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        path = next(line for line in self.server.stdout if line.startswith("[serve]")).split(None, 1)[1].strip()
        side = socket.socket(socket.AF_UNIX)
        side.connect(path)
        self.line = side.makefile("rwb")
        self.line.readline()

    def asked(self, text):
        """Wall milliseconds until a question on that connection is answered."""
        if self.server is None:
            self.serve()
        start = time.monotonic()
        self.line.write(json.dumps({"id": "1", "input": text}).encode() + b"\n")
        self.line.flush()
        if b'"output"' not in self.line.readline():
            sys.exit("against: the server gave no answer")
        return (time.monotonic() - start) * 1e3

    def stop(self):
        if self.server is not None:
            self.server.terminate()
            self.server.wait()

    def clocked(self, argv):
        """The wall milliseconds of argv."""
        self.cost(argv)
        return self.clock


def main():
    if len(sys.argv) not in (4, 5, 6, 7):
        sys.exit(__doc__)
    data, rounds = sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 60
    base = os.path.abspath(sys.argv[5]) if len(sys.argv) > 5 else None
    words = sys.argv[6] if len(sys.argv) > 6 else ""
    work, sides = tempfile.mkdtemp(prefix="kolm-against-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None), []
    try:
        write_few(os.path.join(data, "train.jsonl"), os.path.join(work, "few.jsonl"))
        sides += [Side(build, work, name, data, base) for name, build in (("new", sys.argv[1]), ("old", sys.argv[2]))]
        questions = os.path.join(work, "questions.jsonl")
        with open(os.path.join(data, "test.jsonl"), encoding="utf-8") as source, open(questions, "w", encoding="utf-8") as out:
            rows = [json.loads(line)["input"] for line in source if line.strip()]
            for _ in range(max(1, 40000 // len(rows))):
                out.writelines(json.dumps({"input": text}) + "\n" for text in rows)
        commands = [
            ("kolm compute detect --refresh (fourteen backends)", rounds, lambda s: s.cost([s.kolm, "compute", "detect", "--refresh"])),
            ("200 calls of detect of local-cpu, one after the other", max(9, rounds // 6), lambda s: s.cost([os.path.join(s.build, "tests", "bench", "call-cost"),
             os.path.join(s.build, "core", "host", "kolm-host"), os.path.join(s.build, "plugins", "local-cpu"), "local-cpu"])),
            ("kolm run, one answer", rounds, lambda s: s.cost([s.kolm, "run", s.model, QUESTION])),
            ("kolm run, one answer, by the clock", rounds, lambda s: s.clocked([s.kolm, "run", s.model, QUESTION])),
            ("kolm run, a batch of some 40,000", max(9, rounds // 6), lambda s: s.cost([s.kolm, "run", s.model, "--jsonl"], questions)),
            ("kolm verify", rounds, lambda s: s.cost([s.kolm, "verify", s.model])),
        ]
        if base:
            commands += [
                ("kolm run, one answer of an encoder", rounds, lambda s: s.cost([s.kolm, "run", s.encoder, QUESTION])),
                ("kolm run, one answer of an encoder, by the clock", rounds, lambda s: s.clocked([s.kolm, "run", s.encoder, QUESTION])),
                ("kolm run --serve, a question of six tokens for an encoder, by the clock", rounds * 3, lambda s: s.asked(QUESTION)),
                ("kolm run --serve, a question of fourteen, by the clock", rounds * 3, lambda s: s.asked(LONGER)),
            ]
        print("| command | this build | earlier build | ratio, median of pairs |\n|---|---|---|---|")
        for name, count, run in (command for command in commands if words in command[0]):
            costs = [[], []]
            for i in range(count + 1):
                for side in (0, 1) if i % 2 else (1, 0):
                    cost = run(sides[side])
                    if i > 0:  # the first is a warm-up
                        costs[side].append(cost)
            ratio = statistics.median(new / old for new, old in zip(*costs))
            quarter = [statistics.quantiles(cost, n=4)[0] for cost in costs]
            print("| %s | %.1f ms | %.1f ms | %.2f |" % (name, *quarter, ratio), flush=True)
    finally:
        for side in sides:
            side.stop()
        shutil.rmtree(work)


main()
