# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: an installed tree, a separate home, test backends, and data made from a seed."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

os.umask(0o022)  # kolm refuses a home that its group can write

# kolm, kolm-host, the directory of the test backends, the build's plugins, and LIBEXEC and BACKENDS relative to a prefix.
BUILT_KOLM, BUILT_HOST, TEST_BACKENDS, BUILT_PLUGINS = (os.path.abspath(word) for word in sys.argv[1:5])
LIBEXEC, BACKENDS = sys.argv[5:7]
BUILD = os.path.dirname(BUILT_PLUGINS)
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZED = b"__asan_init" in open(BUILT_KOLM, "rb").read()


class Tree:
    """An installed tree without any backend: a kolm in a build tree would find all that were built."""

    def __init__(self):
        self.prefix = tempfile.mkdtemp(prefix="kolm-prefix-")
        self.kolm = os.path.join(self.prefix, "bin", "kolm")
        own = os.path.join(self.prefix, LIBEXEC)
        self.lazy = os.path.join(own, "kolm-lazy.so")
        for source, target in ((BUILT_KOLM, self.kolm), (BUILT_HOST, os.path.join(own, "kolm-host")), (os.path.join(BUILD, "core", "lazy", "kolm-lazy.so"), self.lazy)):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(source, target)
            os.chmod(target, 0o755)
        os.makedirs(os.path.join(self.prefix, BACKENDS), exist_ok=True)
        for directory, _, _ in os.walk(self.prefix):
            os.chmod(directory, 0o755)

    def remove(self):
        shutil.rmtree(self.prefix, True)


TREE = None


def set_up_tree():
    """For setUpModule."""
    global TREE
    TREE = Tree()
    unittest.addModuleCleanup(TREE.remove)


def manifest(name, **changes):
    fields = {
        "name": name, "kind": "local", "train": True, "infer": True, "airgap": "yes", "billing": "free",
        "cost_per_hour_usd": 0, "cold_start_seconds": 0, "vram_cap_gb": None, "auth": [], "tier": 1, "perf": 0.3,
        "runtime": "words 1.0", "requires": [], "hint": "always available", "summary": "A backend for tests.",
    }
    fields.update(changes)
    return fields


LABELS = ("billing", "login", "shipping", "refund", "outage", "other")
FILLER = ("please", "help", "the", "invoice", "today", "again", "my", "order", "is", "wrong", "since", "monday", "cannot", "why")


def tickets(rows, seed=1, noise=0.03, labels=LABELS):
    """Returns rows whose first word nearly always is their label; all inputs differ."""
    draw = random.Random(seed)
    result = []
    for number in range(rows):
        label = draw.choice(labels)
        text = " ".join([label] + draw.choices(FILLER, k=draw.randint(2, 8)) + [str(number)])
        result.append({"input": text, "output": draw.choice(labels) if draw.random() < noise else label})
    return result


def jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


