# SPDX-License-Identifier: Apache-2.0
"""Lambda's cloud API 1.10 as far as kolm and its own clients use it: state, costs, limits, errors; it rejects what Lambda rejects. Machines
are accounts on loopback if a port for them is given."""
import base64
import json
import re
import uuid

from cloud import Machine, MachineCloud, Refusal

CODES = {400: "global/invalid-parameters", 401: "global/invalid-api-key", 403: "global/account-inactive", 404: "global/object-does-not-exist",
         500: "global/internal-error"}
REGIONS = ("us-east-1", "us-west-1", "europe-central-1", "asia-northeast-1", "me-west-1")
# name, GPU, cents, GPUs, regions with capacity. Includes an old one whose description lacks the memory, one without a GPU, and one with an
# ARM processor.
TYPES = (("gpu_1x_a10", "A10 (24 GB PCIe)", 75, 1, ("us-east-1", "us-west-1")),
         ("gpu_1x_rtx6000", "RTX 6000", 50, 1, ()),
         ("gpu_1x_a100_sxm4", "A100 (40 GB SXM4)", 129, 1, ("us-west-1",)),
         ("gpu_1x_h100_pcie", "H100 (80 GB PCIe)", 249, 1, ("us-west-1", "europe-central-1")),
         ("gpu_1x_gh200", "GH200 (96 GB)", 40, 1, ("us-east-1",)),
         ("gpu_8x_h100_sxm5", "H100 (80 GB SXM5)", 2392, 8, ("us-east-1",)),
         ("cpu_4x_general", "N/A", 20, 0, ("us-east-1",)))
LAUNCH_FIELDS = {"region_name", "instance_type_name", "ssh_key_names", "file_system_names", "file_system_mounts", "hostname", "name", "image", "user_data", "tags",
                 "firewall_rulesets"}


def error(code, message, suggestion=None):
    value = {"code": code, "message": message}
    if suggestion:
        value["suggestion"] = suggestion
    return {"error": value}


def bad(message):
    return Refusal(400, error("global/invalid-parameters", message))


def missing(what):
    return Refusal(404, error("global/object-does-not-exist", "%s does not exist." % what))


class Instance(Machine):
    def __init__(self, cloud, kind, region, name, keys):
        super().__init__(cloud, name, kind[2] / 100)
        self.id, self.kind, self.region, self.keys = uuid.uuid4().hex, kind, region, keys
        self.state, self.cents = "booting", kind[2]
        self.public = next(key["public_key"] for key in cloud.keys if key["name"] == keys[0])


