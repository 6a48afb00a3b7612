# SPDX-License-Identifier: Apache-2.0
"""verb export: an artifact's model as a directory that transformers, PEFT, vLLM and llama.cpp's converter read."""

import os
import shutil
import tempfile

from . import devices, events, job as jobs, model as models
from .base import look
from .errors import UNIMPLEMENTED, TrainerError

_README = """# {name}

{what} made by kolm from the base model {base} (sha256 of its files: {digest}).

Load it with transformers{peft}:

    {code}
"""


def run(job, device_name, threads, target, merge):
    """target: an empty directory that is there. merge: the adapter is added into the weights of the base."""
    meta = models.read_meta(job)
    if meta["method"] == "full":
        merge = False  # whole already
    with tempfile.TemporaryDirectory(prefix="kolm-export-") as scratch:
        models.unpack(job, scratch)
        if merge:
            _merge(job, meta, scratch, device_name, threads, target)
        else:
            _copy(scratch, target)
    _describe(job, meta, target, merge)
    events.result({"files": sorted(os.listdir(target))})


def _copy(source, target):
    for name in sorted(os.listdir(source)):
        if name != models.META:
            shutil.copyfile(os.path.join(source, name), os.path.join(target, name))


def _merge(job, meta, adapter, device_name, threads, target):
    import torch

    if meta["four_bit"]:
        raise TrainerError(UNIMPLEMENTED, "an adapter that was trained on a base in 4 bits is not merged: the sum would be "
                           "another model than the one that was scored", "export it without --merge")
    models.quiet()
    unit = devices.Unit(devices.find(device_name), "fp32", False, threads)
    base = look(job.base_path, job.options.allow_pickle)
    tokenizer = models.load_tokenizer(adapter)
    whole = models.load_base(base, meta["task"], unit, tokenizer.pad_token_id, len(meta["labels"]))
    merged = models.load_adapter(whole, adapter).merge_and_unload()
    if meta["labels"]:
        name_labels(merged.config, meta["labels"])
    kept = base.config.get("dtype") or base.config.get("torch_dtype")
    if isinstance(kept, str) and hasattr(torch, kept.removeprefix("torch.")):
        merged = merged.to(getattr(torch, kept.removeprefix("torch.")))  # stored as the base was
    merged.save_pretrained(target, safe_serialization=True)
    tokenizer.save_pretrained(target)


def name_labels(config, labels):
    """A pipeline of transformers then answers with the labels and not with LABEL_7."""
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}


def _describe(job, meta, target, merged):
    kind = "SequenceClassification" if meta["task"] == "classify" else "CausalLM"
    whole = merged or meta["method"] == "full"
    labels = f", num_labels={len(meta['labels'])}" if meta["task"] == "classify" and not whole else ""
    code = f"AutoModelFor{kind}.from_pretrained(DIR)" if whole else \
        f"PeftModel.from_pretrained(AutoModelFor{kind}.from_pretrained(BASE{labels}), DIR)"
    text = _README.format(name=job.raw.get("task", "model"), what="A model" if whole else "A LoRA adapter",
                          base=meta["base"]["name"], digest=meta["base"]["digest"], peft="" if whole else " and peft", code=code)
    jobs.write_bytes(os.path.join(target, "README.md"), text.encode())
    if meta["labels"]:
        jobs.write_json(os.path.join(target, "labels.json"), meta["labels"])
