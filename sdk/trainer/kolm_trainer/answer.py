# SPDX-License-Identifier: Apache-2.0
"""The verb infer: reads questions and writes answers in the same order, without waiting for questions that have not arrived yet."""

import json
import math
import os
import select
import tempfile

from . import devices, events, model as models
from .base import look
from .encode import Rendering, question_of, shortened
from .errors import DATA_LOSS, INVALID_ARGUMENT, TrainerError, cancelled
from .context import context_of
from .steps import choices, padded

_BATCH = 64           # rows answered together
_BATCH_TOKENS = 16384


class Lines:
    """The lines of a file or pipe, in batches of those that are already available."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)
        self.rest, self.ended = b"", False
        self.poll = select.poll()
        self.poll.register(self.fd, select.POLLIN | select.POLLHUP)

    def _fill(self, timeout):
        """Reads what is available. Returns True if something was read, or the end was reached."""
        if self.ended or not self.poll.poll(timeout):
            return False
        block = os.read(self.fd, 1 << 20)
        self.ended = not block
        self.rest += block
        return True

    def batch(self, most):
        """Returns up to `most` lines: waits for the first, and adds others only if they are already available. Skips empty
        lines; [] means the end."""
        while self.rest or not self.ended:
            if lines := self._take(most):
                return lines
        return []

    def _take(self, most):
        while b"\n" not in self.rest and not self.ended:
            if events.stopping():
                raise cancelled()
            self._fill(200)
        while self.rest.count(b"\n") < most and self._fill(0):
            pass
        lines = self.rest.split(b"\n")
        if self.ended and len(lines) <= most:
            self.rest = b""
            return [line for line in lines if line]
        taken = min(most, len(lines) - 1)
        self.rest = b"\n".join(lines[taken:])
        return [line for line in lines[:taken] if line]


class Trie:
    """The labels as token sequences: which tokens may come next. depth: the number of tokens of the longest."""

    def __init__(self, sequences):
        self.root, self.depth = {}, 0
        for label, ids in sequences:
            node = self.root
            for token in ids:
                node = node.setdefault(token, {})
            node[None] = label
            self.depth = max(self.depth, len(ids))

    @staticmethod
    def forced(node):
        """Returns the label if only one is left below node, else None."""
        while True:
            if len(node) != 1:
                return None
            token, node = next(iter(node.items()))
            if token is None:
                return node


class Ids(list):
    """The tokens of a text, and their types unless all are zero."""

    types = None


class Answerer:
    """A loaded model. answer(inputs) returns (output, confidence) for each."""

    def __init__(self, job, meta, unit, scratch):
        self.unit, self.meta = unit, meta
        base = look(job.base_path, job.options.allow_pickle)
        base.tell()
        models.unpack(job, scratch)
        self.tokenizer = models.load_tokenizer(scratch)
        self.labels = self.meta["labels"]
        full = self.meta["method"] == "full"
        source = look(scratch) if full else base
        model, _ = models.load_base(source, self.meta["task"], unit, self.tokenizer.pad_token_id, len(self.labels),
                                    self.meta["four_bit"])
        self.model = model if full else models.load_adapter(model, scratch)
        # The answer must fit in the context, too.
        self.limit = self.meta.get("context") or context_of(base.config, self.tokenizer)
        self.cut = 0
        if self.meta["task"] == "causal":
            self.limit = max(8, self.limit - self.meta["max_new_tokens"])
            self.rendering = Rendering(self.tokenizer, self.meta["template"], self.meta["system"])
            self.trie = self._trie()

    def _trie(self):
        if not self.labels:
            return None
        return Trie(zip(self.labels, self.rendering.completions([""] * len(self.labels), self.labels)))

    # ---- Prompts

    def _ids(self, inputs):
        if self.meta["task"] == "causal":
            return self.rendering.prompts(inputs)
        found = self.tokenizer([str(text) for text in inputs], verbose=False)
        rows = [Ids(ids) for ids in found["input_ids"]]
        for row, types in zip(rows, found.get("token_type_ids", ())):
            row.types = types if any(types) else None
        return rows

    def prompts(self, inputs):
        """Returns token ids. Inputs that do not fit are truncated, and counted."""
        out = self._ids(inputs)
        for at, ids in enumerate(out):
            text = inputs[at]
            if len(ids) > self.limit:
                self.cut += 1
            while len(ids) > self.limit and text:
                text = shortened(text, min(0.95, self.limit / len(ids)))
                ids = self._ids([text])[0]
            out[at] = ids
        return out

    # ---- Answers

    def answer(self, inputs):
        """Returns the answers, in the order of the inputs. Rows of similar length are answered together."""
        prompts = self.prompts(inputs)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        answers = [None] * len(prompts)
        group = []
        for i in order:
            if group and len(prompts[i]) * (len(group) + 1) > _BATCH_TOKENS:
                self._answer_group(prompts, group, answers)
                group = []
            group.append(i)
        if group:
            self._answer_group(prompts, group, answers)
        return answers

    def _answer_group(self, prompts, group, answers):
        with self.unit.without_gradients():
            do = self._classify if self.meta["task"] == "classify" else self._write
            for i, found in zip(group, do([prompts[i] for i in group])):
                answers[i] = found

    def _classify(self, prompts):
        types = [row.types or [0] * len(row) for row in prompts] if any(row.types for row in prompts) else None
        share = choices(self.model, prompts, types, self.tokenizer.pad_token_id or 0, self.meta.get("padding", "right"),
                        self.unit.torch).softmax(-1)
        best = share.max(-1)
        return [(self.labels[i], float(p)) for i, p in zip(best.indices.tolist(), best.values.tolist())]

    def _write(self, prompts):
        """Decodes greedily. With labels, the probability of a token is relative to that of all tokens that may follow."""
        import torch

        ids, mask = (t.to(self.unit.torch) for t in padded(prompts, self.tokenizer.pad_token_id or 0, left=True))
        texts = [Text(self.trie.root if self.trie else None, self.tokenizer.eos_token_id) for _ in prompts]
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        past = None
        for _ in range(self.trie.depth if self.trie else self.meta["max_new_tokens"]):  # labels are never truncated
            arguments = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "use_cache": True}
            out = self.model(**arguments, past_key_values=past, logits_to_keep=1)
            past, logits = out.past_key_values, out.logits[:, -1].float()
            chosen = self._extend(texts, logits)
            if all(text.done for text in texts):
                break
            ids = torch.tensor(chosen, device=self.unit.torch).unsqueeze(1)
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
            positions = positions[:, -1:] + 1
        return [text.finish(self.tokenizer) for text in texts]

    def _extend(self, texts, logits):
        if self.trie is not None:
            rows = logits.cpu()
            return [text.choose(lambda token, row=row: float(row[token])) for text, row in zip(texts, rows)]
        best = logits.log_softmax(-1).max(-1)
        return [text.add(*pair) for text, pair in zip(texts, zip(best.indices.tolist(), best.values.tolist()))]


class Text:
    """An answer while it is decoded. node: its position in the trie of labels, or None if any token may follow."""

    def __init__(self, node, end):
        self.node, self.end, self.ids, self.log_probability = node, end, [], 0.0
        self.done, self.label = False, None

    def add(self, token, log_probability):
        """Appends the most likely token, if any may follow. Returns the token to feed next."""
        if self.done:
            return self.end
        self.log_probability += log_probability
        self.done = token == self.end
        if not self.done:
            self.ids.append(token)
        return token

    def choose(self, logit):
        """Appends the most likely of the tokens that lead to a label; logit(token) returns its score. Returns the token to
        feed next."""
        if self.done:
            return self.end
        allowed = sorted(t for t in self.node if t is not None)
        if not allowed:
            self.label, self.done = self.node[None], True
            return self.end
        scores = [logit(token) for token in allowed]
        best = max(scores)
        self.log_probability -= math.log(sum(math.exp(score - best) for score in scores))
        chosen = allowed[scores.index(best)]
        self.node = self.node[chosen]
        self.label = Trie.forced(self.node)
        self.done = self.label is not None
        return chosen

    def finish(self, tokenizer):
        """Returns (output, confidence): for a label its probability among the labels, for a text the geometric mean of its
        tokens' probabilities."""
        if self.label is not None:
            return self.label, math.exp(self.log_probability)
        words = max(1, len(self.ids))
        return tokenizer.decode(self.ids, skip_special_tokens=True).strip(), math.exp(self.log_probability / words)


