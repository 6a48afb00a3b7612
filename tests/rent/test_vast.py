#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What only Vast.ai has, against its contract server: the fields of a creation, refusals with 200 or with an instance, keys of an instance,
traffic, addresses, pages, unknown states.

usage: test_vast.py DRIVE
"""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from providers import PROVIDERS, Fault  # noqa: E402
from driven import drive  # noqa: E402
import vast_cloud  # noqa: E402

PROGRAM, PROVIDER = sys.argv.pop(1), PROVIDERS["vast"]


class Instances(unittest.TestCase):
    def cloud(self, **world):
        cloud = PROVIDER.make(boot=PROVIDER.boot)
        self.addCleanup(cloud.close)
        cloud.clock.set(1000)
        for name, value in world.items():
            setattr(cloud, name, value)
        return cloud

    def drive(self, cloud, *settings, **options):
        return drive(PROGRAM, cloud, PROVIDER.variable, cloud.key, settings=settings, **options)

    def good(self, cloud, *settings):
        run = self.drive(cloud, *settings)
        self.assertEqual((run.ends["machine"][:2], cloud.running(), run.open()), (("gone", 0), [], []), run.ends)
        return cloud.instances[-1]

    @staticmethod
    def count(cloud, method, words):
        return len([1 for one, path in cloud.requests if one == method and words in path])

    def test_the_request(self):
        one = self.good(self.cloud())
        self.assertEqual({name: one.body[name] for name in one.body if name != "label"},
                         {"client_id": "me", "image": "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime", "disk": 50, "runtype": "ssh_direc ssh_proxy",
                          "onstart": "touch ~/.no_auto_tmux", "cancel_unavail": True})
        self.assertEqual([key.split()[0] for key in one.keys], ["ssh-ed25519"])  # once, though it is queried repeatedly

    def test_a_404_with_an_unknown_code_says_nothing(self):
        """Long after the instance has become visible."""
        cloud = self.cloud(boot=200)
        cloud.error = lambda status: {"success": False, "error": "moved_elsewhere", "msg": "not here"}
        cloud.always = lambda request: Fault(404) if cloud.instances and 80 < cloud.clock.now() - cloud.instances[0].born < 150 else None
        run = self.drive(cloud)
        self.assertEqual((run.ends["machine"][:2], cloud.running(), run.open()), (("gone", 0), [], []), run.ends)

    def test_only_these_requests_are_made(self):
        """The account's keys are unchanged, nothing is stopped, no bid is made, no key is in an address."""
        cloud = self.cloud(deaf=1)
        self.good(cloud)
        for method, path in cloud.requests:
            self.assertRegex("%s %s" % (method, path), r"^(POST /api/v0/bundles/|PUT /api/v0/asks/\d+/|GET /api/v0/instances/\d+/\?owner=me|POST /api/v0/instances/\d+/ssh/|"
                                                       r"DELETE /api/v0/instances/\d+/|GET /api/v1/instances/\?limit=25)$")

    def test_settings(self):
        one = self.good(self.cloud(), "gpu=H100 SXM", "image=me/mine:1")
        self.assertEqual((one.kind[0], one.body["image"]), ("H100 SXM", "me/mine:1"))
        self.assertEqual(self.good(self.cloud(), "cuda=12.1").kind[0], "Tesla V100")
        for setting in ("cuda=new", "image=", "traffic_gb=much", "gpu=" + "x" * 200):
            cloud = self.cloud()
            run = self.drive(cloud, setting)
            self.assertIn("%s of backends.vast in config.json cannot be used" % setting.split("=")[0], run.ends["machine"][3])
            self.assertEqual((cloud.requests, run.records), ([], {}))

    def test_traffic_and_storage_are_in_the_price(self):
        cloud = self.cloud()
        run = self.drive(cloud, "gpu=RTX A6000", "traffic_gb=10")
        self.assertAlmostEqual(cloud.instances[0].traffic, 10 * 0.002 + 1 * 0.01)
        self.assertAlmostEqual(run.ends["machine"][2] / 1e6, cloud.bill(), delta=0.002)
        run = self.drive(self.cloud(), "gpu=RTX A6000", "traffic_gb=1000", budget=1000000)  # 2 and 1 dollars
        self.assertEqual(run.records, {})

    def test_a_200_that_says_no_is_a_refusal(self):
        cloud = self.cloud(no_capacity={PROVIDER.kinds[0]}, refuses="200")
        self.assertEqual(self.good(cloud).kind[0], PROVIDER.kinds[1])
        cloud = self.cloud(no_capacity=set(PROVIDER.kinds), refuses="200")
        run = self.drive(cloud)
        self.assertIn("it cannot be scheduled", run.ends["machine"][3])
        self.assertEqual((cloud.instances, run.open(), self.count(cloud, "PUT", "/asks/")), ([], [], 4))

    def test_a_refusal_that_leaves_an_instance_is_destroyed(self):
        for deaf in (0, 1):
            cloud = self.cloud(no_capacity={PROVIDER.kinds[0]}, refuses="stopped", deaf=deaf)
            run = self.drive(cloud)
            self.assertEqual((cloud.running(), run.open()), ([], []), run.ends)
            self.assertEqual(cloud.instances[0].state, "stopped")
            self.assertGreaterEqual(self.count(cloud, "DELETE", "/%d/" % cloud.instances[0].id), 1)

    def test_no_credit_ends_it(self):
        cloud = self.cloud(credit=0)
        run = self.drive(cloud)
        self.assertIn("the credit of this Vast.ai account is too low", run.ends["machine"][3])
        self.assertEqual((self.count(cloud, "PUT", "/asks/"), cloud.instances, run.open()), (1, [], []))

    def test_a_key_that_may_not_let_anybody_in_ends_it_at_once(self):
        cloud = self.cloud()
        cloud.always = lambda request: Fault(403) if request.method == "POST" and "/ssh" in request.target else None
        run = self.drive(cloud)
        self.assertIn("the machine cannot be used: it does not accept SSH keys: this Vast.ai key is not authorized for that", run.ends["machine"][3])
        self.assertEqual((run.work, cloud.running(), run.open(), self.count(cloud, "POST", "/ssh/")), ([], [], [], 1))

    def test_not_ready_before_the_key_is_taken(self):
        cloud = self.cloud(attach_fails=3)
        self.assertEqual(len(self.good(cloud).keys), 1)
        self.assertEqual(self.count(cloud, "POST", "/ssh/"), 4)
        cloud = self.cloud(attach_fails=10**6)
        run = self.drive(cloud)
        self.assertEqual((run.work, cloud.running(), run.open()), ([], [], []))
        self.assertIn("no address after 900 s", run.ends["machine"][3])

    def test_states_that_are_not_final(self):
        for word in ("MIGRATING", "unknown", "offline"):
            self.good(self.cloud(word=word))
            cloud = self.cloud(word=word, never_boots=True)
            run = self.drive(cloud)
            self.assertIn("no address after 900 s", run.ends["machine"][3])
            self.assertEqual((cloud.running(), run.open()), ([], []))

    def test_addresses(self):
        for world, address in (({}, "127.0.0.12:10022"), ({"direct": False}, "ssh4.vast.ai:10022"),
                               ({"direct": False, "proxy": ("ssh4.vast.ai", 10022, "jupyter_proxy")}, "ssh4.vast.ai:10023")):
            run = self.drive(self.cloud(**world))
            self.assertEqual(run.ends["machine"][:2], ("gone", 0))
            self.assertIn("arms %s" % address, "\n".join(run.log))

    def test_what_is_destroyed_and_not_shown_is_gone(self):
        """At once, not after the minute in which a new one may be invisible."""
        cloud = self.cloud(boot=0)
        run = self.drive(cloud)
        self.assertEqual((run.ends["machine"][:2], cloud.running()), (("gone", 0), []))
        self.assertLess(cloud.clock.now() - cloud.instances[0].born, 55)

    def test_pages_are_followed(self):
        """The answer to the creation is lost, and the instance is on the last page."""
        for others in (0, 1, 5):
            cloud = self.cloud(page=2, faults={1: Fault("lose")})
            for number in range(others):
                body = {"label": "of-another-%d" % number, "image": "x", "disk": 10}
                cloud.instances.append(vast_cloud.Instance(cloud, 100 + number, vast_cloud.KINDS[8], body))
                cloud.instances[-1].address = "127.0.0.9"
            run = self.drive(cloud)
            self.assertEqual((run.ends["machine"][:2], run.open(), cloud.launches), (("gone", 0), [], 1), others)
            self.assertEqual(len(cloud.running()), others)

    def test_a_token_that_leads_nowhere_ends(self):
        cloud = self.cloud(faults={1: Fault("lose")})
        listed = cloud.get_instances
        cloud.routes = [(method, pattern, (lambda self, match, request: {**listed(match, vast_cloud_first(request)), "next_token": "again"})
                         if function is vast_cloud.Vast.get_instances else function) for method, pattern, function in cloud.routes]
        run = self.drive(cloud)
        self.assertEqual(run.ends["machine"][0], "lost")
        self.assertIn(cloud.running()[0], run.open())


def vast_cloud_first(request):
    request.target = "/api/v1/instances/?limit=25"
    return request


if __name__ == "__main__":
    unittest.main(verbosity=2)
