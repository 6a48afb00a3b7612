#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm compute, as a person or a script uses it: every verb but pick, its JSON, its exit codes and its errors."""
import base64
import json
import os
import pty
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compute_case  # noqa: E402
from compute_case import Case, manifest, setUpModule  # noqa: E402,F401


class Compute(Case):
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
        self.add("fake-broken")  # this is an answer too
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
        self.assertEqual(hanging["reason"], "fake-hang did not respond within 1000 ms in detect")
        self.assertIn("kolm compute detect --timeout SECONDS", hanging["remedy"])
        self.assertIn("report it to tests, https://example.org", hanging["remedy"])
        self.assertEqual(self.json("pick")["picked"], "fake-cpu")
        for bad in ("0", "3601", "soon"):
            self.assert_error(self.compute("detect", "--timeout", bad, code=2), "--timeout")

    def test_ctrl_c_ends_a_detection(self):
        self.add("fake-hang")
        child = subprocess.Popen([compute_case.KOLM, "compute", "detect"], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
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
                # The others are still used; the row says why this one is not.
                self.assertEqual(self.json("pick")["picked"], "fake-cpu")
                refused = {r["name"]: r["why"] for r in self.json("list")["refused"]}
                self.assertEqual(list(refused), ["fake-gpu"])
                self.assertIn(piece, refused["fake-gpu"])
                self.compute("use", "fake-cpu")
                self.compute("use", "--clear")
                done = self.kolm("compile", "-t", "m", "-d", data, code=5)  # fakes do not train
                self.assertIn("using fake-cpu", done.stdout)
                self.assertIn("kolm: warning: fake-gpu is left out: ", done.stderr)

    def test_a_section_under_a_mistyped_name_is_not_ignored(self):
        self.add_usual()
        self.add("fake-gpu", vram_cap_gb="own", settings=self.SETTINGS)
        self.configure(backends={"fake-gpuu": {"host_key": "x"}})
        self.assert_error(self.compute("info", "fake-gpu", code=6), 'backends.fake-gpuu: there is no such backend; did you mean "fake-gpu"?')
        self.assertEqual(self.json("pick")["picked"], "fake-cpu")
        self.configure(backends={"FAKE-GPU": {"host_key": "x"}})
        self.assert_error(self.compute("info", "fake-gpu", code=6), 'backends.FAKE-GPU: there is no such backend; did you mean "fake-gpu"?')
        for other in ({"fake-gpuu": {"colour": 1}}, {"x-fake-gpu": {"host_key": "x"}}, {"another": {"host_key": "x"}},
                      {"fake-gpu": {"host_key": "x"}, "fake-gpuu": {"host_key": "x"}},
                      # Any backend may have a tier: this name may belong to one that is not installed.
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
        self.configure(runtimes={"fake-gpu": 7})  # wrong for one backend: the others are still used
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

    def test_info_warns_of_unpredictable_costs(self):
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

    # ---- general behaviour

    def test_colour_only_on_a_terminal_without_no_color(self):
        self.add("fake-cpu")
        self.assertNotIn("\033", self.compute("pick").stdout)
        self.assertIn(b"\033[", self.on_a_terminal("compute", "pick"))
        self.assertNotIn(b"\033[", self.on_a_terminal("compute", "pick", env={"NO_COLOR": "1"}))

    def on_a_terminal(self, *words, env=None):
        leader, follower = pty.openpty()
        full = dict(self.env, TERM="xterm", **(env or {}))
        child = subprocess.Popen([compute_case.KOLM, *words], env=full, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower)
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
            done = subprocess.run([compute_case.KOLM, "compute", "list"], env=self.env, stdout=full, stderr=subprocess.PIPE, text=True,
                                  check=False, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("standard output could not be written", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[6:])
