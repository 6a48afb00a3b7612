#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A second implementation of the scores: fractions for K, the roots of Wilson's equation, plain counts for the report."""
import collections
import decimal
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import unittest
from decimal import Decimal
from fractions import Fraction

PROGRAM = sys.argv.pop(1)
MICRO = 1000000
Z = Decimal("1.959963984540054")


def half_up(value):
    """Rounds a fraction or decimal that is not negative to the nearest integer."""
    return int((Fraction(value) + Fraction(1, 2)).__floor__())


def wilson(hits, n):
    """The two p with (hits/n - p)^2 = z^2 p (1 - p) / n, by bisection: the equation itself, not its closed form."""
    if n == 0:
        return 0, MICRO
    with decimal.localcontext() as context:
        context.prec = 60
        seen = Decimal(hits) / n

        def outside(p):
            return (seen - p) ** 2 > Z * Z * p * (1 - p) / n

        def edge(inside, out):
            for _ in range(150):
                middle = (inside + out) / 2
                if outside(middle):
                    out = middle
                else:
                    inside = middle
            return inside

        low = 0 if hits == 0 else half_up(edge(seen, Decimal(0)) * MICRO)
        high = MICRO if hits == n else half_up(edge(seen, Decimal(1)) * MICRO)
        return low, high


def lost(share):
    """The rest of a term after subtracting share, which is rounded down."""
    return max(0, MICRO - int(share * MICRO))


def terms(payload):
    """S, L and C by their definitions: 80 GB, 1240 ms at 50 GB/s, $0.018 per call at $2.50 per hour."""
    with decimal.localcontext() as context:
        context.prec = 60
        size = lost((Decimal(payload) / Decimal(80 * 10**9)).sqrt())
    seconds = Fraction(payload, 50 * 10**9)
    return size, lost(seconds / Fraction(1240, 1000)), lost(seconds / 3600 * Fraction(5, 2) / Fraction(18, 1000))


def expected(rows, answered, correct, payload):
    accuracy = half_up(Fraction(correct * MICRO, answered)) if answered else 0
    coverage = half_up(Fraction(answered * MICRO, rows)) if rows else 0
    size, latency, cost = terms(payload)
    low, high = wilson(correct, answered)

    def k(a):
        return half_up(Fraction(40 * a + 15 * (size + latency + cost + coverage), 100))

    return [k(accuracy), accuracy, size, latency, cost, coverage, low, high, k(low), k(high)]


class KScore(unittest.TestCase):
    def compare(self, cases):
        text = "".join("%d %d %d %d\n" % case for case in cases)
        done = subprocess.run([PROGRAM, "k"], input=text, stdout=subprocess.PIPE, check=True, universal_newlines=True)
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), len(cases))
        for case, line in zip(cases, lines):
            self.assertEqual([int(word) for word in line.split()], expected(*case), "rows answered correct bytes = %r" % (case,))

    def test_z_is_that_of_95_per_cent(self):
        self.assertAlmostEqual(statistics.NormalDist().inv_cdf(0.975), float(Z), places=14)

    def test_every_small_count(self):
        self.compare([(rows, answered, correct, 1 << 20) for rows in range(13) for answered in range(rows + 1) for correct in range(answered + 1)])

    def test_random_counts(self):
        r = random.Random(20240501)
        cases = []
        for _ in range(1500):
            rows = int(10 ** r.uniform(0, 9))
            answered = r.choice([rows, r.randint(0, rows)])
            correct = r.choice([answered, 0, r.randint(0, answered), int(answered * r.uniform(0.8, 1))])
            cases.append((rows, answered, correct, int(10 ** r.uniform(0, 12))))
        self.compare(cases)

    def test_sizes_at_their_steps(self):
        sizes = {0, 1, 2**63, 2**64 - 1, 200 * 10**9, 80 * 10**9}
        for step in (62000, 1296000):
            for n in (1, 2, 500000, 999999, MICRO, MICRO + 1):
                sizes.update((step * n - 1, step * n, step * n + 1))
        for root in (1, 5, 1000, 99999, 500000, 999999, MICRO):  # bytes * 12.5 is a square near these
            near = root * root * 2 // 25
            sizes.update(range(max(0, near - 2), near + 3))
        self.compare([(100, 90, 80, size) for size in sorted(sizes)])


