# SPDX-License-Identifier: Apache-2.0
"""Small tokenizers of every kind that the encoder recipe reads, and texts of every kind that users and attackers write."""
import random
import struct
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

UNKNOWN, CLS, SEP, PAD, MASK = "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"
SPECIALS = [PAD, UNKNOWN, CLS, SEP, MASK]

# ---- A charsmap as its format is defined: a double array trie (Darts), and the texts that its values point to


def charsmap(rules):
    """rules: text -> text. Returns the length of the trie in bytes, its units, and the texts, each terminated by NUL."""
    root, texts, places = {}, bytearray(), {}
    for key, value in sorted(rules.items()):
        node = root
        for byte in key.encode():
            node = node.setdefault(byte, {})
        if value not in places:
            places[value] = len(texts)
            texts += value.encode() + b"\0"
        node[None] = places[value]
    units, used, first = [0] * 1024, bytearray(1024), 1
    used[0] = 1
    todo = [(root, 0)]
    while todo:
        node, at = todo.pop()
        labels = [0 if label is None else label for label in node]
        base = max(first - max(labels), 1)
        while True:
            if base + 256 >= len(units):
                units += [0] * 4096
                used += bytearray(4096)
            # An offset has 21 bits, or 29 bits whose lowest eight are zero.
            if not any(used[base ^ label] for label in labels) and (at ^ base) < 1 << 21:
                break
            base += 1
        while used[first]:
            first += 1
        units[at] |= (at ^ base) << 10
        for label in labels:
            used[base ^ label] = 1
        for label, child in node.items():
            if label is None:
                units[at] |= 1 << 8
                units[base] = child | 1 << 31
            else:
                units[base ^ label] |= label
                todo.append((child, base ^ label))
    trie = b"".join(struct.pack("<I", unit) for unit in units)
    return struct.pack("<I", len(trie)) + trie + bytes(texts)


def nfkc_rules(draw, count):
    """Compatibility characters as in real rules, removed controls, blanks that become spaces, pairs and longer keys."""
    points = [cp for cp in range(0x80, 0x20000) if unicodedata.normalize("NFKC", chr(cp)) != chr(cp)]
    rules = {chr(cp): unicodedata.normalize("NFKC", chr(cp)) for cp in draw.sample(points, min(count, len(points)))}
    rules.update({chr(cp): "" for cp in [*range(1, 9), 0xB, *range(0xE, 0x20), 0x7F, 0x200B, 0xAD, 0x301]})
    rules.update({c: " " for c in "\t\n\f\r\u00a0\u1680\u2028\u3000\ufeff"})
    rules.update({"e\u0301": "\u00e9", "\u00a8": " \u0308", "\u00b4": "x y", "\u00a9": "(c)", "A\u030a": "\u00c5", "\r\n": "  ", "\u00bd": "1/2", "\uff21": "a", "q": "kw",
                  "\u1100\u1161": "\uac00", "\u0915": "k", "\u2460": "1", "x\u0300": "", "\u0644\u0627": "\ufefb"})
    return rules

# ---- Texts


def blocks():
    """Ranges of code points with letters of every script, and difficult ones."""
    out = [(start, start + 0x7F) for start in [*range(0, 0x3400, 0x80), *range(0xA000, 0xAC00, 0x80), *range(0xF900, 0x10000, 0x80),
                                               *range(0x10000, 0x12000, 0x80), *range(0x16800, 0x17000, 0x80),
                                               *range(0x1B000, 0x1B300, 0x80), *range(0x1BC00, 0x1BD00, 0x80),
                                               *range(0x1D000, 0x1F000, 0x80), *range(0x1F000, 0x1FC00, 0x80),
                                               *range(0xE0000, 0xE0200, 0x80)]]
    out += [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xD7B0, 0xD7FF), (0xE000, 0xF8FF), (0x20000, 0x2A6DF),
            (0x2A700, 0x2CEAF), (0x2F800, 0x2FA1F), (0x30000, 0x323AF), (0xF0000, 0x10FFFF)]
    return out


