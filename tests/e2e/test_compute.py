#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm compute, as a person or a script uses it: every verb, its JSON, its exit codes, its refusals."""
import base64
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

os.umask(0o022)  # kolm believes no home that the group may change

BUILT_KOLM, BUILT_HOST, FAKES = (os.path.abspath(word) for word in sys.argv[1:4])
LIBEXEC, BACKENDS = sys.argv[4:6]  # where an installed tree has them, below its prefix
KOLM = None


def setUpModule():
    """An installed tree of its own: a kolm in a build tree would find the real backends as well."""
    global KOLM
    prefix = tempfile.mkdtemp(prefix="kolm-prefix-")
    unittest.addModuleCleanup(shutil.rmtree, prefix, True)
    KOLM = os.path.join(prefix, "bin", "kolm")
    for source, target in ((BUILT_KOLM, KOLM), (BUILT_HOST, os.path.join(prefix, LIBEXEC, "kolm-host"))):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(source, target)
        os.chmod(target, 0o755)
    os.makedirs(os.path.join(prefix, BACKENDS), exist_ok=True)
    for directory, _, _ in os.walk(prefix):
        os.chmod(directory, 0o755)


def manifest(name, **changes):
    fields = {
        "name": name, "kind": "local", "train": True, "infer": True, "airgap": "yes", "billing": "free",
        "cost_per_hour_usd": 0, "cold_start_seconds": 0, "vram_cap_gb": None, "auth": [], "tier": 1, "perf": 0.3,
        "runtime": "fake runtime", "requires": [], "hint": "always available", "summary": "A fake for tests.",
    }
    fields.update(changes)
    return fields


