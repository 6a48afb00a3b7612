#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Answers with this model without kolm: predict.py TEXT...; without a TEXT each line of standard input.

Embeddings come from transformers and torch, those of static encoders from the package tokenizers alone; all else is
the standard library. A program of its own calls `Model(directory).answer(text, embedding)` with embeddings from
anywhere, such as sentence-transformers; what they are of is `prefix_of(directory) + text`.
"""
import collections
import json
import math
import mmap
import os
import struct
import sys
import unicodedata

HERE = os.path.dirname(os.path.abspath(__file__))
MASK = (1 << 64) - 1
MICRO = 1000000


def padded(n):
    return (n + 15) & ~15


# ---- The linear part: word 1-2-grams and character 2-5-grams, hashed

SINGLE = ((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3038, 0x303B), (0x3041, 0x30FF), (0x31F0, 0x31FF),
          (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9D), (0x1B000, 0x1B16F), (0x20000, 0x3FFFD))
WORD, CHAR = 0x6B6F6C6D00000001, 0x6B6F6C6D00000002


def kind_of(c):
    """0 between words, 1 in a word, 2 a word of its own, 3 white space."""
    if c.isspace():
        return 3
    if unicodedata.category(c)[0] not in "LMN":
        return 0
    return 2 if any(a <= ord(c) <= b for a, b in SINGLE) else 1


def step(value, more):
    value = ((value ^ more) * 0x9E3779B97F4A7C15) & MASK
    return value ^ (value >> 32)


def bucket(value):
    return ((value * 0xD6E8FEB86659FD93) & MASK) >> 44


def count_words(chars):
    counts, previous, current, inside = collections.Counter(), 0, 0, False
    for c in chars + " ":
        kind = kind_of(c)
        if kind != 1 and inside:
            counts[bucket(current)] += 1
            if previous:
                counts[bucket(step(step(WORD, previous), current))] += 1
            previous, inside = current, False
        if kind in (1, 2):
            current, inside = step(current if inside else WORD, ord(c)), True
        if kind == 2:
            counts[bucket(current)] += 1
            if previous:
                counts[bucket(step(step(WORD, previous), current))] += 1
            previous, inside = current, False
    return counts


def count_chars(chars):
    counts = collections.Counter()
    for run in "".join(" " if c.isspace() else c for c in chars).split(" "):
        run = " " + run + " " if run else ""
        for i in range(len(run) - 1):
            value = step(CHAR, ord(run[i]))
            for c in run[i + 1:i + 5]:
                value = step(value, ord(c))
                counts[bucket(value)] += 1
    return counts


class Linear:
    """linear.bin: a line of 8-bit weights for each feature."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = data = file.read()
        (magic, version, layout, self.families, labels, words, chars, label_bytes, word_bytes, char_bytes, entries) = struct.unpack_from("<8s6I4Q", data)
        if magic != b"kolmlin1" or version != 1:
            raise ValueError("%s is not of a version that this program knows" % path)
        self.features, self.sparse = (words, chars), layout == 1
        at, self.labels = 128, []
        for _ in range(labels):
            length, = struct.unpack_from("<I", data, at)
            self.labels.append(data[at + 4:at + 4 + length].decode())
            at += 4 + length
        at = 128 + padded(label_bytes)
        self.index = [self.read_buckets(at, words, 0), self.read_buckets(at + padded(word_bytes), chars, words)]
        at += padded(word_bytes) + padded(char_bytes)
        count = words + chars
        self.idf = struct.unpack_from("<%df" % count, data, at)
        at += padded(count * 4)
        self.scale = struct.unpack_from("<%df" % labels, data, at)
        self.bias = struct.unpack_from("<%df" % labels, data, at + padded(labels * 4))
        at += 2 * padded(labels * 4)
        if self.sparse:
            self.first = struct.unpack_from("<%dI" % (count + 1), data, at)
            self.entry_labels = at + padded((count + 1) * 4)
            at = self.entry_labels + padded(entries * 2)
        self.weights = at

    def read_buckets(self, at, count, first):
        index, place = {}, -1
        for feature in range(first, first + count):
            shift = difference = 0
            while True:
                byte = self.data[at]
                at += 1
                difference |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            place += difference
            index[place] = feature
        return index

    def values(self, text):
        chars = "".join(c.lower()[0] for c in text[:65536])
        for family, counted in enumerate((count_words, count_chars)):
            if not self.families >> family & 1:
                continue
            found = [(self.index[family][b], n) for b, n in counted(chars).items() if b in self.index[family]]
            values = [(f, (1.0 + math.log(min(n, 255))) * self.idf[f]) for f, n in found]
            length = math.sqrt(sum(v * v for _, v in values))
            for feature, value in values:
                yield feature, value / length

    def margins(self, text):
        count = len(self.labels)
        sums = [0.0] * count
        for feature, value in self.values(text):
            if self.sparse:
                a, b = self.first[feature], self.first[feature + 1]
                labels = struct.unpack_from("<%dH" % (b - a), self.data, self.entry_labels + a * 2)
                for label, weight in zip(labels, struct.unpack_from("<%db" % (b - a), self.data, self.weights + a)):
                    sums[label] += value * weight
            else:
                at = self.weights + feature * ((count + 3) & ~3)
                for label, weight in enumerate(struct.unpack_from("<%db" % count, self.data, at)):
                    sums[label] += value * weight
        return [s * scale + bias for s, scale, bias in zip(sums, self.scale, self.bias)]


