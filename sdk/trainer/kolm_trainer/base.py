# SPDX-License-Identifier: Apache-2.0
"""The files of a base model: validates them, and determines what kind of model it is, before torch is loaded."""

import contextlib
import json
import math
import operator
import os
import struct
import tempfile

from . import events
from .errors import DATA_LOSS, INVALID_ARGUMENT, NOT_FOUND, TrainerError

# Encoders cannot generate text: with a head they classify. All other bases continue a text.
ENCODERS = {"albert", "bert", "big_bird", "camembert", "canine", "cohere_compass_text", "convbert", "data2vec-text", "deberta",
            "deberta-v2", "distilbert", "electra", "ernie", "esm", "esmc", "eurobert", "flaubert", "fnet", "funnel", "gte",
            "ibert", "jina_embeddings_v3", "layoutlm", "lilt", "longformer", "luke", "markuplm", "megatron-bert", "mobilebert",
            "modernbert", "mpnet", "mra", "nomic_bert", "nystromformer", "perceiver", "rembert", "roberta",
            "roberta-prelayernorm", "roc_bert", "roformer", "squeezebert", "tapas", "ultrabert", "xlm", "xlm-roberta",
            "xlm-roberta-xl", "xlnet", "xmod", "yoso"}
# Files that PEFT writes. A base that was fine-tuned in place may still have them, and transformers loads them silently.
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_HEADER_MAX = 100 << 20  # what the safetensors library itself accepts
_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
           "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "C64": 8}


class Base:
    """path, config (of config.json), weights (file names), weight_bytes, pickled, encoder, quantised, adapter (whether its
    directory also contains one), unused (safetensors that are not part of it)."""

    def __init__(self, path):
        self.path = path
        self.config = {}
        self.weights = []
        self.weight_bytes = 0
        self.pickled = False
        self.adapter = False
        self.unused = []

    @contextlib.contextmanager
    def alone(self):
        """Yields the path of a directory with only this base: without an adapter or stale weights that are in its own."""
        if not self.adapter and not self.unused:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="kolm-base-") as beside:
            for name in os.listdir(self.path):
                if name not in ADAPTER_FILES and name not in self.unused:
                    os.symlink(os.path.join(os.path.abspath(self.path), name), os.path.join(beside, name))
            yield beside

    def tell(self):
        """Warns of what the user may not expect of this base."""
        if self.adapter:
            events.log("warning", f"{self.path} also contains an adapter (adapter_config.json), which is ignored: only the base "
                                  "is used; merge the adapter first if it is meant to be part of the base")

    @property
    def encoder(self):
        return self.config.get("model_type") in ENCODERS

    @property
    def quantised(self):
        return "quantization_config" in self.config or "quantization" in self.config