class Case(unittest.TestCase):
    """Each test has a temporary directory (self.dir) with kolm's working directory and home, and test-word as its only backend."""

    maxDiff = None
    backends = ("test-word",)

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.home = os.path.join(self.dir, "home")
        self.work = os.path.join(self.dir, "work")
        self.plugins = os.path.join(self.dir, "backends")
        for path in (self.work, self.plugins):
            os.mkdir(path)
            os.chmod(path, 0o755)
        for name in self.backends:
            self.add_backend(name)
        self.env = {"KOLM_HOME": self.home, "KOLM_BACKEND_PATH": self.plugins, "PATH": "/nonexistent", "LANG": "C.UTF-8", "HOME": self.dir}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    # ---- backends

    def add_backend(self, name, **changes):
        shutil.copy(os.path.join(TEST_BACKENDS, name + ".so"), os.path.join(self.plugins, name + ".so"))
        os.chmod(os.path.join(self.plugins, name + ".so"), 0o755)
        self.write(os.path.join(self.plugins, name + ".json"), json.dumps(manifest(name, **changes)), 0o644)

    def add_engine(self):
        """Adds the embedded engine of the build."""
        for suffix, mode in ((".so", 0o755), (".json", 0o644)):
            for folder in (os.path.join(BUILT_PLUGINS, "local-cpu"), os.path.join(SOURCE, "plugins", "local-cpu")):
                source = os.path.join(folder, "local-cpu" + suffix)
                if os.path.exists(source):
                    shutil.copy(source, self.plugins)
                    os.chmod(os.path.join(self.plugins, "local-cpu" + suffix), mode)
                    break
            else:
                self.fail("local-cpu%s is not built" % suffix)

    def tell(self, fault, who="test-word", **config):
        """Sets how the backend misbehaves from now on."""
        config.setdefault("backends", {})[who] = {"fault": fault}
        self.write_home("config.json", json.dumps(config))

    # ---- files

    def write(self, path, content, mode=0o644):
        path = os.path.join(self.work, path)
        with open(path, "wb") as out:
            out.write(content if isinstance(content, bytes) else content.encode())
        os.chmod(path, mode)
        return path

    def write_home(self, name, text, mode=0o600):
        os.makedirs(os.path.dirname(os.path.join(self.home, name)), mode=0o700, exist_ok=True)
        return self.write(os.path.join(self.home, name), text, mode)

    def read(self, path):
        with open(os.path.join(self.work, path), "rb") as source:
            return source.read()

    def write_tickets(self, name="tickets.jsonl", rows=300, **more):
        return self.write(name, jsonl(tickets(rows, **more)))

    def left(self):
        """Returns what is in the working directory besides what the test put there."""
        return sorted(n for n in os.listdir(self.work) if not n.endswith((".jsonl", ".csv", ".tsv", ".txt")) or ".intoto" in n)

    def jobs(self):
        try:
            return os.listdir(os.path.join(self.home, "jobs"))
        except FileNotFoundError:
            return []

    def receipts(self):
        try:
            with open(os.path.join(self.home, "receipts.jsonl"), encoding="utf-8") as lines:
                return [json.loads(line) for line in lines]
        except FileNotFoundError:
            return []

    # ---- running

    def full_env(self, env):
        full = dict(self.env)
        full.update(env or {})
        return {k: v for k, v in full.items() if v is not None}

    def kolm(self, *words, code=0, env=None, stdin=b"", timeout=120, **more):
        done = subprocess.run([TREE.kolm, *words], env=self.full_env(env), cwd=more.pop("cwd", self.work), input=stdin,
                              capture_output=True, timeout=timeout, check=False, **more)
        done.out, done.err = done.stdout.decode(), done.stderr.decode()
        if code is not None:
            self.assertEqual(done.returncode, code, (words, done.out, done.err))
        return done

    def start(self, *words, env=None, **more):
        return subprocess.Popen([TREE.kolm, *words], env=self.full_env(env), cwd=self.work, stdin=more.pop("stdin", subprocess.DEVNULL),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def compile(self, *words, task="router", data="tickets.jsonl", code=0, **more):
        return self.kolm("compile", "-t", task, "-d", data, *words, code=code, **more)

    def json(self, *words, schema=None, **more):
        value = json.loads(self.kolm(*words, "--json", **more).out)
        if schema:
            self.assertEqual(value["schema"], schema)
        return value

    # ---- asserting

    def assert_error(self, done, *pieces):
        """Checks that the error says what happened, to what, and what to do next, and contains these pieces."""
        self.assertIn("kolm: ", done.err)
        self.assertIn("  -> ", done.err)
        self.assertNotIn("Traceback", done.err)
        for piece in pieces:
            self.assertIn(piece.lower(), done.err.lower())

    def assert_nothing_left(self, receipts=0):
        self.assertEqual(self.left(), [])
        self.assertEqual(self.jobs(), [])
        self.assertEqual(len(self.receipts()), receipts)

    def wait_for(self, condition, what, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            time.sleep(0.005)
        self.fail("waited %d s for %s" % (seconds, what))

    def children_of(self, pid):
        """Returns all living descendants of pid."""
        parents = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open("/proc/%s/stat" % name, encoding="utf-8", errors="replace") as stat:
                        fields = stat.read().rpartition(")")[2].split()
                    if fields[0] != "Z":
                        parents[int(name)] = int(fields[1])
                except (FileNotFoundError, ProcessLookupError):
                    pass
        found, fresh = set(), {pid}
        while fresh:
            fresh = {child for child, parent in parents.items() if parent in fresh and child not in found}
            found |= fresh
        return found

    def alive(self, pid):
        try:
            with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as stat:
                return stat.read().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def interrupt(self, process, timeout=60):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=timeout)
        return process.returncode, out.decode(), err.decode()


def main():
    unittest.main(argv=[sys.argv[0]] + sys.argv[7:], verbosity=1)
