#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rows embedded in one run or in several: the file is the same, whatever earlier runs left."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from tiny_models import Tiny

TOOL = sys.argv.pop(1)
ROWS, STOPPED = 4000, 3


class EmbedRows(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="kolm-embed-rows-")
        cls.addClassCleanup(shutil.rmtree, cls.dir, True)
        cls.base, cls.rows = os.path.join(cls.dir, "base"), os.path.join(cls.dir, "rows.jsonl")
        Tiny("bert").write(cls.base)
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + ["w%d" % i for i in range(45)]
        with open(os.path.join(cls.base, "vocab.txt"), "w", encoding="ascii") as out:
            out.write("\n".join(words) + "\n")
        draw = random.Random(1)
        with open(cls.rows, "w", encoding="ascii") as out:
            for _ in range(ROWS):
                out.write(json.dumps({"input": " ".join(draw.choices(words[5:], k=draw.choice((0, 1, 2, 3, 4, 60)))), "output": "x"}) + "\n")
        cls.whole = cls.embed("whole")
        cls.counts = cls.last

    @classmethod
    def embed(cls, name, batches=0, key=7, count=ROWS, code=0):
        """Returns the file; sets the numbers of the last run."""
        out = os.path.join(cls.dir, name)
        done = subprocess.run([TOOL, cls.base, cls.rows, out, str(count), str(key), str(batches)], capture_output=True, text=True, check=False)
        assert done.returncode == code, (done.returncode, done.stderr)
        cls.last, cls.said = list(map(int, done.stdout.split())), done.stderr
        with open(os.path.join(out, "embeddings"), "rb") as file:
            return file.read()

    def test_a_run_that_was_stopped_is_gone_on_from(self):
        self.embed("parts", batches=3, code=STOPPED)
        self.embed("parts", batches=2, code=STOPPED)
        self.assertEqual(self.embed("parts"), self.whole)
        self.assertGreater(self.last[0], 1000)
        self.assertLess(self.last[0], ROWS)
        self.assertEqual(self.last[1:], self.counts[1:])
        self.assertGreater(self.last[2], 100)
        self.assertEqual(self.embed("parts"), self.whole)
        self.assertEqual(self.last[0], ROWS)

    def test_a_run_that_was_killed_costs_a_batch(self):
        """A batch here is 1024 texts or 8192 tokens; the fourth never starts."""
        self.embed("stopped", batches=4, code=STOPPED)
        self.embed("stopped")
        done = self.last[0]
        self.assertGreater(done, 1000)
        self.embed("killed", batches=-4, code=-signal.SIGKILL)
        self.assertEqual(self.embed("killed"), self.whole)
        self.assertEqual(self.last, [done] + self.counts[1:])

    def test_what_the_disk_had_is_enough(self):
        """After a power failure the file is older than the note: the second line of the note describes what was on the disk."""
        self.embed("power", batches=2, code=STOPPED)  # a stop writes everything to the disk
        size = os.path.getsize(os.path.join(self.dir, "power", "embeddings"))
        self.embed("power", batches=-2, code=-signal.SIGKILL)
        self.assertGreater(os.path.getsize(os.path.join(self.dir, "power", "embeddings")), size)
        os.truncate(os.path.join(self.dir, "power", "embeddings"), size)
        self.assertEqual(self.embed("power"), self.whole)
        self.assertEqual(self.last, [size // (len(self.whole) // ROWS)] + self.counts[1:])

    def test_a_run_without_a_batch_leaves_nothing(self):
        out = os.path.join(self.dir, "none")
        done = subprocess.run([TOOL, self.base, self.rows, out, str(ROWS), "7", "1"], capture_output=True, check=False)
        self.assertEqual((done.returncode, os.path.exists(out)), (STOPPED, False))

    def test_what_is_strange_is_done_again(self):
        def damage(change):
            self.embed("strange", batches=3, code=STOPPED)
            change(os.path.join(self.dir, "strange"))
            self.assertEqual(self.embed("strange"), self.whole)
            self.assertEqual(self.last, [0] + self.counts[1:])
            shutil.rmtree(os.path.join(self.dir, "strange"))

        def flip(path):
            with open(os.path.join(path, "embeddings"), "rb+") as file:
                file.seek(5000)
                byte = file.read(1)
                file.seek(5000)
                file.write(bytes([byte[0] ^ 1]))
        damage(flip)
        damage(lambda path: os.truncate(os.path.join(path, "embeddings"), 4000))
        damage(lambda path: os.remove(os.path.join(path, "embedded")))
        for note in ("", "x", "0000000000000007 4294967295 0 0 0\n"):
            def write(path, note=note):
                with open(os.path.join(path, "embedded"), "w", encoding="ascii") as file:
                    file.write(note)
            damage(write)

    def test_other_rows_or_another_encoder_start_again(self):
        self.embed("keys", batches=3, code=STOPPED)
        self.assertEqual(self.embed("keys", key=8), self.whole)
        self.assertEqual(self.last[0], 0)

    def test_another_engine_starts_again(self):
        rows = os.path.join(self.dir, "labelled.jsonl")
        with open(rows, "w", encoding="ascii") as out:
            for i in range(60):
                out.write(json.dumps({"input": "w%d w%d" % (i % 2, i % 40), "output": "xy"[i % 2]}) + "\n")

        def resumed(engine):
            words = [TOOL, self.base, rows, os.path.join(self.dir, "trained"), engine]
            return int(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
        self.assertEqual([resumed(engine) for engine in ("engine 1", "engine 1", "engine 2", "engine 2", "engine 1")], [0, 60, 0, 60, 0])

    def test_rows_that_changed_meanwhile(self):
        self.embed("fewer", count=ROWS + 1, code=1)
        self.assertIn("it was changed while it was read", self.said)


if __name__ == "__main__":
    unittest.main()
