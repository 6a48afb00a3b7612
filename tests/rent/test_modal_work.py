#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The slots of modal with real work, in sandboxes that are directories of this machine: the tests of all machines, except those of SSH.

usage: as test_machines_work.py
"""
import os
import time
import unittest

import test_machines_work as machines  # reads the command line
from test_machines_work import Fault, PROVIDER


class Work(machines.Work):
    test_the_key_is_of_this_job_and_nothing_of_it_stays = None  # there is no key

    def test_the_token_goes_to_its_own_service_alone(self):
        """The router, which runs the work, gets a separate token; and programs in a sandbox see neither."""
        seen = []
        self.cloud.always = lambda call: seen.append((call.path, call.headers))
        self.assertEqual(self.slot("train", self.job).code, 0)
        routed = [headers for path, headers in seen if "TaskCommandRouter" in path]
        self.assertGreater(len(routed), 4)
        for headers in routed:
            self.assertFalse([name for name in headers if name.startswith("x-modal-token")])
            self.assertTrue(headers["authorization"].startswith("Bearer "))
        self.assertFalse([path for path, headers in seen if "ModalClient" in path and "authorization" in headers])


class Elsewhere(machines.Case):
    """kolm is killed, and its next start uses another environment, or another workspace."""
    def killed(self, process, lines):
        process.kill()
        return self.finish(process, lines)

    def test_another_environment_does_not_know_it(self):
        """It can only be found by name: the answer to the creation never came."""
        self.cloud.environments["staging"] = "en-of-staging"
        self.cloud.always = lambda call: Fault("lose") if call.path.endswith("/SandboxCreate") else Fault(503) if self.cloud.instances else None
        process = self.start("train", self.job)
        while not self.cloud.instances and process.poll() is None:
            self.cloud.server.over.wait(0.02)
        said = self.killed(process, [])
        self.cloud.always = None
        self.assertEqual(list(said.open().values()), [""])
        self.stays(said, environment="staging")
        self.stays(said, environment="nowhere")
        self.cloud.apps[("staging", "kolm")] = "ap-of-staging"
        self.stays(said, environment="staging")
        self.reap(said)

    def test_another_workspace_does_not_know_it(self):
        process = self.start("train", self.job)
        said = self.killed(process, self.follow(process, "handle "))
        other = PROVIDER.make(boot=0.2, port=self.cloud.port)
        self.addCleanup(other.close)
        self.stays(said, api=other.api())
        other.apps[("main", "kolm")] = "ap-0"
        self.stays(said, api=other.api())
        self.reap(said)

    def test_what_is_found_and_ended_is_gone_wherever_it_was_requested(self):
        """A sandbox is found by its id in any environment."""
        process = self.start("train", self.job)
        said = self.killed(process, self.follow(process, "handle "))
        self.cloud.environments["staging"] = "en-of-staging"
        (name, handle), = said.open().items()
        answer = self.slot("reclaim", name, handle, "3600", place=said.place(name), environment="staging")
        self.assertEqual(answer.of("reclaimed")[0].split(" ")[0], "gone", answer.text)
        self.assertEqual(self.cloud.running(), [])

    def stays(self, said, **settings):
        (name, handle), = said.open().items()
        answer = self.slot("reclaim", name, handle, "3600", place=said.place(name), **settings)
        told = answer.of("reclaimed") or answer.of("failed")
        self.assertNotIn("gone", told[0].split(" ")[:1], answer.text)
        self.assertRegex(told[0], "^unknown not found in Modal, .*its record says Modal, main|has no environment nowhere")
        self.assertEqual(self.cloud.running(), [name])


class Trouble(machines.Trouble):
    test_another_host_key_is_not_trusted = test_an_account_that_opens_late = None  # only for SSH
    test_a_watchdog_stays_when_kolm_is_killed = None  # Modal's own timeout is checked in test_modal.py

    def test_modal_ends_it_by_itself(self):
        """kolm is killed and not started again: the budget set Modal's timeout of the sandbox."""
        self.slow()
        process = self.start("train", self.job, budget_usd="0.1")
        lines = self.follow(process, "phase comparing")
        process.kill()
        said = self.finish(process, lines)
        seconds = self.cloud.instances[0].body["timeout_secs"]
        self.assertLess(seconds, 0.1 / PROVIDER.price * 3600 + 901)
        self.assertGreater(seconds, 0.1 / PROVIDER.price * 3600 + 890)
        self.reap(said)

    def test_streams_that_break_are_taken_up(self):
        """Output and input continue where they were: each stream of output is broken once, and every third write is lost after it was
        executed."""
        self.slow(400)
        writes, reads = [0], [0]

        def break_some(call):
            if call.path.endswith("/TaskExecStdinWrite"):
                writes[0] += 1
                return Fault("lose") if writes[0] % 3 == 0 else None
            if call.path.endswith("/TaskExecStdioRead"):
                reads[0] += 1
                return Fault("refuse") if reads[0] % 2 else None
            return None
        self.cloud.always = break_some
        said = self.slot("train", self.job)
        self.assertEqual(said.code, 0, said.text)
        self.assertEqual(len(self.cloud.instances[0].programs), 1)  # one program, not a new one after each break
        self.nothing_left(said)

    def test_an_image_without_python(self):
        self.cloud.box_path = "/nonexistent"
        said = self.slot("train", self.job)
        self.assertIn("install Python 3.6 or later there", said.of("remedy")[0])
        self.nothing_left(said)


