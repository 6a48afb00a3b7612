#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a program repeatedly, each time with another failing allocation, until every allocation has failed once.

usage: failmalloc.py [--codes 0,5] [--every K] [--any-output] [--timeout S] LIBRARY -- PROGRAM ARGUMENT...

In ARGUMENT, {tmp} is a new directory per run; KOLM_HOME is {tmp}/home. The test passes if no run is killed by a signal or
hangs, each exits with one of the codes, and a run that exits with 0 prints the same as the run without a failure: a failed
allocation is either reported or has no effect, and never causes a wrong answer. --every K fails only each K-th allocation.
"""
import argparse
import os
import subprocess
import sys
import tempfile


def run(options, at):
    with tempfile.TemporaryDirectory(prefix="kolm-fail-") as tmp:
        report = os.path.join(tmp, "report")
        command = [word.replace("{tmp}", tmp) for word in options.program]
        environment = {**os.environ, "LD_PRELOAD": options.library, "KOLM_FAIL_AT": str(at), "KOLM_FAIL_REPORT": report,
                       "KOLM_HOME": os.path.join(tmp, "home")}
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=options.timeout, check=False)
        text = done.stdout.replace(tmp.encode(), b"{tmp}")
        return done.returncode, text, done.stderr.decode(errors="replace"), os.path.exists(report)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--codes", default="0,5")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--any-output", action="store_true")
    parser.add_argument("library")
    parser.add_argument("program", nargs="+")
    options = parser.parse_args()
    options.library = os.path.abspath(options.library)
    codes = {int(code) for code in options.codes.split(",")}
    code, want, errors, _ = run(options, 0)
    if code not in codes:
        sys.exit(f"the unharmed run already ends with {code}: {errors}")
    unharmed = code
    at, wrong, told = 1, [], 0
    while len(wrong) < 10:
        try:
            code, text, errors, failed = run(options, at)
        except subprocess.TimeoutExpired:
            wrong.append(f"allocation {at}: hangs")
            at += options.every
            continue
        if not failed and code == unharmed:
            break  # there are no more allocations
        if code < 0:
            wrong.append(f"allocation {at}: dies of signal {-code}")
        elif code not in codes:
            wrong.append(f"allocation {at}: ends with {code}: {errors.strip()[:200]}")
        elif code == 0 and text != want and not options.any_output:
            wrong.append(f"allocation {at}: ends with 0, and says something else than without the failure")
        elif code != 0 and not errors.strip():
            wrong.append(f"allocation {at}: ends with {code} without a word")
        told += code != unharmed
        at += options.every
    print(f"{(at - 1 + options.every - 1) // options.every} allocations failed, {told} of them were told")
    if wrong or at == 1:
        sys.exit("\n".join(wrong) or "the library was not loaded")


if __name__ == "__main__":
    main()
