#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What only Modal has, against its contract server: the fields of a creation, settings, images, timeouts of sandboxes, names of endings.

usage: test_modal.py DRIVE
"""
import json
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from providers import PROVIDERS, Fault  # noqa: E402
from driven import drive  # noqa: E402
import modal_cloud  # noqa: E402

PROGRAM, PROVIDER = sys.argv.pop(1), PROVIDERS["modal"]


class Sandboxes(unittest.TestCase):
    def cloud(self, **world):
        cloud = PROVIDER.make(boot=PROVIDER.boot)
        self.addCleanup(cloud.close)
        cloud.clock.set(1000)
        for name, value in world.items():
            setattr(cloud, name, value)
        return cloud

    def drive(self, cloud, *settings, **options):
        return drive(PROGRAM, cloud, PROVIDER.variable, options.pop("token", cloud.key), settings=settings, **options)

    def good(self, cloud, *settings):
        run = self.drive(cloud, *settings)
        self.assertEqual((run.ends["machine"][:2], cloud.running(), run.open()), (("gone", 0), [], []), run.ends)
        return cloud.instances[0].body

    def test_the_request(self):
        cloud = self.cloud()
        body = self.good(cloud)
        name = cloud.instances[0].name
        self.assertEqual(body["resources"], {"gpu_config": {"count": 1, "gpu_type": "T4"}, "milli_cpu": 2000, "milli_cpu_max": 2000, "memory_mb": 16384, "memory_mb_max": 16384})
        self.assertEqual((body["entrypoint_args"], body["timeout_secs"], body["name"]), (["sleep", "86400"], 86400, name))
        self.assertEqual((cloud.instances[0].request["tags"], cloud.instances[0].key), ([{"tag_name": "kolm", "tag_value": "job"}], name))
        self.assertNotIn("idle_timeout_secs", body)  # a job that only computes would count as idle
        self.assertNotIn("secret_ids", [key for key in body if body[key]])  # none of our secrets is sent there

    def test_settings(self):
        body = self.good(self.cloud(), "gpu=H100", "cpu=4", "memory_gb=32", "environment=main", "image=me/mine:1")
        self.assertEqual((body["resources"]["gpu_config"]["gpu_type"], body["resources"]["milli_cpu"], body["resources"]["memory_mb"]), ("H100", 4000, 32768))
        self.assertNotIn("gpu_config", self.good(self.cloud(), "gpu=none")["resources"])
        for setting in ("gpu=X1", "cpu=0", "cpu=two", "memory_gb=9999"):
            cloud = self.cloud()
            run = self.drive(cloud, setting)
            self.assertIn("%s of backends.modal in config.json cannot be used" % setting.split("=")[0], run.ends["machine"][3])
            self.assertEqual((cloud.requests, run.records), ([], {}))
        run = self.drive(self.cloud(), "image=a b")
        self.assertIn("image of backends.modal in config.json cannot be used", run.ends["machine"][3])
        self.assertEqual(run.open(), [])

    def test_all_gpus_and_their_memory(self):
        """The manifest's maximum is the memory of the largest: with less, kolm would not even request an offer that fits."""
        with open(os.path.join(HERE, "..", "..", "plugins", "cloud", "modal", "modal.json")) as file:
            manifest = json.load(file)
        self.assertEqual(manifest["vram_cap_gb"], max(memory for memory, _ in modal_cloud.GPUS.values()))
        setting = next(one for one in manifest["settings"] if one["key"] == "gpu")
        self.assertEqual(set(setting["values"]), set(modal_cloud.GPUS) | {"none"})
        for kind, (memory, _) in modal_cloud.GPUS.items():
            cloud = self.cloud()
            self.assertEqual(self.drive(cloud, "gpu=" + kind, vram=memory * 10**9).ends["machine"][0], "gone")
            self.assertEqual([one.kind[0] for one in cloud.instances], [kind])
            self.assertIn("no suitable machine", self.drive(self.cloud(), "gpu=" + kind, vram=memory * 10**9 + 1).ends["machine"][3])

    def test_an_image_that_cannot_be_made_and_an_environment_that_is_not_there(self):
        for setting, words in (("image=no/such", "could not make the image no/such (it says: the registry has no such image)"),
                               ("environment=staging", "No Environment with that name found")):
            cloud = self.cloud()
            run = self.drive(cloud, setting)
            self.assertIn(words, run.ends["machine"][3])
            self.assertEqual((cloud.instances, run.open(), len(run.records)), ([], [], 0))

    def test_it_ends_by_itself_and_that_is_read_back(self):
        for seconds in (0, 90000):
            cloud = self.cloud(timeout=seconds)
            cloud.limit = lambda one, s=seconds: s if one.result else 10**9 if s else 0
            cloud.advance = lambda one, c=cloud: None if one.going is None else modal_cloud.Modal.advance(c, one)
            run = self.drive(cloud)
            self.assertIn("Modal would end it after", run.ends["machine"][3])
            self.assertEqual((run.work, cloud.running(), run.open()), ([], [], []))

    def test_endings_have_names(self):
        """Results that the official client returns like a success."""
        names = {5: "INIT_FAILURE", 6: "INTERNAL_FAILURE", 7: "IDLE_TIMEOUT", 8: "MEMORY_MANAGER_EVICTION", 9: "MEMORY_THRASHING_EVICTION", 10: "KERNEL_OOM_KILL", 1: "ended",
                 2: "FAILURE", 4: "TIMEOUT", 77: "does not know"}
        for status, word in names.items():
            cloud = self.cloud(dies=40, result=status)
            run = self.drive(cloud, work=20)
            self.assertIn("the machine ended while it worked: ", run.ends["machine"][3])
            self.assertIn(word, run.ends["machine"][3])
            self.assertEqual((cloud.running(), run.open()), ([], []))

    def test_answers_without_a_status_or_with_half_a_frame(self):
        count = len(self.requests_of_a_run())
        for number in range(count):
            cloud = self.cloud(faults={number: Fault("no-status")})
            run = self.drive(cloud)
            self.assertEqual((run.ends["machine"][:2], cloud.launches, run.open()), (("gone", 0), 1, []), (number, run.ends))

    def requests_of_a_run(self):
        cloud = self.cloud()
        self.good(cloud)
        return cloud.requests

    def test_only_these_requests_are_made(self):
        for _, path in self.requests_of_a_run():
            self.assertIn(path.rpartition("/")[2], ("WorkspaceBillingRates", "AppGetOrCreate", "EnvironmentGetOrCreate", "ImageGetOrCreate", "ImageJoinStreaming", "SandboxCreate",
                                                    "SandboxWait", "SandboxGetTaskId", "SandboxList", "SandboxTerminate"))

    def test_pages_are_followed(self):
        """The answer to the creation is lost for good, and the sandbox is on the last page."""
        for others in (0, 1, 5):
            cloud = self.cloud(page=2)
            cloud.always = lambda call, c=cloud: Fault("lose") if call.path.endswith("/SandboxCreate") else None
            for number in range(others):
                definition = {"name": "of-another-%d" % number, "resources": {}, "image_id": "im-9"}
                other = modal_cloud.Sandbox(cloud, {"definition": definition, "app_id": "ap-0", "tags": [{"tag_name": "kolm", "tag_value": "job"}]}, None)
                other.created = 10**10 - number
                cloud.instances.insert(0, other)
            run = self.drive(cloud)
            self.assertEqual((run.ends["machine"][:2], run.open(), cloud.launches), (("gone", 0), [], 1), others)

    def test_prices_by_undocumented_words(self):
        def price(rates):
            cloud = self.cloud()
            cloud.rates = None
            route = modal_cloud.CLIENT + "WorkspaceBillingRates"
            old = modal_cloud.ROUTES[route]
            modal_cloud.ROUTES[route] = (lambda self_, message, call: {"rates": rates}, old[1], old[2])
            try:
                run = self.drive(cloud, "gpu=A10", rate=10**9)
            finally:
                modal_cloud.ROUTES[route] = old
            self.assertEqual(run.ends["machine"][:2], ("gone", 0), run.ends)
            return run.prices[0]
        both = 2 * 0.1419 + 16 * 0.0242
        for rates, wanted in (({}, 1.10 + both), ({"GPU-A10": "2", "gpu.a100.40gb": "9"}, 2 + both), ({"a10": "2", "NVIDIA A10 (preemptible)": "3"}, 3 + both),
                              ({"cpu": "0.1"}, 1.10 + 2 * 0.3 + 16 * 0.0242), ({"cpu": "0.1", "Sandbox CPU": "0.2"}, 1.10 + 0.4 + 16 * 0.0242),
                              ({"memory_gib": "1", "a10": "x", "b": ""}, 1.10 + 2 * 0.1419 + 16)):
            self.assertAlmostEqual(price(rates), wanted, 4)

    def test_the_server_requests_a_wait(self):
        cloud = self.cloud(faults={0: Fault(429, 0), 5: Fault(429, 0)})
        self.good(cloud)
        self.assertEqual(cloud.launches, 1)

    def test_half_a_token_and_one_that_has_expired(self):
        for half in ("ak-kolm-test", "ak-kolm-test:", ":as-0123"):
            with self.assertRaises(AssertionError) as caught:
                self.drive(self.cloud(), token=half)
            self.assertIn("KOLM_MODAL_TOKEN has one half of a token of Modal, and two are needed", str(caught.exception))


if __name__ == "__main__":
    unittest.main(verbosity=2)
