#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The engine on MLX, on a processor: it learns, repeats, goes on after a kill, and leaves what torch and PEFT read."""
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
    if not os.environ.get("KOLM_TEST_MLX_PYTHON"):
        print("KOLM_TEST_MLX_PYTHON names no interpreter with mlx: `./dev test` makes one")
        sys.exit(real.SKIP)
    real.enter()

import tinybase  # noqa: E402

MLX = os.environ.get("KOLM_TEST_MLX_PYTHON")
ROWS, NEW = tinybase.rows(320, 31, tinybase.team), tinybase.rows(40, 32, tinybase.team)


def setUpModule():
    base = Mlx.base = tempfile.mkdtemp(prefix="kolm-mlx-base-")
    unittest.addModuleCleanup(real.shutil.rmtree, base, True)
    tinybase.base(base)


class Mlx(unittest.TestCase):
    base = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-mlx-")
        self.addCleanup(real.shutil.rmtree, self.dir, True)

    def make_job(self, name, **options):
        directory = os.path.join(self.dir, name)
        os.makedirs(directory)
        with open(os.path.join(directory, "train.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in ROWS)
        self.write_job(directory, {"kind": "train"}, options)
        return directory

    def write_job(self, directory, more, options):
        labels = len(set(tinybase.TEAMS.values()))
        job = {"format": 1, "task": "teams", "recipe": "lora", "seed": 3, "effort": "quick", "rows": len(ROWS), "labels": labels,
               "options": {"base": {"path": self.base, "name": "tiny", "digest": "0" * 64}, "trainer": options}, **more}
        with open(os.path.join(directory, "job.json"), "w", encoding="utf-8") as file:
            json.dump(job, file)

    def trainer(self, python, verb, directory, device, *words):
        return [python, "-s", "-B", real.TRAINER, verb, "--job", directory, "--device", device, "--threads", "1", *words]

    def run_trainer(self, *words):
        done = subprocess.run(self.trainer(*words), capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-2000:])
        return [json.loads(line) for line in done.stdout.splitlines()]

    def train(self, name, **options):
        directory = self.make_job(name, **options)
        self.run_trainer(MLX, "train", directory, "mlx")
        return directory

    def adapter(self, directory):
        with open(os.path.join(directory, "model", "adapter_model.safetensors"), "rb") as file:
            return file.read()

    def answers(self, python, device, directory):
        model = os.path.join(directory, "model")
        files = [{"name": n, "path": os.path.join(model, n), "offset": 0, "size": os.path.getsize(os.path.join(model, n))}
                 for n in sorted(os.listdir(model))]
        self.write_job(directory, {"kind": "infer", "model_files": files}, {})
        asked, said = os.path.join(directory, "asked.jsonl"), os.path.join(directory, "said.jsonl")
        with open(asked, "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"id": row["id"], "input": row["input"]}) + "\n" for row in NEW)
        self.run_trainer(python, "infer", directory, device, "--input", asked, "--output", said)
        with open(said, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def test_it_learns_and_torch_reads_what_it_leaves(self):
        directory = self.train("first", epochs="4", learning_rate="5e-3")
        ours = self.answers(MLX, "mlx", directory)
        right = sum(a["output"] == row["output"] for a, row in zip(ours, NEW)) / len(NEW)
        self.assertGreaterEqual(right, 0.9)
        theirs = self.answers(sys.executable, "cpu", directory)
        self.assertEqual([a["output"] for a in theirs], [a["output"] for a in ours])
        for a, b in zip(ours, theirs):
            self.assertAlmostEqual(a["confidence"], b["confidence"], delta=0.002)
        with open(os.path.join(directory, "result.json"), encoding="utf-8") as file:
            self.assertIn("mlx", json.load(file)["toolchain"])
        # Plain PEFT takes it too.
        import peft
        from transformers import AutoModelForCausalLM

        model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(self.base), os.path.join(directory, "model"))
        self.assertGreater(sum(float(p.abs().sum()) for n, p in model.named_parameters() if "lora_B" in n), 0)

    def test_twice_and_after_a_kill(self):
        whole = self.adapter(self.train("whole", epochs="2", rank="4"))
        self.assertEqual(self.adapter(self.train("again", epochs="2", rank="4")), whole)
        directory = self.make_job("killed", epochs="2", rank="4")
        # Every step leaves a checkpoint, so that there is one when the kill comes.
        driver = os.path.join(self.dir, "driver.py")
        with open(driver, "w", encoding="utf-8") as file:
            file.write("import sys; sys.path.insert(0, sys.argv[1])\nfrom kolm_trainer import cli, train\n"
                       "train._CHECKPOINT_SECONDS = -1\nsys.exit(cli.main(sys.argv[2:]))\n")
        words = self.trainer(MLX, "train", directory, "mlx")
        child = subprocess.Popen([MLX, "-s", "-B", driver, real.TRAINER, *words[4:]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in child.stdout:
            event = json.loads(line)
            if event["event"] == "progress" and event["phase"] == "training" and event["step"] >= 5:
                break
        child.send_signal(signal.SIGKILL)
        child.communicate()
        self.assertTrue(os.path.exists(os.path.join(directory, "checkpoint", "state.safetensors")))
        events = self.run_trainer(MLX, "train", directory, "mlx")
        self.assertTrue(any("going on from step" in e.get("text", "") for e in events))
        self.assertEqual(self.adapter(directory), whole)
        self.assertFalse(os.path.exists(os.path.join(directory, "checkpoint")))

    def test_what_it_does_not_do(self):
        directory = self.make_job("full", method="full")
        done = subprocess.run(self.trainer(MLX, "train", directory, "mlx"), capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 1)
        error = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual((error["event"], error["code"]), ("error", 12))


if __name__ == "__main__":
    real.main()
