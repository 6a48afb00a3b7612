#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares kolm's trainer with a plain PEFT + transformers script and with the bare loop: same model, rows and hyper-parameters, in
turns, as ratios of medians. The machine may be busy, so CPU seconds are shown next to wall seconds.

    tests/bench/trainer.py --python VENV/bin/python --base DIR --data rows.jsonl [--rows 600] [--rounds 3]

--base DIR: an encoder such as all-MiniLM-L6-v2. The bench itself makes a small causal model with random weights."""
import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TRAINER = os.path.join(os.path.dirname(os.path.dirname(HERE)), "sdk", "trainer")
BATCH, THREADS = 16, 2

MAKE_CAUSAL = """
import sys
sys.path.insert(0, sys.argv[1])
from kolm_trainer import selftest
import json, os, torch
from transformers import LlamaConfig, LlamaForCausalLM
selftest._make_base(sys.argv[2])
size = json.load(open(os.path.join(sys.argv[2], "config.json")))["vocab_size"]
torch.manual_seed(1)
LlamaForCausalLM(LlamaConfig(vocab_size=size, hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=8,
    num_key_value_heads=4, max_position_embeddings=512, pad_token_id=0, eos_token_id=1, bos_token_id=None)).save_pretrained(sys.argv[2])
"""

BARE = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
from kolm_trainer import batches, events, train
from kolm_trainer.job import Job
import torch
events._out = open(os.devnull, "w")
t = train.Training(Job(sys.argv[2]), "cpu", int(sys.argv[3]))
t.prepare(); t.start(); t.model.train()
order = batches.epoch_batches(t.work.lengths, t.train_rows, t.batch, 1, 0)[:40]
parameters = list(t.parameters.values())

def bare(rows):
    t.optimizer.zero_grad(set_to_none=True)
    (t.work.forward(rows)[0] / t.work.targets(rows)).backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    t.optimizer.step()

def ours(rows):
    loss, _ = t.train_step(rows)
    events.progress("training", t.step, t.total, loss, 1.0)

spent = {bare: 0.0, ours: 0.0}
for i, rows in enumerate(order):
    for step in (bare, ours) if i % 2 else (ours, bare):
        began = time.process_time()
        step(rows)
        if i >= 4:
            spent[step] += time.process_time() - began
print(json.dumps({"ratio": spent[ours] / spent[bare]}))
"""


def write_job(directory, rows, base, options):
    os.makedirs(directory)
    with open(os.path.join(directory, "train.jsonl"), "w", encoding="utf-8") as file:
        for i, row in enumerate(rows):
            file.write(json.dumps({"id": str(i), "input": row["input"], "output": row["output"]}) + "\n")
    labels = len({row["output"] for row in rows})
    job = {"format": 1, "kind": "train", "task": "bench", "recipe": "lora", "seed": 1, "effort": "normal", "rows": len(rows),
           "labels": labels, "options": {"base": {"path": base, "name": "bench", "digest": "0" * 64}, "trainer": options}}
    with open(os.path.join(directory, "job.json"), "w", encoding="utf-8") as file:
        json.dump(job, file)


def timed(words):
    """Returns the standard output of a child and the resources it used."""
    began = time.monotonic()
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines, first = [], None
    for line in child.stdout:
        lines.append(line)
        if first is None and '"phase":"training"' in line:
            first = time.monotonic() - began
    _, status, used = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit("%s ended with %d:\n%s" % (words, status, "".join(lines[-5:])))
    return lines, first, time.monotonic() - began, used


def used_by(first, total, used):
    return {"first_step_seconds": first, "total_seconds": total, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}


def kolm(python, job):
    shutil.rmtree(os.path.join(job, "model"), True)
    lines, first, total, used = timed([python, "-s", "-B", TRAINER, "train", "--job", job, "--device", "cpu", "--threads", str(THREADS)])
    metrics = {event["name"]: event["value"] for event in map(json.loads, lines) if event["event"] == "metric"}
    return {"tokens_per_second": metrics["trainer.tokens_per_second"], "loop_seconds": metrics["trainer.loop_seconds"],
            **used_by(first, total, used)}


def plain(python, job, base, epochs, rate):
    lines, first, total, used = timed([python, os.path.join(HERE, "trainer_plain.py"), job, base, str(THREADS), str(BATCH), str(epochs), str(rate)])
    return {**json.loads(lines[-1]), **used_by(first, total, used)}


def median(results, key):
    return statistics.median(result[key] for result in results)


def compare(name, python, rows, base, rounds, more):
    epochs, rate = 2, 1e-3
    with tempfile.TemporaryDirectory(prefix="kolm-bench-") as work:
        job = os.path.join(work, "job")
        write_job(job, rows, base, {"epochs": str(epochs), "batch": str(BATCH), "learning_rate": str(rate), "valid": "0", "warmup": "0", **more})
        ours, theirs = [], []
        for number in range(rounds):
            for first in (True, False) if number % 2 else (False, True):  # neither side always gets a cold cache
                if first:
                    theirs.append(plain(python, job, base, epochs, rate))
                else:
                    ours.append(kolm(python, job))
        lines, _, _, _ = timed([python, "-c", BARE, TRAINER, job, str(THREADS)])
    print("%s, %d rows, %d epochs, batch %d, %d threads, medians of %d" % (name, len(rows), epochs, BATCH, THREADS, rounds))
    for key, text, better in (("tokens_per_second", "tokens a second", "higher"), ("cpu_seconds", "processor seconds, all", "lower"),
                              ("first_step_seconds", "seconds to the first step", "lower"), ("peak_mib", "peak MiB", "lower"),
                              ("total_seconds", "seconds, all", "lower")):
        a, b = median(ours, key), median(theirs, key)
        print("  %-28s kolm %9.2f   plain %9.2f   ratio %.2f (%s is better)   all: %s | %s" % (
            text, a, b, a / b, better, " ".join("%.1f" % r[key] for r in ours), " ".join("%.1f" % r[key] for r in theirs)))
    outside = [1 - r["loop_seconds"] / r["total_seconds"] for r in ours]
    print("  share outside the loop       kolm %8.0f %%   plain %8.0f %%" % (
        100 * statistics.median(outside), 100 * statistics.median(1 - r["loop_seconds"] / r["total_seconds"] for r in theirs)))
    print("  a step against the bare loop, in processor time: %.3f" % json.loads(lines[-1])["ratio"], flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with open(arguments.data, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    random.Random(1).shuffle(rows)  # files are often sorted by label
    rows = rows[:arguments.rows]
    compare("classification on " + os.path.basename(arguments.base.rstrip("/")), arguments.python, rows, arguments.base, arguments.rounds, {})
    with tempfile.TemporaryDirectory(prefix="kolm-bench-") as base:
        subprocess.run([arguments.python, "-c", MAKE_CAUSAL, TRAINER, base], check=True, stderr=subprocess.DEVNULL)
        compare("a causal model of 5 million parameters", arguments.python, rows[:arguments.rows // 3], base, arguments.rounds,
                {"template": "plain"})


if __name__ == "__main__":
    main()
