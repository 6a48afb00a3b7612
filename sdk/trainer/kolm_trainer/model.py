# SPDX-License-Identifier: Apache-2.0
"""Bases and adapters in memory: loads them, selects what is trained, and writes the files of an artifact."""

import inspect
import json
import os
import re
import tempfile
import warnings

from . import job as jobs
from .base import PICKLES
from .errors import DATA_LOSS, FAILED_PRECONDITION, INVALID_ARGUMENT, UNIMPLEMENTED, TrainerError

META = "kolm_trainer.json"
_PEFTS = ("classifier", "score")  # PEFT adds them to modules_to_save for every classification task
_PEFT_ROOT = "base_model.model."


def quiet():
    """Silences libraries whose messages are not useful to the user."""
    warnings.filterwarnings("ignore")
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def load_tokenizer(path):
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as e:
        raise TrainerError(INVALID_ARGUMENT, f"the tokenizer in {path} cannot be loaded: {first_line(e)}",
                           "use a base that transformers can load without custom code") from None
    tokenizer.padding_side = "left"
    _choose_template(tokenizer, path)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def _choose_template(tokenizer, path):
    """Sets the chat template if there is only one: in a list with one entry, or in a processor's chat_template.json. Several
    stay a dict, of which transformers uses "default" (or "tool_use" if tools are given)."""
    templates = tokenizer.chat_template
    if isinstance(templates, dict) and len(templates) == 1:
        tokenizer.chat_template = next(iter(templates.values()))
    if templates is None and os.path.exists(file := os.path.join(path, "chat_template.json")):
        try:
            with open(file, encoding="utf-8") as stream:
                tokenizer.chat_template = json.load(stream)["chat_template"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
            raise TrainerError(DATA_LOSS, f"{file} cannot be read: {e}", "download the base again") from None


def prepare_tokenizer(tokenizer, model, padding):
    """Sets the padding side and the arguments, so that other programs tokenize a text as the model was trained on."""
    tokenizer.padding_side = "left" if padding == "left" else "right"
    taken = inspect.signature(inner_of(model).forward).parameters
    tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name in taken]


def inner_of(model):
    """Returns the transformers model inside PEFT's, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def check_vocabulary(model, ids):
    """Raises if there are more tokens than embeddings; torch would only report an index out of range."""
    try:
        table = inner_of(model).get_input_embeddings()
    except NotImplementedError:
        return  # CANINE, which hashes characters
    rows = getattr(getattr(table, "weight", None), "shape", (0,))[0]
    largest = max(ids, default=0)
    if type(table).__name__ == "Embedding" and largest >= rows:
        raise unknown_token(largest, rows)


def unknown_token(token, rows):
    return TrainerError(INVALID_ARGUMENT, f"the tokenizer of the base has a token {token}, and the base has embeddings for {rows}",
                        "use a base whose tokenizer and weights belong together")


def load_base(base, task, unit, pad=None, label_count=0, four_bit=False):
    """Returns (the base on the device, in evaluation mode and without gradients; the names of the modules of its head).

    The head is trained and stored in full: everything that a classification model has in addition to its base, and what
    the files of the base lack (a pooler). It is initialised at random, and would be initialised differently elsewhere."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    arguments = {"local_files_only": True, "trust_remote_code": False, "dtype": unit.dtype,
                 "use_safetensors": not base.pickled, "ignore_mismatched_sizes": True}  # _check_loaded reports what does not fit
    if four_bit:
        arguments["quantization_config"] = _four_bit(unit)
        arguments["device_map"] = {"": unit.torch}
    maker = AutoModelForCausalLM
    if task == "classify":
        maker, arguments["num_labels"] = AutoModelForSequenceClassification, label_count
        torch.manual_seed(0)  # the head is initialised at random, and must be the same for training and inference
    try:
        with base.alone() as path:
            model, info = maker.from_pretrained(path, output_loading_info=True, **arguments)
    except TrainerError:
        raise
    except Exception as e:
        from .devices import out_of_memory

        if out_of_memory(e):
            raise
        raise TrainerError(INVALID_ARGUMENT, f"the base in {base.path} cannot be loaded: {first_line(e)}",
                           "use a base that transformers can load without custom code") from None
    fresh = _check_loaded(base, task, info, model)
    if not four_bit:
        model = model.to(unit.torch)
    model.config.use_cache = task == "causal"
    if task == "classify":
        # A decoder that classifies looks for the last token before the padding; some read text_config for it.
        model.config.pad_token_id = model.config.get_text_config().pad_token_id = pad
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.eval(), _head_of(model, fresh) if task == "classify" else []


