#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files that change while they are used: every answer comes from the model that was verified, or the command fails."""
import glob
import json
import mmap
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case  # noqa: E402

NAME = "router-1.0.0.kolm"
QUESTION = b'{"id":"1","input":"billing please 7"}\n'


def setUpModule():
    harness.set_up_tree()


class Change(Case):
    """With a backend that opens its model again for each question, so that it sees every visible change."""

    backends = ("test-word", "test-other")

    def make(self, fault="", who="test-word"):
        self.write_tickets()
        self.tell(fault, who)
        self.compile("--backend", who, "--gate", "0")
        self.path = os.path.join(self.work, NAME)
        self.tell("read each time", who)

    def begin(self, *words):
        """Starts a run that has given one answer and waits for the next question."""
        pipe = os.path.join(self.work, "questions.jsonl")
        os.mkfifo(pipe)
        run = self.start("run", NAME, "--input", "questions.jsonl", *words)
        self.addCleanup(self.end, run)
        questions = open(pipe, "wb", buffering=0)
        self.addCleanup(questions.close)
        questions.write(QUESTION)
        first = run.stdout.readline()
        self.assertTrue(first, run.stderr.read() if not first else "")
        self.assertEqual(json.loads(first)["output"], "billing")
        return run, questions, json.loads(first)

    def end(self, run):
        if run.poll() is None:
            run.kill()
        run.communicate()

    def finish(self, run, questions):
        """Asks two more questions and ends the run; returns (exit code, the other answers, standard error)."""
        questions.write(QUESTION * 2)
        questions.close()
        out, err = run.communicate(timeout=60)
        return run.returncode, [json.loads(line) for line in out.splitlines()], err.decode()

    def spoil(self, path):
        """Changes a label in the model without changing its length."""
        with open(path, "r+b") as file:
            at = file.read().index(b'"label":"billing"')
            file.seek(at)
            file.write(b'"label":"spoiled"')

    def other(self):
        path = os.path.join(self.work, "other")
        shutil.copy(self.path, path)
        self.spoil(path)
        return path

    def every_change(self):
        yield "renamed over", lambda: os.rename(self.other(), self.path)
        yield "removed", lambda: os.unlink(self.path)
        yield "written into", lambda: self.spoil(self.path)
        yield "cut", lambda: os.truncate(self.path, 100)

    def under_change(self, check, *words):
        good = self.read(NAME)
        for what, change in self.every_change():
            with self.subTest(what):
                run, questions, first = self.begin(*words)
                change()
                check(*self.finish(run, questions), first)
                os.unlink(os.path.join(self.work, "questions.jsonl"))
                self.write("whole", good)
                os.rename(os.path.join(self.work, "whole"), self.path)

    def goes_on(self, code, answers, err, first):
        self.assertEqual((code, answers), (0, [first, first]), err)

    def test_the_model_that_was_verified_answers_to_the_end(self):
        self.make()
        self.under_change(self.goes_on)

    def test_a_backend_that_gets_copies_of_it(self):
        self.make(who="test-other")
        self.under_change(self.goes_on, "--backend", "test-other")

    def test_a_large_one_is_not_copied_and_its_change_is_an_error(self):
        self.make("big")

        def fails(code, answers, err, first):
            self.assertEqual(code, 7, err)
            self.assertIn("the answers do not count", err)
            self.assertIn("changed or replaced", err)
            self.assertIn("  -> ", err)

        self.under_change(fails)
        run, questions, first = self.begin()
        self.assertEqual(self.finish(run, questions), (0, [first, first], ""))

    def test_a_large_one_that_is_mapped(self):
        """Further writes to a mapped page that is already dirty leave no trace in the times of the file."""
        self.make("big")
        with open(self.path, "r+b") as file:
            pages = mmap.mmap(file.fileno(), 0)
        pages[0:1] = pages[0:1]
        self.assert_error(self.kolm("run", NAME, "billing", code=7), "another program has the file open for writing")
        pages.close()
        self.assertIn("billing", self.kolm("run", NAME, "billing").out)

    def test_a_backend_never_learns_the_name_of_the_file(self):
        self.make()
        run, questions, _ = self.begin()
        job, = [entry for entry in self.jobs() if not entry.startswith(".")]
        with open(os.path.join(self.home, "jobs", job, "job", "job.json"), encoding="utf-8") as file:
            files = json.load(file)["model_files"]
        self.assertEqual({file["path"] for file in files}, {"/proc/self/fd/7"})
        self.assertEqual(self.finish(run, questions)[0], 0)

    def test_the_engine(self):
        """The engine maps the file: a truncated one would kill it."""
        self.add_engine()
        self.write_tickets()
        self.compile("--backend", "local-cpu")
        self.path = os.path.join(self.work, NAME)
        self.spoil = lambda path: self.overwrite(path)
        self.under_change(self.goes_on, "--backend", "local-cpu")

    def job_of(self):
        job, = [entry for entry in self.jobs() if not entry.startswith(".")]
        return os.path.join(self.home, "jobs", job, "job")

    def describe_another(self, job):
        with open(os.path.join(job, "job.json"), "r+", encoding="utf-8") as file:
            text = file.read().replace('"task":"router"', '"task":"teapot"')
            file.seek(0)
            file.write(text)

    def lend_another(self, path):
        """Replaces the file by another one for a moment."""
        os.rename(path, path + ".away")
        os.rename(path + ".away", path)

    def test_the_description_of_the_job(self):
        """It contains the path of the model: a process that could change it would choose the model that answers."""
        self.make()
        for what, change in (("written into", self.describe_another),
                             ("another for a moment", lambda job: self.lend_another(os.path.join(job, "job.json"))),
                             ("another directory for a moment", self.lend_another),
                             ("removed", lambda job: os.unlink(os.path.join(job, "job.json")))):
            with self.subTest(what):
                run, questions, _ = self.begin()
                change(self.job_of())
                code, _, err = self.finish(run, questions)
                self.assertEqual(code, 7, err)
                self.assertIn("the answers do not count", err)
                self.assertIn("the description of the job", err)
                os.unlink(os.path.join(self.work, "questions.jsonl"))

    def test_the_copies_that_a_backend_got(self):
        self.make(who="test-other")
        for what, change in (("the copy", lambda job: self.spoil(glob.glob(os.path.join(job, "model", "*"))[0])),
                             ("the description", self.describe_another_copy)):
            with self.subTest(what):
                run, questions, _ = self.begin("--backend", "test-other")
                change(self.job_of())
                code, _, err = self.finish(run, questions)
                self.assertEqual(code, 7, err)
                self.assertIn("the answers do not count", err)
                os.unlink(os.path.join(self.work, "questions.jsonl"))

    def describe_another_copy(self, job):
        path = os.path.join(job, "job.json")
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
        value["model_files"][0]["path"] += "x"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(value, file)

    def test_a_warm_one_is_not_queried_again(self):
        self.make()
        server = self.start("run", "--serve", NAME)
        self.addCleanup(self.end, server)
        self.assertIn(b"[serve]", server.stdout.readline())
        self.assertIn("billing", self.kolm("run", NAME, "billing").out)
        self.describe_another(self.job_of())
        self.assert_error(self.kolm("run", NAME, "billing", code=7), "the description of the job")
        self.assertEqual(server.wait(60), 7)

    def overwrite(self, path):
        with open(path, "r+b") as file:
            file.seek(-8192, os.SEEK_END)
            file.write(bytes(4096))


