# SPDX-License-Identifier: Apache-2.0
"""Which rows form a step, and how a step is split into parts that fit in memory. Pure functions, so that a run can be resumed."""

import random

_POOL = 64  # batches sorted by length together: little padding is needed, and the order stays random


def epoch_batches(lengths, indices, batch, seed, epoch):
    """Returns lists of row numbers: shuffled, rows of similar length together, each row once. Depends on the arguments only."""
    chance = random.Random(f"{seed}/{epoch}")
    order = list(indices)
    chance.shuffle(order)
    out = []
    for at in range(0, len(order), batch * _POOL):
        pool = sorted(order[at:at + batch * _POOL], key=lambda i: lengths[i])
        out.extend(pool[i:i + batch] for i in range(0, len(pool), batch))
    chance.shuffle(out)
    return out


def cut(rows, lengths, token_limit, parts=None):
    """Splits a step into parts of at most token_limit padded tokens (a longer row is a part by itself), or `parts` equal parts."""
    rows = sorted(rows, key=lambda i: lengths[i])
    if parts is not None:
        size = -(-len(rows) // parts)
        return [rows[i:i + size] for i in range(0, len(rows), size)]
    out, part = [], []
    for row in rows:
        if part and lengths[row] * (len(part) + 1) > token_limit:
            out.append(part)
            part = []
        part.append(row)
    return out + [part] if part else out


def split_valid(count, share, seed, most=512):
    """Returns (training rows, validation rows). The latter are a random share, at most `most`, and none if there are few rows."""
    wanted = min(int(count * share), most)
    if wanted < 8:
        return list(range(count)), []
    order = list(range(count))
    random.Random(f"{seed}/valid").shuffle(order)
    return sorted(order[wanted:]), sorted(order[:wanted])
