# SPDX-License-Identifier: Apache-2.0
"""verb selftest: trains a tiny model twice on the device, downloads nothing, and says whether the bits were the same."""

import contextlib
import hashlib
import io
import json
import os

from . import answer, events, train
from .errors import INTERNAL, TrainerError
from .job import Job

_LABELS = ("billing", "shipping", "technical")
_ROWS = [("the invoice is wrong", 0), ("charged twice", 0), ("where is my parcel", 1), ("it arrived broken", 1),
         ("the app crashes", 2), ("the screen stays black", 2)]


def _make_base(directory):
    """A transformer of a few thousand random weights with a tokenizer of bytes: enough to prove every part of the road."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(["<pad>", "<end>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>").save_pretrained(directory)
    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=128, pad_token_id=0,
                         eos_token_id=1, bos_token_id=None)
    LlamaForCausalLM(config).save_pretrained(directory, safe_serialization=True)


def _job(directory, base):
    os.makedirs(directory)
    value = {"format": 1, "kind": "train", "task": "selftest", "recipe": "lora", "seed": 1, "effort": "quick", "rows": 24,
             "labels": len(_LABELS),
             "options": {"base": {"path": base, "name": "selftest", "digest": "0" * 64},
                         "trainer": {"template": "plain", "epochs": "1", "batch": "8", "rank": "4", "valid": "0"}}}
    with open(os.path.join(directory, "job.json"), "w", encoding="utf-8") as file:
        json.dump(value, file)
    with open(os.path.join(directory, "train.jsonl"), "w", encoding="utf-8") as file:
        for i in range(24):
            text, label = _ROWS[i % len(_ROWS)]
            file.write(json.dumps({"id": str(i), "input": f"{text}, case {i}", "output": _LABELS[label]}) + "\n")
    return value


def _digest(directory):
    digest = hashlib.sha256()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        with open(os.path.join(directory, "model", name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


@contextlib.contextmanager
def _no_events():
    """What the parts tell is not this verb's result."""
    kept, events._out = events._out, io.StringIO()
    try:
        yield
    finally:
        events._out = kept


def _train(directory, base, device, threads):
    value = _job(directory, base)
    with _no_events():
        if device == "mlx":
            from . import mlx_engine

            mlx_engine.train(Job(directory), device, threads)
        else:
            train.run(Job(directory), device, threads)
    return value, _digest(directory)


def _answer(directory, value, device, threads):
    model = os.path.join(directory, "model")
    files = [{"name": n, "path": os.path.join(model, n), "offset": 0, "size": os.path.getsize(os.path.join(model, n))}
             for n in sorted(os.listdir(model))]
    with open(os.path.join(directory, "job.json"), "w", encoding="utf-8") as file:
        json.dump({**value, "kind": "infer", "model_files": files}, file)
    question, said = os.path.join(directory, "question.jsonl"), os.path.join(directory, "answer.jsonl")
    with open(question, "w", encoding="utf-8") as file:
        file.write(json.dumps({"id": "q", "input": "charged twice"}) + "\n")
    with _no_events():
        if device == "mlx":
            from . import mlx_engine

            mlx_engine.answer(Job(directory), device, threads, question, said)
        else:
            answer.run(Job(directory), device, threads, question, said)
    with open(said, encoding="utf-8") as file:
        row = json.loads(file.read())
    if row.get("id") != "q" or row.get("output") not in _LABELS:
        raise TrainerError(INTERNAL, f"the tiny model answered {row} instead of a label", "report this with the versions")


def run(device, threads, scratch):
    base = os.path.join(scratch, "base")
    os.makedirs(base)
    _make_base(base)
    value, first = _train(os.path.join(scratch, "first"), base, device, threads)
    _, second = _train(os.path.join(scratch, "second"), base, device, threads)
    _answer(os.path.join(scratch, "first"), value, device, threads)
    events.result({"reproducible": first == second, "digest": first})
