#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every architecture that transformers maps to sequence classification: trained, exported, and loaded by plain PEFT."""
import gc
import io
import json
import os
import random
import shutil
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import real  # noqa: E402

if __name__ == "__main__":
    real.enter()

import architectures  # noqa: E402
import peft  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as MAPPED  # noqa: E402

from kolm_trainer import answer, base as bases, context, devices, encode, events, model as models, steps, train  # noqa: E402
from kolm_trainer.job import Job  # noqa: E402
from kolm_trainer.errors import TrainerError  # noqa: E402

LABELS = ("billing", "shipping", "technical")
# Padding on either side changes the answers of these: FNet has no attention mask, CANINE combines four letters into one, a Nystroem
# approximation takes landmarks from the padding too, YOSO's hashes depend on the length.
ALONE_ONLY = {"canine", "fnet", "nystromformer", "yoso"}
# Padded on the left, because they read their last token.
LEFT = {"xlnet"}


def rows():
    draw = random.Random(9)
    out = []
    for number in range(24):
        noun = draw.randrange(len(architectures.NOUNS))
        text = " ".join([architectures.NOUNS[noun], *draw.choices(architectures.FILLER, k=2 + number % 9)])
        out.append({"id": str(number), "input": text, "output": LABELS[noun % 3]})
    return out


ROWS = rows()
TEXTS = [row["input"] for row in ROWS[:6]]


def setUpModule():
    torch.set_num_threads(1)
    real.loaded()  # so that garbage collection after a family need not scan the libraries


