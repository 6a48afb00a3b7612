#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The parts of the trainer that need no library: batches, options, the look at a base, jobs, streams of lines, label tries."""
import json
import os
import shutil
import struct
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.abspath(sys.argv[1]))
from kolm_trainer import base, batches, context, devices, encode, model, options, train  # noqa: E402
from kolm_trainer.answer import Lines, Text, Trie  # noqa: E402
from kolm_trainer.errors import DATA_LOSS, INVALID_ARGUMENT, NOT_FOUND, TrainerError  # noqa: E402
from kolm_trainer.job import Job, write_bytes, write_json  # noqa: E402


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-trainer-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def write(self, name, data):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data if isinstance(data, bytes) else json.dumps(data).encode())
        return path

    def refused(self, code, words, call, *arguments):
        """call fails as the trainer fails: with this code, these words, and a remedy."""
        with self.assertRaises(TrainerError) as caught:
            call(*arguments)
        self.assertIn(words, caught.exception.text)
        self.assertEqual(caught.exception.code, code, caught.exception.text)
        self.assertTrue(caught.exception.remedy, caught.exception.text)
        return caught.exception


class Batches(Case):
    lengths = [(i * 37) % 91 + 1 for i in range(1000)]

    def test_an_epoch_holds_every_row_once(self):
        for batch in (1, 7, 16, 1000, 5000):
            with self.subTest(batch=batch):
                rows = list(range(0, 1000, 3))
                found = batches.epoch_batches(self.lengths, rows, batch, 5, 0)
                self.assertEqual(sorted(i for part in found for i in part), rows)
                self.assertTrue(all(0 < len(part) <= batch for part in found))
                self.assertEqual(len(found), -(-len(rows) // batch))

    def test_an_epoch_is_the_same_for_the_same_seed_only(self):
        one = batches.epoch_batches(self.lengths, range(1000), 16, 5, 0)
        self.assertEqual(one, batches.epoch_batches(self.lengths, range(1000), 16, 5, 0))
        self.assertNotEqual(one, batches.epoch_batches(self.lengths, range(1000), 16, 6, 0))
        self.assertNotEqual(one, batches.epoch_batches(self.lengths, range(1000), 16, 5, 1))

    def test_rows_of_like_length_are_together(self):
        found = batches.epoch_batches(self.lengths, range(1000), 16, 5, 0)
        padded = sum(max(self.lengths[i] for i in part) * len(part) for part in found)
        self.assertLess(padded, 1.06 * sum(self.lengths))
        means = [sum(self.lengths[i] for i in part) for part in found]
        self.assertNotEqual(means, sorted(means))  # but the batches themselves are in no order

    def test_a_step_is_cut_by_tokens(self):
        rows = list(range(200))
        for limit in (1, 50, 91, 500, 1 << 30):
            with self.subTest(limit=limit):
                parts = batches.cut(rows, self.lengths, limit)
                self.assertEqual(sorted(i for part in parts for i in part), rows)
                for part in parts:
                    self.assertTrue(len(part) == 1 or max(self.lengths[i] for i in part) * len(part) <= limit)
        self.assertEqual(len(batches.cut(rows, self.lengths, 1 << 30)), 1)
        self.assertEqual(batches.cut([], self.lengths, 10), [])

    def test_a_step_is_cut_by_parts(self):
        for count, parts, expected in ((16, 4, 4), (15, 4, 4), (3, 4, 3), (1, 65536, 1), (10, 1, 1)):
            with self.subTest(count=count, parts=parts):
                found = batches.cut(range(count), self.lengths, 1, parts)
                self.assertEqual(sorted(i for part in found for i in part), list(range(count)))
                self.assertEqual(len(found), expected)

    def test_validation_rows_are_apart(self):
        train, valid = batches.split_valid(1000, 0.1, 3)
        self.assertEqual(sorted(train + valid), list(range(1000)))
        self.assertEqual(len(valid), 100)
        self.assertEqual((train, valid), batches.split_valid(1000, 0.1, 3))
        self.assertNotEqual(valid, batches.split_valid(1000, 0.1, 4)[1])
        self.assertEqual(len(batches.split_valid(100_000, 0.1, 3)[1]), 512)
        self.assertEqual(batches.split_valid(50, 0.1, 3), (list(range(50)), []))  # five rows would tell nothing
        self.assertEqual(batches.split_valid(1000, 0, 3)[1], [])


class Options(Case):
    # name: (what is taken, what is refused); every name of the table has its line.
    WORDS = {
        "task": (["auto", "causal", "classify"], ["seq2seq", ""]),
        "method": (["lora", "qlora", "full"], ["dora"]),
        "rank": (["1", "1024"], ["0", "1025", "1.5", "-1", "x", "auto"]),
        "alpha": (["auto", "1", "4096"], ["0", "4097", "nan"]),
        "dropout": (["0", "0.9"], ["-0.1", "0.91", "nan", "inf"]),
        "targets": (["all-linear", "q_proj,v_proj"], []),
        "epochs": (["auto", "0.01", "1000"], ["0", "1001", "nan"]),
        "learning_rate": (["auto", "1e-8", "1"], ["0", "1.1", "nan", "-1"]),
        "schedule": (["cosine", "linear", "constant"], ["step"]),
        "warmup": (["0", "0.5"], ["0.6", "nan"]),
        "weight_decay": (["0", "1"], ["1.1", "-1"]),
        "max_grad_norm": (["0", "1000"], ["-1", "inf"]),
        "batch": (["auto", "1", "65536"], ["0", "65537", "2.5"]),
        "accumulation": (["auto", "1", "65536"], ["0", "65537"]),
        "max_length": (["auto", "8", "10000000"], ["7", "10000001"]),
        "valid": (["0", "0.5"], ["0.6", "-0.1", "nan"]),
        "patience": (["0", "1000"], ["-1", "1001"]),
        "dtype": (["auto", "fp32", "bf16", "fp16"], ["int8"]),
        "gradient_checkpointing": (["auto", "on", "off"], ["true"]),
        "template": (["auto", "plain"], ["chatml"]),
        "system": (["", "Answer with a team."], []),
        "max_new_tokens": (["auto", "1", "100000"], ["0", "100001"]),
        "deterministic": (["true", "false"], ["yes", "1", "True"]),
        "unsloth": (["auto", "on", "off"], ["yes"]),
        "allow_pickle": (["true", "false"], ["1"]),
    }

    def test_every_option_is_tried(self):
        self.assertEqual(set(self.WORDS), set(options.TABLE))

    def test_what_is_taken_and_what_is_refused(self):
        for name, (good, bad) in self.WORDS.items():
            for word in good:
                with self.subTest(name=name, word=word):
                    getattr(options.Options({name: word}), name)
            for word in bad:
                with self.subTest(name=name, word=word):
                    told = self.refused(INVALID_ARGUMENT, f"{name}={word}", options.Options, {name: word})
                    self.assertIn(options.TABLE[name][0].expected, told.remedy)

    def test_defaults_are_allowed_and_values_have_kinds(self):
        found = options.Options({"rank": "8", "dropout": "0.5", "deterministic": "false", "batch": "auto"})
        self.assertEqual((found.rank, found.dropout, found.deterministic, found.batch), (8, 0.5, False, "auto"))
        for name, (parse, default, what) in options.TABLE.items():
            self.assertEqual(getattr(options.Options({}), name), default)
            self.assertEqual(parse(str(default).lower() if isinstance(default, bool) else str(default)), default)
            self.assertTrue(what)

    def test_an_unknown_option_is_named(self):
        told = self.refused(INVALID_ARGUMENT, "'learning-rate'", options.Options, {"learning-rate": "1"})
        self.assertIn("learning_rate", told.remedy)


def safetensors(tensors, tail=b"", header=None):
    """The file format, by hand: tensors is {name: (dtype, shape, bytes)}."""
    entries, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(entries).encode() if header is None else header
    return struct.pack("<Q", len(text)) + text + data + tail


WHOLE = safetensors({"a": ("F32", [2, 3], bytes(24)), "b": ("BF16", [4], bytes(8))})


class Base(Case):
    def setUp(self):
        super().setUp()
        self.base = os.path.join(self.dir, "base")
        self.write("base/config.json", {"model_type": "llama"})
        self.write("base/tokenizer.json", {})
        self.write("base/model.safetensors", WHOLE)

    def bad(self, code, words, **more):
        self.refused(code, words, lambda: base.look(self.base, **more))

    def test_a_whole_one(self):
        found = base.look(self.base)
        self.assertEqual((found.weights, found.weight_bytes, found.pickled, found.encoder, found.quantised),
                         (["model.safetensors"], len(WHOLE), False, False, False))

    def test_not_a_directory(self):
        self.refused(NOT_FOUND, "no base model", base.look, self.base + "x")
        self.refused(NOT_FOUND, "no base model", base.look, os.path.join(self.base, "config.json"))

    def test_not_a_model(self):
        os.remove(os.path.join(self.base, "config.json"))
        self.bad(NOT_FOUND, "not a model: it has no config.json")

    def test_an_adapter(self):
        os.rename(os.path.join(self.base, "config.json"), os.path.join(self.base, "adapter_config.json"))
        self.bad(INVALID_ARGUMENT, "an adapter, not a base")

    def test_bad_configs(self):
        for content, code, words in ((b"{", DATA_LOSS, "cannot be read"), (b"\xff", DATA_LOSS, "cannot be read"),
                                     (b"[]", INVALID_ARGUMENT, "no model_type"), (b"{}", INVALID_ARGUMENT, "no model_type"),
                                     (b'{"model_type":7}', INVALID_ARGUMENT, "no model_type"),
                                     (b"[" * 200_000, DATA_LOSS, "cannot be read")):
            with self.subTest(content=content[:20]):
                self.write("base/config.json", content)
                self.bad(code, words)

    def test_no_weights(self):
        os.remove(os.path.join(self.base, "model.safetensors"))
        self.bad(NOT_FOUND, "has no weights")

    def test_pickles(self):
        os.remove(os.path.join(self.base, "model.safetensors"))
        self.write("base/pytorch_model.bin", b"x")
        self.bad(INVALID_ARGUMENT, "pickles (pytorch_model.bin)")
        found = base.look(self.base, allow_pickle=True)
        self.assertTrue(found.pickled)
        self.write("base/model.safetensors", WHOLE)
        self.assertFalse(base.look(self.base, allow_pickle=True).pickled)  # never when there is better

    def test_a_pickle_in_an_artifact(self):
        """A library would load it where it finds nothing better."""
        class Made:
            raw = {"model_files": [{"name": "adapter_model.bin", "path": "/dev/null", "offset": 0, "size": 0}]}

        with self.assertRaises(TrainerError) as caught:
            model.unpack(Made, self.base)
        self.assertEqual(caught.exception.code, DATA_LOSS)
        self.assertIn("adapter_model.bin is a pickle", str(caught.exception))

    def test_no_tokenizer(self):
        os.remove(os.path.join(self.base, "tokenizer.json"))
        self.bad(NOT_FOUND, "has no tokenizer")
        self.write("base/vocab.txt", b"")
        base.look(self.base)

    def test_damaged_weights(self):
        header = lambda **entry: json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **entry}}).encode()
        for what, content, words in (
                ("empty", b"", "it has 0 bytes"),
                ("seven bytes", bytes(7), "it has 7 bytes"),
                ("cut in the data", WHOLE[:-1], "were promised"),
                ("cut in the header", WHOLE[:40], "header is longer than the file"),
                ("longer than promised", WHOLE + b"x", "were promised"),
                ("huge header", struct.pack("<Q", 1 << 62) + WHOLE[8:], "header is longer"),
                ("header of garbage", safetensors({}, header=b"\xff\xfe"), "cannot be read"),
                ("header of a list", safetensors({}, header=b"[]"), "cannot be read"),
                ("deep header", safetensors({}, header=b"[" * 200_000), "cannot be read"),
                ("no tensors", safetensors({}, header=b"{}"), "holds no tensors"),
                ("only metadata", safetensors({}, header=b'{"__metadata__":{}}'), "holds no tensors"),
                ("shape and bytes differ", safetensors({"a": ("F32", [2, 3], bytes(20))}), "has 20 bytes for the shape [2, 3]"),
                ("backwards", safetensors({}, header=header(data_offsets=[4, 0])), "has -4 bytes"),
                ("before the data", safetensors({}, header=header(data_offsets=[-4, 0])), "has 4 bytes"),
                ("three offsets", safetensors({}, header=header(data_offsets=[0, 1, 2])), "cannot be read"),
                ("a word as offset", safetensors({}, header=header(data_offsets=["a", "b"])), "cannot be read"),
                ("a word as shape", safetensors({}, header=header(shape=["a"])), "cannot be read"),
                ("no dtype", safetensors({}, header=b'{"a":{"shape":[1],"data_offsets":[0,4]}}'), "cannot be read")):
            with self.subTest(what):
                self.write("base/model.safetensors", content)
                self.bad(DATA_LOSS, words)

    def shards(self, weight_map):
        """Parts and an index in the place of model.safetensors."""
        os.remove(os.path.join(self.base, "model.safetensors"))
        self.write("base/model-1.safetensors", WHOLE)
        self.write("base/model-2.safetensors", WHOLE)
        self.write("base/model.safetensors.index.json", weight_map if isinstance(weight_map, bytes) else {"weight_map": weight_map})

    def test_parts_with_an_index(self):
        self.shards({"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"})
        found = base.look(self.base)
        self.assertEqual(found.weights, ["model-1.safetensors", "model-2.safetensors"])
        self.assertEqual(found.weight_bytes, 2 * len(WHOLE))
        self.write("base/model-2.safetensors", WHOLE[:-3])
        self.bad(DATA_LOSS, "model-2.safetensors is damaged")
        os.remove(os.path.join(self.base, "model-2.safetensors"))
        self.bad(NOT_FOUND, "lacks model-2.safetensors")

    def test_a_stale_index_beside_whole_weights(self):
        """As transformers does: model.safetensors is loaded, whatever an index or its parts beside it say."""
        for content in ({"weight_map": {"a": "model-00001-of-00002.safetensors"}}, b"{", {"weight_map": {"a": "../x"}}):
            with self.subTest(content):
                self.write("base/model.safetensors.index.json", content)
                found = base.look(self.base)
                self.assertEqual((found.weights, found.weight_bytes), (["model.safetensors"], len(WHOLE)))
        self.write("base/model-00001-of-00002.safetensors", b"cut")
        with base.look(self.base).alone() as path:
            self.assertNotIn("model-00001-of-00002.safetensors", os.listdir(path))  # mlx-lm reads all that it finds

    def test_an_adapter_beside_the_base(self):
        """It is no part of the base: not of its weights, not of what transformers sees; and it is told."""
        self.assertFalse(base.look(self.base).adapter)
        self.write("base/adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "/elsewhere"})
        self.write("base/adapter_model.safetensors", b"damaged")
        found = base.look(self.base)
        self.assertEqual((found.adapter, found.weights), (True, ["model.safetensors"]))
        with found.alone() as path:
            self.assertEqual(sorted(os.listdir(path)), ["config.json", "model.safetensors", "tokenizer.json"])
            with open(os.path.join(path, "model.safetensors"), "rb") as file:
                self.assertEqual(file.read(), WHOLE)
        self.assertFalse(os.path.exists(path))
        os.remove(os.path.join(self.base, "model.safetensors"))
        self.bad(NOT_FOUND, "has no weights")  # the adapter's are none

    def test_bad_indexes(self):
        for content, words in ((b"{", "cannot be read"), (b"{}", "cannot be read"), (b'{"weight_map":[]}', "cannot be read"),
                               (b'{"weight_map":{"a":{}}}', "cannot be read"),
                               (b'{"weight_map":{"a":7}}', "outside its directory"),
                               (b'{"weight_map":{"a":"../model.safetensors"}}', "outside its directory"),
                               (b'{"weight_map":{"a":"/etc/passwd"}}', "outside its directory")):
            with self.subTest(content):
                self.write("base/model.safetensors", WHOLE)
                self.shards(content)
                self.bad(DATA_LOSS, words)

    def test_what_a_base_is_for(self):
        def task(model_type, asked="auto", labels=3, **config):
            self.write("base/config.json", {"model_type": model_type, **config})
            return base.task_of(base.look(self.base), asked, labels)

        self.assertEqual(task("bert"), "classify")
        self.assertEqual(task("llama"), "causal")
        self.assertEqual(task("llama", "classify"), "classify")
        self.refused(INVALID_ARGUMENT, "cannot write", task, "bert", "causal")
        self.refused(INVALID_ARGUMENT, "closed set", task, "bert", "auto", 0)
        self.refused(INVALID_ARGUMENT, "a decoder", lambda: task("t5", is_encoder_decoder=True))


class Contexts(Case):
    def test_what_a_config_promises(self):
        class Tokens:
            model_max_length = 1 << 100

        for config, expected in (
                ({"model_type": "bert", "max_position_embeddings": 512}, 512),
                ({"model_type": "gpt2", "n_positions": 1024, "n_ctx": 512}, 1024),
                ({"model_type": "roberta", "max_position_embeddings": 514}, 512),
                ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
                ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 0}, 513),
                ({"model_type": "longformer", "max_position_embeddings": 4098, "pad_token_id": 1}, 4096),
                ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 7}, 512),
                ({"model_type": "esm", "max_position_embeddings": 1026, "position_embedding_type": "rotary"}, 1026),
                ({"model_type": "esm", "max_position_embeddings": 1026, "pad_token_id": 1}, 1024),
                ({"model_type": "gemma3", "text_config": {"max_position_embeddings": 4096}}, 4096),
                ({"model_type": "bloom", "max_position_embeddings": None}, 1 << 20), ({"model_type": "xlnet"}, 1 << 20)):
            with self.subTest(config):
                self.assertEqual(context.context_of(config, Tokens), expected)
        Tokens.model_max_length = 256
        self.assertEqual(context.context_of({"model_type": "bert", "max_position_embeddings": 512}, Tokens), 256)


