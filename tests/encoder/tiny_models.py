# SPDX-License-Identifier: Apache-2.0
"""Encoders of every family, small enough to compute in plain Python: their files, and their expected embeddings."""
import json
import math
import os
import random
import struct

def spread_out(draw, spread):
    """Returns a number of about this spread, by arithmetic that is the same on all machines."""
    return draw.uniform(-1.75, 1.75) * spread


WIDTH = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1, "F64": 8, "I64": 8, "I32": 4}


def pack(values, dtype):
    """Returns the bytes of numbers, and the numbers that these bytes represent."""
    if dtype == "BF16":
        words = [struct.unpack("<I", struct.pack("<f", v))[0] >> 16 for v in values]
        return struct.pack(f"<{len(words)}H", *words), [struct.unpack("<f", struct.pack("<I", w << 16))[0] for w in words]
    letter = {"F32": "f", "F16": "e", "I8": "b", "F64": "d", "I64": "q", "I32": "i"}[dtype]
    data = struct.pack(f"<{len(values)}{letter}", *values)
    return data, list(struct.unpack(f"<{len(values)}{letter}", data))


def write_safetensors(path, tensors):
    """tensors: name -> (dtype, shape, bytes); wide types come first, so that all are aligned to their size."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, content) in sorted(tensors.items(), key=lambda t: (-WIDTH[t[1][0]], t[0])):
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def write_json(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file)


class Tiny:
    """A transformer whose sizes are not multiples of those that kernels prefer."""

    def __init__(self, family, dtype="F32", pooling="mean", activation="gelu", normalise=True, prefix="", old_names=False, seed=1,
                 vocabulary=50, inner=43):
        self.family, self.dtype, self.pooling, self.activation, self.normalise = family, dtype, pooling, activation, normalise
        self.prefix, self.old_names = prefix, old_names
        self.hidden, self.heads, self.inner, self.layers, self.vocabulary, self.positions = 20, 4, inner, 2, vocabulary, 44
        self.types = 0 if family == "mpnet" else 2
        self.epsilon = 1e-5
        self.draw = random.Random(seed)
        self.files, self.numbers = {}, {}
        self.make()

    def tensor(self, name, shape, spread, middle=0.0):
        count = math.prod(shape)
        values = [middle + spread_out(self.draw, spread) for _ in range(count)]
        data, self.numbers[name] = pack(values, self.dtype)
        saved = name
        if self.old_names:
            saved = saved.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        self.files[self.prefix + saved] = (self.dtype, shape, data)

    def linear(self, name, rows, columns):
        self.tensor(name + ".weight", [rows, columns], 0.4)
        self.tensor(name + ".bias", [rows], 0.1)

    def norm(self, name):
        self.tensor(name + ".weight", [self.hidden], 0.2, 1.0)
        self.tensor(name + ".bias", [self.hidden], 0.2)

    def names(self, layer):
        at = f"encoder.layer.{layer}."
        if self.family == "mpnet":
            return [at + "attention.attn." + n for n in "qkvo"] + [at + "attention.LayerNorm"]
        return [at + "attention.self." + n for n in ("query", "key", "value")] + [at + "attention.output.dense",
                                                                                 at + "attention.output.LayerNorm"]

    def make(self):
        h = self.hidden
        self.tensor("embeddings.word_embeddings.weight", [self.vocabulary, h], 1.0)
        self.tensor("embeddings.position_embeddings.weight", [self.positions, h], 0.3)
        if self.types:
            self.tensor("embeddings.token_type_embeddings.weight", [self.types, h], 0.3)
        self.norm("embeddings.LayerNorm")
        for i in range(self.layers):
            *four, norm = self.names(i)
            for name in four:
                self.linear(name, h, h)
            self.norm(norm)
            self.linear(f"encoder.layer.{i}.intermediate.dense", self.inner, h)
            self.linear(f"encoder.layer.{i}.output.dense", h, self.inner)
            self.norm(f"encoder.layer.{i}.output.LayerNorm")
        if self.family == "mpnet":
            self.tensor("encoder.relative_attention_bias.weight", [32, self.heads], 1.0)

    def write(self, directory):
        config = {"model_type": self.family, "hidden_size": self.hidden, "intermediate_size": self.inner,
                  "num_hidden_layers": self.layers, "num_attention_heads": self.heads, "vocab_size": self.vocabulary,
                  "max_position_embeddings": self.positions, "hidden_act": self.activation, "layer_norm_eps": self.epsilon,
                  "pad_token_id": 0 if self.family == "bert" else 1}
        if self.types:
            config["type_vocab_size"] = self.types
        write_json(os.path.join(directory, "config.json"), config)
        kinds = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if self.normalise else [])
        write_json(os.path.join(directory, "modules.json"), [
            {"idx": i, "name": str(i), "path": path, "type": "sentence_transformers.models." + kind}
            for i, (path, kind) in enumerate(kinds)])
        write_json(os.path.join(directory, "1_Pooling", "config.json"),
                   {"word_embedding_dimension": self.hidden, "pooling_mode": self.pooling})
        write_safetensors(os.path.join(directory, "model.safetensors"), self.files)

    # ---- Expected results

    def row(self, name, index, columns):
        return self.numbers[name][index * columns:(index + 1) * columns]

    def apply_linear(self, name, x):
        weight, bias = self.numbers[name + ".weight"], self.numbers[name + ".bias"]
        n = len(x)
        return [b + math.fsum(weight[i * n + k] * x[k] for k in range(n)) for i, b in enumerate(bias)]

    def apply_norm(self, name, x):
        gain, bias = self.numbers[name + ".weight"], self.numbers[name + ".bias"]
        mean = math.fsum(x) / len(x)
        variance = math.fsum((v - mean) ** 2 for v in x) / len(x)
        return [(v - mean) / math.sqrt(variance + self.epsilon) * g + b for v, g, b in zip(x, gain, bias)]

    def activate(self, x):
        if self.activation == "gelu":
            return 0.5 * x * math.erfc(-x / math.sqrt(2))
        if self.activation == "gelu_new":
            return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))
        return max(x, 0.0)

    def distance(self, head, query, key):
        """T5's buckets, as MPNet uses them."""
        n = abs(key - query)
        bucket = n if n < 8 else min(15, 8 + int(math.log(n / 8) / math.log(16) * 8 + 1e-9))
        return self.numbers["encoder.relative_attention_bias.weight"][(bucket + (16 if key > query else 0)) * self.heads + head]

    def attend(self, layer, x):
        q, k, v = ([self.apply_linear(name, t) for t in x] for name in self.names(layer)[:3])
        size, out = self.hidden // self.heads, [[] for _ in x]
        for head in range(self.heads):
            part = slice(head * size, (head + 1) * size)
            for i in range(len(x)):
                scores = [sum(a * b for a, b in zip(q[i][part], k[j][part])) / math.sqrt(size) for j in range(len(x))]
                if self.family == "mpnet":
                    scores = [s + self.distance(head, i, j) for j, s in enumerate(scores)]
                most = max(scores)
                shares = [math.exp(s - most) for s in scores]
                total = sum(shares)
                out[i] += [sum(share / total * v[j][part][d] for j, share in enumerate(shares)) for d in range(size)]
        return out

    def layer(self, i, x):
        *_, o, norm = self.names(i)
        x = [self.apply_norm(norm, [a + b for a, b in zip(t, self.apply_linear(o, c))]) for t, c in zip(x, self.attend(i, x))]
        at, out = f"encoder.layer.{i}.", []
        for t in x:
            inner = [self.activate(u) for u in self.apply_linear(at + "intermediate.dense", t)]
            out.append(self.apply_norm(at + "output.LayerNorm",
                                       [a + b for a, b in zip(t, self.apply_linear(at + "output.dense", inner))]))
        return out

    def embed(self, ids):
        if not ids:
            return [0.0] * self.hidden
        x, pad, following = [], 1, 0 if self.family == "bert" else 2
        for token in ids:
            padding = self.family != "bert" and token == pad
            parts = [self.row("embeddings.word_embeddings.weight", token, self.hidden),
                     self.row("embeddings.position_embeddings.weight", pad if padding else following, self.hidden)]
            if self.types:
                parts.append(self.row("embeddings.token_type_embeddings.weight", 0, self.hidden))
            x.append(self.apply_norm("embeddings.LayerNorm", [sum(p) for p in zip(*parts)]))
            following += not padding
        for i in range(self.layers):
            x = self.layer(i, x)
        out = {"mean": lambda: [sum(c) / len(x) for c in zip(*x)], "cls": lambda: x[0],
               "max": lambda: [max(c) for c in zip(*x)]}[self.pooling]()
        length = math.sqrt(sum(v * v for v in out)) if self.normalise else 1.0
        return [v / length for v in out]


