#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What compile does with rows that repeat, contradict or resemble one another, and with labels that look alike."""
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case, jsonl, tickets  # noqa: E402


def setUpModule():
    harness.set_up_tree()


def text(draw, count):
    return " ".join("".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(count))


def spellings(said):
    return [said, said + " ", said + ".", said + "...", said.upper()]


class Engine(Case):
    """With the embedded engine, which remembers its training rows."""

    backends = ()

    def setUp(self):
        super().setUp()
        self.add_engine()

    def accuracy(self, rows, *words):
        self.write("tickets.jsonl", jsonl(rows))
        record = self.json("compile", "-t", "router", "-d", "tickets.jsonl", "--gate", "0", "--min-accuracy", "0", "--allow-baseline", "--force", "--effort", "quick", *words)
        return record["score"]["correct"] / record["score"]["n"], record

    def test_random_labels_cannot_be_known(self):
        draw = random.Random(3)
        rows = []
        for _ in range(300):
            label = draw.choice(("heads", "tails"))
            rows += [{"input": s, "output": label} for s in spellings(text(draw, 3))]
        draw.shuffle(rows)
        accuracy, record = self.accuracy(rows)
        self.assertLess(accuracy, 0.65)
        self.assertEqual((record["data"]["groups"], record["data"]["grouped_rows"]), (300, 1500))

    def test_nor_from_texts_that_differ_in_a_word(self):
        draw = random.Random(4)
        rows = []
        for _ in range(300):
            label, words = draw.choice(("heads", "tails")), text(draw, 20).split()
            for at in range(4):
                rows.append({"input": " ".join(words[:at] + ["other"] + words[at + 1:]), "output": label})
        draw.shuffle(rows)
        self.assertLess(self.accuracy(rows)[0], 0.65)
        # Nor if they come from --eval.
        self.write("eval.jsonl", jsonl(rows[::4] + [{"input": text(draw, 20), "output": draw.choice(("heads", "tails"))} for _ in range(200)]))
        accuracy, record = self.accuracy([r for i, r in enumerate(rows) if i % 4], "--eval", "eval.jsonl")
        self.assertLess(accuracy, 0.65)
        self.assertGreater(record["data"]["nearly_leaked"], 280)

    def test_what_is_left_of_copies_is_no_measure(self):
        draw = random.Random(5)
        rows = [{"input": text(draw, 12), "output": draw.choice(("heads", "tails"))} for _ in range(300)]
        self.write("tickets.jsonl", jsonl(rows))
        for copies, warned in ((150, True), (20, False)):
            other = [{"input": text(draw, 12), "output": draw.choice(("heads", "tails"))} for _ in range(40)]
            self.write("eval.jsonl", jsonl([dict(r, input="Re: %s!" % r["input"]) for r in rows[:copies]] + other))
            done = self.compile("--eval", "eval.jsonl", "--effort", "quick", "--force", code=4)
            self.assertEqual("rows of --eval were dropped because they are also trained on" in done.err, warned, done.err)

    def test_a_slip_does_not_remove_a_majority(self):
        rows = tickets(200) + [{"input": "where is my parcel", "output": "shipping"}] * 300 + [{"input": "where is my parcel", "output": "billing"}]
        self.accuracy(rows)
        self.assertEqual(self.json("run", "router-1.0.0.kolm", "where is my parcel")["output"], "shipping")


class Said(Case):
    def test_rules_for_contradictions(self):
        clear = [{"input": "odd one", "output": "login"}] + [{"input": "odd one", "output": "billing"}] * 3
        tied = [{"input": "odd two", "output": "billing"}, {"input": "odd two", "output": "login"}]
        self.write("tickets.jsonl", jsonl(tickets(200) + clear + tied))
        said = self.compile().out
        self.assertIn("2 duplicate rows dropped", said)
        self.assertIn("1 outvoted rows dropped: most rows with the same input have another output, as in lines 201 and 202", said)
        self.assertIn("2 contradicting rows dropped: the same input with two outputs, as in lines 205 and 206", said)
        for rule, counts in (("drop", (0, 0, 6, 0)), ("keep", (2, 0, 0, 4)), ("majority", (2, 1, 2, 0))):
            record = self.json("compile", "-t", "router", "-d", "tickets.jsonl", "--contradictions", rule, "--force")
            keys = ("duplicates", "outvoted", "contradictions", "kept_contradictions")
            self.assertEqual(tuple(record["data"][key] for key in keys), counts, rule)
            manifest = self.json("inspect", "router-1.0.0.kolm")["manifest"]
            cleaning = manifest["data"]["cleaning"]
            self.assertEqual({key: cleaning[key] for key in keys if key in cleaning}, {key: n for key, n in zip(keys, counts) if n > 0})
            self.assertEqual(manifest["options"].get("contradictions"), None if rule == "majority" else rule)
        self.assert_error(self.compile("--contradictions", "error", "--force", code=6), "tickets.jsonl, line 201 and line 202", "--contradictions")
        self.assert_error(self.compile("--contradictions", "never", "--force", code=2), "'never'", "majority")

    def test_labels_that_look_alike_are_named(self):
        rows = tickets(200)
        for at, name in ((3, "Billing"), (50, "billing"), (60, "billing "), (70, "Caf\u00e9"), (71, "Cafe\u0301")):
            rows[at] = dict(rows[at], output=name)
        self.write("tickets.jsonl", jsonl(rows))
        done = self.compile()
        self.assertRegex(done.err, r'warning: the labels "billing" \(\d+ rows\) and "Billing" \(1 row\) differ only in case')
        self.assertIn("warning: 4 labels differ from another one in spelling only", done.err)
        self.assertIn("1 rows have spaces around their label", done.out)
        record = self.json("compile", "-t", "router", "-d", "tickets.jsonl", "--force")
        self.assertEqual((record["data"]["alike_labels"], record["data"]["trimmed_labels"]), (4, 1))

    def test_a_label_is_the_same_with_blanks_when_it_is_measured(self):
        self.write_tickets()
        self.compile()
        rows = [{"input": "billing please", "output": " billing\t"}, {"input": "login please", "output": "login "}]
        self.write("eval.jsonl", jsonl(rows))
        self.assertEqual(self.json("score", "router-1.0.0.kolm", "--eval", "eval.jsonl")["correct"], 2)


if __name__ == "__main__":
    harness.main()
