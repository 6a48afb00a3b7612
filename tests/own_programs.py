#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the names of the tests (introspection on standard input) that run a program of the build directory directly."""
import collections
import json
import sys

tests = json.load(sys.stdin)
twice = [name for name, count in collections.Counter(test["name"] for test in tests).items() if count > 1]
if twice:  # if tests share a name, running one by name would run the other, too
    sys.exit("two tests have the name %s: rename one" % twice[0])
for test in tests:
    if test["cmd"][0].startswith(sys.argv[1] + "/") and not any(suite.endswith(":slow") for suite in test["suite"]):
        print(test["name"])
