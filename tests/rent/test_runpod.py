#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What only RunPod has, against its contract server: the fields of a creation, settings, the two meanings of 400, pages, unknown states;
and how a leftover job of an endpoint is ended.

usage: test_runpod.py DRIVE SLOT
"""
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from providers import PROVIDERS, Fault  # noqa: E402
from driven import drive  # noqa: E402
import runpod_cloud  # noqa: E402
from runpod_serverless import Job, Serverless  # noqa: E402

PROGRAM, SLOT, PROVIDER = sys.argv.pop(1), sys.argv.pop(1), PROVIDERS["runpod"]


class Pods(unittest.TestCase):
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
        return cloud.instances[0].body

    def test_the_request(self):
        body = self.good(self.cloud())
        self.assertEqual({name: body[name] for name in body if name not in ("name", "env")},
                         {"image": "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404", "cloud": "SECURE", "disk": 50, "ports": ["22/tcp"],
                          "gpu": {"id": PROVIDER.kinds[0], "count": 1, "minCudaVersion": "12.8"}})
        self.assertEqual(list(body["env"]), ["PUBLIC_KEY"])  # none of our secrets is sent there
        self.assertTrue(body["env"]["PUBLIC_KEY"].startswith("ssh-ed25519 "))

    def test_only_these_requests_are_made(self):
        """The account's keys are unchanged, nothing is stopped, and neither v1 nor GraphQL is used."""
        cloud = self.cloud(deaf=1)
        self.good(cloud)
        for method, path in cloud.requests:
            self.assertRegex("%s %s" % (method, path), r"^(GET /v2/catalog/gpus\?.*|(GET|POST) /v2/pods|(GET|DELETE) /v2/pods/[0-9a-f]{14})$")

    def test_settings(self):
        body = self.good(self.cloud(), "cloud=COMMUNITY", "image=me/mine:1", "cuda=12.4")
        self.assertEqual((body["gpu"]["id"], body["gpu"]["minCudaVersion"], body["image"], body["cloud"]), ("NVIDIA RTX A5000", "12.4", "me/mine:1", "COMMUNITY"))
        body = self.good(self.cloud(), "data_centers=EU-RO-1,CA-MTL-1")  # the cheapest is available in neither now
        self.assertEqual((body["gpu"]["id"], body["dataCenterIds"]), ("NVIDIA L40S", ["EU-RO-1", "CA-MTL-1"]))
        self.assertEqual(self.good(self.cloud(), "gpu=AMD Instinct MI300X OAM")["gpu"]["id"], "AMD Instinct MI300X OAM")
        for setting in ("cloud=BOTH", "data_centers=a b", "cuda=new", "image=", "gpu=" + "x" * 200):
            cloud = self.cloud()
            run = self.drive(cloud, setting)
            self.assertIn("%s of backends.runpod in config.json cannot be used" % setting.split("=")[0], run.ends["machine"][3])
            self.assertEqual((cloud.requests, run.records), ([], {}))

    def test_400_is_one_of_two_things(self):
        """They differ only in wording: the next GPU is tried in both cases, and the error contains it."""
        cloud = self.cloud(faults={1: Fault(400)})
        self.assertEqual(self.good(cloud)["gpu"]["id"], PROVIDER.kinds[1])
        cloud = self.cloud()
        run = self.drive(cloud, "data_centers=XX-NOT-1")
        self.assertIn("no suitable machine", run.ends["machine"][3])
        cloud.always = lambda request: Fault(400) if request.method == "POST" else None
        run = self.drive(cloud)
        self.assertIn("RunPod refused the request (it says: refused with 400)", run.ends["machine"][3])
        self.assertEqual((len([1 for method, _ in cloud.requests if method == "POST"]), run.open()), (4, []))

    def test_a_pool_that_is_not_ours_is_skipped(self):
        cloud = self.cloud(faults={1: Fault(403)})
        self.assertEqual(self.good(cloud)["gpu"]["id"], PROVIDER.kinds[1])

    def test_no_balance_ends_it(self):
        cloud = self.cloud(faults={1: Fault(402)})
        run = self.drive(cloud)
        self.assertIn("the balance of this RunPod account is too low", run.ends["machine"][3])
        self.assertEqual((len([1 for method, _ in cloud.requests if method == "POST"]), cloud.instances, run.open()), (1, [], []))

    def test_an_unknown_field_is_reported(self):
        known = runpod_cloud.POD.pop("ports")
        self.addCleanup(runpod_cloud.POD.__setitem__, "ports", known)
        run = self.drive(self.cloud())
        self.assertIn("additional properties 'ports' not allowed", run.ends["machine"][3])
        self.assertEqual(run.open(), [])

    def test_an_unknown_state_is_not_final(self):
        self.good(self.cloud(word="MIGRATING"))
        cloud = self.cloud(word="MIGRATING", never_boots=True)
        run = self.drive(cloud)
        self.assertIn("no address after 900 s", run.ends["machine"][3])
        self.assertEqual((cloud.running(), run.open()), ([], []))

    def test_the_port_of_the_runtime_will_do(self):
        self.good(self.cloud(direct=False))

    def test_a_pod_that_stops_itself_is_deleted(self):
        cloud = self.cloud(dies=40)
        run = self.drive(cloud, work=100)
        self.assertIn("the machine ended while it", run.ends["machine"][3])
        self.assertEqual((cloud.running(), run.open()), ([], []))

    def test_pages_are_followed(self):
        """The answer to the creation is lost, and the pod is on the last page."""
        for others in (0, 1, 5):
            cloud = self.cloud(page=2, faults={1: Fault("lose")})
            for number in range(others):
                body = {"name": "of-another-%d" % number, "image": "x", "gpu": {"id": PROVIDER.kinds[0]}}
                cloud.instances.append(runpod_cloud.Pod(cloud, runpod_cloud.TYPES[2], body, 0.27))
            run = self.drive(cloud)
            self.assertEqual((run.ends["machine"][:2], run.open(), cloud.launches), (("gone", 0), [], 1), others)
            self.assertEqual(len(cloud.running()), others)

    def test_a_cursor_that_leads_nowhere_ends(self):
        cloud = self.cloud(page=2, faults={1: Fault("lose")})
        listed = cloud.get_pods
        cloud.routes = [(method, pattern, (lambda self, match, request: {**listed(match, request), "nextCursor": "again"}) if function is runpod_cloud.RunPod.get_pods else function)
                        for method, pattern, function in cloud.routes]
        run = self.drive(cloud)
        self.assertEqual(run.ends["machine"][0], "lost")
        self.assertIn(cloud.running()[0], run.open())


