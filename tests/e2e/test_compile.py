#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job: compile, and the engine that it uses."""
import base64
import hashlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case, jsonl, tickets  # noqa: E402


def predicate(line):
    return json.loads(base64.b64decode(line["payload"]))["predicate"]


def setUpModule():
    harness.set_up_tree()


class Compile(Case):
    def test_the_form_of_the_seed(self):
        self.write_tickets()
        done = self.compile()
        self.assertRegex(done.out, r"(?m)^\[data\]        300 rows, 6 labels; 2\d\d to learn from, \d\d held out$")
        self.assertRegex(done.out, r"(?m)^\[trainer\]     using test-word \(picked: score 0\.895\)$")
        self.assertRegex(done.out, r"(?m)^\[K-score\]     0\.9\d\d \(ships at 0\.85 gate\)$")
        self.assertRegex(done.out, r"(?m)^\[accuracy\]    0\.9\d\d .*95% interval 0\.\d{3} to [01]\.\d{3}, n = \d\d")
        self.assertRegex(done.out, r"(?m)^\[artifact\]    \./router-1\.0\.0\.kolm  \d+\.\d kB$")
        self.assertRegex(done.out, r"(?m)^\[receipt\]     .*seq 1.* sha256 [0-9a-f]{64}$")
        self.assertNotIn("\033", done.out + done.err)
        self.assertIn("training", done.err)
        self.assertEqual(self.left(), ["router-1.0.0.kolm", "router-1.0.0.kolm.intoto.jsonl"])
        self.assertEqual(self.jobs(), [])
        self.assertEqual(os.stat(os.path.join(self.home, "keys", "signing.pem")).st_mode & 0o777, 0o600)

    def test_json_is_one_document(self):
        self.write_tickets()
        record = self.json("compile", "-t", "router", "-d", "tickets.jsonl", schema="kolm.compile/1")
        self.assertTrue(record["ships"])
        self.assertEqual((record["backend"], record["chosen_by"]), ("test-word", "picker"))
        data = self.read("router-1.0.0.kolm")
        self.assertEqual(record["artifact"]["sha256"], hashlib.sha256(data).hexdigest())
        self.assertEqual(record["artifact"]["size"], len(data))

    def test_quiet_prints_score_and_artifact_only(self):
        self.write_tickets()
        done = self.compile("--quiet")
        self.assertNotIn("[data]", done.out)
        self.assertNotIn("[trainer]", done.out + done.err)
        self.assertIn("[K-score]", done.out)
        self.assertIn("[artifact]", done.out)

    def test_a_terminal_gets_a_bar(self):
        self.write_tickets()
        master, slave = pty.openpty()
        process = self.start("compile", "-t", "router", "-d", "tickets.jsonl", env={"TERM": "xterm", "NO_COLOR": "1"})
        process.communicate()
        with subprocess.Popen([harness.TREE.kolm, "compile", "-t", "router", "-d", "tickets.jsonl", "--force"], stderr=slave, stdout=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, env=self.full_env({"TERM": "xterm"}), cwd=self.work) as process:
            os.close(slave)
            seen = b""
            while True:
                try:
                    piece = os.read(master, 4096)
                except OSError:
                    break
                if not piece:
                    break
                seen += piece
            out = process.stdout.read().decode()
            self.assertEqual(process.wait(60), 0)
        os.close(master)
        self.assertIn(b"\r[trainer]     training", seen)
        self.assertIn("[artifact]", out)

    def test_two_compiles_same_bytes(self):
        self.write_tickets()
        self.compile("-o", "a.kolm")
        self.compile("-o", "b.kolm")
        self.assertEqual(self.read("a.kolm"), self.read("b.kolm"))
        # Another home has another key, but the content is the same.
        with zipfile.ZipFile(os.path.join(self.work, "a.kolm")) as one:
            first = one.read("manifest.json")
        self.compile("-o", "c.kolm", env={"KOLM_HOME": os.path.join(self.dir, "home2")})
        with zipfile.ZipFile(os.path.join(self.work, "c.kolm")) as other:
            self.assertEqual(first, other.read("manifest.json"))

    def test_the_order_of_rows_decides_no_side(self):
        rows = tickets(200)
        self.write("one.jsonl", jsonl(rows))
        self.write("two.jsonl", jsonl(reversed(rows)))
        sides = []
        for name in ("one", "two"):
            self.compile("-o", name + ".kolm", "--embed-eval", data=name + ".jsonl")
            with zipfile.ZipFile(os.path.join(self.work, name + ".kolm")) as artifact:
                lines = artifact.read("eval/heldout.jsonl").decode().splitlines()
            sides.append({json.loads(line)["input"] for line in lines})
        self.assertEqual(*sides)
        self.compile("-o", "three.kolm", "--embed-eval", "--seed", "7", data="one.jsonl")
        with zipfile.ZipFile(os.path.join(self.work, "three.kolm")) as artifact:
            other = {json.loads(line)["input"] for line in artifact.read("eval/heldout.jsonl").decode().splitlines()}
            self.assertEqual(json.loads(artifact.read("manifest.json"))["options"]["seed"], 7)
        self.assertNotEqual(sides[0], other)

    def test_heldout_rows_stay_outside_unless_requested(self):
        self.write_tickets()
        self.compile()
        with zipfile.ZipFile(os.path.join(self.work, "router-1.0.0.kolm")) as artifact:
            self.assertNotIn("eval/heldout.jsonl", artifact.namelist())
            self.assertEqual(artifact.testzip(), None)

    def test_eval_file_replaces_the_split(self):
        self.write_tickets()
        self.write("eval.jsonl", jsonl(tickets(50, seed=2)))
        record = self.json("compile", "-t", "router", "-d", "tickets.jsonl", "--eval", "eval.jsonl")
        self.assertEqual((record["data"]["train_rows"], record["data"]["eval_rows"]), (300, 50))

    def test_data_from_standard_input_csv_and_chat(self):
        rows = tickets(120)
        self.compile("-o", "stdin.kolm", data="-", stdin=jsonl(rows))
        table = "text,label\n" + "".join('"%s",%s\n' % (r["input"], r["output"]) for r in rows)
        self.write("rows.csv", table)
        self.compile("-o", "csv.kolm", data="rows.csv")
        self.write("rows.tsv", "frage\tantwort\n" + "".join("%s\t%s\n" % (r["input"], r["output"]) for r in rows))
        self.compile("-o", "tsv.kolm", "--input-col", "frage", "--output-col", "antwort", data="rows.tsv")
        chat = [{"messages": [{"role": "user", "content": r["input"]}, {"role": "assistant", "content": r["output"]}]} for r in rows]
        self.write("chat.jsonl", jsonl(chat))
        self.compile("-o", "chat.kolm", data="chat.jsonl")
        pairs = [{"prompt": r["input"], "completion": r["output"]} for r in rows]
        self.write("pairs.jsonl", jsonl(pairs))
        self.compile("-o", "pairs.kolm", data="pairs.jsonl")
        models = set()
        for name in ("stdin", "csv", "tsv", "pairs", "chat"):
            with zipfile.ZipFile(os.path.join(self.work, name + ".kolm")) as artifact:
                models.add(artifact.read("model/words.jsonl"))
        self.assertEqual(len(models), 1)

    # ---- the gates

    def test_a_missed_gate_leaves_a_report_and_no_artifact(self):
        self.write("tickets.jsonl", jsonl(tickets(200, noise=0.9)))
        done = self.compile(code=4)
        self.assertIn("below the 0.8 gate", done.out)
        self.assertIn("what to try", done.out)
        self.assertEqual(self.left(), ["router-1.0.0.failed"])
        failed = os.path.join(self.work, "router-1.0.0.failed")
        self.assertLessEqual({"report.json", "report.txt", "confusions.csv", "predictions.jsonl"}, set(os.listdir(failed)))
        self.assertEqual((self.jobs(), self.receipts()), ([], []))
        first = {name: self.read(os.path.join(failed, name)) for name in os.listdir(failed)}
        self.compile(code=4)  # again: the older report is replaced by an identical one
        self.assertEqual(first, {name: self.read(os.path.join(failed, name)) for name in os.listdir(failed)})
        record = self.json("compile", "-t", "router", "-d", "tickets.jsonl", code=4)
        self.assertFalse(record["ships"])

    def test_each_gate_counts(self):
        self.write_tickets()
        self.assertIn("below the 0.9999 gate", self.compile("--gate", "0.9999", code=4).out)
        self.assertIn("below the 1 gate", self.compile("--min-accuracy", "1", code=4).out)
        self.compile("--gate", "0", "--min-accuracy", "0")

    def test_a_score_just_below_its_gate_does_not_look_equal(self):
        self.write_tickets()
        k = self.json("compile", "-t", "router", "-d", "tickets.jsonl")["score"]["k"]
        gate = round(k, 3) if round(k, 3) > k else k + 0.000001
        done = self.compile("--gate", "%.6f" % gate, "--force", code=4)
        shown, named = re.search(r"\[K-score\]     (\S+) \(below the (\S+) gate\)", done.out).groups()
        self.assertLess(float(shown), float(named))

    def test_a_good_compile_after_a_failed_one(self):
        self.write("tickets.jsonl", jsonl(tickets(200, noise=0.9)))
        self.compile(code=4)
        self.write_tickets()
        self.compile()
        self.assertIn("router-1.0.0.kolm", self.left())

    # ---- which backend is used

    def test_flag_environment_config_and_picker_decide(self):
        self.add_backend("test-other")
        self.write_tickets()
        self.kolm("compute", "use", "test-other")
        for words, env, chosen, said in (
                ([], {}, "test-other", "(config: "),
                ([], {"KOLM_BACKEND": "test-word"}, "test-word", "(env: KOLM_BACKEND=test-word)"),
                (["--backend", "test-other"], {"KOLM_BACKEND": "test-word"}, "test-other", "(flag: "),
        ):
            done = self.compile("--force", *words, env=env)
            self.assertIn("[trainer]     using %s %s" % (chosen, said), done.out)
            compute = predicate(self.receipts()[-1])["metrics"]["compute"]
            self.assertEqual(compute["backend"], chosen)
        self.kolm("compute", "use", "--clear")
        self.assertRegex(self.compile("--force").out, r"using test-\w+ \(picked: score 0\.895\)")
        self.assertIn("using test-other (picked", self.compile("--force", "--exclude", "test-word").out)

    def test_a_named_backend_never_becomes_another(self):
        self.write_tickets()
        self.assert_error(self.compile("--backend", "test-wrod", code=2), "'test-wrod'", "test-word")
        self.assert_error(self.compile(env={"KOLM_BACKEND": "nope"}, code=2), "'nope'")
        self.assert_error(self.compile("--backend", "test-word", "--exclude", "test-word", code=5), "test-word", "--backend")
        self.assert_error(self.compile("--exclude", "test-word", code=3))
        self.assert_nothing_left()

    def test_budget_is_checked_against_the_quote(self):
        self.add_backend("test-word", kind="cloud-serverless", billing="per-hour", cost_per_hour_usd=2.5, airgap="no")
        self.write_tickets()
        self.assert_error(self.compile("--budget", "1", code=3), "$2.50", "$1.00", "--budget")
        self.assert_nothing_left()
        self.compile("--budget", "2.50", "--max-price", "2.5")
        constraints = predicate(self.receipts()[-1])["metrics"]["compute"]["provenance"]["constraints"]
        self.assertEqual((constraints["budget_usd"], constraints["budget_usd_per_hour"]), (2.5, 2.5))

    def test_a_budget_is_for_training_and_answering_together(self):
        self.add_backend("test-word", kind="cloud-serverless", billing="per-hour", cost_per_hour_usd=1.5, airgap="no")
        self.write_tickets()
        self.tell("bills")
        self.assert_error(self.compile("--budget", "1.50", code=5), "the training cost $1.50", "leaves nothing of the budget of $1.50", "raise --budget")
        self.assert_nothing_left()
        self.compile("--budget", "4")
        self.assertEqual(predicate(self.receipts()[-1])["metrics"]["compute"]["cost_usd"], 1.75)
        self.assertEqual(predicate(self.receipts()[-1])["metrics"]["reported"]["infer"]["words.budget"], "2500000")

    def test_max_price_is_of_an_hour(self):
        self.add_backend("test-word", kind="cloud-serverless", billing="per-hour", cost_per_hour_usd=2.5, airgap="no")
        self.write_tickets()
        self.assert_error(self.compile("--max-price", "2.49", code=3), "$2.50/hr > 2.49")
        self.assert_error(self.compile("--backend", "test-word", "--max-price", "0", code=5), "$2.50/hr > 0.00")
        self.assert_error(self.compile("--exclude", "test-wrod", code=2), "--exclude", "did you mean 'test-word'")
        self.assert_error(self.compile("--max-tier", "4294967297", code=2), "'4294967297' is not a tier from 1 to 9")
        self.assert_error(self.compile("--min-vram", "18446744073709.551615", code=2), "is too large")
        self.assert_nothing_left()

    def test_budget_0_allows_nothing_whose_cost_is_not_known(self):
        self.add_backend("test-word", kind="cloud-serverless", billing="per-token", cost_per_hour_usd=None, airgap="no")
        self.write_tickets()
        self.assert_error(self.compile("--budget", "0", code=3), "cannot say what this job costs", "--budget 0")
        self.assert_nothing_left()
        self.assertIn("--budget does not limit it", self.compile("--budget", "0.01").err)

    # ---- backends that fail

    def test_failures_of_a_backend(self):
        self.write_tickets()
        for fault, pieces in (
                ("fail", ("the cloud rained out", "wait for better weather")),
                ("crash", ("crashed", "signal")),
                ("exit", ("without a reply",)),
                ("no result", ("result.json",)),
                ("no model", ("model",)),
                ("link", ("link", "fault of the backend")),
                ("skip answers", ("answer",)),
                ("crash infer", ("crashed", "answering")),
        ):
            with self.subTest(fault=fault):
                self.tell(fault)
                self.assert_error(self.compile(code=5), *pieces)
                self.assert_nothing_left()

    def test_what_a_backend_prints_is_no_output(self):
        self.write_tickets()
        self.tell("noise")
        done = self.compile()
        self.assertNotIn("noise", done.out)
        self.assertNotIn("\033", done.out + done.err)

    # ---- airgap

    def test_airgap_is_enforced_and_recorded(self):
        self.write_tickets()
        self.tell("socket")
        self.assert_error(self.compile(code=5), "a socket could be opened")
        done = self.compile("--airgap")
        self.assertIn("[trainer]     no outbound network calls; airgap mode active", done.out)
        airgap = predicate(self.receipts()[-1])["airgap"]
        self.assertEqual((airgap["requested"], airgap["enforced"], airgap["profile"]), (True, True, "strict"))
        self.assertIn("seccomp", airgap["mechanisms"])
        self.assertIn("self_test", airgap["mechanisms"])
        self.kolm("run", "--airgap", "router-1.0.0.kolm", "billing please")

    def test_airgap_fences_detection_too(self):
        """A backend that claims to need no network is fenced nevertheless, from its first call."""
        self.write_tickets()
        self.tell("detect-needs-fence")
        self.compile("--airgap")
        self.kolm("run", "--airgap", "router-1.0.0.kolm", "billing")
        # It is also fenced without --airgap, because its manifest requests no network; without a fence it would report that it could call
        # home.
        self.assertIn("test-word       available", self.kolm("compute", "detect", "--refresh").out)
        self.compile("--airgap=advisory", "--force")

    def test_advisory_only_on_request(self):
        self.write_tickets()
        done = self.compile("--airgap=advisory")
        self.assertIn("advisory", done.out)
        self.assertNotIn("airgap mode active", done.out)
        airgap = predicate(self.receipts()[-1])["airgap"]
        self.assertEqual((airgap["requested"], airgap["enforced"]), (True, False))
        self.assert_error(self.compile("--airgap=maybe", code=2), "'maybe'")

    def test_airgap_excludes_network_backends(self):
        self.add_backend("test-word", airgap="no", kind="cloud-serverless", billing="per-hour", cost_per_hour_usd=1)
        self.write_tickets()
        self.assert_error(self.compile("--airgap", code=3))
        self.assert_error(self.compile("--airgap", "--backend", "test-word", code=5), "test-word")
        self.assert_nothing_left()

    # ---- receipts

    def test_the_chain_grows_and_says_how_it_was_made(self):
        self.write_tickets()
        for number in range(3):
            done = self.compile("-o", "m%d.kolm" % number)
            self.assertIn("seq %d" % (2 * number + 1), done.out)
        lines = self.read(os.path.join(self.home, "receipts.jsonl")).splitlines()
        self.assertEqual(len(lines), 6)
        head = re.search(r"sha256 ([0-9a-f]{64})", done.out.partition("[receipt]")[2]).group(1)
        self.assertEqual(hashlib.sha256(lines[-1]).hexdigest(), head)
        self.assertEqual(self.read("m2.kolm.intoto.jsonl").splitlines(), lines[4:])
        receipt = predicate(json.loads(lines[-1]))
        self.assertEqual(receipt["chain"]["prev"], hashlib.sha256(lines[-2]).hexdigest())
        compute = receipt["metrics"]["compute"]
        self.assertEqual((compute["backend"], compute["device"], compute["cost_usd"]), ("test-word", "a processor for tests", 0))
        provenance = compute["provenance"]
        with open(os.path.join(self.plugins, "test-word.so"), "rb") as plugin:
            self.assertEqual(provenance["plugin_sha256"], hashlib.sha256(plugin.read()).hexdigest())
        self.assertEqual((provenance["seed"], provenance["score"], provenance["chosen_by"]), (0, 0.895, "picker"))
        self.assertEqual(provenance["stated_by_plugin"], [
            "compute.cost_usd", "compute.device", "compute.provenance.billed_cost_usd", "compute.provenance.plugin_version",
            "compute.provenance.quoted_cost_usd", "compute.provenance.toolchain", "measured.peak_memory_bytes", "reported"])
        self.assertIn("made by      test-word on a processor for tests (as reported by the backend)", self.kolm("verify", "m2.kolm").out)
        self.assertGreater(compute["wall_duration_ms"], 0)
        self.assertEqual(receipt["metrics"]["reported"], {"train": {"words.loss": "-0.125", "words.tiny": "1e-09"}, "infer": {"words.answered": "3"}})

    def changed_in_training(self, change):
        """Runs a compile and calls `change` with the path of the plugin during training; returns standard error. Checks that provenance
        names the old file."""
        self.write_tickets()
        plugin, gate = os.path.join(self.plugins, "test-word.so"), os.path.join(self.work, "gate")
        self.write_home("config.json", json.dumps({"backends": {"test-word": {"until": gate, "fence": {"read": [self.work]}}}}))
        before = hashlib.sha256(self.read(plugin)).hexdigest()
        with open(os.path.join(self.work, "err"), "wb") as err:
            process = subprocess.Popen([harness.TREE.kolm, "compile", "-t", "router", "-d", "tickets.jsonl"], env=self.full_env(None), cwd=self.work,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err)
        self.wait_for(lambda: b"waiting" in self.read("err"), "the training")
        change(plugin)
        self.write(gate, "")
        self.assertEqual(process.wait(60), 0, self.read("err"))
        provenance = predicate(self.receipts()[-1])["metrics"]["compute"]["provenance"]
        self.assertEqual(provenance["plugin_sha256"], before)
        self.assertIn('"plugin"', json.dumps(predicate(self.receipts()[-2])))
        self.kolm("verify", "router-1.0.0.kolm")
        return self.read("err").decode()

    def test_a_plugin_upgraded_in_training(self):
        """The job continues with the file that it began with; the next command uses the new one."""
        def upgrade(plugin):
            new = self.write(plugin + ".new", self.read(plugin) + b"\n", mode=0o755)  # different bytes, same code
            os.rename(new, plugin)
        err = self.changed_in_training(upgrade)
        self.assertIn("test-word.so was replaced; this command continues with what it read before", err)
        self.compile("-o", "next.kolm")
        with open(os.path.join(self.plugins, "test-word.so"), "rb") as plugin:
            self.assertEqual(predicate(self.receipts()[-1])["metrics"]["compute"]["provenance"]["plugin_sha256"], hashlib.sha256(plugin.read()).hexdigest())

    def test_a_plugin_removed_in_training(self):
        err = self.changed_in_training(os.unlink)
        self.assertIn("test-word.so was removed; this command continues with what it read before", err)
        self.assert_error(self.compile("-o", "next.kolm", "--backend", "test-word", code=3), "test-word")

    def test_a_kept_job_can_be_done_again(self):
        self.write_tickets()
        done = self.compile("--keep-job")
        kept = re.search(r"^\[job\] +(\S+)", done.out, re.M).group(1)
        self.assertIn("again: kolm job run --backend test-word DIR", done.out)
        train, answers = os.path.join(kept, "job"), os.path.join(kept, "answers")
        made = {name: self.read(os.path.join(train, name)) for name in ("result.json", "predictions.jsonl", "eval.jsonl")}
        made.update((name, self.read(os.path.join(train, "model", name))) for name in os.listdir(os.path.join(train, "model")))
        shutil.rmtree(os.path.join(train, "model"))
        for name in ("result.json", "predictions.jsonl"):
            os.unlink(os.path.join(train, name))
        self.assertIn('"event":"result"', self.kolm("job", "run", train).out)
        self.assertIn('"event":"result"', self.kolm("job", "run", answers).out)
        again = {name: self.read(os.path.join(train, name)) for name in ("result.json", "eval.jsonl")}
        again["predictions.jsonl"] = self.read(os.path.join(answers, "predictions.jsonl"))
        again.update((name, self.read(os.path.join(train, "model", name))) for name in os.listdir(os.path.join(train, "model")))
        self.assertEqual(again, made)

    def test_a_changed_log_is_a_broken_chain(self):
        self.write_tickets()
        self.compile()
        log = os.path.join(self.home, "receipts.jsonl")
        lines = self.read(log).splitlines(True)
        self.write(log, lines[0] + lines[1][:200] + b"A" + lines[1][201:], 0o600)
        self.assertIn("chain broken", self.kolm("verify", "router-1.0.0.kolm", code=7).out)


