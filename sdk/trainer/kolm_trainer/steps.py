# SPDX-License-Identifier: Apache-2.0
"""What a step computes: rows as tensors, the loss summed over their targets, and an estimate of the memory needed."""

import inspect


def padded(rows, pad, left):
    """Returns (ids, mask) of token sequences. Causal models are padded on the left, so that all completions end in the same
    column and only the last columns need logits; encoders on the right, because they use their first token."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[at, place] = torch.tensor(row, dtype=torch.long)
        mask[at, place] = 1
    return ids, mask


def choices(model, rows, types, pad, padding, device):
    """Returns the logits of a classification model for token sequences, in fp32.

    types: token type ids of each row, or None. padding: the side on which padding does not change the model's answers
    ("right" or "left"); "none" if it does on both: then only rows of equal length form a batch."""
    import torch

    groups = {0: range(len(rows))}
    if padding == "none":
        groups = {}
        for at, row in enumerate(rows):
            groups.setdefault(len(row), []).append(at)
    parts, order = [], []
    for group in groups.values():
        ids, mask = padded([rows[i] for i in group], pad, padding == "left")
        arguments = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        if types is not None:
            arguments["token_type_ids"] = padded([types[i] for i in group], 0, padding == "left")[0].to(device)
        parts.append(model(**arguments).logits.float())
        order.extend(group)
    if len(parts) == 1:
        return parts[0]
    back = sorted(range(len(order)), key=order.__getitem__)
    return torch.cat(parts)[torch.tensor(back, device=device)]


class Work:
    """Computes the loss of rows of an encoded set. task: "causal" or "classify". padding: see choices."""

    weights = None  # of each label in the loss, as a list; None: all equal

    def __init__(self, task, model, rows, unit, pad, padding="right"):
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        names = inspect.signature(inner.forward).parameters
        self.task, self.model, self.rows, self.unit, self.pad, self.padding = task, model, rows, unit, pad, padding
        self.takes_positions = task == "causal" and "position_ids" in names
        self.takes_keep = "logits_to_keep" in names
        self.lengths = [rows.length(i) for i in range(len(rows))]

    def targets(self, part):
        """Returns the number of target tokens (or labels) of rows: the divisor of the loss."""
        if self.task == "classify":
            return len(part)
        return sum(self.lengths[i] - self.rows.prompts[i] for i in part)

    def tokens(self, part):
        return sum(self.lengths[i] for i in part)

    def _choices(self, part):
        types = None if self.rows.types is None else [self.rows.types_of(i) for i in part]
        return choices(self.model, [self.rows.tokens(i) for i in part], types, self.pad, self.padding, self.unit.torch)

    def _weights(self, part):
        """Returns the weight of each row, in fp32; None: all equal."""
        import torch

        if self.weights is None:
            return None
        return torch.tensor([self.weights[self.rows.labels[i]] for i in part], device=self.unit.torch)

    def shares(self, part):
        """Returns the probability of each label, for classify."""
        return self._choices(part).softmax(-1)

    def forward(self, part):
        """Returns (sum of the losses of the targets, number of correct answers); the latter only for classify, else 0."""
        import torch
        from torch.nn import functional

        device, weights = self.unit.torch, self._weights(part)
        if self.task == "classify":
            logits = self._choices(part)
            wanted = torch.tensor([self.rows.labels[i] for i in part], device=device)
            right = int((logits.argmax(-1) == wanted).sum())
            if weights is None:
                return functional.cross_entropy(logits, wanted, reduction="sum"), right
            return (functional.cross_entropy(logits, wanted, reduction="none") * weights).sum(), right
        ids, mask = padded([self.rows.tokens(i) for i in part], self.pad, left=True)
        arguments = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        if self.takes_positions:
            arguments["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0).to(device)
        longest = max(self.lengths[i] - self.rows.prompts[i] for i in part)
        wanted = torch.full((len(part), longest), -100, dtype=torch.long)
        for at, i in enumerate(part):
            count = self.lengths[i] - self.rows.prompts[i]
            wanted[at, longest - count:] = ids[at, ids.shape[1] - count:]
        if self.takes_keep:
            arguments["logits_to_keep"] = longest + 1
        logits = self.model(**arguments, use_cache=False).logits[:, -(longest + 1):-1].float()
        flat = (logits.reshape(-1, logits.shape[-1]), wanted.to(device).reshape(-1))
        if weights is None:
            return functional.cross_entropy(*flat, ignore_index=-100, reduction="sum"), 0
        losses = functional.cross_entropy(*flat, ignore_index=-100, reduction="none").view(len(part), -1)
        return (losses.sum(-1) * weights).sum(), 0


def padding_of(work):
    """Returns the padding side of a classification model, as for choices: the one where a text in a batch gets the same answer
    as alone. It is the right for most; the left for models that use their last token (XLNet); and neither for those without
    an attention mask (FNet).

    Runs the model on a few rows of different lengths, one by one and as a batch. Rounding may change their logits, by at
    most a share of the spread of the logits."""
    import torch

    by_length = {length: i for i, length in enumerate(work.lengths)}
    lengths = sorted(by_length)
    some = [by_length[lengths[at * (len(lengths) - 1) // 7]] for at in range(8)] if len(lengths) > 8 else list(by_length.values())
    rounding = 0.02 if work.unit.dtype_name == "fp32" else 0.3
    moved = {}
    with work.unit.without_gradients():
        alone = torch.cat([work._choices([i]) for i in some])
        for side in ("right", "left"):
            work.padding = side
            moved[side] = float((work._choices(some) - alone).abs().max())
    work.padding = "right"
    allowed = rounding * float((alone - alone.mean(0)).abs().max()) + 1e-6
    return next((side for side in ("right", "left") if moved[side] <= allowed), "none")


def bytes_per_token(config, task, width, target_share):
    """Estimates the memory for a token of a training step without gradient checkpointing: about 34 bytes per hidden unit and
    layer in 16 bits (Korthikanti et al. 2022, "Reducing Activation Recomputation", eq. 2, without the attention matrices,
    which fused attention does not keep), the MLP scaled to its own width, and three copies of the logits of targets."""
    get = lambda *names: next((getattr(config, n) for n in names if getattr(config, n, None)), 0)
    hidden = get("hidden_size", "n_embd", "dim") or 1024
    layers = get("num_hidden_layers", "n_layer", "n_layers") or 24
    inner = get("intermediate_size", "n_inner", "hidden_dim") or 4 * hidden
    values = layers * (9 * hidden + 4 * inner) + 4 * hidden
    logits = 3 * 4 * get("vocab_size") * target_share if task == "causal" else 0
    return values * width + logits
