#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tokens compared with those of the tokenizers library, on real and hostile texts, with small tokenizers of every kind.

usage: test_tokens.py TOKENIZE. KOLM_TEST_TOKENS=100000 tries that many texts with every kind instead of 600, and prints progress;
KOLM_TEST_TOKENIZERS=FILE:... adds real tokenizer.json files to the kinds; KOLM_TEST_CHARSMAP=FILE uses real rewriting rules;
KOLM_TEST_KINDS=NAME:... tries only these kinds.
"""
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "trainer"))
import real  # noqa: E402

if __name__ == "__main__":
    real.enter()

sys.path.insert(0, HERE)
import statistics  # noqa: E402
import token_kinds  # noqa: E402
import tokenizers  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(HERE))
TOKENIZE = os.path.abspath(sys.argv[1])
COUNT = int(os.environ.get("KOLM_TEST_TOKENS", "600"))
SPECIAL, END, MODEL2VEC = 1, 2, 4


def rows():
    with open(os.path.join(ROOT, "examples", "support_tickets", "tickets.jsonl"), encoding="utf-8") as file:
        return [json.loads(line)["input"] for line in file][:2000]


ROWS = rows()


def tokenize(path, texts, most=0, how=SPECIAL, kind="json", config="-"):
    """Returns (ids, truncated) for each text."""
    data = b"".join(struct.pack("<I", len(b)) + b for b in (text.encode() for text in texts))
    done = subprocess.run([TOKENIZE, kind, path, config, str(most), str(how)], input=data, capture_output=True)
    if done.returncode != 0:
        raise AssertionError("tokenize: " + done.stderr.decode())
    out, at = [], 0
    while at < len(done.stdout):
        head, = struct.unpack_from("<I", done.stdout, at)
        count = head & 0x7FFFFFFF
        out.append((list(struct.unpack_from("<%dI" % count, done.stdout, at + 4)), head >> 31 == 1))
        at += 4 + 4 * count
    assert len(out) == len(texts)
    return out


def library(tokenizer, texts, special=True):
    """Returns the library's ids; None if it fails with an error of its own."""
    out = []
    for start in range(0, len(texts), 500):
        part = texts[start:start + 500]
        try:
            out += [e.ids for e in tokenizer.encode_batch_fast(part, add_special_tokens=special)]
        except BaseException:  # a panic for one text fails the whole batch
            for text in part:
                try:
                    out.append(tokenizer.encode(text, add_special_tokens=special).ids)
                except BaseException as error:
                    if not type(error).__name__.startswith(("Panic", "Exception")):
                        raise
                    out.append(None)
    return out