class Static:
    """Static embeddings as model2vec saves them."""

    def __init__(self, dtype="F32", weights=None, mapping=None, normalise=True, seed=2, vocabulary=50):
        draw = random.Random(seed)
        self.hidden, self.vocabulary, self.normalise = 37, vocabulary, normalise
        rows = vocabulary if mapping is None else 20
        values = [spread_out(draw, 1) for _ in range(rows * self.hidden)]
        if dtype == "I8":
            values = [max(-128, min(127, round(40 * v))) for v in values]
        data, self.table = pack(values, dtype)
        self.files = {"embeddings": (dtype, [rows, self.hidden], data)}
        self.weights, self.rows = [1.0] * vocabulary, list(range(vocabulary))
        if weights is not None:
            data, self.weights = pack([draw.uniform(0.1, 2) for _ in range(vocabulary)], weights)
            self.files["weights"] = (weights, [vocabulary], data)
        if mapping is not None:
            data, self.rows = pack([draw.randrange(rows) for _ in range(vocabulary)], mapping)
            self.files["mapping"] = (mapping, [vocabulary], data)

    def write(self, directory):
        write_json(os.path.join(directory, "config.json"), {"model_type": "model2vec", "normalize": self.normalise})
        write_json(os.path.join(directory, "modules.json"), [
            {"idx": 0, "name": "0", "path": ".", "type": "sentence_transformers.models.StaticEmbedding"}])
        write_safetensors(os.path.join(directory, "model.safetensors"), self.files)

    def embed(self, ids):
        if not ids:
            return [0.0] * self.hidden
        out = [sum(self.table[self.rows[t] * self.hidden + k] * self.weights[t] for t in ids) / len(ids) for k in range(self.hidden)]
        length = math.sqrt(sum(v * v for v in out)) if self.normalise else 1.0
        return [v / length for v in out]
