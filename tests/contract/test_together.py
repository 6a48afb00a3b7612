#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm with the backend together against its contract server.

usage: test_together.py KOLM PLUGIN_DIRECTORY SOURCE_DIRECTORY
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from case import CloudCase, main  # noqa: E402
from jobs import Jobs  # noqa: E402
from together_cloud import Together  # noqa: E402

MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
BEGIN, BYTES, CHECK, SEEN, PRICE, CREATE = "^POST /v1/files$", "^PUT /storage/", "/preprocess$", "^GET /v1/files/file-", "/estimate-price$", "^POST /v1/fine-tunes$"
LOOK, EVENTS, LOAD, REMOVE = r"^GET /v1/fine-tunes/ft-[0-9]+-0000$", "/events$", "^GET /v1/finetune/download", "^DELETE /v1/files/"
LATER, DATED = (429, (("Retry-After", "0"),)), (429, (("Retry-After", "date"),))


class TogetherCase(Jobs, CloudCase):
    name, variable = "together", "KOLM_TOGETHER_TOKEN"
    look, first, working, named = LOOK, "pending", "running", True
    # step, kind, whether it succeeds nevertheless, whether the job may be left as unknown
    faults = (
        *((BEGIN, kind, False, False) for kind in ("refuse", "lost", "reset", "after-500", "malformed", "huge", "error-200", 401, 402, 403, 404, 409, 410, 422, 500)),
        (BEGIN, LATER, True, False), (BEGIN, "slow", True, False), (BEGIN, (429, (("Retry-After", "7200"),)), False, False),
        *((BYTES, kind, True, False) for kind in ("refuse", "lost", "reset", "slow", "after-500", 503)), (BYTES, 403, False, False),
        *((CHECK, kind, True, False) for kind in ("refuse", "lost", "slow", "after-500", 503)), (CHECK, 404, False, False),
        *((SEEN, kind, True, False) for kind in ("refuse", "lost", "reset", "slow", 500, 503, LATER)), (SEEN, "malformed", False, False), (SEEN, 404, False, False),
        *((PRICE, kind, True, False) for kind in ("refuse", "lost", "reset", "slow", 500, 503, LATER)), (PRICE, "error-200", False, False), (PRICE, "malformed", False, False),
        # a job that may have been submitted is found by its name
        *((CREATE, kind, True, False) for kind in ("lost", "reset", "slow", "after-500", "malformed", "huge", LATER, DATED, 429)),
        *((CREATE, kind, False, False) for kind in ("refuse", "error-200", 401, 402, 403, 404, 409, 410, 422, 500, 503, (429, (("Retry-After", "7200"),)))),
        *((LOOK, kind, True, False) for kind in ("refuse", "lost", "reset", "slow", "malformed", "huge", "html", "error-200", 401, 500, 503, LATER)),
        *((EVENTS, kind, True, False) for kind in ("refuse", "malformed", "huge", 404, 500)),
        *((LOAD, kind, True, False) for kind in ("refuse", "lost", "reset", "slow", 503)), (LOAD, 404, False, False), (LOAD, "html", False, False), (LOAD, "malformed", False, False),
        *((REMOVE, kind, True, False) for kind in ("refuse", "lost", "after-500", "html", "malformed", 503)),
    )

    def make(self):
        return Together(), {"model": MODEL}

    def test_compiles_and_answers(self):
        hosted, _, _ = self.compile_well("model/adapter.tar.zst")
        job = next(iter(self.provider.jobs.values()))
        self.assertEqual(job["training_type"], {"type": "Lora", "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0, "lora_trainable_modules": "all-linear"})
        self.assertRegex(job["suffix"], "^kolm-[0-9a-f]{16}$")
        self.assertEqual((hosted["provider"], hosted["model"], hosted["job"], hosted["base"]), ("together", job["output"], job["id"], MODEL))

    def test_options(self):
        done = self.compile("--set", "rank=8", "--set", "alpha=24", "--set", "dropout=0.05", "--set", "epochs=2", "--set", "learning_rate=0.0002", "--set", "batch=16",
                            "--set", "system=Answer with one word.", "--set", "model=Qwen/Qwen3-0.6B")
        self.assertEqual(done.returncode, 0, done.stdout)
        job = next(iter(self.provider.jobs.values()))
        kind = job["training_type"]
        self.assertEqual((kind["lora_r"], kind["lora_alpha"], kind["lora_dropout"]), (8, 24, 0.05))
        self.assertEqual((job["n_epochs"], job["learning_rate"], job["batch_size"], job["model"]), (2, 0.0002, 16, "Qwen/Qwen3-0.6B"))
        self.assert_sentence(self.compile("--set", "model=nobody/of-unknown-size"), "does not follow from its name", "parameters_b")

    def test_the_refusal_of_an_estimate_is_obeyed(self):
        self.provider.limit = 0.0
        self.assert_sentence(self.compile(), "does not allow this job", "no job was submitted")
        self.assertEqual(self.provider.submits, 0)
        self.assert_nothing_left()

    def test_a_budget(self):
        self.configure(**self.settings, budget_usd=0.0001)
        self.assert_sentence(self.compile(), "more than the budget", "no job was submitted")
        self.assertEqual(self.provider.submits, 0)
        self.assert_nothing_left()

    def test_the_budget_of_the_command(self):
        for words, env in ((("--budget", "0.0001"), {}), ((), {"KOLM_COMPUTE_BUDGET_USD": "0.0001"})):
            self.assert_sentence(self.compile(*words, env=env), "more than the budget of 0.0001 USD", "no job was submitted")
        self.assertEqual(self.provider.submits, 0)
        self.assert_nothing_left()

    def test_a_budget_is_not_reported_as_ignored(self):
        done = self.run_kolm("compute", "info", "together")
        self.assertIn("--max-price does not limit it; --budget does", done.stdout)
        self.assertNotIn("does not limit it", self.compile("--budget", "0.0001").stdout)

    def test_a_price_that_rises(self):
        """The estimate was within the budget, but the bill is not: the job is cancelled."""
        self.provider.rises = 100000.0
        self.provider.stuck = "running"
        self.configure(**self.settings, budget_usd=1)
        self.assert_sentence(self.compile(), "which is more than the budget")
        self.assert_nothing_left()

    def test_rows_that_it_would_refuse(self):
        """The backend's own validation, before anything is sent."""
        with open(os.path.join(self.work, "chat.jsonl"), "w", encoding="utf-8") as file:
            for number in range(40):
                file.write('{"messages": [{"role": "user", "content": "a%d"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "%s"}]}\n' % (number, ("x", "y")[number % 2]))
        done = self.run_kolm("compile", "-t", "router", "-d", "chat.jsonl", "--backend", "together", "--recipe", "hosted-lora")
        self.assert_sentence(done, "where one of 'assistant' is required")
        self.assertEqual([line for line in self.provider.taken if line.startswith("POST")], [])

    def test_rows_that_are_there_already(self):
        """The user has uploaded the same bytes before: they are used, and not removed."""
        self.compile()
        kept = dict(self.provider.kept)
        self.provider.files.update(kept)
        done = self.compile("-v", "--version", "2.0.0", "--set", "epochs=1")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("are there already", done.stdout)
        self.assertEqual(set(self.provider.files), set(kept))

    def test_answers_that_need_an_endpoint(self):
        """A model that is not deployed: the error says what to do, and the training is not paid twice."""
        self.provider.deployed = False
        self.assert_sentence(self.compile(), "Unable to access model", "backends.together.endpoint")
        self.provider.deployed = True
        done = self.compile("-v")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("nothing is paid again", done.stdout)
        self.assertEqual(self.provider.submits, 1)
        self.assert_nothing_left()

    def test_a_cancel_that_does_not_take(self):
        """The job confirms the cancel but does not end: kolm lists it and continues."""
        self.provider.stuck, self.provider.deaf = "running", True
        self.compile_out_of_time()
        self.assertEqual(len(self.provider.running()), 1)
        self.assertIn(self.provider.running()[0], self.open_leases())
        self.provider.deaf = False
        self.settle()
        self.assert_nothing_left()

    def test_a_job_that_is_left_and_another_token(self):
        """Then it is unknown whether the job was cancelled, and the error says why."""
        self.provider.stuck, self.provider.deaf = "running", True
        self.compile_out_of_time()
        self.provider.deaf = False
        asked = len(self.provider.taken)
        done = self.run_kolm("compute", "reap", "--yes", env={self.variable: "another-token-1234"})
        self.assertLessEqual(len(self.provider.taken) - asked, 4, self.provider.taken[asked:])  # job and rows, without repetition
        self.assertEqual(done.stdout.count("does not accept the token in KOLM_TOGETHER_TOKEN"), 1, done.stdout)
        self.assertEqual(done.returncode, 5, done.stdout)
        self.assertRegex(done.stdout, r"(?m)^  together .*  unknown( |$)")
        self.assertIn("KOLM_TOGETHER_TOKEN", done.stdout)
        self.assertNotIn("another-token-1234", done.stdout)
        self.run_kolm("compute", "reap", "--yes")
        self.assert_nothing_left()

    def test_rows_that_were_there_already_are_kept(self):
        self.compile()
        kept = dict(self.provider.kept)
        self.provider.files.update(kept)
        self.leave_a_job("--set", "epochs=1", "--version", "2.0.0")
        self.assertIn(list(self.provider.jobs.values())[-1]["training_file"], kept)
        self.reap_with_a_new_token()
        self.assertEqual(set(self.provider.files), set(kept))

    def test_a_new_job_that_is_not_listed_yet(self):
        self.provider.hide = 100.0  # five requests, however long they take
        self.configure(**{**self.settings, "settle_seconds": 600})
        self.provider.fault(CREATE, "lost")
        done = self.compile()
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assert_nothing_left()

    def test_tokens(self):
        self.check_tokens("together", "fine-tuning jobs")

    def test_test(self):
        done = self.run_kolm("compute", "test", "together")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("[4/4]", done.stdout)
        self.assertNotIn("skipped", done.stdout)
        self.assert_nothing_left()
        self.assertEqual(self.provider.submits, 0)


if __name__ == "__main__":
    main()
