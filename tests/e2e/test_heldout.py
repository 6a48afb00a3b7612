# SPDX-License-Identifier: Apache-2.0
"""A backend that could read the held-out answers, or infer them from the order of the questions, could choose its own score."""
import fcntl
import json
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case  # noqa: E402

F_GET_SEALS = 1034
ALL_SEALS = 0xF  # SEAL, SHRINK, GROW, WRITE


def setUpModule():
    harness.set_up_tree()


class HeldOut(Case):
    def setUp(self):
        super().setUp()
        self.write_tickets()
        self.temporary = os.path.join(self.dir, "tmp")
        os.mkdir(self.temporary, 0o700)
        self.env["TMPDIR"] = self.temporary

    def job_directories(self):
        """Returns the directories that backends see."""
        return [os.path.join(self.home, "jobs", job, "job") for job in self.jobs() if not job.startswith(".")]

    def questions(self, process):
        """Waits until questions are passed to the backend; returns their inputs."""
        def asked():
            self.assertIsNone(process.poll())
            for path in self.job_directories():
                if os.path.exists(os.path.join(path, "job.json")) and b'"kind":"infer"' in self.read(os.path.join(path, "job.json")):
                    return True
            return False

        self.wait_for(asked, "a job of questions")
        self.wait_for(lambda: self.children_of(process.pid), "the process of the backend")
        rows = [json.loads(line) for line in self.read(os.path.join(self.job_directories()[0], "eval.jsonl")).splitlines()]
        self.assertGreater(len(rows), 30)
        return {row["input"] for row in rows}

    def answers_in(self, path, inputs):
        """Returns how many of these inputs the file contains together with an output."""
        found = 0
        with open(path, "rb") as source:
            for line in source:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                found += isinstance(row, dict) and row.get("input") in inputs and "output" in row
        return found

    def files(self):
        for top in (self.home, self.temporary):
            for directory, _, names in os.walk(top):
                for name in names:
                    path = os.path.join(directory, name)
                    if os.path.isfile(path) and not os.path.islink(path):
                        yield path

    def assert_hidden(self, process):
        """Checks that no file below the home or the directory of temporary files has the answers, and that no process but kolm holds them
        open."""
        inputs = self.questions(process)
        for path in self.files():
            self.assertEqual(self.answers_in(path, inputs), 0, path)
        for child in self.children_of(process.pid):
            # Between fork and exec a child still has the descriptors of kolm.
            self.wait_for(lambda child=child: not any("heldout" in target for target in self.descriptors(child).values()), "the answers to be gone from %d" % child)
            for target in self.descriptors(child).values():
                if not target.startswith(("/memfd:kolm-model", "/memfd:test-word")):  # the model, and the plugin itself
                    self.assertNotIn("(deleted)", target)
        if os.geteuid() != 0:  # kolm is not dumpable: its descriptors cannot be read
            with self.assertRaises(PermissionError):
                os.listdir("/proc/%d/fd" % process.pid)
            return
        held = [number for number, target in self.descriptors(process.pid).items() if target.startswith("/memfd:kolm-heldout")]
        self.assertEqual(len(held), 1)
        with open("/proc/%d/fd/%s" % (process.pid, held[0]), "rb") as source:
            self.assertEqual(fcntl.fcntl(source, F_GET_SEALS), ALL_SEALS)
            rows = [json.loads(line) for line in source]
        self.assertEqual({row["input"] for row in rows}, inputs)
        self.assertTrue(all(row["output"] in harness.LABELS for row in rows))

    def descriptors(self, pid):
        base = "/proc/%d/fd" % pid
        try:
            return {name: os.readlink(os.path.join(base, name)) for name in os.listdir(base)}
        except (PermissionError, FileNotFoundError):
            return {}

    def test_a_compile_keeps_them_to_itself(self):
        self.tell("hang infer")
        process = self.start("compile", "-t", "router", "-d", "tickets.jsonl")
        self.addCleanup(process.kill)
        self.assert_hidden(process)
        self.assertEqual(self.interrupt(process)[0], 130)

    def test_so_does_a_measurement(self):
        self.compile()
        self.write_tickets("more.jsonl", rows=60, seed=2)
        self.tell("hang infer")
        process = self.start("score", "router-1.0.0.kolm", "--eval", "more.jsonl")
        self.addCleanup(process.kill)
        self.assert_hidden(process)
        self.assertEqual(self.interrupt(process)[0], 130)

    def test_a_kept_job_does_not_bring_them_back(self):
        done = self.compile("--keep-job")
        kept = done.out[done.out.index("[job]"):].split()[1]
        inputs = {json.loads(line)["input"] for line in self.read(os.path.join(kept, "answers", "eval.jsonl")).splitlines()}
        self.assertGreater(len(inputs), 30)
        for directory, _, names in os.walk(kept):
            for name in names:
                self.assertEqual(self.answers_in(os.path.join(directory, name), inputs), 0, name)

    # ---- a file that is sorted by label, which is common: the neighbours of a row reveal its label

    def sorted_rows(self, name, rows=600, seed=1):
        draw = random.Random(seed)
        made = [{"input": "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=40)), "output": label}
                for label in ("one", "two", "three") for _ in range(rows // 3)]
        self.write(name, harness.jsonl(made))
        return made

    def test_no_place_and_no_id_tells_the_label(self):
        self.sorted_rows("sorted.jsonl")
        self.sorted_rows("more.jsonl", seed=2)
        for fault in ("answers by place", "answers by id"):
            self.tell(fault)
            gates = ("--gate", "0", "--min-accuracy", "0", "--allow-baseline", "--force")
            for more in ((), ("--eval", "more.jsonl")):
                score = self.json("compile", "-t", "router", "-d", "sorted.jsonl", *gates, *more)["score"]
                self.assertLess(score["correct"] / score["n"], 0.5, (fault, more, score))
            report = self.json("score", "router-1.0.0.kolm", "--eval", "more.jsonl")
            self.assertLess(report["correct"] / report["n"], 0.5, (fault, report))

    def test_the_user_reads_answers_in_the_order_of_his_rows(self):
        rows = self.sorted_rows("sorted.jsonl")
        done = self.compile("--keep-job", data="sorted.jsonl", code=4)
        kept = os.path.join(done.out[done.out.index("[job]"):].split()[1], "job")
        answers = [json.loads(line) for line in self.read("router-1.0.0.failed/predictions.jsonl").splitlines()]
        places = [int(answer["id"]) for answer in answers]
        self.assertEqual(places, sorted(set(places)))
        self.assertTrue(100 < len(places) < 140 and places[0] >= 1 and places[-1] <= len(rows), places)
        asked, given = ([json.loads(line) for line in self.read(os.path.join(kept, name)).splitlines()] for name in ("eval.jsonl", "predictions.jsonl"))
        self.assertEqual([row["id"] for row in asked], [str(number + 1) for number in range(len(answers))])
        self.assertEqual({rows[place - 1]["input"]: dict(answer, id="") for place, answer in zip(places, answers)},
                         {row["input"]: dict(answer, id="") for row, answer in zip(asked, given)})


if __name__ == "__main__":
    harness.main()
