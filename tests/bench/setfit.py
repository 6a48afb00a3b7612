#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares recipe encoder with SetFit: the same few rows, base and questions; accuracy and CPU time of the whole process.

    tests/bench/setfit.py --kolm build/release/core/cli/kolm --python VENV/bin/python --base DIR --data DATASET
        [--labels 20] [--few 5] [--iterations 20] [--rounds 1]

VENV has requirements-setfit.txt. Each round takes the next --labels labels in the order of their names, the first --few training
rows of each in a fixed order, and the rows of test.jsonl with these labels. SetFit gets its defaults (one epoch, batches of 16, a
logistic regression on the tuned embeddings) with --iterations pairs of each kind per row, 20 as in its paper; without it, SetFit uses all
pairs. Both processes train and answer the test rows; kolm also checks, scores, signs and writes an artifact. Both may use two
threads."""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from recipe_encoder import few_of, read_rows, write_rows

THREADS = "2"


def peer(base, train, test, iterations):
    """Runs in the venv; prints the number of correct test rows."""
    sys.path.pop(0)  # this file has the name of the package
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments
    train, test = read_rows(train), read_rows(test)
    model = SetFitModel.from_pretrained(base, local_files_only=True, device="cpu")
    with tempfile.TemporaryDirectory(prefix="setfit-") as out:
        told = TrainingArguments(num_iterations=iterations, output_dir=out, report_to="none", save_strategy="no")
        rows = Dataset.from_dict({"text": [row["input"] for row in train], "label": [row["output"] for row in train]})
        Trainer(model=model, args=told, train_dataset=rows).train()
    answers = model.predict([row["input"] for row in test])
    print(sum(str(answer) == row["output"] for answer, row in zip(answers, test)))


def measured(words, env, cwd):
    """Returns the output, and the wall and CPU seconds of a process with its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(words, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(done.stderr.decode())
    return done.stdout.decode(), wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def one_round(args, rows, test, labels, work):
    train, test = (few_of([row for row in part if row["output"] in labels], most) for part, most in ((rows, args.few), (test, 0)))
    write_rows(os.path.join(work, "train.jsonl"), train)
    write_rows(os.path.join(work, "test.jsonl"), test)
    env = dict(os.environ, KOLM_HOME=os.path.join(work, "home"))
    words = ["compile", "-t", "few", "-d", "train.jsonl", "--eval", "test.jsonl", "--base", args.base, "--threads", THREADS, "--force", "--quiet",
             "--gate", "0", "--min-accuracy", "0", "--allow-baseline"]
    _, wall, cpu = measured([args.kolm, *words], env, work)
    score = json.loads(measured([args.kolm, "score", "few-1.0.0.kolm", "--eval", "test.jsonl", "--json"], env, work)[0])
    print("| kolm | %d | %.2f | %.1f | %.1f |" % (len(train), 100 * score["accuracy"], cpu, wall), flush=True)
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": THREADS}
    told = [args.python, os.path.abspath(__file__), "--peer", args.base, "train.jsonl", "test.jsonl", str(args.iterations)]
    right, peer_wall, peer_cpu = measured(told, {**os.environ, **quiet}, work)
    accuracy = 100 * int(right.split()[-1]) / len(test)
    print("| SetFit | %d | %.2f | %.1f | %.1f |" % (len(train), accuracy, peer_cpu, peer_wall), flush=True)
    print("processor time: kolm's is 1/%.0f; %d test rows" % (peer_cpu / cpu, len(test)), flush=True)


def main():
    if sys.argv[1:2] == ["--peer"]:
        peer(*sys.argv[2:5], int(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--kolm", "--python", "--base", "--data"):
        parser.add_argument(name, required=True)
    for name, value in (("--labels", 20), ("--few", 5), ("--iterations", 20), ("--rounds", 1)):
        parser.add_argument(name, type=int, default=value)
    args = parser.parse_args()
    args.kolm, args.python, args.base, args.data = (os.path.abspath(path) for path in (args.kolm, args.python, args.base, args.data))
    rows, test = (read_rows(os.path.join(args.data, name)) for name in ("train.jsonl", "test.jsonl"))
    names = sorted({row["output"] for row in rows})
    print("| what | rows | accuracy % | processor s | wall s |\n|---|---|---|---|---|")
    for number in range(args.rounds):
        labels = set(names[number * args.labels:(number + 1) * args.labels])
        with tempfile.TemporaryDirectory(prefix="kolm-setfit-") as work:
            one_round(args, rows, test, labels, work)


if __name__ == "__main__":
    main()
