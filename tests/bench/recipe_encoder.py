#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Recipe encoder as its users run it: accuracy, calibration and time of a compile, compared with recipe linear, and time of one answer.

    tests/bench/recipe_encoder.py --kolm build/release/core/cli/kolm --base DIR --data DATASET [--few 5 10 0] [--test-rows N]
        [--answers 40] [--recipes encoder linear]

DATASET has train.jsonl and test.jsonl; --few: training rows per label, the first of each in a fixed order; 0 for all.
CPU seconds are shown next to wall seconds, because a machine is rarely idle; both are of the whole command, which also answers the
rows of test.jsonl. ECE is over 15 bins of the confidences of those answers."""
import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_rows(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def few_of(rows, most):
    rows, seen, out = list(rows), {}, []
    random.Random(1).shuffle(rows)
    for row in rows:
        seen[row["output"]] = seen.get(row["output"], 0) + 1
        if most == 0 or seen[row["output"]] <= most:
            out.append(row)
    return out


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.env = dict(os.environ, KOLM_HOME=os.path.join(work, "home"))

    def kolm(self, *words, **more):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.monotonic()
        done = subprocess.run([self.args.kolm, *words], env=self.env, cwd=self.work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **more)
        wall = time.monotonic() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            sys.exit(done.stderr.decode())
        return done.stdout.decode(), wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def compile(self, recipe, train, test):
        """Returns accuracy, ECE, wall seconds and CPU seconds."""
        gates = ["--gate", "0", "--min-accuracy", "0", "--allow-baseline"]
        words = ["compile", "-t", recipe, "-d", train, "--eval", test, "--force", "--quiet", *gates]
        _, wall, cpu = self.kolm(*words, *(["--base", self.args.base] if recipe == "encoder" else []))
        score = json.loads(self.kolm("score", recipe + "-1.0.0.kolm", "--eval", test, *gates, "--json")[0])
        return score["accuracy"], score["ece"], wall, cpu

    def answers(self, text):
        """Returns median and best of single answers, cold and warm, in ms, and the CPU ms of a cold one."""
        words = ("run", "encoder-1.0.0.kolm", text)
        cold = [self.kolm(*words)[1:] for _ in range(self.args.answers)]
        with subprocess.Popen([self.args.kolm, "run", "encoder-1.0.0.kolm", "--serve"], env=self.env, cwd=self.work, stdout=subprocess.PIPE) as server:
            server.stdout.readline()
            warm = [self.kolm(*words)[1] for _ in range(self.args.answers)]
            server.terminate()
        return [1000 * f(x) for x in ([w for w, _ in cold], warm) for f in (statistics.median, min)] + [1000 * statistics.median(c for _, c in cold)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--kolm", "--base", "--data"):
        parser.add_argument(name, required=True)
    parser.add_argument("--few", type=int, nargs="+", default=[10, 0])
    parser.add_argument("--test-rows", type=int, default=0)
    parser.add_argument("--answers", type=int, default=40)
    parser.add_argument("--recipes", nargs="+", default=["encoder", "linear"])
    args = parser.parse_args()
    args.kolm, args.base, args.data = (os.path.abspath(path) for path in (args.kolm, args.base, args.data))
    with tempfile.TemporaryDirectory(prefix="kolm-recipe-encoder-") as work:
        bench = Bench(args, work)
        rows, test = read_rows(os.path.join(args.data, "train.jsonl")), read_rows(os.path.join(args.data, "test.jsonl"))
        if args.test_rows:
            test = random.Random(3).sample(test, args.test_rows)
        write_rows(os.path.join(work, "test.jsonl"), test)
        print("| rows a label | recipe | accuracy % | ECE | wall s | processor s |\n|---|---|---|---|---|---|")
        for most in args.few:
            write_rows(os.path.join(work, "train.jsonl"), few_of(rows, most))
            for recipe in args.recipes:
                accuracy, ece, wall, cpu = bench.compile(recipe, "train.jsonl", "test.jsonl")
                print("| %s | %s | %.2f | %.3f | %.1f | %.1f |" % (most or "all", recipe, 100 * accuracy, ece, wall, cpu), flush=True)
        if "encoder" in args.recipes and args.answers:
            cold, cold_best, warm, warm_best, cpu = bench.answers(test[0]["input"])
            print("\none answer: %.1f ms median, %.1f best, %.1f of the processor; with --serve %.1f median, %.1f best" % (cold, cold_best, cpu, warm, warm_best))


if __name__ == "__main__":
    main()
