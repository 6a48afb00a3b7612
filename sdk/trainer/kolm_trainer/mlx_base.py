# SPDX-License-Identifier: Apache-2.0
"""A base in MLX: loads it as transformers would, adds LoRA, and maps its layers to their names in transformers.

mlx-lm renames some layers and transposes the weights of others when it loads them, and stores experts in other tensors
than transformers. PEFT knows only the names of transformers, and silently ignores all others. So only layers whose weights
are found in the files of the base, by name and by content, are adapted, and the adapter is stored under the names that
they have there."""

import json
import os

from .errors import INVALID_ARGUMENT, TrainerError
from .model import first_line


def _filled(raw, known):
    """Returns what mlx-lm expects in a config.json and this one lacks. known: the configuration that transformers derives.

    transformers omits values that are its own defaults, and since version 5 writes rope_parameters, which most of mlx-lm
    does not read: the base would be loaded with wrong rotary embeddings."""
    more = {key: value for key, value in known.items() if raw.get(key) is None and value is not None and not isinstance(value, dict)}
    rope = known.get("rope_parameters")
    if not isinstance(rope, dict):
        return more
    by_layer = [rope.get(kind) for kind in ("full_attention", "sliding_attention")]
    if isinstance(by_layer[0], dict):
        rope = by_layer[0]
        if isinstance(by_layer[1], dict):
            more.setdefault("rope_local_base_freq", by_layer[1].get("rope_theta"))
    theta, share, kind = rope.get("rope_theta"), rope.get("partial_rotary_factor"), rope.get("rope_type", "default")
    wanted = {"rope_theta": theta, "rotary_emb_base": theta, "partial_rotary_factor": share, "rotary_pct": share,
              "rope_scaling": None if kind == "default" else {**rope, "type": kind}}
    return more | {key: value for key, value in wanted.items() if value is not None and raw.get(key) is None}


def _needed(config, known):
    """Returns what mlx-lm has no default for: from the attributes of the same names in transformers, or derived from others."""
    import inspect

    from mlx_lm.utils import _get_classes

    _, arguments = _get_classes(config)
    wanted = [name for name, p in inspect.signature(arguments).parameters.items() if p.default is p.empty and name not in config]
    follows = {"head_dim": lambda: known.hidden_size // known.num_attention_heads, "n_ctx": lambda: known.n_positions,
               "rope_scaling": lambda: None}
    found = {}
    for name in wanted:
        value = getattr(known, name, None)
        if value is None and name in follows:
            value = follows[name]()
        if value is not None or hasattr(known, name) or name in follows:
            found[name] = value
    return found


def _config_for(base):
    """Returns what a config.json lacks, in its text_config, too; {} for a type that transformers does not know."""
    from transformers import AutoConfig

    with base.alone() as path:
        try:
            known = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        except Exception:  # mlx-lm may know the type, and reports it if not
            return {}
    parts = known.to_dict()
    more = _filled(base.config, parts)
    text = base.config.get("text_config")
    if isinstance(text, dict) and isinstance(parts.get("text_config"), dict):
        more["text_config"] = {**text, **_filled(text, parts["text_config"])}
    return more | _needed(base.config | more, known)


def load(base):
    """Returns the base, frozen, after a trial run."""
    from pathlib import Path

    import mlx.core as mx
    from mlx_lm.utils import load_model

    try:
        with base.alone() as path:
            model, _ = load_model(Path(path), model_config=_config_for(base))
        model.freeze()
        mx.eval(model(mx.array([[0, 1]])))
    except MemoryError:
        raise
    except (Exception, SystemExit) as e:  # each model's file in mlx-lm fails in its own way
        kind = base.config.get("model_type")
        raise TrainerError(INVALID_ARGUMENT, f"mlx-lm cannot load the {kind} base in {base.path}: {type(e).__name__}: {first_line(e)}",
                           "use a base with an architecture and configuration that mlx-lm supports, or another backend, for "
                           "example --backend local-cpu") from None
    return model


# ---- Names

class Layer:
    """A linear layer in transformers. name: its path; transposed: its weight is [in, out] in the files (Conv1D)."""

    def __init__(self, name, transposed):
        self.name, self.transposed = name, transposed


