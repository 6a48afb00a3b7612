#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that docs/data.md quotes kolm correctly: the sources have every sentence in its tables, and every error about a row is quoted."""
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1))


def strings_of(*folders):
    """All string literals in C files, with adjacent literals joined."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).glob("*.c")):
            code = re.sub(r'(?<!\\)"\s*"', "", path.read_text(encoding="utf-8"))
            found += [text.replace('\\"', '"').replace("\\\\", "\\") for text in re.findall(r'"((?:[^"\\\n]|\\.)*)"', code)]
    return found


class Words(unittest.TestCase):
    def setUp(self):
        self.page = (ROOT / "docs/data.md").read_text(encoding="utf-8")

    def quotes(self):
        """Yields the quoted sentences in the last column of each table."""
        for line in self.page.splitlines():
            if line.startswith("| ") and "what kolm says" not in line:
                yield from re.findall(r"`([^`]*\w [^`]*)`", line.rstrip("| ").rsplit(" | ", 1)[1])

    def test_every_quoted_sentence_is_in_the_sources(self):
        said = "\n".join(strings_of("core/job", "core/cli", "core/compile", "core/model", "sdk/kit/src"))
        said += "\nNo such file or directory\nIs a directory\n"
        quotes = list(self.quotes())
        self.assertGreater(len(quotes), 30)
        # Placeholders, and texts that are composed of parts.
        holes = r'<\w+>(?:"?, "<key>")?|\'<\w+>\'(?:, \'<\w+>\')?|\bfound (?:a number|null|the end of the file)\b| in "|(?<=expected )the key|label has'
        for quote in quotes:
            for piece in re.split(holes, quote):
                piece = re.sub(r"^expected ", "", piece).strip(" \"':,")
                self.assertTrue(len(piece) < 4 or piece in said, "%r of %r" % (piece, quote))

    def test_every_expectation_is_quoted(self):
        for text in strings_of("core/job"):
            if text.startswith("expected ") and "%s in " not in text and "%s with" not in text:
                piece = max(re.split(r"%\w+|'[^']*'", text), key=len).strip(" \"',:")
                self.assertTrue(piece[:30] in self.page, "%r of %r" % (piece, text))

    def test_links_lead_somewhere(self):
        for page in (ROOT / "docs/data.md", ROOT / "docs/rooms/job.md", ROOT / "docs/rooms/score.md"):
            for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
                if "://" not in target:
                    self.assertTrue((page.parent / target).exists(), "%s: %s" % (page.name, target))


if __name__ == "__main__":
    unittest.main()
