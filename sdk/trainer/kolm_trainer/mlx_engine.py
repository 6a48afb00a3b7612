# SPDX-License-Identifier: Apache-2.0
"""The same job on MLX with mlx-lm: causal LoRA on Apple GPUs, and on Linux if the user installed mlx for it."""


import os
import platform
import tempfile
import time

from . import VERSION, batches, devices, events, job as jobs, mlx_base, model as models
from .answer import Text, Trie, read_meta, stream
from .base import look, task_of
from .encode import Rendering, encode_causal, shortened
from .errors import DATA_LOSS, FAILED_PRECONDITION, INTERNAL, UNIMPLEMENTED, TrainerError, cancelled
from .context import context_of
from .train import Training, label_set

_STATE = "state.safetensors"
_PEFT_ROOT = "base_model.model."


def _mlx():
    try:
        import mlx.core as mx
        import mlx_lm  # noqa: F401
    except ImportError as e:
        raise TrainerError(FAILED_PRECONDITION, f"the runtime has no mlx: {e}", devices.TABLE["mlx"].missing) from None
    return mx


def _device(mx):
    name = "GPU" if mx.default_device().type == mx.DeviceType.gpu else "CPU"
    return f"mlx {mx.__version__} on {platform.system()} {name}, {devices.processor()}"


def probe():
    mx = _mlx()
    return {"device": _device(mx), "free_bytes": devices.free_memory()}


def _flat(model):
    from mlx.utils import tree_flatten

    return dict(sorted(tree_flatten(model.trainable_parameters())))


def _targets(layers, headers):
    """Returns target_modules for PEFT: the last parts of the names if they match exactly these layers, else the full names."""
    adapted = {layer.name for layer in layers.values()}
    ends = {name.rsplit(".", 1)[-1] for name in adapted}
    stored = [name.removesuffix(".weight") for name, (_, shape) in headers.items() if name.endswith(".weight") and len(shape) == 2]
    others = [n for n in stored if n.rsplit(".", 1)[-1] in ends and not any(a == n or a.endswith("." + n) for a in adapted)]
    return sorted(adapted) if others else sorted(ends)


def _write_peft(mx, weights, layers, config, directory):
    """Writes PEFT's file format: lora_A [rank, in] and lora_B [out, rank] are the transposes of mlx-lm's lora_a and lora_b,
    and the scale is alpha / rank. layers: {path in mlx-lm: its Layer}."""
    tensors = {}
    for name, value in weights.items():
        path, kind = name.rsplit(".", 1)
        tensors[f"{_PEFT_ROOT}{layers[path].name}.{'lora_A' if kind == 'lora_a' else 'lora_B'}.weight"] = \
            mx.contiguous(value.T.astype(mx.float32))
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, "adapter_model.safetensors")
    mx.save_safetensors(path, dict(sorted(tensors.items())), metadata={"format": "pt"})
    jobs.write_json(os.path.join(directory, "adapter_config.json"),
                    {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "inference_mode": True, "use_rslora": False,
                     "use_dora": False, "modules_to_save": None, **config})


def _read_peft(mx, model, layers, path):
    """Returns the tensors of an adapter under their names in MLX. Raises if one belongs to no layer of the model."""
    known, by_name, out = _flat(model), {layer.name: path for path, layer in layers.items()}, []
    for name, value in mx.load(path).items():
        layer, kind = name.removeprefix(_PEFT_ROOT).removesuffix(".weight").rsplit(".", 1)
        mine = f"{by_name.get(layer, layer)}.{'lora_a' if kind == 'lora_A' else 'lora_b'}"
        if mine not in known or known[mine].shape != value.T.shape:
            raise TrainerError(DATA_LOSS, f"the adapter does not fit the base: {layer}", "use the base that it was trained on")
        out.append((mine, value.T))
    return out