def _check_loaded(base, task, info, model):
    """Raises if tensors of the base are missing: transformers initialises them at random. Returns the names of the tensors
    that were initialised, all of which are of the head."""
    missing = sorted(info.get("missing_keys", ()))
    mismatched = sorted(str(m[0] if isinstance(m, (tuple, list)) else m) for m in info.get("mismatched_keys", ()))
    of_base = set(missing + mismatched)
    if task == "classify":  # the head is new, whatever the base had
        of_base = _of_base(model, of_base)
    torn = [name for name in mismatched if name in of_base]
    if torn:
        raise TrainerError(INVALID_ARGUMENT, f"the weights in {base.path} do not match its config.json: {torn[0]} has another shape",
                           "download the base again")
    holes = [name for name in missing if name in of_base]
    if holes:
        raise TrainerError(INVALID_ARGUMENT, f"the base in {base.path} lacks {len(holes)} of its tensors; the first is {holes[0]}",
                           "download the base again, or use one that is complete")
    return sorted({*missing, *mismatched})


def _of_base(model, names):
    """Returns those of the names that belong to the base without a head. Poolers do not: they are often not stored."""
    import torch
    from transformers import AutoModel

    prefix = model.base_model_prefix + "."
    inner = [name for name in names if name.startswith(prefix) and "pooler" not in name]
    if not inner:
        return set()
    with torch.device("meta"):
        known = AutoModel.from_config(model.config).state_dict().keys()
    return {name for name in inner if name.removeprefix(prefix) in known}


def _head_of(model, fresh):
    """Returns the names of the modules of the head: the largest ones that contain nothing of the base."""
    tensors = {name for name, _ in model.named_parameters()}
    prefix = model.base_model_prefix + "."
    head = {name for name in tensors if not name.startswith(prefix)} | (tensors & set(fresh))
    modules = set()
    for name in head:
        parts = name.split(".")[:-1]
        if not parts:
            raise TrainerError(UNIMPLEMENTED, f"a {model.config.model_type} base has a head that PEFT cannot store: {name} is not in a module",
                               "use method=full, or another base")
        above = [".".join(parts[:i + 1]) for i in range(len(parts))]
        whole = (m for m in above if all(t in head for t in tensors if t.startswith(m + ".")))
        modules.add(next(whole))
    return sorted(modules)


def _four_bit(unit):
    if not unit.device.four_bit:
        raise TrainerError(FAILED_PRECONDITION, f"4-bit arithmetic is not available for {unit.device.name}", "use method=lora")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise TrainerError(FAILED_PRECONDITION, "QLoRA needs the package bitsandbytes in the runtime",
                           "install it there, or use method=lora") from None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=unit.dtype)


def _saved_whole(model, head):
    """Returns (modules_to_save for PEFT, the modules that must not get LoRA).

    PEFT stores every module in full whose name ends with a given name, or with "classifier" or "score". DistilBERT's
    pre_classifier is such a module, and gets LoRA as well, which fails. So an ambiguous name is given in full, from PEFT's
    root on, and all modules that are stored in full are excluded from LoRA."""
    names = [name for name, _ in model.named_modules() if name]
    ends = lambda end: [n for n in names if (_PEFT_ROOT + n).endswith(end)]
    inside = lambda name: any(name == h or name.startswith(h + ".") for h in head)
    given = [h if all(inside(n) for n in ends(h)) else _PEFT_ROOT + h for h in head]
    kept = {*head, *(n for end in _PEFTS for n in ends(end) if not inside(n))}
    return given, sorted(kept)


