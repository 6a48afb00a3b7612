#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every family of encoders compared with plain Python, and the same bytes for every width, number of threads, batch and order."""
import hashlib
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

import tiny_models
from tiny_models import Static, Tiny

TOOL = sys.argv.pop(1)
ABSENT = 77  # the tool's exit code if this processor has no such vectors

MODELS = {
    "bert": Tiny("bert"),
    "bert, old names, halves": Tiny("bert", dtype="F16", prefix="bert.", old_names=True, activation="relu"),
    "bert, cls": Tiny("bert", pooling="cls", normalise=False),
    "roberta": Tiny("roberta", activation="gelu_new", prefix="roberta."),
    "xlm-roberta, bfloats": Tiny("xlm-roberta", dtype="BF16", normalise=False),
    "mpnet": Tiny("mpnet", pooling="max"),
    "mpnet, halves": Tiny("mpnet", dtype="F16"),
    "static": Static(),
    "static, weights and mapping": Static(dtype="F16", weights="F64", mapping="I64", normalise=False),
    "static, bytes": Static(dtype="I8", weights="F32", mapping="I32"),
}


# Inner units for three blocks: so many that plain Python can only compute short texts.
WIDE = {"bert, wide": Tiny("bert", inner=811), "mpnet, wide, halves": Tiny("mpnet", dtype="F16", inner=811)}


def texts():
    """Texts of lengths from zero to the maximum, some of them often, with padding's id among the tokens."""
    draw = random.Random(5)
    lengths = [0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 41, 42] + [draw.randint(1, 20) for _ in range(30)]
    return [[draw.randrange(50) for _ in range(n)] for n in lengths]


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-encoder-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def run_tool(self, model, ids, width="0", threads=1, batch=0):
        with open(self.path("ids"), "w", encoding="ascii") as file:
            file.writelines(" ".join(map(str, text)) + "\n" for text in ids)
        return subprocess.run([TOOL, model, self.path("ids"), self.path("out"), width, str(threads), str(batch), "1"],
                              capture_output=True, text=True, check=False)

    def embed(self, model, ids, **how):
        """Returns the bytes of each text's embedding; None if the processor has no such vectors."""
        done = self.run_tool(model, ids, **how)
        if done.returncode == ABSENT:
            return None
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.path("out"), "rb") as file:
            data = file.read()
        size = int(done.stdout.split()[0]) * 4
        return [data[i:i + size] for i in range(0, len(data), size)]

    def refused(self, model, ids, said):
        done = self.run_tool(model, ids)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(said, done.stderr)


class Families(Case):
    def test_against_plain_python(self):
        for name, model in {**MODELS, **WIDE}.items():
            ids = texts() if name in MODELS else texts()[:7]
            with self.subTest(name):
                model.write(self.path(name))
                made = self.embed(self.path(name), ids)
                self.assertEqual(len(made), len(ids))
                for text, data in zip(ids, made):
                    got, wanted = struct.unpack(f"<{model.hidden}f", data), model.embed(text)
                    self.assertLess(max(abs(a - b) for a, b in zip(got, wanted)), 1e-5, text)

    def test_same_bytes(self):
        ids = texts()
        shuffled = list(range(len(ids)))
        random.Random(6).shuffle(shuffled)
        for name, model in {**MODELS, **WIDE}.items():
            model.write(self.path(name))
            first = self.embed(self.path(name), ids, width="plain")
            for how in ({"width": "0"}, {"width": "8"}, {"width": "4"}, {"width": "16"}, {"threads": 2}, {"threads": 3, "batch": 7},
                        {"batch": 1}, {"threads": 4, "batch": 1}, {"width": "8", "threads": 2, "batch": 5},
                        {"width": "plain", "threads": 3, "batch": 1}):
                with self.subTest(name, **how):
                    made = self.embed(self.path(name), ids, **how)
                    if made is not None:
                        self.assertEqual(made, first)
            mixed = self.embed(self.path(name), [ids[i] for i in shuffled], threads=2)
            self.assertEqual([mixed[shuffled.index(i)] for i in range(len(ids))], first)

    def test_threads_that_share_several_texts(self):
        """The bytes of one thread, each time: texts that share a panel are not written by two threads at once."""
        ids = texts()
        for name in ("bert", "mpnet, halves"):
            MODELS[name].write(self.path(name))
            first = self.embed(self.path(name), ids, batch=7)
            for _ in range(20):
                self.assertEqual(self.embed(self.path(name), ids, threads=3, batch=7), first)

    def test_bytes_never_change(self):
        """The encoder that an artifact was made with must give the same answers years later: these are the bytes of this version."""
        seen = {}
        for name in ("bert", "mpnet, halves", "static"):
            MODELS[name].write(self.path(name))
            seen[name] = hashlib.sha256(b"".join(self.embed(self.path(name), texts()))).hexdigest()[:16]
        self.assertEqual(seen, KEPT)