class MlxTraining(Training):
    """Training on MLX, with the same plan, batches and artifact as with torch."""

    padding, weights = "right", None  # as in steps.Work

    def prepare(self):
        self.base.tell()
        self._check_target()
        self.mx = _mlx()
        if self.task != "causal":
            raise TrainerError(UNIMPLEMENTED, "mlx-lm trains causal language models, and this base can only classify",
                               "use a causal language model as base, or another backend for this one")
        if self.method == "full":
            raise TrainerError(UNIMPLEMENTED, "the mlx engine trains LoRA adapters only", "leave method at lora")
        models.quiet()
        self.tokenizer = models.load_tokenizer(self.base.path)
        self.labels = label_set(self.job)
        self.unit = _Unit()
        self._encode()
        self._load()
        self._plan()

    def _load(self):
        mx, o = self.mx, self.options
        events.progress("loading", 0, None)
        self.work = self
        self._check_vocabulary()
        self.model = mlx_base.load(self.base)
        from mlx.utils import tree_flatten

        self.base_parameters = sum(v.size for _, v in tree_flatten(self.model.parameters()))
        self.alpha = 2 * o.rank if o.alpha == "auto" else o.alpha
        mx.random.seed(self.job.seed % (1 << 63))
        known, strange = mlx_base.names(mx, self.model, self.base)
        paths = mlx_base.chosen(known, strange, o.targets, self.base.config["model_type"])
        if strange and o.targets == "all-linear":
            events.log("info", f"{len(strange)} layers of this base are not adapted: PEFT could not load an adapter of them "
                               f"({strange[0]})")
        if (kind := self.base.config["model_type"]) not in mlx_base.TRIED and not self.base.quantised:
            events.log("warning", f"adapters of {kind} bases trained with MLX have not been compared with PEFT: compare the answers before "
                                  "you use this one elsewhere")
        self.layers = {path: known[path] for path in paths}
        mlx_base.add_lora(self.model, paths, o.rank, self.alpha / o.rank, o.dropout)
        self.parameters = _flat(self.model)
        self.lengths = [self.rows.length(i) for i in range(len(self.rows))]

    def _check_vocabulary(self):
        """Raises for tokens without an embedding: MLX silently reads beyond the end of the table."""
        config = self.base.config
        rows = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size") or 1 << 30
        if (largest := max(self.rows.ids)) >= rows:
            raise models.unknown_token(largest, rows)

    def _fit_memory(self):
        self.token_limit = 4096

    # ---- Steps

    def _tensors(self, part):
        """Pads on the right, because a text does not attend to what follows it. The weight of a target is that of its row's
        label, that of all other tokens 0."""
        mx, width = self.mx, max(self.lengths[i] for i in part)
        ids = [list(self.rows.tokens(i)) + [0] * (width - self.lengths[i]) for i in part]
        share = lambda i: 1.0 if self.weights is None else self.weights[self.rows.labels[i]]
        weights = [[0.0] * (self.rows.prompts[i] - 1) + [share(i)] * (self.lengths[i] - self.rows.prompts[i])
                   + [0.0] * (width - self.lengths[i]) for i in part]
        return mx.array(ids), mx.array(weights)

    def _loss(self, model, ids, weights, targets):
        import mlx.nn as nn

        losses = nn.losses.cross_entropy(model(ids[:, :-1]).astype(self.mx.float32), ids[:, 1:])
        return (losses * weights).sum() / targets

    def _targets(self, rows):
        return sum(self.lengths[i] - self.rows.prompts[i] for i in rows)

    def _cut(self, rows):
        parts = None if self.options.accumulation == "auto" else self.options.accumulation
        return batches.cut(rows, self.lengths, self.token_limit, parts)

    def train_step(self, rows):
        import mlx.optimizers as optimizers
        from mlx.utils import tree_map

        mx, targets = self.mx, self._targets(rows)
        mx.random.seed((self.job.seed * 1_000_003 + self.step) % (1 << 63))
        total, gradients = 0.0, None
        for part in self._cut(rows):
            loss, found = self.gradient(self.model, *self._tensors(part), targets)
            gradients = found if gradients is None else tree_map(lambda a, b: a + b, gradients, found)
            mx.eval(gradients, loss)
            total += float(loss)
        if self.options.max_grad_norm > 0:
            gradients, _ = optimizers.clip_grad_norm(gradients, self.options.max_grad_norm)
        self.optimizer.learning_rate = self.rate_at(self.step)
        self.optimizer.update(self.model, gradients)
        mx.eval(self.model.trainable_parameters(), self.optimizer.state)
        self.step += 1
        return total, events.stopping()

    def evaluate(self):
        if not self.valid_rows:
            return
        self.model.eval()
        targets = self._targets(self.valid_rows)
        loss = sum(float(self._loss(self.model, *self._tensors(part), targets))
                   for part in batches.cut(self.valid_rows, self.lengths, self.token_limit))
        self.model.train()
        events.metric("valid.loss", loss)
        if self.best_loss is None or loss < self.best_loss:
            self.best_loss, self.best_step, self.since_best = loss, self.step, 0
            self.best = {name: self.mx.array(value) for name, value in _flat(self.model).items()}
        else:
            self.since_best += 1

    # ---- Checkpoints

    def start(self):
        import mlx.nn as nn
        import mlx.optimizers as optimizers

        self.gradient = nn.value_and_grad(self.model, self._loss)
        self.optimizer = optimizers.AdamW(learning_rate=self.rate, weight_decay=self.options.weight_decay, bias_correction=True)
        self.optimizer.init(self.model.trainable_parameters())
        self.scaler = None
        self.step, self.best, self.best_step, self.since_best = 0, None, 0, 0
        self.best_loss = self.best_right = None
        self.evaluated = 0
        self.fingerprint = self.job.fingerprint(VERSION, self.mx.__version__, "mlx", self.method)
        self._resume()

    def tokens(self, rows):
        return sum(self.lengths[i] for i in rows)

    def save_checkpoint(self):
        from mlx.utils import tree_flatten
        import json

        directory = self.job.path("checkpoint")
        os.makedirs(directory, exist_ok=True)
        tensors = {"now." + n: v for n, v in _flat(self.model).items()}
        tensors.update({"optimizer." + n: v for n, v in tree_flatten(self.optimizer.state) if hasattr(v, "shape")})
        if self.best is not None:
            tensors.update({"best." + n: v for n, v in self.best.items()})
        state = {"step": self.step, "evaluated": self.evaluated, "best_step": self.best_step, "since_best": self.since_best, "best_loss": self.best_loss}
        path = os.path.join(directory, _STATE)
        self.mx.save_safetensors(path + ".tmp.safetensors", tensors,
                                 metadata={"fingerprint": self.fingerprint, "state": json.dumps(state)})
        os.replace(path + ".tmp.safetensors", path)
        self.saved_at = time.monotonic()

    def _resume(self):
        from mlx.utils import tree_unflatten
        import json

        path = self.job.path("checkpoint", _STATE)
        if not os.path.exists(path):
            return
        try:
            tensors, metadata = self.mx.load(path, return_metadata=True)
            state = json.loads(metadata["state"])
        except (RuntimeError, ValueError, KeyError):
            return
        if metadata.get("fingerprint") != self.fingerprint:
            return
        part = lambda prefix: {n[len(prefix):]: v for n, v in tensors.items() if n.startswith(prefix)}
        self.model.load_weights(list(part("now.").items()), strict=False)
        self.optimizer.state = tree_unflatten(list(part("optimizer.").items()))
        self.best = part("best.") or None
        self.step, self.best_step, self.since_best = state["step"], state["best_step"], state["since_best"]
        self.best_loss, self.evaluated = state["best_loss"], state["evaluated"]
        events.log("info", f"continuing from step {self.step} of {self.total}")

    # ---- The result

    def keep(self, early):
        self.abstain = self.job.abstain
        if self.best is not None:
            self.model.load_weights(list(self.best.items()), strict=False)
        directory = self.job.path("model")
        config = {"r": self.options.rank, "lora_alpha": self.alpha, "lora_dropout": self.options.dropout,
                  "target_modules": _targets(self.layers, mlx_base.headers(self.base)),
                  "fan_in_fan_out": any(layer.transposed for layer in self.layers.values()),
                  "base_model_name_or_path": self.job.base_name}
        _write_peft(self.mx, _flat(self.model), self.layers, config, directory)
        models.save_tokenizer(self.tokenizer, directory)
        jobs.write_json(os.path.join(directory, models.META), self.meta())
        self._check_what_was_kept(directory)
        self.parameters = {name: _Counted(value) for name, value in self.parameters.items()}
        jobs.write_json(self.job.path("result.json"), {"format": 1, "toolchain": self.toolchain(), "report": self.report(early)})
        from . import checkpoint

        checkpoint.remove(self.job.path("checkpoint"))

    def _check_what_was_kept(self, directory):
        """Checks that the stored adapter, on the base loaded again, gives the same logits as the trained model; with PEFT,
        too, if torch is installed."""
        self.model.eval()
        row = self.rows.tokens(min(range(len(self.rows)), key=lambda i: self.lengths[i])).tolist()
        wanted = self.model(self.mx.array([row]))[0].astype(self.mx.float32)
        found = {"MLX": _adapted(self.mx, self.base, directory)(self.mx.array([row]))[0].astype(self.mx.float32)}
        if (logits := _by_peft(self.base, directory, row)) is not None:
            found["PEFT"] = self.mx.array(logits)
        spread = float(self.mx.abs(wanted - wanted.mean()).max())
        for reader, logits in found.items():
            off = float(self.mx.abs(wanted - logits).max())
            if not off <= (0.01 if self.base.config.get("dtype", "float32") == "float32" else 0.1) * spread + 1e-3:
                raise TrainerError(INTERNAL, f"the adapter gives other answers when {reader} loads it: the logits of a row differ by {off:.3g}",
                                   "use another backend for this base, and please report its config.json")

    def toolchain(self):
        import mlx_lm

        return f"kolm_trainer {VERSION}, {_device(self.mx)}, mlx-lm {mlx_lm.__version__}, python {platform.python_version()}"