class Compute(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-compute-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.home = os.path.join(self.dir, "home")
        self.backends = os.path.join(self.dir, "backends")
        os.mkdir(self.backends, 0o755)
        self.env = {"KOLM_HOME": self.home, "KOLM_BACKEND_PATH": self.backends, "PATH": "/nonexistent", "LANG": "C.UTF-8"}

    # ---- helpers

    def add(self, name, **changes):
        shutil.copy(os.path.join(FAKES, name + ".so"), os.path.join(self.backends, name + ".so"))
        self.write_manifest(manifest(name, **changes))
        if changes.get("auth"):
            self.kolm("backend", "grant", name)

    def write_manifest(self, fields):
        path = os.path.join(self.backends, fields["name"] + ".json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(fields, out)
        os.chmod(path, 0o644)

    def add_usual(self):
        self.add("fake-cpu")
        self.add("fake-gpu", vram_cap_gb="own", perf=1.0, hint="a fake card")
        self.add("fake-absent", perf=0.9)
        self.add("fake-cloud", kind="cloud-marketplace", airgap="no", cost_per_hour_usd=2.5, cold_start_seconds=5,
                 vram_cap_gb=80, auth=["FAKE_TOKEN"], tier=2, perf=0.95, billing="per-hour", hint="FAKE_TOKEN")

    def kolm(self, *words, code=0, env=None, **more):
        full = dict(self.env)
        full.update(env or {})
        full = {k: v for k, v in full.items() if v is not None}
        done = subprocess.run([KOLM, *words], env=full, capture_output=True, text=True, timeout=60, check=False,
                              stdin=subprocess.DEVNULL, **more)
        self.assertEqual(done.returncode, code, (words, done.stdout, done.stderr))
        return done

    def compute(self, *words, **more):
        return self.kolm("compute", *words, **more)

    def json(self, *words, schema=None, **more):
        value = json.loads(self.compute(*words, "--json", **more).stdout)
        if schema:
            self.assertEqual(value["schema"], schema)
        return value

    def assert_error(self, done, *pieces):
        self.assertTrue(done.stderr.startswith("kolm: ") or "\nkolm: " in done.stderr, done.stderr)
        self.assertIn("  -> ", done.stderr)
        for piece in pieces:
            self.assertIn(piece, done.stderr)

    def write_home(self, name, text, mode=0o600):
        path = os.path.join(self.home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(path, mode)
        return path

    def states(self, *words, **more):
        value = self.json("detect", *words, **more)
        return {b["name"]: b["detection"]["state"] for b in value["backends"]}

    # ---- usage

    def test_usage_errors_quote_the_word(self):
        for words, piece in [
            (["pick", "--budget", "abc"], "'abc'"), (["pick", "--budget", "-1"], "'-1'"), (["pick", "--budget=-1"], "'-1'"),
            (["pick", "--budget", ""], "--budget needs a value"), (["pick", "--min-vram"], "--min-vram needs a value"),
            (["pick", "--min-vram", "--json"], "--min-vram needs a value"), (["pick", "--min-vram", "many"], "'many'"),
            (["pick", "--max-tier", "1.5"], "'1.5'"), (["pick", "--max-tier", "99999999999999999999"], "9999"),
            (["pick", "--budget", "nan"], "'nan'"), (["pick", "--budget", "1e3"], "'1e3'"), (["pick", "foo", "bar"], "'foo'"),
            (["pick", "--bugdet", "1"], "did you mean --budget"), (["pick", "--explain=yes"], "takes no value"),
            (["pik"], "did you mean 'kolm compute pick'"), (["list", "--frob"], "'--frob'"), (["use"], "missing NAME"),
            (["use", "a", "b"], "'b'"), (["info"], "missing NAME"), (["test"], "missing NAME"), (["status", "x"], "'x'"),
            (["status", "--since", "soon"], "'soon'"), (["pick", "-x"], "'-x'"), (["quote", "--rows", "-5"], "'-5'"),
            (["pick", "--replay", "x", "--airgap"], "--replay"), (["use", "--clear", "x"], "'x'"),
        ]:
            with self.subTest(words=words):
                self.assert_error(self.compute(*words, code=2), piece)

    def test_usage_errors_are_json_too(self):
        value = json.loads(self.compute("pick", "--budget", "abc", "--json", code=2).stdout)
        self.assertEqual((value["schema"], value["exit"], value["code"]), ("kolm.error/1", 2, "INVALID_ARGUMENT"))
        self.assertIn("'abc'", value["text"])

    def test_help_and_version(self):
        for words in ([], ["compute"]):
            self.assertIn("usage:", self.kolm(*words, code=2).stdout)
            self.assertIn("usage:", self.kolm(*words, "--help").stdout)
        for verb in ("list", "detect", "pick", "use", "info", "status", "reap", "test", "quote"):
            self.assertIn("usage: kolm compute " + verb, self.compute(verb, "--help").stdout)
        self.assertRegex(self.kolm("--version").stdout, r"^kolm \d+\.\d+\.\d+ ")
        self.assertEqual(json.loads(self.kolm("--version", "--json").stdout)["schema"], "kolm.version/1")

    def test_control_characters_do_not_reach_the_terminal(self):
        done = self.compute("pick", "\033[31mred", code=2)
        self.assertNotIn("\033", done.stderr)
        self.assertIn("\\x1B", done.stderr)

    # ---- list

    def test_list_has_the_shape_of_the_guide(self):
        self.add_usual()
        lines = self.compute("list").stdout.splitlines()
        self.assertEqual(lines[0], "LOCAL")
        self.assertIn("CLOUD", lines)
        cpu = next(line for line in lines if line.startswith("  fake-cpu "))
        self.assertRegex(cpu, r"^  fake-cpu +tier 1  always available +0 \$/hr +fake runtime")
        cloud = next(line for line in lines if line.startswith("  fake-cloud "))
        self.assertRegex(cloud, r"tier 2  FAKE_TOKEN +2\.50 \$/hr")
        value = self.json("list", schema="kolm.compute.list/1")
        self.assertEqual(sorted(b["name"] for b in value["backends"]), ["fake-absent", "fake-cloud", "fake-cpu", "fake-gpu"])

    def test_list_loads_no_plugin(self):
        self.add("fake-crash")
        self.compute("list")
        self.assertFalse(os.path.exists(self.home))

    def test_list_shows_refused_rows_with_why(self):
        self.add_usual()
        os.chmod(os.path.join(self.backends, "fake-gpu.so"), 0o777)
        self.write_manifest(manifest("fake-cpu", tier="one"))
        text = self.compute("list").stdout
        self.assertRegex(text, r"(?s)REFUSED\n.*fake-cpu .*tier.*fake-gpu .*can be changed")
        refused = {r["name"]: r["why"] for r in self.json("list")["refused"]}
        self.assertIn("tier", refused["fake-cpu"])

    def test_list_without_backends(self):
        empty = os.path.join(self.dir, "empty")
        os.mkdir(empty)
        for path in (empty, os.path.join(self.dir, "nowhere")):
            done = self.compute("list", env={"KOLM_BACKEND_PATH": path})
            self.assertIn("no backends", done.stdout + done.stderr)

    # ---- detect

    def test_detect_says_state_reason_and_remedy(self):
        self.add_usual()
        self.add("fake-broken")
        self.add("fake-crash")
        self.assertEqual(self.states(), {"fake-cpu": "available", "fake-gpu": "available", "fake-absent": "absent",
                                         "fake-cloud": "absent", "fake-broken": "broken", "fake-crash": "crashed"})
        text = self.compute("detect").stdout
        self.assertIn("driver and library differ", text)
        self.assertIn("fake card", text)
        gpu = next(b for b in self.json("detect", schema="kolm.compute.detect/1")["backends"] if b["name"] == "fake-gpu")
        self.assertEqual(gpu["detection"]["devices"][0]["total_memory_bytes"], 24 * 2**30)
        self.assertTrue(gpu["from_cache"])

    def test_a_new_token_counts_at_once(self):
        self.add_usual()
        self.assertEqual(self.states()["fake-cloud"], "absent")
        self.assertEqual(self.states(env={"FAKE_TOKEN": "secret-token-1234"})["fake-cloud"], "available")
        self.assertEqual(self.states()["fake-cloud"], "absent")
        self.write_home("credentials", "FAKE_TOKEN=another-token-9999\n")
        self.assertEqual(self.states()["fake-cloud"], "available")

    def test_no_secret_is_ever_stored(self):
        self.add_usual()
        token = "very-secret-token-value-4711"
        self.compute("detect", env={"FAKE_TOKEN": token})
        self.compute("pick", "--json", env={"FAKE_TOKEN": token})
        for directory, _, names in os.walk(self.home):
            for name in names:
                with open(os.path.join(directory, name), "rb") as file:
                    self.assertNotIn(token.encode(), file.read(), name)

    def test_cache_is_used_refreshed_and_survives_garbage(self):
        self.add("fake-cpu")
        self.compute("detect")
        path = os.path.join(self.home, "cache", "detect.json")
        self.assertTrue(self.json("detect")["backends"][0]["from_cache"])
        self.assertFalse(self.json("detect", "--refresh")["backends"][0]["from_cache"])
        self.assertFalse(self.json("detect", "--force")["backends"][0]["from_cache"])
        for garbage in ("", "{", "[]", '{"entries": 3}', '{"entries":{"fake-cpu":[]}}',
                        '{"entries":{"fake-cpu":{"key":"x","detection":{"state":"available"}}}}', "\x00\x01"):
            with open(path, "w", encoding="utf-8") as out:
                out.write(garbage)
            self.assertFalse(self.json("detect")["backends"][0]["from_cache"], garbage)
            self.assertTrue(self.json("detect")["backends"][0]["from_cache"], garbage)

    def test_a_forged_cache_entry_cannot_make_a_ghost_available(self):
        self.add("fake-absent")
        self.compute("detect")
        path = os.path.join(self.home, "cache", "detect.json")
        with open(path, encoding="utf-8") as file:
            cache = json.load(file)
        for state in ("yes", True, "2/2 backends", None):
            cache["entries"]["fake-absent"]["detection"]["state"] = state
            with open(path, "w", encoding="utf-8") as out:
                json.dump(cache, out)
            self.assertEqual(self.states()["fake-absent"], "absent")

    def test_a_place_for_scratch_that_is_gone_blames_no_backend(self):
        self.add_usual()
        env = {"TMPDIR": os.path.join(self.dir, "nowhere")}
        self.assertIn("picked:  fake-", self.compute("pick", env=env).stdout)
        self.assertIn("picked:  fake-", self.compute("pick").stdout)

    def test_a_changed_plugin_is_detected_again(self):
        self.add("fake-cpu")
        self.compute("detect")
        self.add("fake-cpu", summary="Another one.")
        self.assertFalse(self.json("detect")["backends"][0]["from_cache"])

    def test_a_home_that_cannot_be_written_works_without_cache(self):
        self.add("fake-cpu")
        with open(self.home, "w", encoding="utf-8"):
            pass
        for _ in range(2):
            self.assertFalse(self.json("detect")["backends"][0]["from_cache"])
        self.assertEqual(self.json("pick")["picked"], "fake-cpu")
        self.assert_error(self.compute("use", "fake-cpu", code=6), self.home)

    def test_no_home_is_an_error_with_a_remedy(self):
        done = self.compute("pick", code=2, env={"KOLM_HOME": None})
        self.assert_error(done, "KOLM_HOME", "HOME")
        self.assert_error(self.compute("pick", code=2, env={"KOLM_HOME": "rel"}), "'rel'")
        self.kolm("--version", env={"KOLM_HOME": None})

    def shift_cache(self, seconds):
        path = os.path.join(self.home, "cache", "detect.json")
        with open(path, encoding="utf-8") as file:
            cache = json.load(file)
        for entry in cache["entries"].values():
            entry["at"] += seconds
        with open(path, "w", encoding="utf-8") as out:
            json.dump(cache, out)

    def test_entries_live_an_hour_and_only_answers_are_kept(self):
        self.add("fake-cpu")
        self.add("fake-broken")  # an answer too
        self.add("fake-crash")
        for seconds, kept in [(0, {"fake-cpu", "fake-broken"}), (-3500, {"fake-cpu", "fake-broken"}), (-3700, set()), (60, set())]:
            self.compute("detect", "--refresh")
            self.shift_cache(seconds)
            found = {b["name"] for b in self.json("detect")["backends"] if b["from_cache"]}
            self.assertEqual(found, kept, seconds)

    def test_a_crash_takes_an_older_answer_out_of_the_cache(self):
        self.add("fake-cpu")
        self.compute("detect")
        path = os.path.join(self.home, "cache", "detect.json")
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
        self.add("fake-crash")
        with open(path, "w", encoding="utf-8") as out:
            json.dump({"version": 1, "entries": {"fake-cpu": before["entries"]["fake-cpu"], "fake-crash": before["entries"]["fake-cpu"]}}, out)
        self.compute("detect", "--refresh")
        with open(path, encoding="utf-8") as file:
            self.assertEqual(set(json.load(file)["entries"]), {"fake-cpu"})

    def test_one_that_hangs_is_a_row(self):
        self.add("fake-cpu")
        self.add("fake-hang")
        self.assertEqual(self.states("--timeout", "1"), {"fake-cpu": "available", "fake-hang": "timed out"})
        self.assertEqual([b["name"] for b in self.json("detect", "--timeout", "1")["backends"] if b["from_cache"]], ["fake-cpu"])
        hanging = [b["detection"] for b in self.json("detect", "--timeout", "1")["backends"] if b["name"] == "fake-hang"][0]
        self.assertEqual(hanging["reason"], "fake-hang did not answer within 1000 ms in detect")
        self.assertIn("kolm compute detect --timeout SECONDS", hanging["remedy"])
        self.assertIn("report it to tests, https://example.org", hanging["remedy"])
        self.assertEqual(self.json("pick")["picked"], "fake-cpu")
        for bad in ("0", "3601", "soon"):
            self.assert_error(self.compute("detect", "--timeout", bad, code=2), "--timeout")

    def test_ctrl_c_ends_a_detection(self):
        self.add("fake-hang")
        child = subprocess.Popen([KOLM, "compute", "detect"], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 20
        while not self.children(child.pid) and time.monotonic() < deadline:
            time.sleep(0.005)
        started = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
        self.assertEqual(child.returncode, 130, err)
        self.assertLess(time.monotonic() - started, 4)
        self.assertFalse(os.path.exists(os.path.join(self.home, "cache", "detect.json")))

    @staticmethod
    def children(pid):
        try:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
                return file.read().split()
        except FileNotFoundError:
            return []

    # ---- pick

    def test_pick_has_the_shape_of_the_guide(self):
        self.add_usual()
        text = self.compute("pick").stdout
        self.assertRegex(text, r"\Apicked:  fake-gpu\ndevice:  fake card \(24 GB\)\nscore:   1\.000\n"
                               r"reason:  available; score 1\.000 \(local\)\n")
        self.assertRegex(text, r"\nrunners-up: fake-cpu \(0\.895\), fake-absent \(0\.635 not detected\), fake-cloud \(0\.476 not detected\)\n")

    def test_pick_gives_a_reason_for_everybody(self):
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
        self.assertIn("fake-cloud is billed per-token: --max-price says nothing about it", done.stderr)

    def test_budget_of_pick_is_the_old_name_of_max_price(self):
        self.add_usual()
        old, new = (self.compute("pick", option, "1", "--json") for option in ("--budget", "--max-price"))
        self.assertEqual(old.stdout, new.stdout)
        self.assertIn("write --max-price", old.stderr)
        self.assertEqual(new.stderr, "")
        self.assert_error(self.compute("pick", "--budget", "1", "--max-price", "1", code=2), "give one of them")

    def test_numbers_that_nobody_means(self):
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

    def test_a_record_of_another_picker_is_said_to_be_one(self):
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

    def test_detect_only_may_be_picked_and_is_said_to_be_so(self):
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
        self.assertIn("using fake-cpu", self.kolm(*compile_words, code=5).stdout)  # a fake: it trains nothing
        self.assert_error(self.kolm(*compile_words, "--backend", "fake-mute", code=5), "fake-mute", "trains and cannot answer")
        self.add("fake-mute", perf=1.0, infer=False)  # and when its manifest says so itself, pick knows as well
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

    # ---- settings

    SETTINGS = [{"key": "host_key", "type": "string", "summary": "A pin."}, {"key": "wait", "type": "integer", "max": 60, "summary": "Seconds."}]

    def configure(self, **config):
        self.write_home("config.json", json.dumps(config))

    def test_a_bad_setting_is_an_error_for_who_names_the_backend(self):
        self.add_usual()
        self.add("fake-gpu", vram_cap_gb="own", settings=self.SETTINGS)
        for section, piece in [({"hostkey": "x"}, 'fake-gpu.hostkey: there is no such setting; did you mean "host_key"?'),
                               ({"wait": "5"}, "fake-gpu.wait: expected a whole number of at most 60, not a string"),
                               ({"wait": 61}, "fake-gpu.wait: expected a whole number of at most 60"), (["wait"], "fake-gpu: expected an object"),
                               ({"cost_per_hour_usd": -1}, "fake-gpu.cost_per_hour_usd: expected")]:
            with self.subTest(section=section):
                self.configure(backends={"fake-gpu": section})
                data = self.write_home("rows.jsonl", "".join('{"input":"word%d here","output":"%s"}\n' % (i, "ab"[i % 2]) for i in range(40)))
                for words in (["compute", "info", "fake-gpu"], ["compute", "test", "fake-gpu"], ["compute", "use", "fake-gpu"],
                              ["compute", "status", "fake-gpu"], ["compute", "setup", "fake-gpu"],
                              ["compile", "-t", "m", "-d", data, "--backend", "fake-gpu"]):
                    self.assert_error(self.kolm(*words, code=6), os.path.join(self.home, "config.json"), piece)
                # The others go on; the row says why it is not taken.
                self.assertEqual(self.json("pick")["picked"], "fake-cpu")
                refused = {r["name"]: r["why"] for r in self.json("list")["refused"]}
                self.assertEqual(list(refused), ["fake-gpu"])
                self.assertIn(piece, refused["fake-gpu"])
                self.compute("use", "fake-cpu")
                self.compute("use", "--clear")
                done = self.kolm("compile", "-t", "m", "-d", data, code=5)  # a fake: it trains nothing
                self.assertIn("using fake-cpu", done.stdout)
                self.assertIn("kolm: warning: fake-gpu is left out: ", done.stderr)

    def test_a_section_under_a_mistyped_name_is_not_ignored(self):
        self.add_usual()
        self.add("fake-gpu", vram_cap_gb="own", settings=self.SETTINGS)
        self.configure(backends={"fake-gpuu": {"host_key": "x"}})
        self.assert_error(self.compute("info", "fake-gpu", code=6), 'backends.fake-gpuu: no backend is called that; did you mean "fake-gpu"?')
        self.assertEqual(self.json("pick")["picked"], "fake-cpu")
        self.configure(backends={"FAKE-GPU": {"host_key": "x"}})
        self.assert_error(self.compute("info", "fake-gpu", code=6), 'backends.FAKE-GPU: no backend is called that; did you mean "fake-gpu"?')
        for other in ({"fake-gpuu": {"colour": 1}}, {"x-fake-gpu": {"host_key": "x"}}, {"another": {"host_key": "x"}},
                      {"fake-gpu": {"host_key": "x"}, "fake-gpuu": {"host_key": "x"}},
                      # Any backend has a tier: this may be for one that is not installed.
                      {"fake-gpuu": {"tier": 3}}):
            self.configure(backends=other)
            self.compute("info", "fake-gpu")

    def test_a_manifest_that_declares_nothing_leaves_its_section_free(self):
        self.add("fake-cpu")
        self.configure(backends={"fake-cpu": {"whatever": [{}]}})
        self.assertIn("not declared: any key", self.compute("info", "fake-cpu").stdout)
        self.assertIsNone(self.json("info", "fake-cpu")["settings"])
        self.add("fake-cpu", settings=[])
        self.assert_error(self.compute("info", "fake-cpu", code=6), "whatever: there is no such setting")

    def test_info_shows_settings_and_never_a_value(self):
        self.add("fake-cpu", settings=self.SETTINGS)
        self.configure(backends={"fake-cpu": {"host_key": "hunter2"}})
        said = self.compute("info", "fake-cpu").stdout
        self.assertIn("host_key (set): a string. A pin.", said)
        self.assertIn("wait: a whole number of at most 60. Seconds.", said)
        value = self.json("info", "fake-cpu")
        self.assertEqual([(s["key"], s["set"]) for s in value["settings"]], [("host_key", True), ("wait", False)])
        self.assertNotIn("hunter2", said + json.dumps(value))

    def test_unknown_keys_of_the_configuration_itself(self):
        self.add_usual()
        for config, piece in [({"backens": {}}, 'did you mean "backends"?'), ({"bakend": "fake-cpu"}, 'did you mean "backend"?'),
                              ({"runtimes": [7]}, "runtimes: expected an object")]:
            self.configure(**config)
            for words in (["list"], ["pick"], ["info", "fake-cpu"], ["use", "fake-cpu"]):
                self.assert_error(self.compute(*words, code=6), "config.json", piece)
        self.configure(**{"x-mine": {}})
        self.compute("list")
        self.configure(runtimes={"fake-gpu": 7})  # of one backend: the others go on
        self.assert_error(self.compute("info", "fake-gpu", code=6), "runtimes.fake-gpu: expected the path of a Python interpreter")
        self.compute("info", "fake-cpu")

    def test_a_manifest_with_bad_settings_is_refused(self):
        self.add("fake-cpu", settings=[{"key": "a", "type": "text", "summary": "s"}])
        self.assertIn('the field "settings": "a": "type": expected', self.json("list")["refused"][0]["why"])
        self.add("fake-cpu", settings=[], requires=[{"config": "region"}])
        self.assertIn('"settings" does not declare', self.json("list")["refused"][0]["why"])
        self.add("fake-cpu", settings=[{"key": "tier", "type": "integer", "summary": "s"}])
        self.assertIn("which is a field of the manifest", self.json("list")["refused"][0]["why"])

    # ---- use

    def test_use_writes_the_default_and_keeps_the_rest(self):
        self.add_usual()
        self.write_home("config.json", '{"x-mine": [1, 2]}')
        done = self.compute("use", "fake-cpu")
        self.assertIn("default backend", done.stdout)
        path = os.path.join(self.home, "config.json")
        with open(path, encoding="utf-8") as file:
            self.assertEqual(json.load(file), {"x-mine": [1, 2], "backend": "fake-cpu"})
        self.assertEqual(self.json("status")["default"]["backend"], "fake-cpu")
        self.compute("use", "--clear")
        with open(path, encoding="utf-8") as file:
            self.assertEqual(json.load(file), {"x-mine": [1, 2]})

    def test_use_refuses_unknown_and_warns_of_absent(self):
        self.add_usual()
        self.assert_error(self.compute("use", "fake-gpuu", code=2), "'fake-gpuu'", "fake-gpu")
        self.assertFalse(os.path.exists(os.path.join(self.home, "config.json")))
        self.assertIn("not available", self.compute("use", "fake-absent").stderr)

    def test_a_config_that_is_not_json_is_not_overwritten(self):
        self.add_usual()
        path = self.write_home("config.json", '{"backend": oops}')
        for words in (["use", "fake-cpu"], ["use", "--clear"], ["pick"], ["list"], ["status"]):
            self.assert_error(self.compute(*words, code=6), path, "line 1, column 13")
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), '{"backend": oops}')

    # ---- info

    def test_info_tells_everything_and_only_the_tail_of_a_token(self):
        self.add_usual()
        text = self.compute("info", "fake-cloud", env={"FAKE_TOKEN": "0123456789abcdef"}).stdout
        self.assertIn("environment", text)
        self.assertIn("...cdef", text)
        self.assertNotIn("0123456789", text)
        gpu = self.compute("info", "fake-gpu").stdout
        self.assertRegex(gpu, r"fake card.*24\.0 GiB.*21\.0 GiB free")
        value = self.json("info", "fake-gpu", schema="kolm.compute.info/1")
        self.assertEqual(value["name"], "fake-gpu")
        self.assert_error(self.compute("info", "fake-gpuu", code=2), "fake-gpu")

    def test_info_warns_of_costs_nobody_can_predict(self):
        self.add("fake-cloud", kind="cloud-managed", airgap="no", billing="per-token", cost_per_hour_usd=None)
        self.assertIn("not predictable", self.compute("info", "fake-cloud").stdout)

    # ---- test and quote

    def test_test_prints_the_four_steps(self):
        self.add("fake-cpu")
        text = self.compute("test", "fake-cpu").stdout
        self.assertRegex(text, r"\A\[1/4\]     auth check                        ok\n"
                               r"\[2/4\]     container provision \(cold\)        4\.8s\n")
        self.assertRegex(text, r"\nPASS     fake-cpu is ready for kolm compile\n\Z")
        value = self.json("test", "fake-cpu", schema="kolm.compute.test/1")
        self.assertTrue(value["passed"])
        self.assertEqual(len(value["steps"]), 4)

    def test_test_that_fails_is_exit_5(self):
        self.add("fake-fails")
        done = self.compute("test", "fake-fails", code=5)
        self.assertIn("[3/4]     trainer dry run (no weights)      failed: no trainer", done.stdout)
        self.assertIn("FAIL     ", done.stdout)
        self.add("fake-detect-only")
        self.assert_error(self.compute("test", "fake-detect-only", code=5), "detect only")
        self.add("fake-test-crash")
        self.assert_error(self.compute("test", "fake-test-crash", code=5), "fake-test-crash")

    def test_quote_asks_every_backend(self):
        self.add_usual()
        text = self.compute("quote", "--rows", "1000", "--bytes", "100000").stdout
        self.assertRegex(text, r"fake-cpu +10\.0s +\$0\.00 ")
        value = self.json("quote", "--rows", "1000", schema="kolm.compute.quote/1")
        quotes = {q["name"]: q for q in value["quotes"]}
        self.assertEqual(quotes["fake-cloud"]["duration_ms"], 15000)
        self.assertEqual(quotes["fake-cloud"]["basis"], "1000 rows at 10 ms")
        data = os.path.join(self.dir, "d.jsonl")
        with open(data, "w", encoding="utf-8") as out:
            out.write('{"input":"abc","output":"x"}\n' * 7)
        quotes = {q["name"]: q for q in self.json("quote", "-d", data)["quotes"]}
        self.assertEqual(quotes["fake-cpu"]["duration_ms"], 70)
        self.assert_error(self.compute("quote", "-d", data + ".none", code=6), "d.jsonl.none")
        self.assert_error(self.compute("quote", code=2), "--rows")

    def test_quote_of_what_is_no_data(self):
        self.add_usual()
        path = os.path.join(self.dir, "data")
        for content, piece in ((b"", "empty"), (b"\n \n", "empty"), (b"\x7fELF\0\0\n", "binary")):
            with open(path, "wb") as data:
                data.write(content)
            self.assert_error(self.compute("quote", "-d", path, code=6), path, piece)
        for words in (("--rows", "0"), ("--rows", str(2 ** 64 - 1)), ("--rows", "5", "--bytes", str(2 ** 63))):
            self.assert_error(self.compute("quote", *words, code=2))

    # ---- status

    def test_status_on_a_fresh_home(self):
        self.add_usual()
        text = self.compute("status").stdout
        self.assertIn("picker", text)
        self.assertRegex(text, r"jobs: +none")
        self.assertRegex(text, r"leases: +none")
        value = self.json("status", "--since", "24h", schema="kolm.compute.status/1")
        self.assertEqual(value["totals"]["jobs"], 0)

    def test_status_sums_the_receipts(self):
        def line(hours, cost, predicate="metrics"):
            when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - hours * 3600))
            compute = {"backend": "x", "cost_usd": cost, "wall_duration_ms": 1500}
            statement = {"predicate": {"finished_at": when, predicate: {"compute": compute}}}
            payload = base64.b64encode(json.dumps(statement).encode()).decode()
            return json.dumps({"payloadType": "application/vnd.in-toto+json", "payload": payload, "signatures": []}) + "\n"
        lines = [line(1, 0.25), line(2, 0), line(3, None), line(30, 1.5), line(1, 9, "other"), "garbage\n", '{"payload": "!"}\n']
        self.write_home("receipts.jsonl", "".join(lines))
        sums = self.json("status")["totals"]
        self.assertEqual((sums["jobs"], sums["cost_usd"], sums["wall_duration_ms"]), (4, 1.75, 6000))
        self.assertEqual((sums["unknown_cost"], sums["unreadable"]), (1, 2))
        sums = self.json("status", "--since", "24h")["totals"]
        self.assertEqual((sums["jobs"], sums["cost_usd"]), (3, 0.25))
        self.assertIn("3 compiles, 4.5s, $0.25 (the last 1d)", self.compute("status", "--since", "1d").stdout)

    def test_status_names_who_says_the_default(self):
        self.add_usual()
        self.assertEqual(self.json("status", env={"KOLM_BACKEND": "fake-cpu"})["default"],
                         {"backend": "fake-cpu", "by": "env"})

    # ---- manners

    def test_colour_only_on_a_terminal_without_no_color(self):
        self.add("fake-cpu")
        self.assertNotIn("\033", self.compute("pick").stdout)
        self.assertIn(b"\033[", self.on_a_terminal("compute", "pick"))
        self.assertNotIn(b"\033[", self.on_a_terminal("compute", "pick", env={"NO_COLOR": "1"}))

    def on_a_terminal(self, *words, env=None):
        leader, follower = pty.openpty()
        full = dict(self.env, TERM="xterm", **(env or {}))
        child = subprocess.Popen([KOLM, *words], env=full, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower)
        os.close(follower)
        out = b""
        while True:
            try:
                piece = os.read(leader, 4096)
            except OSError:
                break
            if not piece:
                break
            out += piece
        os.close(leader)
        child.wait(timeout=60)
        return out

    def test_a_full_disk_is_not_silent(self):
        self.add("fake-cpu")
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([KOLM, "compute", "list"], env=self.env, stdout=full, stderr=subprocess.PIPE, text=True,
                                  check=False, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("standard output could not be written", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[6:])
