#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Backends that violate kolm/backend.h, each in one way: `backend check` and the verb that encounters it report it in the same words."""
import json
import os
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case, manifest  # noqa: E402

ANIMAL = os.path.join(os.path.dirname(os.path.dirname(harness.TEST_BACKENDS)), "tests", "host", "breaches.so")
PLACE = b"breach-000000000000000000000000x"  # replaced by its name
MAKER = "; report it to the zoo, https://example.com/zoo"

UTF8, LINE, FILL, SHORT = "use UTF-8", "use one line, without control characters", "fill it in: it is shown to users", "make it shorter"
NUL, NONE, TEXT, ZERO = "end every text with a NUL, as snprintf does", 'use "" if there is none', "give a text", "leave it 0: a later kolm may give it a meaning"
MOST = "use UINT64_MAX for unknown values, and check for a subtraction that went below 0"
COUNT, SLOT, SIZE = "report no more than that", "call it in no other slot", "set its struct_size to sizeof of the record"
THREAD = "join every thread before the slot returns", "it returned and 1 of its threads still runs"
DAEMON = "end every process that the slot starts, and wait for it", "it returned and a process that it started still runs, which is ended now"
UNWAITED = "wait for every process that the slot starts", "it returned and a process that it started had ended, and was not waited for"
NAN = "use NaN if there is none"

