#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares kolm with its peers in one run and prints the tables of docs/performance.md; the ratios matter, not the absolute values.

Peers, all from Debian: fastText, scikit-learn (TF-IDF of words 1-2 and characters 2-5, LinearSVC), liblinear's train and
predict on features extracted by scikit-learn, openssl, /bin/true. Each data set is a directory with train.jsonl and
test.jsonl of {"input","output"}. Every figure is the best of a few runs, taken in turns so that all run under the same conditions.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def child(argv, env=None, cwd=None, stdin=None, ok=(0,)):
    """Runs argv; returns (seconds, output)."""
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, env=env, cwd=cwd, stdin=stdin or subprocess.DEVNULL)
        process.wait()
        seconds = time.perf_counter() - start
        out.seek(0)
        text = out.read().decode("utf-8", "replace")
    if process.returncode not in ok:
        sys.exit("bench: %s ended with %d\n%s" % (" ".join(argv), process.returncode, text))
    return seconds, text


def weighed(argv, **how):
    """Like child, but returns (seconds, peak, output); peak is in MiB, of the largest process among argv's and those it waited for. GNU
    time measures it, because a child of Python would start with Python's own peak."""
    with tempfile.NamedTemporaryFile("r") as report:
        seconds, text = child(["/usr/bin/time", "-o", report.name, "-f", "%M", *argv], **how)
        return seconds, int(report.read().split()[-1]) / 1024, text


def best_in_turns(jobs, rounds):
    """jobs: {name: function -> seconds}. Runs all of them round after round; returns the best time of each."""
    best = {}
    for _ in range(rounds):
        for name, job in jobs.items():
            seconds = job()
            best[name] = min(best.get(name, seconds), seconds)
    return best


def table(title, head, rows):
    print("\n### %s\n" % title)
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(c) for c in row) + " |")
    sys.stdout.flush()


