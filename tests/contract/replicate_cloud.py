# SPDX-License-Identifier: Apache-2.0
"""A contract server of Replicate's models, files, trainings and predictions, as its client 1.0.7 uses it."""
import hashlib
import json
import re

from provider import Provider, Refused, multipart, nearest_answer, read_json, stamp

FINAL = ("succeeded", "failed", "canceled", "aborted")
VERSION = "a" * 64


class Replicate(Provider):
    page = 2  # items per page of a list

    def __init__(self, **more):
        self.files, self.trainings, self.predictions = {}, {}, {}
        self.models = {"me/router": "private", "me/open": "public", "replicate/llama-8b": "public"}
        self.stuck, self.deaf, self.no_weights, self.strange, self.scopes, self.pieces, self.credit = None, False, False, None, {"all"}, True, True
        super().__init__(**more)

    def error(self, status, message, **more):
        titles = {401: "Unauthenticated", 402: "Insufficient credit", 403: "Forbidden", 404: None, 422: "Input validation failed"}
        body = {"detail": message, "status": status}
        if titles.get(status):
            body["title"] = titles[status]
        return body

    def refuse(self, status, message):
        raise Refused(status, self.error(status, message), (("Content-Type", "application/problem+json"),))

    def authorise(self, request):
        if request.headers.get("authorization") != "Bearer " + self.token:
            self.refuse(401, "You did not pass a valid authentication token")
        if "all" not in self.scopes:
            self.refuse(403, "This token may not do that")

    def routes(self):
        name = "([A-Za-z0-9._-]+/[A-Za-z0-9._-]+)"
        return [
            ("GET", "/v1/account", lambda request: (200, {"type": "user", "username": "me", "name": "Me", "github_url": "https://github.com/me"})),
            ("GET", "/v1/hardware", lambda request: (200, [{"sku": "gpu-t4", "name": "Nvidia T4 GPU"}])),
            ("GET", "/v1/models/" + name, self.model), ("GET", "/v1/models/%s/versions/([0-9a-f]+)" % name, self.version),
            ("POST", "/v1/files", self.file_create), ("GET", "/v1/files", lambda request: self.paged(request, self.files.values(), self.describe_file)),
            ("GET", "/v1/files/([^/]+)", lambda request, one: (200, self.describe_file(self.find(self.files, one, "file")))), ("DELETE", "/v1/files/([^/]+)", self.file_delete),
            ("POST", "/v1/models/%s/versions/([0-9a-f]+)/trainings" % name, self.train),
            ("GET", "/v1/trainings", lambda request: self.paged(request, self.trainings.values(), self.describe)),
            ("GET", "/v1/trainings/([^/]+)", lambda request, one: (200, self.describe(self.find(self.trainings, one, "training")))),
            ("POST", "/v1/trainings/([^/]+)/cancel", lambda request, one: self.cancel(self.find(self.trainings, one, "training"))),
            ("POST", "/v1/predictions", self.predict), ("GET", "/v1/predictions/([^/]+)", lambda request, one: (200, self.describe(self.find(self.predictions, one, "prediction")))),
            ("POST", "/v1/predictions/([^/]+)/cancel", lambda request, one: self.cancel(self.find(self.predictions, one, "prediction"))),
            ("GET", "/delivery/([^/]+)/weights", self.weights),
        ]

    def find(self, things, name, what):
        if name not in things:
            self.refuse(404, "The specified %s does not exist" % what)
        return things[name]

    def paged(self, request, things, describe):
        things = list(things)
        match = re.search(r"cursor=(\d+)", request.target)
        at = int(match.group(1)) if match else 0
        more = at + self.page < len(things)
        path = request.target.split("?")[0]
        return 200, {"previous": None, "next": "%s%s?cursor=%d" % (self.address, path, at + self.page) if more else None, "results": [describe(one) for one in things[at:at + self.page]]}

    # ---- models

    def model(self, request, name):
        if name not in self.models:
            self.refuse(404, "The requested resource could not be found.")
        owner, short = name.split("/")
        return 200, {"url": "https://replicate.com/" + name, "owner": owner, "name": short, "description": "", "visibility": self.models[name], "github_url": None, "paper_url": None,
                     "license_url": None, "run_count": 0, "cover_image_url": None, "default_example": None, "latest_version": None}

    def version(self, request, name, version):
        if name not in self.models or version != VERSION:
            self.refuse(404, "The requested resource could not be found.")
        return 200, {"id": version, "created_at": stamp(self.now), "cog_version": "0.9.0", "openapi_schema": {}}

    # ---- files

    def describe_file(self, file):
        digest = hashlib.sha256(file["content"]).hexdigest()
        return {"id": file["id"], "name": file["name"], "content_type": "application/jsonl", "size": len(file["content"]), "etag": digest[:32],
                "checksums": {"sha256": digest, "md5": hashlib.md5(file["content"]).hexdigest()}, "metadata": {}, "created_at": stamp(file["born"]), "expires_at": stamp(file["born"] + 86400),
                "urls": {"get": "%s/v1/files/%s" % (self.address, file["id"])}}

    def file_create(self, request):
        parts = multipart(request)
        if "content" not in parts:
            self.refuse(400, "Missing content")
        filename, content = parts["content"]
        name = parts["filename"][1].decode() if "filename" in parts else filename
        file = {"id": "file%08d" % len(self.taken), "name": name, "content": content, "born": self.now}
        self.files[file["id"]] = file
        return 201, self.describe_file(file)

    def file_delete(self, request, name):
        self.find(self.files, name, "file")
        del self.files[name]
        return 204, None

    # ---- trainings and predictions

    def job(self, kind, given, lasts):
        if not self.credit:
            self.refuse(402, "You have insufficient credit to run this model")
        return {"id": "%s%08d" % (kind, len(self.taken)), "kind": kind, "input": given, "born": self.now, "status": "starting", "cancelled": None, "lasts": lasts, "error": None, "output": None}

    def progress(self, job):
        if job["status"] in FINAL:
            return
        if job["cancelled"] is not None and not self.deaf:
            if self.now >= job["cancelled"] + 40:
                job["status"] = "canceled"
            return
        if self.stuck == "starting" or self.now < job["born"] + job["lasts"] / 4:
            return
        job["status"] = "processing"
        if self.stuck == "processing" or self.now < job["born"] + job["lasts"]:
            return
        job["status"] = "succeeded"
        job["output"] = job["result"]()

    def describe(self, job):
        self.progress(job)
        kind = "trainings" if job["kind"] == "t" else "predictions"
        reply = {"id": job["id"], "model": job["model"], "version": job["version"], "status": self.strange or job["status"], "input": job["input"], "output": job["output"],
                 "logs": None if job["status"] == "starting" else "".join("step %d of 3\n" % number for number in range(1, 4)), "error": job["error"], "created_at": stamp(job["born"]),
                 "metrics": {"predict_time": 12.5} if job["status"] == "succeeded" else {},
                 "urls": {"get": "%s/v1/%s/%s" % (self.address, kind, job["id"]), "cancel": "%s/v1/%s/%s/cancel" % (self.address, kind, job["id"])}}
        if kind == "trainings":
            reply["destination"] = None  # as observed at Replicate
        return reply

    def train(self, request, trainer, version):
        asked = read_json(request, self.error)
        given = asked.get("input")
        if trainer not in self.models or version != VERSION:
            self.refuse(404, "The requested resource could not be found.")
        if asked.get("destination") not in self.models or not asked["destination"].startswith("me/"):
            self.refuse(404, "The specified training destination does not exist")
        if not isinstance(given, dict) or not isinstance(given.get("train_data"), str):
            self.refuse(422, "- input: train_data is required")
        file = next((file for file in self.files.values() if given["train_data"].endswith("/v1/files/" + file["id"])), None)
        if file is None:
            self.refuse(422, "- input.train_data: the file cannot be read")
        try:
            rows = [json.loads(line) for line in file["content"].decode().splitlines()]
            rows = [(row["prompt"], row["completion"]) for row in rows]
        except (ValueError, KeyError, TypeError):
            self.refuse(422, "- input.train_data: lines must have prompt and completion")
        job = self.job("t", given, 400)
        job.update(model=trainer, version=version, rows=rows, destination=asked["destination"], trained=hashlib.sha256(job["id"].encode()).hexdigest())
        job["result"] = lambda: {"version": "%s:%s" % (job["destination"], job["trained"]), **({} if self.no_weights else {"weights": "%s/delivery/%s/weights" % (self.address, job["id"])})}
        self.submits += 1
        self.trainings[job["id"]] = job
        return 201, self.describe(job)

    def cancel(self, job):
        self.progress(job)
        if job["status"] not in FINAL:
            job["cancelled"] = job["cancelled"] if job["cancelled"] is not None else self.now
        return 200, self.describe(job)

    def predict(self, request):
        asked = read_json(request, self.error)
        training = next((one for one in self.trainings.values() if one["trained"] == asked.get("version") and one["status"] == "succeeded"), None)
        prompt = (asked.get("input") or {}).get("prompt")
        if training is None:
            self.refuse(422, "- version: The specified version does not exist (or perhaps you don't have permission to use it?)")
        if not isinstance(prompt, str):
            self.refuse(422, "- input: prompt is required")
        job = self.job("p", asked["input"], 60)
        text = nearest_answer(training["rows"], prompt)[0]
        job.update(model=training["destination"], version=asked["version"], result=lambda: [text[:3], text[3:]] if self.pieces else text)
        self.predictions[job["id"]] = job
        return 201, self.describe(job)

    def weights(self, request, name):
        job = self.find(self.trainings, name, "training")
        return 200, b"weights of " + job["id"].encode() * 1000, (("Content-Type", "application/octet-stream"),)

    # ---- billing and storage

    def running(self):
        jobs = [*self.trainings.values(), *self.predictions.values()]
        for job in jobs:
            self.progress(job)
        return [job["id"] for job in jobs if job["status"] not in FINAL]

    def stored(self):
        return [file["name"] for file in self.files.values()]