# The call, the name of the plugin, what is reported, the remedy for its author, and the check that reports it.
BREACHES = [
    # the table
    ("table", "table-reserved", "the field reserved of its table is 1 and reserved", ZERO, "records"),
    ("table", "table-features", "features of its table has the bits 0x10000000000, which ABI 1.2 does not have", "set those of kolm/backend.h and no others", "records"),
    ("table", "table-size", "struct_size of its table is 4096, and that of ABI 1.2 at most 128", "set it to sizeof(kolm_backend_v1_t)", "records"),
    ("table", "table-minor", "host_minor_needed of its table is 1, and abi_minor is 0", "require at most abi_minor", "records"),
    ("table", "table-version", "the version of its table is longer than 63 bytes, and was cut", SHORT, "texts"),
    ("table", "table-licence", "the licence of its table is not UTF-8 (its byte 7 is 0xFF)", UTF8, "texts"),
    ("table", "table-vendor", "the vendor of its table is empty", FILL, "texts"),
    ("table", "table-homepage", "the homepage of its table is not one line of text (its byte 24 is 0x0A)", LINE, "texts"),
    # what detect answers
    ("detect", "reason-no-nul", "the reason has no NUL within its 256 bytes", NUL, "texts"),
    ("detect", "reason-bytes", "the reason is not UTF-8 (its byte 7 is 0xFF)", UTF8, "texts"),
    ("detect", "reason-empty", "the reason is empty", FILL, "texts"),
    ("detect", "runtime-lines", "the runtime is not one line of text (its byte 4 is 0x0A)", LINE, "texts"),
    ("detect", "remedy-empty", "the remedy is empty, and the state is broken or refused", "say what makes the backend available", "records"),
    ("detect", "remedy-needless", "the remedy is not empty, and the state is available", "leave it empty", "records"),
    ("detect", "result-size", "struct_size of the result was 648 and is 4096", "leave it as it is", "records"),
    ("detect", "result-overrun", "the result is of 648 bytes, and byte 649 was written", "write the fields that end within struct_size, and no others", "records"),
    ("detect", "error-no-nul", "the text of the error has no NUL within its 512 bytes", NUL, "texts"),
    ("detect", "error-code", "the code in the error record is 15, and the returned one is 14", "report the same in both", "records"),
    ("detect", "error-odd-code", "the code 4711 is not one of KOLM_E_*", "return one of KOLM_E_*", "records"),
    # devices
    ("detect", "devices-200", "a device was dropped: kolm accepts 64 of them", COUNT, "records"),
    ("detect", "device-index", "the index of a device is 7, and it is number 1", "count them from 0 as they are reported", "records"),
    ("detect", "device-kind", "memory_kind of a device is 9, and counts as NONE", "use one of KOLM_MEMORY_*", "records"),
    ("detect", "device-free", "a device has 200 bytes free of 100", "count in free_memory_bytes only memory that total_memory_bytes includes", "records"),
    ("detect", "device-total", "total_memory_bytes of a device is 18446744073709551611, which is more than INT64_MAX, and counts as unknown", MOST, "records"),
    ("detect", "device-no-name", "the name of a device is NULL", TEXT, "texts"),
    ("detect", "device-empty-name", "the name of a device is empty", FILL, "texts"),
    ("detect", "device-no-id", "the id of a device is NULL", NONE, "texts"),
    ("detect", "device-long-id", "the id of a device is longer than 63 bytes, and was cut", SHORT, "texts"),
    ("detect", "device-same-id", "the id of a device is already in use", "use a different one for each", "records"),
    ("detect", "device-driver-bytes", "the driver of a device is not UTF-8 (its byte 4 is 0xE9)", UTF8, "texts"),
    ("detect", "device-runtime-lines", "the runtime of a device is not one line of text (its byte 4 is 0x0A)", LINE, "texts"),
    ("detect", "device-size", "a device was dropped: its struct_size is 16, and it has 64 bytes", SIZE, "records"),
    ("detect", "device-null", "a device was reported, and is NULL", "give a record", "records"),
    # services that belong to another slot, and the log
    ("detect", "detect-step", "a step was reported, and only test may do that", SLOT, "records"),
    ("detect", "detect-holding", "a holding was reported, and only status may do that", SLOT, "records"),
    ("detect", "detect-secret", "the secret 'ZOO_TOKEN' was requested, but the manifest does not list it", "list it under auth or secrets of the manifest", "records"),
    ("detect", "log-null", "a log line is NULL", TEXT, "texts"),
    ("detect", "log-level", "the level of a log line is 17, and counts as ERROR", "use one of KOLM_LOG_*", "records"),
    ("detect", "log-bytes", "a log line is not UTF-8 (its byte 3 is 0xFC)", UTF8, "texts"),
    # cost
    ("cost", "cost-negative", "cost_micro_usd is 18446744073708551616, which is more than INT64_MAX, and counts as unknown", MOST, "records"),
    ("cost", "cost-duration", "duration_ms is 9223372036854775808, which is more than INT64_MAX, and counts as unknown", MOST, "records"),
    ("cost", "cost-free", "cost_micro_usd is 5, and the billing is free", "name the billing, or cost nothing", "records"),
    ("cost", "cost-reserved", "the field reserved of the result is 1 and reserved", ZERO, "records"),
    ("cost", "cost-basis", "the basis is empty", FILL, "texts"),
    # train
    ("train", "progress-no-phase", "the phase of progress is NULL", TEXT, "texts"),
    ("train", "progress-long-phase", "the phase of progress is longer than 63 bytes, and was cut", SHORT, "texts"),
    ("train", "progress-past", "progress is at step 5 of 4", "use KOLM_UNKNOWN_COUNT for an unknown total", "reports"),
    ("train", "progress-step", "the step of progress is 18446744073709551615, which is more than INT64_MAX", "count the steps that are done", "reports"),
    ("train", "progress-back", "progress went back from step 2 to 1 in one phase", "keep counting, or start another phase", "reports"),
    ("train", "progress-loss", "the loss of progress is infinite", NAN, "reports"),
    ("train", "progress-speed", "tokens_per_second of progress is negative (-1)", NAN, "reports"),
    ("train", "progress-fast", "tokens_per_second of progress is infinite", NAN, "reports"),
    ("train", "progress-reserved", "the field reserved of progress is 3 and reserved", ZERO, "records"),
    ("train", "progress-size", "progress was dropped: its struct_size is 8, and it has 48 bytes", SIZE, "records"),
    ("train", "metric-nan", "the metric 'loss' was dropped: its value is not a number", "report finite numbers", "reports"),
    ("train", "metric-infinite", "the metric 'loss' was dropped: its value is infinite", "report finite numbers", "reports"),
    ("train", "metric-name", "the metric 'Val Loss' was dropped: not a valid metric name", "name it [a-z][a-z0-9_.]{0,63}", "reports"),
    ("train", "metric-null", "a metric was dropped: its name is NULL", "name it", "reports"),
    ("train", "metrics-1001", "a metric of another name was dropped: kolm accepts 1000 of them", COUNT, "records"),
    ("train", "train-device", "the device is empty", FILL, "texts"),
    ("train", "train-toolchain", "the toolchain has no NUL within its 256 bytes", NUL, "texts"),
    ("train", "train-billed", "billed_micro_usd is 18446744073709551614, which is more than INT64_MAX, and counts as unknown", MOST, "records"),
    ("train", "train-reserved", "the field reserved of the result is 1 and reserved", ZERO, "records"),
    ("train", "train-thread", THREAD[1], THREAD[0], "left"),
    ("train", "train-daemon", DAEMON[1], DAEMON[0], "left"),
    # infer
    ("infer", "infer-reserved", "the field reserved of the result is 1 and reserved", ZERO, "records"),
    ("infer", "infer-device", "the device has no NUL within its 128 bytes", NUL, "texts"),
    ("infer", "infer-thread", THREAD[1], THREAD[0], "left"),
    ("infer", "infer-daemon", DAEMON[1], DAEMON[0], "left"),
    # test
    ("test", "test-outcome", "the outcome of a step is 7, and counts as FAILED", "use one of KOLM_STEP_*", "reports"),
    ("test", "test-number", "the number of a step is 2, and it is number 1", "count them from 1 as they end", "reports"),
    ("test", "test-total", "the total of a step is 3 at step 2, and was 2", "report the same in each, and no fewer than there are", "reports"),
    ("test", "test-title", "the title of a step is NULL", TEXT, "texts"),
    ("test", "test-duration", "duration_us of a step is 18446744073709551614, which is more than INT64_MAX, and counts as unknown", MOST, "records"),
    ("test", "test-steps-1001", "a step was dropped: kolm accepts 1000 of them", COUNT, "records"),
    ("test", "test-fails-mutely", "it ended without a step", "report each step through host->test_step", "reports"),
    ("test", "test-passed", "passed is 7, which is neither 0 nor 1, and counts as 0", "set it to 0 or 1", "records"),
    ("test", "test-summary", "the summary is empty", FILL, "texts"),
    ("test", "test-thread", THREAD[1], THREAD[0], "left"),
    ("test", "test-daemon", DAEMON[1], DAEMON[0], "left"),
    # status
    ("status", "holdings-10001", "a holding was dropped: kolm accepts 10000 of them", COUNT, "records"),
    ("status", "holding-state", "the state of a holding is 9, and counts as unknown", "use one of KOLM_HOLDING_*", "records"),
    ("status", "holding-removed", "a holding was removed, although prune is 0", "remove nothing unless prune is 1", "records"),
    ("status", "holding-place", "the place of a holding is empty", FILL, "texts"),
    ("status", "holding-name", "the name of a holding is NULL", TEXT, "texts"),
    ("status", "holding-kind", "the kind of a holding is longer than 31 bytes, and was cut", SHORT, "texts"),
    ("status", "holding-note", "the note of a holding is not one line of text (its byte 4 is 0x0A)", LINE, "texts"),
    ("status", "holding-price", "price_micro_usd_per_hour of a holding is 18446744073709551609, which is more than INT64_MAX, and counts as unknown", MOST, "records"),
    ("status", "holding-size", "a holding was dropped: its struct_size is 4, and it has 64 bytes", SIZE, "records"),
    ("status", "status-reserved", "the field reserved of the result is 8 and reserved", ZERO, "records"),
    ("status", "status-thread", THREAD[1], THREAD[0], "left"),
    ("status", "status-daemon", DAEMON[1], DAEMON[0], "left"),
]
for call in ("train", "infer", "test", "status"):
    BREACHES.append((call, call + "-unwaited", UNWAITED[1], UNWAITED[0], "left"))
