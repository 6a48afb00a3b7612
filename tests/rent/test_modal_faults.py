#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Faults specific to gRPC, at each request of a rental: every status, before and after it was executed, broken streams, invalid messages;
and how sandboxes end.

usage: as test_machines.py"""
import unittest

import test_machines as machines  # reads the command line
from driven import drawn, stride_of
from test_machines import Fault, PROGRAM, PROVIDER

CODES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 99)
DONE = (1, 2, 4, 6, 13, 14, 15, 99)  # statuses that are also possible after the request was executed
STRIDE = stride_of(PROGRAM, 6, 12)
STRIDE_OF_WIRE = stride_of(PROGRAM, 2, 8)
CREATE = PROVIDER.launch
NAMES = {5: "INIT_FAILURE", 6: "INTERNAL_FAILURE", 7: "IDLE_TIMEOUT", 8: "MEMORY_MANAGER_EVICTION", 9: "MEMORY_THRASHING_EVICTION", 10: "KERNEL_OOM_KILL"}


class Case(machines.Case):
    def suffers(self, about, *faults, **world):
        """Drives one run with these faults {number: Fault}, and starts once more after it."""
        cloud = self.cloud(faults=dict(faults), **world)
        run = self.drive(cloud)
        self.check(cloud, run, about)
        text = run.ends["machine"][3]
        self.assertTrue(run.ends["machine"][1] == 0 or (text and "\n" not in text), (about, run.ends))
        self.reap(cloud, run, about)
        self.assertEqual(cloud.throttled, 0)
        cloud.close()
        return run, cloud

    def requests(self):
        cloud = self.cloud()
        self.drive(cloud)
        return len(cloud.requests)


class Statuses(Case):
    def test_each_before_it_was_done(self):
        for number, code in drawn(self.requests(), CODES, STRIDE):
            self.suffers("status %d at request %d" % (code, number), (number, Fault(("status", code))))

    def test_each_after_it_was_done(self):
        for number, code in drawn(self.requests(), DONE, STRIDE):
            self.suffers("done, and status %d at request %d" % (code, number), (number, Fault(("done-status", code))))

    def test_each_at_the_creation(self):
        """A created sandbox is used or ended, and never created twice; otherwise the next offer is tried, or the run ends."""
        for code in CODES:
            run, cloud = self.suffers("status %d at the creation" % code, (CREATE, Fault(("status", code))))
            self.assertEqual(len(cloud.instances) <= 1, True)
            self.assertEqual(run.ends["machine"][1] == 0, bool(cloud.instances), (code, run.ends))
        for code in DONE:
            run, cloud = self.suffers("created, and status %d" % code, (CREATE, Fault(("done-status", code))))
            self.assertEqual((run.ends["machine"][:2], len(cloud.instances)), (("gone", 0), 1), (code, run.ends))

    def test_limits(self):
        """RESOURCE_EXHAUSTED with a time to wait is retried for a minute at most; without, it is an error, and means a lack of GPUs only
        at the creation."""
        for number, seconds in drawn(self.requests(), (0, 3600), STRIDE):
            self.suffers("limit, wait %d at request %d" % (seconds, number), (number, Fault(429, seconds)))
        run, cloud = self.suffers("limit, wait 0 at the creation", (CREATE, Fault(429, 0)))
        self.assertEqual((run.ends["machine"][:2], len(run.records), len(cloud.instances)), (("gone", 0), 1, 1))
        run, cloud = self.suffers("limit at the creation", (CREATE, Fault(("status", 8))))
        self.assertEqual((len(run.records), cloud.instances[0].kind[0]), (2, PROVIDER.kinds[1]))  # the next GPU
        run, cloud = self.suffers("limit at the prices", (0, Fault(("status", 8))), (1, Fault(("status", 8))))
        self.assertIn("Modal accepts no more requests at the moment", run.ends["machine"][3])
        self.assertEqual(cloud.instances, [])


class Wire(Case):
    def test_streams_and_messages_that_break(self):
        for number, kind in drawn(self.requests(), ("break", "break-done", "goaway", "compressed", "two", "none", "status-text", "no-status"), STRIDE_OF_WIRE, whole=machines.LAUNCH):
            self.suffers("%s at request %d" % (kind, number), (number, Fault(kind)))


class Endings(Case):
    def test_while_it_boots_and_works(self):
        for status, name in NAMES.items():
            for seconds, where in ((5, "booted"), (40, "worked")):
                cloud = self.cloud(dies=seconds, result=status)
                run = self.drive(cloud, work=20)
                self.check(cloud, run, name)
                self.assertIn("the machine ended while it %s: %s" % (where, name), run.ends["machine"][3])
                self.assertNotEqual(run.ends["machine"][1], 0)
                self.assertEqual((cloud.running(), run.open()), ([], []))


if __name__ == "__main__":
    unittest.main(verbosity=2)
