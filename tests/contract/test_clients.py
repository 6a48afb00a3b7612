#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The providers' own clients against the contract servers: the servers are only valid if these succeed too.

usage: test_clients.py   (KOLM_TEST_CLIENTS: the Python of the environment that requirements-clients.txt describes)
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from case import tickets  # noqa: E402


class Clients(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-clients-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def serve(self, provider):
        self.addCleanup(provider.close)
        return provider

    def test_together(self):
        from together import Together as Client
        from together_cloud import Together
        server = self.serve(Together())
        client = Client(api_key=server.token, base_url=server.address)
        path = os.path.join(self.dir, "rows.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            for row in tickets(40):
                file.write(json.dumps({"messages": [{"role": "user", "content": row["input"]}, {"role": "assistant", "content": row["output"]}]}) + "\n")
        uploaded = client.files.upload(path, purpose="fine-tune")
        self.assertIn(uploaded.id, server.files)
        while client.files.retrieve(uploaded.id).processing_status != "COMPLETED":
            pass
        model = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
        price = client.fine_tuning.estimate_price(training_file=uploaded.id, model=model)
        self.assertTrue(price.estimation_available and price.allowed_to_proceed)
        job = client.fine_tuning.create(training_file=uploaded.id, model=model, suffix="kolm-client", lora=True, lora_r=8)
        self.assertEqual(server.submits, 1)
        self.assertIn(job.id, [one.id for one in client.fine_tuning.list().data])
        while client.fine_tuning.retrieve(job.id).status != "completed":
            pass
        done = client.fine_tuning.retrieve(job.id)
        self.assertGreater(done.total_price, 0)
        self.assertGreater(len(client.fine_tuning.list_events(job.id).data), 2)
        out = os.path.join(self.dir, "adapter.tar.zst")
        with client.fine_tuning.with_streaming_response.content(ft_id=job.id, checkpoint="adapter") as answer:
            answer.stream_to_file(out)
        with open(out, "rb") as file:
            self.assertEqual(file.read(4), bytes.fromhex("28b52ffd"))
        said = client.chat.completions.create(model=done.model_output_name, messages=[{"role": "user", "content": "refund refunds about"}], logprobs=1)
        self.assertEqual(said.choices[0].message.content, "refund")
        second = client.fine_tuning.create(training_file=uploaded.id, model=model, suffix="kolm-cancel", lora=True)
        client.fine_tuning.cancel(second.id)
        while client.fine_tuning.retrieve(second.id).status != "cancelled":
            pass
        client.files.delete(uploaded.id)
        self.assertEqual((server.running(), server.stored()), ([], []))

    def test_replicate(self):
        import replicate
        from replicate_cloud import VERSION, Replicate
        server = self.serve(Replicate())
        client = replicate.Client(api_token=server.token, base_url=server.address)
        client.poll_interval = 0.01
        self.assertEqual(client.accounts.current().username, "me")
        self.assertEqual(client.models.get("me", "router").visibility, "private")
        self.assertEqual(client.hardware.list()[0].sku, "gpu-t4")
        path = os.path.join(self.dir, "rows.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            for row in tickets(40):
                file.write(json.dumps({"prompt": row["input"], "completion": row["output"]}) + "\n")
        uploaded = client.files.create(path)
        self.assertEqual([one.id for one in client.files.list()], [uploaded.id])
        training = client.trainings.create(model=("replicate", "llama-8b"), version=VERSION, input={"train_data": uploaded.urls["get"]}, destination="me/router")
        while training.status not in ("succeeded", "failed", "canceled"):
            training.reload()
        self.assertEqual((training.status, server.submits), ("succeeded", 1))
        version = training.output["version"]
        said = client.predictions.create(version=version.split(":")[1], input={"prompt": "refund refunds about"})
        said.wait()
        self.assertEqual("".join(said.output), "refund")
        second = client.trainings.create(model=("replicate", "llama-8b"), version=VERSION, input={"train_data": uploaded.urls["get"]}, destination="me/router")
        second.cancel()
        while second.status != "canceled":
            second.reload()
        client.files.delete(uploaded.id)
        self.assertEqual((server.running(), server.stored()), ([], []))

    def test_fal(self):
        """It reads its hosts when it is imported, and only uses TLS: so it runs in a separate process."""
        from fal_cloud import Fal
        from server import Authority
        authority = Authority(self.dir)
        server = self.serve(Fal(rows=[(row["input"], row["output"]) for row in tickets(40)], context=authority.context()))
        host = "localhost:%d" % server.server.port
        program = """
import fal_client
handle = fal_client.submit("me/router", arguments={"prompt": "refund refunds about"})
assert isinstance(handle.status(), (fal_client.Queued, fal_client.InProgress))
assert handle.get() == {"output": "refund"}, handle.get()
assert fal_client.subscribe("me/router", arguments={"prompt": "login logins"}) == {"output": "login"}
second = fal_client.submit("me/router", arguments={"prompt": "x"})
second.cancel()
while not isinstance(second.status(), fal_client.Completed):
    pass
"""
        env = {**os.environ, "FAL_RUN_HOST": host, "FAL_QUEUE_RUN_HOST": host, "FAL_KEY": server.token, "SSL_CERT_FILE": authority.ca}
        done = subprocess.run([sys.executable, "-c", program], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual((server.running(), server.submits), ([], 3))

    def test_lambda(self):
        """Its command line, as a user runs it. It is strict: a code, region or status that is not in the specification raises a
        traceback."""
        from lambda_cloud import Lambda
        server = self.serve(Lambda(boot=0.2))
        server.keys.append({"id": "ab" * 16, "name": "mine", "public_key": "ssh-ed25519 AAAA me"})

        def lai(*words, token=server.key):
            return subprocess.run([os.path.join(os.path.dirname(sys.executable), "lai"), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=60, check=False, cwd=self.dir,
                                  env={"PATH": os.environ["PATH"], "HOME": self.dir, "LAMBDA_CLOUD_BASE_URL": server.url(), "LAMBDA_CLOUD_TOKEN": token, "COLUMNS": "300"})
        types = json.loads(lai("types", "--json").stdout)
        self.assertIn("gpu_1x_a10", json.dumps(types))
        started = lai("start", "--instance-type", "gpu_1x_a10", "--region", "us-east-1", "--ssh-key", "mine", "--name", "by-its-client", "--json")
        self.assertEqual(started.returncode, 0, started.stdout)
        self.assertEqual(server.running(), ["by-its-client"])
        while "active" not in (listed := lai("ls", "--json").stdout):
            self.assertIn("by-its-client", listed)
        stopped = lai("stop", "by-its-client")
        self.assertEqual(stopped.returncode, 0, stopped.stdout)
        while server.running():
            pass
        self.assertEqual((server.launches, server.requests[0]), (1, ("GET", "/api/v1/instance-types")))
        for refused in (lai("ls", token="wrong"), lai("start", "--instance-type", "gpu_1x_rtx6000", "--region", "us-east-1", "--ssh-key", "mine")):
            self.assertNotEqual(refused.returncode, 0, refused.stdout)
            self.assertNotIn("must match const", refused.stdout)  # the client knows the code
        self.assertEqual(server.launches, 1)

    def test_runpod(self):
        """Uses dstack's client of REST v2, because RunPod's own uses GraphQL. It sends more about a pod than kolm does. Then come requests
        that it never sends and the server must refuse."""
        import requests
        from dstack._internal.core.backends.runpod import api_client
        from runpod_cloud import RunPod
        server = self.serve(RunPod(boot=0.2))
        api_client.API_V2_URL = server.api()
        self.assertFalse(api_client.RunpodApiClient("rpa_wrong").validate_api_key())
        client = api_client.RunpodApiClient(server.key)
        self.assertTrue(client.validate_api_key())
        wanted = dict(name="by-its-client", cloud="SECURE", gpu_type_id="NVIDIA L40S", gpu_count=2, min_cpu_count_per_gpu=4, min_memory_in_gb_per_gpu=16, data_center_ids=["EU-RO-1"],
                      container_disk_in_gb=40, image_name="dstackai/base", entrypoint=["/bin/sh"], cmd=["-c", "true"], ports=["22/tcp"], env={"A": "b"})
        pod = client.create_pod(**wanted)
        self.assertEqual((server.running(), server.launches), (["by-its-client"], 1))
        seen = set()
        while (state := client.get_pod(pod["id"]))["status"] != "RUNNING":
            seen.add(state["status"])
            self.assertIsNone(state["runtime"])
        self.assertLessEqual(seen, {"PROVISIONING", "STARTING"})
        self.assertEqual([port["public"] for port in state["runtime"]["ports"] if port["private"] == 22], [10022])
        self.assertTrue(client.terminate_pod(pod["id"]))
        while server.running():
            pass
        self.assertFalse(client.terminate_pod(pod["id"]))
        self.assertIsNone(client.get_pod("0" * 14))
        self.assertFalse(client.terminate_pod("0" * 14))
        server.no_capacity = {"NVIDIA L40S"}
        for status, words, change in ((400, "no longer any instances", {}), (400, "not known", {"gpu_type_id": "NVIDIA NOTHING"}),
                                      (400, "data center", {"data_center_ids": ["XX-1"]}), (422, "env", {"env": {"A": 1}}), (422, "disk", {"container_disk_in_gb": 0})):
            with self.assertRaises(api_client.RunpodV2ClientError) as caught:
                client.create_pod(**{**wanted, **change})
            self.assertEqual(caught.exception.status, status)
            self.assertIn(words, str(caught.exception))
        body = {"name": "x", "image": "y", "gpu": {"id": "NVIDIA A100 80GB PCIe"}}
        for change in ({"podType": "x"}, {"name": ""}, {"gpu": {"id": "a", "type": "b"}}, {"gpu": {"id": "a", "minCudaVersion": "12"}}, {"cloud": "ALL"}, {"disk": "50"}):
            answer = requests.post(server.api() + "/pods", json={**body, **change}, headers={"Authorization": "Bearer " + server.key}, timeout=20)
            self.assertEqual((answer.status_code, answer.headers["Content-Type"], answer.json()["status"]), (422, "application/problem+json", 422), change)
        self.assertEqual(server.launches, 1)

    ENDPOINTS = '''
import asyncio, sys
sys.path[:0] = sys.argv[2:]
import runpod_bare
import runpod, requests
from runpod.serverless.modules import rp_job
endpoint = runpod.Endpoint("abc123", api_key=sys.argv[1])
assert endpoint.health()["workers"]["idle"] == 1
rows = [{"id": "0", "input": "refund refunds about"}]
job = endpoint.run({"input": {"format": 1, "rows": rows}, "policy": {"executionTimeout": 60000, "ttl": 90000}})
seen = [job.status()]
while seen[-1] in ("IN_QUEUE", "IN_PROGRESS"):
    seen.append(job.status())
assert seen[0] == "IN_QUEUE" and "IN_PROGRESS" in seen and seen[-1] == "COMPLETED", seen
assert job.output() == {"answers": [{"id": "0", "output": "refund"}]}, job.output()
second = endpoint.run({"input": {"format": 1, "rows": rows}})
assert second.cancel()["status"] == "CANCELLED" and second.status() == "CANCELLED"
third = endpoint.run({"input": {"format": 2}})
while third.status() not in ("COMPLETED", "FAILED"):
    pass
assert (third.status(), third.output()) == ("FAILED", None)
for name, key, error in (("none", sys.argv[1], requests.HTTPError), ("abc123", "rpa_wrong", RuntimeError)):
    try:
        runpod.Endpoint(name, api_key=key).run({"input": {"a": 1}})
        raise SystemExit("not refused")
    except error:
        pass
endpoint.run({"input": {"format": 1, "rows": rows}})
assert endpoint.purge_queue()["removed"] == 1
# What becomes of a handler's result in a worker: of kolm's own.
import kolm_worker
worker = kolm_worker.Worker.__new__(kolm_worker.Worker)
worker.digest = "aa"
refused = asyncio.run(rp_job.run_job(worker.answer, {"id": "x", "input": {"format": 1, "model": "bb", "rows": rows}}))
assert refused == {"error": "this endpoint has the model aa, and the request is for bb"}, refused
'''

    BALANCE = """
import sys
sys.path.insert(0, sys.argv[2])
import runpod_bare
from runpod.api.graphql import run_graphql_query
for key in ("wrong", sys.argv[1]):
    try:
        print(run_graphql_query("query { myself { clientBalance } }", api_key=key)["data"]["myself"]["clientBalance"])
    except Exception as error:
        print(type(error).__name__)
"""

    def test_runpod_balance(self):
        """Uses RunPod's own client, for what REST v2 does not have."""
        from runpod_cloud import RunPod
        server = self.serve(RunPod())
        done = subprocess.run([sys.executable, "-c", self.BALANCE, server.key, os.path.dirname(os.path.abspath(__file__))], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env={**os.environ, "RUNPOD_API_BASE_URL": server.url()}, timeout=100, check=False)
        self.assertEqual(done.stdout, "AuthenticationError\n25.0\n")

    def test_runpod_endpoints(self):
        """Its own client for endpoints, in a separate process because it reads the address when it is imported."""
        from runpod_serverless import Serverless

        def handler(job):
            if job["input"]["format"] != 1:
                return {"error": "another format"}
            return {"answers": [{"id": row["id"], "output": row["input"].split()[0]} for row in job["input"]["rows"]]}
        server = self.serve(Serverless(handler, "abc123"))
        here = os.path.dirname(os.path.abspath(__file__))
        done = subprocess.run([sys.executable, "-c", self.ENDPOINTS, server.token, here, os.path.join(here, "..", "..", "plugins", "cloud", "runpod")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=60, check=False, cwd=self.dir, env={**os.environ, "RUNPOD_ENDPOINT_BASE_URL": server.api(), "HOME": self.dir, "PYTHONDONTWRITEBYTECODE": "1"})
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual((server.running(), server.submits), ([], 4))

    def test_vast(self):
        """Its command line, checked by its output, because it exits with 0 even if it is refused. Each start requests the names of GPUs."""
        from vast_cloud import Vast
        server = self.serve(Vast(boot=0.2))

        def vastai(*words, key=server.key):
            return subprocess.run([os.path.join(os.path.dirname(sys.executable), "vastai"), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=60, check=False, cwd=self.dir,
                                  env={"PATH": os.environ["PATH"], "HOME": self.dir, "VAST_URL": server.url(), "VAST_API_KEY": key, "VASTAI_NO_UPDATE_CHECK": "1"}).stdout
        self.assertEqual(json.loads(vastai("show", "user", "--raw"))["credit"], 25.0)
        offers = json.loads(vastai("search", "offers", "gpu_ram>=40 num_gpus=1", "--raw", "-o", "dph_total", "--storage", "50"))
        self.assertEqual([one["gpu_name"] for one in offers], ["RTX A6000", "A100 PCIE", "H100 SXM"])
        self.assertAlmostEqual(offers[0]["dph_total"], 0.39)
        started = vastai("create", "instance", str(offers[0]["id"]), "--image", "x", "--disk", "50", "--ssh", "--direct", "--label", "by-its-client", "--cancel-unavail")
        self.assertIn("Started. {'success': True, 'new_contract': ", started)
        self.assertEqual((server.running(), server.launches), (["by-its-client"], 1))
        one = server.instances[0]
        self.assertEqual((one.body["runtype"], one.body["cancel_unavail"]), ("ssh_direc ssh_proxy", True))
        self.assertIn("'success': True", vastai("attach", "ssh", str(one.id), "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me"))
        self.assertEqual(len(one.keys), 1)
        while (seen := json.loads(vastai("show", "instance", str(one.id), "--raw")))["actual_status"] != "running":
            pass
        self.assertEqual((seen["label"], seen["ports"]["22/tcp"][0]["HostPort"]), ("by-its-client", "10022"))
        self.assertAlmostEqual(seen["dph_total"], 0.39)
        server.page = 1
        self.assertIn("Started.", vastai("create", "instance", str(offers[1]["id"]), "--image", "x", "--label", "the-second"))
        self.assertEqual([row["label"] for row in json.loads(vastai("show", "instances", "--raw"))], ["by-its-client", "the-second"])  # two pages
        for instance in server.instances:
            self.assertIn("destroying instance %d." % instance.id, vastai("destroy", "instance", str(instance.id), "-y"))
        while server.running():
            pass
        self.assertIn("no such instance", vastai("destroy", "instance", str(one.id), "-y"))
        self.assertIn("not found", vastai("show", "instance", str(one.id)))
        self.assertIn("there is no ask 1", vastai("create", "instance", "1", "--image", "x"))
        self.assertIn("Invalid user key", vastai("show", "user", key="wrong"))
        server.no_capacity, server.refuses = {"A100 PCIE"}, "200"
        self.assertIn("it cannot be scheduled", vastai("create", "instance", str(offers[1]["id"]), "--image", "x"))
        self.assertEqual((server.launches, server.running()), (2, []))

    MODAL = '''
import modal
from modal.exception import AlreadyExistsError, AuthError
app = modal.App.lookup("kolm", create_if_missing=True)
image = modal.Image.from_registry("debian:12")
made = dict(app=app, image=image, timeout=600, cpu=(2, 2), memory=(1024, 1024))
box = modal.Sandbox.create("sleep", "600", gpu="T4", name="by-its-client", tags={"kolm": "1"}, **made)
process = box.exec("cat")
process.stdin.write(b"there and back")
process.stdin.write_eof()
process.stdin.drain()
assert process.stdout.read() == "there and back" and process.wait() == 0
process = box.exec("sh", "-c", "echo right; echo wrong >&2; exit 3")
assert (process.stdout.read(), process.stderr.read(), process.wait()) == ("right\\n", "wrong\\n", 3)
assert [one.object_id for one in modal.Sandbox.list(app_id=app.app_id, tags={"kolm": "1"})] == [box.object_id]
assert box.poll() is None
try:
    modal.Sandbox.create("sleep", "600", gpu="T4", name="by-its-client", **made)
    raise SystemExit("a name was given twice")
except AlreadyExistsError:
    pass
box.terminate()
try:
    box.wait()
except modal.exception.SandboxTerminatedError:
    pass
assert box.poll() == 137, box.poll()
assert list(modal.Sandbox.list(app_id=app.app_id, tags={"kolm": "1"})) == []
'''

    def test_modal(self):
        """Its library in a separate process, because it caches a client and its settings; and its command line for the prices."""
        from modal_cloud import Modal
        server = self.serve(Modal(boot=0.2, port=1))
        identity, _, secret = server.key.partition(":")

        def python(program, **change):
            env = {"PATH": os.environ["PATH"], "HOME": self.dir, "MODAL_SERVER_URL": server.url(), "MODAL_TOKEN_ID": identity, "MODAL_TOKEN_SECRET": secret,
                   "MODAL_CONFIG_PATH": os.path.join(self.dir, "modal.toml"), "COLUMNS": "300", **change}
            return subprocess.run([sys.executable, *program], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
                                  check=False)
        done = python(["-c", self.MODAL])
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual((server.launches, server.running()), (1, []))
        asked = server.instances[0].body
        self.assertEqual((asked["resources"]["gpu_config"], asked["timeout_secs"]), ({"count": 1, "gpu_type": "T4"}, 600))
        rates = python(["-m", "modal", "billing", "rates", "--json"])
        self.assertEqual((rates.returncode, json.loads(rates.stdout)["gpu_t4"]), (0, "0.5900"), rates.stdout)
        refused = python(["-c", "import modal; modal.App.lookup('kolm')"], MODAL_TOKEN_SECRET="as-wrong")
        self.assertIn("AuthError", refused.stdout)


if __name__ == "__main__":
    wanted = os.environ.get("KOLM_TEST_CLIENTS")
    if not wanted:
        print("KOLM_TEST_CLIENTS names no Python with the clients: skipped")
        sys.exit(77)
    if os.path.abspath(wanted) != os.path.abspath(sys.executable):
        os.execv(wanted, [wanted, *sys.argv])
    unittest.main()
