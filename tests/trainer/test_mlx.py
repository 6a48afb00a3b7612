#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The engine on MLX, on a processor: it learns, repeats, resumes after a kill, and its result can be read by torch and PEFT."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import real  # noqa: E402

if __name__ == "__main__":
    real.enter()

import tinybase  # noqa: E402

MLX = os.environ.get("KOLM_TEST_MLX_PYTHON")
ROWS, NEW = tinybase.rows(320, 31, tinybase.team), tinybase.rows(40, 32, tinybase.team)
SHORT = {"epochs": "1", "rank": "4"}
# Runs in MLX's interpreter, with the libraries loaded: each line of input is a run of the trainer, in a fork of it. kill: SIGKILL is sent
# when the run has reported this step; each step leaves a checkpoint then.
DRIVER = """
import json, signal, sys
sys.path[:0] = sys.argv[1:]
import mlx.core, mlx.nn, mlx.optimizers, mlx_lm.models.cache, mlx_lm.models.llama, mlx_lm.tuner.lora, mlx_lm.utils
import real
from kolm_trainer import mlx_engine
from transformers import AutoConfig, AutoTokenizer
for line in sys.stdin:
    wanted = json.loads(line)
    running = real.Running(wanted["words"], real.each_step_saved if wanted["kill"] else None)
    if wanted["kill"]:
        running.wait_for(lambda: running.said('"phase":"training","step":%d,' % wanted["kill"]))
        running.signal(signal.SIGKILL)
    done = running.wait()
    print(json.dumps([done.status, done.events, done.err]), flush=True)
"""


class Forks:
    """The process that runs DRIVER."""

    def __init__(self):
        words = [MLX, "-s", "-B", "-c", DRIVER, real.TRAINER, real.HERE]
        self.child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, words, kill=0):
        self.child.stdin.write(json.dumps({"words": words, "kill": kill}) + "\n")
        self.child.stdin.flush()
        status, events, err = json.loads(self.child.stdout.readline())
        done = real.Done(status, "", err)
        done.events = events
        return done

    def end(self):
        self.child.communicate()


def setUpModule():
    real.need_mlx()
    base = Mlx.base = tempfile.mkdtemp(prefix="kolm-mlx-base-")
    unittest.addModuleCleanup(real.shutil.rmtree, base, True)
    tinybase.base(base)
    Mlx.forks = Forks()
    unittest.addModuleCleanup(Mlx.forks.end)


class Job(real.Job):
    """A job that MLX runs."""

    def run(self, words, hook=None):
        return Mlx.forks.run(words)


class Mlx(real.Case):
    forks = None

    def job(self, name, rows=ROWS, **options):
        return Job(os.path.join(self.dir, name), self.base, rows, device="mlx", **options)

    def adapter(self, job):
        with open(job.path("model", "adapter_model.safetensors"), "rb") as file:
            return file.read()

    def alone(self, job):
        """As a plugin starts it: in a separate process."""
        done = subprocess.run([MLX, "-s", "-B", real.TRAINER, *job.words("train")], capture_output=True, text=True, timeout=300, check=False)
        return real.Done(done.returncode, done.stdout, done.stderr)

    def test_it_learns_and_torch_reads_what_it_leaves(self):
        job = self.job("first", epochs="4", learning_rate="5e-3", batch="8", valid="0")
        self.good(job.train())
        asked = [row["input"] for row in NEW]
        done, ours = job.infer(asked)
        self.good(done)
        self.assertGreaterEqual(self.share_right(ours, NEW), 0.9)
        with open(job.path("result.json"), encoding="utf-8") as file:
            self.assertIn("mlx", json.load(file)["toolchain"])
        # Plain PEFT loads it, and so does the trainer with torch.
        import peft
        from transformers import AutoModelForCausalLM

        torchs = real.Job(os.path.join(self.dir, "torchs"), self.base, ROWS)
        done, theirs = torchs.infer(asked, files=job.model_files())
        self.good(done)
        self.assertEqual([a["output"] for a in theirs], [a["output"] for a in ours])
        for a, b in zip(ours, theirs):
            self.assertAlmostEqual(a["confidence"], b["confidence"], delta=0.002)
        model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(self.base), job.path("model"))
        self.assertGreater(sum(float(p.abs().sum()) for n, p in model.named_parameters() if "lora_B" in n), 0)

    def test_twice_and_after_a_kill(self):
        whole, again, killed = (self.job(name, ROWS[:160], **SHORT) for name in ("whole", "again", "killed"))
        self.good(self.alone(whole))
        self.good(again.train())
        self.assertEqual(self.adapter(again), self.adapter(whole))
        self.assertEqual(self.forks.run(killed.words("train"), kill=5).status, -signal.SIGKILL)
        self.assertTrue(os.path.exists(killed.path("checkpoint", "state.safetensors")))
        done = self.good(killed.train())
        self.assertTrue(any("continuing from step" in text for text in done.logs()), done.logs())
        self.assertEqual(self.adapter(killed), self.adapter(whole))
        self.assertFalse(os.path.exists(killed.path("checkpoint")))

    def test_what_it_does_not_do(self):
        self.refused(self.job("full", method="full").train(), 12, "")


if __name__ == "__main__":
    real.main()