BLOCKS = blocks()
MARKS = [cp for cp in range(0x300, 0x1E950) if unicodedata.combining(chr(cp))]
BLANKS = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2003\u2007\u200a\u2028\u2029\u202f\u205f\u3000\ufeff\u200b\u2060"
CONTROLS = "\x00\x01\x07\x08\x0e\x1b\x7f\x80\x8f\x9f\xad\u061c\u200c\u200d\u200e\u200f\u202a\u202e\u2066\u2069\ufff9\ufffd\ufffe\U000e0001"
# Marks that are kept when accents are removed, so that they are reordered among the removed ones.
KEPT = [chr(cp) for cp in MARKS if normalizers.BertNormalizer(strip_accents=True, lowercase=False).normalize_str(chr(cp))]
EMOJI = ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "1\ufe0f\u20e3", "\U0001f44d\U0001f3fd",
         "\u00a9\u200d\u00ae", "\u00a9\ufe0f", "\U0001f3f4\U000e0067\U000e0062\U000e007f", "\u2122"]
CLUSTERS = "\r\n\u0300\u0301\u0316\u0345\u0600\u06dd\u070f\u0903\u093e\u0915\u094d\u0924\u09be\u0bbe\u0d4e\u0e33\u1100\u1112\u1161\u1175\u11a8" \
           "\u11c2\uac00\uac01\ud7a3\u200c\u200d\u00a9\u00ae\u2764\ufe0f\u20e3\U0001f1e6\U0001f3fb\U0001f468\u0ccd\u0c95\U00011099\U000110b9" \
           "\u034f\u3099\u302e\U0001d165\U0001d166ae\u00e9\uff21\u1e9b\u0323\u0307\u212b\u0f71\u0f72\u0344\u0958\ufb1d\u2126"
WORDS = "the of refund Order CAFÉ naïve Straße İstanbul ΣΊΣΥΦΟΣ ΌΔΟΣ Москва Київ שלום مرحبا हिन्दी தமிழ் ไทย ภาษา 한국어 日本語 東京都 你好世界 ½ ﬁne ﷺ Ⅷ ㎏ ｆｕｌｌ " \
        "don't e-mail $5.00 #1 @home tế Việt ẞ ǅ ŉ ΐ ﬃ 1,234.56 a_b C++ <s> </s> foo@bar.org http://x.y/z?a=b".split()


def point(draw):
    first, last = draw.choice(BLOCKS)
    return chr(draw.randint(first, last))


def some(draw, characters, least, most):
    return "".join(draw.choice(characters) for _ in range(draw.randint(least, most)))


