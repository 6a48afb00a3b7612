# SPDX-License-Identifier: Apache-2.0
"""A contract server of fal's queue and prices, as its client 1.0.3 uses it."""
from provider import Provider, Refused, nearest_answer, read_json


class Fal(Provider):
    """Endpoints answer with the output of the row most similar to the question."""
    def __init__(self, rows=(), **more):
        self.rows, self.requests, self.scopes, self.lies, self.breaks, self.deaf, self.stuck = list(rows), {}, {"inference", "pricing"}, None, None, False, False
        self.endpoints = {"me/router": 0.0005, "fal-ai/any-llm": 0.001}
        super().__init__(token=more.pop("token", "id-canary-77aa:s3cret-canary-90bc"), **more)

    def error(self, status, message, **more):
        if more.get("platform"):
            kinds = {401: "authorization_error", 403: "authorization_error", 404: "not_found", 429: "rate_limited", 422: "validation_error"}
            return {"error": {"type": kinds.get(status, "server_error"), "message": message, "request_id": "r-1"}}
        if status == 422:
            return {"detail": [{"loc": ["body", "prompt"], "msg": message, "type": "value_error"}]}
        return {"detail": message, **({"error_type": more["error_type"]} if "error_type" in more else {})}

    def refuse(self, status, message, **more):
        raise Refused(status, self.error(status, message, **more))

    def authorise(self, request):
        if request.headers.get("authorization") != "Key " + self.token:
            self.refuse(401, "invalid key credentials", platform=request.target.startswith("/v1/"))

    def routes(self):
        app = "/([A-Za-z0-9-]+/[A-Za-z0-9-]+)"
        return [("GET", "/v1/models/pricing", self.pricing), ("GET", app + "/requests/([0-9a-f-]+)/status", self.status), ("PUT", app + "/requests/([0-9a-f-]+)/cancel", self.cancel),
                ("GET", app + "/requests/([0-9a-f-]+)", self.result), ("POST", app + "((?:/[A-Za-z0-9-]+)*)", self.submit)]

    def pricing(self, request):
        if "pricing" not in self.scopes:
            self.refuse(403, "this key has no access to prices", platform=True)
        wanted = request.target.partition("endpoint_id=")[2].replace("%2F", "/").split(",")
        known = [name for name in wanted if name in self.endpoints]
        if not known:
            self.refuse(404, "no such endpoint", platform=True)
        return 200, {"prices": [{"endpoint_id": name, "unit_price": self.endpoints[name], "unit": "request", "currency": "USD"} for name in known], "next_cursor": None, "has_more": False}

    def urls(self, one):
        address = "%s/%s/requests/%s" % (self.lies or self.address, one["app"], one["id"])
        return {"request_id": one["id"], "response_url": address, "status_url": address + "/status", "cancel_url": address + "/cancel"}

    def submit(self, request, app, path):
        if "inference" not in self.scopes:
            self.refuse(403, "this key may not run models")
        if app not in self.endpoints:
            self.refuse(404, "Application not found")
        asked = read_json(request, self.error)
        if not isinstance(asked.get("prompt"), str):
            self.refuse(422, "field required")
        self.submits += 1
        one = {"id": "00000000-0000-4000-8000-%012x" % (len(self.requests) + 1), "app": app, "born": self.now, "cancelled": None, "prompt": asked["prompt"]}
        self.requests[one["id"]] = one
        return 200, {"status": "IN_QUEUE", "queue_position": 0, **self.urls(one)}

    def one(self, name):
        if name not in self.requests:
            raise Refused(404, {"status": "NOT_FOUND"})
        return self.requests[name]

    def state(self, one):
        if one["cancelled"] is not None and not self.deaf and self.now >= one["cancelled"] + 20:
            return "COMPLETED"
        if self.stuck or self.now < one["born"] + 15:
            return "IN_QUEUE"
        return "IN_PROGRESS" if self.now < one["born"] + 35 else "COMPLETED"

    def status(self, request, app, name):
        one = self.one(name)
        reply = {"status": self.state(one), **self.urls(one)}
        if reply["status"] == "IN_QUEUE":
            reply["queue_position"] = 0
            return 202, reply
        reply["logs"] = None
        if reply["status"] == "IN_PROGRESS":
            return 202, reply
        reply["metrics"] = {"inference_time": 0.4}
        if one["cancelled"] is not None and not self.deaf:
            reply.update(error="cancelled by the client", error_type="client_cancelled")
        elif self.breaks:
            reply.update(error=self.breaks, error_type="runner_server_error")
        return 200, reply

    def result(self, request, app, name):
        one = self.one(name)
        if self.state(one) != "COMPLETED":
            self.refuse(400, "Request is still in progress")
        if self.breaks:
            self.refuse(500, self.breaks, error_type="runner_server_error")
        return 200, {"output": nearest_answer(self.rows, one["prompt"])[0]}

    def cancel(self, request, app, name):
        one = self.one(name)
        if self.state(one) == "COMPLETED":
            return 400, {"status": "ALREADY_COMPLETED"}
        one["cancelled"] = one["cancelled"] if one["cancelled"] is not None else self.now
        return 202, {"status": "CANCELLATION_REQUESTED"}

    def running(self):
        return [one["id"] for one in self.requests.values() if self.state(one) != "COMPLETED"]

    def stored(self):
        return []
