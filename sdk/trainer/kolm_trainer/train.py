# SPDX-License-Identifier: Apache-2.0
"""The verb train: makes an adapter from a job directory. It has its own training loop, so that runs can be resumed and reproduced."""

import math
import os
import platform
import time

from . import VERSION, batches, checkpoint, devices, events, job as jobs, model as models
from .base import look, task_of
from .context import context_of, measured_context
from .encode import Rendering, encode_causal, encode_classify, longer_remedy
from .errors import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, TrainerError, cancelled
from .steps import Work, bytes_per_token, padding_of

_EPOCHS = {"causal": {"quick": 1.0, "normal": 3.0, "high": 6.0}, "classify": {"quick": 4.0, "normal": 10.0, "high": 20.0}}
_RATES = {("causal", "full"): 2e-5, ("classify", "full"): 5e-5, ("classify", "lora"): 7e-4}
_SMALL_ENCODER, _SMALL_RATE = 512, 2e-3  # up to that many hidden units, LoRA of a classifier needs a higher learning rate
_MICRO_TOKENS = {"cpu": 4096}  # larger parts are not faster there
_MICRO_TOKENS_DEFAULT = 32768
_CHECKPOINT_SECONDS = 60


class Group:
    """The processes of one training, one for each device: sums gradients over them. Does nothing if there is only one."""

    def __init__(self, device):
        self.size, self.rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        if self.size > 1:
            import torch.distributed

            torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")

    @property
    def first(self):
        return self.rank == 0

    def share(self, rows):
        return rows[self.rank::self.size]

    def sum(self, parameters, numbers):
        """Sums gradients over the group in place. Returns the sums of numbers."""
        if self.size == 1:
            return numbers
        import torch

        flat = [p.grad.reshape(-1).float() for p in parameters]
        extra = torch.tensor(numbers, dtype=torch.float32, device=parameters[0].device)
        all_ = torch.cat([*flat, extra])
        torch.distributed.all_reduce(all_)
        at = 0
        for p in parameters:
            p.grad.copy_(all_[at:at + p.numel()].view_as(p.grad))
            at += p.numel()
        return all_[at:].tolist()

    def close(self):
        if self.size > 1:
            import torch.distributed

            torch.distributed.destroy_process_group()


