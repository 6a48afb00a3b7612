#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes token_tables.h: how the tokenizers library classifies each code point. make_token_tables.py > token_tables.h

Queries the library for each code point instead of using a copy of the Unicode data: its parts follow different versions of Unicode
(categories of 2016, decompositions of 2020, grapheme clusters of 2025), and models are trained with the library.
Needs the tokenizers release of tests/trainer/requirements-torch.txt (it comes with transformers); takes several minutes.
"""
import base64
import json
import struct
import sys
import unicodedata

import tokenizers
from tokenizers import normalizers, pre_tokenizers

POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
MARK = "\u0300"  # two bytes; extends any preceding character except controls
ZWJ, PICTURE, LINKER, CONSONANT = "\u200d", "\u00a9", "\u094d", "\u0915"
# In the order of token_unicode.h.
CLASSES = ["OTHER", "CONTROL", "CR", "LF", "EXTEND", "EXTEND_INCB", "LINKER", "ZWJ", "SPACING", "PREPEND", "L", "V", "T", "LV",
           "LVT", "PICTURE", "CONSONANT"]


def bert(clean):
    return normalizers.BertNormalizer(clean_text=clean, handle_chinese_chars=False, strip_accents=not clean, lowercase=False)


def charsmap(key):
    """Returns a normaliser that replaces one key of at most three bytes by Z: a double array (Darts) with one branch."""
    units, at, path = [0] * 1024, 0, key.encode()
    # Unit `at` leads to `at ^ offset ^ byte`; bases are 256 apart, so that branches do not collide.
    for i, byte in enumerate(path):
        base = 256 * (i % 3 + 1)
        units[at] |= (at ^ base) << 10
        at = base ^ byte
        units[at] |= byte
    leaf = 256 * (len(path) % 3 + 1) if len(path) < 3 else 768 + 255
    units[at] |= (at ^ leaf) << 10 | 1 << 8
    units[leaf] = 1 << 31
    trie = b"".join(struct.pack("<I", unit) for unit in units)
    text = json.dumps({"version": "1.0", "added_tokens": [], "pre_tokenizer": None, "post_processor": None, "decoder": None,
                       "normalizer": {"type": "Precompiled", "precompiled_charsmap":
                                      base64.b64encode(struct.pack("<I", len(trie)) + trie + b"Z\0").decode()},
                       "model": {"type": "WordLevel", "vocab": {"u": 0}, "unk_token": "u"}})
    return tokenizers.Tokenizer.from_str(text).normalizer.normalize_str


def joined(prober, before, after):
    """True if there is no boundary of grapheme clusters before the key `after`: otherwise the key and the mark are a cluster of less
    than six bytes, which is replaced as a whole, including the mark."""
    return prober(before + after + MARK).endswith(MARK)


def clusters():
    a, picture, consonant, mark = charsmap("a"), charsmap(PICTURE), charsmap(CONSONANT), charsmap(MARK)
    lead, vowel, tail = charsmap("\u1100"), charsmap("\u1161"), charsmap("\u11a8")
    assert a("bab" + MARK + "a") == "bZb" + MARK + "Z" and picture("a" + PICTURE) == "aZ" and consonant(CONSONANT) == "Z"

    def kind(cp):
        c = chr(cp)
        if c in "\r\n":
            return "CR" if c == "\r" else "LF"
        if a("a" + c) == "Z":  # extends the preceding character
            if cp == 0x200D:
                return "ZWJ"
            if joined(consonant, CONSONANT + c, CONSONANT):
                return "LINKER"
            if not joined(picture, PICTURE + c + ZWJ, PICTURE):
                return "SPACING"
            return "EXTEND_INCB" if joined(consonant, CONSONANT + LINKER + c, CONSONANT) else "EXTEND"
        if 0xAC00 <= cp <= 0xD7A3:
            return "LVT" if (cp - 0xAC00) % 28 else "LV"
        if mark(c + MARK + "\u0301") == c + "Z":
            return "CONTROL"
        if joined(a, c, "a"):
            return "PREPEND"
        if joined(picture, c + ZWJ, PICTURE):
            return "PICTURE"
        if joined(consonant, c + LINKER, CONSONANT):
            return "CONSONANT"
        if joined(lead, c, "\u1100"):
            return "L"
        if joined(vowel, c, "\u1161"):
            return "V"
        return "T" if joined(tail, c, "\u11a8") else "OTHER"

    return {cp: CLASSES.index(kind(cp)) for cp in POINTS}


def combining_classes(nfd):
    """Returns the combining class of each code point that normalisation reorders, determined by what it is swapped with."""
    def before(x, y):  # the class of x is less than that of y, and neither is zero
        return x != y and nfd(y + x) == x + y

    def moves(c):
        return nfd(c) == c and (before("\u0334", c) or before(c, "\u0345"))

    order = {}  # one of each class
    for cp in filter(lambda cp: unicodedata.combining(chr(cp)) and moves(chr(cp)), POINTS):
        order.setdefault(unicodedata.combining(chr(cp)), chr(cp))
    found = {}
    for cp in POINTS:
        c = chr(cp)
        if not moves(c):
            continue
        same = [v for v, rep in order.items() if not before(rep, c) and not before(c, rep)]
        assert len(same) == 1, (hex(cp), same)
        found[cp] = same[0]
    return found


def pieces(splitter, text):
    return [piece for piece, _ in splitter.pre_tokenize_str(text)]


def case_runs(lower):
    runs = []
    for cp, delta in sorted((cp, ord(low) - cp) for cp, low in lower.items() if len(low) == 1):
        if runs and runs[-1][3] == delta and cp - runs[-1][1] == runs[-1][2]:
            runs[-1][1] = cp
        elif runs and runs[-1][3] == delta and runs[-1][0] == runs[-1][1] and cp - runs[-1][1] in (1, 2):
            runs[-1][1:3] = [cp, cp - runs[-1][1]]
        else:
            runs.append([cp, cp, 1, delta])
    return runs


def show(kind, name, values):
    values, line = [str(v) for v in values], ""
    shared = name in ("point_blocks", "point_flags")
    print("%sconst %s %s[%d] = {" % ("" if shared else "static ", kind, name, len(values)))
    for v in values:
        if len(line) + len(v) > 112:
            print("    " + line.rstrip())
            line = ""
        line += v + ", "
    print("    " + line.rstrip() + "\n};")


def show_mapping(name, mapping, pool):
    at = {}
    for cp, text in sorted(mapping.items()):
        points = [ord(c) for c in text]
        for start in range(len(pool) - len(points) + 1):
            if pool[start] == points[0] and pool[start:start + len(points)] == points:
                break
        else:
            start = len(pool)
            pool.extend(points)
        at[cp] = start << 8 | len(points)
    show("uint32_t", name + "_points", (hex(cp) for cp in at))
    show("uint32_t", name + "_places", at.values())


def main():
    nfd, nfkd, nfc = normalizers.NFD().normalize_str, normalizers.NFKD().normalize_str, normalizers.NFC().normalize_str
    hangul = range(0xAC00, 0xD7A4)
    canonical = {cp: nfd(chr(cp)) for cp in POINTS if cp not in hangul and nfd(chr(cp)) != chr(cp)}
    compatible = {cp: nfkd(chr(cp)) for cp in POINTS if cp not in hangul and nfkd(chr(cp)) != nfd(chr(cp))}
    classes, cluster = combining_classes(nfd), clusters()
    lower_one = normalizers.Lowercase().normalize_str
    lower = {cp: lower_one(chr(cp)) for cp in POINTS if lower_one(chr(cp)) != chr(cp)}
    pairs = []
    for cp, text in canonical.items():
        if nfc(chr(cp)) == chr(cp):
            first = nfc(text[:-1])
            assert len(first) == 1 and nfc(first + text[-1]) == chr(cp)
            pairs.append((ord(first), ord(text[-1]), cp))
    clean, strip, marks = bert(True), bert(False), normalizers.StripAccents()
    split, digits, word = pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(True), pre_tokenizers.Whitespace()
    punctuation = pre_tokenizers.Punctuation()
    tests = [  # one for each bit: POINT_WHITE and so on
        lambda cp, c: len(pieces(split, "a" + c + "a")) == 2,
        lambda cp, c: clean.normalize_str(c) == "",
        lambda cp, c: strip.normalize_str(c) == "",
        lambda cp, c: len(pieces(punctuation, "a" + c + "a")) == 3,
        lambda cp, c: marks.normalize_str(c) == "",
        lambda cp, c: len(pieces(digits, "a" + c + "a")) == 3,
        lambda cp, c: pieces(word, "a" + c) == ["a" + c],
        lambda cp, c: cp in lower,
        lambda cp, c: cp in canonical,
        lambda cp, c: cp in compatible,
        lambda cp, c: cp in classes,
    ]
    blocks, block_of = {}, []
    for start in range(0, 0x110000, 128):
        block = tuple(0 if 0xD800 <= cp < 0xE000 else
                      sum(1 << i for i, test in enumerate(tests) if test(cp, chr(cp))) | cluster[cp] << len(tests)
                      for cp in range(start, start + 128))
        block_of.append(blocks.setdefault(block, len(blocks)))

    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Generated by make_token_tables.py from tokenizers %s: what it takes each code point for. */" % tokenizers.__version__)
    print('#define TOKEN_TABLES "tokenizers %s"' % tokenizers.__version__)
    show("uint16_t", "point_blocks", block_of)
    show("uint16_t", "point_flags", (v for block in blocks for v in block))
    pool = []
    show_mapping("canonical", canonical, pool)
    show_mapping("compatible", compatible, pool)
    show_mapping("long_lower", {cp: low for cp, low in lower.items() if len(low) > 1}, pool)
    show("uint32_t", "mapped_points", (hex(p) for p in pool))
    show("case_run", "case_runs", ("{%s, %s, %d, %d}" % (hex(a), hex(b), stride, delta) for a, b, stride, delta in
                                   case_runs(lower)))
    show("uint32_t", "order_points", (hex(cp) for cp in sorted(classes)))
    show("uint8_t", "order_classes", (classes[cp] for cp in sorted(classes)))
    show("composed_pair", "composed_pairs", ("{%s, %s, %s}" % tuple(map(hex, pair)) for pair in sorted(pairs)))


main()
