#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rows with more than a question: they reach the model complete, and so do questions to it."""
import json
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case, jsonl  # noqa: E402


def setUpModule():
    harness.set_up_tree()


TEAMS = {"billing": ("invoice", "refund", "charged"), "shipping": ("parcel", "courier", "late")}
TONES = {"calm": ("please", "thanks"), "angry": ("now", "terrible")}


def texts(count):
    """Returns (text, team, tone) tuples."""
    rng = random.Random(7)
    for i in range(count):
        team, tone = rng.choice(sorted(TEAMS)), rng.choice(sorted(TONES))
        words = [rng.choice(TEAMS[team]) for _ in range(3)] + [rng.choice(TONES[tone]) for _ in range(2)]
        yield " ".join(words) + f" case {i}", team, tone


def chat(system, text, answer=None):
    found = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    return {"messages": found + ([{"role": "assistant", "content": answer}] if answer else [])}


class Structure(Case):
    backends = ()

    def setUp(self):
        super().setUp()
        self.add_engine()

    def answers(self, model, *rows):
        out = self.kolm("run", model, "--jsonl", stdin=jsonl(rows)).out
        return [(row["id"], row["output"]) for row in map(json.loads, out.splitlines())]

    def test_the_answer_follows_the_system_message(self):
        rows = []
        for i, (text, team, tone) in enumerate(texts(150)):
            rows += [{"id": 1389432487213912064 + i, **chat("Which team?", text, team)}, chat("What tone?", text, tone)]
        self.write("rows.jsonl", jsonl(rows))
        done = self.compile(data="rows.jsonl")
        self.assertIn('not used: "id" (150)', done.out)
        self.assertNotIn("contradict", done.out)
        model = "router-1.0.0.kolm"
        text = "parcel late courier terrible now"
        self.assertEqual(self.answers(model, chat("Which team?", text), {"id": 1389432487213912064, **chat("What tone?", text)},
                                      {"id": "x", "system": "Which team?", "input": text}),
                         [("1", "shipping"), ("1389432487213912064", "angry"), ("x", "shipping")])
        self.write("held.jsonl", jsonl([chat("What tone?", text, "angry"), chat("Which team?", text, "shipping")] * 5))
        self.assertEqual(self.json("score", model, "--eval", "held.jsonl")["correct"], 10)

    def test_what_all_rows_share_is_added_to_questions(self):
        """A backend gets the same question whether the parts come with the question or from training."""
        rows = [{"instruction": "Which team?", "input": text, "output": team, "system": "s", "meta": float("nan")}
                for text, team, _ in texts(60)]
        self.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        record = self.json("compile", "-t", "router", "-d", "rows.jsonl", "--keep-job")
        self.assertEqual(record["data"]["unused_keys"], [{"key": "meta", "rows": 60}])
        manifest = self.json("inspect", "router-1.0.0.kolm")["manifest"]
        self.assertEqual(manifest["options"]["common"]["instruction"], "Which team?")
        (job,) = [d for d in os.listdir(os.path.join(self.home, "jobs")) if d.startswith("kept-")]
        with open(os.path.join(self.home, "jobs", job, "job", "train.jsonl"), encoding="utf-8") as file:
            row = json.loads(file.readline())
        said = [{"role": "system", "content": "s"}, {"role": "user", "content": "Which team?\n" + row["input"]},
                {"role": "assistant", "content": row["output"]}]
        self.assertEqual(row["messages"], said)
        self.assertTrue(any(row["input"] == r["input"] for r in rows))
        with open(os.path.join(self.home, "jobs", job, "job", "eval.jsonl"), encoding="utf-8") as file:
            held = json.loads(file.readline())
        self.assertEqual([m["role"] for m in held["messages"]], ["system", "user"])
        self.assertNotIn("output", held)
        text = "parcel late courier"
        plain = self.kolm("run", "router-1.0.0.kolm", text).out
        self.assertEqual(plain.split()[0], "shipping")
        one, two = self.answers("router-1.0.0.kolm", {"input": text}, {"instruction": "Which team?", "input": text, "system": "s"})
        self.assertEqual(one[1], two[1])

    def test_names_are_guessed_and_reported(self):
        self.write("rows.jsonl", jsonl([{"text": text, "label": team} for text, team, _ in texts(60)]))
        done = self.compile(data="rows.jsonl")
        self.assertEqual(done.out.count('the input is "text", the output "label"'), 1)

    def test_a_warm_model_gets_the_structure_too(self):
        rows = [chat(system, text, answer) for text, team, tone in texts(100)
                for system, answer in (("Which team?", team), ("What tone?", tone))]
        self.write("rows.jsonl", jsonl(rows))
        self.compile(data="rows.jsonl")
        server = self.start("run", "--serve", "router-1.0.0.kolm", "--idle", "60")
        try:
            self.assertIn(b"[serve]", server.stdout.readline())
            text = "parcel late courier terrible now"
            found = self.answers("router-1.0.0.kolm", chat("Which team?", text), chat("What tone?", text))
            self.assertEqual([output for _, output in found], ["shipping", "angry"])
        finally:
            server.terminate()
            server.communicate(timeout=30)


if __name__ == "__main__":
    harness.main()
