# SPDX-License-Identifier: Apache-2.0
"""Vast.ai's API as far as kolm and vastai 1.9.1 use it: searches, asks, instances, their keys. State, costs, errors; it rejects what
Vast.ai rejects. Instances are accounts on loopback if a port for them is given."""
import json
import re
import time
import urllib.parse

from cloud import Machine, MachineCloud, Refusal

MONTH = 720  # hours
DOWN, UP = 10, 1  # gigabytes that a job moves to its machine and back, billed in addition to the hours


class Kind(tuple):
    """name, MiB per GPU, dollars an hour without storage, {more fields of the offer}"""


def kind(name, memory, price, **more):
    offer = {"verified": True, "external": False, "rentable": True, "rented": False, "num_gpus": 1, "cuda_max_good": 12.8, "disk_space": 400.0, "direct_port_count": 40,
             "storage_cost": 0.144, "inet_up_cost": 0.0, "inet_down_cost": 0.0, "reliability2": 0.99}
    return Kind((name, memory, price, {**offer, **more}))


# The cheapest do not fit: unverified, from an external marketplace, rented, not rentable, an old driver, no port, too little disk, two
# GPUs.
KINDS = (kind("RTX 3060", 12288, 0.04, verified=False), kind("RTX 3060", 12288, 0.04, external=True), kind("RTX 3060", 12288, 0.04, rented=True),
         kind("RTX 3060", 12288, 0.04, rentable=False), kind("Tesla V100", 16384, 0.05, cuda_max_good=12.2), kind("RTX 3060", 12288, 0.05, direct_port_count=0),
         kind("RTX 3060", 12288, 0.05, disk_space=20.0), kind("RTX 3090", 24576, 0.1, num_gpus=2),
         kind("RTX 3090", 24576, 0.14), kind("RTX A6000", 49140, 0.38, inet_down_cost=0.002, inet_up_cost=0.01), kind("A100 PCIE", 81920, 0.8), kind("H100 SXM", 81559, 1.9, inet_down_cost=0.003))
OPERATORS = {"eq": lambda a, b: a == b, "neq": lambda a, b: a != b, "lt": lambda a, b: a < b, "lte": lambda a, b: a <= b, "gt": lambda a, b: a > b, "gte": lambda a, b: a >= b,
             "in": lambda a, b: a in b, "notin": lambda a, b: a not in b}
# Fields of an ask: {field: what it must be}.
ASK = {"client_id": str, "image": (str, type(None)), "env": (dict, str, type(None)), "price": (int, float, type(None)), "disk": (int, float), "label": (str, type(None)),
       "extra": (str, type(None)), "onstart": (str, type(None)), "image_login": (str, type(None)), "python_utf8": bool, "lang_utf8": bool, "use_jupyter_lab": bool,
       "jupyter_dir": (str, type(None)), "force": bool, "cancel_unavail": bool, "template_hash_id": (str, type(None)), "user": (str, type(None)), "runtype": str, "args": list,
       "target_state": str, "vm": bool, "volume_info": dict}
RUNTYPES = {"ssh", "ssh_direc", "ssh_proxy", "jupyter", "jupyter_direc", "jupyter_proxy", "args"}
CODES = {400: "invalid_args", 401: "auth_error", 402: "insufficient_credit", 403: "forbidden", 404: "no_such_instance", 410: "no_such_ask", 429: "too_many_requests"}


def error(status, message, code=None):
    return {"success": False, "error": code or CODES.get(status, "error_%d" % status), "msg": message}


class Instance(Machine):
    def __init__(self, cloud, number, kind_, body):
        offer = kind_[3]
        super().__init__(cloud, body.get("label"), kind_[2] + offer["storage_cost"] * body.get("disk", 10) / MONTH)
        self.id, self.kind, self.body, self.state, self.gone, self.public, self.keys = number, kind_, body, None, None, None, []
        self.traffic = DOWN * offer["inet_down_cost"] + UP * offer["inet_up_cost"]
        self.started = time.time()

    def bill(self):
        return super().bill() + self.traffic