class Jobs(Case):
    GOOD = {"format": 1, "kind": "train", "task": "t", "recipe": "lora", "seed": 1, "effort": "normal", "labels": 2,
            "options": {"base": {"path": "/base", "name": "b", "digest": "0"}, "trainer": {"rank": "4"}}}

    def job(self, **changes):
        self.write("job.json", {**self.GOOD, **changes})
        return Job(self.dir)

    def test_a_good_one(self):
        job = self.job()
        self.assertEqual((job.seed, job.base_path, job.options.rank, job.abstain), (1, "/base", 4, 0))
        self.assertEqual(self.job(options={**self.GOOD["options"], "abstain_micro": 500_000}).abstain, 0.5)
        self.assertFalse(job.balanced)
        self.assertFalse(self.job(options={**self.GOOD["options"], "class_weight": "none"}).balanced)
        self.assertTrue(self.job(options={**self.GOOD["options"], "class_weight": "balanced"}).balanced)

    def test_a_missing_or_broken_one(self):
        self.refused(NOT_FOUND, "job.json", Job, self.dir)
        for content in (b"", b"{", b"[]", b"7", b"\xff"):
            with self.subTest(content):
                self.write("job.json", content)
                self.refused(DATA_LOSS, "job.json", Job, self.dir)

    def test_values_of_the_wrong_kind(self):
        for changes in ({"options": []}, {"options": "x"}, {"options": {"base": "x"}}, {"options": {"base": {"path": 7}}},
                        {"seed": "x"}, {"seed": None}, {"effort": "heroic"}, {"effort": 7}, {"labels": "x"}, {"format": 2},
                        {"options": {**self.GOOD["options"], "trainer": []}},
                        {"options": {**self.GOOD["options"], "abstain_micro": "x"}},
                        {"options": {**self.GOOD["options"], "class_weight": "heavy"}},
                        {"options": {**self.GOOD["options"], "class_weight": 2}}, {"model_files": {}}, {"model_files": [7]},
                        {"model_files": [{"name": "a"}]}):
            with self.subTest(changes):
                self.refused(DATA_LOSS, "job.json", lambda: self.job(**changes))

    def test_no_base(self):
        self.refused(INVALID_ARGUMENT, "no base", lambda: self.job(options={}))

    def test_rows(self):
        job = self.job()
        self.write("train.jsonl", b'{"id":"1","input":"a","output":"b"}\n{"id":"2","input":"\xc3\xa9","output":"d"}')
        self.assertEqual(list(job.rows()), [("1", "a", "b"), ("2", "\u00e9", "d")])
        for line in (b"{", b"[]", b"7", b'{"id":"1","input":"a"}', b'{"id":"1","input":"a","output":null}', b"\xff",
                     b'{"id":"1","input":7,"output":"x"}'):
            with self.subTest(line):
                self.write("train.jsonl", b'{"id":"1","input":"a","output":"b"}\n' + line + b"\n")
                self.refused(DATA_LOSS, "line 2", lambda: list(job.rows()))

    def test_model_files(self):
        path = self.write("bytes", b"0123456789")
        job = self.job(model_files=[{"name": "a", "path": path, "offset": 2, "size": 3},
                                    {"name": "b", "path": path, "offset": 8, "size": 3}])
        self.assertEqual(job.model_file("a"), b"234")
        self.refused(DATA_LOSS, "ends inside b", job.model_file, "b")
        self.refused(NOT_FOUND, "has no c", job.model_file, "c")

    def test_a_fingerprint_tells_jobs_apart(self):
        self.write("train.jsonl", b"{}")
        base_of = lambda **changes: {**self.GOOD["options"], "base": {**self.GOOD["options"]["base"], **changes}}
        one = self.job().fingerprint("x")
        self.assertEqual(one, self.job().fingerprint("x"))
        self.assertEqual(one, self.job(options=base_of(path="/moved")).fingerprint("x"))
        others = [self.job().fingerprint("y"), self.job(seed=2).fingerprint("x"),
                  self.job(options=base_of(digest="1")).fingerprint("x"),
                  self.job(options={**self.GOOD["options"], "trainer": {"rank": "5"}}).fingerprint("x")]
        self.write("train.jsonl", b"{} ")
        others.append(self.job().fingerprint("x"))
        self.assertEqual(len({one, *others}), 1 + len(others))

    def test_files_are_whole_and_the_same_for_the_same_value(self):
        path = os.path.join(self.dir, "out.json")
        write_json(path, {"b": 1, "a": "\u00e9"})
        with open(path, "rb") as file:
            first = file.read()
        write_json(path, {"a": "\u00e9", "b": 1})
        with open(path, "rb") as file:
            self.assertEqual(file.read(), first)
        self.assertEqual(json.loads(first), {"a": "\u00e9", "b": 1})
        with self.assertRaises(OSError):
            write_bytes(os.path.join(self.dir, "absent", "x"), b"")
        self.assertEqual(os.listdir(self.dir), ["out.json"])


