# SPDX-License-Identifier: Apache-2.0
"""What a step computes: rows as tensors, the loss summed over their targets, and how much memory that takes."""

import inspect


def padded(rows, pad, left):
    """(ids, mask) of token sequences. Causal models are padded on the left, so that all completions end together and logits
    are needed of the last columns only; encoders on the right, because they read their first token."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[at, place] = torch.tensor(row, dtype=torch.long)
        mask[at, place] = 1
    return ids, mask


class Work:
    """The loss of some rows of an encoded set. task: "causal" or "classify"."""

    def __init__(self, task, model, rows, unit, pad):
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        names = inspect.signature(inner.forward).parameters
        self.task, self.model, self.rows, self.unit, self.pad = task, model, rows, unit, pad
        self.takes_positions = task == "causal" and "position_ids" in names
        self.takes_keep = "logits_to_keep" in names
        self.lengths = [rows.length(i) for i in range(len(rows))]

    def targets(self, part):
        """Target tokens (or labels) of rows: what a loss is divided by."""
        if self.task == "classify":
            return len(part)
        return sum(self.lengths[i] - self.rows.prompts[i] for i in part)

    def tokens(self, part):
        return sum(self.lengths[i] for i in part)

    def _choices(self, part):
        ids, mask = padded([self.rows.tokens(i) for i in part], self.pad, left=False)
        return self.model(input_ids=ids.to(self.unit.torch), attention_mask=mask.to(self.unit.torch)).logits.float()

    def shares(self, part):
        """The probability of each label, for classify."""
        return self._choices(part).softmax(-1)

    def forward(self, part):
        """(sum of the losses of the targets, right answers): right answers are counted for classify only."""
        import torch
        from torch.nn import functional

        device = self.unit.torch
        if self.task == "classify":
            logits = self._choices(part)
            wanted = torch.tensor([self.rows.labels[i] for i in part], device=device)
            return functional.cross_entropy(logits, wanted, reduction="sum"), int((logits.argmax(-1) == wanted).sum())
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
        return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), wanted.to(device).reshape(-1),
                                        ignore_index=-100, reduction="sum"), 0


def bytes_per_token(config, task, width, target_share):
    """What a token of a training step keeps in memory, without gradient checkpointing: about 34 bytes a hidden unit and
    layer in 16 bits (Korthikanti et al. 2022, "Reducing Activation Recomputation", eq. 2, without the attention matrices,
    which fused attention does not keep), the MLP scaled to its own width, and three copies of the logits of targets."""
    get = lambda *names: next((getattr(config, n) for n in names if getattr(config, n, None)), 0)
    hidden = get("hidden_size", "n_embd", "dim") or 1024
    layers = get("num_hidden_layers", "n_layer", "n_layers") or 24
    inner = get("intermediate_size", "n_inner", "hidden_dim") or 4 * hidden
    values = layers * (9 * hidden + 4 * inner) + 4 * hidden
    logits = 3 * 4 * get("vocab_size") * target_share if task == "causal" else 0
    return values * width + logits
