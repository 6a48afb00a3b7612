#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the single tests in meson's test logs: the totals of Check or unittest if a program printed them, otherwise one.

usage: count.py FAILED_RUNS LOG...: FAILED_RUNS is the number of test runs that failed. Exits with 1 if anything failed, or nothing passed.
"""
import json
import re
import sys


def count(entry):
    text = (entry.get("stdout") or "") + "\n" + (entry.get("stderr") or "")
    result = entry["result"]
    if result == "SKIP":
        return 0, 0, 1
    ok = result in ("OK", "EXPECTEDFAIL")
    # Check: "100%: Checks: 12, Failures: 0, Errors: 0", once per suite runner.
    checks = [tuple(map(int, m)) for m in re.findall(r"Checks: (\d+), Failures: (\d+), Errors: (\d+)", text)]
    if checks:
        bad = sum(f + e for _, f, e in checks)
        return sum(n for n, _, _ in checks) - bad, bad or (0 if ok else 1), 0
    ran = re.findall(r"^Ran (\d+) tests? in", text, re.M)
    if ran:
        total = sum(map(int, ran))
        bad = sum(int(n) for n in re.findall(r"(?:failures|errors)=(\d+)", text))
        skips = sum(int(n) for n in re.findall(r"skipped=(\d+)", text))
        return max(total - bad - skips, 0), bad or (0 if ok else 1), skips
    return (1, 0, 0) if ok else (0, 1, 0)


def main():
    totals = [0, 0, 0]
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as log:
            for line in log:
                totals = [a + b for a, b in zip(totals, count(json.loads(line)))]
    passed, failed, skipped = totals
    failed = max(failed, int(sys.argv[1]))
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