def _question(line, number):
    try:
        row = json.loads(line)
        if not isinstance(row["id"], str):
            raise TypeError
        return row["id"], question_of(row, False)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise TrainerError(DATA_LOSS, f"input line {number} is not a question",
                           "each line must be {\"id\",\"input\"}, optionally with \"messages\" and \"tools\"") from None


def _row(identity, output, confidence, abstain):
    share = round(confidence, 4)
    if confidence < abstain:
        return {"id": identity, "output": None, "confidence": share, "best": output}
    return {"id": identity, "output": output, "confidence": share}


def read_meta(job):
    meta = models.read_meta(job)
    if meta.get("format") != 1:
        raise TrainerError(INVALID_ARGUMENT, "the artifact was made by a newer trainer", "install a newer kolm")
    return meta


def stream(answerer, meta, input_path, output_path):
    """Answers all questions in input_path. Returns the number of answers."""
    lines, count = Lines(input_path), 0
    with open(output_path, "w", encoding="utf-8", newline="\n") as out:
        while batch := lines.batch(_BATCH):
            if events.stopping():
                raise cancelled()
            questions = [_question(line, count + i + 1) for i, line in enumerate(batch)]
            for (identity, _), (output, share) in zip(questions, answerer.answer([q[1] for q in questions])):
                row = _row(identity, output, share, meta["abstain"])
                out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
            out.flush()
            count += len(batch)
            events.progress("answering", count, None)
    if answerer.cut:
        events.log("warning", f"{answerer.cut} inputs are longer than the context of the base and were truncated")
    return count


def run(job, device_name, threads, input_path, output_path):
    device = devices.find(device_name)
    meta = read_meta(job)
    look(job.base_path, job.options.allow_pickle)
    models.quiet()
    unit = devices.Unit(device, meta["dtype"] if meta["dtype"] == "fp32" else "auto", True, threads)
    with tempfile.TemporaryDirectory(prefix="kolm-model-") as scratch:
        answerer = Answerer(job, meta, unit, scratch)
    count = stream(answerer, meta, input_path, output_path)
    events.result({"answers": count, "device": unit.describe()})
