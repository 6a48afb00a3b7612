# SPDX-License-Identifier: Apache-2.0
"""What the tests of the trainer with a real runtime share: they run in the interpreter that an environment variable names."""
import gc
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TRAINER = os.path.abspath(sys.argv[1])
SKIP = 77  # meson's exit code for a skipped test
os.umask(0o022)


def enter(variable="KOLM_TEST_PYTHON"):
    """Continues in the interpreter that has the runtime; without one the test is skipped."""
    python = os.environ.get(variable)
    if not python:
        print(f"{variable} names no interpreter with a runtime: `./dev test` makes one")
        sys.exit(SKIP)
    if os.environ.get("KOLM_TEST_ENTERED") != python:
        quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRANSFORMERS_VERBOSITY": "error",
                 "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
        os.execve(python, [python, "-s", "-B", *sys.argv], {**os.environ, **quiet, "KOLM_TEST_ENTERED": python})
    sys.path[:0] = [TRAINER, HERE]
    gc.disable()  # until loaded(): what is imported stays, and looking through it takes a fifth of the imports


def loaded():
    """All libraries are loaded: garbage collection, here and in forks, need not look at them."""
    gc.freeze()
    gc.enable()


def need_mlx():
    if not os.environ.get("KOLM_TEST_MLX_PYTHON"):
        raise unittest.SkipTest("KOLM_TEST_MLX_PYTHON names no interpreter with mlx: `./dev test` makes one")


def main():
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])


class Done:
    """The result of a run of the trainer: its status (negative: the signal), its events, its standard error."""

    def __init__(self, status, out, err):
        self.status, self.err = status, err
        self.events = [json.loads(line) for line in out.splitlines()]

    def of(self, kind):
        return [e for e in self.events if e["event"] == kind]

    @property
    def result(self):
        (event,) = self.of("result")
        return event["result"]

    @property
    def error(self):
        (event,) = self.of("error")
        return event

    @property
    def losses(self):
        return [e["loss"] for e in self.of("progress") if e["phase"] == "training"]

    def logs(self):
        return [e["text"] for e in self.of("log")]

    def metrics(self, name):
        return [e["value"] for e in self.of("metric") if e["name"] == name]


class Running:
    """A trainer in a child of this process, in which the libraries are loaded already: it starts without delay."""

    def __init__(self, words, hook=None):
        self.scratch = tempfile.mkdtemp(prefix="kolm-run-")
        self.out, self.err = os.path.join(self.scratch, "out"), os.path.join(self.scratch, "err")
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = 70
            try:
                for number, path in ((1, self.out), (2, self.err)):
                    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
                    os.dup2(file, number)
                from kolm_trainer import cli, events

                events._PROGRESS_SECONDS = 0  # every step is reported
                if hook is not None:
                    hook()
                status = cli.main(list(words))
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)

    def text(self, path):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def wait_for(self, condition, seconds=60):
        """Waits until condition() is true, while the trainer runs."""
        end = time.monotonic() + seconds
        while not condition():
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) or time.monotonic() > end:
                raise AssertionError("it ended or waited too long: " + self.text(self.out)[-500:] + self.text(self.err)[-2000:])
            time.sleep(0.002)

    def said(self, words):
        return words in self.text(self.out)

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self):
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        done = Done(status, "" if status < 0 else self.text(self.out), self.text(self.err))
        shutil.rmtree(self.scratch, True)
        return done


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file)