class Engine(Case):
    """The embedded engine, as installed."""

    backends = ()

    def setUp(self):
        super().setUp()
        self.add_engine()

    def test_same_bytes_for_any_number_of_threads(self):
        self.write_tickets(rows=600, noise=0.1)
        for threads in ("1", "2", "3", "7"):
            self.compile("--threads", threads, "-o", "t%s.kolm" % threads)
            self.assertEqual(self.read("t%s.kolm" % threads), self.read("t1.kolm"), threads)
        self.kolm("verify", "t1.kolm")

    def test_airgapped_compile_and_run(self):
        self.write_tickets()
        self.assertIn("airgap mode active", self.compile("--airgap").out)
        self.assertTrue(self.kolm("run", "--airgap", "router-1.0.0.kolm", "billing is wrong").out.startswith("billing  "))
        self.compile("--airgap", "-o", "again.kolm")
        self.assertEqual(self.read("again.kolm"), self.read("router-1.0.0.kolm"))

    def test_efforts_and_thresholds(self):
        # One row in seven has no word that indicates its label: these answers should be withheld.
        rows = [dict(row, input="hello " + row["input"].split(" ", 1)[1]) if i % 7 == 0 else row for i, row in enumerate(tickets(700, noise=0))]
        self.write("tickets.jsonl", jsonl(rows))
        for effort in ("quick", "high"):
            self.compile("--effort", effort, "--force")
        done = self.compile("--target-accuracy", "0.97", "--force", "--gate", "0.5")
        self.assertIn("withheld", done.out)
        self.compile("--abstain", "0.6", "--force", "--gate", "0.5")

    def test_the_example_in_ten_seconds(self):
        """Does what ./dev demo does with the project's own data."""
        data = os.path.join(harness.SOURCE, "examples", "support_tickets", "tickets.jsonl")
        record = self.json("compile", "-t", "support_ticket_router", "-d", data, "--effort", "quick")
        self.assertGreater(record["score"]["k"], 0.85)
        self.assertLess(record["score"]["accuracy"], 1)
        answers = self.kolm("run", "support_ticket_router-1.0.0.kolm", stdin=b"I was charged twice, please refund one\n" * 500).out.splitlines()
        self.assertEqual(len(set(answers)), 1)
        self.assertEqual(len(answers), 500)
        report = self.json("score", "support_ticket_router-1.0.0.kolm", "--eval", data)
        self.assertGreater(report["accuracy"], record["score"]["accuracy"])

    def test_labels_that_are_one_row_or_many(self):
        rows = [{"input": "alpha beta %d" % i, "output": "common"} for i in range(200)]
        rows += [{"input": "alpha beta %d" % i, "output": "rare"} for i in (900, 901)] + [{"input": "epsilon", "output": "single"}]
        self.write("tickets.jsonl", jsonl(rows))
        done = self.compile(code=4)  # 36 of 37 held-out rows are "common", and the model always answers that
        self.assertIn("1 label has a single row", done.out)
        self.assertIn('[labels]      never answered: "rare" (1 row)\n', done.out)
        self.assertIn('[labels]      learned, but in no held-out row: "single"\n', done.out)
        self.compile("--allow-baseline")
        self.write("few.jsonl", jsonl(row for row in rows if row["output"] != "rare"))
        done = self.compile(data="few.jsonl", task="few", code=4)
        self.assertIn("over 1 label;", done.out)
        self.assertIn("what to try: held-out rows of other labels", done.out)

    def fraud(self, told=0.0, rows=2000):
        """Every 40th row is fraud; told: the share of these that have a word which indicates it."""
        draw = harness.random.Random(1)
        words = ["w%d" % i for i in range(400)]
        result = []
        for number in range(rows):
            fraud = number % 40 == 0
            text = draw.choices(words, k=8)
            if draw.random() < (told if fraud else 0.03 * (told > 0)):
                text[draw.randrange(8)] = "x%d" % draw.randrange(6)
            result.append({"input": " ".join(text), "output": "fraud" if fraud else "ok"})
        return result

    def test_one_answer_for_everything_does_not_ship(self):
        self.write("tickets.jsonl", jsonl(self.fraud()))
        done = self.compile(code=4)
        for piece in ('by always answering "ok": the model is not clearly better than that', 'never answered: "fraud" (10 rows)', "balanced]    0.500", "--allow-baseline", "--class-weight balanced"):
            self.assertIn(piece, done.out)
        self.assertEqual(self.left(), ["router-1.0.0.failed"])
        self.assertEqual(sorted(os.listdir(os.path.join(self.work, "router-1.0.0.failed"))), ["confusions.csv", "predictions.jsonl", "report.json", "report.txt"])
        self.assertIn(b'10,"fraud","ok"', self.read("router-1.0.0.failed/confusions.csv"))
        report = json.loads(self.read("router-1.0.0.failed/report.json"))
        self.assertEqual((report["better_than_baseline"], report["balanced_accuracy"], report["baseline"]["label"], report["ships"]), (False, 0.5, "ok", False))
        self.assertGreater(report["accuracy"], 0.97)
        self.assertEqual([(row["label"], row["recall"]) for row in report["labels"]], [("fraud", 0), ("ok", 1)])
        record = json.loads(self.compile("--json", code=4).out)
        self.assertEqual((record["ships"], record["score"]["better_than_baseline"]), (False, False))
        self.compile("--allow-baseline")
        value = self.json("inspect", "router-1.0.0.kolm")["manifest"]["kscore"]
        self.assertEqual(value["labels"][0], {"label": "fraud", "rows": 10, "answers": 0, "correct": 0})
        self.assertEqual((value["baseline"]["label"], value["balanced_accuracy"]), ("ok", 0.5))
        self.write("fresh.jsonl", jsonl(self.fraud(rows=4000)[2000:]))  # some of the others it has memorized
        for words in (["--gate", "0.85"], ["--min-accuracy", "0.9"]):
            self.kolm("score", "router-1.0.0.kolm", "--eval", "fresh.jsonl", *words, code=4)
            self.kolm("score", "router-1.0.0.kolm", "--eval", "fresh.jsonl", "--allow-baseline", *words)

    def test_balanced_weights_find_what_is_rare(self):
        self.write("tickets.jsonl", jsonl(self.fraud(told=0.7)))
        plain = json.loads(self.compile("--json", code=4).out)
        done = self.compile("--class-weight", "balanced", "--json", task="weighed")
        weighed = json.loads(done.out)
        self.assertNotIn("weigh", done.err)
        recall = [next(row["recall"] for row in record["score"]["labels"] if row["label"] == "fraud") for record in (plain, weighed)]
        self.assertGreaterEqual(recall[1], recall[0] + 0.3)
        self.assertEqual((weighed["score"]["baseline_by"], weighed["score"]["better_than_baseline"], weighed["report"]["class_weight"]), ("balanced_accuracy", True, "balanced"))
        manifest = self.json("inspect", "weighed-1.0.0.kolm")["manifest"]
        self.assertEqual(manifest["options"]["class_weight"], "balanced")
        first = self.read("weighed-1.0.0.kolm")
        self.compile("--class-weight", "balanced", "--threads", "1", "--force", task="weighed")
        self.assertEqual(self.read("weighed-1.0.0.kolm"), first)
        self.kolm("score", "weighed-1.0.0.kolm", "--eval", "tickets.jsonl", "--gate", "0.85")
        self.assert_error(self.compile("--class-weight", "rare", code=2), "none or balanced", "'rare'")
        self.compile("--class-weight", "none", code=4)

    def test_a_few_rows_ship(self):
        """A first try: twenty easy rows."""
        for labels, rows in ((("a", "b"), 20), (("a", "b", "c"), 20), (("a", "a", "a", "b"), 20), (("a", "b"), 10)):
            self.write("tickets.jsonl", jsonl([{"input": "word%s of number %d" % (labels[i % len(labels)], i), "output": labels[i % len(labels)]} for i in range(rows)]))
            self.compile("--force")

    def test_labels_that_a_model_does_not_know(self):
        self.write_tickets()
        self.compile()
        self.write("other.jsonl", jsonl([{"input": "billing", "output": "Billing"}, {"input": "login", "output": "log in"}]))
        done = self.kolm("score", "router-1.0.0.kolm", "--eval", "other.jsonl", code=6)
        self.assert_error(done, "knows none of the labels of other.jsonl", 'did you mean "billing"')
        self.write("some.jsonl", jsonl([{"input": "billing", "output": "billing"}, {"input": "login", "output": "logout"}]))
        done = self.kolm("score", "router-1.0.0.kolm", "--eval", "some.jsonl")
        self.assertIn("1 of 2 rows have a label that the model does not know", done.err)
        self.write("one.jsonl", jsonl([{"input": "billing %d" % i, "output": "billing"} for i in range(20)]))
        self.kolm("score", "router-1.0.0.kolm", "--eval", "one.jsonl", "--gate", "0.85")

    def test_a_backend_that_does_not_weight_is_reported(self):
        self.add_backend("test-word")
        self.write_tickets()
        done = self.compile("--class-weight", "balanced", "--backend", "test-word")
        self.assertIn("test-word did not report that it weighted the labels", done.err)


if __name__ == "__main__":
    harness.main()