KEPT = {"bert": "98c425a307c1705f", "mpnet, halves": "443604d2d713946f", "static": "2a966c5c6854b4af"}


class Refusals(Case):
    def test_texts(self):
        for model in (Tiny("bert"), Static()):
            model.write(self.path("m"))
            self.refused(self.path("m"), [[1], [50]], "token 50 of text 1 is not among the 50")
        Tiny("mpnet").write(self.path("mpnet"))
        self.refused(self.path("mpnet"), [[3] * 43], "text 0 has 43 tokens, and the encoder reads 42")

    def change(self, change, said):
        model = Tiny("bert")
        change(model)
        shutil.rmtree(self.path("m"), True)
        model.write(self.path("m"))
        self.refused(self.path("m"), [[1, 2]], said)

    def test_tensors(self):
        query = "encoder.layer.1.attention.self.query.weight"

        def put(name, dtype, shape, data):
            return lambda m: m.files.__setitem__(name, (dtype, shape, data))
        self.change(lambda m: m.files.pop(query), "lacks the tensor " + query)
        self.change(lambda m: m.files.pop("embeddings.word_embeddings.weight"), "lacks the tensor embeddings.word_embeddings.weight")
        self.change(put(query, "F32", [20, 19], bytes(20 * 19 * 4)), "is not of 20 x 20 numbers")
        self.change(put(query, "F32", [400], bytes(1600)), "is not of 20 x 20 numbers")
        self.change(put(query, "I8", [20, 20], bytes(400)), "has numbers of type I8")
        self.change(put("embeddings.LayerNorm.bias", "F32", [], bytes(4)), "is not of 1 x 20 numbers")
        self.change(put("embeddings.LayerNorm.bias", "F32", [20], b"\xff" * 80), "numbers that are not finite")
        self.change(lambda m: setattr(m, "vocabulary", 51), "is not of 51 x 20 numbers")

    def test_static_tensors(self):
        def change(name, value, said):
            model = Static(weights="F32", mapping="I64")
            model.files[name] = value
            model.write(self.path("m"))
            self.refused(self.path("m"), [[1, 2]], said)
        change("embeddings", ("F32", [50], bytes(200)), "not a table of such numbers")
        change("embeddings", ("I64", [5, 5], bytes(200)), "not a table of such numbers")
        change("weights", ("F32", [49], bytes(196)), "weights of")
        change("mapping", ("F32", [50], bytes(200)), "mapping of")
        change("mapping", ("I64", [50], b"\x14" + bytes(399)), "maps token 0 to a row that does not exist")
        change("mapping", ("I64", [50], b"\xff" * 400), "maps token 0 to a row that does not exist")

    def test_files(self):
        self.refused(self.path("absent"), [[1]], "cannot open the directory")
        Tiny("bert").write(self.path("m"))
        weights = os.path.join(self.path("m"), "model.safetensors")
        with open(weights, "rb+") as file:
            file.truncate(5000)
        self.refused(self.path("m"), [[1]], "was the file cut short?")
        os.remove(weights)
        self.refused(self.path("m"), [[1]], "has no model.safetensors")
        tiny_models.write_json(os.path.join(self.path("m"), "config.json"), {"model_type": "qwen3"})
        self.refused(self.path("m"), [[1]], "--recipe lora")


if __name__ == "__main__":
    unittest.main()
