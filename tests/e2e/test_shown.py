# SPDX-License-Identifier: Apache-2.0
"""Text from others, as users see it: nothing in it moves a cursor, opens a link, runs right to left or looks like another line."""
import csv
import io
import json
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case  # noqa: E402

setUpModule = harness.set_up_tree
ODD = ("=1+2", "\uff1d1+2", "+1", "-1", "@SUM(1)", "\ttab", "esc\u001b[31m", "link\u001b]8;;http://x\u001b\\y", "c1\u009b31m", "bidi\u202eevil", "iso\u2066a",
       "two\nlines", "cr\rback", "zw\u200bsp", "mark\u200f", "sep\u2028line", 'quo"te', "com,ma", "del\u007f")
SAFE = re.compile("[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]")
KEY = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n"


class Foreign(Case):
    def plain(self, *words, code=None, **more):
        done = self.kolm(*words, code=code, **more)
        for text in (done.out, done.err):
            self.assertNotRegex(text, SAFE, (words, text))
        return done

    def test_labels(self):
        self.write_tickets(labels=ODD, rows=600)
        self.plain("compile", "-t", "odd", "-d", "tickets.jsonl", "--gate", "0", "--min-accuracy", "0", "--allow-baseline", "--keep-job")
        model = "odd-1.0.0.kolm"
        self.plain("inspect", model)
        self.plain("verify", model)
        self.plain("score", model, "--eval", "tickets.jsonl")
        for label in ODD:
            done = self.plain("run", model, "--", label.replace("\n", " ") + " please")
            self.assertEqual(done.out.count("\n"), 1, done.out)
        # a gate that is not reached: report.txt, report.json, confusions.csv
        self.plain("compile", "-t", "bad", "-d", "tickets.jsonl", "--gate", "1", "--min-accuracy", "1", code=4)
        folder = next(n for n in os.listdir(self.work) if n.startswith("bad") and os.path.isdir(os.path.join(self.work, n)))
        for name in os.listdir(os.path.join(self.work, folder)):
            if name.endswith((".json", ".jsonl")):
                continue  # data for programs: labels are unchanged
            text = self.read(folder + "/" + name).decode()
            self.assertNotRegex(text, SAFE, name)
        for row in csv.reader(io.StringIO(self.read(folder + "/confusions.csv").decode())):
            for cell in row:
                self.assertNotRegex(cell, r"^[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")

    def test_keys(self):
        self.write("key.pem", KEY)
        for label in ODD:
            self.plain("keys", "trust", "key.pem", "--label", label)
            self.plain("keys", "list")
        self.plain("keys", "revoke", "21fe31dfa154a261", "--reason", "why\u001b[2J\u202e\nsecond")
        self.plain("keys", "list")

    def test_backends(self):
        odd = "x\u202ey\u009b31m"
        for field in ("runtime", "hint", "summary"):
            self.add_backend("test-word", **{field: odd})
            for words in (("backend", "list"), ("backend", "why", "test-word"), ("compute", "list"), ("compute", "detect"), ("compute", "info", "test-word"),
                          ("compute", "pick", "--explain"), ("compute", "status"), ("compute", "use", "test-word")):
                self.plain(*words)
        self.add_backend("test-word")
        for name in ("evil\u001b[31m", "bi\u202edi", "new\nline"):
            for suffix in (".so", ".json"):
                self.write(os.path.join(self.plugins, name + suffix), "{}")
        for words in (("backend", "list"), ("backend", "why", "evil\u001b[31m"), ("compute", "list"), ("compute", "detect"), ("compute", "info", "bi\u202edi"),
                      ("compute", "pick"), ("compute", "pick", "--exclude", "bi\u202edi")):
            self.plain(*words)

    def test_names_of_files(self):
        for name in ODD[6:]:
            name = name.replace("/", "_")
            for words in (("inspect", name), ("verify", name + ".kolm"), ("run", name + ".kolm", "x"), ("score", name, "--eval", name), ("export", name, "--to", name),
                          ("keys", "trust", name), ("backend", "sign", name + ".so"), ("compute", "pick", "--replay", name), ("compile", "-t", "a", "-d", name),
                          ("compute", "use", name), ("compute", name), ("keys", "revoke", name), ("compute", "setup", "test-word", "--use", name), (name,),
                          ("compile", "-t", name, "-d", "x"), ("run", "x.kolm", "--backend", name)):
                self.plain(*words)
            self.plain("compute", "list", env={"KOLM_HOME": "/nonexistent/" + name})
            self.plain("compute", "list", env={"KOLM_BACKEND_PATH": "/nonexistent/" + name + ":rel" + name})

    def test_settings(self):
        for text in ("esc\u001b[31m", "bidi\u202eevil", "c1\u009b31m", "nl\nnext"):
            for config in ({text: 1}, {"backend": text}, {"backends": {text: {}}}, {"backends": {"test-word": {text: 1}}}, {"runtimes": {"test-word": text}},
                           {"runtimes": {"test-word": "/" + text}}, {"backends": {"test-word": {"fault": text}}}):
                self.write_home("config.json", json.dumps(config))
                for words in (("compute", "list"), ("compute", "info", "test-word"), ("compute", "pick"), ("backend", "list"), ("compute", "status")):
                    self.plain(*words)
            self.write_home("config.json", "{\"" + text.replace("\n", "\\n") + "\" 1}")
            self.plain("compute", "list")
            os.remove(os.path.join(self.home, "config.json"))
            self.write_home("policy.json", json.dumps({text: 1}))
            self.plain("backend", "list")
            os.remove(os.path.join(self.home, "policy.json"))


if __name__ == "__main__":
    harness.main()
