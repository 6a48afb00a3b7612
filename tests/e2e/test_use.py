# SPDX-License-Identifier: Apache-2.0
"""The verbs that take a compiled model: words in the wrong place, files of questions, outputs that cannot be written."""
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case, jsonl, tickets  # noqa: E402

setUpModule = harness.set_up_tree


class Use(Case):
    model = "router-1.0.0.kolm"

    def setUp(self):
        super().setUp()
        self.write_tickets()
        self.compile()

    # ---- a name where a text is expected, and the reverse

    def test_a_name_is_not_answered(self):
        self.write("in.txt", "billing is wrong\nlogin\n")
        self.write("in.jsonl", '{"input":"billing"}\n')
        os.mkdir(os.path.join(self.work, "folder"))
        for words in (["in.txt"], ["--jsonl", "in.jsonl"], ["in.txt", "in.jsonl"], ["login", "in.txt"], ["missing.jsonl"], ["missing.csv.gz"], ["--json", "in.txt"],
                      ["folder"], [self.work], ["/dev/null"]):
            done = self.kolm("run", self.model, *words, code=2)
            self.assert_error(done, "--input FILE", "--")
            self.assertNotIn("login  ", done.out)
        self.assertTrue(self.kolm("run", self.model, "--", "in.txt").out)
        self.assertEqual(len(self.kolm("run", self.model, "login", "--", "in.txt", "folder").out.splitlines()), 3)
        self.assertTrue(self.kolm("run", self.model, "see notes.txt please").out)

    def test_a_text_with_a_dash_gets_a_remedy(self):
        for text in ("-5 euros", "-5", "--5 euros off", "-"[:1] + "x"):
            self.assert_error(self.kolm("run", self.model, text, code=2), "run FILE.kolm -- '%s'" % text)
            self.assertTrue(self.kolm("run", self.model, "--", text).out)
        self.assert_error(self.kolm("run", self.model, "--jsnl", code=2), "did you mean --json")

    def test_words_in_the_wrong_place(self):
        os.mkdir(os.path.join(self.work, "empty"))
        os.makedirs(os.path.join(self.work, "base"))
        self.write("base/config.json", "{}")
        self.write("noisy.jsonl", jsonl(tickets(60)))
        sidecar = self.model + ".intoto.jsonl"
        for words, code, pieces in (
                (["run", "billing", self.model], 2, ("the model comes first", "run %s billing" % self.model)),
                (["run", self.model, self.model], 2, ("second compiled model",)),
                (["run", "tickets.jsonl", "billing"], 6, ("looks like rows", "--input")),
                (["run", "router-1.0.0", "billing"], 6, ("there is router-1.0.0.kolm",)),
                (["run", self.model, "--input", self.model], 6, ("is a compiled model, not rows",)),
                (["score", self.model, "tickets.jsonl"], 2, ("--eval tickets.jsonl",)),
                (["score", "tickets.jsonl", "--eval", self.model], 2, ("wrong way round",)),
                (["score", self.model, "--eval", self.model], 6, ("is a compiled model, not rows",)),
                (["score", "tickets.jsonl", "--eval", "tickets.jsonl"], 6, ("looks like rows",)),
                (["score", self.model, self.model, "--eval", "tickets.jsonl"], 2, ("one FILE.kolm at a time",)),
                (["export", self.model, "there"], 2, ("--to there",)),
                (["compile", "-t", "x", "tickets.jsonl"], 2, ("did you mean --data tickets.jsonl",)),
                (["compile", "-t", "x", "nothere.jsonl"], 2, ("unexpected word 'nothere.jsonl'",)),
                (["compute", "quote", "tickets.jsonl"], 2, ("did you mean --data tickets.jsonl",)),
                (["compile", "-t", "x", "-d", self.model], 6, ("--data", "is a compiled model")),
                (["compile", "-t", "x", "-d", "tickets.jsonl", "--eval", self.model], 6, ("--eval", "is a compiled model"))):
            self.assert_error(self.kolm(*words, code=code), *pieces)
        for verb in (["verify"], ["inspect"], ["score", "--eval", "tickets.jsonl"], ["export", "--to", "there"], ["run"]):
            for path, piece in (("tickets.jsonl", "looks like rows"), ("empty", "is a directory"), ("base", "transformers"), (sidecar, "receipts of a model"),
                                ("router-1.0.0", "router-1.0.0.kolm")):
                self.assert_error(self.kolm(verb[0], path, *verb[1:], code=6), piece)
            if verb[0] != "run":
                self.assert_error(self.kolm(verb[0], self.model, self.model, *verb[1:], code=2), "at a time")
        self.assertFalse(os.path.exists(os.path.join(self.work, "there")))

    def test_the_report_of_a_failure_is_no_model(self):
        self.compile("--gate", "1", task="other", code=4)
        self.assert_error(self.kolm("verify", "other-1.0.0.failed", code=6), "did not ship", "report.txt")

    # ---- files of questions

    def test_a_file_of_questions(self):
        self.write("in.txt", b"\xef\xbb\xbfbilling is wrong\r\nlogin\r\n")
        self.write("in.jsonl", '{"id":"a","input":"billing"}\n\n{"input":"login"}\n')
        self.assertEqual(self.kolm("run", self.model, "-i", "in.txt").out.split()[::2], ["billing", "login"])
        self.assertEqual(self.kolm("run", "--input", "-", self.model, stdin=b"refund\n").out.split()[0], "refund")
        self.assertEqual(self.kolm("run", self.model, "-", stdin=b"refund\n").out.split()[0], "refund")
        answers = [json.loads(line) for line in self.kolm("run", "--input", "in.jsonl", self.model).out.splitlines()]
        self.assertEqual([(a["id"], a["output"]) for a in answers], [("a", "billing"), ("3", "login")])
        for words, code, piece in ((["nothere.txt"], 6, "nothere.txt"), (["."], 6, "directory"), (["tickets.csv"], 2, "not one question a line"), (["in.txt", "login"], 2, "replaces TEXT")):
            self.assert_error(self.kolm("run", self.model, "--input", *words, code=code), piece)
        self.write("bad.txt", b"login\n\xff\n")
        self.assert_error(self.kolm("run", self.model, "--input", "bad.txt", code=6), "bad.txt, line 2")

    def test_rows_without_jsonl_are_not_answered_as_text(self):
        for text in (b'{"input":"billing"}\n', b'[\n  {"input": "billing"}\n]\n', b'{ \n "input": "billing"\n}\n', b'[{"messages":[]}]\n', b' {"text":"billing"}\r\n'):
            done = self.kolm("run", self.model, stdin=text, code=2)
            self.assert_error(done, "--jsonl")
            self.assertEqual(done.out, "")
        self.write("rows.json", '{"input":"billing"}\n')
        self.assert_error(self.kolm("run", self.model, "--input", "rows.json", code=2), "--jsonl")
        self.assertEqual(json.loads(self.kolm("run", self.model, "--jsonl", "--input", "rows.json").out)["output"], "billing")
        self.assertTrue(self.kolm("run", self.model, stdin=b'{"a":1} is not json\n{"input":"billing"}\n').out)
        for text in (b"", b"\n", b"{}\n", b"[x]\n", b"[1, 2]\n", b'{"a":1}\n'):
            self.kolm("run", self.model, stdin=text)

    def test_a_bad_line_says_where_and_may_be_left_out(self):
        done = self.kolm("run", self.model, stdin=b"billing\nlogin\n\xff\nrefund\n", code=6)
        self.assertEqual(done.out.split()[::2], ["billing", "login"])
        self.assert_error(done, "line 3", "2 before it were answered", "--skip-bad")
        done = self.kolm("run", self.model, "--skip-bad", stdin=b"billing\n\xff\nrefund\n\xff\n" + b"x" * (17 << 20) + b"\nlogin\n\xff")
        self.assertEqual([line.split("  ")[0] for line in done.out.splitlines()], ["billing", "(left out)", "refund", "(left out)", "(left out)", "login", "(left out)"])
        for piece in ("line 2", "line 4", "line 5 is longer", "line 7", "4 of 7 lines left out, 3 answered"):
            self.assertIn(piece, done.err)
        rows = b'{"input":"billing"}\nno\n{"id":"x"}\n{"input":\n{"input":"login"}\n'
        done = self.kolm("run", self.model, "--jsonl", stdin=rows, code=6)
        self.assertEqual(done.err.count("--skip-bad"), 1, done.err)
        done = self.kolm("run", self.model, "--jsonl", "--skip-bad", stdin=rows)
        self.assertEqual([json.loads(line)["id"] for line in done.out.splitlines()], ["1", "5"])
        self.assertIn("3 of 5 lines left out", done.err)
        done = self.kolm("run", self.model, "--skip-bad", "billing", os.fsdecode(b"\xff"), "login")
        self.assertEqual([line.split("  ")[0] for line in done.out.splitlines()], ["billing", "(left out)", "login"])
        self.assertIn("1 of 3 texts left out, 2 answered", done.err)
        self.assert_error(self.kolm("run", self.model, "--serve", "--skip-bad", code=2), "--skip-bad")
        done = self.kolm("run", self.model, "--skip-bad", stdin=b"\xff\n" * 40)
        self.assertEqual(done.out.splitlines(), ["(left out)"] * 40)
        self.assertEqual(done.err.count("left out: "), 10)

    # ---- outputs that cannot be written

    def every_verb(self):
        self.write("big.txt", "".join("billing number %d\n" % i for i in range(20000)))
        return (["--help"], ["--version"], ["run", "--help"], ["run", self.model, "--input", "big.txt"], ["run", self.model, "--input", "big.txt", "--json"], ["run", self.model, "login"],
                ["inspect", self.model], ["inspect", self.model, "--json"], ["verify", self.model], ["verify", self.model, "--json"], ["score", self.model, "--eval", "tickets.jsonl"],
                ["keys", "list"], ["keys", "export"], ["compute", "list"], ["compute", "list", "--json"], ["compute", "detect"], ["compute", "pick"], ["compute", "status"], ["compute", "quote", "--rows", "100"],
                ["compute", "info", "test-word"], ["backend", "list"], ["compile", "-t", "again", "-d", "tickets.jsonl", "--force"])

    def test_an_output_that_is_full_or_closed_is_an_error(self):
        for words in self.every_verb():
            with open("/dev/full", "wb") as full:
                done = subprocess.run([harness.TREE.kolm, *words], env=self.env, cwd=self.work, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
            self.assertEqual(done.returncode, 1, (words, done.stderr))
            self.assertIn(b"kolm: standard output could not be written: No space left on device\n  -> ", done.stderr, words)
            done = subprocess.run(["/bin/sh", "-c", 'exec "$0" "$@" >&-', harness.TREE.kolm, *words], env=self.env, cwd=self.work, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60, check=False)
            self.assertEqual(done.returncode, 1, (words, done.stderr))
            self.assertIn(b"Bad file descriptor", done.stderr, words)
        self.assertIn("trusted", self.kolm("verify", "again-1.0.0.kolm").out)
        self.assertEqual(self.jobs(), [])

    def test_an_input_that_is_closed(self):
        done = subprocess.run(["/bin/sh", "-c", 'exec "$0" "$@" <&-', harness.TREE.kolm, "run", self.model], env=self.env, cwd=self.work, capture_output=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stdout), (6, b""))
        self.assertIn(b"standard input: reading failed", done.stderr)
        self.assertNotIn(b"shorter", done.stderr)
        self.assertTrue(self.kolm("run", self.model, "login", stdin=None).out)

    def test_a_reader_that_has_enough_is_no_error(self):
        for words in self.every_verb():
            read, write = os.pipe()
            os.close(read)
            done = subprocess.run([harness.TREE.kolm, *words], env=self.env, cwd=self.work, stdin=subprocess.DEVNULL, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
            os.close(write)
            self.assertEqual(done.returncode, 0, (words, done.stderr))
            self.assertNotIn(b"written", done.stderr, words)

    def test_a_reader_that_has_enough_ends_an_endless_batch(self):
        for words in ([], ["--jsonl"]):
            line = b'{"input":"login"}\n' if words else b"login\n"
            process = self.start("run", self.model, *words, stdin=subprocess.PIPE)
            with self.assertRaises(BrokenPipeError):
                process.stdin.write(line)
                process.stdin.flush()
                self.assertIn(b"login", process.stdout.readline())
                process.stdout.close()
                while True:
                    process.stdin.write(line * 1000)
                    process.stdin.flush()
            self.assertEqual(process.wait(30), 0)
            self.assertEqual(process.stderr.read(), b"")
            process.stderr.close()
            try:
                process.stdin.close()
            except BrokenPipeError:
                pass
        self.assertEqual(self.jobs(), [])


if __name__ == "__main__":
    harness.main()