def text(draw, rows, special):
    """Returns one text; special: tokens that a tokenizer extracts from it."""
    kind = draw.randrange(20)
    if kind <= 2:
        return draw.choice(rows)
    if kind == 3:
        return "".join(point(draw) for _ in range(draw.randint(1, 40)))
    if kind == 4:
        first, last = draw.choice(BLOCKS)
        return "".join(" " if draw.random() < .15 else chr(draw.randint(first, last)) for _ in range(draw.randint(1, 40)))
    if kind == 5:
        return "".join(draw.choice(WORDS)[:1] + "".join(chr(draw.choice(MARKS)) for _ in range(draw.choice((1, 2, 3, 25))))
                       for _ in range(draw.randint(1, 8)))
    if kind == 6:
        return some(draw, CLUSTERS, 1, 30)
    if kind == 7:
        return "".join(draw.choice((draw.choice(WORDS), some(draw, BLANKS, 1, 3), some(draw, CONTROLS, 1, 3))) for _ in range(draw.randint(1, 12)))
    if kind == 8:
        return "".join(draw.choice((draw.choice(EMOJI), draw.choice(WORDS), point(draw))) for _ in range(draw.randint(1, 12)))
    if kind == 9:
        return "".join(draw.choice((draw.choice(special), draw.choice(special).upper(), draw.choice(WORDS), some(draw, BLANKS, 0, 2), point(draw), " "))
                       for _ in range(draw.randint(1, 10)))
    if kind == 10:
        return some(draw, draw.choice(("ab", "aé", "你好x", "a\u0301", "▁a ", "..!a", "1a2 ")), 90, 220)
    if kind == 11:
        return some(draw, BLANKS + CONTROLS, 0, 6)
    if kind == 12:  # one character between two of another kind
        return draw.choice("aZ é") + point(draw) + draw.choice("a.1\u0301 ")
    if kind == 13:
        return chr(draw.randrange(0x1100, 0x1200)) + some(draw, CLUSTERS, 0, 3) + chr(draw.randrange(0xAC00, 0xD7A4)) + chr(draw.randrange(0x1160, 0x1200))
    if kind == 14:
        return draw.choice(rows)[:draw.randrange(40)] + point(draw) + draw.choice(rows)[draw.randrange(20):60]
    if kind in (15, 18):  # characters that may or may not join two letters into one cluster
        return some(draw, draw.choice(("\u0915\u0915\u0915\u094d\u094d\u200d\u0300\u0316\u0303a", "\u00a9\u00a9\u200d\u200d\u0316\u0303\ufe0fae\u0301",
                                       "\u0600q\u0316a\u0903\u00bd\u0303", "\u1100\u1161\u11a8\uac00\uac01\u0316\u0303")), 2, 20)
    if kind == 16:
        return "".join(draw.choice((draw.choice(KEPT), chr(draw.choice(MARKS)), "a", "o")) for _ in range(draw.randint(2, 12)))
    if kind == 17:
        return some(draw, "  \t\u2581\u00a8\u00b4at", 0, 3) + draw.choice(rows)[:30] + some(draw, "  \u3000", 0, 3)
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 25)))


def texts(seed, count, rows, special):
    draw = random.Random(seed)
    return [text(draw, rows, special) for _ in range(count)]


def large(rows):
    """Returns texts of a megabyte."""
    return [" ".join(rows)[:1 << 20] or "a", "a" * (1 << 20), "e\u0301" * (1 << 18), "\u0316\u0301" * (1 << 17), "你" * (1 << 18), " " * (1 << 20),
            "x y" * (1 << 18), "<s> " * (1 << 16)]

# ---- Tokenizers


def template(t, cls, sep):
    return processors.TemplateProcessing(single="%s $A %s" % (cls, sep), pair="%s $A %s $B:1 %s:1" % (cls, sep, sep),
                                         special_tokens=[(cls, t.token_to_id(cls)), (sep, t.token_to_id(sep))])


def alphabet(draw, count):
    """Returns characters that are separate tokens, so that ids show how a text was normalized."""
    out = {chr(cp) for cp in [*range(0x21, 0x250), *range(0x300, 0x370), *range(0x391, 0x460)]} | set(CLUSTERS) | set("".join(WORDS)) | set(KEPT[:80])
    while len(out) < count:
        out.add(point(draw))
    return sorted(c for c in out if not 0xD800 <= ord(c) < 0xE000)


def pieces(rows, draw):
    """Returns parts of words, as in real vocabularies."""
    words = sorted({word for row in rows for word in row.lower().split()} | set(WORDS) | {w.lower() for w in WORDS})
    out = set(words[:1500])
    for word in words:
        at = draw.randrange(len(word) + 1)
        out.update((word[:at], word[at:]))
    return sorted(out - {""})


def wordpiece(rows, draw, count, longest=100):
    vocab = {}
    for token in SPECIALS + pieces(rows, draw):
        vocab.setdefault(token, len(vocab))
    for token in pieces(rows, draw):
        vocab.setdefault("##" + token, len(vocab))
    for c in alphabet(draw, count):
        vocab.setdefault(c, len(vocab))
        if draw.random() < .7:
            vocab.setdefault("##" + c, len(vocab))
    return models.WordPiece(vocab, unk_token=UNKNOWN, max_input_chars_per_word=longest)