def write_rows(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class Job:
    """A job directory. options: those of the trainer."""

    def __init__(self, directory, base, rows, labels=None, device="cpu", threads=1, **options):
        self.dir, self.device, self.threads = directory, device, threads
        os.makedirs(directory)
        found = len({row["output"] for row in rows}) if labels is None else labels
        self.raw = {"format": 1, "kind": "train", "task": "test", "recipe": "lora", "seed": 3, "effort": "normal",
                    "rows": len(rows), "labels": found,
                    "options": {"base": {"path": base, "name": "tiny", "digest": "0" * 64},
                                "trainer": {name: str(value) for name, value in options.items()}}}
        self.write()
        write_rows(self.path("train.jsonl"), rows)

    def write(self, **changes):
        write_json(self.path("job.json"), {**self.raw, **changes})

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def words(self, verb, *more):
        return [verb, "--job", self.dir, "--device", self.device, "--threads", str(self.threads), *more]

    def run(self, words, hook=None):
        return Running(words, hook).wait()

    def start(self, hook=None):
        return Running(self.words("train"), hook)

    def train(self, hook=None):
        return self.run(self.words("train"), hook)

    def model(self):
        """Returns {name: digest of its bytes} of the payload."""
        return {name: digest(self.path("model", name)) for name in sorted(os.listdir(self.path("model")))}

    def model_files(self):
        """As kolm passes them: separate files."""
        directory = self.path("model")
        return [{"name": name, "path": os.path.join(directory, name), "offset": 0, "size": os.path.getsize(os.path.join(directory, name))}
                for name in sorted(os.listdir(directory))]

    def slices(self):
        """As kolm passes them: slices of one big file."""
        files, at = [], 100
        with open(self.path("artifact"), "wb") as out:
            out.write(bytes(at))
            for file in self.model_files():
                with open(file["path"], "rb") as source:
                    out.write(source.read())
                files.append({**file, "path": self.path("artifact"), "offset": at})
                at += file["size"]
        return files

    def infer(self, inputs, files=None, hook=None, base=None):
        """Returns (done, rows of the answers). An input is a text, or all members of a question except its id."""
        options = {**self.raw["options"], **({"base": {**self.raw["options"]["base"], "path": base}} if base else {})}
        self.write(kind="infer", model_files=self.model_files() if files is None else files, options=options)
        write_rows(self.path("questions.jsonl"), [{"id": str(i), **(asked if isinstance(asked, dict) else {"input": asked})}
                                                   for i, asked in enumerate(inputs)])
        done = self.run(self.words("infer", "--input", self.path("questions.jsonl"), "--output", self.path("answers.jsonl")), hook)
        self.write()
        return done, read_rows(self.path("answers.jsonl")) if done.status == 0 else None

    def report(self):
        with open(self.path("result.json"), encoding="utf-8") as file:
            return json.load(file)["report"]

    def merge(self, target):
        self.write(kind="infer", model_files=self.slices())
        os.makedirs(target)
        done = self.run(self.words("merge", "--to", target))
        self.write()
        return done


class Case(unittest.TestCase):
    maxDiff = None
    base = None  # the directory of the base that jobs train

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-trainer-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.jobs = 0

    def job(self, rows, **options):
        self.jobs += 1
        return Job(os.path.join(self.dir, f"job{self.jobs}"), options.pop("base", self.base), rows, **options)

    def good(self, done):
        self.assertEqual(done.status, 0, (done.events[-1:], done.err[-3000:]))
        return done

    def refused(self, done, code, words):
        """Checks that the job failed with this code and these words."""
        self.assertEqual(done.status, 1, done.err[-3000:])
        self.assertIn(words, done.error["text"])
        self.assertEqual(done.error["code"], code, done.error)
        self.assertTrue(done.error["remedy"], done.error)
        self.assertNotIn("Traceback", done.err)
        return done

    def trained(self, rows, hook=None, **options):
        job = self.job(rows, **options)
        job.done = self.good(job.train(hook))
        return job

    def share_right(self, answers, rows):
        self.assertEqual([a["id"] for a in answers], [str(i) for i in range(len(rows))])
        return sum(a["output"] == row["output"] for a, row in zip(answers, rows)) / len(rows)


def each_step_saved():
    """A hook that saves a checkpoint after every step."""
    from kolm_trainer import train

    train._CHECKPOINT_SECONDS = -1


def stop_after(step):
    """A hook that simulates SIGTERM during this step."""
    def hook():
        from kolm_trainer import train

        real = train.Training._compute

        def compute(self, rows, targets):
            if self.step + 1 == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return real(self, rows, targets)

        train.Training._compute = compute
    return hook
