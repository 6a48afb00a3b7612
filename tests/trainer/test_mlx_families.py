#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The model families that mlx-lm and transformers share: an adapter that MLX trained says the same in PEFT, or none is made."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import real  # noqa: E402

MLX = os.environ.get("KOLM_TEST_MLX_PYTHON")
if __name__ == "__main__":
    real.enter()

import architectures  # noqa: E402
import peft  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from transformers.pytorch_utils import Conv1D  # noqa: E402

LABELS = ("billing", "shipping", "technical")
ROWS = [{"id": str(i), "input": architectures.NOUNS[i % 10] + " please help" + " again" * (i % 4), "output": LABELS[i % 10 % 3]}
        for i in range(24)]
TEXTS = [row["input"] for row in ROWS[:10]]
LATENT = {"head_dim": architectures.DROP, "num_key_value_heads": 4}
MORE = {"gpt2": {"n_inner": 128}, "deepseek_v32": LATENT, "glm4_moe_lite": LATENT,
        "llama": {"rope_parameters": {"rope_type": "default", "rope_theta": 20.0}},  # where mlx-lm does not look
        "gpt_neox": {"intermediate_size": 128}, "gptj": {"n_inner": 128}, "gemma3_text": {"num_hidden_layers": 6},
        "olmo3": {"num_hidden_layers": 4}}
SAME = ("cohere deepseek_v3 deepseek_v32 ernie4_5 ernie4_5_moe gemma gemma2 gemma3_text glm glm4 glm4_moe glm4_moe_lite gpt2 "
        "gpt_bigcode gpt_neox gptj granite granitemoe helium hunyuan_v1_dense internlm3 jamba laguna llama mamba mellum ministral3 "
        "mistral mixtral nemotron olmo2 olmo3 olmoe phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe seed_oss smollm3 stablelm "
        "starcoder2").split()
# Of each structure one: latent attention, windows, no attention, parts of a layer in one tensor, experts. These are loaded by plain
# transformers and PEFT too, without kolm.
ALONE = "deepseek_v3 gemma3_text gpt2 gpt_neox llama mamba phi3 qwen3_moe".split()
# {family: what is said}. mlx-lm ends the process, raises whatever comes up, or lacks what transformers' files have.
REFUSED = {"olmo": "mlx-lm cannot load the olmo base", "recurrent_gemma": "mlx-lm cannot load the recurrent_gemma base",
           "gpt_oss": "mlx-lm cannot load the gpt_oss base", "cohere2": "mlx-lm cannot load the cohere2 base",
           "nemotron_h": "no layer of this nemotron_h base is the same in mlx-lm and in transformers"}
# One process trains and answers for all: the libraries are loaded once. Each line of input is the directory of a job; "wrongly " before
# it: its adapter is stored as if names of another library had been taken.
DRIVER = """
import io, json, os, sys
sys.path.insert(0, sys.argv[1])
from kolm_trainer import events, mlx_engine
from kolm_trainer.errors import TrainerError
from kolm_trainer.job import Job
rightly = mlx_engine._write_peft
def wrongly(mx, weights, *more):
    return rightly(mx, {n: w * (-1 if n.endswith("lora_a") else 1) for n, w in weights.items()}, *more)
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    directory = line.rstrip("\\n").removeprefix("wrongly ")
    mlx_engine._write_peft = wrongly if line.startswith("wrongly ") else rightly
    path = lambda name: os.path.join(directory, name)
    events._out, said = io.StringIO(), {}
    try:
        mlx_engine.train(Job(directory), "mlx", 1)
        said["logs"] = [e["text"] for e in map(json.loads, events._out.getvalue().splitlines()) if e["event"] == "log"]
        with open(path("job.json"), encoding="utf-8") as file:
            raw = json.load(file)
        model = os.path.join(directory, "model")
        raw["kind"] = "infer"
        raw["model_files"] = [{"name": n, "path": os.path.join(model, n), "offset": 0, "size": os.path.getsize(os.path.join(model, n))}
                              for n in sorted(os.listdir(model))]
        with open(path("job.json"), "w", encoding="utf-8") as file:
            json.dump(raw, file)
        mlx_engine.answer(Job(directory), "mlx", 1, path("asked.jsonl"), path("said.jsonl"))
    except TrainerError as e:
        said["refused"] = e.text
    except BaseException as e:
        said["crashed"] = repr(e)
    print(json.dumps(said), file=answers, flush=True)
"""


