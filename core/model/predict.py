#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Answers with this model without kolm: predict.py TEXT...; without a TEXT each line of standard input.

Embeddings come from sentence-transformers, or where that is not installed from transformers and torch; all else is the
standard library. A program of its own calls `Model(directory).answer(text, embedding)` with embeddings from anywhere.
"""
import collections
import json
import math
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


# ---- Embeddings


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


def embed_by_sentences(directory, texts, prefix, end):
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(directory, device="cpu")
    if end:
        model.tokenizer.truncation_side = "left"
    return model.encode([prefix + text for text in texts], prompt="", batch_size=32).tolist()


def embed_by_transformers(directory, texts, prefix, end):
    import torch
    import transformers
    modules = [m.get("type", "").rpartition(".")[2] for m in read_json(directory, "modules.json")]
    if modules[:1] != ["Transformer"]:
        raise SystemExit("static embeddings need sentence-transformers: pip install sentence-transformers")
    path = next(m["path"] for m in read_json(directory, "modules.json") if m["type"].rpartition(".")[2] == "Pooling")
    pooling, said = read_json(directory, path + "/config.json"), read_json(directory, "sentence_bert_config.json")
    mode = pooling.get("pooling_mode") or next(k for k, v in pooling.items() if v is True and k.startswith("pooling_mode_"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory, truncation_side="left" if end else "right")
    model = transformers.AutoModel.from_pretrained(directory).float().eval()
    most = said.get("max_seq_length") or min(tokenizer.model_max_length, model.config.max_position_embeddings)
    texts = [prefix + text for text in texts]
    if said.get("do_lower_case"):
        texts = ["".join(c.lower() for c in text) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # those of one length together: little padding
    found = [None] * len(texts)
    for at in range(0, len(order), 32):
        some = order[at:at + 32]
        tokens = tokenizer([texts[i] for i in some], padding=True, truncation=True, max_length=most, return_tensors="pt")
        with torch.no_grad():
            states, mask = model(**tokens).last_hidden_state, tokens["attention_mask"].unsqueeze(-1)
        if "cls" in str(mode):
            state = states[:, 0]
        elif "max" in str(mode):
            state = states.masked_fill(mask == 0, float("-inf")).max(1).values
        else:
            state = (states * mask).sum(1) / mask.sum(1)
        for i, line in zip(some, state.tolist()):
            found[i] = line
    return found


def embed(directory, texts):
    end, prefix = read_json(directory, "kolm/encoder.json").get("read") == "end", prefix_of(directory)
    try:
        import sentence_transformers  # noqa: F401
    except ImportError:
        return embed_by_transformers(directory, texts, prefix, end)
    return embed_by_sentences(directory, texts, prefix, end)


def main():
    texts = sys.argv[1:] or [line.rstrip("\n") for line in sys.stdin]
    model = Model()
    for text, embedding in zip(texts, embed(HERE, texts)):
        label, confidence, withheld = model.answer(text, embedding)
        print("(withheld)  %.3f  best: %s" % (confidence, label) if withheld else "%s  %.3f" % (label, confidence))


if __name__ == "__main__":
    main()
