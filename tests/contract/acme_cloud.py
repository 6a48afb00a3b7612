# SPDX-License-Identifier: Apache-2.0
"""ACME, the provider of examples/backends/acme: its API, its machines, which are accounts on loopback, and their cost."""
import json
import re
import subprocess
import uuid

from cloud import Machine, MachineCloud, Refusal

CODES = {400: "invalid", 401: "bad_token", 402: "no_credit", 403: "not_allowed", 404: "no_such_machine", 409: "no_capacity", 410: "retired", 422: "invalid",
         429: "too_many_requests"}
# id, GPU, gigabytes of memory and disk, dollars an hour, whether one is free
OFFERS = (("a10.oslo", "A10", 24, 500, 0.60, True), ("t4.oslo", "T4", 16, 200, 0.30, False), ("a40.lund", "A40", 48, 500, 1.10, True),
          ("h100.oslo", "H100", 80, 1000, 2.40, True), ("h200.lund", "H200", 141, 1000, 3.20, True))
FIELDS = {"offer", "name", "public_key"}


class Rented(Machine):
    def __init__(self, cloud, kind, name, public):
        super().__init__(cloud, name, kind[4])
        self.id, self.kind, self.public, self.state, self.ending = "m-" + uuid.uuid4().hex[:12], kind, public, "starting", None


class Acme(MachineCloud):
    """key: the token. limited: more than six requests in ten seconds are rejected. lies: it reports a wrong host key."""
    def __init__(self, key="acme_kolm-test_0123456789abcdef", boot=0, port=None):
        self.limited, self.lies = False, False
        super().__init__(key, boot, port)

    def api(self):
        return self.url() + "/v1"

    def error(self, status):
        return {"code": CODES.get(status, "internal"), "message": "refused with %d" % status}

    def authorized(self, request):
        if request.headers.get("authorization") != "Bearer " + self.key:
            raise Refusal(401, self.error(401))
        if self.limited and len([at for at in self.times if self.clock.now() - at < 10]) > 6:
            raise Refusal(429, self.error(429))

    def advance(self, machine):
        now = self.clock.now()
        if machine.state == "starting" and self.is_booted(machine):
            machine.state, machine.price = "running", machine.price + self.risen / 100
        if self.dies is not None and now - machine.born >= self.dies and machine.state in ("starting", "running"):
            machine.state, machine.ending = "ending", now
        if machine.ending is not None and now - machine.ending >= self.ends_in:
            machine.state = "ended"
            machine.end()

    def fingerprint(self, machine):
        if machine.box is None or self.lies:
            return "SHA256:" + "A" * 43
        return subprocess.check_output(["ssh-keygen", "-l", "-f", machine.box.host_key + ".pub"], text=True).split(" ")[1]

    def shown(self, machine):
        self.advance(machine)
        value = {"id": machine.id, "name": machine.name, "state": machine.state, "usd_per_hour": machine.price}
        if machine.state == "running":
            value.update(host=machine.address, port=self.port or 22, host_key=self.fingerprint(machine))
        return value

    def get_offers(self, match, request):
        return {"offers": [{"id": one[0], "gpu": one[1], "memory_gb": one[2], "disk_gb": one[3], "region": one[0].split(".")[1], "usd_per_hour": one[4], "free": one[5]}
                           for one in OFFERS]}

    def create(self, match, request):
        try:
            value = json.loads(request.body)
        except ValueError:
            raise Refusal(400, self.error(400)) from None
        kind = next((one for one in OFFERS if isinstance(value, dict) and one[0] == value.get("offer")), None)
        if kind is None or set(value) != FIELDS or not re.fullmatch(r"[a-z0-9-]{1,60}", str(value["name"])) or not str(value["public_key"]).startswith("ssh-ed25519 "):
            raise Refusal(422, self.error(422))
        if not kind[5] or kind[0] in self.no_capacity:
            raise Refusal(409, self.error(409))
        machine = Rented(self, kind, value["name"], value["public_key"])
        self.rent(machine)
        return 201, self.shown(machine)

    def find(self, match):
        for machine in self.instances:
            self.advance(machine)
            if machine.id == match.group(1) and self.shows(machine):
                return machine
        raise Refusal(404, self.error(404))

    def get_machine(self, match, request):
        return self.shown(self.find(match))

    def get_machines(self, match, request):
        return {"machines": [self.shown(one) for one in self.instances if self.shows(one) and one.state != "ended"]}

    def delete(self, match, request):
        machine = self.find(match)
        if self.deaf > 0:
            self.deaf -= 1
        elif machine.ending is None:
            machine.state, machine.ending = "ending", self.clock.now()
        return 204, None

    routes = [("GET", re.compile("/v1/offers"), get_offers),
              ("GET", re.compile("/v1/machines"), get_machines),
              ("POST", re.compile("/v1/machines"), create),
              ("GET", re.compile("/v1/machines/([0-9a-z-]+)"), get_machine),
              ("DELETE", re.compile("/v1/machines/([0-9a-z-]+)"), delete)]
