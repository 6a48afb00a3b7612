#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An independent picker in decimal arithmetic, and thousands of seeded random questions on which the C one must agree."""
import copy
import json
import random
import subprocess
import sys
from decimal import ROUND_HALF_EVEN, Decimal

UNIT = Decimal("0.00001")
GB = Decimal(1000000000)
NAMES = ["ant", "bee", "cat", "cow", "dog", "eel", "elk", "emu", "fox", "gnu", "hen", "owl", "pig", "ram", "rat", "yak"]
KINDS = ["local", "self-hosted", "cloud-serverless", "cloud-marketplace", "cloud-managed"]


def number(value):
    return None if value is None else Decimal(str(value))


def terms(c):
    price = number(c["cost_per_hour_usd"])
    cost = Decimal("0.5") if price is None else max(Decimal(0), 1 - price / 5)
    latency = max(Decimal(0), 1 - Decimal(c["cold_start_seconds"]) / 120)
    repro = {"local": Decimal(1), "self-hosted": Decimal("0.9")}.get(c["kind"], Decimal("0.6"))
    points = {
        "available": Decimal("0.35") * (1 if c["detection"]["available"] else 0),
        "cost_inv": Decimal("0.20") * cost,
        "latency_inv": Decimal("0.15") * latency,
        "repro": Decimal("0.15") * repro,
        "perf": Decimal("0.15") * number(c["perf"]),
    }
    return {k: v.quantize(UNIT, rounding=ROUND_HALF_EVEN) for k, v in points.items()}


def score(c):
    return sum(terms(c).values())


def failed(c, k):
    if "refused" in c:
        return {"refused"}
    out = set()
    purpose = k["purpose"]
    if c["name"] in k["exclude"]:
        out.add("exclude")
    if not c[purpose]:
        out.add("purpose")
    elif k["need_slot"] and c["detection"][purpose] == "missing":
        out.add("detect-only")
    if purpose == "train" and k["need_answers"] and c["train"] and (
            not c["infer"] or (k["need_slot"] and c["detection"]["infer"] == "missing")):
        out.add("answer")
    if k["recipe"] is not None and c["recipes"] is not None and k["recipe"] not in c["recipes"].split(", "):
        out.add("recipe")
    if k["airgap"] and c["airgap"] != "yes":
        private = c["airgap"] == "depends" and k["allow_private_remote"] and c["detection"]["private_target"]
        if not private:
            out.add("airgap")
    if k["min_vram_gb"]:  # 0: no minimum
        cap = c["vram_cap_gb"]
        if cap in ("own", "shared"):
            have = Decimal(c["detection"]["memory_bytes"])
            enough = have > 0 and have >= number(k["min_vram_gb"]) * GB
        else:
            enough = cap is not None and number(cap) >= number(k["min_vram_gb"])
        if not enough:
            out.add("min-vram")
    price = number(c["cost_per_hour_usd"])
    limit = number(k["budget_usd_per_hour"])
    if limit is not None and (price > limit if price is not None else limit == 0):
        out.add("budget")
    if k["max_tier"] is not None and c["tier"] > k["max_tier"]:
        out.add("max-tier")
    return out


def ranking(question):
    passing = [c for c in question["candidates"] if not failed(c, question["constraints"])]
    return sorted(passing, key=lambda c: (not c["detection"]["available"], -score(c), c["tier"], c["name"]))


def winner(question):
    order = ranking(question)
    return order[0]["name"] if order and order[0]["detection"]["available"] else None


def random_price(rng):
    return rng.choice([
        None, 0, 0, 0.5, 1.2, 2, 2.5, 5, 5.01, 60, round(rng.uniform(0, 6), 2), round(rng.uniform(0, 6), 6),
        round(rng.randrange(0, 20000) * 0.000125, 6),
    ])


def random_candidate(rng, name):
    if rng.random() < 0.05:
        return {"name": name, "refused": "writable by everybody"}
    price = random_price(rng)
    available = rng.random() < 0.55
    vram = rng.choice([None, "own", "shared", 24, 40, 80, 80, 141.5])
    memory = rng.choice([0, 8, 16, 24, 25.769803776, 80, 85.5]) if available or rng.random() < 0.1 else 0
    return {
        "name": name, "kind": rng.choice(KINDS), "recipes": rng.choice([None, None, "linear", "lora", "linear, lora", "lora, linear-2"]), "train": rng.random() < 0.85, "infer": rng.random() < 0.9,
        "airgap": rng.choice(["yes", "yes", "no", "depends"]),
        "billing": rng.choice(["per-token", "per-call"]) if price is None else "per-hour", "cost_per_hour_usd": price,
        "cold_start_seconds": rng.choice([0, 0, 5, 30, 60, 90, 119, 120, 121, 600, rng.randrange(200)]),
        "tier": rng.choice([1, 1, 2, 2, 3]), "vram_cap_gb": vram,
        "perf": rng.choice([0, 0.3, 0.5, 0.85, 0.85, 0.9, 1, round(rng.random(), 2), round(rng.random(), 5)]),
        "detection": {
            "available": available, "state": "available" if available else rng.choice(["absent", "broken", "timed out"]),
            "reason": rng.choice([None, "said so"]), "remedy": None, "device": rng.choice([None, "a card (24 GB)"]),
            "memory_bytes": int(memory * 10**9), "train": rng.choice(["unknown", "present", "present", "missing"]),
            "infer": rng.choice(["unknown", "present", "present", "missing"]), "private_target": rng.random() < 0.5,
        },
    }