class Base(Case):
    """The base model of a job is opened by its name, long after it was digested."""

    def setUp(self):
        super().setUp()
        self.add_backend("test-word", recipes=["lora"])
        self.write_tickets()
        self.base = os.path.join(self.work, "base")
        os.mkdir(self.base)
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            self.write("base/" + name, "{}")

    def swap(self):
        """Replaces it by another file with the same length and time."""
        target = os.path.join(self.base, "model.safetensors")
        about = os.stat(target)
        with open(target, "wb") as file:
            file.write(b"[]")
        os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))

    def test_while_answers_are_given(self):
        self.compile("--base", "base", "--recipe", "lora")
        pipe = os.path.join(self.work, "questions.jsonl")
        os.mkfifo(pipe)
        for change in (None, self.swap):
            run = self.start("run", NAME, "--input", "questions.jsonl", "--base", "base")
            with open(pipe, "wb", buffering=0) as questions:
                questions.write(QUESTION)
                first = run.stdout.readline()
                self.assertTrue(first, run.stderr.read() if not first else "")
                if change:
                    change()
            _, err = run.communicate(timeout=60)
            self.assertEqual(run.returncode, 7 if change else 0, err)
        self.assertIn("model.safetensors", err.decode())
        self.assertIn("the answers do not count", err.decode())

    def test_an_artifact_loosens_nothing(self):
        """Of the trainer's options in its manifest, only those apply that describe the model and its prompt."""
        self.compile("--base", "base", "--recipe", "lora", "--set", "rank=8", "--set", "allow_pickle=true", "--set", "patience=2")
        manifest = self.json("inspect", NAME)["manifest"]
        self.assertEqual(manifest["options"]["trainer"]["allow_pickle"], "true")
        pipe = os.path.join(self.work, "questions.jsonl")
        os.mkfifo(pipe)
        for words, expected in ((), {"rank": "8"}), (("--allow-pickle",), {"rank": "8", "allow_pickle": "true"}):
            run = self.start("run", NAME, "--input", "questions.jsonl", "--base", "base", *words)
            with open(pipe, "wb", buffering=0) as questions:
                questions.write(QUESTION)
                first = run.stdout.readline()
                self.assertTrue(first, run.stderr.read() if not first else "")
                job, = [entry for entry in self.jobs() if not entry.startswith(".")]
                with open(os.path.join(self.home, "jobs", job, "job", "job.json"), encoding="utf-8") as file:
                    self.assertEqual(json.load(file)["options"]["trainer"], expected)
            self.assertEqual(run.wait(60), 0)
            run.communicate()

    def test_one_that_was_digested_before_is_known_by_more_than_a_time_that_can_be_set(self):
        self.compile("--base", "base", "--recipe", "lora")
        self.swap()
        self.assert_error(self.kolm("run", NAME, "billing", "--base", "base", code=6), "is not the base model")

    def test_one_that_is_open_elsewhere(self):
        self.compile("--base", "base", "--recipe", "lora")
        with open(os.path.join(self.base, "model.safetensors"), "r+b"):
            self.assert_error(self.kolm("run", NAME, "billing", "--base", "base", code=6), "model.safetensors",
                              "another program has it open for writing")
        self.kolm("run", NAME, "billing", "--base", "base")

    def test_while_it_is_trained_on(self):
        self.tell("wait")
        run = self.start("compile", "-t", "router", "-d", "tickets.jsonl", "--base", "base", "--recipe", "lora")
        place = os.path.join(self.home, "jobs", "*", "job", "model", "wait")
        wait, = self.wait_for(lambda: glob.glob(place), "the training")
        with open(wait, "wb"):
            self.swap()
        _, err = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 6, err)
        self.assertIn("was changed while it was used: model.safetensors", err.decode())
        self.assertFalse(os.path.exists(os.path.join(self.work, NAME)))


if __name__ == "__main__":
    harness.main()