class Training:
    def __init__(self, job, device_name, threads):
        self.began = time.monotonic()
        self.job, self.options = job, job.options
        self.device = devices.find(device_name)
        self.base = look(job.base_path, self.options.allow_pickle)
        self.task = task_of(self.base, self.options.task, job.labels)
        self.method = self.options.method
        self.threads = threads
        self.group = None

    # ---- Preparation

    def prepare(self):
        self.base.tell()
        self._check_target()
        self.unsloth = models.wants_unsloth(self.options, self.device.name, self.task, self.base)
        if self.unsloth:
            import unsloth  # noqa: F401  (it patches transformers, so must be imported first)
        import torch  # noqa: F401  (imported late, so that errors in a base are reported within milliseconds)

        models.quiet()
        self.group = Group(self.device.name)
        self.unit = devices.Unit(self.device, self.options.dtype, self.options.deterministic, self.threads, self.group.rank)
        self.tokenizer = models.load_tokenizer(self.base.path)
        self.labels = label_set(self.job)
        self._encode()
        self._load()
        self._look_at_the_base()
        self._plan()

    def _check_target(self):
        if self.job.target_accuracy and self.task != "classify":
            raise TrainerError(UNIMPLEMENTED, "--target-accuracy is for bases that classify: the accuracy of generated texts is not "
                               "known during training", "use --abstain P")
        if self.job.balanced and self.job.labels == 0:
            raise TrainerError(INVALID_ARGUMENT, "--class-weight balanced weights labels, and the outputs do not form a closed set of labels",
                               "omit it, or use data with fewer different outputs")
        if self.job.target_accuracy and self.options.valid == 0:
            raise TrainerError(INVALID_ARGUMENT, "--target-accuracy is measured on the validation rows, and with valid=0 there are none",
                               "leave valid at its default, or use --abstain P")

    def _encode(self):
        events.progress("reading", 0, None)
        self.context = context_of(self.base.config, self.tokenizer)
        self.max_length = self._max_length()
        if len(self.labels) == 1:
            raise TrainerError(INVALID_ARGUMENT, "all training rows have the same output, so there is nothing to learn",
                               "add rows with at least one other output")
        self._encode_rows()
        if self.rows.empty:
            events.log("warning", f"{self.rows.empty} rows have an empty output and are left out")

    def _encode_rows(self):
        numbers = {label: i for i, label in enumerate(self.labels)}
        if self.task == "classify":
            self.rendering = None
            self.rows = encode_classify(self.job.rows(), self.tokenizer, numbers, self.max_length, self.context)
        else:
            if self.tokenizer.eos_token_id is None:
                raise TrainerError(INVALID_ARGUMENT, "the tokenizer of the base has no end-of-sequence token",
                                   "set eos_token in its tokenizer_config.json")
            self.rendering = Rendering.choose(self.tokenizer, self.options.template, self.options.system)
            self.rows = encode_causal(self.job.rows(), self.rendering, self.max_length, numbers, self.context)
        if self.rows.too_long:
            events.log("warning", f"{self.rows.too_long} rows are longer than {self.max_length} tokens and are left out; "
                       + longer_remedy(self.rows.longest, self.max_length, self.context))
        events.metric("trainer.rows_too_long", self.rows.too_long)

    def _max_length(self):
        most = self.context
        if self.options.max_length == "auto":
            return min(most, 2048)
        if self.options.max_length > most:
            raise TrainerError(INVALID_ARGUMENT, f"max_length={self.options.max_length} is more than the {most} tokens of the base",
                               f"use at most {most}")
        return self.options.max_length

    def _load(self):
        events.progress("loading", 0, None)
        if self.unsloth:
            self.model = models.load_unsloth(self.base, self.options, self.unit, self.max_length, self.job.seed, self.job.base_name)
            self.base_parameters = models.parameter_count(self.model)
            return self._ready()
        model, head = models.load_base(self.base, self.task, self.unit, self.tokenizer.pad_token_id, len(self.labels),
                                       self.method == "qlora")
        self.base_parameters = models.parameter_count(model)
        if self.method == "full":
            self.model = model.float()
            for parameter in self.model.parameters():
                parameter.requires_grad_(True)
        else:
            self.model = models.add_adapter(model, self.task, self.options, self.job.seed, self.job.base_name, head)
        self._ready()

    def _ready(self):
        self.parameters = models.trainable(self.model)
        self._make_work()
        if self.options.gradient_checkpointing == "on":
            self._checkpoint_gradients()

    def _make_work(self):
        self.work = Work(self.task, self.model, self.rows, self.unit, self.tokenizer.pad_token_id or 0)

    def _look_at_the_base(self):
        """Determines what is only known of a loaded base: how many positions it has, and its padding side."""
        models.check_vocabulary(self.model, self.rows.ids)
        self.model.eval()
        with self._autocast():
            found = measured_context(self.model, self.tokenizer, self.unit)
        if found is not None and found < self.context:
            self.context = found
            if self.options.max_length == "auto" or self.options.max_length > found:
                self.max_length = self._max_length()
                self._encode_rows()
                self._make_work()
        if self.task == "classify":
            with self._autocast():
                self.work.padding = padding_of(self.work)
            models.prepare_tokenizer(self.tokenizer, self.model, self.work.padding)
            if self.work.padding == "none":
                events.log("info", "padding changes this base's answers: only rows of equal length form a batch")

    def _checkpoint_gradients(self):
        self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.recomputing = True

    recomputing = False

    def _plan(self):
        o, count = self.options, len(self.rows)
        self.train_rows, self.valid_rows = batches.split_valid(count, o.valid, self.job.seed)
        self.batch = o.batch if o.batch != "auto" else max(1, min(16, len(self.train_rows) // 8))
        self.batch = min(self.batch, len(self.train_rows))
        self.steps_per_epoch = -(-len(self.train_rows) // self.batch)
        epochs = _EPOCHS[self.task][self.job.effort] if o.epochs == "auto" else o.epochs
        self.total = max(1, math.ceil(self.steps_per_epoch * epochs))
        self.evaluate_every = max(1, self.steps_per_epoch // 2)
        if self.job.balanced:
            self.work.weights = balanced_weights([self.rows.labels[i] for i in self.train_rows], len(self.labels))
        rate = _RATES.get((self.task, "full" if self.method == "full" else "lora"), 2e-4)
        if self.task == "classify" and self.method != "full" and self.base.config.get("hidden_size", 1024) <= _SMALL_ENCODER:
            rate = _SMALL_RATE
        self.rate = rate if o.learning_rate == "auto" else o.learning_rate
        self._fit_memory()

    def _fit_memory(self):
        """Estimates how many tokens fit in memory at once; train_step halves the number if memory runs out."""
        targets = 0 if self.task == "classify" else self.rows.targets / max(1, len(self.rows.ids))
        width = 4 if self.unit.dtype_name == "fp32" else 2
        each = bytes_per_token(self.model.config, self.task, width, targets)
        states = sum(p.numel() for p in self.parameters.values()) * 12  # gradients and two moments
        room = max(0, self.unit.free_bytes() - states) * 0.7
        longest = max(self.work.lengths)
        if room < longest * each and self.options.gradient_checkpointing == "auto" and not self.recomputing:
            self._checkpoint_gradients()
            events.log("info", "memory is low: activations are recomputed")
        if self.recomputing:
            each /= 8
        self.token_limit = int(min(_MICRO_TOKENS.get(self.device.name, _MICRO_TOKENS_DEFAULT), max(longest, room / each)))

    # ---- The loop

    def rate_at(self, step):
        """Returns the learning rate of a step, counted from 0."""
        warm = math.ceil(self.total * self.options.warmup)
        if step < warm:
            return self.rate * (step + 1) / warm
        if self.options.schedule == "constant":
            return self.rate
        done = (step - warm) / max(1, self.total - warm)
        return self.rate * (1 - done if self.options.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))

    def start(self):
        import torch

        matrices = [p for p in self.parameters.values() if p.ndim > 1]
        others = [p for p in self.parameters.values() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": self.options.weight_decay}]
        if others:
            groups.append({"params": others, "weight_decay": 0.0})
        fused = self.device.name in ("cpu", "cuda", "rocm")
        self.optimizer = torch.optim.AdamW(groups, lr=self.rate, fused=fused)
        self.scaler = torch.amp.GradScaler(self.unit.torch.type) if self.unit.dtype_name == "fp16" else None
        self.step, self.best, self.best_step, self.since_best = 0, None, 0, 0
        self.best_loss = self.best_right = None
        self.evaluated = 0
        self.fingerprint = self.job.fingerprint(VERSION, torch.__version__, self.device.name, self.method)
        self._resume()

    def _resume(self):
        import torch

        found = checkpoint.load(self.job.path("checkpoint"), self.fingerprint)
        if found is None or not self._whole(*found):
            return
        state, tensors = found
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors["now." + name])
                if "first." + name in tensors:
                    self.optimizer.state[parameter] = {
                        "step": torch.tensor(float(state["step"]), dtype=torch.float32,
                                             device=parameter.device if self.device.name in ("cuda", "rocm") else "cpu"),
                        "exp_avg": tensors["first." + name].to(parameter.device),
                        "exp_avg_sq": tensors["second." + name].to(parameter.device)}
        if any(name.startswith("best.") for name in tensors):
            self.best = {name: tensors["best." + name] for name in self.parameters}
        self.step, self.best_step, self.since_best = state["step"], state["best_step"], state["since_best"]
        self.best_loss, self.best_right, self.evaluated = state["best_loss"], state["best_right"], state["evaluated"]
        if self.scaler is not None and state.get("scale"):
            self.scaler.load_state_dict(state["scale"])
        events.log("info", f"continuing from step {self.step} of {self.total}")

    def _whole(self, state, tensors):
        """True if a checkpoint of this job is complete; damaged ones are ignored."""
        if not isinstance(state, dict) or not {"step", "evaluated", "best_step", "since_best", "best_loss", "best_right"} <= state.keys():
            return False
        kinds = {kind: [tensors.get(kind + name) for name in self.parameters] for kind in ("now.", "first.", "second.", "best.")}
        shapes = [p.shape for p in self.parameters.values()]
        if any(t is not None and t.shape != shape for found in kinds.values() for t, shape in zip(found, shapes)):
            return False
        absent = {kind: [t is None for t in found] for kind, found in kinds.items()}
        return not any(absent["now."]) and absent["first."] == absent["second."] and any(absent["best."]) == all(absent["best."])

    def save_checkpoint(self):
        if not self.group.first:
            return
        tensors = {}
        for name, parameter in self.parameters.items():
            tensors["now." + name] = parameter
            state = self.optimizer.state.get(parameter)
            if state:
                tensors["first." + name], tensors["second." + name] = state["exp_avg"], state["exp_avg_sq"]
            if self.best is not None:
                tensors["best." + name] = self.best[name]
        state = {"step": self.step, "evaluated": self.evaluated, "best_step": self.best_step, "since_best": self.since_best,
                 "best_loss": self.best_loss, "best_right": self.best_right,
                 "scale": self.scaler.state_dict() if self.scaler else None}
        checkpoint.save(self.job.path("checkpoint"), self.fingerprint, state, tensors)
        self.saved_at = time.monotonic()

    def _autocast(self):
        import contextlib
        import torch

        if self.unit.dtype_name == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.unit.torch.type, dtype=self.unit.dtype)

    def _gradients(self, rows, targets):
        """Accumulates the gradients of rows, as if they were one batch of `targets` targets. Returns the loss."""
        parts = None if self.options.accumulation == "auto" else self.options.accumulation
        loss_sum = None
        for part in batches.cut(rows, self.work.lengths, self.token_limit, parts):
            with self._autocast():
                loss, _ = self.work.forward(part)
            share = loss / targets
            (self.scaler.scale(share) if self.scaler else share).backward()
            loss_sum = share.detach() if loss_sum is None else loss_sum + share.detach()
        return float(loss_sum) if loss_sum is not None else 0.0

    def _compute(self, rows, targets):
        """Calls _gradients, and again with fewer tokens at once if memory runs out. Discards the gradients of failed attempts."""
        import torch

        while True:
            # Each step has its own seed, so that it gives the same result when it is retried, or after a resume.
            torch.manual_seed((self.job.seed * 1_000_003 + self.step) % (1 << 63))
            self.optimizer.zero_grad(set_to_none=True)
            try:
                loss = self._gradients(rows, targets)
                for parameter in self.parameters.values():
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
                return loss
            except ValueError as e:
                raise TrainerError(INVALID_ARGUMENT, f"the base cannot be trained on texts of these lengths: {models.first_line(e)}",
                                   "use another base") from None
            except (RuntimeError, MemoryError) as e:
                if not devices.out_of_memory(e):
                    raise
            self.optimizer.zero_grad(set_to_none=True)
            self.unit.give_back()
            self._ask_for_less(rows)

    def _ask_for_less(self, rows):
        longest = max(self.work.lengths[i] for i in rows)
        if self.options.accumulation == "auto" and self.token_limit > longest and len(rows) > 1:
            self.token_limit = max(longest, min(self.token_limit, self.work.tokens(rows)) // 2)
            events.log("info", f"memory ran out: continuing with {self.token_limit} tokens at once")
        elif not self.recomputing and self.options.gradient_checkpointing == "auto":
            self._checkpoint_gradients()
            events.log("info", "memory ran out: continuing with recomputed activations")
        else:
            self.save_checkpoint()
            raise TrainerError(RESOURCE_EXHAUSTED,
                               f"the {self.device.name} device has too little memory for rows of {longest} tokens with this base"
                               f" (step {self.step + 1} of {self.total})",
                               "use --set max_length=N with a smaller N, --set method=qlora where 4-bit arithmetic is available, a "
                               "smaller base, or a backend with more memory (kolm compute pick --min-vram)")

    def train_step(self, rows):
        import torch

        targets = self.work.targets(rows)
        loss = self._compute(self.group.share(rows), targets)
        parameters = list(self.parameters.values())
        loss, stop = self.group.sum(parameters, [loss, 1.0 if events.stopping() else 0.0])
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_at(self.step)
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        if self.options.max_grad_norm > 0:
            torch.nn.utils.clip_grad_norm_(parameters, self.options.max_grad_norm)
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        self.step += 1
        return loss, stop > 0

    def evaluate(self):
        if not self.valid_rows:
            return
        self.model.eval()
        total = right = 0
        with self.unit.without_gradients(), self._autocast():
            for part in batches.cut(self.valid_rows, self.work.lengths, self.token_limit):
                loss, hits = self.work.forward(part)
                total, right = total + float(loss), right + hits
        self.model.train()
        loss = total / self.work.targets(self.valid_rows)
        events.metric("valid.loss", loss)
        if self.best_loss is None or loss < self.best_loss:
            self.best_loss, self.best_right, self.best_step, self.since_best = loss, right, self.step, 0
            self.best = {name: p.detach().to("cpu", copy=True) for name, p in self.parameters.items()}
        else:
            self.since_best += 1

    def loop(self):
        """Runs the remaining steps. Returns True if it ended early because the loss did not improve."""
        self.start()
        self.model.train()
        began, tokens, rate = time.monotonic(), 0, None
        self.saved_at = began
        events.metric("trainer.setup_seconds", began - self.began)
        order, epoch = None, None
        while not self._evaluated_enough() and self.step < self.total:
            if self.step // self.steps_per_epoch != epoch:
                epoch = self.step // self.steps_per_epoch
                order = batches.epoch_batches(self.work.lengths, self.train_rows, self.batch, self.job.seed, epoch)
            rows = order[self.step % self.steps_per_epoch]
            loss, stop = self.train_step(rows)
            tokens += self.work.tokens(rows)
            rate = tokens / max(1e-9, time.monotonic() - began)
            events.progress("training", self.step, self.total, loss, rate)
            self._check_loss(loss)
            if stop or (self.step < self.total and time.monotonic() - self.saved_at > _CHECKPOINT_SECONDS):
                self.save_checkpoint()
            if stop:
                raise cancelled()
        self._tell_speed(began, rate)
        return self.step < self.total

    def _evaluated_enough(self):
        """Evaluates if an evaluation is due, possibly one that a checkpoint preceded. Returns True if the loss does not improve."""
        last = self.step == self.total
        if self.evaluated != self.step and (last or self.step % self.evaluate_every == 0):
            self.evaluate()
            self.evaluated = self.step
        return not last and bool(self.options.patience) and self.since_best >= self.options.patience

    def _check_loss(self, loss):
        if self.scaler is None and not math.isfinite(loss):
            raise TrainerError(INVALID_ARGUMENT, f"the loss is not finite at step {self.step} of {self.total}",
                               "use --set learning_rate=N with a smaller N, or --set dtype=fp32")

    def _tell_speed(self, began, rate):
        if rate is not None:
            events.metric("trainer.tokens_per_second", rate)
        events.metric("trainer.loop_seconds", time.monotonic() - began)
        events.metric("trainer.peak_memory_bytes", self.unit.peak_bytes())

    # ---- The result

    def keep(self, early):
        """Writes the best weights to model/ and the report to result.json, and removes the checkpoint."""
        import torch

        if self.best is not None:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(self.best[name])
        if not self.group.first:
            return
        self.abstain = self._threshold() if self.job.target_accuracy else self.job.abstain
        models.save(self.model, self.method, self.tokenizer, self.meta(), self.job.path("model"))
        jobs.write_json(self.job.path("result.json"), {"format": 1, "toolchain": self.toolchain(), "report": self.report(early)})
        checkpoint.remove(self.job.path("checkpoint"))

    def _threshold(self):
        """Returns the lowest threshold with which the answers to the validation rows reach the target accuracy."""
        if not self.valid_rows:
            raise TrainerError(INVALID_ARGUMENT, "--target-accuracy needs at least 80 training rows, because it is measured on a tenth of them",
                               "provide more rows, or use --abstain P")
        self.model.eval()
        seen = []
        with self.unit.without_gradients(), self._autocast():
            for part in batches.cut(self.valid_rows, self.work.lengths, self.token_limit):
                best = self.work.shares(part).max(-1)
                seen += [(share, self.rows.labels[i] == label)
                         for i, share, label in zip(part, best.values.tolist(), best.indices.tolist())]
        return threshold_for(seen, self.job.target_accuracy)

    def meta(self):
        """What inference needs to know; stored in the artifact."""
        longest = math.ceil(1.5 * self.rows.longest_completion)
        return {"format": 1, "task": self.task, "method": self.method, "labels": self.labels, "max_length": self.max_length,
                "context": self.context, "padding": self.work.padding,
                "base": {"name": self.job.base_name, "digest": self.job.base_digest}, "abstain": self.abstain,
                "template": self.rendering.template if self.rendering else None,
                "system": self.rendering.system if self.rendering else "",
                "max_new_tokens": longest if self.options.max_new_tokens == "auto" else self.options.max_new_tokens,
                "dtype": self.unit.dtype_name, "four_bit": self.method == "qlora"}

    def toolchain(self):
        import peft
        import torch
        import transformers

        return (f"kolm_trainer {VERSION}, torch {torch.__version__}, transformers {transformers.__version__}, "
                f"peft {peft.__version__}, python {platform.python_version()}, {self.unit.toolchain_words()}"
                + (f", {self.group.size} processes" if self.group.size > 1 else ""))

    def report(self, early):
        micro = lambda value: None if value is None else round(value * 1e6)
        right = None
        if self.task == "classify" and self.best_right is not None:
            right = micro(self.best_right / len(self.valid_rows))
        passes = 1.0 if self.task == "classify" else self.rows.targets / len(self.rows)
        return {"task": self.task, "method": self.method, "labels": self.labels, "base_parameters": self.base_parameters,
                "trained_parameters": sum(p.numel() for p in self.parameters.values()), "rows": len(self.train_rows),
                "valid_rows": len(self.valid_rows), "rows_too_long": self.rows.too_long, "rows_empty": self.rows.empty,
                "tokens": len(self.rows.ids), "targets": self.rows.targets, "steps": self.step, "steps_planned": self.total,
                "best_step": self.best_step if self.best is not None else self.step, "stopped_early": early,
                "valid_loss_micro": micro(self.best_loss), "valid_accuracy_micro": right, "batch": self.batch,
                "learning_rate": f"{self.rate:g}", "passes_per_answer_micro": micro(passes),
                "dtype": self.unit.dtype_name, "deterministic": self.options.deterministic and self.device.repeats,
                **({"class_weight": "balanced"} if self.job.balanced else {})}


def threshold_for(seen, target):
    """seen: (confidence, whether the answer was correct). Returns a number above 1 if no threshold reaches the target: then
    all answers are withheld."""
    right, best = 0, 1.0001
    for count, (confidence, hit) in enumerate(sorted(seen, key=lambda pair: -pair[0]), 1):
        right += hit
        if right / count >= target:
            best = confidence
    return best


def label_set(job):
    """Returns the outputs if they form a closed set. Rows with an empty output are left out, so that is not a label."""
    return sorted({output for _, _, output in job.rows() if output.strip()}) if job.labels else []


def balanced_weights(labels, count):
    """Returns the weight of each of count labels in the loss: n / (k * n_label) for n rows with k different labels, so that
    all labels have the same total weight and the mean weight is 1. (King and Zeng 2001, "Logistic Regression in Rare Events
    Data", weight by the share in the population over that in the sample, here with all labels equally frequent;
    scikit-learn's "balanced" is the same.) A label without a row gets the weight 0."""
    counts = [0] * count
    for label in labels:
        counts[label] += 1
    present = sum(n > 0 for n in counts)
    return [len(labels) / (present * n) if n else 0.0 for n in counts]


def run(job, device_name, threads):
    training = Training(job, device_name, threads)
    try:
        training.prepare()
        early = training.loop()
        events.progress("saving", 0, None)
        training.keep(early)
        events.metric("trainer.total_seconds", time.monotonic() - training.began)
        if training.group.first:
            events.result({"device": training.unit.describe(), "toolchain": training.toolchain()})
    finally:
        if training.group is not None:
            training.group.close()