def look(path, allow_pickle=False):
    """Checks everything that can be checked without loading; reads headers only."""
    base = Base(path)
    if not os.path.isdir(path):
        raise TrainerError(NOT_FOUND, f"there is no base model at {path}",
                           "pass a directory in Hugging Face layout, or a name in the local cache, with --base")
    base.config = _config(path)
    names = sorted(os.listdir(path))
    base.adapter = "adapter_config.json" in names
    names = [name for name in names if name not in ADAPTER_FILES]
    base.weights = _safetensors(path, names)
    base.unused = [name for name in names if name.endswith(".safetensors") and name not in base.weights]
    if not base.weights:
        pickles = [n for n in names if n.endswith(PICKLES) and n != "training_args.bin"]
        if not pickles:
            raise TrainerError(NOT_FOUND, f"{path} has no weights", "expected model.safetensors, or its parts with an index")
        if not allow_pickle:
            raise TrainerError(INVALID_ARGUMENT, f"the weights in {path} are pickles ({pickles[0]}), which can run any program",
                               "convert them to safetensors; or, only if you made them yourself, pass --set allow_pickle=true to "
                               "`kolm compile`, and --allow-pickle to commands that use the model")
        base.weights, base.pickled = pickles, True
    else:
        for name in base.weights:
            _check_safetensors(os.path.join(path, name))
    base.weight_bytes = sum(os.path.getsize(os.path.join(path, n)) for n in base.weights)
    if not any(n in names for n in ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model")):
        raise TrainerError(NOT_FOUND, f"{path} has no tokenizer", "expected tokenizer.json next to the weights")
    return base


def _config(path):
    file = os.path.join(path, "config.json")
    try:
        with open(file, encoding="utf-8") as stream:
            config = json.load(stream)
    except FileNotFoundError:
        if os.path.exists(os.path.join(path, "adapter_config.json")):
            raise TrainerError(INVALID_ARGUMENT, f"{path} is an adapter, not a base model",
                               "pass the model that it was trained on, or a directory written by `kolm export --merge`") from None
        raise TrainerError(NOT_FOUND, f"{path} is not a model: it has no config.json",
                           "pass a directory in Hugging Face layout with --base") from None
    except (OSError, ValueError, RecursionError) as e:
        raise TrainerError(DATA_LOSS, f"{file} cannot be read: {e}", "download the base again") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise TrainerError(INVALID_ARGUMENT, f"{file} has no model_type", "use a base that transformers can load")
    return config


def _safetensors(path, names):
    """Returns the files that transformers loads. It prefers model.safetensors to the parts of an index, which may be stale."""
    index = os.path.join(path, "model.safetensors.index.json")
    if "model.safetensors" in names:
        return ["model.safetensors"]
    if not os.path.exists(index):
        return [n for n in names if n.endswith(".safetensors")]
    try:
        with open(index, encoding="utf-8") as stream:
            parts = sorted(set(json.load(stream)["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise TrainerError(DATA_LOSS, f"{index} cannot be read: {e}", "download the base again") from None
    for part in parts:
        if not isinstance(part, str) or os.path.basename(part) != part:
            raise TrainerError(DATA_LOSS, f"{index} names a file outside its directory", "do not use this base")
        if part not in names:
            raise TrainerError(NOT_FOUND, f"{path} is missing {part}, a part of its weights", "download the base again")
    return parts


def _check_safetensors(file):
    """Checks that header and size agree: 8 bytes of header length, JSON of {name: {dtype, shape, data_offsets}}, the data."""
    broken = lambda why: TrainerError(DATA_LOSS, f"{file} is damaged: {why}", "download the base again")
    size = os.path.getsize(file)
    with open(file, "rb") as stream:
        first = stream.read(8)
        if len(first) < 8:
            raise broken(f"it has {size} bytes")
        length = struct.unpack("<Q", first)[0]
        if length > min(_HEADER_MAX, size - 8):
            raise broken("its header is longer than the file")
        try:
            header = json.loads(stream.read(length))
            tensors = {n: t for n, t in header.items() if n != "__metadata__"}
            ends = [0]
            for name, tensor in tensors.items():
                begin, end = tensor["data_offsets"]
                count = math.prod(operator.index(side) for side in tensor["shape"])
                width = _WIDTHS.get(tensor["dtype"])
                if begin < 0 or end < begin or (width is not None and end - begin != count * width):
                    raise broken(f"the tensor {name} has {end - begin} bytes for the shape {tensor['shape']}")
                ends.append(end)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise broken(f"its header cannot be read ({e})") from None
    if not tensors:
        raise broken("it contains no tensors")
    if max(ends) != size - 8 - length:
        raise broken(f"its header describes {max(ends)} bytes of tensors, and it contains {size - 8 - length}")


def task_of(base, asked, labels):
    """Returns "causal" or "classify". Raises if the base is not suitable for the task."""
    task = ("classify" if base.encoder else "causal") if asked == "auto" else asked
    if task == "causal" and base.encoder:
        raise TrainerError(INVALID_ARGUMENT, f"a {base.config['model_type']} base cannot generate text",
                           "leave task at auto, or use a causal language model as base")
    if task == "classify" and labels == 0:
        raise TrainerError(INVALID_ARGUMENT, "the outputs do not form a closed set of labels, and this base can only classify",
                           "use a causal language model as base, or data with fewer different outputs")
    if base.config.get("is_encoder_decoder"):
        raise TrainerError(INVALID_ARGUMENT, f"a {base.config['model_type']} base is an encoder-decoder model, which is not supported",
                           "use a causal language model or an encoder")
    return task
