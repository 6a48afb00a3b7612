#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm export of a model on every kind of sentence encoder: predict.py with the real libraries answers as kolm does."""
import importlib.util
import json
import os
import sys

SKIP = 77
if __name__ == "__main__":
    wanted = os.environ.get("KOLM_TEST_PYTHON")
    if not wanted:
        print("KOLM_TEST_PYTHON names no interpreter with a runtime: `./dev test` makes one")
        sys.exit(SKIP)
    if os.environ.get("KOLM_TEST_ENTERED") != wanted:
        quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false",
                 "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
        os.execve(wanted, [wanted, "-s", "-B", *sys.argv], {**os.environ, **quiet, "KOLM_TEST_ENTERED": wanted})

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case, jsonl, tickets  # noqa: E402

sys.path.insert(0, os.path.join(harness.SOURCE, "tests", "encoder"))
import tiny_models  # noqa: E402
import token_kinds  # noqa: E402
from tokenizers import normalizers, pre_tokenizers, models  # noqa: E402

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
TEXTS = ["refund the order", "Login AGAIN, please!", "", "nothing like it", "\u00c9T\u00c9 \u4f60\u597d outage", "billing " * 90 + "refund refund refund"]


def setUpModule():
    harness.set_up_tree()


def words():
    return list(harness.LABELS + harness.FILLER) + list(LETTERS)


def word_pieces():
    tokens = token_kinds.SPECIALS + words() + ["##" + c for c in LETTERS]
    return token_kinds.build(models.WordPiece({t: i for i, t in enumerate(tokens)}, unk_token=token_kinds.UNKNOWN),
                             token_kinds.bert(), pre_tokenizers.BertPreTokenizer())


