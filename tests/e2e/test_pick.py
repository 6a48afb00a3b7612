#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm compute pick, as a person or a script uses it: which backend it picks, and the reason why it skips each other one."""
import json
import os
import shutil
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from compute_case import Case, setUpModule  # noqa: E402,F401


class Pick(Case):
    def test_pick_has_the_shape_of_the_guide(self):
        self.add_usual()
        text = self.compute("pick").stdout
        self.assertRegex(text, r"\Apicked:  fake-gpu\ndevice:  fake card \(24 GB\)\nscore:   1\.000\n"
                               r"reason:  available; score 1\.000 \(local\)\n")
        self.assertRegex(text, r"\nrunners-up: fake-cpu \(0\.895\), fake-absent \(0\.635 not detected\), fake-cloud \(0\.476 not detected\)\n")

    def test_pick_gives_a_reason_for_each_backend(self):
        self.add_usual()
        text = self.compute("pick", "--budget", "1.00", "--exclude", "fake-gpu").stdout
        self.assertIn("picked:  fake-cpu", text)
        self.assertIn("fake-cloud ($2.50/hr > 1.00)", text)
        self.assertIn("fake-gpu (named by --exclude)", text)
        value = self.json("pick", "--airgap", "--max-tier", "1", schema="kolm.compute.pick/1")
        why = {row["name"]: [r["filter"] for r in row["reasons"]] for row in value["filtered_out"]}
        self.assertEqual(why, {"fake-cloud": ["airgap", "max-tier"]})

    def test_0_asks_for_nothing_and_spends_nothing(self):
        self.add_usual()
        self.add("fake-cloud", kind="cloud-managed", airgap="no", billing="per-token", cost_per_hour_usd=None, auth=["FAKE_TOKEN"], perf=1.0)
        env = {"FAKE_TOKEN": "abc"}
        plain = self.json("pick", env=env)
        for zero in ("0", "0.0", "00", "0.000000"):
            self.assertEqual(self.json("pick", "--min-vram", zero, env=env)["ranking"], plain["ranking"])
        value = self.json("pick", "--max-price", "0", env=env)
        self.assertEqual(value["picked"], "fake-gpu")
        self.assertEqual([r["name"] for r in value["filtered_out"]], ["fake-cloud"])
        self.assertEqual(value["filtered_out"][0]["reasons"], [{"filter": "budget", "text": "billed per-token, and nothing may be spent"}])
        self.assertEqual(value["warnings"], [])
        only = ("pick", "--exclude", "fake-gpu,fake-cpu,fake-absent")
        self.compute(*only, "--max-price", "0", code=3, env=env)
        done = self.compute(*only, "--max-price", "0.01", env=env)
        self.assertIn("picked:  fake-cloud", done.stdout)
        self.assertIn("fake-cloud is billed per-token: --max-price does not limit it", done.stderr)

    def test_budget_of_pick_is_the_old_name_of_max_price(self):
        self.add_usual()
        old, new = (self.compute("pick", option, "1", "--json") for option in ("--budget", "--max-price"))
        self.assertEqual(old.stdout, new.stdout)
        self.assertIn("write --max-price", old.stderr)
        self.assertEqual(new.stderr, "")
        self.assert_error(self.compute("pick", "--budget", "1", "--max-price", "1", code=2), "use one of them")

    def test_implausible_numbers(self):
        self.add_usual()
        for words, piece in [(["--max-tier", "0"], "'0' is not a tier from 1 to 9"), (["--max-tier", "10"], "'10' is not a tier"),
                             (["--max-tier", "4294967297"], "'4294967297' is not a tier"), (["--min-vram", "-0"], "'-0'"),
                             (["--max-price", "-0"], "'-0'"), (["--max-price", "1000000001"], "'1000000001' is too large"),
                             (["--max-price", "18446744073709551616"], "is too large"), (["--min-vram", "18446744073709.551617"], "is too large"),
                             (["--min-vram", "0.0000001"], "'0.0000001' is not a number of gigabytes"), (["--min-vram", ".5"], "'.5'"),
                             (["--min-vram", "1e2"], "'1e2'"), (["--max-price", "0x10"], "'0x10'"), (["--max-price", "1,5"], "'1,5'")]:
            with self.subTest(words=words):
                self.assert_error(self.compute("pick", *words, code=2), piece)
        record = self.compute("pick", "--json", "--max-price", "1000000000", "--min-vram", "23.5").stdout
        path = self.write_home("record.json", record)
        self.assertEqual(self.compute("pick", "--json", "--replay", path).stdout, record)

    def test_airgap_takes_the_same_words_everywhere(self):
        self.add_usual()
        commands = (["compute", "pick"], ["compute", "detect"], ["compute", "quote", "--rows", "10"], ["compute", "test", "fake-cpu"],
                    ["compute", "setup", "fake-cpu", "--remove"])
        for words in commands:
            for word in ("", "=strict", "=advisory"):
                with self.subTest(words=words, word=word):
                    self.kolm(*words, "--airgap" + word, code=0)
            self.assert_error(self.kolm(*words, "--airgap=maybe", code=2), "'maybe' is not strict|advisory")
        for words in (["compile", "-t", "a", "-d", "b"], ["run", "a.kolm", "b"], ["score", "a.kolm"]):
            self.assert_error(self.kolm(*words, "--airgap=maybe", code=2), "'maybe' is not strict|advisory")
        self.assert_error(self.compute("test", "fake-cloud", "--airgap", code=5), "fake-cloud needs a network")

    def test_a_record_of_another_picker_is_reported(self):
        self.add_usual()
        record = self.json("pick")
        record["picker_version"] = "1"
        path = self.write_home("record.json", json.dumps(record))
        self.assert_error(self.compute("pick", "--replay", path, code=6), "the record is of picker 1, and this is picker")

    def test_min_vram_needs_a_detected_card(self):
        self.add_usual()
        self.assertEqual(self.json("pick", "--min-vram", "24")["picked"], "fake-gpu")
        value = self.json("pick", "--min-vram", "80", code=3)
        self.assertEqual((value["picked"], value["best_match"]), (None, "fake-cloud"))
        self.assertEqual(self.json("pick", "--min-vram", "80", env={"FAKE_TOKEN": "abc"})["picked"], "fake-cloud")

    def test_nothing_available_is_exit_3_and_says_what_lacks(self):
        self.add("fake-absent")
        done = self.compute("pick", code=3)
        self.assertIn("best match: fake-absent", done.stdout)
        self.assert_error(done, "no such card", "buy one")
        done = self.compute("pick", "--exclude", "fake-absent", code=3)
        self.assert_error(done, "no backend passes")

    def test_unknown_exclude_is_a_usage_error(self):
        self.add_usual()
        self.assert_error(self.compute("pick", "--exclude", "fake-cpuu", code=2), "'fake-cpuu'", "fake-cpu")

    def test_detect_only_may_be_picked_and_is_reported(self):
        self.add("fake-detect-only", perf=1.0)
        self.add("fake-cpu")
        text = self.compute("pick").stdout
        self.assertIn("picked:  fake-detect-only", text)
        self.assertIn("note:    fake-detect-only is detect only in this version; kolm compile would use fake-cpu", text)
        self.assertIn("detect only", self.compute("list").stdout)

    def test_who_trains_and_cannot_answer_is_no_candidate(self):
        self.add("fake-mute", perf=1.0)
        self.add("fake-cpu")
        text = self.compute("pick").stdout
        self.assertIn("picked:  fake-mute", text)
        self.assertIn("note:    fake-mute cannot answer in this version; kolm compile would use fake-cpu", text)
        self.assertRegex(self.compute("list").stdout, r"fake-mute .*\(cannot answer\)\n")
        data = self.write_home("rows.jsonl", "".join('{"input":"word%d here","output":"%s"}\n' % (i, "ab"[i % 2]) for i in range(40)))
        compile_words = ("compile", "-t", "m", "-d", data)
        self.assertIn("using fake-cpu", self.kolm(*compile_words, code=5).stdout)  # fakes do not train
        self.assert_error(self.kolm(*compile_words, "--backend", "fake-mute", code=5), "fake-mute", "trains and cannot answer")
        self.add("fake-mute", perf=1.0, infer=False)  # if its manifest says so, pick takes it into account
        value = self.json("pick")
        self.assertEqual(value["picked"], "fake-cpu")
        self.assertEqual([(r["name"], r["reasons"][0]["filter"]) for r in value["filtered_out"]], [("fake-mute", "answer")])

    def test_explain_shows_terms_and_the_smallest_flip(self):
        self.add_usual()
        text = self.compute("pick", "--explain", "--exclude", "fake-gpu", env={"FAKE_TOKEN": "abc"}).stdout
        self.assertRegex(text, r"fake-cpu +0\.35000 +0\.20000 +0\.15000 +0\.15000 +0\.04500 +0\.89500")
        self.assertIn("smallest change that would flip the choice: fake-cloud would win if fake-cpu cost at least $1.7189/h", text)
        self.assertIn("also: fake-cloud would win if it cost at most $0.7811/h", text)

    def test_replay_gives_the_same_answer_anywhere(self):
        self.add_usual()
        record = self.compute("pick", "--json", "--budget", "2", env={"FAKE_TOKEN": "abc"}).stdout
        path = os.path.join(self.dir, "record.json")
        with open(path, "w", encoding="utf-8") as out:
            out.write(record)
        shutil.rmtree(self.backends)
        self.assertEqual(self.compute("pick", "--replay", path, "--json").stdout, record)
        self.assertIn("picked:  fake-gpu", self.compute("pick", "--replay", path).stdout)
        for old, new, code in [('"picked": "fake-gpu"', '"picked": "fake-cpu"', 7), ('"perf": 0.3', '"perf": 1.0', 7),
                               ('"candidates"', '"candidate"', 6), ("{", "", 6)]:
            with open(path, "w", encoding="utf-8") as out:
                out.write(record.replace(old, new, 1))
            self.assert_error(self.compute("pick", "--replay", path, code=code))
        self.assert_error(self.compute("pick", "--replay", path + ".none", code=6), path)

    def test_airgap_loads_no_network_plugin_and_reads_no_token(self):
        self.add_usual()
        self.add("fake-crash", kind="cloud-managed", airgap="no", billing="per-token", cost_per_hour_usd=None)
        self.write_home("credentials", "FAKE_TOKEN=x\n", 0o644)  # reading it would be an error
        states = self.states("--airgap")
        self.assertEqual((states["fake-cloud"], states["fake-crash"]), ("not loaded", "not loaded"))
        self.assertEqual(self.json("pick", "--airgap")["picked"], "fake-gpu")

    def test_credentials_others_can_read_are_refused(self):
        self.add_usual()
        self.write_home("credentials", "FAKE_TOKEN=x\n", 0o644)
        self.assert_error(self.compute("pick", code=6), "credentials", "chmod 600")

    def test_config_overrides_a_price(self):
        self.add_usual()
        self.write_home("config.json", '{"backends": {"fake-cloud": {"cost_per_hour_usd": 0.25}}}')
        value = self.json("pick", env={"FAKE_TOKEN": "abc"})
        cloud = next(c for c in value["candidates"] if c["name"] == "fake-cloud")
        self.assertEqual(cloud["cost_per_hour_usd"], 0.25)
        self.write_home("config.json", '{"backends": {"fake-cloud": {"cost_per_hour_usd": -3}}}')
        refused = {r["name"]: r["why"] for r in self.json("list")["refused"]}
        self.assertIn("cost_per_hour_usd", refused["fake-cloud"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[6:])
