# SPDX-License-Identifier: Apache-2.0
"""The options of a training: one table of names, types, ranges and defaults."""

from .errors import INVALID_ARGUMENT, TrainerError

AUTO = "auto"


def _number(kind, low, high):
    def parse(text):
        value = kind(text)
        if not low <= value <= high:  # also refuses NaN
            raise ValueError
        return value

    parse.expected = f"{'a whole number' if kind is int else 'a number'} from {low} to {high}"
    return parse


def _auto_or(parse):
    def either(text):
        return AUTO if text == AUTO else parse(text)

    either.expected = f"auto, or {parse.expected}"
    return either


def _word(*words):
    def parse(text):
        if text not in words:
            raise ValueError
        return text

    parse.expected = "one of " + ", ".join(words)
    return parse


def _flag(text):
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


_flag.expected = "true or false"


def _text(text):
    return text


_text.expected = "text"

# name: (parser, default, description). docs/trainer.md is checked against this table.
TABLE = {
    "task": (_word(AUTO, "causal", "classify"), AUTO,
             "causal: the base writes the output; classify: a classification head chooses it. auto: what the base is made for"),
    "method": (_word("lora", "qlora", "full"), "lora", "LoRA, LoRA on a base held in 4 bits, or all weights"),
    "rank": (_number(int, 1, 1024), 16, "rank of the LoRA matrices"),
    "alpha": (_auto_or(_number(int, 1, 4096)), AUTO, "scale of LoRA, alpha / rank; auto: twice the rank"),
    "dropout": (_number(float, 0, 0.9), 0.0, "dropout before the LoRA matrices"),
    "targets": (_text, "all-linear", "modules that get LoRA: all-linear, or names joined by commas"),
    "epochs": (_auto_or(_number(float, 0.01, 1000)), AUTO,
               "passes over the rows; auto: 1, 3 or 6 for causal, 4, 10 or 20 for classify, by --effort"),
    "learning_rate": (_auto_or(_number(float, 1e-8, 1)), AUTO,
                      "peak; auto: 2e-4 for causal LoRA, 7e-4 for classify LoRA (2e-3 up to 512 hidden units), 2e-5 and 5e-5 for full"),
    "schedule": (_word("cosine", "linear", "constant"), "cosine", "how the learning rate falls after warm-up"),
    "warmup": (_number(float, 0, 0.5), 0.05, "share of the steps in which the learning rate rises"),
    "weight_decay": (_number(float, 0, 1), 0.0, "of AdamW, on matrices"),
    "max_grad_norm": (_number(float, 0, 1000), 1.0, "gradients are scaled down to this norm; 0: never"),
    "batch": (_auto_or(_number(int, 1, 65536)), AUTO, "rows of an optimizer step; auto: 16, or fewer for few rows"),
    "accumulation": (_auto_or(_number(int, 1, 65536)), AUTO,
                     "parts in which a step is computed; auto: as few as the free memory allows. The loss does not depend on it"),
    "max_length": (_auto_or(_number(int, 8, 10_000_000)), AUTO,
                   "tokens of a row; longer rows are left out and counted. auto: the context of the base, at most 2048"),
    "valid": (_number(float, 0, 0.5), 0.1, "share of the training rows on which the best checkpoint is chosen; 0: the last is kept"),
    "patience": (_number(int, 0, 1000), 3, "evaluations without an improvement before training ends early; 0: never"),
    "dtype": (_word(AUTO, "fp32", "bf16", "fp16"), AUTO, "of the base and of the arithmetic; auto: by device"),
    "gradient_checkpointing": (_word(AUTO, "on", "off"), AUTO, "recompute instead of keeping; auto: when memory is short"),
    "template": (_word(AUTO, "plain"), AUTO,
                 "auto: the chat template of the base; plain: the input, a line end, the output"),
    "system": (_text, "", "system message before every input that has none of its own, with a chat template"),
    "max_new_tokens": (_auto_or(_number(int, 1, 100_000)), AUTO,
                       "of an answer; auto: one and a half times the longest output that was trained on"),
    "deterministic": (_flag, True, "the same bytes on every run on the same device, where the device can; false may be faster"),
    "unsloth": (_word(AUTO, "on", "off"), AUTO, "its kernels, where it is installed and fits; never in deterministic training"),
    "allow_pickle": (_flag, False, "load weights that are stored as a pickle, which can run any program: only files that you made"),
}


class Options:
    """The options of a job as attributes; the names are those of TABLE."""

    def __init__(self, given):
        for name in given:
            if name not in TABLE:
                raise TrainerError(INVALID_ARGUMENT, f"the trainer has no option '{name}'",
                                   "use one of " + ", ".join(TABLE))
        for name, (parse, default, _) in TABLE.items():
            value = default
            if name in given:
                try:
                    value = parse(str(given[name]))
                except ValueError:
                    raise TrainerError(INVALID_ARGUMENT, f"the option {name}={given[name]} cannot be used",
                                       f"expected {parse.expected}") from None
            setattr(self, name, value)
