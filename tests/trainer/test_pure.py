#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The parts of the trainer that need no library: batches, options, jobs, weights, devices."""
import json
import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.abspath(sys.argv[1]))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kolm_trainer import batches, cli, devices, options, train  # noqa: E402
from kolm_trainer.errors import DATA_LOSS, FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, TrainerError  # noqa: E402
from kolm_trainer.job import Job, write_bytes, write_json  # noqa: E402
from pure_case import Case  # noqa: E402


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
        self.assertNotEqual(means, sorted(means))  # but the batches themselves are not sorted

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
        self.assertEqual(batches.split_valid(50, 0.1, 3), (list(range(50)), []))  # five rows would not be significant
        self.assertEqual(batches.split_valid(1000, 0, 3)[1], [])


class Options(Case):
    # name: (accepted, refused); every name of the table has its line.
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


class Weights(Case):
    def test_each_label_weighs_the_same(self):
        weights = train.balanced_weights([0] * 90 + [1] * 9 + [3], 4)
        self.assertEqual(weights, [100 / 270, 100 / 27, 0.0, 100 / 3])
        self.assertAlmostEqual(90 * weights[0] + 9 * weights[1] + weights[3], 100)
        self.assertEqual(train.balanced_weights([1, 0], 2), [1.0, 1.0])


class Failures(Case):
    def test_each_is_an_error_with_a_code(self):
        for failure, code in ((MemoryError(), RESOURCE_EXHAUSTED), (ModuleNotFoundError("x", name="torch"), FAILED_PRECONDITION),
                              (ImportError("libcudart.so.12: cannot open shared object file", name="torch"), FAILED_PRECONDITION),
                              (ImportError(), FAILED_PRECONDITION), (OSError(28, "No space left", "/x"), RESOURCE_EXHAUSTED),
                              (TrainerError(NOT_FOUND, "a", "b"), NOT_FOUND)):
            with self.subTest(failure=failure):
                error = cli._explain(failure)
                self.assertEqual(error.code, code)
                self.assertTrue(error.text and error.remedy)


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