class Vast(MachineCloud):
    """key: the token. limited: minimum pauses between requests to one address are enforced. page: instances per answer. word: actual_status
    of a booting instance, if not a documented one. direct: whether it has its own port, or only the proxy's. refuses: how a launch is
    refused for lack of capacity: "gone" (404 no_such_ask), "200" (success false), "stopped" (an error, and a stopped instance with a
    new_contract). attach_fails: how many keys are refused. credit: that of the account, whose id is user. tells_credit: whether it is
    reported."""

    def __init__(self, key="0123456789abcdef" * 4, boot=0, port=None):
        self.limited, self.page, self.word, self.direct, self.refuses, self.attach_fails, self.credit, self.user = False, 25, None, True, "gone", 0, 25.0, 1
        self.tells_credit = True
        self.asked, self.next_id, self.proxy = {}, 28100001, ("ssh4.vast.ai", 10022, "ssh")
        super().__init__(key, boot, port)

    def api(self):
        return self.url()

    def error(self, status):
        return error(status, "refused with %d" % status)

    def authorized(self, request):
        if request.headers.get("authorization", "") != "Bearer " + self.key or "api_key=" in request.target:
            raise Refusal(401, error(401, "Invalid user key"))

    def pace(self, what, seconds):
        now = self.clock.now()
        if self.limited and now - self.asked.get(what, -1e9) < seconds:
            raise Refusal(429, "API requests too frequent: endpoint threshold=%s" % seconds)
        self.asked[what] = now

    def read(self, request):
        try:
            value = json.loads(request.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Refusal(400, error(400, "the body is not an object"))
        return value

    def get_user(self, match, request):
        money = {"balance": 0, "credit": self.credit} if self.tells_credit else {}
        return {"id": self.user, "email": "me@example.org", **money, "ssh_key": None, "username": "me", "balance_threshold": 0}

    def get_names(self, match, request):
        return {"gpu_names": sorted({one[0] for one in KINDS})}

    # ---- Offers

    def search(self, match, request):
        query = self.read(request)
        storage, order, limit = query.pop("allocated_storage", 5.0), query.pop("order", []), query.pop("limit", None)
        if query.pop("type", "on-demand") not in ("on-demand", "ask") or isinstance(storage, bool) or not isinstance(storage, (int, float)):
            raise Refusal(400, error(400, "type or allocated_storage"))
        offers = [self.offer_json(number, one, storage) for number, one in enumerate(KINDS)]
        fields = set(offers[0])
        for field, rules in query.items():
            if not isinstance(rules, dict) or field not in fields:
                raise Refusal(400, error(400, "unknown filter " + field, "invalid_args"))
            for operator, wanted in rules.items():
                if operator not in OPERATORS:
                    raise Refusal(400, error(400, "unknown operator " + operator, "invalid_args"))
                offers = [one for one in offers if OPERATORS[operator](one[field], self.like(one[field], wanted))]
        for field, way in reversed(order):
            offers.sort(key=lambda one: one.get(field) or 0, reverse=way == "desc")  # pylint: disable=cell-var-from-loop
        return {"offers": offers[:limit]}

    @staticmethod
    def like(value, wanted):
        """A number may be requested as text."""
        return float(wanted) if isinstance(wanted, str) and isinstance(value, (int, float)) else wanted

    def offer_json(self, number, one, storage):
        name, memory, price, offer = one
        total = price + offer["storage_cost"] * storage / MONTH
        return {**offer, "id": 9000001 + number, "ask_contract_id": 9000001 + number, "machine_id": 100 + number, "host_id": 10 + number, "gpu_name": name, "gpu_ram": memory,
                "gpu_total_ram": memory * offer["num_gpus"], "dph_base": price, "dph_total": total, "min_bid": price / 2, "geolocation": "Sweden, SE", "score": 100 / price,
                "cpu_cores": None, "cpu_cores_effective": 8.0, "cpu_ram": 64000, "inet_up": 800.0, "inet_down": 900.0, "dlperf": 20.0, "dlperf_per_dphtotal": 50.0, "gpu_frac": 1.0,
                "pcie_bw": 12.0, "duration": 864000.0, "cpu_name": "EPYC", "cpu_arch": "amd64", "verification": "verified" if offer["verified"] else "unverified", "compute_cap": 860,
                "driver_version": "570.1", "static_ip": True, "datacenter": False, "hosting_type": 0, "disk_bw": 900.0, "total_flops": 30.0, "vericode": 0, "has_avx": 1}

    def create(self, match, request):
        self.pace("create", 4.5)
        value, number = self.read(request), int(match.group(1)) - 9000001
        for name, given in value.items():
            allowed = ASK.get(name)
            if allowed is None or not isinstance(given, allowed) or (isinstance(given, bool) and bool not in (allowed if isinstance(allowed, tuple) else (allowed,))):
                raise Refusal(400, error(400, "%s is not what it must be" % name))
        if not value.get("image") or value.get("disk", 10) < 1 or not set(value.get("runtype", "ssh").split()) <= RUNTYPES or len(value.get("onstart") or "") > 4048:
            raise Refusal(400, error(400, "image, disk, runtype or onstart"))
        if not 0 <= number < len(KINDS) or KINDS[number][3]["rented"] or not KINDS[number][3]["rentable"]:
            raise Refusal(404, error(404, "there is no ask %s" % match.group(1), "no_such_ask"))
        if self.credit <= 0:
            raise Refusal(400, error(400, "Your account lacks credit", "insufficient_credit"))
        instance = Instance(self, self.next_id, KINDS[number], value)
        if KINDS[number][0] in self.no_capacity:
            return self.refuse(instance, value)
        self.next_id += 1
        self.rent(instance)
        return {"success": True, "new_contract": instance.id, "instance_api_key": "0" * 64}

    def refuse(self, instance, value):
        if self.refuses == "gone":
            raise Refusal(410, error(410, "no longer available", "no_such_ask"))
        if self.refuses == "200":
            return {"success": False, "error": "unavailable", "msg": "it cannot be scheduled"}
        self.next_id += 1
        instance.state = "stopped"
        self.rent(instance)
        raise Refusal(400, {**error(400, "the instance was created stopped", "invalid_price"), "new_contract": instance.id})

    # ---- Instances

    def advance(self, instance):
        now = self.clock.now()
        if instance.died is None and instance.gone is not None and now - instance.gone >= self.ends_in:
            instance.end()
        if instance.state in (None, "created", "loading"):
            age = now - instance.born
            instance.state = "loading" if age >= self.boot / 2 else "created" if age >= self.boot / 4 else None
            if not self.never_boots and age >= self.boot:
                instance.state, instance.price = "running", instance.price + self.risen / 100
        if self.dies is not None and now - instance.born >= self.dies:
            instance.state = "exited"

    def instance_json(self, one):
        self.advance(one)
        running, number = one.state == "running", str(self.port or 10022)
        ports = {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": number}, {"HostIp": "::", "HostPort": number}]} if running and self.direct else {}
        booting = one.state in (None, "created", "loading")
        host, port, runtype = self.proxy
        return {**self.offer_json(0, one.kind, one.body.get("disk", 10)), "id": one.id, "label": one.name, "actual_status": self.word if self.word and booting else one.state,
                "intended_status": "stopped" if one.state == "stopped" else "running", "cur_state": "stopped" if one.state == "stopped" else "running", "next_state": "running",
                "status_msg": None, "ssh_host": host, "ssh_port": port, "public_ipaddr": one.address + " ", "ports": ports, "image_runtype": runtype, "image_uuid": one.body["image"],
                "dph_total": one.price, "start_date": one.started, "extra_env": [], "gpu_util": 0.0, "uptime_mins": None, "disk_space": float(one.body.get("disk", 10)), "is_bid": False}

    def there(self):
        for one in self.instances:
            self.advance(one)
        return [one for one in self.instances if one.died is None and self.shows(one)]

    def find(self, match):
        return next((one for one in self.there() if one.id == int(match.group(1))), None)

    def get_instance(self, match, request):
        self.pace("show", 2)
        one = self.find(match)
        return {"instances": one and self.instance_json(one)}

    def get_instances(self, match, request):
        query = {name: values[-1] for name, values in urllib.parse.parse_qs(request.target.partition("?")[2]).items()}
        limit, after = query.get("limit", "25"), query.get("after_token")
        try:
            filters, order = json.loads(query.get("select_filters", "{}")), json.loads(query.get("order_by", "[]"))
            if not limit.isdigit() or not 1 <= int(limit) <= 25 or not isinstance(filters, dict) or not isinstance(order, list):
                raise ValueError(limit)
            begin = 0 if after is None else int(re.fullmatch(r"after\+/=(\d+)", after).group(1))
        except (ValueError, AttributeError):
            raise Refusal(400, error(400, "limit, select_filters, order_by or after_token")) from None
        rows = [one for one in map(self.instance_json, self.there())
                if all(OPERATORS[operator](one.get(field), wanted) for field, rules in filters.items() for operator, wanted in rules.items())]
        size = min(self.page, int(limit))
        more = begin + size < len(rows)
        return {"success": True, "instances_found": len(rows), "total_instances": len(rows), "label_counts": {}, "next_token": "after+/=%d" % (begin + size) if more else None,
                "instances": rows[begin:begin + size]}

    def get_filters(self, match, request):
        return {"success": True, "filters": []}

    def attach(self, match, request):
        self.pace("ssh", 1)
        one, key = self.find(match), self.read(request).get("ssh_key")
        if one is None:
            raise Refusal(404, error(404, "there is no such instance"))
        if not isinstance(key, str) or not re.match(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-\S+) AAAA\S+", key):
            raise Refusal(400, error(400, "ssh_key is no key"))
        if self.attach_fails > 0:
            self.attach_fails -= 1
            raise Refusal(400, error(400, "not now"))
        if key not in one.keys:
            one.keys.append(key)
            if one.public is None:
                one.public = key
                self.admit(one)
        return {"success": True, "key": {"id": len(one.keys), "public_key": key}}

    def delete(self, match, request):
        self.pace("destroy", 3)
        one = self.find(match)
        if one is None:
            raise Refusal(404, error(404, "there is no such instance"))
        if self.read(request) != {}:
            raise Refusal(400, error(400, "the body is not empty"))
        if self.deaf > 0:
            self.deaf -= 1
        elif one.gone is None:
            one.gone = self.clock.now()
        return {"success": True}

    # Keys of the account, bids, bulk launches, stops: no request may do that.
    routes = [("GET", re.compile("/api/v0/users/current/?"), get_user),
              ("GET", re.compile("/api/v0/gpu_names/unique/?"), get_names),
              ("POST", re.compile("/api/v0/bundles/?"), search),
              ("PUT", re.compile(r"/api/v0/asks/(\d+)/?"), create),
              ("GET", re.compile("/api/v1/instances/?"), get_instances),
              ("GET", re.compile("/api/v0/instances/filters/?"), get_filters),
              ("GET", re.compile(r"/api/v0/instances/(\d+)/?"), get_instance),
              ("POST", re.compile(r"/api/v0/instances/(\d+)/ssh/?"), attach),
              ("DELETE", re.compile(r"/api/v0/instances/(\d+)/?"), delete)]