def headers(base):
    """Returns {tensor: (file, shape)} of the base's weights."""
    import struct

    found = {}
    for name in base.weights:
        path = os.path.join(base.path, name)
        with open(path, "rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        found.update({tensor: (path, tuple(entry["shape"])) for tensor, entry in header.items() if tensor != "__metadata__"})
    return found


def _tail(path):
    """Returns the path from the number of the block on: this part is the same in mlx-lm and transformers, or the layers differ."""
    parts = path.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return ".".join(parts[at:]) if at else path


def _blocks(model):
    """Returns what mlx-lm would adapt in the blocks of a model: [(path, module)] of linear layers, and the paths of other ones."""
    import mlx.nn as nn
    from mlx_lm.models import switch_layers

    plain = (nn.Linear, nn.QuantizedLinear)
    other = (switch_layers.SwitchLinear, switch_layers.QuantizedSwitchLinear)
    inside = [(path, m) for path, m in model.named_modules() if any(part.isdigit() for part in path.split("."))]
    return ([(path, m) for path, m in inside if isinstance(m, plain)],
            [path for path, m in inside if isinstance(m, other) or (hasattr(m, "to_lora") and not isinstance(m, plain))])


def _same(mx, module, tensor, transposed):
    """True if the weight of a layer is this tensor, judging by the first row."""
    mine, stored = module.weight[0], tensor[:, 0] if transposed else tensor[0]
    if mine.shape != stored.shape:
        return False
    if mine.dtype != stored.dtype and mx.issubdtype(stored.dtype, mx.floating):
        stored = stored.astype(mine.dtype)
    return bool(mx.array_equal(mine, stored))


# Since version 5 transformers has the experts of these types in one tensor, and PEFT converts every layer that has a former
# name of an expert: also those of dense blocks and shared experts, which are then lost. As of transformers 5.24 and
# PEFT 0.21 (peft.utils.transformers_weight_conversion).
FUSED = {"afmoe", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots1", "ernie4_5_moe", "exaone_moe", "glm4_moe", "glm4_moe_lite",
         "glm_moe_dsa", "hunyuan_v1_moe", "longcat_flash", "mellum", "minimax", "minimax_m2", "mixtral", "olmoe", "qwen3_moe",
         "qwen3_next", "solar_open"}
_EXPERTS = {"gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"}
# Types with layers that PEFT never adapts.
_MAMBA = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
# Types with layers whose names in transformers differ from those in the files: {type: a part of the names in the files}.
_ELSEWHERE = {"laguna": ".shared_expert.", "nemotron_h": "backbone."}


# Types for which PEFT was found to load an adapter trained with MLX and to give the same answers (tests/trainer/test_mlx_families.py).
TRIED = set(("cohere deepseek_v3 deepseek_v32 ernie4_5 ernie4_5_moe gemma gemma2 gemma3_text glm glm4 glm4_moe glm4_moe_lite "
             "gpt2 gpt_bigcode gpt_neox gptj granite granitemoe helium hunyuan_v1_dense internlm3 jamba laguna llama mamba "
             "mellum ministral3 mistral mixtral nemotron olmo2 olmo3 olmoe phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe seed_oss "
             "smollm3 stablelm starcoder2").split())


def _storable(path, kind, experts):
    """True if PEFT would apply an adapter of this layer to the same layer. experts: whether the base has any."""
    parts = path.split(".")
    router = experts and (parts[-1] in ("gate", "router") or "router" in parts)  # not a linear layer in transformers
    return not (router or (kind in FUSED and parts[-1] in _EXPERTS) or (kind in _MAMBA and parts[-1] == "out_proj"))


def _in_transformers(stored):
    """Converts the path of a layer in a file to that in transformers: the files of GPT-2 omit the root."""
    return "transformer." + stored if stored.startswith("h.") else stored


def names(mx, model, base):
    """Returns {path in mlx-lm: Layer} of the layers that transformers has, too, and the paths of those that it has not."""
    stored_as, tensors, tails = headers(base), {}, {}
    for name, (_, shape) in stored_as.items():
        if name.endswith(".weight") and len(shape) == 2:
            tails.setdefault(_tail(name.removesuffix(".weight")), []).append(name)

    def stored(name):
        path = stored_as[name][0]
        if path not in tensors:
            tensors[path] = mx.load(path)
        return tensors[path][name]

    kind = base.config.get("model_type")

    def layer_of(path, module):
        for name in tails.get(_tail(path), ()):
            for transposed in (False, True):
                if _ELSEWHERE.get(kind, "\0") not in name and _same(mx, module, stored(name), transposed):
                    return Layer(_in_transformers(name.removesuffix(".weight")), transposed)
        return None

    plain, strange = _blocks(model)
    experts = bool(strange)
    found = {path: layer_of(path, module) for path, module in plain if _storable(path, kind, experts)}
    lost = [path for path, _ in plain if found.get(path) is None]
    return {path: layer for path, layer in found.items() if layer is not None}, sorted(strange + lost)


# ---- LoRA

def chosen(known, strange, targets, kind):
    """Returns the paths of the layers to adapt. targets: "all-linear" (all that transformers has, too), or names joined by
    commas."""
    where = "use a base whose files have the layer names of transformers, or use another backend for this one"
    if targets == "all-linear":
        if not known:
            first = f", the first is {strange[0]}" if strange else ""
            raise TrainerError(INVALID_ARGUMENT, f"no layer of this {kind} base is the same in mlx-lm and in transformers{first}: "
                               "PEFT could not load an adapter", where)
        return sorted(known)
    wanted = {target.strip() for target in targets.split(",")}
    fits = lambda paths: [p for p in paths if any(p == t or p.endswith("." + t) for t in wanted)]
    if lost := fits(strange):
        raise TrainerError(INVALID_ARGUMENT, f"PEFT could not load an adapter of {lost[0]}: transformers has no such layer, or PEFT "
                           "does not adapt it", "leave targets at all-linear, which skips such layers")
    if not (taken := fits(known)):
        raise TrainerError(INVALID_ARGUMENT, f"the base has no modules {targets}", "leave targets at all-linear")
    return sorted(taken)


def add_lora(model, paths, rank, scale, dropout):
    """Adds LoRA to the modules at these paths."""
    from mlx.utils import tree_unflatten
    from mlx_lm.tuner.lora import LoRALinear

    modules = dict(model.named_modules())
    model.update_modules(tree_unflatten([(path, LoRALinear.from_base(modules[path], r=rank, scale=scale, dropout=dropout))
                                         for path in paths]))