class _Unit:
    """The part of devices.Unit that the plan and the report use."""

    dtype_name = "base"

    @staticmethod
    def peak_bytes():
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if platform.system() == "Darwin" else peak * 1024


class _Counted:
    def __init__(self, value):
        self.numel = lambda: value.size


def train(job, _device_name, threads):
    training = MlxTraining(job, "mlx", threads)
    training.prepare()
    early = training.loop()
    events.progress("saving", 0, None)
    training.keep(early)
    events.metric("trainer.total_seconds", time.monotonic() - training.began)
    events.result({"device": _device(training.mx), "toolchain": training.toolchain()})


def _adapted(mx, base, directory):
    """Returns the base with the adapter in directory."""
    import json

    with open(os.path.join(directory, "adapter_config.json"), encoding="utf-8") as file:
        config = json.load(file)
    model = mlx_base.load(base)
    known, _ = mlx_base.names(mx, model, base)
    stored = mx.load(path := os.path.join(directory, "adapter_model.safetensors"))
    adapted = {name.removeprefix(_PEFT_ROOT).rsplit(".", 2)[0] for name in stored}
    layers = {p: layer for p, layer in known.items() if layer.name in adapted}
    mlx_base.add_lora(model, sorted(layers), config["r"], config["lora_alpha"] / config["r"], 0.0)
    model.load_weights(_read_peft(mx, model, layers, path), strict=False)
    model.eval()
    mx.eval(model.parameters())
    return model