class Streams(Case):
    def pipe(self):
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        return Lines(f"/proc/self/fd/{reading}"), writing

    def test_a_file_comes_in_batches_of_the_size_asked(self):
        path = self.write("lines", b"".join(b"%d\n" % i for i in range(150)))
        lines, found = Lines(path), []
        while batch := lines.batch(64):
            found.append(len(batch))
        self.assertEqual(found, [64, 64, 22])

    def test_a_file_larger_than_a_read(self):
        rows = [b"%d " % i + b"x" * 50_000 for i in range(100)]
        lines, found = Lines(self.write("lines", b"\n".join(rows) + b"\n")), []
        while batch := lines.batch(64):
            self.assertLessEqual(len(batch), 64)
            found.extend(batch)
        self.assertEqual(found, rows)

    def test_the_last_line_may_lack_its_end(self):
        self.assertEqual(Lines(self.write("lines", b"a\nb")).batch(64), [b"a", b"b"])
        self.assertEqual(Lines(self.write("lines", b"a")).batch(64), [b"a"])
        lines = Lines(self.write("lines", b"a\nb"))
        self.assertEqual([lines.batch(1), lines.batch(1), lines.batch(1)], [[b"a"], [b"b"], []])

    def test_nothing_is_the_end(self):
        self.assertEqual(Lines(self.write("lines", b"")).batch(64), [])

    def test_blank_lines_are_no_end(self):
        lines = Lines(self.write("lines", b"\n" * 200 + b"a\n\n\nb\n"))
        self.assertEqual(lines.batch(64), [b"a", b"b"])
        self.assertEqual(lines.batch(64), [])

    def test_a_pipe_is_answered_as_soon_as_it_says_something(self):
        lines, writing = self.pipe()
        os.write(writing, b"a\nb\nc")
        self.assertEqual(lines.batch(64), [b"a", b"b"])  # does not wait for more, nor takes half a line
        os.write(writing, b"d\n")
        self.assertEqual(lines.batch(64), [b"cd"])
        os.write(writing, b"\n")
        later = threading.Timer(0.2, lambda: (os.write(writing, b"e"), os.close(writing)))
        later.start()
        self.addCleanup(later.join)
        self.assertEqual(lines.batch(64), [b"e"])
        self.assertEqual(lines.batch(64), [])


