# SPDX-License-Identifier: Apache-2.0
"""RunPod's REST API v2 as far as kolm uses it: pods and the catalog of GPUs as in its specification of 2026-08-20, with the additional
fields that its clients send. State, costs, errors; it rejects what RunPod rejects. Pods are accounts on loopback if a port for them is
given."""
import json
import re
import time
import urllib.parse
import uuid

from cloud import Machine, MachineCloud, Refusal

TITLES = {400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict",
          422: "Unprocessable Entity", 429: "Too Many Requests", 500: "Internal Server Error"}
NO_CAPACITY = "There are no longer any instances available with the requested specifications. Please refresh and try again."
CENTRES = ("US-KS-2", "EU-RO-1", "CA-MTL-1")
# id, gigabytes, dollars an hour SECURE and COMMUNITY (0: not offered there), manufacturer, {data centre: availability}. The cheapest are
# from another manufacturer, have no price, or are unavailable.
TYPES = (("AMD Instinct MI300X OAM", 192, 0.25, 0, "AMD", {"EU-RO-1": "HIGH"}),
         ("NVIDIA RTX A4000", 16, 0, 0.17, "NVIDIA", {"US-KS-2": "LOW"}),
         ("NVIDIA RTX A5000", 24, 0.27, 0.16, "NVIDIA", {"US-KS-2": "LOW", "EU-RO-1": "NONE"}),
         ("NVIDIA RTX A6000", 48, 0.33, 0, "NVIDIA", {"US-KS-2": "NONE"}),
         ("NVIDIA L40S", 48, 0.86, 0.79, "NVIDIA", {"EU-RO-1": "MEDIUM", "CA-MTL-1": "HIGH"}),
         ("NVIDIA A100 80GB PCIe", 80, 1.39, 1.19, "NVIDIA", {"EU-RO-1": "HIGH"}),
         ("NVIDIA H100 80GB HBM3", 80, 2.69, 0, "NVIDIA", {"CA-MTL-1": "LOW"}))
DISK = 0.1 / 730  # dollars an hour per gigabyte of the container, which is billed in addition to the cost that a pod shows
SHOWS_TERMINATED = 30  # seconds for which a terminated pod is still shown


def problem(status, detail, errors=None):
    value = {"title": TITLES.get(status, "Error"), "status": status, "detail": detail}
    if errors:
        value["errors"] = errors
    return value


# ---- Fields of requests: {field: what it must be}. Other fields are refused, because of unevaluatedProperties: false.

def is_text(value):
    return isinstance(value, str) and value != ""


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_flag(value):
    return isinstance(value, bool)


def is_texts(value):
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def is_version(value):
    return isinstance(value, str) and re.fullmatch(r"\d+\.\d+", value)


def is_map(value):
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


GPU = {"id": is_text, "count": is_count, "allowedCudaVersions": lambda value: is_texts(value) and all(map(is_version, value)), "minCudaVersion": is_version,
       "minRamPerGpu": is_count, "minVcpuCountPerGpu": is_count}
POD = {"name": is_text, "image": is_text, "args": lambda value: isinstance(value, str), "entrypoint": is_texts, "cmd": is_texts, "disk": is_count, "env": is_map,
       "ports": is_texts, "registry": lambda value: value is None or is_text(value), "cloud": lambda value: value in ("SECURE", "COMMUNITY"),
       "cpu": lambda value: isinstance(value, dict), "dataCenterIds": is_texts, "globalNetworking": is_flag, "gpu": lambda value: isinstance(value, dict),
       "mounts": lambda value: isinstance(value, dict) and set(value) <= {"persistent", "network"}, "startJupyter": is_flag, "startSsh": is_flag, "templateId": is_text}


def violations(value, allowed, needed, where=""):
    found = ["%sadditional properties '%s' not allowed" % (where, name) for name in value if name not in allowed]
    found += ["%smissing property '%s'" % (where, name) for name in needed if name not in value]
    return found + ["%s%s: not what it must be" % (where, name) for name in value if name in allowed and not allowed[name](value[name])]


class Pod(Machine):
    def __init__(self, cloud, kind, body, cost):
        super().__init__(cloud, body["name"], cost + DISK * body.get("disk", 20))
        self.cost = cost
        self.id, self.kind, self.body, self.state = uuid.uuid4().hex[:14], kind, body, "PROVISIONING"
        self.cloud_type, self.gone = body.get("cloud", "SECURE"), None
        self.started = time.time()
        starts = "22/tcp" in body.get("ports", []) and not any(body.get(name) for name in ("args", "entrypoint", "cmd"))  # the image's script starts sshd
        self.public = body.get("env", {}).get("PUBLIC_KEY") if starts else None