def setUpModule():
    real.need_mlx()
    torch.set_num_threads(1)
    real.loaded()
    Families.mlx = subprocess.Popen([MLX, "-s", "-B", "-c", DRIVER, real.TRAINER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                    env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"})
    unittest.addModuleCleanup(Families.mlx.communicate)


class Families(unittest.TestCase):
    mlx = None  # the process that runs DRIVER

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-families-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def base(self, model_type, **more):
        """A tiny language model with random weights; of gpt2 as its first files are, without the root of their names."""
        architectures.MODELS[model_type] = {**(architectures.MODELS.get(model_type) or {}), **MORE.get(model_type, {}), **more}
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(architectures.config_of(model_type))
        directory = os.path.join(self.dir, f"base-{model_type}{len(os.listdir(self.dir))}")
        (model.transformer if model_type == "gpt2" else model).save_pretrained(directory)
        architectures.make_tokenizer(directory, False)
        return directory

    def job(self, base, **options):
        job = real.Job(os.path.join(self.dir, f"job{len(os.listdir(self.dir))}"), base, ROWS, device="mlx", template="plain", rank="4",
                       epochs="2", batch="8", learning_rate="2e-2", valid="0", max_length="64", **options)
        real.write_rows(job.path("asked.jsonl"), [{"id": str(i), "input": text} for i, text in enumerate(TEXTS)])
        return job

    def run_all(self, jobs, how=""):
        """What each came to."""
        said = []
        for job in jobs:
            self.mlx.stdin.write(how + job.dir + "\n")
            self.mlx.stdin.flush()
            said.append(json.loads(self.mlx.stdout.readline()))
        return said

    def compare(self, job, base=None):
        """The adapter in plain PEFT: every tensor of it finds its layer, it changes what the base says, and MLX said the same. base: loads that without
        kolm too."""
        ours = real.read_rows(job.path("said.jsonl"))
        real.write_json(job.path("job.json"), {**job.raw, "kind": "infer", "model_files": job.model_files()})
        answerer = self.answerer(job)
        model, row = answerer.model, torch.tensor([answerer.tokenizer(TEXTS[0] + "\n")["input_ids"]])
        self.assertIs(type(model), peft.PeftModelForCausalLM)
        with torch.inference_mode(), model.disable_adapter():
            before = model(input_ids=row).logits
        tensors = load_file(job.path("model", "adapter_model.safetensors"))
        known = {n.replace(".default", "") for n, _ in model.named_parameters() if "lora_" in n}
        self.assertEqual(set(tensors), known)
        for name in tensors:
            layer = model.get_submodule(name.rsplit(".lora_", 1)[0])
            self.assertIsInstance(layer.base_layer, (torch.nn.Linear, Conv1D), name)
        with torch.inference_mode():
            after = model(input_ids=row).logits
        self.assertGreater(float((after - before).abs().max()), 1e-2)
        if base:
            self.compare_alone(job, base, before, after)
        theirs = answerer.answer(TEXTS)
        self.assertEqual([a["output"] for a in ours], [output for output, _ in theirs])
        self.assertLess(max(abs(a["confidence"] - share) for a, (_, share) in zip(ours, theirs)), 5e-3)

    def compare_alone(self, job, base, *said):
        """What the base, and then the adapter on it, say to the first text: the same without kolm."""
        row = torch.tensor([AutoTokenizer.from_pretrained(job.path("model"))(TEXTS[0] + "\n")["input_ids"]])
        plain = AutoModelForCausalLM.from_pretrained(base).eval()
        with torch.inference_mode():
            found = [plain(input_ids=row).logits]
            found.append(peft.PeftModel.from_pretrained(plain, job.path("model")).eval()(input_ids=row).logits)
        for one, other in zip(found, said):
            self.assertLess(float((one - other).abs().max()), 1e-4)

    def answerer(self, job):
        """The base in transformers, with the adapter as PEFT loads it."""
        from kolm_trainer import answer, devices
        from kolm_trainer.job import Job

        raw = Job(job.dir)
        with tempfile.TemporaryDirectory() as scratch:
            return answer.Answerer(raw, answer.read_meta(raw), devices.Unit(devices.find("cpu"), "fp32", True, 1), scratch)

    def test_what_cannot_be_stored_is_not_trained(self):
        jobs = [self.job(self.base(family)) for family in REFUSED]
        jobs.append(self.job(self.base("mixtral"), targets="q_proj,gate"))
        gpt2 = self.base("gpt2")
        path = os.path.join(gpt2, "model.safetensors")
        save_file({"transformer." + n: t.clone() for n, t in load_file(path).items()}, path, metadata={"format": "pt"})
        jobs.append(self.job(gpt2))
        wanted = [*REFUSED.values(), "PEFT could not load an adapter of model.layers.0.block_sparse_moe.gate", "mlx-lm cannot load the gpt2 base"]
        for words, job, said in zip(wanted, jobs, self.run_all(jobs)):
            with self.subTest(words):
                self.assertIn(words, said.get("refused", said))
                self.assertFalse(os.path.exists(job.path("model")))

    def test_an_adapter_that_is_stored_wrongly_is_noticed(self):
        """The answers after loading are not those of before."""
        job = self.job(self.base("qwen2"))
        (said,) = self.run_all([job], "wrongly ")
        self.assertIn("gives other answers when MLX loads it", said.get("refused", said))

    def test_the_types_that_peft_fuses(self):
        from peft.utils.transformers_weight_conversion import _MODEL_TO_CONVERSION_PATTERN, _MOE_TARGET_MODULE_MAPPING
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        from kolm_trainer import mlx_base

        fused = {kind for kind, like in _MODEL_TO_CONVERSION_PATTERN.items()
                 if like in _MOE_TARGET_MODULE_MAPPING and get_checkpoint_conversion_mapping(kind) is not None}
        folder = os.path.join(os.path.dirname(MLX), "..", "lib")
        (models,) = [os.path.join(where, "models") for where, _, _ in os.walk(folder) if where.endswith(os.path.join("site-packages", "mlx_lm"))]
        known = {name.removesuffix(".py") for name in os.listdir(models)} | {"minimax_m2"}
        self.assertEqual(fused & known - mlx_base.FUSED, set())

    def test_the_same_in_peft(self):
        from kolm_trainer import mlx_base

        self.assertEqual(mlx_base.TRIED, set(SAME))
        began = time.monotonic()
        families = os.environ.get("KOLM_TEST_FAMILIES", "").split() or SAME
        bases = [self.base(family) for family in families]
        jobs = [self.job(base) for base in bases]
        for family, base, job, said in zip(families, bases, jobs, self.run_all(jobs)):
            with self.subTest(family):
                self.assertNotIn("crashed", said)
                self.assertNotIn("refused", said)
                self.compare(job, base if family in ALONE else None)
                print(f"{family:20} the same in PEFT; {said['logs'] or 'all layers'}", flush=True)
        print(f"{len(families)} families, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    real.main()