def _not_linear(model):
    """Returns subclasses of linear layers that compute something else: Phi-MoE's router returns a tuple, which LoRA cannot adapt."""
    import torch

    def computes_otherwise(layer):
        if type(layer).forward is torch.nn.Linear.forward or not type(layer).__module__.startswith("transformers.models."):
            return False
        with torch.no_grad():
            return not isinstance(layer(torch.zeros_like(layer.weight[:1])), torch.Tensor)

    return [name for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and computes_otherwise(m)]


def _targets_of(model, options):
    """Returns target_modules for PEFT. Its all-linear means linear layers; a base without any outside of its head (SqueezeBERT)
    has convolutions instead."""
    import torch
    from transformers.pytorch_utils import Conv1D

    if options.targets != "all-linear":
        return [t.strip() for t in options.targets.split(",")]
    inner = getattr(model, model.base_model_prefix, model)
    if any(isinstance(m, (torch.nn.Linear, Conv1D)) for n, m in inner.named_modules() if "pooler" not in n):
        return options.targets
    fits = lambda module: isinstance(module, torch.nn.Conv1d) and options.rank % module.groups == 0
    return sorted(n for n, m in model.named_modules() if fits(m)) or options.targets


def add_adapter(model, task, options, seed, base_name, head):
    """Adds LoRA to the base. With task classify the head is trained in full, and stored with the adapter."""
    import torch
    from peft import LoraConfig, get_peft_model

    alpha = 2 * options.rank if options.alpha == "auto" else options.alpha
    config = LoraConfig(task_type="SEQ_CLS" if task == "classify" else "CAUSAL_LM", r=options.rank, lora_alpha=alpha,
                        lora_dropout=options.dropout, target_modules=_targets_of(model, options), bias="none")
    if task == "classify":
        config.modules_to_save, kept = _saved_whole(model, head)
    else:
        kept = []
    if options.targets == "all-linear":
        kept += _not_linear(model)
    if kept:
        config.exclude_modules = "|".join(re.escape(name) + r"(\..*)?" for name in sorted(kept))
    torch.manual_seed(seed % (1 << 63))
    try:
        wrapped = get_peft_model(model, config)
    except ValueError as e:
        remedy = "name modules of the base, for example --set targets=q_proj,v_proj; or train all weights: --set method=full"
        raise TrainerError(INVALID_ARGUMENT, f"LoRA cannot be added to this base: {first_line(e)}", remedy) from None
    wrapped.peft_config["default"].base_model_name_or_path = base_name
    return wrapped


_UNSLOTH_FITS = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "granite"}


def wants_unsloth(options, device, task, base):
    """True if unsloth is used. PyTorch cannot make its kernels deterministic, and they support only these bases on NVIDIA GPUs."""
    if options.unsloth == "off" or (options.unsloth == "auto" and options.deterministic):
        return False
    import importlib.util

    why = None
    if options.deterministic:
        why = "deterministic training cannot use it (--set deterministic=false)"
    elif device != "cuda" or task != "causal" or options.method == "full" or base.config.get("model_type") not in _UNSLOTH_FITS:
        why = "it supports only LoRA on causal bases of the types " + ", ".join(sorted(_UNSLOTH_FITS)) + " on CUDA"
    elif importlib.util.find_spec("unsloth") is None:
        why = "the runtime has no package unsloth"
    if why and options.unsloth == "on":
        raise TrainerError(FAILED_PRECONDITION, f"unsloth cannot be used here: {why}", "leave the option unsloth at auto")
    return why is None


def load_unsloth(base, options, unit, max_length, seed, base_name):
    """Returns the base with an adapter, as made by unsloth, if wants_unsloth. The adapter is an ordinary one of PEFT."""
    os.environ["UNSLOTH_RETURN_LOGITS"] = "1"  # the loss is computed here, over the targets only
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(model_name=base.path, max_seq_length=max_length, dtype=unit.dtype,
                                                 load_in_4bit=options.method == "qlora", local_files_only=True)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    if options.targets != "all-linear":
        targets = [t.strip() for t in options.targets.split(",")]
    model = FastLanguageModel.get_peft_model(
        model, r=options.rank, lora_alpha=2 * options.rank if options.alpha == "auto" else options.alpha,
        lora_dropout=options.dropout, target_modules=targets, bias="none", use_gradient_checkpointing=False,
        random_state=seed % (1 << 31))
    model.peft_config["default"].base_model_name_or_path = base_name
    return model