def random_question(rng):
    names = rng.sample(NAMES, rng.randrange(0, len(NAMES)))
    constraints = {
        "purpose": rng.choice(["train", "train", "train", "infer"]), "airgap": rng.random() < 0.25,
        "need_slot": rng.random() < 0.5, "need_answers": rng.random() < 0.7, "recipe": rng.choice([None, None, "linear", "lora"]), "allow_private_remote": rng.random() < 0.3,
        "min_vram_gb": rng.choice([None, None, None, 0, 16, 24, 25.7, 80, 100]),
        "budget_usd_per_hour": rng.choice([None, None, None, 0, 1, 1.2, 2.5, 5, 80, round(rng.uniform(0, 6), 6)]),
        "budget_usd": rng.choice([None, 0, 12.5]),
        "max_tier": rng.choice([None, None, None, 0, 1, 2]),
        "exclude": rng.sample(names, rng.randrange(0, min(3, len(names) + 1))),
    }
    return {"schema": "kolm.compute.pick/1", "constraints": constraints,
            "candidates": [random_candidate(rng, name) for name in names]}


def apply_flip(question, record, flip):
    changed = copy.deepcopy(question)
    by_name = {c["name"]: c for c in changed["candidates"]}
    k = changed["constraints"]
    kind, value = flip["change"], flip["value"]
    if kind == "winner-price":
        by_name[record["picked"]]["cost_per_hour_usd"] = value
    elif kind == "price":
        by_name[flip["name"]]["cost_per_hour_usd"] = value
    elif kind == "cold-start":
        by_name[flip["name"]]["cold_start_seconds"] = value
    elif kind == "available":
        by_name[flip["name"]]["detection"]["available"] = True
    elif flip["filter"] == "airgap":
        if flip["text"].endswith("--allow-private-remote"):
            k["allow_private_remote"] = True
        else:
            k["airgap"] = False
    elif flip["filter"] == "min-vram":
        k["min_vram_gb"] = None if value == 0 else float(Decimal(value) / GB)
    elif flip["filter"] == "budget":
        k["budget_usd_per_hour"] = None if flip["text"].endswith("without --max-price") else value
    elif flip["filter"] == "max-tier":
        k["max_tier"] = value
    elif flip["filter"] == "exclude":
        k["exclude"] = []
    return changed


def check_flips(question, record):
    for flip in record["flips"]:
        assert winner(apply_flip(question, record, flip)) == flip["name"], ("flip does not flip", flip)
        nearer = dict(flip)
        step = {"winner-price": Decimal("-0.0001"), "price": Decimal("0.0001")}.get(flip["change"])
        if step is not None:
            nearer["value"] = float(number(flip["value"]) + step)
        elif flip["change"] == "cold-start":
            nearer["value"] = flip["value"] + 1
        else:
            continue
        won = winner(apply_flip(question, record, nearer))
        assert won != flip["name"], ("a smaller change flips as well", flip)


def check_completeness(question, record):
    """Every candidate that would win if only it were available is named, and so is the second if the winner's price decides."""
    named = {(f["name"], f["change"]) for f in record["flips"]}
    for c in ranking(question):
        if c["detection"]["available"]:
            continue
        changed = copy.deepcopy(question)
        for other in changed["candidates"]:
            if other["name"] == c["name"]:
                other["detection"]["available"] = True
        if winner(changed) == c["name"]:
            assert (c["name"], "available") in named, c["name"]


def check(question, record):
    order = ranking(question)
    won = winner(question)
    assert record["picked"] == won, (record["picked"], won)
    assert record["best_match"] == (order[0]["name"] if order else None)
    assert [r["name"] for r in record["ranking"]] == [c["name"] for c in order]
    assert record["runners_up"] == [c["name"] for c in order[1:4]]
    for row, c in zip(record["ranking"], order):
        assert number(row["score"]) == score(c), (row, score(c))
        assert {k: number(v) for k, v in row["terms"].items()} == terms(c)
    out = {c["name"]: failed(c, question["constraints"]) for c in question["candidates"]}
    excluded = {row["name"]: {r["filter"] for r in row["reasons"]} for row in record["filtered_out"]}
    assert excluded == {name: why for name, why in out.items() if why}
    assert all(r["text"] for row in record["filtered_out"] for r in row["reasons"])
    assert len(record["ranking"]) + len(record["filtered_out"]) == len(question["candidates"])
    check_flips(question, record)
    check_completeness(question, record)


def run(program, questions):
    text = "".join(json.dumps(q) + "\n" for q in questions)
    done = subprocess.run([program], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(questions)
    return lines


def main():
    program = sys.argv[1]
    with open(program, "rb") as file:
        count = int(sys.argv[2]) if len(sys.argv) > 2 else 500 if b"__asan_init" in file.read() else 4000
    rng = random.Random(20260514)
    questions = [random_question(rng) for _ in range(count)]
    lines = run(program, questions)
    flips = 0
    for question, line in zip(questions, lines):
        record = json.loads(line)
        flips += len(record["flips"])
        try:
            check(question, record)
        except AssertionError:
            print(json.dumps(question), line, sep="\n", file=sys.stderr)
            raise
    # A record is also a question: it yields the same bytes again.
    assert run(program, [json.loads(line) for line in lines]) == lines
    print(f"{count} questions agree, {flips} flips proved")


if __name__ == "__main__":
    main()
