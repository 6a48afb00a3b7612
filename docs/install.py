#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs the generated man pages and completions below DESTDIR; called by meson install."""
import os
import shutil
import sys


def main():
    made, man, data = sys.argv[1:4]
    places = {"kolm.bash": os.path.join(data, "bash-completion", "completions", "kolm"), "_kolm": os.path.join(data, "zsh", "site-functions", "_kolm"),
              "kolm.fish": os.path.join(data, "fish", "vendor_completions.d", "kolm.fish")}
    for name in os.listdir(made):
        where = places.get(name) or (os.path.join(man, name) if name.endswith(".1") else None)
        if where:
            where = os.environ.get("DESTDIR", "") + where
            os.makedirs(os.path.dirname(where), exist_ok=True)
            shutil.copyfile(os.path.join(made, name), where)


if __name__ == "__main__":
    main()