# ---- The head on the embedding, and both together


class Model:
    def __init__(self, directory=HERE):
        inner = os.path.join(directory, "kolm")
        self.linear = Linear(os.path.join(inner, "linear.bin"))
        self.labels = self.linear.labels
        path = os.path.join(inner, "head.bin")
        with open(path, "rb") as file:
            data = file.read()
        magic, version, labels, self.dimensions, _ = struct.unpack_from("<8s4I", data)
        if magic != b"kolmhead" or version != 1:
            raise ValueError("%s is not of a version that this program knows" % path)
        self.lambda_, _, self.knee, self.width, temperature, noise, self.threshold = struct.unpack_from("<4f3Q", data, 24)
        self.temperature, self.noise = temperature / MICRO, noise / MICRO
        at, parts = 96, []
        for _ in range(3):
            parts.append(struct.unpack_from("<%df" % labels, data, at))
            at += padded(labels * 4)
        self.scale, self.bias, self.mean_scale = parts
        size = labels * self.dimensions
        self.weight, self.mean = ([struct.unpack_from("<%db" % self.dimensions, data, start + i * self.dimensions) for i in range(labels)]
                                  for start in (at, at + padded(size)))

    def scores(self, x):
        """Log-probabilities by the embedding, and its likeness to the nearest label's mean; x: whole numbers, 32767 for 1."""
        product = [sum(a * b for a, b in zip(x, line)) / 32767 for line in self.weight]
        plain = [b + s * p for b, s, p in zip(self.bias, self.scale, product)]
        near = max(s * sum(a * b for a, b in zip(x, line)) / 32767 for s, line in zip(self.mean_scale, self.mean))
        most = max(plain)
        whole = most + math.log(sum(math.exp(p - most) for p in plain))
        return [p - whole for p in plain], near

    def answer(self, text, embedding):
        """(label, confidence, withheld): what kolm run answers. embedding: of text, of any length but 0."""
        length = math.sqrt(sum(float(e) * float(e) for e in embedding))
        x = [int(math.floor(abs(float(e)) / length * 32767 + 0.5)) * (1 if e >= 0 else -1) if length else 0 for e in embedding]
        scores, near = self.scores(x)
        scores = [s + self.lambda_ * m for s, m in zip(scores, self.linear.margins(text))]
        best = max(range(len(scores)), key=lambda i: scores[i])
        total = sum(math.exp((s - scores[best]) / self.temperature) for s in scores)
        sure = (1 - self.noise) / total + self.noise / len(scores)
        factor = 1.0 if near >= self.knee else max(0.0, 1 - (self.knee - near) / self.width)
        confidence = int(int(MICRO * sure + 0.5) * int(factor * MICRO + 0.5) / MICRO)
        return self.labels[best], confidence / MICRO, confidence < self.threshold