class Labels(Case):
    LABELS = [("a", [1, 9]), ("ab", [1, 2, 9]), ("b", [3, 9]), ("bc", [3, 4, 5, 9])]

    def say(self, scores):
        """What is written when the tokens have these scores."""
        text = Text(Trie(self.LABELS).root, 9)
        for _ in range(10):
            if text.done:
                break
            text.choose(lambda token: scores.get(token, 0.0))
        self.assertTrue(text.done)
        return text.finish(None)

    def test_only_labels_are_written(self):
        for scores, label in (({1: 5, 2: 5}, "ab"), ({1: 5, 9: 5}, "a"), ({3: 5, 4: 5}, "bc"), ({3: 5, 9: 6}, "b"),
                              ({7: 100, 1: 1, 9: 1}, "a")):
            with self.subTest(scores):
                self.assertEqual(self.say(scores)[0], label)

    def test_the_confidence_is_the_share_of_what_may_follow(self):
        label, share = self.say({})
        self.assertEqual(label, "ab")  # of equals the first token
        self.assertAlmostEqual(share, 0.25)
        self.assertGreater(self.say({1: 20, 2: 20})[1], 0.999)

    def test_a_single_way_needs_no_more_tokens(self):
        text = Text(Trie(self.LABELS).root, 9)
        text.choose(lambda token: {3: 5.0}.get(token, 0.0))
        self.assertFalse(text.done)
        text.choose(lambda token: {4: 5.0}.get(token, 0.0))
        self.assertTrue(text.done)
        self.assertEqual(text.label, "bc")

    def test_free_text_ends_at_its_end(self):
        class Words:
            @staticmethod
            def decode(ids, skip_special_tokens):
                return " ".join(str(i) for i in ids)

        text = Text(None, 9)
        self.assertEqual([text.add(token, -0.5) for token in (4, 5, 9, 6)], [4, 5, 9, 9])
        output, share = text.finish(Words)
        self.assertEqual(output, "4 5")
        self.assertTrue(0 < share < 1)


