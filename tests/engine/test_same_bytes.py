#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same model bytes from gcc and clang, from -O0 to -O3 (this build if it is a release), with and without wide vectors; and what the
plugin exports."""
import argparse
import glob
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ENGINE = os.path.join(ROOT, "plugins", "local-cpu")
KIT = os.path.join(ROOT, "sdk", "kit")
sys.path.insert(0, os.path.join(ROOT, "tests", "encoder"))
import tiny_models  # noqa: E402

# The version that stands for the bytes of recipe encoder, and a digest of some. Those of recipe linear are in test_golden.c.
GOLDEN = ("kolm-encoder 3", "22041b83f1c7a0d174073bfb5cc330588b41009d5278405c21ba22fbaa4d0d38")
PARTS = "text rows rows_read solver l1 pool rule trials choose calibrate fit model train".split()
KIT_PARTS = "status buf text json_validate json_tree json json_walk lines hash file lock process thread".split()


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def rows(path, count, labels, words):
    rng = random.Random(3)
    with open(path, "w", encoding="utf-8") as out:
        for i in range(count):
            label = rng.randrange(labels)
            text = " ".join(rng.choice(("w%d" % rng.randrange(300), "l%d x%d" % (label, rng.randrange(9)), "Ünï%d" % (label + rng.randrange(3)))) for _ in range(words))
            out.write(json.dumps({"id": str(i), "input": text, "output": "label %d" % label}, ensure_ascii=False) + "\n")


class SameBytes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.builds = tempfile.mkdtemp(prefix="kolm-builds-")
        cls.addClassCleanup(shutil.rmtree, cls.builds, True)

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-bytes-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def build(self, compiler, flags):
        out = os.path.join(self.builds, "bench-" + "".join(c for c in compiler + "-".join(flags) if c.isalnum() or c == "-"))
        if os.path.exists(out):
            return out
        sources = [os.path.join(ENGINE, p + ".c") for p in PARTS] + [os.path.join(KIT, "src", p + ".c") for p in KIT_PARTS]
        sources.append(os.path.join(ROOT, "tests", "engine", "kolm_linear_bench.c"))
        self.compile(compiler, [*flags, *sources, *self.encoder_objects(), "-o", out, "-lcjson", "-lm", "-lpthread"])
        return out

    def encoder_objects(self):
        """Not optimized, and compiled only once: its kernels take longest to compile, and are compared with this build."""
        directory = os.path.join(self.builds, "encoder")
        if not os.path.exists(directory):
            os.mkdir(directory)
            self.compile("cc", ["-O0", "-c", *glob.glob(os.path.join(ENGINE, "encoder", "*.c"))], cwd=directory)
        return sorted(glob.glob(os.path.join(directory, "*.o")))

    def compile(self, compiler, words, **more):
        includes = ["-I" + p for p in (ENGINE, os.path.join(KIT, "include"), os.path.join(ROOT, "sdk", "include"))]
        subprocess.run([compiler, "-std=c11", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-ffp-contract=off", "-w", *includes, *words], check=True, **more)

    def encoder_digests(self, bench, data, base, threads, *kernels):
        out = tempfile.mkdtemp(dir=self.dir)
        subprocess.run([bench, "train", data, os.path.join(out, "linear.bin"), "quick", str(threads), "1", base, *kernels], check=True,
                       stdout=subprocess.DEVNULL)
        found = {}
        for name in sorted(os.listdir(out)):
            with open(os.path.join(out, name), "rb") as f:
                found[name] = hashlib.sha256(f.read()).hexdigest()
        self.assertEqual(sorted(found), ["encoder.json", "head.bin", "linear.bin", "tokenizer_config.json", "vocab.txt"])
        return found["head.bin"], found["linear.bin"], found["encoder.json"]

    def test_encoder(self):
        """The whole payload of recipe encoder, with all vector widths, with plain C, and without optimization."""
        data, base = os.path.join(self.dir, "rows.jsonl"), os.path.join(self.dir, "base")
        rows(data, 300, 5, 6)
        tiny_models.Tiny("bert").write(base)
        with open(os.path.join(base, "vocab.txt"), "w", encoding="ascii") as f:
            f.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list("wlxabc0123456789") + ["##%d" % i for i in range(29)]))
        with open(os.path.join(base, "tokenizer_config.json"), "w", encoding="ascii") as f:
            f.write('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
        seen = {self.encoder_digests(ARGS.bench, data, base, threads, *kernels) for threads, *kernels in ((1,), (2,), (1, "plain"), (2, "4"))}
        seen.add(self.encoder_digests(self.build("cc", ["-O0"]), data, base, 2))
        self.assertEqual(len(seen), 1)
        word = re.search(r'LOCAL_CPU_ENCODER_TOOLCHAIN "(.*)"', read(os.path.join(ENGINE, "backend.h"))).group(1)
        self.assertEqual((word, hashlib.sha256("".join(seen.pop()).encode()).hexdigest()), GOLDEN,
                         "the bytes of models changed: increment LOCAL_CPU_ENCODER_TOOLCHAIN in backend.h, and put both here")

    def digests(self, bench, shapes, threads):
        model, found = os.path.join(self.dir, "model.bin"), []
        for name in shapes:
            data = os.path.join(self.dir, name + ".jsonl")
            done = subprocess.run([bench, "train", data, model, "normal", str(threads)], check=True, stdout=subprocess.PIPE, universal_newlines=True)
            others = [int(line.split()[-1]) for line in done.stdout.splitlines() if line.startswith("  words")]
            self.assertEqual(all(n < shapes[name][0] / 2 for n in others), name == "first-fold", done.stdout)
            with open(model, "rb") as f:
                found.append(hashlib.sha256(f.read()).hexdigest())
        return tuple(found)

    def test_compilers_and_levels(self):
        """Few rows, long rows, and so many that candidates are compared on the first fold alone."""
        shapes = {"many": (400, 20, 6), "long": (500, 4, 30), "first-fold": (7800, 5, 3)}
        for name, shape in shapes.items():
            rows(os.path.join(self.dir, name + ".jsonl"), *shape)
        builds = [("cc", ["-O0"])]
        if os.uname().machine == "x86_64" and "avx2" in open("/proc/cpuinfo").read() and "fma" in open("/proc/cpuinfo").read():
            builds.append(("cc", ["-O3", "-mavx2", "-mfma"]))
        if shutil.which("clang"):
            builds.append(("clang", ["-O2"]))
        seen = {}
        for compiler, flags in builds:
            if not shutil.which(compiler):
                continue
            bench = self.build(compiler, flags)
            # The last shape takes long without optimization.
            some = shapes if "-O0" not in flags else {name: shapes[name] for name in ("many", "long")}
            seen[(compiler, *flags)] = self.digests(bench, some, 2)
        whole = self.digests(ARGS.bench, shapes, 1)
        for build, digests in seen.items():
            self.assertEqual(digests, whole[:len(digests)], build)

    def test_tables_are_what_the_script_makes(self):
        import unicodedata
        with open(os.path.join(ENGINE, "unicode_table.h"), encoding="utf-8") as f:
            kept = f.read()
        if "Unicode %s:" % unicodedata.unidata_version not in kept:
            self.skipTest("this Python knows another version of Unicode")
        made = subprocess.run([os.sys.executable, os.path.join(ENGINE, "make_unicode.py")], check=True, capture_output=True, text=True).stdout
        self.assertEqual(made, kept)

    def test_exports_one_symbol(self):
        if not shutil.which("nm"):
            self.skipTest("no nm")
        text = subprocess.run(["nm", "-D", "--defined-only", ARGS.plugin], check=True, capture_output=True, text=True).stdout
        names = [line.split()[-1] for line in text.splitlines()]
        self.assertEqual([n for n in names if not n.startswith(("__asan", "__odr_asan", "__sanitizer"))], ["kolm_backend_v1"])

    def test_manifest_is_next_to_the_plugin(self):
        with open(os.path.splitext(ARGS.plugin)[0] + ".json", encoding="utf-8") as f:
            self.assertEqual(json.load(f)["name"], "local-cpu")

    def test_no_libm_beyond_sqrt(self):
        """The engine's bits must not depend on the system's libm."""
        text = "".join(read(p) for p in glob.glob(os.path.join(ENGINE, "**", "*.[ch]"), recursive=True))
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        for name in ("logf(", " log(", " exp(", "expf(", "pow(", "powf(", "log1p(", "tanh("):
            self.assertNotIn(name, text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bench", required=True)
    parser.add_argument("--plugin", required=True)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[__file__, *rest])