def _by_peft(base, directory, row):
    """Returns the logits of a row with transformers and PEFT, as lists; None if there is no torch, or the base has MLX's format."""
    import importlib.util

    if base.quantised or any(importlib.util.find_spec(name) is None for name in ("torch", "peft")):
        return None
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with base.alone() as path:
        model = AutoModelForCausalLM.from_pretrained(path, local_files_only=True, trust_remote_code=False, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, directory).eval()
    with torch.inference_mode():
        return model(input_ids=torch.tensor([row])).logits[0].tolist()


class MlxAnswerer:
    """Answers rows greedily, one at a time, with a cache of the prompt."""

    def __init__(self, job, meta, base, scratch):
        self.mx, self.meta, self.cut = _mlx(), meta, 0
        models.unpack(job, scratch)
        self.tokenizer = models.load_tokenizer(scratch)
        self.model = _adapted(self.mx, base, scratch)
        self.rendering = Rendering(self.tokenizer, meta["template"], meta["system"])
        self.limit = max(8, (meta.get("context") or context_of(base.config, self.tokenizer)) - meta["max_new_tokens"])
        self.trie = None
        if meta["labels"]:
            self.trie = Trie(zip(meta["labels"], self.rendering.completions([""] * len(meta["labels"]), meta["labels"])))

    def answer(self, inputs):
        return [self._one(text) for text in inputs]

    def _one(self, text):
        from mlx_lm.models.cache import make_prompt_cache

        mx, ids = self.mx, self.rendering.prompts([text])[0]
        self.cut += len(ids) > self.limit
        while len(ids) > self.limit and text:
            text = shortened(text, min(0.95, self.limit / len(ids)))
            ids = self.rendering.prompts([text])[0]
        cache, said = make_prompt_cache(self.model), Text(self.trie.root if self.trie else None, self.tokenizer.eos_token_id)
        for _ in range(self.trie.depth if self.trie else self.meta["max_new_tokens"]):
            if events.stopping():
                raise cancelled()
            logits = self.model(mx.array([ids]), cache=cache)[0, -1].astype(mx.float32)
            if self.trie is not None:
                token = said.choose(lambda t: float(logits[t]))
            else:
                best = mx.argmax(logits)
                token = said.add(int(best), float(logits[best] - mx.logsumexp(logits)))
            if said.done:
                break
            ids = [token]
        return said.finish(self.tokenizer)


def answer(job, _device_name, _threads, input_path, output_path):
    meta = read_meta(job)
    base = look(job.base_path, job.options.allow_pickle)
    task_of(base, meta["task"], len(meta["labels"]))
    models.quiet()
    with tempfile.TemporaryDirectory(prefix="kolm-model-") as scratch:
        answerer = MlxAnswerer(job, meta, base, scratch)
    count = stream(answerer, meta, input_path, output_path)
    events.result({"answers": count, "device": _device(answerer.mx)})
