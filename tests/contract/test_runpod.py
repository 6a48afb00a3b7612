#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm with answers from a serverless endpoint of RunPod, against a contract server whose worker is kolm_worker.py with the model.

usage: test_runpod.py KOLM PLUGIN_DIRECTORY SOURCE_DIRECTORY
"""
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "remote"))
from box import kill_all  # noqa: E402
from case import NOWHERE, CloudCase, main, tickets  # noqa: E402
from runpod_cloud import RunPod  # noqa: E402
from runpod_serverless import Serverless  # noqa: E402

ENDPOINT = "abc123def456"
RUN, STATUS, CANCEL = "^POST /v2/%s/run$" % ENDPOINT, "^GET /v2/%s/status/" % ENDPOINT, "^POST /v2/%s/cancel/" % ENDPOINT


class Case(CloudCase):
    name, variable = "runpod", "KOLM_RUNPOD_TOKEN"
    made = None  # a directory with the model that all tests use, and the keys by which it is signed

    def setUp(self):
        self.worker = None
        self.set_up(Serverless(self.answer, ENDPOINT))
        for folder, end in ((self.folder, ".so"), (self.source, ".json")):
            shutil.copy(os.path.join(folder, "..", "..", "local-cpu", "local-cpu" + end), self.plugins)
        self.write_rows()
        model, keys = os.path.join(self.work, "router-1.0.0.kolm"), os.path.join(self.home, "keys")
        if Case.made is None:
            done = self.run_kolm("compile", "-t", "router", "-d", "rows.jsonl", "--backend", "local-cpu")
            self.assertEqual(done.returncode, 0, done.stdout)
            Case.made = tempfile.mkdtemp(prefix="kolm-cloud-")
            unittest.addModuleCleanup(shutil.rmtree, Case.made, True)
            shutil.copy(model, Case.made)
            shutil.copytree(keys, os.path.join(Case.made, "keys"))
        else:
            shutil.copy(os.path.join(Case.made, "router-1.0.0.kolm"), model)
            shutil.copytree(os.path.join(Case.made, "keys"), keys)
        self.deploy("router-1.0.0.kolm")

    def configure(self, **settings):
        super().configure(**{"endpoint": ENDPOINT, "endpoint_api": self.provider.api(), **settings})

    def answer(self, job):
        return self.worker.answer(job)

    def deploy(self, name):
        """Creates an image with the model, with its own home and no access to this one."""
        sys.path.insert(0, self.source)
        import kolm_worker
        home = os.path.join(self.dir, "worker")
        os.makedirs(home, mode=0o700, exist_ok=True)
        shutil.copy(os.path.join(self.work, name), home)
        env = {name: value for name, value in self.env.items() if name != self.variable}
        self.worker = kolm_worker.Worker(self.kolm, os.path.join(home, name), env={**env, "KOLM_HOME": home, "HOME": home})
        self.addCleanup(self.worker.close)

    def ask(self, *texts, **more):
        return self.run_kolm("run", "router-1.0.0.kolm", *texts, "--backend", "runpod", **more)

    def pause(self, seconds=0.005):
        """Waits between two checks of a condition."""
        self.provider.server.over.wait(seconds)

    def assert_ends(self):
        """Checks that no submitted job keeps running: it was cancelled, or its ttl ends it."""
        self.assertEqual(self.provider.without_end(), [])
        self.provider.now += 600
        self.assertEqual(self.provider.running(), [])
        self.assertEqual([line for line in self.provider.taken if "/pods" in line], [])


class Answers(Case):
    def test_the_same_answers_as_here(self):
        """For a few hundred questions, in batches, with arbitrary ids."""
        questions = [{"id": "row %d" % (number % 500), "input": row["input"]} for number, row in enumerate(tickets(600, seed=7))]
        with open(os.path.join(self.work, "asked.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(one) + "\n" for one in questions)
        words = ("run", "router-1.0.0.kolm", "--jsonl", "--input", "asked.jsonl", "--backend")
        here = self.run_kolm(*words, "local-cpu", stderr=subprocess.DEVNULL)
        there = self.run_kolm(*words, "runpod", stderr=subprocess.DEVNULL)
        self.assertEqual((here.returncode, there.returncode), (0, 0), there.stdout)
        self.assertEqual(len(here.stdout.splitlines()), 600)
        self.assertEqual(there.stdout, here.stdout)
        self.assertEqual(sum(len(job.input["rows"]) for job in self.provider.jobs.values()), 600)
        self.assertGreaterEqual(self.provider.submits, 3)
        self.assertLessEqual(max(len(job.input["rows"]) for job in self.provider.jobs.values()), 256)
        self.assertEqual(self.provider.running(), [])
        self.assert_no_canary()

    def test_an_answer_with_line_ends_of_unicode(self):
        async def run(_):
            return 0, '{"id":"0","output":"a\u2028b\u0085c","confidence":1}\n'.encode(), b""
        self.worker.run = run
        done = asyncio.run(self.worker.answer({"input": {"format": 1, "model": self.worker.digest, "rows": [{}]}}))
        self.assertEqual(done["answers"][0]["output"], "a\u2028b\u0085c")

    def test_withheld_answers(self):
        done = self.run_kolm("compile", "-t", "router", "-d", "rows.jsonl", "--backend", "local-cpu", "--version", "2.0.0", "--abstain", "0.95", "--force")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.deploy("router-2.0.0.kolm")
        words = ("run", "router-2.0.0.kolm", "zzz qqq", "refund refunds about", "--json", "--backend")
        here, there = self.run_kolm(*words, "local-cpu"), self.run_kolm(*words, "runpod")
        self.assertIn('"output":null', here.stdout)
        self.assertEqual((there.stdout, there.returncode), (here.stdout, 0))

    def test_big_questions(self):
        """4 MB per request, because RunPod accepts 10; a single question may be larger."""
        with open(os.path.join(self.work, "asked.jsonl"), "w", encoding="utf-8") as file:
            for number in range(12):
                file.write(json.dumps({"id": str(number), "input": "refund refunds " + "x" * 1_000_000}) + "\n")
        done = self.run_kolm("run", "router-1.0.0.kolm", "--jsonl", "--input", "asked.jsonl", "--backend", "runpod")
        self.assertEqual((done.returncode, len(done.stdout.splitlines())), (0, 12), done.stdout[-300:])
        self.assertGreaterEqual(self.provider.submits, 3)

    def test_a_caller_that_waits_for_each_answer(self):
        """With `run --serve` the next question comes after the answer to the last one: a batch does not wait for more."""
        self.provider.tick = 10
        server = subprocess.Popen([self.kolm, "run", "router-1.0.0.kolm", "--serve", "--backend", "runpod"], env=self.env, cwd=self.work, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertIn("[serve]", server.stdout.readline())
        for text in ("refund refunds about", "login logins about"):
            self.assertIn(text.split()[0], self.ask(text).stdout)
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
        self.assertEqual(self.provider.submits, 2)

    def test_what_is_requested(self):
        self.configure(endpoint_seconds=77)
        self.assertEqual(self.ask("refund refunds about").returncode, 0)
        job, = self.provider.jobs.values()
        self.assertEqual(job.policy, {"executionTimeout": 77000, "ttl": 107000})
        self.assertEqual(job.input, {"format": 1, "model": self.worker.digest, "rows": [{"id": "0", "input": "refund refunds about"}]})
        self.assertRegex(" ".join(self.provider.taken), "^(POST /v2/{0}/run|GET /v2/{0}/status/[0-9a-f-]+u1| )+$".format(ENDPOINT))

    def test_detect(self):
        done = self.run_kolm("compute", "detect")
        self.assertIn("answers by endpoint " + ENDPOINT, done.stdout)
        self.assertEqual(self.provider.taken, [])
        with RunPod(key=self.provider.token) as pods:
            for settings, words in (({}, "billed by the second, 1 workers are up"), ({"endpoint": "another"}, "which cannot be used: "),
                                    ({"endpoint": "x/../y"}, "which cannot be used: the setting endpoint is not an id")):
                self.configure(api=pods.api(), **settings)
                self.assertRegex(self.run_kolm("compute", "detect", "--refresh").stdout, r"runpod +available +RunPod accepts the token: .*; answers by endpoint .*" + words)

    def test_a_new_model_is_not_there(self):
        """A model that was just made is measured where it was made: the endpoint cannot have it."""
        done = self.run_kolm("compile", "-t", "router", "-d", "rows.jsonl", "--backend", "runpod", "--recipe", "linear", "--version", "3.0.0", "--force")
        self.assert_sentence(done)  # this server has no pods
        self.assertEqual(self.provider.submits, 0)

    def test_score(self):
        words = ("score", "router-1.0.0.kolm", "--eval", "rows.jsonl", "--json", "--backend")
        here, there = (self.run_kolm(*words, name, stderr=subprocess.DEVNULL) for name in ("local-cpu", "runpod"))
        self.assertEqual(there.returncode, 0, there.stdout)
        here, there = (json.loads(one.stdout) for one in (here, there))
        self.assertEqual((there["accuracy"], there["answered"]), (here["accuracy"], here["answered"]))
        self.assertEqual(sum(len(job.input["rows"]) for job in self.provider.jobs.values()), 160)

    def test_where_the_token_goes(self):
        """It goes to the address of endpoints, not to that of pods, and without encryption only to this machine."""
        with RunPod() as pods:
            self.configure(api=pods.api())
            self.assertEqual(self.ask("refund refunds about").returncode, 0)
            self.assertEqual(pods.requests, [])
        for address in ("http://192.0.2.1/v2", "endpoints.example", "https://me:pw@endpoints.example/v2"):
            self.configure(endpoint_api=address)
            self.assert_sentence(self.ask("x"))
        self.assertEqual(self.provider.submits, 1)

    def test_a_budget(self):
        self.configure(budget_usd=5)
        self.assert_sentence(self.ask("x"), "cannot say what an endpoint will cost")
        self.assertEqual(self.provider.taken, [])


class Trouble(Case):
    def test_faults(self):
        good, bad = True, False
        for where, kind, right in self.drawn((
                (RUN, "refuse", bad), (RUN, "lost", bad), (RUN, "reset", bad), (RUN, "slow", good), (RUN, "after-500", bad), (RUN, "error-200", bad), (RUN, "malformed", bad),
                (RUN, "huge", bad), (RUN, "html", bad), (RUN, 400, bad), (RUN, 401, bad), (RUN, 402, bad), (RUN, 403, bad), (RUN, 404, bad), (RUN, 413, bad), (RUN, 500, bad),
                (RUN, 503, bad), (RUN, (429, (("Retry-After", "0"),)), good), (RUN, 429, good), (RUN, (429, (("Retry-After", "7200"),)), bad),
                (STATUS, "refuse", good), (STATUS, "lost", good), (STATUS, "reset", good), (STATUS, "slow", good), (STATUS, "malformed", good), (STATUS, "huge", good),
                (STATUS, "html", good), (STATUS, "foreign", good), (STATUS, "error-200", good), (STATUS, 500, good), (STATUS, 503, good), (STATUS, (429, (("Retry-After", "0"),)), good))):
            with self.subTest(where=where, kind=kind):
                self.provider.faults.clear()
                self.provider.submits = 0
                self.provider.fault(where, kind)
                done = self.ask("refund refunds about refund")
                if right:
                    self.assertEqual((done.returncode, "refund" in done.stdout), (0, True), done.stdout)
                else:
                    self.assert_sentence(done)
                self.assertLessEqual(self.provider.submits, 1)
                self.assert_ends()

    def test_an_unclear_request_says_when_it_ends(self):
        for kind in ("lost", "after-500", "malformed"):
            self.provider.faults.clear()
            self.provider.fault(RUN, kind)
            self.assert_sentence(self.ask("x"), "not submitted again", "if it exists, RunPod will end it at the latest 570 s after submission (its ttl)")
        self.assertEqual(self.provider.submits, 3)
        self.assert_ends()

    def test_sentences(self):
        self.configure(endpoint="another")
        self.assert_sentence(self.ask("x"), "RunPod has no serverless endpoint another that this token may use (404)", "correct backends.runpod.endpoint")
        self.configure()
        self.assert_sentence(self.ask("x", env={self.variable: "rpa_of-another-account"}), "does not accept the token in KOLM_RUNPOD_TOKEN (401)")
        self.configure()
        self.provider.fault(RUN, "foreign")
        done = self.ask("x")
        self.assert_sentence(done)
        self.assertNotIn("no serverless endpoint", done.stdout)
        self.configure(endpoint="x/../y")
        self.assert_sentence(self.ask("x"), "backends.runpod.endpoint in config.json is not a valid endpoint id")
        self.assertEqual(self.provider.submits, 0)

    def test_another_model(self):
        done = self.run_kolm("compile", "-t", "router", "-d", "rows.jsonl", "--backend", "local-cpu", "--version", "2.0.0", "--seed", "5", "--force")
        self.assertEqual(done.returncode, 0, done.stdout)
        asked = self.worker.digest
        self.deploy("router-2.0.0.kolm")
        self.assertNotEqual(asked, self.worker.digest)
        self.assert_sentence(self.ask("x"), "RunPod says that the job failed (FAILED): this endpoint has the model %s, and the request is for %s" % (self.worker.digest, asked))
        self.worker.digest = asked  # a worker that does not check the digest
        self.provider.tamper = lambda output: {**output, "model": "00" * 32}
        self.assert_sentence(self.ask("x"), "answers with the model %s, and the request is for %s" % ("00" * 32, asked))

    def test_answers_that_do_not_fit(self):
        def change(**more):
            return lambda output: {**output, "answers": [{**output["answers"][0], **more}, *output["answers"][1:]]}
        for tamper, words in (
                (lambda output: None, "no model"), (lambda output: [], "no model"), (lambda output: {**output, "answers": None}, "no list"),
                (lambda output: {**output, "answers": output["answers"][1:]}, "a question has none"), (lambda output: {**output, "answers": 2 * output["answers"]}, "a question has two"),
                (change(id="7"), "belongs to no question"), (change(id="-1"), "belongs to no question"), (change(id=0), "belongs to no question"),
                (change(output=3), "neither a text nor null"), (change(confidence=1.5), "no confidence from 0 to 1"), (change(confidence=None), "no confidence from 0 to 1")):
            self.provider.tamper = tamper
            self.assert_sentence(self.ask("refund refunds", "login logins"), words)
        self.provider.tamper = lambda output: {**output, "answers": output["answers"][::-1]}  # any order is accepted
        done = self.ask("refund refunds", "login logins")
        self.assertEqual([line.split()[0] for line in done.stdout.splitlines()], ["refund", "login"])
        self.assert_ends()

    def test_a_worker_that_fails(self):
        self.worker.command[0] = "/bin/false"
        self.assert_sentence(self.ask("x"), "RunPod says that the job failed (FAILED): kolm exited with status 1")
        self.worker.answer = lambda job: {"error": "CUDA out of memory"}
        self.provider.error_form = lambda text: json.dumps({"error_type": "<class 'RuntimeError'>", "error_message": text, "error_traceback": "..."})
        self.assert_sentence(self.ask("x"), "RunPod says that the job failed (FAILED): CUDA out of memory")

    def test_a_worker_whose_server_ends(self):
        """The server is started again, and the model answers."""
        self.assertEqual(self.ask("refund refunds about").returncode, 0)
        first = self.worker.server
        first.kill()
        first.wait()
        self.assertIn("login", self.ask("login logins about").stdout)
        self.assertIsNone(self.worker.server.poll())
        self.assertNotEqual(self.worker.server.pid, first.pid)

    def test_what_a_worker_does_not_take(self):
        for asked in (None, [], {}, {"format": 2, "model": self.worker.digest, "rows": []}, {"format": 1, "model": self.worker.digest}):
            self.assertIn("have different versions", asyncio.run(self.worker.answer({"input": asked}))["error"])
        for rows in ([3], [{"id": "0"}], [{"input": 3}]):
            self.assertIn("kolm exited with status", asyncio.run(self.worker.answer({"input": {"format": 1, "model": self.worker.digest, "rows": rows}}))["error"], rows)
        self.assertEqual(asyncio.run(self.worker.answer({"input": {"format": 1, "model": self.worker.digest, "rows": []}})), {"model": self.worker.digest, "answers": []})

    def test_killed_at_each_request(self):
        """Then no process cancels: submitted jobs have a ttl, and no later start of kolm waits for them or repeats them."""
        self.assertEqual(self.ask("refund refunds about").returncode, 0)
        for number in range(len(self.provider.taken)):
            self.provider.taken.clear()
            kolm = subprocess.Popen([self.kolm, "run", "router-1.0.0.kolm", "x", "--backend", "runpod"], env=self.env, cwd=self.work, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            while len(self.provider.taken) <= number and kolm.poll() is None:
                self.pause()
            os.killpg(kolm.pid, signal.SIGKILL)
            kolm.wait()
            self.provider.submits = 0
            self.run_kolm("compute", "status")
            self.assertEqual(self.provider.submits, 0)
            self.assert_ends()

    def test_the_words_of_a_job(self):
        self.provider.word = "RUNNING"
        self.assertEqual(self.ask("refund refunds about").returncode, 0)
        self.provider.word = "WARMING_UP"
        done = self.ask("refund refunds about", "-v")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn('is "WARMING_UP"', done.stdout)

    def test_ends_of_a_job(self):
        self.provider.runs = 1e6
        self.provider.tick = 182
        self.assert_sentence(self.ask("x"), "(TIMED_OUT): job timed out after 540000 ms")
        self.provider.runs = 3
        self.provider.tick = 1
        self.provider.fault(STATUS, "refuse", times=1)  # while it is cancelled in the console
        taken = self.provider.handle

        def handle(request, connection):
            for job in self.provider.jobs.values():
                job.cancelled = job.cancelled or self.provider.now
            return taken(request, connection)
        self.provider.server.handle = handle
        self.assert_sentence(self.ask("x"), "the job was cancelled at RunPod, and not by this kolm")

    def test_it_never_starts(self):
        """It is given up after its time, and cancelled."""
        self.provider.stuck, self.provider.tick = True, 0.001
        self.configure(endpoint_seconds=10)
        self.assert_sentence(self.ask("x"), "the time of 10 s has run out")
        self.assertEqual(self.provider.running(), [])
        self.assertEqual([job.cancelled is not None for job in self.provider.jobs.values()], [True])

    def test_a_name_that_does_not_resolve(self):
        self.configure(endpoint_api=NOWHERE)
        self.assert_sentence(self.ask("x"), "does not resolve")
        self.assertEqual(self.provider.server.connections, 0)

    def test_its_ttl_is_over(self):
        self.provider.stuck, self.provider.tick = True, 200
        self.assert_sentence(self.ask("x"), "RunPod no longer has the job")

    def stop(self, *words):
        kolm = subprocess.Popen([self.kolm, "run", "router-1.0.0.kolm", "x", "--backend", "runpod", *words], env=self.env, cwd=self.work, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while not any("/status/" in line for line in self.provider.taken):
            self.assertIsNone(kolm.poll())
            self.pause()
        kolm.send_signal(signal.SIGINT)
        return kolm.communicate(timeout=60)[0]

    def test_ctrl_c_cancels(self):
        self.provider.stuck, self.provider.tick = True, 0.001
        self.stop()
        self.assertEqual((self.provider.submits, self.provider.running()), (1, []))

    def test_ctrl_c_and_a_cancel_that_takes_a_moment(self):
        """The first query after it still shows the old state: that must not cause a warning."""
        self.provider.stuck, self.provider.tick, self.provider.late = True, 0.001, 1
        self.assertNotIn("is not cancelled yet", self.stop())
        self.assertEqual((self.provider.submits, self.provider.running(), self.provider.late), (1, [], 0))

    def test_ctrl_c_and_a_cancel_that_does_not_take(self):
        self.provider.stuck, self.provider.tick, self.provider.deaf = True, 0.001, 1
        self.provider.fault(CANCEL, 500)
        self.stop()
        self.assertEqual((self.provider.submits, self.provider.without_end()), (1, []))
        self.assert_ends()

    def test_ctrl_c_and_a_cancel_that_is_taken_and_not_done(self):
        self.provider.stuck, self.provider.tick, self.provider.deaf = True, 0.001, 10**6
        self.assertRegex(self.stop(), "warning: runpod: the job [0-9a-f-]+u1 is not cancelled yet; RunPod will end it at the latest 570 s after submission")
        self.assert_ends()

    def test_the_warning_of_a_cancel_says_who_ends_a_recorded_job(self):
        self.configure(endpoint_seconds=3600)
        self.provider.stuck, self.provider.tick, self.provider.deaf = True, 0.001, 10**6
        self.assertRegex(self.stop(), r"is not cancelled yet; RunPod will end it at the latest 3630 s after submission \(its ttl\), and the next command of kolm cancels it")
        self.provider.deaf = 0
        self.run_kolm("compute", "reap", "--yes")
        self.assertEqual((self.leases(), self.provider.running()), ([], []))

    def leases(self):
        return json.loads(self.run_kolm("compute", "status", "--json", stderr=subprocess.DEVNULL).stdout)["leases"]

    def left(self, *faults):
        """Leaves the record of a job that may run for an hour, by killing kolm while it exists."""
        self.configure(endpoint_seconds=3600)
        self.provider.stuck, self.provider.tick = True, 0.001
        kolm = subprocess.Popen([self.kolm, "run", "router-1.0.0.kolm", "x", "--backend", "runpod"], env=self.env, cwd=self.work, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while not any("/status/" in line for line in self.provider.taken):
            self.assertIsNone(kolm.poll())
            self.pause()
        kill_all(kolm)
        kolm.communicate()

    def settled(self):
        while any(lease["state"] == "in use" for lease in self.leases()):
            self.pause(0.2)  # each check starts a process
        return self.leases()

    def test_a_job_that_may_run_for_long_is_recorded(self):
        self.left()
        self.provider.deaf = 10**6
        (lease,) = self.settled()
        self.assertRegex(lease["place"], "^RunPod, ttl [0-9]+ s, endpoint %s " % ENDPOINT)
        self.assertIn("it is not cancelled yet; RunPod will end it", self.run_kolm("compute", "reap", "--yes").stdout)
        self.provider.deaf = 0
        self.configure(endpoint="another")  # the endpoint is in its record
        self.run_kolm("compute", "reap", "--yes")
        self.assertEqual((self.leases(), self.provider.running()), ([], []))

    def test_a_job_that_may_run_for_long_and_ends_well(self):
        self.configure(endpoint_seconds=3600)
        self.assertEqual(self.ask("refund refunds about").returncode, 0)
        self.assertEqual(self.leases(), [])

    @unittest.skipUnless(shutil.which("faketime"), "no faketime")
    def test_a_job_whose_submission_was_not_answered_ends_by_its_ttl(self):
        self.configure(endpoint_seconds=1000)
        self.provider.fault(RUN, "lost")
        self.assert_sentence(self.ask("x"), "it is not submitted again", "if it exists, RunPod will end it")
        self.assertIn("so kolm cannot find it", self.run_kolm("compute", "reap", "--yes").stdout)
        self.assertEqual(len(self.leases()), 1)
        subprocess.run(["faketime", "-f", "+1h", self.kolm, "compute", "reap", "--yes"], env=self.env, cwd=self.work, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        self.assertEqual(self.leases(), [])

    def test_ctrl_c_and_a_cancel_that_is_never_answered(self):
        """The job is not recorded, so no later start of kolm ends it: a warning says what does."""
        self.provider.stuck, self.provider.tick = True, 0.001
        self.provider.fault(CANCEL, 500, times=0)
        said = self.stop()
        self.assertRegex(said, "warning: runpod: the job [0-9a-f-]+u1 is not cancelled yet; RunPod will end it at the latest 570 s after submission")
        self.assert_ends()


class Records(Case):
    """With a backend that sends one question per request."""

    def setUp(self):
        super().setUp()
        shutil.copy(os.path.join(self.folder, "..", "..", "..", "tests", "contract", "runpod-single.so"), os.path.join(self.plugins, "runpod.so"))
        self.assertEqual(self.run_kolm("backend", "grant", "runpod").returncode, 0)

    def test_more_requests_than_a_call_may_record(self):
        """kolm records 1000 names in one call, including jobs that have ended: later ones must soon end by themselves."""
        self.configure(endpoint_seconds=3600)
        self.provider.tick = 10
        self.provider.handler = lambda job: {"model": job["input"]["model"], "answers": [{"id": row["id"], "output": "billing", "confidence": 1} for row in job["input"]["rows"]]}
        with open(os.path.join(self.work, "asked.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"id": str(number), "input": "x"}) + "\n" for number in range(1003))
        done = self.run_kolm("run", "router-1.0.0.kolm", "--jsonl", "--input", "asked.jsonl", "--backend", "runpod", timeout=240)
        self.assertEqual(done.returncode, 0, done.stdout[-300:])
        self.assertEqual([job.policy["ttl"] for job in self.provider.jobs.values()], 1000 * [3630000] + 3 * [570000])
        self.assertEqual(self.json("compute", "status")["leases"], [])


OFFICIAL = """
import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
import runpod_bare
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@unittest.skipUnless(os.environ.get("KOLM_TEST_CLIENTS"), "KOLM_TEST_CLIENTS names no Python with the package runpod")
class Official(Case):
    """The worker as it runs in an image: in the loop of the package runpod, which takes jobs from the server."""

    def setUp(self):
        super().setUp()
        self.provider.handler, self.provider.tick = None, 0.001

    def start_worker(self, program):
        env = {**self.worker.env, **self.provider.worker_env(), "KOLM_MODEL": self.worker.model, "KOLM_PROGRAM": program, "PYTHONDONTWRITEBYTECODE": "1"}
        worker = subprocess.Popen([os.environ["KOLM_TEST_CLIENTS"], "-c", OFFICIAL, os.path.dirname(os.path.abspath(__file__)), os.path.join(self.source, "kolm_worker.py")], env=env,
                                  cwd=self.worker.env["KOLM_HOME"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.addCleanup(worker.communicate)
        self.addCleanup(os.killpg, worker.pid, signal.SIGTERM)
        while not any("/job-take/" in line for line in self.provider.taken):
            self.assertIsNone(worker.poll(), "the worker ended")
            self.pause()
        return worker

    def test_it_answers(self):
        self.start_worker(self.kolm)
        words = ("run", "router-1.0.0.kolm", "refund refunds about", "login logins about", "--json", "--backend")
        here, there = self.run_kolm(*words, "local-cpu"), self.run_kolm(*words, "runpod")
        self.assertEqual((there.stdout, there.returncode), (here.stdout, 0))
        self.assert_ends()

    def test_it_refuses(self):
        self.start_worker(self.kolm)
        done = self.run_kolm("compile", "-t", "router", "-d", "rows.jsonl", "--backend", "local-cpu", "--version", "2.0.0", "--seed", "5", "--force")
        self.assertEqual(done.returncode, 0, done.stdout)
        done = self.run_kolm("run", "router-2.0.0.kolm", "x", "--backend", "runpod")
        self.assert_sentence(done, "RunPod says that the job failed (FAILED): this endpoint has the model " + self.worker.digest)

    def test_a_cancelled_job_ends_its_kolm(self):
        slow = os.path.join(self.dir, "slow")
        started = os.path.join(self.dir, "started")
        with open(slow, "w", encoding="utf-8") as file:
            file.write('#!/bin/sh\ncase " $* " in *" --jsonl "*) echo $$ >%s.new; mv %s.new %s; exec tail -f /dev/null;; *) exec %s "$@";; esac\n' % (started, started, started, self.kolm))
        os.chmod(slow, 0o755)
        self.start_worker(slow)
        kolm = subprocess.Popen([self.kolm, "run", "router-1.0.0.kolm", "x", "--backend", "runpod"], env=self.env, cwd=self.work, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while not os.path.exists(started):
            self.assertIsNone(kolm.poll())
            self.pause()
        with open(started, encoding="utf-8") as file:
            process = "/proc/" + file.read().strip()
        kolm.send_signal(signal.SIGINT)
        kolm.communicate(timeout=60)
        while os.path.exists(process):
            self.pause()
        self.assertEqual(self.provider.running(), [])


if __name__ == "__main__":
    main()