class Tokens(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix="kolm-tokens-")
        self.addCleanup(self.dir.cleanup)
        self.path = os.path.join(self.dir.name, "tokenizer.json")

    def write(self, tokenizer):
        """Writes the library's own file; returns the tokenizer that it reads back."""
        with open(self.path, "w", encoding="utf-8") as out:
            out.write(tokenizer.to_str())
        again = tokenizers.Tokenizer.from_str(tokenizer.to_str())
        again.no_padding()
        again.no_truncation()
        return again

    def compare(self, name, theirs, ours, texts):
        wrong = [i for i, ids in enumerate(theirs) if ids is not None and ids != ours[i][0]]
        told = ["%r\n    library %s\n    here    %s" % (texts[i][:80], theirs[i][:40], ours[i][0][:40]) for i in wrong[:5]]
        self.assertFalse(wrong, "%s: %d of %d texts have other tokens\n%s" % (name, len(wrong), len(texts), "\n".join(told)))
        return sum(ids is None for ids in theirs)

    def cut(self, name, tokenizer, texts):
        """Compares truncation from either end, and model2vec's."""
        for most in (4, 9):
            for how, side in ((SPECIAL, "right"), (SPECIAL | END, "left"), (0, "right")):
                tokenizer.enable_truncation(most, direction=side)
                theirs = library(tokenizer, texts, how & SPECIAL != 0)
                tokenizer.no_truncation()
                ours = tokenize(self.path, texts, most, how)
                self.compare("%s cut to %d %s" % (name, most, side), theirs, ours, texts)
                whole = library(tokenizer, texts, how & SPECIAL != 0)
                self.assertEqual([t for _, t in ours], [len(ids) > most for ids in whole])
            self.static(name, tokenizer, texts, most)

    def static(self, name, tokenizer, texts, most):
        model = json.loads(tokenizer.to_str())["model"]
        unknown = model["unk_id"] if "unk_id" in model else tokenizer.token_to_id(model["unk_token"])
        median = int(statistics.median(len(token) for token in tokenizer.get_vocab()))
        tokenizer.enable_truncation(most)
        theirs = [[i for i in ids if i != unknown] for ids in library(tokenizer, [text[:most * median] for text in texts], False)]
        tokenizer.no_truncation()
        self.compare(name + " as model2vec", theirs, tokenize(self.path, texts, most, MODEL2VEC), texts)

    def test_kinds(self):
        charsmap = os.environ.get("KOLM_TEST_CHARSMAP")
        given = None
        if charsmap:
            with open(charsmap, "rb") as file:
                given = file.read()
        total, start = 0, time.time()
        named = list(token_kinds.kinds(ROWS, count=4000 if COUNT < 10000 else 30000, real_charsmap=given))
        for path in filter(None, os.environ.get("KOLM_TEST_TOKENIZERS", "").split(":")):
            named.append((path, tokenizers.Tokenizer.from_file(path)))
        only = os.environ.get("KOLM_TEST_KINDS", "").split(":")
        for name, made in [pair for pair in named if only == [""] or pair[0] in only]:
            with self.subTest(name):
                tokenizer = self.write(made)
                special = token_kinds.special_of(tokenizer)
                seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
                left = COUNT
                while left > 0:  # in parts, because the library's encodings are large
                    texts = token_kinds.texts(seed + left, min(left, 20000), ROWS, special)
                    panics = self.compare(name, library(tokenizer, texts), tokenize(self.path, texts), texts)
                    self.assertLess(panics, 2 + len(texts) // 100)
                    left -= len(texts)
                total += COUNT
                if COUNT >= 10000:
                    print("%s: %d texts, %.0f s" % (name, COUNT, time.time() - start), flush=True)
                self.cut(name, tokenizer, [t for t in texts[:200] if "\0" not in t])
        print("%d texts with %d tokenizers in %.0f s" % (total, len(named), time.time() - start))

    def test_vocabulary_alone(self):
        """vocab.txt and tokenizer_config.json, compared with BertTokenizer."""
        path, config = os.path.join(self.dir.name, "vocab.txt"), os.path.join(self.dir.name, "tokenizer_config.json")
        vocab = list(json.loads(next(token_kinds.kinds(ROWS, count=3000))[1].to_str())["model"]["vocab"])
        lines = [token for token in vocab if not set(token) & set("\r\n")]
        with open(path, "w", encoding="utf-8", newline="") as out:
            out.write("".join(token + ("\n", "\r\n", " \n", "\u3000\n")[i % 4] for i, token in enumerate(lines)) + "the")
        for number, (lower, strip, chinese) in enumerate([(True, None, True), (False, None, False), (True, False, True), (False, True, True)]):
            with open(config, "w", encoding="utf-8") as out:
                json.dump({"tokenizer_class": "BertTokenizer", "do_lower_case": lower, "strip_accents": strip, "tokenize_chinese_chars": chinese,
                           "mask_token": {"content": "[MASK]", "lstrip": False}, "model_max_length": 512}, out)
            tokenizer = token_kinds.build(tokenizers.models.WordPiece.from_file(path, unk_token="[UNK]"),
                                          token_kinds.bert(strip, lower, True, chinese), tokenizers.pre_tokenizers.BertPreTokenizer())
            texts = token_kinds.texts(number, COUNT, ROWS, token_kinds.SPECIALS)
            self.compare("vocab.txt %d" % number, library(tokenizer, texts), tokenize(path, texts, kind="vocab", config=config), texts)

    def test_every_point(self):
        """Each code point alone, between letters, and before and after a mark: covers all tables."""
        points = [cp for cp in range(0x110000) if not 0xD800 <= cp < 0xE000]
        if COUNT < 10000:
            points = [cp for cp in points if cp < 0x500 or cp % 61 == COUNT % 61 and cp < 0x32000 or cp % 1201 == 0]
        texts = ["%s a%sb %s\u0316\u0301 \u0301%sx" % (chr(cp), chr(cp), chr(cp), chr(cp)) for cp in points]
        for name, made in token_kinds.kinds(ROWS, count=4000):
            if name in ("bert-uncased", "bert-cased-stripped", "xlm-r", "xlm-r-whole", "nfd", "nfkd", "nfc", "level-isolated"):
                tokenizer = self.write(made)
                for start in range(0, len(texts), 50000):
                    part = texts[start:start + 50000]
                    self.compare(name, library(tokenizer, part), tokenize(self.path, part), part)

    def test_large(self):
        for name, made in token_kinds.kinds(ROWS, count=1000):
            if name in ("bert-uncased", "xlm-r", "xlm-r-whole", "nfd", "bert-added"):
                tokenizer = self.write(made)
                texts = [t[:len(t) if COUNT >= 10000 else 1 << 15] for t in token_kinds.large(ROWS)]
                self.compare(name, library(tokenizer, texts), tokenize(self.path, texts), texts)


if __name__ == "__main__":
    real.main()