def unigram(rows, draw, count, fallback=False, unknown=3):
    """Scores with as many digits as real ones, some of them equal."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>"]
    tokens += ["<0x%02X>" % byte for byte in range(256)] if fallback else []
    seen = set(tokens)
    for piece in pieces(rows, draw):
        for token in (piece, "▁" + piece):
            if token not in seen and draw.random() < .6:
                seen.add(token)
                tokens.append(token)
    for c in alphabet(draw, count) + ["▁", "▁▁", "  ", " "]:
        if c not in seen:
            seen.add(c)
            tokens.append(c)
    vocab = [(t, 0.0 if i < 4 else draw.choice((-float(draw.randint(1, 12)), -draw.uniform(2, 16)))) for i, t in enumerate(tokens)]
    return models.Unigram(vocab, unknown, fallback)


def build(model, normalizer=None, pre=None, cls=CLS, sep=SEP, special=SPECIALS, post=template, added=()):
    t = Tokenizer(model)
    if normalizer is not None:
        t.normalizer = normalizer
    if pre is not None:
        t.pre_tokenizer = pre
    t.add_special_tokens([s for s in special if t.token_to_id(s) is not None])
    t.add_tokens(list(added))
    if post is not None:
        t.post_processor = post(t, cls, sep)
    return t


def bert(strip=None, lower=True, clean=True, chinese=True):
    return normalizers.BertNormalizer(clean_text=clean, handle_chinese_chars=chinese, strip_accents=strip, lowercase=lower)


ADDED = [AddedToken("[NEW]", special=True), AddedToken("left", lstrip=True), AddedToken("right", rstrip=True), AddedToken("Both", lstrip=True, rstrip=True),
         AddedToken("word", single_word=True), AddedToken("raw", normalized=False), AddedToken("Überraw", normalized=False, single_word=True, rstrip=True),
         AddedToken("two words"), AddedToken("two"), AddedToken("Überall"), AddedToken("ａｂ", lstrip=True, normalized=False), AddedToken("  x")]


def kinds(rows, seed=1, count=4000, real_charsmap=None):
    """Yields pairs of a name and a tokenizer."""
    draw = random.Random(seed)
    n, p = normalizers, pre_tokenizers
    wp = wordpiece(rows, draw, count)
    uni, fall = unigram(rows, draw, count), unigram(rows, draw, count, fallback=True)
    s = {"cls": "<s>", "sep": "</s>", "special": ["<s>", "<pad>", "</s>", "<unk>"]}
    rules = n.Precompiled(real_charsmap or charsmap(nfkc_rules(draw, 800)))
    meta = p.Metaspace()
    level = models.WordLevel({token: i for i, token in enumerate(dict.fromkeys(SPECIALS + pieces(rows, draw) + alphabet(draw, count)))}, unk_token=UNKNOWN)
    yield "bert-uncased", build(wp, bert(), p.BertPreTokenizer())
    yield "bert-cased", build(wp, bert(lower=False), p.BertPreTokenizer())
    yield "bert-cased-stripped", build(wp, bert(strip=True, lower=False), p.BertPreTokenizer())
    yield "bert-uncased-kept", build(wp, bert(strip=False), p.BertPreTokenizer())
    yield "bert-unclean", build(wp, bert(clean=False, chinese=False), p.BertPreTokenizer())
    yield "bert-short-words", build(wordpiece(rows, draw, count, 7), bert(), p.BertPreTokenizer(), post=None)
    yield "bert-processing", build(wp, bert(), p.BertPreTokenizer(),
                                   post=lambda t, c, e: processors.BertProcessing((e, t.token_to_id(e)), (c, t.token_to_id(c))))
    yield "mpnet", build(wp, bert(), p.BertPreTokenizer(),
                         post=lambda t, c, e: processors.RobertaProcessing((e, t.token_to_id(e)), (c, t.token_to_id(c)), True, False))
    yield "bert-added", build(wp, bert(), p.BertPreTokenizer(), added=ADDED)
    yield "xlm-r", build(uni, rules, p.Sequence([p.WhitespaceSplit(), meta]), **s)
    yield "xlm-r-new", build(uni, n.Sequence([rules, n.Replace(Regex(" {2,}"), " ")]), p.Metaspace(prepend_scheme="always", split=True), **s)
    yield "xlm-r-first", build(uni, n.Sequence([n.Strip(True, False), n.Replace(Regex(" {2,}"), "▁"), rules]), p.Metaspace(prepend_scheme="first"), added=ADDED, **s)
    yield "xlm-r-first-words", build(uni, n.Sequence([n.Replace(Regex("[atI]{2,}"), "z"), rules]), p.Sequence([p.WhitespaceSplit(), p.Metaspace(prepend_scheme="first", split=False)]), added=ADDED, **s)
    yield "xlm-r-whole", build(fall, n.Sequence([n.Nmt(), n.NFKC(), n.Replace(Regex(r"\s+"), " ")]), p.Metaspace(prepend_scheme="never", split=False), **s)
    scores = [(token, 20.0 + draw.choice((0, 1.5, draw.uniform(0, 20)))) for token in ["<unk>", "▁", *dict.fromkeys(pieces(rows, draw)[:3000])]]
    yield "unigram-above-zero", build(models.Unigram(scores, 0, False), None, meta, special=[], post=None)
    yield "llama", build(fall, n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")]), None, **s)
    yield "nfc", build(uni, n.NFC(), p.Sequence([p.Whitespace(), meta]), **s)
    yield "nfd", build(uni, n.Sequence([n.NFD(), n.Lowercase(), n.StripAccents()]), meta, **s)
    yield "nfkd", build(fall, n.Sequence([n.NFKD(), n.Strip(True, True), n.Replace("a", "")]), p.Sequence([p.Digits(True), meta]), **s)
    yield "static", build(uni, n.Sequence([n.Lowercase(), *(n.Replace(c, " %s " % c) for c in "!.,-'\""), n.Replace(Regex(r"\s+"), " "), n.Strip(True, True)]),
                          meta, post=None, added=ADDED)
    yield "levels", build(level, n.NFC(), p.Whitespace())
    for behavior in ("removed", "isolated", "contiguous", "merged_with_previous", "merged_with_next"):
        yield "level-" + behavior, build(level, None, p.Sequence([
            p.WhitespaceSplit(), p.Punctuation(behavior), p.Split(Regex("[ae]{1,2}"), behavior), p.Split("or", behavior, invert=draw.random() < .5),
            p.Digits(draw.random() < .5)]), post=None)
    yield "trained-wordpiece", trained(models.WordPiece(unk_token=UNKNOWN), bert(), p.BertPreTokenizer(),
                                       trainers.WordPieceTrainer(vocab_size=2000, special_tokens=SPECIALS, show_progress=False), rows)
    yield "trained-unigram", trained(models.Unigram(), n.Sequence([rules, n.Replace(Regex(" {2,}"), " ")]), meta,
                                     trainers.UnigramTrainer(vocab_size=1500, unk_token="<unk>", special_tokens=["<s>", "</s>", "<unk>"], show_progress=False), rows)


def trained(model, normalizer, pre, trainer, rows):
    t = build(model, normalizer, pre, post=None)
    t.train_from_iterator(rows, trainer)
    cls, sep = (CLS, SEP) if t.token_to_id(CLS) is not None else ("<s>", "</s>")
    t.post_processor = template(t, cls, sep)
    return t


def special_of(t):
    return [token.content for token in t.get_added_tokens_decoder().values()] or [UNKNOWN]