for call in ("train", "infer", "test", "status"):  # only check looks for these, because they have no effect
    BREACHES.append((call, call + "-open", "it returned and 1 descriptor that it opened is still open", "close everything that the slot opens", "left"))
MILD = {"remedy-needless", "detect-secret", "error-code", "progress-back"}  # needs -v, as do those of the table, threads and unreaped processes
CHECKS = {"records": "contract.records", "texts": "contract.texts", "reports": "contract.reports", "left": "manners.leaves-nothing"}
# Reported by the check of the slot itself in other words, or not survived by the call.
BESIDES = {"detect": {"detect.answers"}, "cost": {"cost.pure"}, "test": {"test"}, "status": {"status"}, "train-toolchain": {"train.tiny"}}
# The other checks that are run, so that a hundred reports do not take an hour.
NEEDED = {"table": "detect.answers", "detect": "detect.answers", "cost": "cost.pure", "train": "train.tiny", "infer": "train.tiny", "test": "test", "status": "status"}


def setUpModule():
    harness.set_up_tree()


def sentence(slot, said):
    return said if slot == "table" else "%s: %s" % (slot, said)


class Zoo(Case):
    backends = ()

    def add(self, name, **changes):
        path = os.path.join(self.plugins, name + ".so")
        with open(ANIMAL, "rb") as file:
            self.write(path, file.read().replace(PLACE, name.encode().ljust(len(PLACE), b"\0")), 0o755)
        self.write(path[:-2] + "json", json.dumps(manifest(name, recipes=["linear"], settings=[], **changes)))
        return path

    def report(self, path, slot, needed=None, code=None):
        names = [line.split()[1] for line in self.all_checks]
        needed = needed or NEEDED[slot]
        skipped = [w for n in names if n.split(".")[0] not in ("files", "exports", "loads", "contract", "manners") and n != needed for w in ("--unsupported", n)]
        report = json.loads(self.kolm("backend", "check", "--json", path, *skipped, code=code).out)
        return {c["name"]: c for c in report["checks"]}

    def setUp(self):
        super().setUp()
        good = self.add("good")
        self.all_checks = [line for line in self.kolm("backend", "check", good).out.splitlines() if line.startswith("pass")]
        os.unlink(good)
        self.write_tickets()


