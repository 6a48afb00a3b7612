#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A provider's table against its contract server: every fault at every request, and problems at the provider. After each: nothing runs that
is not recorded, nothing was created twice, there is an error message, and one more start ends what is left.

usage: test_machines.py DRIVE PROVIDER"""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from providers import PROVIDERS, Fault  # noqa: E402
from driven import drawn, drive, is_sanitized, stride_of  # noqa: E402

PROGRAM, PROVIDER = sys.argv[1], PROVIDERS[sys.argv[2]]
del sys.argv[1:3]
EVERY = (["refuse", "lose", "cut", "malformed", "slow", "html", "error-200"] + [401, 402, 403, 404, 409, 410, 422, 429, 500, 502, 503] +
         [("done", status) for status in (408, 500, 502, 504)])


STRIDE = stride_of(PROGRAM, PROVIDER.stride, 12)
LAUNCH = None if is_sanitized(PROGRAM) else PROVIDER.launch  # where a fault may cost money: there each of them is tried


class Case(unittest.TestCase):
    def setUp(self):
        self.clouds = []
        self.addCleanup(lambda: [cloud.close() for cloud in self.clouds])

    def cloud(self, **world):
        cloud = PROVIDER.make(boot=PROVIDER.boot)
        self.clouds.append(cloud)
        cloud.clock.set(1000)
        for name, value in world.items():
            setattr(cloud, name, value)
        return cloud

    def drive(self, cloud, **options):
        return drive(PROGRAM, cloud, PROVIDER.variable, options.pop("token", cloud.key), **options)

    def check(self, cloud, run, about=""):
        """Checks what holds after every run."""
        opened = run.open()
        for name in cloud.running() + cloud.key_names():
            self.assertIn(name, opened, "%s: it exists, and is not on record" % (about,))
        names = [instance.name for instance in cloud.instances]
        self.assertEqual(len(names), len(set(names)), "%s: created twice" % (about,))
        for name in names:
            self.assertIn(name, run.records, about)
        if run.ends:
            state, code, spent, text = run.ends["machine"]
            self.assertIn(state, ("gone", "lost"), about)
            self.assertTrue(code == 0 or text.strip(), about)
            self.assertEqual(code == 0, "collected" in run.work and state == "gone", (about, run.ends))
            if state == "gone":
                untold = PROVIDER.untold if cloud.risen else 0
                self.assertGreaterEqual(spent / 1e6 + 1e-5 + untold, cloud.bill(), about)
        self.assertLessEqual(len(cloud.running()), 1, about)

    def reap(self, cloud, run, about=""):
        """Starts once more, with a provider that works normally again: everything recorded is ended."""
        cloud.faults, cloud.always, cloud.deaf = {}, None, 0
        for name in run.open():
            for _ in range(3):
                end = self.drive(cloud, run=run, reclaim=name, handle=run.records[name][1], age=600000, now=run.time + 600000).ends["reclaim"]
                if end[0] == "gone":
                    break
            self.assertEqual(end[0], "gone", (about, name, end))
        self.assertEqual((run.open(), cloud.running(), cloud.key_names()), ([], [], []), about)


class Flow(Case):
    def test_all_goes_well(self):
        cloud = self.cloud()
        run = self.drive(cloud)
        self.check(cloud, run)
        self.assertEqual(run.work, ["armed", "run", "collected"])
        self.assertEqual((cloud.running(), cloud.key_names(), run.open()), ([], [], []))
        self.assertEqual([record[0] for record in run.records.values()], list(PROVIDER.records)[::-1])  # the machine after what it needs
        self.assertEqual(cloud.instances[0].kind[0], PROVIDER.kinds[0])
        self.assertAlmostEqual(run.ends["machine"][2] / 1e6, cloud.bill(), delta=0.002)

    def test_the_least_memory_decides(self):
        for vram, kind in PROVIDER.memory:
            cloud = self.cloud()
            self.check(cloud, self.drive(cloud, vram=vram))
            self.assertEqual(cloud.instances[0].kind[0], kind)
        run = self.drive(self.cloud(), vram=200 * 10**9)
        self.assertIn("no suitable machine", run.ends["machine"][3])
        self.assertEqual(run.records, {})

    def test_price_and_budget(self):
        run = self.drive(self.cloud(), rate=100000)
        self.assertIn("no suitable machine", run.ends["machine"][3])
        cloud = self.cloud()
        run = self.drive(cloud, budget=50000, work=100000)
        self.check(cloud, run)
        self.assertIn("budget of 0.05 USD", run.ends["machine"][3])
        self.assertLess(cloud.bill(), 0.06)
        self.reap(cloud, run)

    def test_cancelled_in_every_step(self):
        steps = self.drive(self.cloud()).steps
        for step in range(1, steps):
            cloud = self.cloud()
            run = self.drive(cloud, cancel=step)
            self.check(cloud, run, step)
            self.assertEqual((cloud.running(), cloud.key_names(), run.open()), ([], [], []), step)


class Faults(Case):
    def requests(self):
        cloud = self.cloud()
        self.drive(cloud)
        return len(cloud.requests)

    def suffers(self, cloud, about):
        run = self.drive(cloud)
        self.check(cloud, run, about)
        self.reap(cloud, run, about)
        cloud.close()

    def test_every_fault_at_every_request(self):
        count = self.requests()
        self.assertGreater(count, 10)
        for number, kind in drawn(count, EVERY, STRIDE, whole=LAUNCH):
            self.suffers(self.cloud(faults={number: Fault(kind)}), "%s at request %d" % (kind, number))

    def test_two_faults_in_a_row(self):
        for number, kind in drawn(self.requests(), ("refuse", "lose", ("done", 500), 429, "malformed"), STRIDE, whole=LAUNCH):
            self.suffers(self.cloud(faults={number: Fault(kind), number + 1: Fault("lose"), number + 2: Fault(503)}), (kind, number))

    def test_a_fault_that_stays(self):
        """From one request on everything fails: what was rented stays recorded, and is ended once requests succeed again."""
        stride = stride_of(PROGRAM, 7, 7)  # each of them takes up to a thousand requests
        each = 1 if STRIDE == 1 else 2
        for number, kind in drawn(self.requests(), ("refuse", 401, 403, 500, "html", 410, "malformed"), stride, each, LAUNCH):
            cloud = self.cloud()
            cloud.always = lambda request, c=cloud, n=number, k=kind: Fault(k) if len(c.requests) > n else None
            self.suffers(cloud, (kind, number))

    def test_bodies_without_end(self):
        for number in range(self.requests()):
            self.suffers(self.cloud(faults={number: Fault("huge")}), number)

    def test_retry_after(self):
        """In seconds and as a date. If it is more than the client waits, the answer is final."""
        for number, retry_after in drawn(self.requests(), (0, 1, "date", 3600, "soon"), STRIDE):
            self.suffers(self.cloud(faults={number: Fault(429, retry_after)}), (retry_after, number))


class World(Case):
    def test_capacity_gone_between_offer_and_launch(self):
        cloud = self.cloud(no_capacity={PROVIDER.kinds[0]})
        run = self.drive(cloud)
        self.check(cloud, run)
        self.assertEqual((run.ends["machine"][:2], cloud.instances[0].kind[0]), (("gone", 0), PROVIDER.kinds[1]))
        cloud = self.cloud(no_capacity=set(PROVIDER.kinds))
        run = self.drive(cloud)
        self.check(cloud, run)
        self.assertIn(PROVIDER.none_left, run.ends["machine"][3])
        self.assertEqual(cloud.instances, [])

    def test_the_price_has_risen(self):
        cloud = self.cloud(risen=10)
        run = self.drive(cloud)
        self.check(cloud, run)
        self.assertIn(PROVIDER.risen, run.ends["machine"][3])
        self.assertEqual((run.work, cloud.running()), ([], []))

    def test_never_boots(self):
        cloud = self.cloud(never_boots=True)
        run = self.drive(cloud)
        self.check(cloud, run)
        self.assertIn("no address after 900 s", run.ends["machine"][3])
        self.assertEqual(cloud.running(), [])

    def test_dies(self):
        for seconds in (5, 30, 200):
            cloud = self.cloud(dies=seconds)
            run = self.drive(cloud, work=100)
            self.check(cloud, run, seconds)
            self.assertIn("the machine ended while it", run.ends["machine"][3])
            self.assertEqual(cloud.running(), [])

    def test_seen_late(self):
        for lag in (1, 20, 55):
            cloud = self.cloud(lag=lag)
            run = self.drive(cloud)
            self.check(cloud, run, lag)
            self.assertEqual(run.ends["machine"][:2], ("gone", 0), lag)
            cloud = self.cloud(lag=lag, faults={PROVIDER.launch: Fault("lose")})  # the answer to the launch is lost, too
            run = self.drive(cloud)
            self.check(cloud, run, lag)
            self.assertEqual((run.ends["machine"][:2], cloud.launches), (("gone", 0), 1), lag)

    def test_termination_that_is_answered_and_not_done(self):
        for times in (1, 3, 10):
            cloud = self.cloud(deaf=times)
            run = self.drive(cloud)
            self.check(cloud, run, times)
            self.assertEqual((run.ends["machine"][:2], cloud.running()), (("gone", 0), []), times)
        cloud = self.cloud(deaf=10**6)
        run = self.drive(cloud)
        self.assertEqual(run.ends["machine"][0], "lost")
        self.assertIn(cloud.running()[0], run.open())
        self.reap(cloud, run)

    def test_a_machine_that_takes_its_time_to_end(self):
        """It is ended once and then queried, and ended again every half minute. One that does not report that it is ending is ended at each
        query."""
        cloud = self.cloud(ends_in=100)
        run = self.drive(cloud)
        self.check(cloud, run)
        self.assertEqual((run.ends["machine"][:2], cloud.running()), (("gone", 0), []))
        told = [method for method, path in cloud.requests if PROVIDER.ends("%s %s" % (method, path))]
        self.assertIn(len(told), PROVIDER.told)

    def test_not_found_by_a_proxy_says_nothing(self):
        """Long after the machine has become visible."""
        for kind in ("html", 410):
            cloud = self.cloud(boot=200)
            cloud.always = lambda request, c=cloud, k=kind: Fault(k) if 80 < c.clock.now() - c.instances[0].born < 150 else None
            cloud.always = lambda request, c=cloud, f=cloud.always: f(request) if c.instances else None
            run = self.drive(cloud)
            self.check(cloud, run, kind)
            self.assertEqual(run.ends["machine"][:2], ("gone", 0), kind)

    def test_a_name_that_does_not_resolve_says_nothing(self):
        """The resolver fails for a while: before the launch it is an error; later a running machine continues, or is ended when the name
        resolves again."""
        steps = self.drive(self.cloud(), work=30)
        for state in ("planned", "created", "running", "destroying"):
            cloud = self.cloud()
            run = self.drive(cloud, work=30, away=steps.states.index(state) + 2)
            self.check(cloud, run, state)
            self.assertEqual((run.ends["machine"][0], cloud.running(), run.open()), ("gone", [], []), state)
            self.assertEqual(run.ends["machine"][1] == 0, state != "planned", run.ends)
        self.assertIn("does not resolve", self.drive(self.cloud(), away=1).ends["machine"][3])

    def test_limits_of_the_provider(self):
        cloud = self.cloud(limited=True, no_capacity={PROVIDER.kinds[0]})
        run = self.drive(cloud)
        self.check(cloud, run)
        self.reap(cloud, run)

    def test_killed_before_every_step(self):
        steps = self.drive(self.cloud()).steps
        for faults in ({}, {PROVIDER.launch: Fault("lose")}, {1: Fault("lose")}):
            for step in range(1, steps):
                cloud = self.cloud(faults=dict(faults), lag=3)
                run = self.drive(cloud, kill_at=step)
                self.check(cloud, run, step)
                self.reap(cloud, run, step)
                cloud.close()


class Tokens(Case):
    def sentence(self, fault=None, **options):
        cloud = self.cloud(faults={0: fault} if fault else {})
        return self.drive(cloud, **options).ends["machine"]

    def test_each_wrong_token_has_its_sentence(self):
        wrong = self.sentence(token=PROVIDER.token("secret_another_0123456789"))
        self.assertEqual(wrong[1], 16)
        self.assertIn(PROVIDER.unknown, wrong[3])
        for fault, code, _, words in PROVIDER.refusals:
            said = self.sentence(fault)
            self.assertEqual(said[1], code, said)
            self.assertIn(words, said[3])


if __name__ == "__main__":
    unittest.main(verbosity=2)