class Report(unittest.TestCase):
    def made(self, seed, rows):
        """Makes held-out rows and their answers; labels with all kinds of characters."""
        r = random.Random(seed)
        labels = ["billing", "login", "a,b", "quote\"s", "new\nline", "\u00e4\U0001f600", "\x1b[31m", "zz"]
        truths, answers = [], []
        for i in range(rows):
            truth = r.choice(labels)
            given = truth if r.random() < 0.8 else r.choice(labels + ["never true"])
            confidence = r.choice([r.random(), r.randint(0, 100) / 100, r.randint(0, 15) / 15, 1, 0])
            truths.append({"id": str(i + 1), "input": "x%d" % i, "output": truth})
            answers.append({"id": str(i + 1), "output": None if r.random() < 0.1 else given, "confidence": confidence, "best": given})
        return truths, answers

    def report(self, truths, answers, payload=12345678):
        with tempfile.TemporaryDirectory() as directory:
            paths = []
            for name, rows in (("heldout.jsonl", truths), ("predictions.jsonl", answers)):
                paths.append(os.path.join(directory, name))
                with open(paths[-1], "w", encoding="utf-8") as out:
                    out.writelines(json.dumps(row) + "\n" for row in rows)
            done = subprocess.run([PROGRAM, "report", *paths, str(payload)], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)

    def check(self, truths, answers):
        found = self.report(truths, answers)
        pairs = [(t["output"], a["output"], a["confidence"]) for t, a in zip(truths, answers) if a["output"] is not None]
        right = [t == g for t, g, _ in pairs]
        numbers = expected(len(truths), len(pairs), sum(right), 12345678)
        for key, value in zip(("k", "accuracy", "size", "latency", "cost", "coverage"), numbers):
            self.assertEqual(half_up(Fraction(str(found[key])) * MICRO), value, key)
        self.assertEqual([half_up(Fraction(str(v)) * MICRO) for v in found["accuracy_interval"] + found["k_interval"]], numbers[6:])
        self.assertEqual((found["n"], found["answered"], found["correct"]), (len(truths), len(pairs), sum(right)))
        better = self.check_baseline(found, truths, pairs)
        self.assertEqual(found["ships"], numbers[0] >= 850000 and numbers[1] >= 800000 and better is not False)
        self.check_ece(found, pairs, right)
        self.check_tables(found, truths, pairs)

    def check_baseline(self, found, truths, pairs):
        """Returns whether the model is better than always answering its most frequent label; None: unknown."""
        said = collections.Counter(t for t, _, _ in pairs)
        most = max(said.values(), default=0)
        if most < 2:
            self.assertEqual([found[key] for key in ("baseline", "balanced_accuracy", "better_than_baseline")], [None] * 3)
            return None
        label = min((t for t in said if said[t] == most), key=lambda text: text.encode())
        rate = half_up(Fraction(most * MICRO, len(pairs)))
        self.assertEqual((found["baseline"]["label"], found["baseline"]["correct"]), (label, most))
        self.assertEqual(half_up(Fraction(str(found["baseline"]["accuracy"])) * MICRO), rate)
        rows = collections.Counter(row["output"] for row in truths)
        right = collections.Counter(t for t, g, _ in pairs if t == g)
        recalls = {text: half_up(Fraction(right[text] * MICRO, n)) for text, n in rows.items()}
        mean = Fraction(sum(recalls.values()), len(rows))
        self.assertEqual(half_up(Fraction(str(found["balanced_accuracy"])) * MICRO), half_up(mean))
        bounds = {text: wilson(right[text], n) for text, n in rows.items()}
        for side, sign in ((0, -1), (1, 1)):
            width = Decimal(sum((recalls[text] - bounds[text][side]) ** 2 for text in rows)).sqrt() / len(rows)
            end = min(MICRO, max(0, float(mean) + sign * float(width)))
            self.assertLessEqual(abs(found["balanced_accuracy_interval"][side] * MICRO - end), 1)
        correct = sum(right.values())
        if most == len(pairs):
            better = False
        elif wilson(correct, len(pairs))[0] > rate:
            better = True
        else:
            better = None if correct == len(pairs) and wilson(correct, correct)[0] <= rate else False
        self.assertEqual(found["better_than_baseline"], better)
        return better

    def check_ece(self, found, pairs, right):
        bins = collections.defaultdict(list)
        for (_, _, confidence), good in zip(pairs, right):
            bins[min(14, int(confidence * 15))].append((good, Fraction(confidence)))
        ece = Fraction(0)
        for rows in bins.values():
            ece += abs(Fraction(sum(good for good, _ in rows), len(rows)) - sum(c for _, c in rows) / len(rows)) * Fraction(len(rows), len(pairs))
        self.assertLessEqual(abs(Fraction(str(found["ece"])) * MICRO - ece * MICRO), Fraction(51, 100), "the rounding of one sum")

    def check_tables(self, found, truths, pairs):
        labels = sorted({t["output"] for t in truths} | {g for _, g, _ in pairs}, key=lambda text: text.encode())
        self.assertEqual([row["label"] for row in found["labels"]], labels)
        for row in found["labels"]:
            truth = sum(t["output"] == row["label"] for t in truths)
            given = sum(g == row["label"] for _, g, _ in pairs)
            both = sum(t == g == row["label"] for t, g, _ in pairs)
            self.assertEqual((row["rows"], row["answers"], row["correct"]), (truth, given, both))
            self.assertEqual(half_up(Fraction(str(row["precision"])) * MICRO), half_up(Fraction(both * MICRO, given)) if given else 0)
            self.assertEqual(half_up(Fraction(str(row["recall"])) * MICRO), half_up(Fraction(both * MICRO, truth)) if truth else 0)
        confusions = collections.Counter((t, g) for t, g, _ in pairs if t != g)
        ordered = sorted(confusions.items(), key=lambda item: (-item[1], item[0][0].encode(), item[0][1].encode()))
        self.assertEqual([(row["expected"], row["answered"], row["rows"]) for row in found["confusions"]], [(t, g, n) for (t, g), n in ordered])
        for row in found["by_confidence"]:
            above = [t == g for t, g, confidence in pairs if confidence >= row["confidence"]]
            self.assertEqual(row["answers"], len(above), row)
            self.assertEqual(half_up(Fraction(str(row["accuracy"])) * MICRO), half_up(Fraction(sum(above) * MICRO, len(above))) if above else 0)
            self.assertEqual(half_up(Fraction(str(row["coverage"])) * MICRO), half_up(Fraction(len(above) * MICRO, len(truths))))

    def test_against_plain_tallies(self):
        for seed, rows in ((1, 1), (2, 7), (3, 200), (4, 3000)):
            with self.subTest(seed=seed):
                self.check(*self.made(seed, rows))

    def test_confidences_at_the_steps_of_the_table(self):
        for percent in (50, 60, 70, 80, 90, 95, 99):
            at = percent / 100
            below = math.nextafter(at, 0)
            truths = [{"id": str(i), "input": "x", "output": "a"} for i in range(4)]
            answers = [{"id": str(i), "output": "a", "confidence": c} for i, c in enumerate((at, below, at, 1.0))]
            with self.subTest(percent=percent):
                self.assertLess(below, at)
                self.check(truths, answers)

    def test_nothing_answered(self):
        truths, answers = self.made(5, 20)
        for answer in answers:
            answer["output"] = None
        found = self.report(truths, answers)
        self.assertEqual((found["accuracy"], found["coverage"], found["ece"], found["accuracy_interval"]), (0, 0, 0, [0, 1]))
        self.assertFalse(found["ships"])


if __name__ == "__main__":
    unittest.main()