class Breaches(Zoo):
    def test_the_same_backend_without_a_breach(self):
        path = self.add("good")
        report = json.loads(self.kolm("backend", "check", "--json", path).out)
        self.assertEqual({c["outcome"] for c in report["checks"]}, {"pass"}, report)
        for words in (("compute", "detect", "--refresh"), ("compute", "quote", "--rows", "50"), ("compute", "test", "good"), ("compute", "status"),
                      ("compile", "-t", "router", "-d", "tickets.jsonl", "--backend", "good")):
            done = self.kolm(*words, "-v")
            self.assertNotIn("report it to", done.err)

    def test_check_says_each(self):
        for slot, name, said, remedy, kind in BREACHES:
            with self.subTest(name):
                path = self.add(name)
                checks = self.report(path, slot, code=5)
                failed = {n for n, c in checks.items() if c["outcome"] == "fail"}
                self.assertTrue(failed - BESIDES.get(slot, set()) - BESIDES.get(name, set()) == {CHECKS[kind]}, (failed, checks))
                reason = checks[CHECKS[kind]]["reason"]
                more = " (and 1 more of this kind)" if name == "infer-device" else ""  # nor is the id UTF-8
                self.assertEqual(reason.removesuffix(more), "%s: %s" % (sentence(slot, said), remedy))
                os.unlink(path)

    def said_by(self, name, done):
        """Returns the lines in which violations of a backend are reported: level and text."""
        lines = [line.removeprefix("kolm: ").split(": ", 2) for line in done.err.splitlines() if line.endswith(MAKER)]
        return {(level, text.removesuffix(MAKER)) for level, who, text in lines if who == name}

    def told(self, name, done, said):
        return any(line.startswith("kolm: info: %s: %s; report it to " % (name, said)) for line in done.err.splitlines())

    def expect(self, slot, name, said, done):
        level = "info" if name in MILD or slot == "table" or name.endswith(("-thread", "-unwaited")) else "warning"
        self.assertIn((level, sentence(slot, said)), self.said_by(name, done), done.err)

    def test_detect_says_each(self):
        mine = [b for b in BREACHES if b[0] in ("table", "detect")]
        for _, name, *_ in mine:
            self.add(name)
        done = self.kolm("compute", "detect", "--refresh", "-v")
        for slot, name, said, _, _ in mine:
            with self.subTest(name):
                if name in ("table-vendor", "table-homepage"):  # the field that says where to report is the wrong one
                    self.assertTrue(self.told(name, done, said), done.err)
                else:
                    self.expect(slot, name, said, done)
        devices = {b["name"]: b["detection"]["devices"] for b in self.json("compute", "detect")["backends"]}
        self.assertEqual(len(devices["devices-200"]), 64)
        self.assertEqual(devices["device-free"][1]["free_memory_bytes"], 100)
        self.assertIsNone(devices["device-total"][1]["total_memory_bytes"])

    def test_quote_says_each(self):
        mine = [b for b in BREACHES if b[0] == "cost"]
        for _, name, *_ in mine:
            self.add(name)
        done = self.kolm("compute", "quote", "--rows", "50", "-v")
        for slot, name, said, _, _ in mine:
            with self.subTest(name):
                self.expect(slot, name, said, done)

    def test_compile_says_each(self):
        for slot, name, said, _, _ in BREACHES:
            if slot not in ("train", "infer") or name.endswith("-open"):
                continue
            with self.subTest(name):
                self.add(name)
                self.expect(slot, name, said, self.compile("--backend", name, "--force", "-v"))

    def test_test_and_status_report_each(self):
        for slot, name, said, _, _ in BREACHES:
            if slot not in ("test", "status") or name.endswith("-open"):
                continue
            with self.subTest(name):
                path = self.add(name, **({} if slot == "test" else {"kind": "self-hosted"}))
                self.expect(slot, name, said, self.kolm("compute", slot, name if slot == "test" else "--remote", "-v", code=None))
                os.unlink(path)

    # ---- What a call does not survive

    def test_results_that_mean_nothing(self):
        for name, slot, said in [("detect-state", "detect", "detect answered with an unknown state (4)"),
                                 ("cost-billing", "cost", "cost answered with an unknown billing (9)"),
                                 ("cost-confidence", "cost", "cost answered with an unknown confidence (9)")]:
            with self.subTest(name):
                path = self.add(name)
                self.assertEqual(self.report(path, slot, code=5)[NEEDED[slot]]["reason"], said)
                done = self.kolm(*(("compute", "detect", "--refresh") if slot == "detect" else ("compute", "quote", "--rows", "50")), code=None)
                self.assertIn(said, done.out)
                os.unlink(path)

    def test_tests_that_prove_nothing(self):
        for name, said in [("test-no-steps", "test reports success, but reported no step: nothing was proved"),
                           ("test-failed", "test reports success, but its step 1 (a step) failed"),
                           ("test-one-of-two", "test reports success, but reported only 1 of 2000 steps")]:
            with self.subTest(name):
                path = self.add(name)
                self.assertEqual(self.report(path, "test", code=5)["test"]["reason"], said)
                done = self.kolm("compute", "test", name, code=5)
                self.assert_error(done, said, "do not rely on it; report this to the author of the backend")
                self.assertNotIn("PASS", done.out)
                os.unlink(path)

    def test_an_invalid_result_json(self):
        for name, said, remedy in [("result-format", "result.json is of format 2, and this kolm reads format 1", "look for a newer kolm, or an older version of the backend"),
                                   ("result-no-format", 'result.json lacks "format":1', "report it to its author"),
                                   ("result-bytes", "result.json is not valid JSON: line 1, column 30: expected valid UTF-8", "report it to its author")]:
            with self.subTest(name):
                path = self.add(name)
                self.assertIn(said, self.report(path, "train", code=5)["train.tiny"]["reason"])
                self.assert_error(self.compile("--backend", name, code=5), name + " left no usable result.json: " + said, remedy)
                os.unlink(path)

    def test_another_toolchain_than_in_result_json(self):
        """The toolchain of result.json is signed, that of the result is used for a job elsewhere."""
        self.assertRegex(self.report(self.add("result-other"), "train", code=5)["train.tiny"]["reason"],
                         r'^train: result.json names the toolchain "zoo 2", and its result "[^"]+": report the same in both$')

    def test_a_recipe_that_is_offered_and_not_made(self):
        path = self.add("train-not-offered")
        for name in ("train.tiny", "train.cancel"):
            self.assertEqual(self.report(path, "train", needed=name, code=5)[name]["reason"],
                             "its manifest offers the recipe linear, but train does not support it: this makes other models")
        with open(path[:-2] + "json", encoding="utf-8") as file:
            offers = {k: v for k, v in json.load(file).items() if k != "recipes"}
        self.write(path[:-2] + "json", json.dumps(offers))
        self.assertEqual(self.report(path, "train")["train.tiny"]["outcome"], "skip")  # its manifest no longer says what it makes

    def test_a_job_that_is_done_before_the_stop_could_come(self):
        checks = self.report(self.add("train-at-once"), "train", needed="train.cancel")
        self.assertEqual(checks["train.cancel"]["outcome"], "pass", checks)

    def test_why_nothing_is_tried_where_detect_fails(self):
        checks = self.report(self.add("error-odd-code"), "train", code=5)
        self.assertEqual(checks["train.tiny"]["reason"], "not available here: the card is away")

    def test_signals_that_kolm_did_not_send(self):
        self.add("train-real-time")
        self.assert_error(self.compile("--backend", "train-real-time", code=5), "crashed in train: signal %d (SIGRTMIN+3)" % (signal.SIGRTMIN + 3))
        self.add("train-terminated")
        self.assert_error(self.compile("--backend", "train-terminated", code=5),
                          "stopped on request; not by kolm: it was sent SIGTERM, or cancelled itself")

    def test_a_count_of_answers_that_were_not_given(self):
        path = self.add("infer-count")
        self.assertEqual(self.report(path, "infer", code=5)["train.tiny"]["reason"],
                         "infer: it reports 33 answers, but gave 30: count those that are written")
        self.compile("--backend", "infer-count")
        self.assertIn("warning: infer-count: infer: it reports 4 answers, but gave 1" + MAKER, self.kolm("run", "router-1.0.0.kolm", "billing").err)
        self.write("rows.jsonl", harness.jsonl(harness.tickets(20, seed=3)))
        self.assertIn("it reports 23 answers, but gave 20" + MAKER, self.kolm("score", "router-1.0.0.kolm", "--eval", "rows.jsonl").err)

    def test_a_report_without_the_models_own_neighbours(self):
        """If a backend fails at this, the report lacks only these rows."""
        path = self.add("infer-near")
        with open(path[:-2] + "json", encoding="utf-8") as file:
            offer = {**json.load(file), "recipes": [{"name": "linear", "nearest": True}]}
        self.write(path[:-2] + "json", json.dumps(offer))
        self.compile("--backend", "infer-near")
        done = self.kolm("report", "router-1.0.0.kolm", "-d", "tickets.jsonl")
        self.assertIn("compared by their texts, because the model cannot be used for it: answering on infer-near: failed: the rows are too many", done.err)
        with open(os.path.join(self.work, "router-1.0.0.html"), encoding="utf-8") as page:
            self.assertIn("TF-IDF", page.read())

    def test_only_asks_the_others_all_the_same(self):
        """A check that evaluates what other checks observed does not pass without them if it is requested alone."""
        checks = {c["name"]: c for c in json.loads(self.kolm("backend", "check", "--json", self.add("progress-back"), "--only", "contract.reports", code=5).out)["checks"]}
        self.assertEqual(set(checks), {"files", "exports", "loads", "contract.reports"})
        self.assertEqual(checks["contract.reports"]["outcome"], "fail")