def rows_of(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


class Bench:
    def __init__(self, args):
        self.build = os.path.abspath(args.build)
        self.kolm = os.path.join(self.build, "core", "cli", "kolm")
        self.data = args.data
        self.work = tempfile.mkdtemp(prefix="kolm-bench-")
        self.env = dict(os.environ, KOLM_HOME=os.path.join(self.work, "home"), LC_ALL="C.UTF-8")
        for name in list(self.env):
            if name.startswith("KOLM_") and name != "KOLM_HOME":
                del self.env[name]

    def verbs(self):
        child([self.kolm, "compute", "detect"], self.env)
        jobs = {"/bin/true": lambda: child(["/bin/true"])[0]}
        for words in (["--version"], ["compute", "list"], ["compute", "pick"]):
            jobs["kolm " + " ".join(words)] = lambda words=words: child([self.kolm] + words, self.env)[0]
        best = best_in_turns(jobs, 200)
        detect = min(child([self.kolm, "compute", "detect", "--refresh"], self.env)[0] for _ in range(20))
        rows = [(n, "%.2f ms" % (s * 1e3), "%.2f" % (s / best["/bin/true"])) for n, s in best.items()]
        rows.append(("kolm compute detect --refresh (14 plugins, nothing cached)", "%.1f ms" % (detect * 1e3), "%.1f" % (detect / best["/bin/true"])))
        hung, count = self.hanging()
        rows.append(("the same when the detect of all %d hangs" % count, "%.2f s" % hung, ""))
        table("Verbs, whole process (best of 200)", ["command", "time", "times /bin/true"], rows)

    def hanging(self):
        """Seconds for a detect in which every shipped name is a plugin that never answers, and the number of those plugins."""
        place = os.path.join(self.work, "hang")
        os.mkdir(place, 0o755)
        include = os.path.join(HERE, "..", "..", "sdk", "include")
        count = 0
        for folder, _, files in os.walk(os.path.join(self.build, "plugins")):
            for name in (f[:-5] for f in files if f.endswith(".json")):
                if not os.path.exists(os.path.join(folder, name + ".so")):
                    continue
                child(["cc", "-std=c11", "-shared", "-fPIC", "-fvisibility=hidden", "-DNAME=\"%s\"" % name, "-I", include,
                       os.path.join(HERE, "hang.c"), "-o", os.path.join(place, name + ".so")])
                shutil.copy(os.path.join(folder, name + ".json"), place)
                count += 1
        env = dict(self.env, KOLM_BACKEND_PATH=place)
        return child([self.kolm, "compute", "detect", "--refresh"], env, ok=(0, 3))[0], count

    def hosts(self):
        """The cost of many plugins, of bad plugins, and of isolation."""
        rows = []
        true = min(child(["/bin/true"])[0] for _ in range(100))
        for count in (14, 100, 1000):
            env = dict(self.env, KOLM_BACKEND_PATH=self.crowd(count))
            seconds = min(child([self.kolm, "compute", "list"], env)[0] for _ in range(30))
            rows.append(("kolm compute list, %d plugins more" % count, "%.2f ms" % (seconds * 1e3), "%.1f" % (seconds / true)))
        env = dict(self.env, KOLM_BACKEND_PATH=self.bad_crowd(50))
        seconds = child([self.kolm, "compute", "detect", "--refresh"], env)[0]
        rows.append(("kolm compute detect --refresh, 50 bad plugins more, some of which hang", "%.2f s" % seconds, ""))
        table("Many plugins, whole process (best of 30)", ["command", "time", "times /bin/true"], rows)
        local = os.path.join(self.build, "plugins", "local-cpu")
        _, text = child([os.path.join(self.build, "tests", "bench", "call-cost"), os.path.join(self.build, "core", "host", "kolm-host"), local, "local-cpu"],
                        self.env)
        apart, inside = (float(word) for word in text.split())
        table("One detect of local-cpu (median of 200, in turns)", ["where", "time", "times in process"], [
            ("in this process, already loaded", "%.0f us" % inside, "1.0"),
            ("in a separate process: start, limits, load, call, check, reap", "%.0f us" % apart, "%.1f" % (apart / inside))])

    def beside(self, other, spinners):
        """Runs the same commands with this build and another one, in turns, while `spinners` processes use the CPUs."""
        builds = {"this build": self.build, "the other": os.path.abspath(other)}
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in range(spinners)]
        try:
            rows = [self.raced(builds, "kolm compute detect --refresh, 300 plugins more", 300, ["compute", "detect", "--refresh"], 5),
                    self.raced(builds, "kolm compute list, 1000 plugins more", 1000, ["compute", "list"], 40), self.isolated(builds, 5)]
        finally:
            for process in busy:
                process.kill()
                process.wait()
        table("Beside another build of kolm, %d processes busy (median, in turns)" % spinners, ["question", *builds, "ratio"], rows)

    def raced(self, builds, title, count, words, rounds):
        place = self.willing_crowd(count)
        seconds = {name: [] for name in builds}
        for _ in range(rounds):
            for name, build in builds.items():
                home = os.path.join(self.work, "beside-" + os.path.basename(os.path.dirname(os.path.dirname(build))) + str(len(name)))
                env = dict(self.env, KOLM_BACKEND_PATH=place, KOLM_HOME=home)
                seconds[name].append(child([os.path.join(build, "core", "cli", "kolm"), *words], env)[0])
        ours, theirs = (sorted(s)[len(s) // 2] for s in seconds.values())
        return title, "%.1f ms" % (ours * 1e3), "%.1f ms" % (theirs * 1e3), "%.2f" % (ours / theirs)

    def isolated(self, builds, rounds):
        micros = {name: [] for name in builds}
        for _ in range(rounds):
            for name, build in builds.items():
                _, text = child([os.path.join(build, "tests", "bench", "call-cost"), os.path.join(build, "core", "host", "kolm-host"),
                                 os.path.join(build, "plugins", "local-cpu"), "local-cpu"], self.env)
                micros[name].append(float(text.split()[0]))
        ours, theirs = (sorted(m)[len(m) // 2] for m in micros.values())
        return "one detect of local-cpu in a process of its own", "%.0f us" % ours, "%.0f us" % theirs, "%.2f" % (ours / theirs)

    def willing_crowd(self, count):
        """Makes `count` plugins that answer at once, each with its own name; their manifest is one that any kolm reads."""
        place = os.path.join(self.work, "willing-%d" % count)
        os.mkdir(place, 0o755)
        one = os.path.join(self.work, "answers.so")
        child(["cc", "-std=c11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-I", os.path.join(HERE, "..", "..", "sdk", "include"),
               os.path.join(HERE, "answers.c"), "-o", one])
        with open(one, "rb") as f:
            code = f.read()
        manifest = {"kind": "local", "tier": 5, "train": True, "infer": True, "airgap": "yes", "billing": "free", "cost_per_hour_usd": 0,
                    "cold_start_seconds": 0, "vram_cap_gb": None, "perf": 0.3, "auth": [], "requires": [], "runtime": "none", "summary": "Answers."}
        for i in range(count):
            name = "crowd-%04d" % i
            with open(os.path.join(place, name + ".so"), "wb") as f:
                f.write(code.replace(b"crowd-0000", name.encode()))
            with open(os.path.join(place, name + ".json"), "w", encoding="utf-8") as f:
                json.dump(dict(manifest, name=name), f)
        return place

    def crowd(self, count):
        """Makes a directory of `count` plugins, each with its own name."""
        place = os.path.join(self.work, "crowd-%d" % count)
        os.mkdir(place, 0o755)
        source = os.path.join(self.build, "plugins", "cloud", "modal", "modal")
        with open(source + ".json", encoding="utf-8") as f:
            manifest = json.load(f)
        for i in range(count):
            name = "crowd-%04d" % i
            shutil.copy(source + ".so", os.path.join(place, name + ".so"))
            with open(os.path.join(place, name + ".json"), "w", encoding="utf-8") as f:
                json.dump(dict(manifest, name=name), f)
        return place

    def bad_crowd(self, count):
        """Makes `count` bad plugins: the zoo of the tests, repeated under other names, which is an additional defect."""
        place = os.path.join(self.work, "bad")
        os.mkdir(place, 0o755)
        zoo = os.path.join(self.build, "tests", "host")
        animals = sorted(n[:-3] for n in os.listdir(zoo) if n.endswith(".so") and n not in ("good.so", "fork-bomb.so"))
        with open(os.path.join(self.build, "plugins", "local-cpu", "local-cpu.json"), encoding="utf-8") as f:
            manifest = json.load(f)
        for i in range(count):
            animal = animals[i % len(animals)]
            name = animal if i < len(animals) else "%s-%d" % (animal, i)
            shutil.copy(os.path.join(zoo, animal + ".so"), os.path.join(place, name + ".so"))
            with open(os.path.join(place, name + ".json"), "w", encoding="utf-8") as f:
                json.dump(dict(manifest, name=name), f)
        return place

    def compile(self, directory, out, *more):
        argv = [self.kolm, "compile", "-t", "bench", "-d", os.path.join(directory, "train.jsonl"), "--eval", os.path.join(directory, "test.jsonl"),
                "--out", out, "--force", "--json", "--gate", "0", "--min-accuracy", "0", "--allow-baseline", *more]
        seconds, peak, text = weighed(argv, env=self.env, cwd=self.work)
        record = json.loads(text[text.index("{"):])
        # The peers answer the whole file; compile omits rows that nearly equal a training row.
        _, _, text = weighed([self.kolm, "score", out, "--eval", os.path.join(directory, "test.jsonl"), "--json"], env=self.env, cwd=self.work)
        record["whole"] = json.loads(text[text.index("{"):])
        return seconds, peak, record

    def sklearn(self, directory):
        return self.peer_script("sklearn", directory)

    def peer_script(self, which, directory):
        seconds, peak, text = weighed(["/usr/bin/python3", os.path.join(HERE, "peers.py"), which, directory, self.work])
        record = json.loads(text.strip().splitlines()[-1])
        record.setdefault("seconds", seconds)
        record.setdefault("peak", peak)
        return record

    def train(self, name, directory):
        rows = []
        out = os.path.join(self.work, name + ".kolm")
        normal = self.compile(directory, out)
        quick = self.compile(directory, os.path.join(self.work, name + "-quick.kolm"), "--effort", "quick")
        sk = self.peer_script("sklearn", directory)
        again = self.compile(directory, out)
        normal = min(normal, again, key=lambda r: r[0])
        base = sk["seconds"]
        for label, (seconds, peak, record) in (("kolm compile", normal), ("kolm compile --effort quick", quick)):
            rows.append((label, "%.2f" % (100 * accuracy(record)), "%.2f s" % seconds, "%.2f" % (seconds / base), "%.0f MiB" % peak))
        rows.append(("scikit-learn TF-IDF + LinearSVC, one fit", "%.2f" % (100 * sk["accuracy"]), "%.2f s" % base, "1.00", "%.0f MiB" % sk["peak"]))
        for peer in ("liblinear-s1", "liblinear-s4", "liblinear-s6", "fasttext", "fasttext-ngrams"):
            r = self.peer_script(peer, directory)
            rows.append((r["title"], "%.2f" % (100 * r["accuracy"]), "%.2f s" % r["seconds"], "%.2f" % (r["seconds"] / base), "%.0f MiB" % r["peak"]))
        table("%s: train.jsonl in, all of test.jsonl by kolm score" % name, ["engine", "accuracy %", "wall", "times scikit-learn", "peak"], rows)
        self.answers(name, directory, out)

    def answers(self, name, directory, artifact):
        inputs = os.path.join(self.work, "inputs.jsonl")
        test = rows_of(os.path.join(directory, "test.jsonl"))
        copies = max(1, 50000 // len(test))
        with open(inputs, "w", encoding="utf-8") as f:
            for i in range(copies):
                for j, row in enumerate(test):
                    f.write(json.dumps({"id": "%d-%d" % (i, j), "input": row["input"]}) + "\n")
        few = os.path.join(self.work, "few.jsonl")
        with open(few, "w", encoding="utf-8") as f:
            for j, row in enumerate(test[:100]):
                f.write(json.dumps({"id": str(j), "input": row["input"]}) + "\n")
        def run(path):
            with open(path, "rb") as stdin:
                return weighed([self.kolm, "run", artifact, "--jsonl"], env=self.env, stdin=stdin)
        one = min(child([self.kolm, "run", artifact, test[0]["input"]], self.env)[0] for _ in range(30))
        small, many = min(run(few) for _ in range(5)), min(run(inputs) for _ in range(3))
        n = copies * len(test)
        table("%s: answers" % name, ["what", "figure"], [
            ("one answer, whole process", "%.2f ms" % (one * 1e3)),
            ("one answer inside a batch of %d" % n, "%.4f ms" % (1e3 * (many[0] - small[0]) / (n - 100))),
            ("peak of kolm itself, 100 / %d inputs" % n, "%.1f / %.1f MiB" % (small[1], many[1]))])

    def verify(self, gigabytes):
        maker = os.path.join(self.build, "tests", "bench", "make-big-artifact")
        big = os.path.join(self.work, "big-1.0.0.kolm")
        child([maker, big, str(int(gigabytes * 1e9))], self.env)
        peak = [0]
        def ours():
            seconds, peak[0], _ = weighed([self.kolm, "verify", big], env=self.env)
            return seconds
        best = best_in_turns({"kolm verify": ours, "openssl dgst -sha256": lambda: child(["openssl", "dgst", "-sha256", big])[0]}, 4)
        ratio = best["kolm verify"] / best["openssl dgst -sha256"]
        table("verify of %.1f GB, warm" % gigabytes, ["command", "time", "times openssl", "peak"], [
            ("openssl dgst -sha256", "%.2f s" % best["openssl dgst -sha256"], "1.00", ""),
            ("kolm verify", "%.2f s" % best["kolm verify"], "%.2f" % ratio, "%.1f MiB" % peak[0])])
        os.unlink(big)

    def remote(self):
        """A separate program, so that it can measure other builds and sizes."""
        subprocess.run([sys.executable, os.path.join(HERE, "remote.py"), "--job", os.path.join(self.build, "tests", "remote", "remote-job")], check=True)

    def close(self):
        shutil.rmtree(self.work, ignore_errors=True)


def accuracy(record):
    score = record["whole"]
    return score["correct"] / score["answered"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--data", default=".")
    parser.add_argument("--beside", metavar="BUILD", help="ask another build of kolm the same, in turns, and nothing else")
    parser.add_argument("--spinners", type=int, default=0, help="with --beside: so many processes that want a processor each")
    parser.add_argument("--only", choices=["verbs", "hosts", "train", "verify", "remote"])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    args = parser.parse_args()
    bench = Bench(args)
    try:
        if args.beside:
            bench.beside(args.beside, args.spinners)
            return
        if args.only in (None, "verbs"):
            bench.verbs()
        if args.only in (None, "hosts"):
            bench.hosts()
        if args.only in (None, "train"):
            for name in sorted(os.listdir(args.data)):
                directory = os.path.join(args.data, name)
                if os.path.exists(os.path.join(directory, "train.jsonl")):
                    bench.train(name, directory)
        if args.only in (None, "verify"):
            bench.verify(args.gigabytes)
        if args.only in (None, "remote"):
            bench.remote()
    finally:
        bench.close()


if __name__ == "__main__":
    main()