class Lambda(MachineCloud):
    """key: the token. limited: one launch in 12 seconds, as at Lambda."""
    def __init__(self, key="secret_kolm-test_0123456789abcdef.0123456789", boot=0, port=None):
        self.keys, self.last_launch, self.limited = [], None, False
        super().__init__(key, boot, port)

    def api(self):
        return self.url() + "/api/v1"

    def error(self, status):
        return error(CODES.get(status, "global/internal-error"), "Refused with %d." % status)

    def authorized(self, request):
        given = request.headers.get("authorization", "")
        basic = "Basic " + base64.b64encode((self.key + ":").encode()).decode()
        if given not in ("Bearer " + self.key, basic):
            raise Refusal(401, error("global/invalid-api-key", "API key was invalid, expired, or deleted.", "Check your API key or create a new one, then try again."))

    # ---- Answers

    def type_json(self, kind, cents=None):
        return {"name": kind[0], "description": "%dx %s" % (kind[3], kind[1]), "gpu_description": kind[1], "price_cents_per_hour": cents or kind[2],
                "specs": {"vcpus": 30, "memory_gib": 200, "storage_gib": 1400, "gpus": kind[3]}}

    def advance(self, instance):
        age = self.clock.now() - instance.born
        if instance.state == "terminating" and self.clock.now() - instance.ending >= self.ends_in:
            instance.state = "terminated"
            instance.end()
        if instance.state == "booting" and self.is_booted(instance):
            instance.state, instance.cents = "active", instance.cents + self.risen
            instance.price = instance.cents / 100
        if self.dies is not None and age >= self.dies and instance.state in ("booting", "active"):
            instance.state = "unhealthy"

    def instance_json(self, instance):
        self.advance(instance)
        no = {"available": False, "reason_code": "vm-has-not-launched", "reason_description": "The VM has not launched."}
        yes = {"available": True}
        able = yes if instance.state == "active" else no
        value = {"id": instance.id, "name": instance.name, "status": instance.state, "ssh_key_names": instance.keys, "file_system_names": [],
                 "region": {"name": instance.region, "description": instance.region}, "instance_type": self.type_json(instance.kind, instance.cents),
                 "hostname": instance.id[:12], "tags": [], "is_reserved": False,
                 "actions": {"migrate": no, "rebuild": no, "restart": able, "cold_reboot": able, "terminate": yes}}
        if instance.state == "active" and instance.address:
            value["ip"] = instance.address
        return value

    # ---- Requests

    def get_types(self, match, request):
        regions = {kind[0]: [{"name": name, "description": name} for name in kind[4]] for kind in TYPES}
        return {"data": {kind[0]: {"instance_type": self.type_json(kind), "regions_with_capacity_available": regions[kind[0]]} for kind in TYPES}}

    def get_instances(self, match, request):
        for instance in self.instances:
            self.advance(instance)
        return {"data": [self.instance_json(i) for i in self.instances if self.shows(i) and i.state != "terminated"]}

    def find(self, identity):
        for instance in self.instances:
            if instance.id == identity and self.shows(instance):
                return instance
        raise missing("Instance")

    def get_instance(self, match, request):
        return {"data": self.instance_json(self.find(match.group(1)))}

    def body(self, request, needed, allowed):
        try:
            value = json.loads(request.body)
        except ValueError:
            raise bad("The body is not JSON.")
        if not isinstance(value, dict):
            raise bad("The body is not an object.")
        for name in needed:
            if name not in value:
                raise bad("%s: Field required" % name)
        for name in value:
            if name not in allowed:
                raise bad("%s: Extra inputs are not permitted" % name)
        return value

    def launch(self, match, request):
        value = self.body(request, ("region_name", "instance_type_name", "ssh_key_names"), LAUNCH_FIELDS)
        kind = next((kind for kind in TYPES if kind[0] == value["instance_type_name"]), None)
        keys = value["ssh_key_names"]
        if not isinstance(keys, list) or len(keys) != 1 or not isinstance(keys[0], str):
            raise bad("ssh_key_names: Exactly one SSH key must be specified")
        if not isinstance(value.get("name", ""), str) or len(value.get("name", "")) > 64:
            raise bad("name: at most 64 characters")
        if value["region_name"] not in REGIONS:
            raise bad("region_name: no such region")
        if kind is None:
            raise missing("Instance type")
        if keys[0] not in [key["name"] for key in self.keys]:
            raise missing("SSH key")
        now = self.clock.now()
        if self.limited and self.last_launch is not None and now - self.last_launch < 12:
            raise Refusal(429, error("global/too-many-requests", "You may launch one instance every 12 seconds."))
        self.last_launch = now
        if value["region_name"] not in kind[4] or kind[0] in self.no_capacity:
            raise Refusal(400, error("instance-operations/launch/insufficient-capacity", "Not enough capacity to fulfill launch request."))
        instance = Instance(self, kind, value["region_name"], value.get("name"), keys)
        self.rent(instance)
        return {"data": {"instance_ids": [instance.id]}}

    def terminate(self, match, request):
        value = self.body(request, ("instance_ids",), {"instance_ids"})
        ids = value["instance_ids"]
        if not isinstance(ids, list) or not ids:
            raise bad("instance_ids: at least one")
        found = [self.find(identity) for identity in ids]
        for instance in found:
            if self.deaf > 0:
                self.deaf -= 1
            elif instance.state not in ("terminating", "terminated"):
                instance.state, instance.ending = "terminating", self.clock.now()
        return {"data": {"terminated_instances": [self.instance_json(instance) for instance in found]}}

    def get_keys(self, match, request):
        return {"data": self.keys}

    def add_key(self, match, request):
        value = self.body(request, ("name",), {"name", "public_key"})
        if not re.fullmatch(r"[\w.-]{1,64}", str(value["name"])):
            raise bad("name: letters, digits, dots, underscores and dashes")
        if not re.fullmatch(r"ssh-(ed25519|rsa) [A-Za-z0-9+/=]+( [ -~]*)?", str(value.get("public_key", ""))):
            raise bad("public_key: not a public key")
        if value["name"] in [key["name"] for key in self.keys]:
            raise Refusal(400, error("global/duplicate", "An SSH key of that name exists."))
        key = {"id": uuid.uuid4().hex, "name": value["name"], "public_key": value["public_key"]}
        self.keys.append(key)
        return {"data": key}

    def delete_key(self, match, request):
        before = len(self.keys)
        self.keys = [key for key in self.keys if key["id"] != match.group(1)]
        if len(self.keys) == before:
            raise Refusal(404, error("global/object-does-not-exist", "SSH key does not exist."))
        return {"data": {}}

    def get_none(self, match, request):
        return {"data": []}

    routes = [("GET", re.compile("/api/v1/instance-types"), get_types),
              ("GET", re.compile("/api/v1/instances"), get_instances),
              ("GET", re.compile("/api/v1/instances/([0-9a-f]+)"), get_instance),
              ("POST", re.compile("/api/v1/instance-operations/launch"), launch),
              ("POST", re.compile("/api/v1/instance-operations/terminate"), terminate),
              ("GET", re.compile("/api/v1/ssh-keys"), get_keys),
              ("POST", re.compile("/api/v1/ssh-keys"), add_key),
              ("DELETE", re.compile("/api/v1/ssh-keys/([0-9a-f]+)"), delete_key),
              ("GET", re.compile("/api/v1/(?:images|file-systems)"), get_none)]

    def key_names(self):
        return [key["name"] for key in self.keys]
