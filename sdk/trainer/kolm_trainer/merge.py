# SPDX-License-Identifier: Apache-2.0
"""The verb merge: adds an adapter to the weights of its base, and writes the result as a directory that transformers loads."""

import tempfile

from . import devices, events, model as models
from .base import look
from .errors import UNIMPLEMENTED, TrainerError


def run(job, device_name, threads, target):
    """target: an existing empty directory."""
    import torch

    meta = models.read_meta(job)
    if meta["four_bit"]:
        raise TrainerError(UNIMPLEMENTED, "an adapter that was trained on a base in 4 bits cannot be merged: the sum would not be "
                           "the model that was scored", "export it without --merge")
    base = look(job.base_path, job.options.allow_pickle)
    base.tell()
    models.quiet()
    unit = devices.Unit(devices.find(device_name), "fp32", False, threads)
    with tempfile.TemporaryDirectory(prefix="kolm-merge-") as adapter:
        models.unpack(job, adapter)
        tokenizer = models.load_tokenizer(adapter)
        whole, _ = models.load_base(base, meta["task"], unit, tokenizer.pad_token_id, len(meta["labels"]))
        merged = models.load_adapter(whole, adapter).merge_and_unload()
    if meta["task"] == "classify":
        # So that a transformers pipeline answers with the labels instead of LABEL_7.
        merged.config.id2label = dict(enumerate(meta["labels"]))
        merged.config.label2id = {label: i for i, label in enumerate(meta["labels"])}
    kept = str(base.config.get("dtype") or base.config.get("torch_dtype") or "").removeprefix("torch.")
    if kept in ("float16", "bfloat16", "float32"):
        merged = merged.to(getattr(torch, kept))  # stored as the base was
    merged.save_pretrained(target, safe_serialization=True)
    tokenizer.save_pretrained(target)
    events.result({})
