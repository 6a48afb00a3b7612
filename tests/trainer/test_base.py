#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The check of a base before any library is loaded, and its context."""
import json
import os
import struct
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.abspath(sys.argv[1]))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kolm_trainer import base, context, model  # noqa: E402
from kolm_trainer.errors import DATA_LOSS, INVALID_ARGUMENT, NOT_FOUND, TrainerError  # noqa: E402
from pure_case import Case  # noqa: E402


def safetensors(tensors, tail=b"", header=None):
    """Writes the file format by hand: tensors is {name: (dtype, shape, bytes)}."""
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
        self.assertFalse(base.look(self.base, allow_pickle=True).pickled)  # never if there is something better

    def test_a_pickle_in_an_artifact(self):
        """A library would load it if there is nothing better."""
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
                ("cut in the data", WHOLE[:-1], "bytes of tensors, and it contains"),
                ("cut in the header", WHOLE[:40], "header is longer than the file"),
                ("longer than promised", WHOLE + b"x", "bytes of tensors, and it contains"),
                ("huge header", struct.pack("<Q", 1 << 62) + WHOLE[8:], "header is longer"),
                ("header of garbage", safetensors({}, header=b"\xff\xfe"), "cannot be read"),
                ("header of a list", safetensors({}, header=b"[]"), "cannot be read"),
                ("deep header", safetensors({}, header=b"[" * 200_000), "cannot be read"),
                ("no tensors", safetensors({}, header=b"{}"), "contains no tensors"),
                ("only metadata", safetensors({}, header=b'{"__metadata__":{}}'), "contains no tensors"),
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
        """Replaces model.safetensors by shards and an index."""
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
        self.bad(NOT_FOUND, "is missing model-2.safetensors")

    def test_a_stale_index_next_to_complete_weights(self):
        """As in transformers, model.safetensors is loaded, whatever an index or shards next to it contain."""
        for content in ({"weight_map": {"a": "model-00001-of-00002.safetensors"}}, b"{", {"weight_map": {"a": "../x"}}):
            with self.subTest(content):
                self.write("base/model.safetensors.index.json", content)
                found = base.look(self.base)
                self.assertEqual((found.weights, found.weight_bytes), (["model.safetensors"], len(WHOLE)))
        self.write("base/model-00001-of-00002.safetensors", b"cut")
        with base.look(self.base).alone() as path:
            self.assertNotIn("model-00001-of-00002.safetensors", os.listdir(path))  # mlx-lm reads all files that it finds

    def test_an_adapter_next_to_the_base(self):
        """An adapter is not part of the base: neither of its weights nor of the files that transformers sees; and it is reported."""
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
        self.bad(NOT_FOUND, "has no weights")  # those of the adapter do not count

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
        self.refused(INVALID_ARGUMENT, "cannot generate text", task, "bert", "causal")
        self.refused(INVALID_ARGUMENT, "closed set", task, "bert", "auto", 0)
        self.refused(INVALID_ARGUMENT, "encoder-decoder", lambda: task("t5", is_encoder_decoder=True))


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


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
