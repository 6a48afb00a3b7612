# SPDX-License-Identifier: Apache-2.0
"""The verb selftest: trains a tiny model twice on the device, downloads nothing, and reports whether the results were identical."""

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
    """Writes a Llama of a few thousand random weights with a tokenizer of bytes: enough to test every part. Uses numpy, because
    a runtime for mlx has no torch."""
    import numpy
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(["<pad>", "<end>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>").save_pretrained(directory)
    hidden, inner, layers = 32, 64, 2
    shapes = {"model.embed_tokens.weight": (len(vocabulary), hidden), "model.norm.weight": (hidden,),
              "lm_head.weight": (len(vocabulary), hidden)}
    for i in range(layers):
        block = f"model.layers.{i}."
        shapes.update({block + f"self_attn.{n}_proj.weight": (hidden, hidden) for n in "qkvo"})
        shapes.update({block + "mlp.gate_proj.weight": (inner, hidden), block + "mlp.up_proj.weight": (inner, hidden),
                       block + "mlp.down_proj.weight": (hidden, inner), block + "input_layernorm.weight": (hidden,),
                       block + "post_attention_layernorm.weight": (hidden,)})
    chance = numpy.random.RandomState(1)
    tensors = {name: numpy.ones(shape, numpy.float32) if len(shape) == 1 else
               (chance.standard_normal(shape) * 0.05).astype(numpy.float32) for name, shape in sorted(shapes.items())}
    save_file(tensors, os.path.join(directory, "model.safetensors"), metadata={"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(vocabulary), "hidden_size": hidden,
              "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": 2, "num_key_value_heads": 2,
              "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
              "tie_word_embeddings": False, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)


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
    """Discards the events of train and infer, which are not the result of this verb."""
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
        raise TrainerError(INTERNAL, f"the tiny model answered {row} instead of a label", "please report this with the versions of `kolm compute info`")


def run(device, threads, scratch):
    base = os.path.join(scratch, "base")
    os.makedirs(base)
    _make_base(base)
    value, first = _train(os.path.join(scratch, "first"), base, device, threads)
    _, second = _train(os.path.join(scratch, "second"), base, device, threads)
    _answer(os.path.join(scratch, "first"), value, device, threads)
    events.result({"reproducible": first == second, "digest": first, "answers": 1})