# ---- Texts as the encoder gets them


def read_json(directory, name):
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def prefix_of(directory):
    """What is put before every text: as kolm chose it."""
    config = read_json(directory, "config_sentence_transformers.json")
    prompts = config.get("prompts") or {}
    for name in (config.get("default_prompt_name"), "classification"):
        if isinstance(prompts.get(name), str):
            return prompts[name]
    document = prompts.get("document") or prompts.get("passage")
    return prompts["query"] if isinstance(prompts.get("query"), str) and document else ""


def modules_of(directory):
    """What follows what: pairs of a kind and the directory of its files."""
    return [(m["type"].rpartition(".")[2], m["path"]) for m in read_json(directory, "modules.json") or ()]


def tokenizer_of(directory):
    path = os.path.join(directory, "tokenizer.json")
    if os.path.exists(path):
        import tokenizers
        tokenizer = tokenizers.Tokenizer.from_file(path)
    else:
        import transformers
        tokenizer = transformers.BertTokenizerFast.from_pretrained(directory).backend_tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def most_tokens(directory, config):
    """Of a text, its special tokens among them."""
    most = config["max_position_embeddings"]
    if config["model_type"] != "bert":  # positions begin behind that of padding
        most -= (1 if config["model_type"] == "mpnet" else 1 if config.get("pad_token_id") is None else config["pad_token_id"]) + 1
    said = read_json(directory, "sentence_bert_config.json").get("max_seq_length")
    if said is None:
        said = read_json(directory, "tokenizer_config.json").get("model_max_length")
    return min(most, int(said)) if said and said >= 1 else most


# ---- A transformer


def load_transformer(directory):
    """With every weight from the file: transformers itself would make up what it does not find by its own names."""
    import safetensors.torch
    import transformers
    config = transformers.AutoConfig.from_pretrained(directory)
    model = transformers.AutoModel.from_config(config, add_pooling_layer=False).float().eval()
    saved = safetensors.torch.load_file(os.path.join(directory, "model.safetensors"))
    word = "embeddings.word_embeddings.weight"
    before = next(p for p in ("", "bert.", "roberta.", "mpnet.", "0.auto_model.") if p + word in saved)
    named = {}
    for name, tensor in saved.items():
        if name.startswith(before):
            name = name[len(before):].replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
            named[name] = tensor.float()
    missing = [name for name in model.load_state_dict(named, strict=False).missing_keys if not name.endswith("_ids")]
    if missing:
        raise SystemExit("model.safetensors has no %s: is it the file that was exported?" % missing[0])
    return model


def embed_by_transformer(directory, texts, end):
    import torch
    path = next(path for kind, path in modules_of(directory) if kind == "Pooling")
    pooling = read_json(directory, path + "/config.json")
    mode = pooling.get("pooling_mode") or next(k for k, v in pooling.items() if v is True and k.startswith("pooling_mode_"))
    tokenizer, model = tokenizer_of(directory), load_transformer(directory)
    tokenizer.enable_truncation(most_tokens(directory, read_json(directory, "config.json")), direction="left" if end else "right")
    lower = read_json(directory, "sentence_bert_config.json").get("do_lower_case")
    prefix = prefix_of(directory)
    texts = [prefix + ("".join(c.lower() for c in text) if lower else text) for text in texts]
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    # Texts of as many tokens together: none needs padding.
    order = sorted((i for i in range(len(ids)) if ids[i]), key=lambda i: len(ids[i]))
    found = [[0.0] * model.config.hidden_size] * len(ids)
    at = 0
    while at < len(order):
        some = [i for i in order[at:at + 32] if len(ids[i]) == len(ids[order[at]])]
        at += len(some)
        with torch.no_grad():
            states = model(input_ids=torch.tensor([ids[i] for i in some])).last_hidden_state
        state = states[:, 0] if "cls" in str(mode) else states.max(1).values if "max" in str(mode) else states.mean(1)
        for i, line in zip(some, state.tolist()):
            found[i] = line
    return found