class Words:
    """A tokenizer of a word a token; chat: its template."""

    eos_token_id = 0

    def __init__(self, chat=None):
        self.chat_template, self.known = chat, {"</s>": 0}

    def __call__(self, texts, **_):
        return {"input_ids": [[self.known.setdefault(w, len(self.known)) for w in t.replace("\n", " ").split()] for t in texts]}

    def apply_chat_template(self, messages, tokenize, add_generation_prompt=False):
        return "".join(f"{m['role']}: {m['content']} </s>\n" for m in messages) + ("assistant: " if add_generation_prompt else "")


class Rendering(Case):
    def choose(self, tokenizer, asked="auto", system=""):
        return encode.Rendering.choose(tokenizer, asked, system)

    def test_templates_that_cannot_be_used(self):
        self.refused(INVALID_ARGUMENT, "no chat template", self.choose, Words())
        told = self.refused(INVALID_ARGUMENT, "several chat templates", self.choose, Words({"rag": "b", "agent": "c"}))
        self.assertIn("agent, rag", told.text)
        self.choose(Words({"default": "b", "tool_use": "c"}))
        self.refused(INVALID_ARGUMENT, "needs a chat template", self.choose, Words("x"), "plain", "Be brief.")

    def test_a_completion_ends_once(self):
        for asked, system in (("auto", ""), ("auto", "Be brief."), ("plain", "")):
            with self.subTest(asked=asked, system=system):
                rendering = self.choose(Words("x"), asked, system)
                (ids,) = rendering.completions(["a b"], ["c d"])
                self.assertEqual((len(ids), ids[-1], ids.count(0)), (3, 0, 1))
                self.assertEqual(len(rendering.prompts(["a b"])[0]), {"auto": 5 + 4 * bool(system), "plain": 2}[asked])

    def test_rows_are_counted_never_cut(self):
        rendering = self.choose(Words("x"), "plain")
        rows = [("1", "a b c", "d"), ("2", "a " * 20, "d"), ("3", "a", " "), ("4", "a b", "c d e")]
        found = encode.encode_causal(rows, rendering, 6)
        self.assertEqual((len(found), found.too_long, found.empty, found.targets, found.longest_completion), (2, 1, 1, 6, 4))
        self.assertEqual([found.length(i) for i in range(2)], [5, 6])
        self.assertEqual(found.tokens(0).tolist(), rendering.prompts(["a b c"])[0] + rendering.completions([""], ["d"])[0])

    def test_a_longer_limit_is_advised_where_there_is_one(self):
        rendering = self.choose(Words("x"), "plain")
        rows = [("1", "a " * 20, "b"), ("2", "a " * 30, "b")]
        for most, words in ((None, "reads no more than 8 tokens, and the longest row has 32"), (8, "reads no more than 8 tokens"),
                            (32, "--set max_length=32 takes them all"), (31, "--set max_length=31 takes all that the base can read")):
            with self.subTest(most):
                told = self.refused(INVALID_ARGUMENT, "all 2 are longer than 8", encode.encode_causal, rows, rendering, 8, None, most)
                self.assertIn(words, told.remedy)
                self.assertEqual("max_length" in told.remedy, most in (31, 32))

    def test_nothing_left_is_refused(self):
        rendering = self.choose(Words("x"), "plain")
        self.refused(INVALID_ARGUMENT, "all 1 are longer than 8", encode.encode_causal, [("1", "a " * 20, "b")], rendering, 8)
        self.refused(INVALID_ARGUMENT, "no row has an output", encode.encode_causal, [("1", "a", "")], rendering, 8)
        self.refused(INVALID_ARGUMENT, "no row has an output", encode.encode_classify, [("1", "a", "\n")], Words(), {}, 8)


