# SPDX-License-Identifier: Apache-2.0
"""RunPod's job API of serverless queue endpoints, as its Python client 1.12.0 uses it and as documented: states, ttl, limits. The worker
behind the queue is a function, which really answers."""
import asyncio
import copy
import inspect
import json
import uuid

from provider import Provider, Refused, read_json

PAYLOAD_MOST = 10_000_000
KEPT = 1800  # seconds for which an output is kept
LIMITS = {"executionTimeout": (5_000, 604_800_000), "ttl": (10_000, 604_800_000)}  # milliseconds
DEFAULTS = {"executionTimeout": 600_000, "ttl": 86_400_000}


class Job:
    def __init__(self, born, value):
        self.id, self.born, self.input = str(uuid.uuid4()) + "-u1", born, value["input"]
        self.policy = {**DEFAULTS, **value.get("policy", {})}
        self.has_ttl = "ttl" in value.get("policy", {})
        self.cancelled, self.taken, self.result = None, False, None  # set by the handler


class Serverless(Provider):
    """handler(job): the worker, as runpod.serverless.start takes it; None: workers take the jobs through the addresses of worker_env(), and
    send the results. waits, runs: seconds in the queue and in work. stuck: no worker ever takes a job. word: the state of an unfinished
    job, if not a documented one. tamper: changes an output before it is sent. error_form: makes a worker's error from its text. deaf: how
    many cancels are answered but not executed. hides: how many queries do not see an existing job. late: how many queries do not show an
    accepted cancel."""
    tick = 1.0

    def __init__(self, handler, endpoint="abc123def456", **more):
        self.handler, self.endpoint, self.jobs = handler, endpoint, {}
        self.waits, self.runs, self.stuck, self.word, self.tamper, self.error_form, self.deaf, self.hides, self.late = 3, 3, False, None, None, str, 0, 0, 0
        super().__init__(token=more.pop("token", "rpa_canary-1f5b9c3d7e2a"), **more)

    def api(self):
        return self.address + "/v2"

    def error(self, status, message, **more):
        return {"error": message}

    def refuse(self, status, message, headers=()):
        raise Refused(status, self.error(status, message), headers)

    def authorise(self, request):
        if "/job-" in request.target and request.headers.get("authorization") == "worker-" + self.token:
            return
        if request.headers.get("authorization") != "Bearer " + self.token:
            self.refuse(401, "unauthorized")

    def routes(self):
        here = "/v2/([A-Za-z0-9-]+)"
        return [("POST", here + "/run", self.run), ("GET", here + "/status/([A-Za-z0-9-]+)", self.status), ("POST", here + "/cancel/([A-Za-z0-9-]+)", self.cancel),
                ("POST", here + "/purge-queue", self.purge), ("GET", here + "/health", self.health),
                ("GET", here + "/job-take/w1", self.take), ("GET", here + "/job-stop/w1", self.stop), ("POST", here + "/job-done/w1/([A-Za-z0-9-]+)", self.done)]

    def check_endpoint(self, name):
        if name != self.endpoint:
            self.refuse(404, "endpoint not found")

    def run(self, request, endpoint):
        self.check_endpoint(endpoint)
        if len(request.body) > PAYLOAD_MOST:
            self.refuse(413, "the payload is larger than 10 MB")
        value = read_json(request, self.error)
        policy = value.get("policy", {})
        if not isinstance(value.get("input"), dict) or not value["input"] or not isinstance(policy, dict):
            self.refuse(400, "the request has no input")
        for name, (least, most) in LIMITS.items():
            if name in policy and not (isinstance(policy[name], int) and least <= policy[name] <= most):
                self.refuse(400, "%s must be from %d to %d" % (name, least, most))
        job = Job(self.now, value)
        self.jobs[job.id] = job
        self.submits += 1
        return 200, {"id": job.id, "status": "IN_QUEUE"}

    # ---- States

    def state(self, job):
        """Returns None if the job is no longer known."""
        age, limit = self.now - job.born, job.policy["executionTimeout"] / 1000
        if age >= job.policy["ttl"] / 1000:
            return None
        if job.cancelled is not None:
            return "CANCELLED"
        if self.handler is None:
            return "IN_QUEUE" if not job.taken else "IN_PROGRESS" if job.result is None else "FAILED" if "error" in job.result else "COMPLETED"
        if self.stuck or age < self.waits:
            return "IN_QUEUE"
        if age >= self.waits + min(self.runs, limit) + KEPT:
            return None
        if age < self.waits + min(self.runs, limit):
            return "IN_PROGRESS"
        if self.runs > limit:
            return "TIMED_OUT"
        if job.result is None:
            result = self.handler({"id": job.id, "input": copy.deepcopy(job.input)})
            job.result = asyncio.run(result) if inspect.isawaitable(result) else result
        return "FAILED" if "error" in job.result else "COMPLETED"

    def find(self, name):
        job = self.jobs.get(name)
        if job is None or self.state(job) is None or self.hides > 0:
            self.refuse(404, "job not found")
        return job

    def status(self, request, endpoint, name):
        self.check_endpoint(endpoint)
        try:
            job = self.find(name)
        finally:
            self.hides = max(0, self.hides - 1)
        state = self.state(job)
        if state == "CANCELLED" and self.late > 0:
            self.late, state = self.late - 1, "IN_QUEUE"
        value = {"id": job.id, "status": self.word if self.word and state in ("IN_QUEUE", "IN_PROGRESS") else state}
        if state not in ("IN_QUEUE",):
            value["delayTime"] = int(self.waits * 1000)
        if state in ("COMPLETED", "FAILED", "TIMED_OUT"):
            value.update(executionTime=int(self.runs * 1000), workerId="w1")
        if state == "COMPLETED":
            value["output"] = self.tamper(copy.deepcopy(job.result)) if self.tamper else job.result
        if state == "FAILED":
            value["error"] = self.error_form(job.result["error"])
        if state == "TIMED_OUT":
            value["error"] = "job timed out after %d ms" % job.policy["executionTimeout"]
        return 200, value

    def cancel(self, request, endpoint, name):
        self.check_endpoint(endpoint)
        job = self.find(name)
        if self.deaf > 0:
            self.deaf -= 1
        elif self.state(job) in ("IN_QUEUE", "IN_PROGRESS"):
            job.cancelled = self.now
        return 200, {"id": job.id, "status": self.state(job)}

    def purge(self, request, endpoint):
        self.check_endpoint(endpoint)
        waiting = [job for job in self.jobs.values() if self.state(job) == "IN_QUEUE"]
        for job in waiting:
            job.cancelled = self.now
        return 200, {"removed": len(waiting), "status": "completed"}

    def health(self, request, endpoint):
        self.check_endpoint(endpoint)
        states = [self.state(job) for job in self.jobs.values()]
        return 200, {"jobs": {"completed": states.count("COMPLETED"), "failed": states.count("FAILED"), "inProgress": states.count("IN_PROGRESS"),
                              "inQueue": states.count("IN_QUEUE"), "retried": 0},
                     "workers": {"idle": 1, "initializing": 0, "ready": 1, "running": states.count("IN_PROGRESS"), "throttled": 0}}

    # ---- For workers, as the package runpod calls it

    def worker_env(self):
        """Returns the environment of the container of worker w1."""
        here = "%s/%s" % (self.api(), self.endpoint)
        return {"RUNPOD_WEBHOOK_GET_JOB": here + "/job-take/$ID?gpu=x", "RUNPOD_WEBHOOK_POST_OUTPUT": here + "/job-done/$RUNPOD_POD_ID/$ID?gpu=x",
                "RUNPOD_POD_ID": "w1", "RUNPOD_AI_API_KEY": "worker-" + self.token, "RUNPOD_ENDPOINT_ID": self.endpoint,
                "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_SKIP_GPU_CHECK": "true"}

    def take(self, request, endpoint):
        for job in self.jobs.values():
            if self.state(job) == "IN_QUEUE":
                job.taken = True
                return 200, {"id": job.id, "input": job.input}
        self.server.over.wait(0.05)
        return 204, None

    def stop(self, request, endpoint):
        """Answered at once, although RunPod holds it open."""
        self.server.over.wait(0.05)
        return 200, {"jobsToStop": [job.id for job in self.jobs.values() if job.taken and job.result is None and job.cancelled is not None]}

    def done(self, request, endpoint, name):
        value = json.loads(request.body)
        if "error" in value:
            self.jobs[name].result = {"error": value["error"]}
        else:
            self.jobs[name].result = value["output"]
        return 200, {}

    # ---- Billing

    def running(self):
        return [job.id for job in self.jobs.values() if self.state(job) in ("IN_QUEUE", "IN_PROGRESS")]

    def without_end(self):
        return [job.id for job in self.jobs.values() if not job.has_ttl]

    def stored(self):
        return []
