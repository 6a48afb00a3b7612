#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm with the backend fal against its contract server: answers from an endpoint that the user names.

usage: test_fal.py KOLM PLUGIN_DIRECTORY SOURCE_DIRECTORY
"""
import os
import re
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import canary  # noqa: E402
from case import NOWHERE, CloudCase, main, tickets  # noqa: E402
from fal_cloud import Fal  # noqa: E402
from server import Authority  # noqa: E402

ROWS = [(row["input"], row["output"]) for row in tickets(160)]


class FalCase(CloudCase):
    name, variable = "fal", "KOLM_FAL_TOKEN"

    def setUp(self):
        self.start(Fal(ROWS))

    def start(self, provider):
        self.set_up(provider, endpoints={"router": {"endpoint": "me/router"}})
        for folder, end in ((self.folder, ".so"), (self.source, ".json")):
            shutil.copy(os.path.join(folder, "..", "..", "local-cpu", "local-cpu" + end), self.plugins)

    def model(self):
        """Makes an artifact of the task `router` on this machine."""
        self.write_rows()
        done = self.run_kolm("compile", "-t", "router", "-d", "rows.jsonl", "--backend", "local-cpu")
        self.assertEqual(done.returncode, 0, done.stdout)

    def ask(self, *texts, **more):
        return self.run_kolm("run", "router-1.0.0.kolm", *texts, "--backend", "fal", **more)

    def test_answers_by_its_queue(self):
        self.model()
        done = self.ask("refund refunds about refund")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("refund", done.stdout)
        self.assertEqual((self.provider.submits, self.provider.running()), (1, []))
        self.assert_no_canary()

    def test_the_tokens_are_nowhere(self):
        """The tokens of all providers are set."""
        self.model()
        tokens = canary.tokens()
        self.provider.token = tokens[self.variable]
        process = subprocess.Popen([self.kolm, "run", "router-1.0.0.kolm", "refund refunds about refund", "--backend", "fal", "-vv"], env={**self.env, **tokens}, cwd=self.work,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seen = canary.seen_while(process, self.kolm, tokens.values(), self.provider.server.over)
        said = process.communicate()[0]
        self.assertEqual((process.returncode, seen), (0, []), said)
        for token in tokens.values():
            self.assertNotIn(token, said)
            self.assertFalse(any(token in line for line in self.provider.taken))
        self.assertEqual(canary.files_with(self.dir, tokens.values()), [])

    def test_no_socket_under_airgap_with_all_tokens(self):
        """For list, detect, pick, quote, compile and run: only those by which kolm checks its fence, and these must fail."""
        self.model()
        self.add_the_other_clouds()
        env = {**self.env, **canary.tokens()}
        compute = (("list",), ("detect", "--refresh"), ("pick",), ("quote", "--rows", "100", "--bytes", "9000"))
        for words in (*(("compute", *one) for one in compute), ("compile", "-t", "second", "-d", "rows.jsonl"), ("run", "router-1.0.0.kolm", "x", "--backend", "fal")):
            log = os.path.join(self.dir, "strace")
            more = () if words[:2] == ("compute", "list") else ("--airgap",)
            done = subprocess.run([shutil.which("strace"), "-f", "-o", log, "-e", "trace=network", self.kolm, *words, *more], env=env, cwd=self.work, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
            if "ptrace" in done.stdout:
                self.skipTest("nothing may be traced here")
            with open(log, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
            self.assertEqual([line for line in lines if re.search(r"AF_INET6?\b", line) and re.search(r"(connect|sendto|sendmsg)\(.* = \d+$", line)], [], words)
        self.assertEqual(self.provider.server.connections, 0)

    def add_the_other_clouds(self):
        for name in ("lambda", "runpod", "vast", "together", "replicate", "modal"):
            for folder, end in ((self.folder, ".so"), (self.source, ".json")):
                shutil.copy(os.path.join(folder, "..", name, name + end), self.plugins)
            self.run_kolm("backend", "grant", name)

    def test_over_tls_with_an_authority_of_its_own(self):
        folder = os.path.join(self.dir, "ca")
        os.mkdir(folder)
        authority = Authority(folder)
        self.start(Fal(ROWS, context=authority.context()))
        self.model()
        done = self.ask("login logins about login", env={"SSL_CERT_FILE": authority.ca})
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("login", done.stdout)
        done = self.ask("login logins about login")
        self.assert_sentence(done, "certificate")

    def test_a_model_that_is_not_served_there(self):
        self.model()
        self.configure(endpoints={"another": {"endpoint": "me/router"}})
        self.assert_sentence(self.ask("x"), "no fal endpoint is configured for the model router")
        self.assertEqual(self.provider.submits, 0)

    def test_a_name_that_does_not_resolve(self):
        self.model()
        self.configure(api=NOWHERE, endpoints={"router": {"endpoint": "me/router"}})
        self.assert_sentence(self.ask("x"), "does not resolve")
        self.assertRegex(self.run_kolm("compute", "detect", "--refresh").stdout, "fal +available .*does not resolve")
        self.assertEqual(self.provider.server.connections, 0)

    def test_tokens(self):
        done = self.run_kolm("compute", "detect", "--refresh")
        self.assertRegex(done.stdout, r"fal +.*fal accepts the token in KOLM_FAL_TOKEN: me/router costs 0.0005 USD by the request")
        for token, word in (("only-one-half", "half of a key"), ("wrong:wrong-wrong", "does not accept the token"), ("x", "cannot be a token")):
            done = self.run_kolm("compute", "detect", "--refresh", env={"KOLM_FAL_TOKEN": token})
            self.assertIn(word, done.stdout, token)
        self.provider.scopes = set()
        done = self.run_kolm("compute", "detect", "--refresh")
        self.assertIn("authorize it for this (403)", done.stdout)
        done = self.run_kolm("compute", "detect", "--refresh", env={"KOLM_FAL_TOKEN": ""})
        self.assertIn("KOLM_FAL_TOKEN is not set", done.stdout)

    def test_test(self):
        done = self.run_kolm("compute", "test", "fal")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("[4/4]", done.stdout)
        self.assertEqual(self.provider.submits, 0)

    def test_addresses_of_others_are_not_followed(self):
        """If the queue replies with addresses on another host, the token is not sent there: those derived from the id are used."""
        other = Fal(ROWS)
        self.addCleanup(other.close)
        self.provider.lies = other.address
        self.model()
        self.assertEqual(self.ask("refund refunds about").returncode, 0)
        self.assertEqual(other.taken, [])

    def test_faults(self):
        self.model()
        submit, status, result = "^POST /me/router$", "/status", r"^GET /me/router/requests/[0-9a-f-]+$"
        # where, kind, expected: True succeeds nevertheless, False is an error
        for where, kind, good in (
                (submit, "refuse", False), (submit, "lost", False), (submit, "reset", False), (submit, "slow", True), (submit, "after-500", False), (submit, "error-200", False),
                (submit, "malformed", False), (submit, "huge", False), (submit, 401, False), (submit, 402, False), (submit, 403, False), (submit, 404, False), (submit, 409, False),
                (submit, 410, False), (submit, 422, False), (submit, (429, (("Retry-After", "0"),)), True), (submit, 429, True), (submit, (429, (("Retry-After", "7200"),)), False),
                (submit, 500, False), (submit, 503, False),
                (status, "refuse", True), (status, "reset", True), (status, "slow", True), (status, "malformed", True), (status, "html", True), (status, "error-200", True), (status, 500, True),
                (status, 503, True), (status, (429, (("Retry-After", "0"),)), True), (result, "reset", True), (result, "lost", True), (result, 500, True), (result, "malformed", False),
                (result, 410, False)):
            with self.subTest(where=where, kind=kind):
                self.provider.faults.clear()
                self.provider.submits = 0
                self.provider.fault(where, kind)
                done = self.ask("refund refunds about refund")
                if good:
                    self.assertEqual(done.returncode, 0, done.stdout)
                else:
                    self.assert_sentence(done)
                self.assertLessEqual(self.provider.submits, 1)
                # what may run after an unclear submission ends by itself, and is not submitted again
                self.provider.now += 1000
                self.assertEqual(self.provider.running(), [])

    def test_unclear_submit_is_reported(self):
        self.model()
        self.provider.fault("^POST /me/router$", "lost")
        done = self.ask("refund refunds about refund")
        self.assert_sentence(done, "its cost is unknown")
        self.assertIn("it is not submitted again", done.stdout)

    def test_a_runner_that_fails(self):
        self.model()
        self.provider.breaks = "CUDA out of memory"
        self.assert_sentence(self.ask("x"), "CUDA out of memory")

    def test_giving_up_cancels(self):
        self.model()
        self.provider.stuck = True
        kolm = subprocess.Popen([self.kolm, "run", "router-1.0.0.kolm", "x", "--backend", "fal"], env=self.env, cwd=self.work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)
        while not any("/status" in line for line in self.provider.taken):
            self.assertIsNone(kolm.poll())
        kolm.send_signal(signal.SIGINT)
        kolm.communicate(timeout=60)
        self.assertTrue(any(line.startswith("PUT ") for line in self.provider.taken))
        self.assertEqual(self.provider.running(), [])


if __name__ == "__main__":
    main()