class RunPod(MachineCloud):
    """key: the token. limited: six requests a minute, the rest is rejected. page: pods per answer, with nextCursor; None: all. word: the
    state of a booting pod, if not a documented one. direct: whether ssh.direct is present, or only the ports of the runtime. balance: of
    the account. errors: of GraphQL, in addition to its answer."""
    refusals_are = "application/problem+json"

    def __init__(self, key="rpa_kolm-test-0123456789abcdef", boot=0, port=None):
        self.limited, self.page, self.word, self.direct, self.balance, self.errors = False, None, None, True, 25.0, None
        super().__init__(key, boot, port)

    def api(self):
        return self.url() + "/v2"

    def error(self, status):
        return problem(status, "refused with %d" % status)

    def authorized(self, request):
        given = request.headers.get("authorization", "")
        if not given.startswith("Bearer "):
            raise Refusal(401, problem(401, "missing bearer token"))
        if given != "Bearer " + self.key:
            raise Refusal(401, problem(401, "invalid bearer token"))
        now = self.clock.now()
        if self.limited and len([at for at in self.times if now - at < 60]) > 6:
            raise Refusal(429, problem(429, "rate limit exceeded for the window minute"))

    # ---- The catalog

    def get_gpus(self, match, request):
        query = {name: values[-1] for name, values in urllib.parse.parse_qs(request.target.partition("?")[2]).items()}
        shows = query.get("include") == "AVAILABILITY"
        if shows != ("product" in query):
            raise Refusal(400, problem(400, "include=AVAILABILITY and product belong together"))
        if not shows and any(name in query for name in ("cloud", "count", "minCudaVersion")):
            raise Refusal(400, problem(400, "valid only with include=AVAILABILITY"))
        if query.get("cloud", "SECURE") not in ("SECURE", "COMMUNITY") or not re.fullmatch(r"\d+(\.\d+)?", query.get("minCudaVersion", "12")):
            raise Refusal(422, problem(422, "Request validation failed.", ["a parameter is not what it must be"]))
        return {"gpus": [self.gpu_json(kind, query.get("cloud", "SECURE"), shows) for kind in TYPES]}

    def gpu_json(self, kind, cloud, shows):
        name, memory, secure, community, maker, centres = kind
        value = {"id": name, "name": name.split(" ", 1)[1], "pool": None, "manufacturer": maker, "memory": memory, "secure": secure > 0, "community": community > 0,
                 "price": {"secure": secure, "community": community}, "maxCount": {"secure": 8 if secure else 0, "community": 4 if community else 0}}
        if shows:
            order = ("NONE", "LOW", "MEDIUM", "HIGH")
            there = (secure if cloud == "SECURE" else community) > 0
            value["availability"] = max(centres.values(), key=order.index) if there else "NONE"
            value["dataCenters"] = [{"id": one, "name": one, "availability": level} for one, level in centres.items()] if there else []
        return value

    # ---- Pods

    def advance(self, pod):
        now = self.clock.now()
        if pod.died is None and pod.gone is not None and now - pod.gone >= self.ends_in:
            pod.state = "TERMINATED"
            pod.end()
        if pod.state in ("PROVISIONING", "STARTING"):
            pod.state = "STARTING" if now - pod.born >= self.boot / 2 else "PROVISIONING"
            if self.is_booted(pod):
                pod.state, pod.cost, pod.price = "RUNNING", pod.cost + self.risen / 100, pod.price + self.risen / 100
        if self.dies is not None and now - pod.born >= self.dies and pod.state in ("PROVISIONING", "STARTING", "RUNNING"):
            pod.state = "EXITED"

    def is_booted(self, pod):
        return super().is_booted(pod) or (pod.public is None and not self.never_boots and self.clock.now() - pod.born >= self.boot)

    def ports(self, pod):
        """Returns the reachable ports of the container: only ssh is requested."""
        if pod.state != "RUNNING" or "22/tcp" not in pod.body.get("ports", []):
            return []
        return [{"private": 8888, "public": None, "type": "http", "ip": None}, {"private": 22, "public": self.port or 10022, "type": "tcp", "ip": pod.address}]

    def pod_json(self, pod):
        self.advance(pod)
        body, ports = pod.body, self.ports(pod)
        host, number = (ports[-1]["ip"], ports[-1]["public"]) if ports else (None, None)
        direct = {"host": host, "port": number, "username": "root", "command": "ssh root@%s -p %s" % (host, number)} if ports and self.direct else None
        proxy = {"host": "ssh.runpod.io", "port": 22, "username": pod.id + "-64411eb2", "command": "ssh %s-64411eb2@ssh.runpod.io" % pod.id} if ports else None
        booting = pod.state in ("PROVISIONING", "STARTING")
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(pod.started))
        return {"id": pod.id, "name": pod.name, "status": self.word if self.word and booting else pod.state, "actions": ["stop", "restart", "terminate"],
                "image": body.get("image", ""), "args": body.get("args", ""), "disk": body.get("disk", 20), "ports": body.get("ports", []), "env": body.get("env", {}),
                "registry": None, "mounts": body.get("mounts", {}), "gpu": {"id": pod.kind[0], "count": body["gpu"].get("count", 1)}, "cloud": pod.cloud_type,
                "dataCenterId": None if pod.state == "PROVISIONING" else next(iter(pod.kind[5])), "cudaVersion": None if booting else "12.8",
                "ssh": {"proxy": proxy, "direct": direct}, "template": None, "cost": round(pod.cost, 4), "locked": False, "globalNetworking": {"enabled": False},
                "runtime": {"uptime": int(self.clock.now() - pod.born), "gpus": [], "ports": ports} if pod.state == "RUNNING" else None, "createdAt": when,
                "startedAt": None if booting else when}

    def read(self, request):
        try:
            value = json.loads(request.body)
        except ValueError:
            raise Refusal(400, problem(400, "the body is not JSON"))
        if not isinstance(value, dict):
            raise Refusal(422, problem(422, "Request validation failed.", ["the body is not an object"]))
        found = violations(value, POD, ["name"] if "templateId" in value else ["name", "image"])
        if not found and "gpu" in value:
            found = violations(value["gpu"], GPU, ["id"], "gpu: ")
        if found:
            raise Refusal(422, problem(422, "Request validation failed.", found))
        return value

    def create(self, match, request):
        value = self.read(request)
        if ("gpu" in value) == ("cpu" in value):
            raise Refusal(400, problem(400, "exactly one of gpu and cpu"))
        if "gpu" not in value or "templateId" in value:
            raise Refusal(400, problem(400, "this server has neither CPU pods nor templates"))
        gpu, cloud = value["gpu"], value.get("cloud", "SECURE")
        if "allowedCudaVersions" in gpu and "minCudaVersion" in gpu:
            raise Refusal(400, problem(400, "allowedCudaVersions and minCudaVersion exclude each other"))
        kind = next((kind for kind in TYPES if kind[0] == gpu["id"]), None)
        if kind is None:
            raise Refusal(400, problem(400, "gpu id '%s' is not known" % gpu["id"]))
        wanted = value.get("dataCenterIds") or CENTRES
        if not set(wanted) <= set(CENTRES):
            raise Refusal(400, problem(400, "dataCenterIds: there is no such data center"))
        price = kind[2] if cloud == "SECURE" else kind[3]
        if price == 0 or kind[0] in self.no_capacity or all(kind[5].get(one, "NONE") == "NONE" for one in wanted):
            raise Refusal(400, problem(400, NO_CAPACITY))
        pod = Pod(self, kind, value, price * gpu.get("count", 1))
        self.rent(pod)
        return 201, self.pod_json(pod)

    def is_there(self, pod):
        return self.shows(pod) and (pod.died is None or self.clock.now() - pod.died < SHOWS_TERMINATED)

    def find(self, identity):
        for pod in self.instances:
            self.advance(pod)
            if pod.id == identity and self.is_there(pod):
                return pod
        raise Refusal(404, problem(404, "pod not found"))

    def get_pod(self, match, request):
        return self.pod_json(self.find(match.group(1)))

    def get_pods(self, match, request):
        for pod in self.instances:
            self.advance(pod)
        pods = [self.pod_json(pod) for pod in self.instances if self.is_there(pod)]
        if self.page is None:
            return {"pods": pods}
        query = urllib.parse.parse_qs(request.target.partition("?")[2])
        begin = int(query["cursor"][0].partition("+/=")[2]) if "cursor" in query else 0
        value = {"pods": pods[begin:begin + self.page]}
        if begin + self.page < len(pods):
            value["nextCursor"] = "page+/=%d" % (begin + self.page)
        return value

    def delete(self, match, request):
        pod = self.find(match.group(1))
        if pod.state == "TERMINATED":
            raise Refusal(404, problem(404, "pod not found"))
        if self.deaf > 0:
            self.deaf -= 1
        elif pod.gone is None:
            pod.gone = self.clock.now()
        return 204, None

    def get_keys(self, match, request):
        return {"keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== of-its-owner"]}

    def graphql(self, match, request):
        """Only the query that REST does not have."""
        query = "".join(json.loads(request.body).get("query", "").split())
        if query != "query{myself{clientBalance}}":
            return {"errors": [{"message": "Cannot query that field"}]}
        return {"data": {"myself": {"clientBalance": self.balance}}, **({"errors": self.errors} if self.errors else {})}

    # PUT would replace all of the owner's keys: no request may do that.
    routes = [("GET", re.compile("/v2/account/ssh-keys"), get_keys),
              ("POST", re.compile("/graphql"), graphql),
              ("GET", re.compile("/v2/catalog/gpus"), get_gpus),
              ("GET", re.compile("/v2/pods"), get_pods),
              ("POST", re.compile("/v2/pods"), create),
              ("GET", re.compile("/v2/pods/([0-9a-z]+)"), get_pod),
              ("DELETE", re.compile("/v2/pods/([0-9a-z]+)"), delete)]