def unigrams():
    """Like XLM-R: a charsmap, and pieces that begin with the blank."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = ["\u2581"] + ["\u2581" + w for w in words()] + list(LETTERS)
    model = models.Unigram([(t, 0.0) for t in special] + [(t, -2.0 - i / 16) for i, t in enumerate(pieces)], 3, False)
    rules = normalizers.Precompiled(token_kinds.charsmap({"\u00c9": "e", "\ufb01": "fi", "\t": " "}))
    return token_kinds.build(model, rules, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
                             cls="<s>", sep="</s>", special=special)


def mpnet_pieces():
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]"] + words() + ["##" + c for c in LETTERS]
    return token_kinds.build(models.WordPiece({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]"), token_kinds.bert(),
                             pre_tokenizers.BertPreTokenizer(), cls="<s>", sep="</s>", special=["<s>", "<pad>", "</s>", "[UNK]"])


class Exported(Case):
    backends = ()

    def setUp(self):
        super().setUp()
        self.add_engine()
        self.base = os.path.join(self.work, "sentences")
        self.write_tickets()

    def file(self, name, value):
        tiny_models.write_json(os.path.join(self.base, name), value)

    def transformer(self, family, tokenizer, **more):
        model = tiny_models.Tiny(family, vocabulary=120, **more)
        model.write(self.base)
        tokenizer.save(os.path.join(self.base, "tokenizer.json"))

    def table(self, tokenizer, **more):
        model = tiny_models.Static(vocabulary=tokenizer.get_vocab_size(), **more)
        model.write(self.base)
        tokenizer.save(os.path.join(self.base, "tokenizer.json"))

    def compare(self, *words_, sentences=True):
        """Checks that the exported directory gives the same labels, and confidences that differ no more than the order of summation
        explains."""
        self.compile("--base", "sentences", "--effort", "quick", "--gate", "0", "--min-accuracy", "0", "--allow-baseline", "--force", *words_)
        self.kolm("export", "router-1.0.0.kolm", "--to", "out")
        out = os.path.join(self.work, "out")
        texts = TEXTS + [row["input"] for row in tickets(60, seed=5)]
        self.write("ask.jsonl", jsonl({"id": str(i), "input": text} for i, text in enumerate(texts)))
        said = [json.loads(line) for line in self.kolm("run", "router-1.0.0.kolm", "--input", "ask.jsonl").out.splitlines()]
        spec = importlib.util.spec_from_file_location("predict", os.path.join(out, "predict.py"))
        predict = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(predict)
        self.assertGreater(len({line["output"] for line in said}), 3)
        self.same(predict.Model(out), predict.embed(out, texts), texts, said)
        if sentences and importlib.util.find_spec("sentence_transformers") is not None:
            from sentence_transformers import SentenceTransformer
            asked = [predict.prefix_of(out) + text for text in texts]
            found = SentenceTransformer(out, device="cpu").float().encode(asked, prompt="").tolist()
            self.same(predict.Model(out), found, texts, said)

    def same(self, model, embeddings, texts, said):
        self.assertEqual(len(embeddings), len(texts))
        for text, embedding, line in zip(texts, embeddings, said):
            label, confidence, withheld = model.answer(text, embedding)
            self.assertEqual((label, withheld), (line["output"] or line["best"], line["output"] is None), text)
            self.assertAlmostEqual(confidence, line["confidence"], delta=2e-4, msg=text)

    # ---- Transformers

    def test_bert(self):
        self.transformer("bert", word_pieces(), prefix="bert.", old_names=True)
        self.file("sentence_bert_config.json", {"max_seq_length": 30, "do_lower_case": True})
        self.compare()

    def test_bert_with_prompts_in_halves(self):
        self.transformer("bert", word_pieces(), dtype="F16", pooling="cls", normalise=False)
        self.file("config_sentence_transformers.json", {"prompts": {"query": "please: ", "passage": "the: "}, "default_prompt_name": None})
        self.file("sentence_bert_config.json", {"max_seq_length": 44, "do_lower_case": False})
        self.compare()

    def test_the_end_is_read(self):
        self.transformer("bert", word_pieces())
        self.compare("--set", "read=end", sentences=False)

    def test_xlm_roberta(self):
        """Its own limit on the length of a text is the number of its positions, which begin after that of padding."""
        self.transformer("xlm-roberta", unigrams(), pooling="max")
        self.compare(sentences=False)  # sentence-transformers would read beyond the model's positions
        self.remove("out")
        self.file("sentence_bert_config.json", {"max_seq_length": 42, "do_lower_case": False})
        self.compare()

    def test_roberta_saved_by_sentence_transformers_of_old(self):
        self.transformer("roberta", unigrams(), prefix="0.auto_model.")
        self.file("tokenizer_config.json", {"model_max_length": 40, "tokenizer_class": "XLMRobertaTokenizer"})
        self.compare(sentences=False)  # sentence-transformers does not load such names reliably

    def test_mpnet(self):
        self.transformer("mpnet", mpnet_pieces())
        self.file("tokenizer_config.json", {"model_max_length": 41, "tokenizer_class": "MPNetTokenizer"})
        self.compare("--embed-base")

    def test_a_vocabulary_without_tokenizer_json(self):
        self.transformer("bert", word_pieces(), dtype="BF16")
        os.remove(os.path.join(self.base, "tokenizer.json"))
        tokens = sorted(word_pieces().get_vocab().items(), key=lambda t: t[1])
        self.write(os.path.join(self.base, "vocab.txt"), "".join(token + "\n" for token, _ in tokens))
        self.file("tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 40})
        self.compare()

    # ---- Static embeddings

    def test_model2vec(self):
        self.table(word_pieces(), weights="F64", mapping="I64")
        self.file("config.json", {"model_type": "model2vec", "normalize": True, "max_length": 60})
        self.compare(sentences=False)  # sentence-transformers reads the whole text, including unknown tokens
        self.model2vec_agrees()

    def test_model2vec_without_modules(self):
        self.table(unigrams(), dtype="I8")
        os.remove(os.path.join(self.base, "modules.json"))
        self.compare("--recipe", "encoder", sentences=False)
        self.model2vec_agrees()

    def model2vec_agrees(self):
        """Checks that model2vec itself loads the directory, and that its vectors have the same direction as ours."""
        if importlib.util.find_spec("model2vec") is None:
            return
        from model2vec import StaticModel
        out = os.path.join(self.work, "out")
        texts = [text for text in TEXTS if text]
        found = StaticModel.from_pretrained(out).encode(texts).tolist()
        spec = importlib.util.spec_from_file_location("predict", os.path.join(out, "predict.py"))
        predict = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(predict)
        for text, theirs, ours in zip(texts, found, predict.embed(out, texts)):
            length = (sum(t * t for t in theirs) * sum(o * o for o in ours)) ** 0.5
            self.assertGreater(sum(t * o for t, o in zip(theirs, ours)), length * (1 - 1e-4), text)

    def test_static_embeddings_of_sentence_transformers(self):
        for dtype in ("F32", "BF16"):
            with self.subTest(dtype):
                self.table(word_pieces(), dtype=dtype)
                inner = os.path.join(self.base, "0_StaticEmbedding")
                os.makedirs(inner, exist_ok=True)
                for name in ("model.safetensors", "tokenizer.json"):
                    os.replace(os.path.join(self.base, name), os.path.join(inner, name))
                os.remove(os.path.join(self.base, "config.json"))
                self.file("modules.json", [{"idx": 0, "name": "0", "path": "0_StaticEmbedding", "type": "sentence_transformers.models.StaticEmbedding"},
                                           {"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"}])
                self.compare()
                self.remove("out")

    def remove(self, name):
        harness.shutil.rmtree(os.path.join(self.work, name))


if __name__ == "__main__":
    harness.main()