class LeftJobs(unittest.TestCase):
    """Recorded jobs of an endpoint: ended by their record alone."""
    endpoint = "abc123def456"
    status = "^GET /v2/%s/status/" % endpoint

    def setUp(self):
        self.provider = Serverless(None, self.endpoint)  # no worker takes a job
        self.addCleanup(self.provider.close)
        self.provider.tick = 0.001
        job = Job(self.provider.now, {"input": {"format": 1}, "policy": {"ttl": 3630000}})
        self.provider.jobs[job.id] = job
        self.job = job.id

    def reclaim(self, handle, age, place="RunPod, ttl 3630 s, endpoint abc123def456"):
        """Returns (outcome, text)."""
        done = subprocess.run([SLOT, "/", "reclaim", "kolm-0123456789abcdef", handle, str(age), "kind=job", "place=" + place, "endpoint_api=" + self.provider.api()],
                              env={"PATH": "/usr/bin:/bin", PROVIDER.variable: self.provider.token}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=60, check=False)
        last = [line for line in done.stdout.splitlines() if not line.startswith("log ")]
        return last[0].split(" ")[1], done.stdout

    def test_it_is_cancelled_before_it_is_looked_at(self):
        self.assertEqual(self.reclaim(self.job, 3600)[0], "gone")
        self.assertEqual([line.split("/")[3] for line in self.provider.taken], ["cancel", "status"])
        self.assertEqual(self.provider.running(), [])

    def test_a_job_that_is_not_seen_yet(self):
        """RunPod may need a moment until it shows a job that it has just accepted."""
        self.provider.hides = 3
        outcome, said = self.reclaim(self.job, 0)
        self.assertEqual((outcome, self.provider.running()), ("gone", []), said)

    def test_a_job_that_is_not_there(self):
        self.provider.jobs.clear()
        for age, least in ((3600, 1), (5, 1), (3, 3)):
            self.provider.taken.clear()
            self.assertEqual(self.reclaim(self.job, age)[0], "gone")
            looks = [line for line in self.provider.taken if "/status/" in line]
            self.assertGreaterEqual(len(looks), least)
            self.assertTrue(age < 5 or len(looks) == 1, looks)

    def test_a_404_that_is_not_of_runpod(self):
        for kind in ("foreign", "html"):
            self.provider.fault(self.status, kind, times=0)
            outcome, said = self.reclaim(self.job, 3600)
            self.assertNotEqual(outcome, "gone", said)
            self.provider.faults.clear()
        self.provider.jobs.clear()
        self.provider.error = lambda status, message: {"title": "Not Found", "status": status, "detail": message}
        self.assertEqual(self.reclaim(self.job, 3600)[0], "gone")

    def test_a_cancel_that_does_not_take(self):
        self.provider.deaf = 10**6
        outcome, said = self.reclaim(self.job, 3600)
        self.assertEqual(outcome, "running")
        self.assertIn("it is not cancelled yet; RunPod will end it at the latest 3630 s after submission (its ttl)", said)

    def test_a_record_without_a_place(self):
        for place in ("RunPod", "RunPod, ttl 3630 s, endpoint ", "RunPod, ttl x s, endpoint abc"):
            said = self.reclaim(self.job, 3600, place)[1]
            self.assertIn("its record does not say which endpoint it belongs to", said)
            self.assertIn("check at https://console.runpod.io/serverless whether it is still running; if it has ended, run `kolm compute reap --forget kolm-0123456789abcdef`", said)
        self.assertEqual(self.provider.taken, [])

    def test_a_job_without_an_id(self):
        outcome, said = self.reclaim("", 30)
        self.assertEqual(outcome, "unknown")
        self.assertIn("no answer to its submission was recorded, so kolm cannot find it; if it exists, RunPod will end it at the latest 3630 s after submission (its ttl)", said)
        self.assertEqual(self.reclaim("", 3631 + 300)[0], "gone")
        self.assertEqual(self.provider.taken, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
