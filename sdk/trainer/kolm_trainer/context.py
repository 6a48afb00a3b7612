# SPDX-License-Identifier: Apache-2.0
"""How many tokens a base can attend to: from its config.json before it is loaded, from its position embeddings afterwards."""

import contextlib

_ENDLESS = 1 << 20
_FAR = 1 << 40  # for a tokenizer without a limit transformers reports a larger number
# Positions of these types start after the index of the padding token, so that many rows of the position embeddings, plus one, are unused.
_AFTER_PADDING = {"camembert", "data2vec-text", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "mpnet",
                  "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"}
_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")


def context_of(config, tokenizer):
    """Returns how many tokens the base can attend to. config: that of config.json."""
    nested = config.get("text_config") if isinstance(config.get("text_config"), dict) else {}
    most = next((c[n] for c in (config, nested) for n in _NAMES if isinstance(c.get(n), int) and c[n] > 0), _ENDLESS)
    kind, positions = config.get("model_type"), config.get("position_embedding_type", "absolute")
    if kind in _AFTER_PADDING or (kind == "esm" and positions == "absolute"):
        padding = 1 if kind == "mpnet" else config.get("pad_token_id", 1)
        most -= (padding or 0) + 1
    return min(most, tokenizer.model_max_length if tokenizer.model_max_length < _FAR else most)


@contextlib.contextmanager
def _lookups():
    """Records lookups of embeddings: yields the list of (rows of the table, shape of the indices, largest index)."""
    from torch.nn import functional

    real, seen = functional.embedding, []

    def embedding(input, weight, *more, **named):  # noqa: A002  (as torch names it)
        if input.numel() > 0:
            seen.append((weight.shape[0], tuple(input.shape), int(input.max())))
        return real(input, weight, *more, **named)

    functional.embedding = embedding
    try:
        yield seen
    finally:
        functional.embedding = real


def _ids(count, avoided, tokenizer):
    """Returns count tokens, none of which is padding or special."""
    token = next(t for t in range(3, len(tokenizer)) if t not in avoided)
    return [token] * count


def measured_context(model, tokenizer, unit):
    """Returns how many tokens the position embeddings of a loaded model allow, or None if it looks up no positions.

    Runs the model on two texts of different lengths and records all lookups. The table whose largest index grows with the
    text is that of the positions; the index of the last of n tokens shows how many of its first rows are never used."""
    import torch

    short, long, rooms = 8, 12, []
    avoided = {tokenizer.pad_token_id, *tokenizer.all_special_ids}
    seen = []
    try:
        for count in (short, long):
            ids = torch.tensor([_ids(count, avoided, tokenizer)], device=unit.torch)
            with unit.without_gradients(), _lookups() as found:
                model(input_ids=ids, attention_mask=torch.ones_like(ids))
            seen.append(found)
    except (RuntimeError, ValueError, IndexError, StopIteration):
        return None  # such a text is too short for this model: only its config is known
    if len(seen[0]) != len(seen[1]):
        return None
    for (rows, shape, first), (_, _, second) in zip(*seen):
        if second - first == long - short and shape[-2:] != (short, short):  # a table of distances is indexed by an n x n matrix
            rooms.append(rows - (first - (short - 1)))
    return min(rooms) if rooms else None