class Tokens(machines.Tokens):
    def test_half_a_token_and_one_that_has_expired(self):
        whole = self.cloud.key
        for half in (whole.partition(":")[0], whole.partition(":")[0] + ":", ":" + whole.partition(":")[2]):
            self.cloud.key = half
            said = self.slot("refresh")
            self.assertEqual(said.of("detected")[0], "broken KOLM_MODAL_TOKEN has one half of a token of Modal, and two are needed")
            self.assertEqual(said.of("remedy")[0], "set it to ID:SECRET, with both from https://modal.com/settings/tokens")
        self.assertEqual(self.cloud.requests, [])
        self.cloud.key, self.cloud.expires = whole, int(time.time()) - 5
        self.assertEqual(self.slot("refresh").of("detected")[0], "broken this Modal token has expired")
        self.cloud.expires = int(time.time()) + 7200 + 60
        self.assertTrue(self.slot("refresh").of("detected")[0].endswith("; the token expires in 2 h"))

    def test_a_token_expires_by_the_clock_of_modal(self):
        for days in (-3, 3):  # days by which Modal's clock, or this machine's, is wrong
            self.cloud.skew = days * 86400
            self.cloud.expires = int(time.time()) + self.cloud.skew + 7200 + 60
            self.assertTrue(self.slot("refresh").of("detected")[0].endswith("; the token expires in 2 h"), days)

    def test_too_many_requests_are_no_lack_of_a_gpu(self):
        for fault in (Fault(429, 3600), Fault(429)):
            self.cloud.always = lambda call, f=fault: f if call.path.endswith("/TokenInfoGet") else None
            self.assertRegex(self.detected(), "^available the token is set; Modal could not be queried: Modal accepts no more requests at the moment")

    def test_prices_that_modal_does_not_tell_are_not_live(self):
        """If a GPU, a core or a gibibyte has no rate, the price is from kolm's own list."""
        rates = self.cloud.rates(None, None)["rates"]
        self.assertIn("offer.usd_per_hour", self.slot("refresh").of("metric"))
        for missing in ("gpu_t4", "sandbox_cpu_core", "sandbox_memory_gib"):
            self.cloud.told = {name: price for name, price in rates.items() if name != missing}
            self.assertNotIn("offer.usd_per_hour", self.slot("refresh").of("metric"), missing)
            said = self.slot("test")
            self.assertRegex(said.of("step")[1], "at 1[.]26.* USD an hour, the reference price of 2026-06-27", said.text)
            self.assertIn(", the reference price of 2026-06-27, number 1", said.text)
        self.nothing_left(said)


if __name__ == "__main__":
    os.umask(0o022)
    unittest.main(verbosity=2)
