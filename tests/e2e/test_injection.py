#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every verb while an allocation, or reading or changing a file, fails once, at many places: it reports it, or the result is the same.

KOLM_INJECT=all makes every place fail, not a sample, KOLM_INJECT=N about N; KOLM_INJECT_ONLY=REGEX runs only verbs whose words match.
usage: test_injection.py (as harness.py) FAIL_NTH ARTIFACT_TOOL
"""
import collections
import concurrent.futures
import contextlib
import itertools
import json
import os
import queue
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

TOOL = os.path.abspath(sys.argv.pop(8))
LIBRARY = os.path.abspath(sys.argv.pop(7))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case  # noqa: E402

ALL = os.environ.get("KOLM_INJECT") == "all"
ONLY = os.environ.get("KOLM_INJECT_ONLY", "")
HANG = 8  # seconds
SAMPLE = int(os.environ.get("KOLM_INJECT", "9")) if not ALL else 0  # places of each kind that fail for each verb
PYTHON = os.path.realpath("/usr/bin/python3")
MODEL = "router-1.0.0.kolm"
TUNED = "tuned.kolm"  # has the format of a PEFT adapter
FOREIGN = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n"

# words, questions on standard input, exit code if nothing fails. Words with {} are filled in from the fixture.
VERBS = [
    (["inspect", MODEL], b"", 0),
    (["inspect", MODEL, "--json"], b"", 0),
    (["verify", MODEL], b"", 0),
    (["verify", "--receipts", "--deep", MODEL, "--json"], b"", 0),
    (["run", MODEL, "billing is wrong"], b"", 0),
    (["run", MODEL, "--json"], b"login\nrefund please\n", 0),
    (["score", MODEL, "--eval", "few.jsonl"], b"", 0),
    (["score", MODEL, "--eval", "few.jsonl", "--json"], b"", 0),
    (["keys", "list"], b"", 0),
    (["keys", "list", "--json"], b"", 0),
    (["keys", "export", "--json"], b"", 0),
    (["keys", "trust", "foreign.pem", "--label", "theirs", "--json"], b"", 0),
    (["keys", "revoke", "{other}", "--reason", "lost", "--json"], b"", 0),
    (["keys", "rotate", "--json"], b"", 0),
    (["backend", "list"], b"", 0),
    (["backend", "list", "--json"], b"", 0),
    (["backend", "why", "test-word"], b"", 0),
    (["backend", "why", "test-word", "--json"], b"", 0),
    (["backend", "sign", "../backends/test-word.so", "--json"], b"", 0),
    (["backend", "trust", "foreign.pem", "--json"], b"", 0),
    (["compute", "list"], b"", 0),
    (["compute", "list", "--json"], b"", 0),
    (["compute", "pick", "--json"], b"", 0),
    (["compute", "pick", "--explain"], b"", 0),
    (["compute", "pick", "--replay", "record.json", "--json"], b"", 0),
    (["compute", "detect", "--json"], b"", 0),
    (["compute", "status", "--json"], b"", 0),
    (["compute", "use", "test-word", "--json"], b"", 0),
    (["compute", "info", "test-word", "--json"], b"", 0),
    (["export", TUNED, "--to", "out"], b"", 0),
    (["export", TUNED, "--to", "out", "--json"], b"", 0),
    (["run", MODEL, "--serve"], b"billing is wrong", 0),
    (["backend", "check", "../backends/test-word.so", "--only", "detect"], b"", 0),
    (["backend", "check", "../backends/test-word.so", "--only", "detect", "--json"], b"", 0),
    (["compile", "-t", "second", "-d", "tickets.jsonl", "--json"], b"", 0),
    (["compute", "detect", "--refresh"], b"", 0),
    (["compute", "quote", "--rows", "50", "--json"], b"", 0),
    (["compute", "test", "fake-cpu", "--json"], b"", 0),
    (["compute", "setup", "test-word", "--use", PYTHON, "--json"], b"", 0),
    (["compute", "setup", "test-word", "--remove", "--json"], b"", 0),
    (["backend", "keys"], b"", 0),
    (["backend", "keys", "--json"], b"", 0),
    (["backend", "untrust", "{other}", "--json"], b"", 0),
    (["backend", "grant", "--json"], b"", 0),
    (["backend", "grant", "test-other", "--json"], b"", 0),
    (["backend", "new", "mine", "--json"], b"", 0),
    (["job", "run", "job", "--backend", "test-word"], b"", 0),
]
# Claims that are only justified if everything was read.
FALSE = re.compile(r"tampered|malformed|chain broken|(was|is) revoked|expired|unknown key|is not valid|not what kolm|not strict|expected |"
                   r"does not agree|not signed|no keys|\bline \d+, column|no such file")
WEAK = re.compile(r"is refused|no backend|unknown backend|not trusted here")
TRUE = re.compile(r"memory|[Ii]nput/output error|cannot|could not|writing failed|reading failed|failed")
CAUSE = re.compile(r"memory|[Ii]nput/output error")
VARIES = re.compile(r"""[0-9a-f]{64}|kolm-scratch-\w+|\b\d+(\.\d+)? ?(ms|s)\b|\d{4}-\d\d-\d\dT[\d:.]+Z|"""
                    r'''("\w*(ms|seconds|_ns|latency\w*|k)": )[\d.]+''')


class Place:
    """A home and a working directory, copied from the fixture before each run, at a path of the same length."""

    def __init__(self, fixture, root):
        self.fixture, self.root = fixture, root

    def run(self, words, stdin, environment):
        shutil.rmtree(self.root, True)
        shutil.copytree(self.fixture.dir, self.root, symlinks=True)
        env = {**self.fixture.env, **environment, "KOLM_HOME": self.root + "/home", "HOME": self.root,
               "KOLM_BACKEND_PATH": self.root + "/backends", "TMPDIR": self.root + "/tmp"}
        if "--serve" in words:
            return self.serve(words, stdin.decode(), env)
        done = subprocess.run([harness.TREE.kolm, *words], env=env, cwd=self.root + "/work", input=stdin, capture_output=True, timeout=HANG, check=False)
        done.out, done.err = (self.plain(text.decode()) for text in (done.stdout, done.stderr))
        return done

    def serve(self, words, question, env):
        """Runs a server in which the call fails, and a client in which none does; returns the output of both, and the worse exit code."""
        server = subprocess.Popen([harness.TREE.kolm, *words], env=env, cwd=self.root + "/work", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        asked = None
        try:
            first = server.stdout.readline() if select.select([server.stdout], [], [], HANG)[0] else ""
            if first.startswith("[serve]"):
                clean = {name: value for name, value in env.items() if name != "LD_PRELOAD" and not name.startswith("FAIL_")}
                asked = subprocess.run([harness.TREE.kolm, "run", MODEL, question], env=clean, cwd=self.root + "/work", stdin=subprocess.DEVNULL,
                                       capture_output=True, text=True, timeout=HANG, check=False)
                if asked.returncode != 0:  # the server has failed too, and ends
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        server.wait(2)
                if server.poll() is None:
                    server.send_signal(signal.SIGINT)
            out, err = server.communicate(timeout=HANG)
        finally:
            if server.poll() is None:
                server.kill()
                server.communicate()
        worse = server.returncode or (asked.returncode if asked else 0)
        done = subprocess.CompletedProcess(words, worse)
        done.stdout = done.stderr = b""
        done.out = self.plain(re.sub(r"/\S*\.sock", "SOCKET", first + out) + (asked.stdout if asked else ""))
        done.err = self.plain(err + (asked.stderr if asked else ""))
        return done

    def plain(self, text):
        """Removes what differs from run to run."""
        text = text.replace(self.root, "{root}")
        text = re.sub(r'(?m)^\{"event":"progress".*\n', "", text)  # their number depends on time
        return VARIES.sub("#", text)

    def files(self, *folders):
        found = {}
        for folder in folders:
            for directory, _, names in os.walk(os.path.join(self.root, folder)):
                for name in names:
                    path = os.path.join(directory, name)
                    with open(path, "rb") as file:
                        found[os.path.relpath(path, self.root)] = file.read()
        return found


class Injection(Case):
    def setUp(self):
        super().setUp()
        os.mkdir(os.path.join(self.dir, "tmp"))
        self.write_tickets(rows=60)
        self.write("few.jsonl", b"".join(self.read("tickets.jsonl").splitlines(True)[:5]))
        self.write("foreign.pem", FOREIGN)
        self.compile("--gate", "0.1", "--min-accuracy", "0.1", "--allow-baseline")
        other = os.path.join(self.dir, "other")
        pem = self.kolm("keys", "export", env={"KOLM_HOME": other}).out
        shutil.rmtree(other)
        self.write("other.pem", pem)
        self.other = json.loads(self.kolm("keys", "trust", "other.pem", "--label", "other", "--json").out)["keyid"]
        self.kolm("backend", "trust", "other.pem")
        self.add_backend("fake-cpu")
        self.add_backend("test-other", auth=["KOLM_X_TOKEN"])  # which is not granted yet
        self.make_tuned()
        self.make_job()
        self.write_home("config.json", '{"backend": "test-word"}')
        self.kolm("compute", "setup", "test-word", "--use", PYTHON)
        self.write_home("policy.json", '{"plugins": {"signatures": "optional"}}')
        self.write_home("credentials", "KOLM_X_TOKEN=abcdefghijklmnop\n")
        self.kolm("compute", "detect")
        self.kolm("backend", "sign", "../backends/test-word.so")
        self.write("record.json", self.kolm("compute", "pick", "--json").out)
        roots = [tempfile.mkdtemp(prefix="kolm-inj-") for _ in range(2)]
        self.places = queue.Queue()
        for root in roots:
            self.addCleanup(shutil.rmtree, root, True)
            self.places.put(Place(self, root))
        self.wrong = []

    def make_tuned(self):
        maker = os.path.join(self.dir, "maker")
        os.mkdir(maker)
        names = {"kolm_trainer.json": b'{"task":"classify"}', "adapter_config.json": b'{"base_model_name_or_path":"x"}',
                 "adapter_model.safetensors": bytes(range(256)) * 300}
        for name, content in names.items():
            with open(os.path.join(maker, name), "wb") as file:
                file.write(content)
        subprocess.run([TOOL, "write", maker, TUNED, *("model/%s=%s/%s" % (name, maker, name) for name in names)], cwd=self.work, check=True)
        shutil.copy(os.path.join(maker, "keys", "signing.pub.pem"), os.path.join(self.work, "maker.pem"))
        self.kolm("keys", "trust", "maker.pem", "--label", "maker")
        shutil.rmtree(maker)

    def make_job(self):
        rows = harness.tickets(60)
        os.mkdir(os.path.join(self.work, "job"))
        self.write("job/job.json", json.dumps({"format": 1, "kind": "train", "task": "t", "recipe": "linear", "seed": 1, "effort": "normal", "rows": 60,
                                               "labels": 6, "options": {}, "model_files": []}))
        self.write("job/train.jsonl", harness.jsonl([dict(row, id=str(i)) for i, row in enumerate(rows)]))
        self.write("job/eval.jsonl", harness.jsonl([{"id": str(i), "input": row["input"]} for i, row in enumerate(rows[:9])]))

    def within(self, work):
        place = self.places.get()
        try:
            return work(place)
        finally:
            self.places.put(place)

    def judge(self, place, words, truth, before, done):
        """Returns None, or what is wrong with a result during a failure."""
        json_wanted = "--json" in words
        if done.returncode < 0:
            return "it died"
        if done.returncode == truth.returncode:
            # A table may have a row that says what could not be read, and a warning may give the reason for an unknown state.
            said = done.out + (done.err if words[1] in ("use", "revoke", "pick") else "")
            if done.out != truth.out and not (words[0] in ("backend", "compute", "keys") and CAUSE.search(said)):
                known = truth.out.splitlines()
                return "wrong success: " + "|".join(line for line in done.out.splitlines() if line not in known)[:300]
        else:
            said = done.out + done.err
            if done.returncode not in (1, 2, 3, 5, 6, 8):
                return "exit code"
            if "kolm: " not in done.err and "could not be checked" not in done.out:
                return "no word"
            if FALSE.search(said):
                return "false verdict: " + FALSE.search(said).group()
            if WEAK.search(said) and not CAUSE.search(said):
                return "false verdict: " + WEAK.search(said).group()
            if not TRUE.search(said):
                return "says not what failed"
            try:
                text = done.stdout.decode() if json_wanted else ""
                for document in [text] if text.startswith("{\n") else text.splitlines():
                    json.loads(document)
            except ValueError:
                return "half a document"
        # Earlier files still exist, or were replaced by the complete result of a success.
        after = place.files("home/keys", "work", "backends")
        for name, content in before.items():
            if name not in after:
                return "lost " + name
            if not after[name] and content:
                return "emptied " + name
        for name in after:
            # In the user's own job directory, a backend that is killed leaves its unfinished file, and the next one removes it.
            if ".kolm-" in name and not name.endswith((".kolm", ".jsonl")) and not name.startswith("work/job/"):
                return "left " + name
        if after != before:
            check = place.after(words)
            if check:
                return check
        return None

    def one(self, words, stdin, truth, before, what, nth):
        def work(place):
            try:
                done = place.run(words, stdin, {"LD_PRELOAD": LIBRARY, "FAIL_WHAT": what, "FAIL_NTH": str(nth)})
            except subprocess.TimeoutExpired:
                done = subprocess.CompletedProcess(words, None)
                done.out = done.err = ""
                return "it hangs", done
            return self.judge(place, words, truth, before, done), done
        return self.within(work)

    def count(self, words, stdin, what):
        def work(place):
            path = place.root + ".count"
            place.run(words, stdin, {"LD_PRELOAD": LIBRARY, "FAIL_WHAT": what, "FAIL_COUNT": path})
            with open(path, encoding="ascii") as file:
                calls = int(file.read())
            os.remove(path)
            return calls
        return self.within(work)

    def fail_everywhere(self, number, words, stdin, code):
        words = [word.format(other=self.other) for word in words]

        def honest(place):
            truth = place.run(words, stdin, {"LD_PRELOAD": LIBRARY})
            return truth
        truth = self.within(honest)
        self.assertEqual(truth.returncode, code, (words, truth.out, truth.err))
        before = Place(self, self.dir).files("home/keys", "work", "backends")
        for what in ("memory", "input", "output"):
            calls = self.count(words, stdin, what)
            step = 1 if ALL else max(1, calls // SAMPLE)
            first = 1 if ALL else 1 + number % step
            ends = collections.Counter()
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                points = range(first, calls + 1, step)
                for nth, (bad, done) in zip(points, pool.map(lambda nth: self.one(words, stdin, truth, before, what, nth), points)):
                    ends[done.returncode] += 1
                    if bad:
                        self.wrong.append(text := "%s: %s, %s %d of %d: exit %d\n%s%s" % (
                            " ".join(words), bad, what, nth, calls, done.returncode or 0, done.out[:600], done.err[:600]))
                        print(text, flush=True)
            if ALL:
                print(" ".join(words), what, calls, dict(ends), flush=True)

    def test_verbs(self):
        for number, (words, stdin, code) in enumerate(VERBS):
            if re.search(ONLY, " ".join(words)):
                self.fail_everywhere(number, words, stdin, code)
        self.assertEqual(len(self.wrong), 0, "\n\n".join(self.wrong[:10]))


def after(place, words):
    """Checks that what is left is intact: keys load, a model is trusted."""
    def kolm(*more):
        return subprocess.run([harness.TREE.kolm, *more], env={**place.fixture.env, "KOLM_HOME": place.root + "/home"}, cwd=place.root + "/work",
                              capture_output=True, timeout=60, check=False)
    listed = kolm("keys", "list")
    if listed.returncode != 0:
        return "keys are not whole: " + listed.stderr.decode()
    for name in os.listdir(place.root + "/work"):
        if name.endswith(".kolm") and words[1] != "rotate":
            judged = kolm("verify", name)
            if judged.returncode != 0:
                return "not trusted: " + name + judged.stdout.decode()
    exported = kolm("keys", "export")
    with open(place.root + "/home/keys/signing.pub.pem", "rb") as file:
        if file.read() != exported.stdout:
            return "another public key"
    return None


Place.after = after


def setUpModule():
    harness.set_up_tree()


if __name__ == "__main__":
    harness.main()
