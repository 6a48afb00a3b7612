#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Recipe encoder from rows to answers, with an encoder that the test makes."""
import base64
import glob
import hashlib
import importlib.util
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case, jsonl, tickets  # noqa: E402

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "encoder"))
import tiny_models  # noqa: E402

WORDS = harness.LABELS + harness.FILLER


def setUpModule():
    harness.set_up_tree()


def write_encoder(directory, **more):
    """Writes a BERT of 50 tokens that has the words of the tickets."""
    model = tiny_models.Tiny("bert", **more)
    model.write(directory)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list(WORDS) + list("0123456789")
    vocabulary += ["##%d" % i for i in range(10)]
    vocabulary += ["[unused%d]" % i for i in range(model.vocabulary - len(vocabulary))]
    with open(os.path.join(directory, "vocab.txt"), "w", encoding="ascii") as out:
        out.write("\n".join(vocabulary[:model.vocabulary]) + "\n")
    with open(os.path.join(directory, "tokenizer_config.json"), "w", encoding="ascii") as out:
        json.dump({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 40}, out)


class Encoder(Case):
    backends = ()

    def setUp(self):
        super().setUp()
        self.add_engine()
        self.base = os.path.join(self.work, "sentences")
        write_encoder(self.base)
        self.write_tickets()

    def make(self, *words, **more):
        return self.compile("--base", "sentences", "--effort", "quick", *words, **more)

    def answers(self, *texts, **more):
        return self.kolm("run", "router-1.0.0.kolm", *texts, **more).out

    # ---- Its purpose

    def test_from_rows_to_answers(self):
        done = self.make("--embed-eval", "-v")
        self.assertIn("[recipe]      encoder, the recipe for bases with a modules.json, such as sentences", done.out)
        with zipfile.ZipFile(os.path.join(self.work, "router-1.0.0.kolm")) as artifact:
            names = set(artifact.namelist())
            manifest = json.loads(artifact.read("manifest.json"))
            held = [json.loads(line) for line in artifact.read("eval/heldout.jsonl").decode().splitlines()]
        self.assertLessEqual({"model/linear.bin", "model/head.bin", "model/encoder.json", "model/vocab.txt"}, names)
        self.assertEqual((manifest["recipe"], manifest["toolchain"]), ("encoder", "kolm-encoder 3"))
        self.assertEqual(manifest["base"]["name"], "sentences")
        report = manifest["report"]
        self.assertEqual((report["dimensions"], report["max_tokens"], report["texts_cut"]), (20, 40, 0))
        self.assertEqual(report["labels"], sorted(harness.LABELS))
        self.assertLess(report["passes_per_answer_micro"], 1000000)
        self.assertGreater(manifest["kscore"]["accuracy"], 0.8)
        self.assertEqual(self.answers("refund the order please").split()[0], "refund")
        self.write("held.jsonl", jsonl(held))
        score = self.json("score", "router-1.0.0.kolm", "--eval", "held.jsonl")
        self.assertEqual(score["correct"], manifest["kscore"]["correct"])
        shown = self.kolm("inspect", "router-1.0.0.kolm").out
        self.assertRegex(shown, r"(?m)^chosen +a head with lambda %.3f, %.1f%% right in cross-validation \(as" % (
            report["head"]["lambda_micro"] / 1e6, 100 * report["oof_correct"] / report["oof_answered"]))
        self.assertRegex(shown, r"(?m)^linear part +%s \(as" % re.escape(report["chosen"]))
        self.assertIn("not in this file", shown)
        self.assertIn("base digest  sha256 %s, of the 6 files that were read" % manifest["base"]["digest"], shown)
        self.assertIn("for the linear part: chose " + report["chosen"], done.err)
        self.assertIn("trusted", self.kolm("verify", "router-1.0.0.kolm").out)
        self.assertEqual(self.jobs(), [])
        self.kolm("report", "router-1.0.0.kolm")
        page = self.read("router-1.0.0.html").decode().replace("<wbr>", "")
        of = "%.1f %% in cross-validation" % (100 * report["oof_correct"] / report["oof_answered"])
        head = report["head"]["lambda_micro"] / 1e6
        for piece in ("With the head", of, "a head with lambda %.3f" % head, "Chosen for the linear part", report["chosen"]):
            self.assertIn(piece, page)

    def test_many_lines_are_one_lines_answers(self):
        """Texts that arrive together are embedded together; the answers are the same as one by one, and in order."""
        self.make()
        texts = [row["input"] for row in tickets(40, seed=9)] + ["", "x" * 2000, "word " * 3000]
        self.write("ask.jsonl", jsonl({"id": str(i), "input": text} for i, text in enumerate(texts)))
        together = [json.loads(line) for line in self.kolm("run", "router-1.0.0.kolm", "--input", "ask.jsonl").out.splitlines()]
        self.assertEqual([line["id"] for line in together], [str(i) for i in range(len(texts))])
        for i in (0, 7, 40, 41, 42):
            alone = json.loads(self.kolm("run", "router-1.0.0.kolm", "--jsonl", stdin=jsonl([{"id": "a", "input": texts[i]}])).out)
            self.assertEqual((alone["output"], alone["confidence"]), (together[i]["output"], together[i]["confidence"]))

    def test_the_same_bytes_from_any_number_of_threads(self):
        made = set()
        for threads in ("1", "2", "3"):
            self.make("--threads", threads, "-o", "t%s.kolm" % threads)
            made.add(self.read("t%s.kolm" % threads))
        self.assertEqual(len(made), 1)

    def test_a_warm_model(self):
        self.make()
        cold = self.answers("login again please")
        server = self.start("run", "router-1.0.0.kolm", "--serve")
        run = os.path.join(self.home, "run")
        os.mkdir(os.path.join(self.work, "empty"))
        try:
            self.assertIn(b"[serve]", server.stdout.readline())
            self.assertEqual(len(os.listdir(run)), 2)
            # A base that is named is checked, whichever backend answers.
            self.assert_error(self.kolm("run", "router-1.0.0.kolm", "login", "--base", "empty", code=None), "is not a base model")
            self.assertEqual(self.answers("login again please", "--base", "sentences"), cold)
            self.assertEqual(self.answers("login again please"), cold)
            self.assertEqual(self.answers("login again please"), cold)
        finally:
            self.interrupt(server)
        self.assertEqual(os.listdir(run), [])

    def test_words_that_are_no_base_and_no_text(self):
        self.assert_error(self.compile("--base", "tickets.jsonl", code=None), "tickets.jsonl is a file, and a base is a directory")
        self.make()
        self.assert_error(self.kolm("run", "router-1.0.0.kolm", "", code=2), "a TEXT is empty")
        self.assertTrue(self.kolm("run", "router-1.0.0.kolm", "--", "").out)

    def test_another_recipe_goes_by_its_name(self):
        self.assert_error(self.compile("--base", "sentences", "--recipe", "linear", code=None), "the linear recipe has no base model")
        self.compile("--recipe", "linear")
        self.assertIn("linear", self.kolm("inspect", "router-1.0.0.kolm").out)
        self.assert_error(self.compile("--recipe", "encoder", code=None), "the encoder recipe needs a base model")

    def test_measurements_of_another_recipe_are_not_used(self):
        self.assertIn("[repro]   linear measured: the same bytes twice", self.kolm("compute", "test", "local-cpu").out)
        self.assertIn("linear measured: the same bytes twice; encoder not measured; lora not measured", self.kolm("compute", "info", "local-cpu").out)
        self.make()
        self.compile("--effort", "quick", "--version", "2.0.0")
        said = [json.loads(base64.b64decode(line["payload"])) for line in self.receipts()]
        said = [s["predicate"]["metrics"]["measured"]["reproducibility"] for s in said if "metrics" in s["predicate"]]
        self.assertEqual(said, ["not measured", "measured: the same bytes twice"])

    def test_no_python_is_in_the_way(self):
        """A damaged Python runtime does not affect a recipe that works without Python."""
        runtime = os.path.join(self.home, "runtimes", "local-cpu", "bin")
        self.make()
        os.makedirs(runtime, mode=0o700)
        self.write(os.path.join(runtime, "python"), "#!/bin/sh\n", 0o755)
        self.write_home("config.json", json.dumps({"runtimes": {"local-cpu": os.path.join(runtime, "python")}}))
        self.assertNotEqual(self.compile("--base", "sentences", "--recipe", "lora", "--force", code=None).returncode, 0)  # lists its files
        self.write(os.path.join(runtime, "python"), "#!/bin/true\n", 0o755)
        self.assert_error(self.compile("--base", "sentences", "--recipe", "lora", "--force", code=None), "has changed since it was set up")
        self.make("--force")
        self.assertEqual(self.answers("refund my order").split()[0], "refund")

    # ---- One file that answers on any machine

    def test_the_base_inside_the_artifact(self):
        self.make()
        before = self.answers("refund my order", "login again")
        with zipfile.ZipFile(os.path.join(self.work, "router-1.0.0.kolm")) as artifact:
            lean = json.loads(artifact.read("manifest.json"))
        self.make("--embed-base", "--force")
        with zipfile.ZipFile(os.path.join(self.work, "router-1.0.0.kolm")) as artifact:
            names = set(artifact.namelist())
            manifest = json.loads(artifact.read("manifest.json"))
        self.assertLessEqual({"model/base/" + name for name in ("config.json", "modules.json", "1_Pooling/config.json", "model.safetensors",
                                                                 "vocab.txt", "tokenizer_config.json")}, names)
        self.assertNotIn("model/vocab.txt", names)
        self.assertIs(manifest["base"]["embedded"], True)
        self.assertIn("carried in this file", self.kolm("inspect", "router-1.0.0.kolm").out)
        self.assertEqual(manifest["evaluation"], lean["evaluation"])  # the same answers, byte for byte
        self.assertLess(manifest["kscore"]["size"], lean["kscore"]["size"])
        self.kolm("report", "router-1.0.0.kolm")
        self.assertIn(b"carried in this file", self.read("router-1.0.0.html"))
        shutil.rmtree(self.base)
        self.assertEqual(self.answers("refund my order", "login again"), before)
        self.assertEqual(self.answers("refund my order", "login again", env={"KOLM_HOME": os.path.join(self.dir, "other-home")}), before)
        write_encoder(self.base)
        self.assert_error(self.kolm("run", "router-1.0.0.kolm", "refund", "--base", "sentences", code=None), "has no base model")

    def test_weights_that_are_halves_take_half_the_room(self):
        """Weights stored in 32 bits but trained in 16: in 16 bits they are the same numbers, and the answers the same bytes."""
        shutil.rmtree(self.base)
        write_encoder(self.base, dtype="F16")
        with open(os.path.join(self.base, "model.safetensors"), "rb") as file:
            data = file.read()
        begin = 8 + struct.unpack("<Q", data[:8])[0]
        wide, numbers = {}, {}
        for name, entry in json.loads(data[8:begin]).items():
            if name == "__metadata__":
                continue
            first, end = entry["data_offsets"]
            numbers[name] = struct.unpack("<%de" % ((end - first) // 2), data[begin + first:begin + end])
            wide[name] = ("F32", entry["shape"], struct.pack("<%df" % len(numbers[name]), *numbers[name]))
        tiny_models.write_safetensors(os.path.join(self.base, "model.safetensors"), wide)
        self.make()
        with zipfile.ZipFile(os.path.join(self.work, "router-1.0.0.kolm")) as artifact:
            lean = json.loads(artifact.read("manifest.json"))
        self.make("--embed-base", "--force")
        with zipfile.ZipFile(os.path.join(self.work, "router-1.0.0.kolm")) as artifact:
            manifest, inside = json.loads(artifact.read("manifest.json")), artifact.read("model/base/model.safetensors")
        self.assertLess(len(inside), len(self.read("sentences/model.safetensors")) * 0.7)
        begin = 8 + struct.unpack("<Q", inside[:8])[0]
        for name, entry in json.loads(inside[8:begin]).items():
            first, end = entry["data_offsets"]
            self.assertEqual(entry["dtype"], "F16")
            self.assertEqual(struct.unpack("<%de" % ((end - first) // 2), inside[begin + first:begin + end]), numbers[name])
        self.assertEqual(manifest["evaluation"], lean["evaluation"])
        self.rounded(wide, numbers)

    def rounded(self, wide, numbers):
        """Numbers that do not fit into 16 bits are rounded if no answer to the held-out rows changes; otherwise all weights stay as they
        are."""
        name, hidden = "embeddings.word_embeddings.weight", 20
        draw = random.Random(4)
        odd = [1 + 2.0 ** -11, 1 + 3 * 2.0 ** -11, -1e-9, 2.0 ** -25, 2.0 ** -25 * 1.01, 3 * 2.0 ** -25, 65519.0, -65519.0, 2.0 ** -14 - 2.0 ** -26, 2047.5 * 2.0 ** -25]
        odd += [draw.uniform(-2, 2) * 2.0 ** draw.randint(-27, 14) for _ in range(hidden - len(odd))]
        with open(os.path.join(self.base, "vocab.txt"), encoding="ascii") as file:
            rows = {word: i for i, word in enumerate(file.read().split("\n"))}
        for word, value, kept in (("[unused4]", odd, False), ("[unused4]", [65520.0] * hidden, True), ("[unused4]", [float("inf")] * hidden, True),
                                  ("refund", [v * (1 + 2.0 ** -12) + 0.3 for v in numbers[name][rows["refund"] * hidden:][:hidden]], True)):
            at = rows[word] * hidden
            changed = struct.pack("<%df" % hidden, *value)
            data = wide[name][2]
            tiny_models.write_safetensors(os.path.join(self.base, "model.safetensors"),
                                          dict(wide, **{name: ("F32", wide[name][1], data[:at * 4] + changed + data[(at + hidden) * 4:])}))
            self.make("--force")
            with zipfile.ZipFile(os.path.join(self.work, "router-1.0.0.kolm")) as artifact:
                lean = json.loads(artifact.read("manifest.json"))
            self.make("--embed-base", "--force")
            with zipfile.ZipFile(os.path.join(self.work, "router-1.0.0.kolm")) as artifact:
                manifest, inside = json.loads(artifact.read("manifest.json")), artifact.read("model/base/model.safetensors")
            self.assertEqual(manifest["evaluation"], lean["evaluation"])
            self.assertEqual(inside == self.read("sentences/model.safetensors"), kept, word)
            if not kept:
                begin = 8 + struct.unpack("<Q", inside[:8])[0]
                first = json.loads(inside[8:begin])[name]["data_offsets"][0] + begin + at * 2
                self.assertEqual(inside[first:first + hidden * 2], struct.pack("<%de" % hidden, *struct.unpack("<%df" % hidden, changed)))

    def test_a_base_that_cannot_be_inside(self):
        self.assert_error(self.compile("--embed-base", code=None), "--embed-base puts the base into the artifact, but there is none")
        self.assert_error(self.compile("--base", "sentences", "--recipe", "lora", "--embed-base", code=None),
                          "the models of the lora recipe cannot carry their base")

    # ---- On other machines

    def pieces(self, text):
        """Returns the token ids of a text according to the test's vocabulary, which has words and digits."""
        with open(os.path.join(self.base, "vocab.txt"), encoding="ascii") as file:
            ids = {word: i for i, word in enumerate(file.read().split("\n"))}
        found = []
        for word in text.lower().split():
            at, marked = [], ""
            while word and at is not None:
                end = next((n for n in range(len(word), 0, -1) if marked + word[:n] in ids), 0)
                at = at + [ids[marked + word[:end]]] if end else None
                word, marked = word[end:], "##"
            found += at or [ids["[UNK]"]]
        return [ids["[CLS]"]] + found[:38] + [ids["[SEP]"]]

    def load_predict(self, directory):
        spec = importlib.util.spec_from_file_location("predict", os.path.join(self.work, directory, "predict.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.Model(os.path.join(self.work, directory))

    def test_exported(self):
        """predict.py answers as kolm does: the same labels, and confidences that differ no more than torch's order of summation
        explains."""
        self.make("--abstain", "0.7", "--embed-eval")
        with zipfile.ZipFile(os.path.join(self.work, "router-1.0.0.kolm")) as artifact:
            manifest = json.loads(artifact.read("manifest.json"))
            texts = [json.loads(line)["input"] for line in artifact.read("eval/heldout.jsonl").decode().splitlines()]
        texts += ["Refund \u00c9T\u00c9 \u4f60\u597d again!", "nothing like it", "x" * 300]
        self.assertIn("a sentence encoder with what was learned on it", self.kolm("export", "router-1.0.0.kolm", "--to", "out").out)
        for file in manifest["base"]["files"]:
            self.assertEqual(self.read("out/" + file["name"]), self.read("sentences/" + file["name"]))
        self.assertEqual(json.loads(self.read("out/kolm/labels.json")), manifest["report"]["labels"])
        self.write("ask.jsonl", jsonl({"id": str(i), "input": text} for i, text in enumerate(texts)))
        said = [json.loads(line) for line in self.kolm("run", "router-1.0.0.kolm", "--input", "ask.jsonl").out.splitlines()]
        model, tiny = self.load_predict("out"), tiny_models.Tiny("bert")
        self.assertGreater(sum(line["output"] is None for line in said), 0)
        self.assertGreater(sum(line["output"] is not None for line in said), 30)
        for text, line in zip(texts, said):
            label, confidence, withheld = model.answer(text, tiny.embed(self.pieces(text)))
            self.assertEqual((label, withheld), (line["output"] or line["best"], line["output"] is None), text)
            self.assertAlmostEqual(confidence, line["confidence"], delta=2e-4)
        python = os.environ.get("KOLM_TEST_PYTHON")
        if python:
            done = subprocess.run([python, os.path.join(self.work, "out", "predict.py"), *texts], capture_output=True, text=True, check=True)
            for out, line in zip(done.stdout.splitlines(), said):
                self.assertEqual(out.split()[0], line["output"] or "(withheld)")
        self.assert_error(self.kolm("export", "router-1.0.0.kolm", "--to", "merged", "--merge", code=None), "has no adapter to merge")
        self.compile("--effort", "quick", "--force")
        self.assert_error(self.kolm("export", "router-1.0.0.kolm", "--to", "linear", code=None), "contains no model that", "a language model or a sentence encoder")

    def test_exported_with_the_base_inside(self):
        self.make("--embed-base")
        shutil.copytree(self.base, os.path.join(self.work, "kept"))
        shutil.rmtree(self.base)
        self.kolm("export", "router-1.0.0.kolm", "--to", "out")
        for name in ("config.json", "modules.json", "1_Pooling/config.json", "model.safetensors", "vocab.txt"):
            self.assertEqual(self.read("out/" + name), self.read("kept/" + name))
        self.assertEqual(len(self.load_predict("out").labels), len(harness.LABELS))

    # ---- The report

    def nearest(self, text, rows, tiny):
        """Returns the rows nearest by embedding, which the page must show below this mistake."""
        own = tiny.embed(self.pieces(text))
        found = [(sum(a * b for a, b in zip(own, tiny.embed(self.pieces(row["input"])))), row) for row in rows]
        found.sort(key=lambda pair: -pair[0])
        return [(row["output"], row["input"], likeness) for likeness, row in found[:3]]

    def test_the_nearest_rows_of_a_report_are_those_of_the_embeddings(self):
        rows, held = tickets(130, noise=0), tickets(60, noise=0, seed=3)
        wrong = dict(held[0], output=next(label for label in harness.LABELS if label != held[0]["output"]))
        self.write("tickets.jsonl", jsonl(rows))
        self.write("held.jsonl", jsonl([wrong] + held[1:]))
        self.make("--eval", "held.jsonl", "--min-accuracy", "0")
        done = self.kolm("report", "router-1.0.0.kolm", "-d", "tickets.jsonl", "--eval", "held.jsonl")
        self.assertEqual(done.err, "")
        page = self.read("router-1.0.0.html").decode()
        self.assertTrue("the cosine of the embeddings" in page)
        mistakes = re.findall(r'<li class="mistake">(.*?)</ul>', page, re.S)
        plain = [re.sub(r"<[^>]*>", "", part).replace("\u00a0", " ") for part in mistakes]
        mine = next(part for part in plain if held[0]["input"] in part)
        shown = re.findall(r"(?m)^(\w+) (.*) likeness (\d\.\d\d)", mine[mine.index("Nearest"):])
        expected = self.nearest(held[0]["input"], rows, tiny_models.Tiny("bert"))
        self.assertEqual([(label, text) for label, text, _ in shown], [(label, text) for label, text, _ in expected])
        for (_, _, likeness), (_, _, cosine) in zip(shown, expected):
            self.assertAlmostEqual(float(likeness), cosine, delta=0.0051)
        # A model without embeddings of its own: rows with similar text.
        self.compile("--eval", "held.jsonl", "--force")
        self.kolm("report", "router-1.0.0.kolm", "-d", "tickets.jsonl", "--eval", "held.jsonl", "--force")
        self.assertTrue("words and letter trigrams in common" in self.read("router-1.0.0.html").decode())

    # ---- The base between compile and run

    def test_a_base_that_changed_is_refused(self):
        self.make()
        before = self.answers("refund my order")
        for name, content in (("1_Pooling/config.json", json.dumps({"word_embedding_dimension": 20, "pooling_mode": "cls"})),
                              ("modules.json", "[]"), ("model.safetensors", None)):
            path = os.path.join(self.base, name)
            with open(path, "rb") as source:
                kept = source.read()
            if content is None:
                content = kept[:-4] + struct.pack("<f", 0.5)
            self.write(path, content)
            for _ in range(2):  # a look at the changed files does not overwrite what was recorded
                self.assert_error(self.kolm("run", "router-1.0.0.kolm", "refund", code=None), "the base model of this artifact, sentences",
                                  "the one in %s has changed (" % self.base, name + " is not the same", "restore its files")
            self.assert_error(self.kolm("run", "router-1.0.0.kolm", "refund", "--base", "sentences", code=None),
                              "is not the base model of this artifact: ", name + " is not the same")
            self.write(path, kept)
        self.assertEqual(self.answers("refund my order"), before)

    def cut_short(self):
        os.truncate(os.path.join(self.base, "model.safetensors"), 0)

    def test_a_base_that_is_cut_short_while_it_is_read(self):
        """The backend has mapped the base, and dies of SIGBUS at the next read: the error must not mention the signal."""
        changed = "the base model %s was changed while it was used: model.safetensors" % self.base
        with open(os.path.join(self.base, "model.safetensors"), "rb") as source:
            whole = source.read()
        self.make()
        run = self.start("run", "router-1.0.0.kolm", "--jsonl", stdin=subprocess.PIPE)
        run.stdin.write(jsonl([{"id": "1", "input": "refund my order"}]))
        run.stdin.flush()
        self.assertIn(b"refund", run.stdout.readline())
        self.cut_short()
        out, err = run.communicate(jsonl([{"id": "2", "input": "login again"}]), timeout=60)
        self.assertEqual((run.returncode, out), (7, b""))
        self.assertIn(changed.encode(), err)
        self.assertNotIn(b"signal", err)
        self.write(os.path.join(self.base, "model.safetensors"), whole)
        # During training: when the first batch is noted, a hundred are left, or with sanitizers, which make each slower, twenty.
        self.write("long.jsonl", jsonl(dict(row, input=row["input"] + " please help" * 20) for row in tickets(6000 if harness.SANITIZED else 30000)))
        train = self.start("compile", "-t", "router", "-d", "long.jsonl", "--base", "sentences", "--effort", "quick", "--force")
        noted = os.path.join(self.home, "jobs", "*", "job", "checkpoint", "embedded")
        self.wait_for(lambda: glob.glob(noted) or train.poll() is not None, "the first batch", 240)
        self.assertIsNone(train.poll())
        self.cut_short()
        err = train.stderr.read()
        train.stdout.close()
        train.stderr.close()
        self.assertEqual(train.wait(240), 6, err)
        self.assertIn(changed.encode(), err)
        self.assertNotIn(b"signal", err)

    def test_only_the_files_that_are_read_count(self):
        """The same model from two packages is the same model, whatever other files one of them has."""
        self.make()
        before = self.answers("refund my order")
        with zipfile.ZipFile(os.path.join(self.work, "router-1.0.0.kolm")) as artifact:
            base = json.loads(artifact.read("manifest.json"))["base"]
        self.assertEqual([f["name"] for f in base["files"]], ["1_Pooling/config.json", "config.json", "model.safetensors", "modules.json",
                                                              "tokenizer_config.json", "vocab.txt"])
        lines = "".join("%(sha256)s  %(bytes)d  %(name)s\n" % f for f in base["files"])
        self.assertEqual(hashlib.sha256(lines.encode()).hexdigest(), base["digest"])
        other = os.path.join(self.work, "other")
        shutil.copytree(self.base, other)
        for name in ("special_tokens_map.json", "data_config.json", "train_script.txt", "1_Pooling/more.json"):
            self.write(os.path.join(other, name), "{}")
        # This one would have been read if it had existed when the model was made.
        self.write(os.path.join(other, "sentence_bert_config.json"), json.dumps({"max_seq_length": 3, "do_lower_case": False}))
        self.assertEqual(self.answers("refund my order", "--base", "other"), before)
        shutil.rmtree(self.base)
        self.assertEqual(self.answers("refund my order"), before)
        self.assertEqual(self.json("score", "router-1.0.0.kolm", "--eval", "tickets.jsonl")["n"], 300)
        self.kolm("compile", "-t", "again", "-d", "tickets.jsonl", "--base", "other", "--effort", "quick", "--gate", "0")
        with zipfile.ZipFile(os.path.join(self.work, "again-1.0.0.kolm")) as artifact:
            self.assertIn("sentence_bert_config.json", [f["name"] for f in json.loads(artifact.read("manifest.json"))["base"]["files"]])

    def test_every_place_where_it_was_seen_is_tried(self):
        self.make()
        before = self.answers("refund my order")
        shutil.copytree(self.base, os.path.join(self.work, "a-copy"))
        self.answers("refund my order", "--base", "a-copy")
        shutil.rmtree(self.base)
        self.assertEqual(self.answers("refund my order"), before)

    def test_a_moved_base_is_found_where_base_says(self):
        self.make()
        before = self.answers("refund my order")
        os.rename(self.base, os.path.join(self.work, "elsewhere"))
        # Another base of that name, in a directory where none was found before.
        away = os.path.join(self.work, "away")
        write_encoder(os.path.join(away, "sentences"), seed=2)
        os.rename(os.path.join(self.work, "router-1.0.0.kolm"), os.path.join(away, "router-1.0.0.kolm"))
        self.assert_error(self.kolm("run", "router-1.0.0.kolm", "refund", code=None, cwd=away), "the one in %s is another one (model.safetensors" % os.path.join(away, "sentences"))
        os.rename(os.path.join(away, "router-1.0.0.kolm"), os.path.join(self.work, "router-1.0.0.kolm"))
        self.assert_error(self.kolm("run", "router-1.0.0.kolm", "refund", code=None), "was not found on this machine", "--base")
        self.assertEqual(self.answers("refund my order", "--base", "elsewhere"), before)

    def test_an_artifact_that_was_changed_is_refused(self):
        self.make()
        path = os.path.join(self.work, "router-1.0.0.kolm")
        with zipfile.ZipFile(path) as artifact:
            info = artifact.getinfo("model/head.bin")
        data = bytearray(self.read(path))
        at = data.index(b"kolmhead", info.header_offset) + 200
        data[at] ^= 1
        self.write(path, bytes(data))
        self.assertNotEqual(self.kolm("run", path, "refund", code=None).returncode, 0)
        self.assertNotEqual(self.kolm("verify", path, code=None).returncode, 0)

    # ---- Errors in a base or in rows

    def refused(self, *pieces, code=5, words=()):
        self.assert_error(self.make(*words, code=code), *pieces)
        self.assert_nothing_left_of_it()

    def assert_nothing_left_of_it(self):
        self.assertEqual([n for n in os.listdir(self.work) if ".kolm" in n or ".failed" in n], [])

    def edit(self, name, change):
        path = os.path.join(self.base, name)
        with open(path, encoding="utf-8") as source:
            value = json.load(source)
        change(value)
        self.write(path, json.dumps(value))

    def test_weights_that_are_cut_short(self):
        path = os.path.join(self.base, "model.safetensors")
        with open(path, "rb") as source:
            whole = source.read()
        for size in (len(whole) - 1, len(whole) // 2, 100, 7):
            self.write(path, whole[:size])
            self.refused("model.safetensors", "download the model again")

    def test_a_decoder(self):
        self.edit("config.json", lambda c: c.update(is_decoder=True))
        self.refused("recipe encoder cannot use", "it is a decoder", "--recipe lora")
        self.edit("config.json", lambda c: c.update(is_decoder=False, model_type="llama"))
        self.refused("it is a model of type", "llama", "--recipe lora")

    def test_no_pooling(self):
        shutil.rmtree(os.path.join(self.base, "1_Pooling"))
        self.refused("has no 1_Pooling/config.json, which its modules.json names", "download the model again")
        self.edit("modules.json", lambda m: m.__delitem__(slice(1, None)))
        self.refused("recipe encoder cannot use", "--recipe lora")

    def test_no_modules(self):
        """An incomplete copy: the other files show what it is, so the error does not suggest installing Python."""
        os.remove(os.path.join(self.base, "modules.json"))
        self.refused("has 1_Pooling/config.json, as bases for the encoder recipe have, but no modules.json", "download the model again", code=6)
        self.refused("has no modules.json", "download the model again", "or use --recipe lora", words=("--recipe", "encoder"))
        shutil.rmtree(os.path.join(self.base, "1_Pooling"))
        for name in ("sentence_bert_config.json", "config_sentence_transformers.json"):
            if os.path.exists(os.path.join(self.base, name)):
                os.remove(os.path.join(self.base, name))
        done = self.make(code=None)
        self.assertIn("[recipe]      lora, which fine-tunes sentences", done.out)

    def test_no_tokenizer_and_that_of_another_model(self):
        os.rename(os.path.join(self.base, "vocab.txt"), os.path.join(self.base, "vocab.kept"))
        self.refused("has no tokenizer.json and no vocab.txt")
        with open(os.path.join(self.base, "vocab.kept"), encoding="ascii") as source:
            words = source.read()
        self.write(os.path.join(self.base, "vocab.txt"), words + "more\n")
        self.refused("has ids up to 50, and its weights have 50 tokens", "all its files together")
        self.write(os.path.join(self.base, "vocab.txt"), words)
        self.write(os.path.join(self.base, "tokenizer.json"), json.dumps({"model": {"type": "BPE", "vocab": {}, "merges": []}}))
        self.refused("BPE", "--recipe lora")

    def test_texts_that_are_too_long_are_counted(self):
        rows = tickets(200)
        for row in rows[:20]:
            row["input"] += " again" * 60
        self.write("long.jsonl", jsonl(rows))
        done = self.make(data="long.jsonl")
        self.assertRegex(done.err, r"\d+ of \d+ texts have more than the 40 tokens that the encoder reads")
        with zipfile.ZipFile(os.path.join(self.work, "router-1.0.0.kolm")) as artifact:
            front = json.loads(artifact.read("manifest.json"))
        self.assertGreater(front["report"]["texts_cut"], 5)
        self.assertIn("1 of 1 texts have more", self.kolm("run", "router-1.0.0.kolm", "refund " + "again " * 60).err)
        self.make("--set", "read=end", "--force", data="long.jsonl")
        with zipfile.ZipFile(os.path.join(self.work, "router-1.0.0.kolm")) as artifact:
            self.assertEqual(json.loads(artifact.read("model/encoder.json")), {"format": 1, "read": "end"})
            self.assertNotEqual(json.loads(artifact.read("manifest.json"))["entries"], front["entries"])
        self.assert_error(self.make("--set", "read=middle", "--force", code=None), 'read=middle: expected "front" or "end"',
                          '-> give "front" or "end"; the default is front')

    def test_empty_and_huge_texts(self):
        self.make()
        self.assert_error(self.kolm("run", "router-1.0.0.kolm", stdin=b"refund\nlo\0gin\n", code=None), "line 2, column 3", "found a NUL byte")
        self.assert_error(self.kolm("run", "router-1.0.0.kolm", stdin=b"lo\xffgin\0\n", code=None), "line 1, column 3", "expected UTF-8 text")
        self.assertTrue(self.kolm("run", "router-1.0.0.kolm", "--jsonl", stdin=jsonl([{"id": "1", "input": ""}])).out)
        huge = jsonl([{"id": "1", "input": "refund my order " * 65536}, {"id": "2", "input": "\u00e9" * (1 << 19)}])
        self.assertEqual(len(self.kolm("run", "router-1.0.0.kolm", "--jsonl", stdin=huge).out.splitlines()), 2)

    def test_long_labels(self):
        self.write("long.jsonl", jsonl(dict(row, output=row["output"] * 1000) for row in tickets(100)))
        for done in (self.make(data="long.jsonl", code=None), self.compile(data="long.jsonl", code=None)):
            self.assert_error(done, "bytes long: texts, not labels", "for labels use fewer and shorter ones")

    def test_progress_of_several_threads_never_goes_back(self):
        rows = [{"input": "word%d thing%d %d" % (i % 60, i * 7 % 59, i), "output": "label%d" % (i % 60)} for i in range(900)]
        self.write("many.jsonl", jsonl(rows))
        for _ in range(3):
            done = self.compile("-v", "--force", "--gate", "0", "--min-accuracy", "0", "--allow-baseline", data="many.jsonl")
            self.assertNotIn("went back", done.err)

    def test_advice_and_help_know_it(self):
        self.write_tickets("noisy.jsonl", noise=0.6)
        self.assertIn("--base DIR with a sentence encoder", self.compile("--effort", "quick", data="noisy.jsonl", code=4).out)
        self.assertNotIn("--base DIR", self.make(data="noisy.jsonl", code=4).out)
        said = self.kolm("compile", "--help").out
        self.assertIn("auto, linear, encoder, lora", said)
        self.assertIn("sentence encoder to learn on", said)
        self.assertIn('"output" is null', self.kolm("run", "--help").out)

    def test_few_held_out_rows(self):
        self.write("few.jsonl", jsonl(tickets(14, noise=0, labels=("refund", "login"))))
        self.write("eval.jsonl", jsonl(tickets(2, noise=0, seed=7, labels=("refund",))) + jsonl([{"input": "login now", "output": "login"}]))
        done = self.compile("--effort", "quick", "--eval", "eval.jsonl", data="few.jsonl")
        self.assertRegex(done.err, r"warning: 3 held-out rows say little: the accuracy may be anything from 0\.\d+ to 1\.000 \(95% interval\)")
        self.write_tickets("enough.jsonl", rows=600, noise=0)
        self.assertNotIn("say little", self.compile("--effort", "quick", "--force", data="enough.jsonl").err)

    def test_few_rows(self):
        self.write("one.jsonl", jsonl({"input": "refund %d" % i, "output": "refund"} for i in range(20)))
        self.assert_error(self.make(data="one.jsonl", code=None), "has the same output: there is nothing to learn")
        rows = [{"input": "%s %s" % (label, word), "output": label} for label in harness.LABELS for word in ("please", "again")]
        self.write("two.jsonl", jsonl(rows))
        done = self.make("--gate", "0", "--min-accuracy", "0", "--allow-baseline", data="two.jsonl")
        self.assertIn("too few rows with the same output to check by cross-validation", done.err)
        self.assertTrue(self.answers("refund please"))
        self.assertNotIn("always abstains", done.err)
        done = self.make("--target-accuracy", "0.9", "--gate", "0", "--min-accuracy", "0", "--allow-baseline", "--force", data="two.jsonl")
        self.assertIn("the model always abstains", done.err)
        said = json.loads(self.kolm("run", "router-1.0.0.kolm", "--jsonl", stdin=jsonl([{"id": "1", "input": "refund please"}])).out)
        self.assertIsNone(said["output"])


if __name__ == "__main__":
    harness.main()