class Weights(Case):
    def test_each_label_weighs_the_same(self):
        weights = train.balanced_weights([0] * 90 + [1] * 9 + [3], 4)
        self.assertEqual(weights, [100 / 270, 100 / 27, 0.0, 100 / 3])
        self.assertAlmostEqual(90 * weights[0] + 9 * weights[1] + weights[3], 100)
        self.assertEqual(train.balanced_weights([1, 0], 2), [1.0, 1.0])


class Talker(Words):
    """A tokenizer whose template is a function of the messages and the tools."""

    def __init__(self, write, chat="a template"):
        super().__init__(chat)
        self.write, self.asked = write, []

    def apply_chat_template(self, messages, tokenize, add_generation_prompt=False, tools=None):
        self.asked.append((messages, tools))
        return self.write(messages, tools) + ("assistant: " if add_generation_prompt else "")


def all_of_it(messages, tools):
    return json.dumps(tools or "") + "".join(f"{m['role']}: {m['content']}{m.get('tool_calls', '')} </s>\n" for m in messages)


def says(*messages):
    return [{"role": role, "content": content} for role, content in messages]


class Structure(Case):
    """Messages and tools reach the template as they were given."""

    TALK = says(("system", "Which team?"), ("user", "late"), ("assistant", "Where to?"), ("user", "Bonn"))

    def choose(self, tokenizer, system=""):
        return encode.Rendering.choose(tokenizer, "auto", system)

    def question(self, messages=None, tools=None, text="Bonn"):
        return encode.Question(text, messages or self.TALK, tools)

    def test_rows_have_their_messages(self):
        whole = self.TALK + says(("assistant", "shipping"))
        row = {"input": "late", "messages": whole, "tools": [{"name": "f"}]}
        asked = encode.question_of(row, True)
        self.assertEqual((asked, asked.messages, asked.tools), ("late", self.TALK, [{"name": "f"}]))
        self.assertEqual(encode.question_of({**row, "messages": self.TALK}, False).messages, self.TALK)
        self.assertIs(type(encode.question_of({"input": "late"}, True)), str)
        for bad in ({"messages": []}, {"messages": 7}, {"messages": [7, 7]}, {"messages": [{"role": "user"}] * 2},
                    {"messages": [{"role": 7, "content": "x"}] * 2}, {"tools": {}}, {"input": 7}):
            with self.subTest(bad):
                with self.assertRaises(ValueError):
                    encode.question_of({**row, **bad}, True)

    def test_the_template_gets_all_of_it(self):
        tokenizer = Talker(all_of_it)
        rendering = self.choose(tokenizer)
        tools = [{"type": "function", "function": {"name": "track"}}]
        rendering.completions([self.question(tools=tools)], ["shipping"])
        self.assertEqual(tokenizer.asked, [(self.TALK, tools), (self.TALK + says(("assistant", "shipping")), tools)])
        tokenizer.asked.clear()
        rendering.prompts(["plain"])
        self.assertEqual(tokenizer.asked, [(says(("user", "plain")), None)])

    def test_arguments_of_calls_are_objects(self):
        call = {"type": "function", "function": {"name": "track", "arguments": "{\"n\": 1389432487213912064}"}}
        odd = {"type": "function", "function": {"name": "track", "arguments": "no JSON"}}
        messages = says(("user", "late"), ("assistant", ""), ("tool", "Bonn"))
        messages[1]["tool_calls"] = [call, odd]
        tokenizer = Talker(all_of_it)
        self.choose(tokenizer).prompts([self.question(messages)])
        calls = tokenizer.asked[0][0][1]["tool_calls"]
        self.assertEqual(calls[0]["function"]["arguments"], {"n": 1389432487213912064})
        self.assertEqual(calls[1], odd)
        self.assertEqual(call["function"]["arguments"], "{\"n\": 1389432487213912064}")  # the row is as it was

    def test_the_system_option_is_for_rows_without_one(self):
        tokenizer = Talker(all_of_it)
        rendering = self.choose(tokenizer, "Be brief.")
        rendering.prompts([self.question(), self.question(self.TALK[1:]), "plain"])
        self.assertEqual([m[0]["content"] for m, _ in tokenizer.asked], ["Which team?", "Be brief.", "Be brief."])

    def test_developers_are_systems_where_nobody_knows_them(self):
        messages = says(("developer", "Which team?"), ("user", "late"))
        for chat, role in (("a template", "system"), ("{{ developer }}", "developer")):
            tokenizer = Talker(all_of_it, chat)
            self.choose(tokenizer).prompts([self.question(messages)])
            self.assertEqual(tokenizer.asked[0][0][0]["role"], role)

    def test_a_template_that_refuses_has_its_say(self):
        def write(messages, _tools):
            if messages[0]["role"] == "system":
                raise ValueError("System role not supported\nline 7")
            return all_of_it(messages, None)

        rendering = self.choose(Talker(write))
        told = self.refused(INVALID_ARGUMENT, "a conversation of system, user, assistant, user: System role not supported",
                            rendering.prompts, [self.question()])
        self.assertNotIn("line 7", told.text)
        self.assertEqual(len(rendering.prompts([self.question(self.TALK[1:])])), 1)

    def test_a_template_that_leaves_out_is_found(self):
        without = lambda *roles: Talker(lambda messages, tools: all_of_it([m for m in messages if m["role"] not in roles], None))
        tools = [{"type": "function", "function": {"name": "track"}}]
        for roles, question, words in ((("system",), self.question(), "leaves out the system message"),
                                       (("assistant",), self.question(), "leaves out the assistant message"),
                                       ((), self.question(tools=tools), "leaves out the tool track")):
            with self.subTest(words):
                self.refused(INVALID_ARGUMENT, words, self.choose(without(*roles)).completions, [question], ["shipping"])
        self.refused(INVALID_ARGUMENT, "leaves out the system", self.choose(without("system"), "Be brief.").completions,
                     ["plain"], ["shipping"])

    def test_what_templates_do_to_texts_is_no_leaving_out(self):
        messages = says(("system", "  Which \"team\"?\n"), ("user", "a\nb"), ("assistant", "<think>hm</think>Where?"), ("user", "x"))
        changed = lambda messages, _: " ".join(json.dumps(m["content"].split("</think>")[-1].strip()) for m in messages)
        self.assertEqual(len(self.choose(Talker(changed)).completions([self.question(messages)], ["y"])), 1)

    def test_a_long_conversation_loses_of_its_longest_message(self):
        asked = self.question(says(("system", "a" * 10), ("user", "b" * 100)))
        for _ in range(200):
            if not asked:
                break
            asked = encode.shortened(asked, 0.5)
        self.assertEqual((str(asked), [m["content"] for m in asked.messages]), ("", ["", ""]))
        once = encode.shortened(self.question(says(("system", "a" * 10), ("user", "b" * 100))), 0.5)
        self.assertEqual([len(m["content"]) for m in once.messages], [10, 50])
        self.assertEqual(encode.shortened("abcdef", 0.5), "abc")

    def test_prompts_of_rows_hold_the_system_message(self):
        rendering = self.choose(Talker(all_of_it))
        rows = [("1", self.question(), "shipping"), ("2", "plain", "billing")]
        found = encode.encode_causal(rows, rendering, 100)
        self.assertEqual(found.tokens(0).tolist()[:found.prompts[0]], rendering.prompts([self.question()])[0])
        self.assertGreater(found.length(0), found.length(1))


class Devices(Case):
    def test_an_unknown_device(self):
        self.refused(INVALID_ARGUMENT, "'tpu'", devices.find, "tpu")
        for name in devices.TABLE:
            self.assertEqual(devices.find(name).name, name)

    def test_what_counts_as_out_of_memory(self):
        class OutOfMemoryError(RuntimeError):
            pass

        for failure in (MemoryError(), OutOfMemoryError("x"), RuntimeError("CUDA error: out of memory"),
                        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
                        RuntimeError("not enough memory: you tried to allocate")):
            self.assertTrue(devices.out_of_memory(failure), failure)
        for failure in (RuntimeError("shapes differ"), ValueError("out of memory"), OSError(12, "x")):
            self.assertFalse(devices.out_of_memory(failure), failure)

    def test_free_memory_is_a_number(self):
        self.assertTrue(0 < devices.free_memory() < 1 << 62)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
