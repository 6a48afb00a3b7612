#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The slots of modal with real work, in sandboxes that are directories of this machine: what holds for all machines, but for what is of SSH alone.

usage: as test_machines_work.py
"""
import os
import time
import unittest

import test_machines_work as machines  # takes the words of the command line
from test_machines_work import Fault, PROVIDER


class Work(machines.Work):
    test_the_key_is_of_this_job_and_nothing_of_it_stays = None  # there is no key

    def test_the_token_goes_to_its_own_service_alone(self):
        """The router, which runs the work, gets a token of its own; and programs in a sandbox see neither."""
        seen = []
        self.cloud.always = lambda call: seen.append((call.path, call.headers))
        self.assertEqual(self.slot("train", self.job).code, 0)
        routed = [headers for path, headers in seen if "TaskCommandRouter" in path]
        self.assertGreater(len(routed), 4)
        for headers in routed:
            self.assertFalse([name for name in headers if name.startswith("x-modal-token")])
            self.assertTrue(headers["authorization"].startswith("Bearer "))
        self.assertFalse([path for path, headers in seen if "ModalClient" in path and "authorization" in headers])


class Trouble(machines.Trouble):
    test_another_host_key_is_not_believed = test_an_account_that_opens_late = None  # of SSH
    test_a_watchdog_stays_when_kolm_is_killed = None  # Modal's own end is read back: test_modal.py

    def test_modal_ends_it_by_itself(self):
        """kolm is killed, and nobody comes: the longest time was told to Modal, by the budget."""
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
        """Output and input go on where they were: each stream of output is broken once, and each third write is lost after it was done."""
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
        self.assertEqual(len(self.cloud.instances[0].programs), 1)  # one program, not a new one for each break
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
            self.assertEqual(said.of("remedy")[0], "set it to ID:SECRET, both from https://modal.com/settings/tokens")
        self.assertEqual(self.cloud.requests, [])
        self.cloud.key, self.cloud.expires = whole, int(time.time()) - 5
        self.assertEqual(self.slot("refresh").of("detected")[0], "broken this token of Modal has expired")
        self.cloud.expires = int(time.time()) + 7200 + 60
        self.assertTrue(self.slot("refresh").of("detected")[0].endswith("; the token expires in 2 h"))


if __name__ == "__main__":
    os.umask(0o022)
    unittest.main(verbosity=2)
