# SPDX-License-Identifier: Apache-2.0
"""What hostile or careless users found: names that are not UTF-8, homes that others can change, words in the wrong place."""
import json
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case  # noqa: E402

NO_TEXT = os.fsdecode(b"m\xff")


def setUpModule():
    harness.set_up_tree()


class Hostile(Case):
    def setUp(self):
        super().setUp()
        self.write_tickets()

    # ---- questions

    def test_a_bad_text_is_called_by_its_place(self):
        self.compile()
        done = self.kolm("run", "router-1.0.0.kolm", "billing", os.fsdecode(b"login \xff"), code=6)
        self.assert_error(done, "TEXT 2, column 7")
        self.assertNotIn("standard input", done.err)

    def test_ids_come_back_as_they_were_or_are_refused(self):
        self.compile()
        for bad in ("1e400", "1.5", "[1]", "true", "{}"):
            done = self.kolm("run", "router-1.0.0.kolm", "--jsonl", stdin=('{"id":%s,"input":"billing"}\n' % bad).encode(), code=6)
            self.assert_error(done, "line 1", '"id"')
        rows = b'{"id":"","input":"billing"}\n{"id":null,"input":"billing"}\n{"id":18,"input":"billing"}\n{"id":-1,"input":"billing"}\n{"id":1389432487213912064,"input":"billing"}\n'
        answers = self.kolm("run", "router-1.0.0.kolm", "--jsonl", stdin=rows).out.splitlines()
        self.assertEqual([json.loads(line)["id"] for line in answers], ["", "2", "18", "-1", "1389432487213912064"])

    def test_errors_about_a_row_name_one_line(self):
        self.compile()
        done = self.kolm("run", "router-1.0.0.kolm", "--jsonl", stdin=b'{"input":"billing"}\nnonsense\n', code=6)
        self.assert_error(done, "standard input, line 2, column 1")
        self.assertNotIn("line 1", done.err)
        done = self.kolm("run", "router-1.0.0.kolm", stdin=b"a" * (17 << 20), code=6)
        self.assert_error(done, "standard input", "line 1 is longer")

    def test_rows_that_are_a_directory(self):
        self.compile()
        self.assert_error(self.kolm("score", "router-1.0.0.kolm", "--eval", self.work, code=6), self.work, "directory")

    # ---- backends that send invalid answers

    def test_a_confidence_is_from_0_to_1(self):
        self.compile()
        self.write("rows.jsonl", harness.jsonl(harness.tickets(20, seed=3)))
        for number in ("1e999", "-1e999", "1.5", "-0.25", "NaN", '"0.5"', "null"):
            self.tell("confidence " + number)
            for words in (("run", "--json", "router-1.0.0.kolm", "billing", "login"), ("run", "router-1.0.0.kolm", "billing", "login"),
                          ("score", "router-1.0.0.kolm", "--eval", "rows.jsonl")):
                done = self.kolm(*words, code=5)
                self.assert_error(done, "answer 2 of test-word: ", "report it to its author")
                self.assertNotIn("inf", done.out)

    def test_a_compile_trusts_no_other_confidence_either(self):
        self.tell("confidence 1e999")
        self.assert_error(self.compile(code=5), 'answer 2 of test-word: expected a "confidence" from 0 to 1')

    def test_a_served_confidence_is_checked_too(self):
        self.compile()
        self.tell("confidence 1e999")
        server = self.start("run", "--serve", "router-1.0.0.kolm")
        self.addCleanup(server.kill)
        self.assertIn(b"[serve]", server.stdout.readline())
        done = self.kolm("run", "router-1.0.0.kolm", "billing", "login", code=5)
        self.assert_error(done, "test-word to question 2: ", "not an answer of the backend")
        self.assertIn("billing", done.out)
        self.interrupt(server)

    def test_answers_without_end_are_ended(self):
        self.compile()
        self.tell("endless answers")
        done = self.kolm("run", "router-1.0.0.kolm", "billing", "login", code=5, timeout=60)
        self.assert_error(done, "answer 3 of test-word: there are more answers than questions")
        self.assertEqual(len(done.out.splitlines()), 2)

    def test_a_file_of_answers_without_end_fills_no_disk(self):
        self.compile()
        self.write("rows.jsonl", harness.jsonl(harness.tickets(20, seed=3)))
        self.tell("endless answers")
        for done in (self.kolm("score", "router-1.0.0.kolm", "--eval", "rows.jsonl", code=5, timeout=100),
                     self.compile("--force", code=5, timeout=100)):
            self.assert_error(done, "test-word was stopped: it wrote more than", "MiB in answer to", "report it to its author")

    # ---- names that are not UTF-8

    def test_a_model_that_is_another_one_after_the_answers_is_not_packed(self):
        """A backend that answers can write to the directory of its model: for example a link to a file that it may not read itself."""
        secret = os.path.join(self.dir, "elsewhere")
        os.mkdir(secret, 0o700)
        self.write(os.path.join(secret, "words.jsonl"), "a secret\n", 0o600)
        targets = {"linked model": secret, "linked file": os.path.join(secret, "words.jsonl"), "another model": "", "changed model": ""}
        for fault, target in targets.items():
            with self.subTest(fault):
                self.write_home("config.json", json.dumps({"backends": {"test-word": {"fault": fault, "elsewhere": "=" + target}}}))
                done = self.compile(code=5)
                self.assert_error(done, "test-word", "words.jsonl", "while it answered")
                self.assertEqual(self.left(), [])

    def test_a_description_by_the_backend_is_not_trusted(self):
        """job.json says which files a repeated job may read."""
        self.tell("describes")
        kept = re.search(r"^\[job\] +(\S+)", self.compile("--keep-job").out, re.M).group(1)
        for step, kind in (("job", "train"), ("answers", "infer")):
            self.assertEqual(json.loads(self.read(os.path.join(kept, step, "job.json")))["kind"], kind)
        before = self.read(os.path.join(kept, "answers", "job.json"))
        self.assertIn('"event":"result"', self.kolm("job", "run", os.path.join(kept, "answers")).out)
        self.assertEqual(self.read(os.path.join(kept, "answers", "job.json")), before)

    def test_a_result_that_is_a_link_is_not_followed(self):
        other = self.write(os.path.join(self.dir, "other.json"), json.dumps({"format": 1, "toolchain": "of another", "report": {"words": 7}}), 0o600)
        self.write_home("config.json", json.dumps({"backends": {"test-word": {"fault": "linked result", "elsewhere": "=" + other}}}))
        self.assert_error(self.compile(code=5), "test-word", "result.json", "link")
        self.assertEqual(self.left(), [])

    def test_a_path_that_is_no_text(self):
        self.compile()
        os.rename(os.path.join(self.work, "router-1.0.0.kolm"), os.path.join(self.work, NO_TEXT + ".kolm"))
        os.rename(os.path.join(self.work, "router-1.0.0.kolm.intoto.jsonl"), os.path.join(self.work, NO_TEXT + ".kolm.intoto.jsonl"))
        self.assertIn("trusted", self.kolm("verify", NO_TEXT + ".kolm").out)
        value = self.json("verify", NO_TEXT + ".kolm", schema="kolm.verify/1")
        self.assertEqual((value["verdict"], value["file"]), ("trusted", "m\\xFF.kolm"))
        self.json("inspect", NO_TEXT + ".kolm", schema="kolm.inspect/1")
        self.assertIn("billing", self.kolm("run", NO_TEXT + ".kolm", "billing").out)  # the path is not passed to the backend

    def test_a_name_that_no_receipt_can_hold_is_refused_before_work(self):
        done = self.compile("-o", NO_TEXT + ".kolm", code=2)
        self.assert_error(done, "--out", "UTF-8")
        self.assertNotIn("[trainer]", done.out)
        self.assert_nothing_left()
        done = self.compile(env={"KOLM_HOME": os.path.join(self.dir, NO_TEXT)}, code=2)
        self.assert_error(done, "UTF-8", "KOLM_HOME")

    def test_text_that_runs_backwards_is_shown_as_what_it_is(self):
        done = self.kolm("compute", "info", "a\u202egnirts\u2066", code=2)
        self.assertNotIn("\u202e", done.err)
        self.assertIn("\\xE2\\x80\\xAE", done.err)

    def test_a_key_without_words_is_reported_without_holes(self):
        self.compile()
        keyid = self.json("keys", "export")["keyid"]
        self.write("key.pem", self.kolm("keys", "export").out)
        other = {"KOLM_HOME": os.path.join(self.dir, "other")}
        self.kolm("keys", "trust", "key.pem", "--to", "2020-01-01", env=other)
        self.assertIn("key %s is trusted only until 2020" % keyid[:16], self.kolm("verify", "router-1.0.0.kolm", env=other, code=7).out)
        self.kolm("keys", "revoke", keyid, env=other)
        self.assertRegex(self.kolm("verify", "router-1.0.0.kolm", env=other, code=7).out, r"(?m)^revoked: key \S+ was revoked on \S+Z$")

    # ---- who can change files that are trusted

    def test_a_report_replaces_nothing_but_a_report(self):
        failed = os.path.join(self.work, "router-1.0.0.failed")
        missed = ("--gate", "1")
        self.compile(*missed, code=4)
        self.compile(*missed, code=4)
        self.write(os.path.join(failed, "notes.md"), "mine")
        done = self.compile(*missed, code=2)
        self.assert_error(done, "router-1.0.0.failed", "notes.md", "move it away")
        self.assertNotIn("[trainer]", done.out)
        self.assertEqual(self.read(os.path.join(failed, "notes.md")), b"mine")
        shutil.rmtree(failed)
        for make in (lambda: self.write("router-1.0.0.failed", "mine"), lambda: os.symlink(self.plugins, failed)):
            make()
            self.assert_error(self.compile(*missed, code=2), "router-1.0.0.failed", "not a directory")
            self.assertTrue(os.path.lexists(failed))
            os.remove(failed)
        self.assertTrue(os.path.exists(os.path.join(self.plugins, "test-word.so")))

    def test_a_home_that_others_may_change(self):
        os.mkdir(self.home, 0o700)
        os.chmod(self.home, 0o777)
        for words in (("compile", "-t", "router", "-d", "tickets.jsonl"), ("compute", "pick"), ("keys", "list")):
            self.assert_error(self.kolm(*words, code=2), self.home, "chmod go-w")
        self.assertEqual(os.listdir(self.home), [])
        os.chmod(self.home, 0o755)
        self.compile()
        self.write_home("config.json", "{}", 0o666)
        self.assert_error(self.kolm("compute", "pick", code=6), "config.json", "chmod go-w")

    def test_a_key_that_others_may_read_stops_a_compile_before_it_trains(self):
        self.kolm("keys", "export")
        os.chmod(os.path.join(self.home, "keys", "signing.pem"), 0o644)
        done = self.compile(code=None)
        self.assertIn(done.returncode, (2, 6))
        self.assert_error(done, "signing.pem", "chmod 600")
        self.assertNotIn("[trainer]", done.out)
        self.assert_nothing_left()

    def test_a_damaged_log_stops_a_compile_before_it_trains(self):
        self.compile()
        self.compile("--version", "2.0.0")
        log = os.path.join(self.home, "receipts.jsonl")
        good = self.read(log)
        elsewhere = self.write("log.txt", good)
        for damage in (lambda: self.write(log, good.replace(b'"payload"', b'"pAyload"', 1), 0o600), lambda: self.write(log, b"".join(good.splitlines(True)[1:]), 0o600),
                       lambda: self.write(log, good, 0o666), lambda: os.mkfifo(log, 0o600), lambda: os.mkdir(log, 0o700), lambda: os.symlink(elsewhere, log)):
            os.remove(log)
            damage()
            done = self.compile("--version", "3.0.0", code=None)
            self.assertIn(done.returncode, (2, 6))
            self.assert_error(done, "receipts.jsonl")
            self.assertNotIn("[trainer]", done.out)
            self.assertEqual(self.jobs(), [])
            self.kolm("compute", "status", code=None, timeout=20)
            if os.path.isdir(log):
                os.rmdir(log)
                self.write(log, "")
        os.remove(log)
        self.assertEqual(self.read(elsewhere), good)
        self.write(log, good[:-20], 0o600)
        self.assert_error(self.compile("--version", "3.0.0", code=2), "was truncated: it has 3 lines and had 4", "backup")
        self.assertIn("was truncated", self.kolm("verify", "router-1.0.0.kolm", code=7).out)
        self.write(log, good + good[:200], 0o600)  # a partial line that was left by a crash and never acknowledged does not count as damage
        self.compile("--version", "3.0.0")

    def test_a_revoked_key_stops_a_compile_before_it_trains(self):
        self.kolm("keys", "export")
        keyid = self.json("keys", "list")["keys"][0]["keyid"]
        self.assertEqual(self.json("keys", "revoke", keyid, schema="kolm.keys.revoke/1")["keyid"], keyid)
        done = self.compile(code=2)
        self.assert_error(done, "revoked", "kolm keys rotate")
        self.assertNotIn("[trainer]", done.out)
        new = self.json("keys", "rotate", schema="kolm.keys.rotate/1", code=None)
        self.assertEqual(new.get("replaces"), keyid)
        self.compile()

    # ---- documents

    def test_an_unknown_command_is_a_document_too(self):
        for words in (("frob",), ("compute", "frob"), ("keys", "frob"), ("keys",)):
            value = json.loads(self.kolm(*words, "--json", code=2).out)
            self.assertEqual((value["schema"], value["exit"]), ("kolm.error/1", 2))

    def test_json_holds_nothing_that_a_terminal_obeys(self):
        labels = ("billing", "lo\u009b31m", "re\u202e", "caf\u00e9 \u2014 \u20ac")
        self.write_tickets(labels=labels)
        self.compile("--gate", "0", "--min-accuracy", "0")
        seen = {}
        for label in labels:
            line = self.kolm("run", "router-1.0.0.kolm", "--json", "%s please" % label).out
            seen[json.loads(line)["output"]] = line
        self.assertEqual(set(seen), set(labels))
        for words in (("score", "router-1.0.0.kolm", "--eval", "tickets.jsonl", "--json"), ("inspect", "router-1.0.0.kolm", "--json")):
            seen[words] = self.kolm(*words).out
            json.loads(seen[words])
        for line in seen.values():
            self.assertNotRegex(line, "[\u007f-\u009f\u2028-\u202e\u2066-\u2069]")
        self.assertIn("caf\u00e9 \u2014 \u20ac", seen[labels[3]])

    def test_lines_stay_lines_when_they_end_in_an_error(self):
        self.compile()
        lines = self.kolm("run", "router-1.0.0.kolm", "--json", stdin=b"billing\n\xff\n", code=6).out.splitlines()
        self.assertEqual([json.loads(line).get("schema") for line in lines], [None, "kolm.error/1"])

    def test_documents_are_documented(self):
        """docs/json.md has each document and each of its fields; those of a backend's manifest are covered by one word."""
        with open(os.path.join(harness.SOURCE, "docs", "json.md"), encoding="utf-8") as text:
            rows = {name: row for row in text for name in re.findall(r"`(kolm\.[a-z.]+/\d)`", row.split("|")[1] if row.startswith("|") else "")}
        done = {}
        self.write("key.pem", self.kolm("keys", "export").out)
        keyid = self.json("keys", "export")["keyid"]
        plugin = os.path.join(self.plugins, "test-word.so")
        for words, code in ((["--version"], 0), (["frob"], 2), (["compile", "-t", "router", "-d", "tickets.jsonl"], 0), (["score", "router-1.0.0.kolm", "--eval", "tickets.jsonl"], 0),
                            (["compile", "-t", "failed", "-d", "tickets.jsonl", "--gate", "1"], 4), (["inspect", "router-1.0.0.kolm"], 0), (["report", "router-1.0.0.kolm"], 0), (["verify", "router-1.0.0.kolm"], 0), (["keys", "list"], 0),
                            (["keys", "export"], 0), (["keys", "trust", "key.pem"], 0), (["keys", "rotate"], 0), (["keys", "revoke", "f" * 64], 0), (["compute", "list"], 0), (["compute", "detect"], 0),
                            (["compute", "info", "test-word"], 0), (["compute", "pick"], 0), (["compute", "use", "test-word"], 0), (["compute", "test", "test-word"], None),
                            (["compute", "quote", "--rows", "5"], 0), (["compute", "status"], 0), (["compute", "reap"], 0), (["compute", "setup", "test-word", "--remove"], 0), (["backend", "list"], 0), (["backend", "why", "test-word"], 0),
                            (["backend", "new", "mine"], 0), (["backend", "sign", plugin], 0), (["backend", "trust", "key.pem"], 0),
                            (["backend", "keys"], 0), (["backend", "grant"], 0), (["backend", "grant", "test-word"], 0), (["backend", "untrust", keyid], 0), (["backend", "check", plugin, "--only", "identity"], None)):
            value = json.loads(self.kolm(*words, "--json", code=code).out)
            done[value["schema"]] = words
            if value["schema"] == "kolm.compute.info/1":
                continue
            for field in set(value) - {"schema"}:
                self.assertRegex(rows[value["schema"]], r"`%s`" % field, (words, field))
        self.assertLessEqual(set(rows) - set(done), {"kolm.compute.test/1", "kolm.export/1"})

    def test_keys_speak_json_too(self):
        made = self.json("keys", "export", schema="kolm.keys.export/1")
        self.assertTrue(made["public_key"].startswith("-----BEGIN PUBLIC KEY-----\n"))
        self.write("key.pem", made["public_key"])
        self.assertEqual(self.json("keys", "trust", "key.pem", schema="kolm.keys.trust/1")["keyid"], made["keyid"])

    # ---- backends

    def test_the_error_says_who_named_the_backend(self):
        self.assert_error(self.compile(code=2, env={"KOLM_BACKEND": "nobody"}), "KOLM_BACKEND: no backend is called 'nobody'")
        self.assert_error(self.compile("--backend", "nobody", code=2), "--backend: no backend is called 'nobody'")

    def test_a_refused_backend_does_not_become_the_default(self):
        self.write(os.path.join(self.plugins, "broken.json"), "{")
        self.write(os.path.join(self.plugins, "broken.so"), "")
        self.assert_error(self.kolm("compute", "use", "broken", code=3), "broken is refused", "broken.json")
        self.assertFalse(os.path.exists(os.path.join(self.home, "config.json")))

    def test_nothing_that_was_given_is_dropped_in_silence(self):
        self.assert_error(self.compile("--effort", "quick", "--effort", "high", code=2), "--effort is given twice")
        self.assert_error(self.compile("--airgap", "--airgap=advisory", code=2), "--airgap is given twice")
        self.assert_error(self.compile("--seed", "9" * 30, code=2), "too large")
        self.compile("--force", "--force", "--exclude", "test-word", "--exclude", "test-word", code=3)

    def test_help_is_help_everywhere(self):
        for words in (("help",), ("compute", "help"), ("keys", "help")):
            self.assertIn("usage: kolm", self.kolm(*words).out)

    def test_secrets_never_show(self):
        """Tokens are in the environment of ordinary work: they must not appear in any output or file."""
        canary = "CANARYcanary0123456789"
        secrets = {name: canary + name[-8:] for name in ("KOLM_MODAL_TOKEN", "KOLM_VAST_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "HF_TOKEN")}
        self.add_backend("test-other", kind="cloud-serverless", airgap="no", auth=["KOLM_MODAL_TOKEN"], requires=[{"env": "KOLM_VAST_TOKEN"}],
                         billing="per-hour", cost_per_hour_usd=1)
        self.kolm("backend", "grant", "test-other")
        self.env.update(secrets)
        said = ""
        for words, code in ((("compute", "detect"), 0), (("compute", "pick", "--json"), 0), (("compute", "info", "test-other"), 0), (("compute", "status"), 0),
                            (("compile", "-t", "router", "-d", "tickets.jsonl"), 0), (("compile", "-t", "other", "-d", "tickets.jsonl", "--backend", "test-other"), None),
                            (("run", "router-1.0.0.kolm", "billing"), 0), (("verify", "--json", "router-1.0.0.kolm"), 0)):
            done = self.kolm(*words, code=code)
            said += done.out + done.err
        self.assertNotIn(canary, said)
        for folder, _, names in os.walk(self.dir):
            for name in names:
                with open(os.path.join(folder, name), "rb") as content:
                    self.assertNotIn(canary.encode(), content.read(), name)


if __name__ == "__main__":
    harness.main()