def trainable(model):
    """Returns {name: parameter} of what is trained, sorted."""
    return dict(sorted((n, p) for n, p in model.named_parameters() if p.requires_grad))


def parameter_count(model):
    """Returns the number of parameters; each byte of packed 4-bit ones counts as two."""
    return sum(p.numel() * (2 if type(p).__name__ == "Params4bit" else 1) for p in model.parameters())


def save(model, method, tokenizer, meta, directory):
    """Writes the payload: PEFT's two files (or a complete model), the tokenizer, and META for inference."""
    os.makedirs(directory, exist_ok=True)
    if method == "full":
        model.save_pretrained(directory, safe_serialization=True)
    else:
        _save_adapter(model, directory)
    save_tokenizer(tokenizer, directory)
    jobs.write_json(os.path.join(directory, META), meta)


def save_tokenizer(tokenizer, directory):
    # transformers writes these values as they were when the tokenizer was loaded, without changes made since.
    tokenizer.init_kwargs.update(padding_side=tokenizer.padding_side, model_input_names=list(tokenizer.model_input_names))
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        # Several templates go into tokenizer_config.json, because an artifact cannot have a directory of them.
        tokenizer.save_pretrained(scratch, save_jinja_files=not isinstance(tokenizer.chat_template, dict))
        for name in sorted(os.listdir(scratch)):
            with open(os.path.join(scratch, name), "rb") as file:
                jobs.write_bytes(os.path.join(directory, name), file.read())


def _save_adapter(model, directory):
    """Writes PEFT's format, reproducibly for the same weights (its own writer stores sets in arbitrary order)."""
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save

    tensors = {k: v.detach().float().cpu().contiguous() for k, v in sorted(get_peft_model_state_dict(model).items())}
    jobs.write_bytes(os.path.join(directory, "adapter_model.safetensors"), save(tensors, metadata={"format": "pt"}))
    config = model.peft_config["default"].to_dict()
    config["inference_mode"] = True
    plain = {k: sorted(v) if isinstance(v, (set, frozenset)) else getattr(v, "value", v) for k, v in config.items()}
    jobs.write_json(os.path.join(directory, "adapter_config.json"), plain)


def read_meta(job):
    try:
        meta = json.loads(job.model_file(META))
        if not isinstance(meta, dict):
            raise ValueError("it is not an object")
        return meta
    except (ValueError, RecursionError) as e:
        raise TrainerError(DATA_LOSS, f"{META} of the artifact cannot be read: {e}", "download the artifact again") from None


def unpack(job, directory):
    """Provides the model files of an infer job in directory, for libraries that cannot read parts of a file."""
    for file in job.raw.get("model_files", []):
        name = file["name"]
        if os.path.isabs(name) or ".." in name.split("/"):
            raise TrainerError(DATA_LOSS, "the name of a model file leaves its directory", "do not use this artifact")
        if name.endswith(PICKLES):  # libraries would load it in the absence of safetensors
            raise TrainerError(DATA_LOSS, f"the model file {name} is a pickle, which can run any program", "do not use this artifact")
        target = os.path.join(directory, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if file["offset"] == 0 and os.path.getsize(file["path"]) == file["size"]:
            os.symlink(file["path"], target)
            continue
        with open(target, "wb") as out:
            out.write(job.model_file(name))


def load_adapter(model, directory):
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, directory, is_trainable=False).eval()
    except (RuntimeError, ValueError, KeyError, OSError) as e:
        raise TrainerError(DATA_LOSS, f"the adapter does not fit the base: {first_line(e)}",
                           "use the base that it was trained on") from None


def first_line(failure):
    lines = [line for line in str(failure).splitlines() if line.strip()]
    return (lines[0] if lines else type(failure).__name__)[:300]
