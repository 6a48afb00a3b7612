# SPDX-License-Identifier: Apache-2.0
"""Bases and adapters in memory: loading, what is trained of them, and the files that an artifact carries."""

import json
import os
import tempfile
import warnings

from . import job as jobs
from .errors import DATA_LOSS, FAILED_PRECONDITION, INVALID_ARGUMENT, TrainerError

META = "kolm_trainer.json"
_HEADS = ("classifier", "score", "pre_classifier", "head", "bert.pooler", "pooler", "roberta.pooler", "electra.pooler", "deberta.pooler")


def quiet():
    """Libraries that talk, talk of nothing that a person could use here."""
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
                           "give a base that transformers can load without code of its own") from None
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_base(base, task, unit, pad=None, label_count=0, four_bit=False):
    """The base on the device, evaluating, no gradients; a classification head is new, and in fp32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    arguments = {"local_files_only": True, "trust_remote_code": False, "dtype": unit.dtype,
                 "use_safetensors": not base.pickled, "ignore_mismatched_sizes": True}  # _check_loaded names what does not fit
    if four_bit:
        arguments["quantization_config"] = _four_bit(unit)
        arguments["device_map"] = {"": unit.torch}
    maker = AutoModelForCausalLM
    if task == "classify":
        maker, arguments["num_labels"] = AutoModelForSequenceClassification, label_count
        torch.manual_seed(0)  # the head is drawn at random, and must be the same for training and for answering
    try:
        model, info = maker.from_pretrained(base.path, output_loading_info=True, **arguments)
    except TrainerError:
        raise
    except Exception as e:
        from .devices import out_of_memory

        if out_of_memory(e):
            raise
        raise TrainerError(INVALID_ARGUMENT, f"the base in {base.path} cannot be loaded: {first_line(e)}",
                           "give a base that transformers can load without code of its own") from None
    _check_loaded(base, task, info)
    if not four_bit:
        model = model.to(unit.torch)
    model.config.use_cache = task == "causal"
    if task == "classify":
        model.config.pad_token_id = pad  # a decoder that classifies looks for the last token before the padding
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.eval()


def _check_loaded(base, task, info):
    """transformers fills what it does not find with random numbers; a base with holes would be trained on noise."""
    missing = sorted(info.get("missing_keys", ()))
    mismatched = sorted(str(m[0] if isinstance(m, (tuple, list)) else m) for m in info.get("mismatched_keys", ()))
    if task == "classify":  # the head is new, whatever the base had
        missing, mismatched = ([k for k in keys if not k.startswith(_HEADS)] for keys in (missing, mismatched))
    if mismatched:
        raise TrainerError(INVALID_ARGUMENT, f"the weights in {base.path} do not fit its config.json: {mismatched[0]} has another shape",
                           "get the base again")
    if missing:
        raise TrainerError(INVALID_ARGUMENT,
                           f"the base in {base.path} lacks {len(missing)} of its tensors, the first is {missing[0]}",
                           "get the base again, or give one that is whole")


def _four_bit(unit):
    if not unit.device.four_bit:
        raise TrainerError(FAILED_PRECONDITION, f"there is no 4-bit arithmetic for {unit.device.name}", "use method=lora")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise TrainerError(FAILED_PRECONDITION, "QLoRA needs the package bitsandbytes in the runtime",
                           "install it there, or use method=lora") from None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=unit.dtype)


def add_adapter(model, task, options, seed, base_name):
    """LoRA on the base; with task classify the head is trained as a whole and saved beside the adapter."""
    import torch
    from peft import LoraConfig, get_peft_model

    targets = options.targets if options.targets == "all-linear" else [t.strip() for t in options.targets.split(",")]
    alpha = 2 * options.rank if options.alpha == "auto" else options.alpha
    config = LoraConfig(task_type="SEQ_CLS" if task == "classify" else "CAUSAL_LM", r=options.rank, lora_alpha=alpha,
                        lora_dropout=options.dropout, target_modules=targets, bias="none")
    torch.manual_seed(seed % (1 << 63))
    try:
        wrapped = get_peft_model(model, config)
    except ValueError as e:
        raise TrainerError(INVALID_ARGUMENT, f"LoRA cannot be put on this base: {first_line(e)}",
                           "name modules of the base: --set targets=q_proj,v_proj") from None
    wrapped.peft_config["default"].base_model_name_or_path = base_name
    return wrapped


_UNSLOTH_FITS = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "granite"}


def wants_unsloth(options, device, task, base):
    """Its kernels are outside of what PyTorch can make deterministic, and are made for these bases on NVIDIA cards."""
    if options.unsloth == "off" or (options.unsloth == "auto" and options.deterministic):
        return False
    import importlib.util

    why = None
    if options.deterministic:
        why = "deterministic training does without it: --set deterministic=false"
    elif device != "cuda" or task != "causal" or options.method == "full" or base.config.get("model_type") not in _UNSLOTH_FITS:
        why = "it serves LoRA on causal bases of " + ", ".join(sorted(_UNSLOTH_FITS)) + " on CUDA"
    elif importlib.util.find_spec("unsloth") is None:
        why = "the runtime has no package unsloth"
    if why and options.unsloth == "on":
        raise TrainerError(FAILED_PRECONDITION, f"unsloth cannot be used here: {why}", "leave the option unsloth to auto")
    return why is None


def load_unsloth(base, options, unit, max_length, seed, base_name):
    """Base and adapter as unsloth makes them, where wants_unsloth; the adapter is PEFT's in every respect."""
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
    """{name: parameter} of what is trained, sorted."""
    return dict(sorted((n, p) for n, p in model.named_parameters() if p.requires_grad))


def parameter_count(model):
    """Parameters of the base, packed 4-bit ones counted as what they stand for."""
    return sum(p.numel() * (2 if type(p).__name__ == "Params4bit" else 1) for p in model.parameters())


def save(model, method, tokenizer, meta, directory):
    """The payload: PEFT's two files (or a whole model), the tokenizer, and what answering needs to know."""
    os.makedirs(directory, exist_ok=True)
    if method == "full":
        model.save_pretrained(directory, safe_serialization=True)
    else:
        _save_adapter(model, directory)
    save_tokenizer(tokenizer, directory)
    jobs.write_json(os.path.join(directory, META), meta)


def save_tokenizer(tokenizer, directory):
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        tokenizer.save_pretrained(scratch)
        for name in sorted(os.listdir(scratch)):
            with open(os.path.join(scratch, name), "rb") as file:
                jobs.write_bytes(os.path.join(directory, name), file.read())


def _save_adapter(model, directory):
    """PEFT's format, byte for byte the same for the same weights (its own writer keeps sets in no order)."""
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
        raise TrainerError(DATA_LOSS, f"{META} of the artifact cannot be read: {e}", "get the artifact again") from None


def unpack(job, directory):
    """The model files of an infer job as files in directory, for libraries that take no slices."""
    for file in job.raw.get("model_files", []):
        name = file["name"]
        if os.path.isabs(name) or ".." in name.split("/"):
            raise TrainerError(DATA_LOSS, "a model file leaves its directory", "do not use this artifact")
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
                           "give the base that it was trained on") from None


def first_line(failure):
    lines = [line for line in str(failure).splitlines() if line.strip()]
    return (lines[0] if lines else type(failure).__name__)[:300]
