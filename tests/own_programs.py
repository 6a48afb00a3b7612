#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Names the tests (introspection on standard input) that run a program of the build directory itself."""
import json
import sys

for test in json.load(sys.stdin):
    if test["cmd"][0].startswith(sys.argv[1] + "/") and not any(suite.endswith(":slow") for suite in test["suite"]):
        print(test["name"])