# ---- Static embeddings: one vector for each token


class Table:
    """The tensors of a safetensors file, read where they lie."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        size, = struct.unpack_from("<Q", self.data)
        self.begin, self.tensors = 8 + size, json.loads(self.data[8:8 + size].decode())

    def shape(self, name):
        return self.tensors[name]["shape"]

    def numbers(self, name, first, count):
        dtype, at = self.tensors[name]["dtype"], self.begin + self.tensors[name]["data_offsets"][0]
        if dtype == "BF16":  # the upper half of 32 bits
            words = struct.unpack_from("<%dH" % count, self.data, at + first * 2)
            return struct.unpack("<%df" % count, struct.pack("<%dI" % count, *(word << 16 for word in words)))
        letter = {"F32": "f", "F16": "e", "F64": "d", "I8": "b", "I32": "i", "I64": "q"}[dtype]
        return struct.unpack_from("<%d%s" % (count, letter), self.data, at + first * struct.calcsize("<" + letter))


def ids_of_model2vec(tokenizer, texts, most):
    """As model2vec reads them: of so many characters the first tokens, and of those the known ones."""
    vocabulary = tokenizer.get_vocab()
    lengths = sorted(len(token) for token in vocabulary)
    median = (lengths[(len(lengths) - 1) // 2] + lengths[len(lengths) // 2]) // 2
    said = json.loads(tokenizer.to_str())["model"]
    unknown = said.get("unk_id") if said["type"] == "Unigram" else vocabulary.get(said.get("unk_token"))
    for encoding in tokenizer.encode_batch([text[:most * median] for text in texts], add_special_tokens=False):
        yield [token for token in encoding.ids[:most] if token != unknown]


def ids_of_static(directory, tokenizer, texts, end):
    config, most = read_json(directory, "config.json"), 65536
    if config.get("model_type") == "model2vec":
        said = 512 if config.get("max_length") is None else config["max_length"]
        return ids_of_model2vec(tokenizer, texts, said if said and 0 < said < most else most)
    encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [encoding.ids[-most:] if end else encoding.ids[:most] for encoding in encodings]


def embed_by_table(directory, texts, end):
    inner = os.path.join(directory, dict(modules_of(directory)).get("StaticEmbedding", ""))
    table, prefix = Table(os.path.join(inner, "model.safetensors")), prefix_of(directory)
    name = "embeddings" if "embeddings" in table.tensors else "embedding.weight"
    columns, found = table.shape(name)[1], []
    for ids in ids_of_static(directory, tokenizer_of(inner), [prefix + text for text in texts], end):
        total = [0.0] * columns
        for token in ids:
            row = table.numbers("mapping", token, 1)[0] if "mapping" in table.tensors else token
            weight = table.numbers("weights", token, 1)[0] if "weights" in table.tensors else 1.0
            total = [t + weight * n for t, n in zip(total, table.numbers(name, row * columns, columns))]
        found.append(total)  # their mean has the same direction, and only that counts
    return found


def embed(directory, texts):
    end, kinds = read_json(directory, "kolm/encoder.json").get("read") == "end", dict(modules_of(directory))
    static = "StaticEmbedding" in kinds or not kinds  # without modules.json: as model2vec saves it
    return (embed_by_table if static else embed_by_transformer)(directory, list(texts), end)


def main():
    texts = sys.argv[1:] or [line.rstrip("\n") for line in sys.stdin]
    model = Model()
    for text, embedding in zip(texts, embed(HERE, texts)):
        label, confidence, withheld = model.answer(text, embedding)
        print("(withheld)  %.3f  best: %s" % (confidence, label) if withheld else "%s  %.3f" % (label, confidence))


if __name__ == "__main__":
    main()