class Architectures(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-architectures-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def train(self, base, name, rows=ROWS, **more):
        """Trains a job in this process, in a directory like that of real.Job; said: its output."""
        job = real.Job(os.path.join(self.dir, name), base, rows, **{"task": "classify", "epochs": "1", "batch": "8", "rank": "2",
                                                                    "learning_rate": "1e-2", "valid": "0", **more})
        return self.run_job(job)

    def run_job(self, job):
        events._out = io.StringIO()
        train.run(Job(job.dir), "cpu", 1)
        job.said = events._out.getvalue()
        return job

    def answerer(self, job):
        job.write(kind="infer", model_files=job.model_files())
        raw = Job(job.dir)
        unit = devices.Unit(devices.find("cpu"), "fp32", True, 1)
        with tempfile.TemporaryDirectory() as scratch:
            return answer.Answerer(raw, answer.read_meta(raw), unit, scratch)

    def shares(self, job):
        """Returns the probabilities of the labels from kolm: of all texts together, and of each alone."""
        answerer = self.answerer(job)
        alone = [answerer.answer([text])[0] for text in TEXTS]
        return answerer.answer(TEXTS), alone

    def plain(self, job, base):
        """Returns those of PEFT and transformers, with the base loaded under another seed: of each text alone, and of all together."""
        torch.manual_seed(20261129)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(LABELS))
        tokenizer = AutoTokenizer.from_pretrained(job.path("model"))
        model.config.pad_token_id = model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
        model = peft.PeftModel.from_pretrained(model, job.path("model")).eval()
        with torch.inference_mode():
            alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in TEXTS]).softmax(-1)
            together = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.softmax(-1)
        return alone, together, model, tokenizer

    def close(self, ours, theirs, what):
        labels = sorted(LABELS)
        best = theirs.max(-1)
        self.assertEqual([a[0] for a in ours], [labels[int(i)] for i in best.indices], what)
        self.assertLess(max(abs(a[1] - float(p)) for a, p in zip(ours, best.values)), 1e-5, what)

    def one(self, model_type):
        base = os.path.join(self.dir, model_type + "-base")
        config = architectures.make_base(base, model_type)
        job = self.train(base, model_type)
        alone, together, model, tokenizer = self.plain(job, base)
        self.assertGreater(float((alone[:, 0].max() - alone[:, 0].min())), 1e-4, "all answers are alike: nothing is compared")
        batched, single = self.shares(job)
        self.assertEqual(tokenizer.padding_side, "left" if model_type in LEFT else "right")
        self.close(single, alone, "alone")
        self.close(batched, alone, "kolm's batch")
        if model_type not in ALONE_ONLY:
            self.close(batched, together, "PEFT's batch")
        # The context in config.json equals that of the position embeddings.
        unit = devices.Unit(devices.find("cpu"), "fp32", True, 1)
        promised, found = context.context_of(config, tokenizer), context.measured_context(model, tokenizer, unit)
        if found is not None:
            self.assertEqual(promised, found, "context")
        return found

    def base(self, model_type):
        base = os.path.join(self.dir, model_type + "-base")
        architectures.make_base(base, model_type)
        return base

    def test_positions_that_begin_after_the_padding(self):
        """RoBERTa's table of 64 positions has room for 63 tokens if padding is token 0: a row of 63 is trained on, one of 64 is left out,
        and a longer question is cut to 63."""
        base = self.base("roberta")
        tokenizer = AutoTokenizer.from_pretrained(base)
        words = lambda count: "x" * (count - 2)
        self.assertEqual([len(tokenizer(words(n))["input_ids"]) for n in (63, 64)], [63, 64])
        long = [{"id": "63", "input": words(63), "output": LABELS[0]}, {"id": "64", "input": words(64), "output": LABELS[1]}]
        job = self.train(base, "long", [*ROWS, *long])
        self.assertEqual((job.report()["rows"], job.report()["rows_too_long"]), (25, 1))
        self.assertIn("1 rows are longer than 63 tokens and are left out; the context of the base is 63 tokens", job.said)
        self.assertNotIn("max_length=", job.said)
        answerer = self.answerer(job)
        self.assertIn(answerer.answer([words(200)])[0][0], LABELS)
        self.assertEqual(answerer.cut, 1)

    def test_a_base_that_promises_more_positions_than_it_has(self):
        """The table itself is examined: without max_position_embeddings in config.json it is not exceeded either."""
        base = self.base("roberta")
        real_context, train.context_of = train.context_of, lambda *_: 1 << 20
        try:
            job = self.train(base, "long", [*ROWS, {"id": "64", "input": "x" * 62, "output": LABELS[1]}])
        finally:
            train.context_of = real_context
        self.assertEqual(job.report()["rows_too_long"], 1)

    def test_balanced_weights(self):
        """Labels that the text does not distinguish, nine of one to one of the other: the balanced loss makes them equally likely."""
        rows = [{"id": str(i), "input": "please help", "output": LABELS[i % 10 == 0]} for i in range(40)]
        base, rare = self.base("bert"), {}
        for weight in ("none", "balanced"):
            job = real.Job(os.path.join(self.dir, weight), base, rows, task="classify", epochs="30", batch="40", rank="2",
                           learning_rate="2e-2", schedule="constant", valid="0")
            job.raw["options"]["class_weight"] = weight
            job.write()
            answers = self.answerer(self.run_job(job)).answer(["please help"])
            self.assertEqual(job.report().get("class_weight", "none"), weight)
            rare[weight] = next(p if label == LABELS[1] else 1 - p for label, p in answers)
        print(f"the rare label: {rare['none']:.2f} as it is, {rare['balanced']:.2f} balanced")
        self.assertAlmostEqual(rare["none"], 0.1, delta=0.03)
        self.assertAlmostEqual(rare["balanced"], 0.5, delta=0.05)

    def test_weights_of_a_loss(self):
        """For choosing and for writing: the sum of each row's loss times its label's weight."""
        unit = devices.Unit(devices.find("cpu"), "fp32", True, 1)
        base = self.base("gpt2")
        tokenizer = AutoTokenizer.from_pretrained(base)
        numbers = {label: i for i, label in enumerate(sorted(LABELS))}
        rows = [(row["id"], row["input"], row["output"]) for row in ROWS]
        for task in ("causal", "classify"):
            with self.subTest(task):
                found = bases.look(base)
                model, _ = models.load_base(found, task, unit, tokenizer.pad_token_id, len(LABELS))
                encoded = encode.encode_classify(rows, tokenizer, numbers, 63) if task == "classify" else \
                    encode.encode_causal(rows, encode.Rendering(tokenizer, "plain", ""), 63, numbers)
                work = steps.Work(task, model, encoded, unit, 0)
                with torch.inference_mode():
                    each = [float(work.forward([i])[0]) for i in range(6)]
                    plain = float(work.forward(range(6))[0])
                    work.weights = [0.5, 2.0, 4.0]
                    weighted = float(work.forward(range(6))[0])
                wanted = sum(loss * work.weights[numbers[rows[i][2]]] for i, loss in enumerate(each))
                self.assertAlmostEqual(plain, sum(each), delta=1e-3)
                self.assertAlmostEqual(weighted, wanted, delta=1e-3)
                self.assertGreater(abs(weighted - plain), 0.1)

    def refused(self, model_type, words):
        if words is architectures.WRITES:
            base = bases.Base("/base")
            base.config = {"model_type": model_type, "is_encoder_decoder": True}
            with self.assertRaisesRegex(TrainerError, words):
                bases.task_of(base, "auto", 3)
            return
        base = self.base(model_type)
        with self.assertRaisesRegex(TrainerError, words):
            self.train(base, model_type)

    def test_tokens_that_the_base_has_no_embeddings_for(self):
        base = self.base("bert")
        config = os.path.join(base, "config.json")
        with open(config, encoding="utf-8") as file:
            raw = json.load(file)
        path = os.path.join(base, "model.safetensors")
        tensors = {n: t.clone() for n, t in load_file(path).items()}
        tensors["embeddings.word_embeddings.weight"] = tensors["embeddings.word_embeddings.weight"][:50].clone()
        save_file(tensors, path, metadata={"format": "pt"})
        real.write_json(config, {**raw, "vocab_size": 50})
        with self.assertRaisesRegex(TrainerError, "has embeddings for 50"):
            self.train(base, "small")

    def test_all(self):
        asked = os.environ.get("KOLM_TEST_ARCHITECTURES", "").split()
        failed, began = [], time.monotonic()
        for model_type in asked or sorted(MAPPED):
            wanted = architectures.MODELS.get(model_type, "it is not in the table of tests/trainer/architectures.py")
            with self.subTest(model_type):
                if isinstance(wanted, architectures.Refused):
                    self.refused(model_type, wanted)
                    continue
                if isinstance(wanted, str):
                    self.assertIn(wanted, (architectures.TABLES, architectures.PAGES, architectures.KERNEL))
                    continue
                started = time.process_time()
                found = self.one(model_type)
                print(f"{model_type:24} the same, {time.process_time() - started:.1f} s, positions: {found}", flush=True)
            gc.collect()
        print(f"{len(asked or MAPPED)} architectures, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    real.main()