class Answers(Zoo):
    """Answers to another question, too many, too few, kept back, or never sent."""

    QUESTIONS = ("billing please", "login now", "refund it")

    def setUp(self):
        super().setUp()
        self.add("good")
        self.compile("--backend", "good")

    def ask(self, name, *words, code=5):
        return self.kolm("run", "router-1.0.0.kolm", "--backend", name, *words, code=code)

    def serve(self, name, *words):
        server = self.start("run", "--serve", "router-1.0.0.kolm", "--backend", name, *words)
        self.addCleanup(server.communicate)
        self.addCleanup(server.kill)
        self.assertIn(b"[serve]", server.stdout.readline())
        return server

    # The plugin, what is reported in check, in run, in run --serve, and how many answers are good.
    WRONG = [
        ("infer-swapped", "answer 1 of infer-swapped: expected the id 1000000, found 1000001: one answer per input, in order",
         "answer 1 of infer-swapped: expected the id of question 1, found 2: one answer per question, in order", 'infer-swapped: answer 1 has the id "2"', 0),
        ("infer-missing", "answer 2 of infer-missing: expected the id 1000001, found 1000002: one answer per input, in order",
         "answer 2 of infer-missing: expected the id of question 2, found 3: one answer per question, in order", 'infer-missing: answer 2 has the id "3"', 1),
        ("infer-strange", "answer 2 of infer-strange: expected the id 1000001, found strange: one answer per input, in order",
         "answer 2 of infer-strange: expected the id of question 2, found strange: one answer per question, in order", 'infer-strange: answer 2 has the id "strange"', 1),
        ("infer-twice", "answer 3 of infer-twice: expected the id 1000002, found 1000001: one answer per input, in order",
         "answer 3 of infer-twice: expected the id of question 3, found 2: one answer per question, in order", 'infer-twice: answer 3 has the id "2"', 2),
    ]

    def test_answers_to_other_questions(self):
        for name, checked, asked, served, good in self.WRONG:
            with self.subTest(name):
                path = self.add(name)
                self.assertEqual(self.report(path, "infer", code=5)["train.tiny"]["reason"], checked)
                done = self.ask(name, *self.QUESTIONS)
                self.assert_error(done, asked, "report it to its author")
                self.assertEqual(len(done.out.splitlines()), good)
                server = self.serve(name)
                done = self.ask(name, *self.QUESTIONS)
                self.assert_error(done, served, "one answer per question, in order, with its id")
                self.assertEqual(len(done.out.splitlines()), good)
                self.assertEqual(server.wait(30), 5)
                self.assertIn(served, server.stderr.read().decode())

    def test_ids_of_the_users_own(self):
        name = "infer-strange"
        self.add(name)
        rows = b"".join(b'{"id":"%s","input":"billing"}\n' % i for i in (b"a", b"a", b"\\u00fc"))
        done = self.kolm("run", "--jsonl", "router-1.0.0.kolm", "--backend", name, stdin=rows, code=5)
        self.assert_error(done, "answer 2 of infer-strange: expected the id of question 2, found strange")
        done = self.kolm("run", "--jsonl", "router-1.0.0.kolm", "--backend", "good", stdin=rows)
        self.assertEqual([json.loads(line)["id"] for line in done.out.splitlines()], ["a", "a", "\u00fc"])
        many = b"".join(b'{"id":"%d","input":"billing"}\n' % (i % 7) for i in range(5000))
        done = self.kolm("run", "--jsonl", "router-1.0.0.kolm", "--backend", "good", stdin=many)
        self.assertEqual([json.loads(line)["id"] for line in done.out.splitlines()], [str(i % 7) for i in range(5000)])

    def test_one_answer_too_many(self):
        path = self.add("infer-more")
        self.assertEqual(self.report(path, "infer", code=5)["train.tiny"]["reason"], "answer 31 of infer-more: there are more answers than inputs")
        self.assert_error(self.ask("infer-more", *self.QUESTIONS), "answer 4 of infer-more: there are more answers than questions")

    def test_answers_that_are_kept_back(self):
        name = "infer-unflushed"
        path = self.add(name)
        self.assertEqual(self.report(path, "infer", "infer.flushes", code=5)["infer.flushes"]["reason"],
                         "infer: it withheld an answer until its input ended: flush whenever the next input has not arrived yet")
        server = self.serve(name, "--answer-timeout", "1")
        done = self.ask(name, *self.QUESTIONS)
        said = "infer-unflushed withheld its answers for 1 s, until its questions ended"
        self.assert_error(done, said, "answers must be flushed whenever the next question has not arrived yet")
        self.assertEqual(len(done.out.splitlines()), 3)  # they are printed nevertheless
        self.assertEqual(server.wait(30), 5)
        self.assertIn(said, server.stderr.read().decode())

    def test_a_backend_that_hangs(self):
        name = "infer-hangs"
        self.add(name)
        server = self.serve(name, "--answer-timeout", "1")
        said = "infer-hangs did not answer within 1 s"
        self.assert_error(self.ask(name, *self.QUESTIONS), said, "--answer-timeout SECONDS of kolm run --serve gives it more time, 0 any")
        self.assertEqual(server.wait(60), 5)
        self.assertIn(said, server.stderr.read().decode())
        done = self.ask(name, "--answer-timeout", "1", *self.QUESTIONS)
        self.assert_error(done, "infer-hangs did not answer question 1 within 1 s", "a greater --answer-timeout")

    @unittest.skipIf(harness.SANITIZED, "a preloaded library and a sanitizer do not go together")
    def test_a_backend_that_hangs_without_a_given_limit(self):
        """The default of ten minutes applies to the answer to one question and to lines that arrive: the clock is advanced instead of
        waiting."""
        self.add("infer-hangs")
        later = os.path.join(self.dir, "later")
        env = {"LD_PRELOAD": os.path.join(harness.TEST_BACKENDS, "later.so"), "LATER": later}
        for words, given in ((("billing",), b""), ((), b"billing\nlogin\n")):
            with self.subTest(words):
                asking = self.start("run", "router-1.0.0.kolm", "--backend", "infer-hangs", *words, env=env, stdin=subprocess.PIPE)
                self.addCleanup(asking.kill)
                asking.stdin.write(given)
                asking.stdin.flush()
                self.wait_for(lambda: self.hosts_of(asking.pid), "the backend to be called")
                self.wait_for(lambda: self.make_later(later) or asking.poll() is not None, "its end")
                _, err = asking.communicate(timeout=60)
                self.assertEqual(asking.returncode, 5, err)
                self.assertIn(b"infer-hangs did not answer question 1 within 600 s", err)
                self.assertIn(b"a greater --answer-timeout", err)
                os.unlink(later)

    @staticmethod
    def make_later(path):
        with open(path, "a", encoding="ascii") as clock:
            clock.write("x")

    def hosts_of(self, pid):
        """Tells whether the process has a kolm-host that has loaded the plugin."""
        for child in self.children_of(pid):
            try:
                with open("/proc/%d/maps" % child, encoding="utf-8", errors="replace") as maps:
                    if "infer-hangs" in maps.read():
                        return True
            except OSError:
                pass
        return False

    def test_one_that_ends_before_its_questions(self):
        """Its reported success does not count: the asking command and the server both fail."""
        name = "infer-early"
        self.add(name)
        self.assert_error(self.ask(name, *self.QUESTIONS), "infer-early gave 0 of 3 answers and reported success")
        server = self.start("run", "--serve", "router-1.0.0.kolm", "--backend", name)
        self.addCleanup(server.kill)
        _, err = server.communicate(timeout=60)
        self.assertEqual(server.returncode, 5, err)
        self.assertIn(b"infer-early ended before its questions did, and reported success", err)

    def test_an_answer_that_a_person_waits_for(self):
        """A person types a question and waits; the backend would only answer when the questions end."""
        self.add("infer-unflushed")
        asking = self.start("run", "router-1.0.0.kolm", "--backend", "infer-unflushed", "--answer-timeout", "1", stdin=subprocess.PIPE)
        self.addCleanup(asking.kill)
        asking.stdin.write(b"billing please\n")
        asking.stdin.flush()
        self.assertEqual(asking.wait(60), 5)
        self.assertIn(b"infer-unflushed did not answer question 1 within 1 s", asking.stderr.read())
        asking.stdin.close()

    def test_invalid_times(self):
        for word in ("-1", "x", "604801"):
            self.assertIn("--answer-timeout", self.ask("good", "--answer-timeout", word, "billing", code=2).err)
        self.serve("good", "--answer-timeout", "0")
        self.assertEqual(len(self.ask("good", *self.QUESTIONS, code=0).out.splitlines()), 3)


if __name__ == "__main__":
    harness.main()
