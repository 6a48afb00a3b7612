#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the single tests behind a meson test log: Check's and unittest's own totals where a program printed them, else one."""
import json
import os
import re
import sys


def count(entry):
    text = (entry.get("stdout") or "") + "\n" + (entry.get("stderr") or "")
    result = entry["result"]
    if result == "SKIP":
        return 0, 0, 1
    ok = result in ("OK", "EXPECTEDFAIL")
    # Check: "100%: Checks: 12, Failures: 0, Errors: 0", once a suite runner.
    checks = [tuple(map(int, m)) for m in re.findall(r"Checks: (\d+), Failures: (\d+), Errors: (\d+)", text)]
    if checks:
        bad = sum(f + e for _, f, e in checks)
        return sum(n for n, _, _ in checks) - bad, bad or (0 if ok else 1), 0
    ran = re.search(r"^Ran (\d+) tests? in", text, re.M)
    if ran:
        total = int(ran.group(1))
        bad = sum(int(n) for n in re.findall(r"(?:failures|errors)=(\d+)", text))
        skips = sum(int(n) for n in re.findall(r"skipped=(\d+)", text))
        return max(total - bad - skips, 0), bad or (0 if ok else 1), skips
    return (1, 0, 0) if ok else (0, 1, 0)


def main():
    logs = sys.argv[1]
    names = [n for n in os.listdir(logs) if n.startswith("testlog") and n.endswith(".json")]
    if not names:
        sys.exit("no test log in " + logs)
    newest = max((os.path.join(logs, n) for n in names), key=os.path.getmtime)
    totals = [0, 0, 0]
    with open(newest, encoding="utf-8") as log:
        for line in log:
            totals = [a + b for a, b in zip(totals, count(json.loads(line)))]
    print(*totals)


if __name__ == "__main__":
    main()
