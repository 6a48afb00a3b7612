# SPDX-License-Identifier: Apache-2.0
"""Modal's control plane and its command router as far as kolm and its official client use them: apps, images, V1 sandboxes, programs in
them. State, costs, errors; it rejects what Modal rejects. A sandbox is a directory on this machine; if there is a port for real ones, its
programs really run there."""
import base64
import json
import os
import secrets
import shutil
import struct
import subprocess
import tempfile
import threading
import time

import http2_server as h2
from cloud import Machine, MachineCloud, Refusal, end_account
from modal_words import SCHEMA

CLIENT, ROUTER = "/modal.client.ModalClient/", "/modal.task_command_router.TaskCommandRouter/"
SUCCESS, FAILURE, TERMINATED, TIMEOUT, INIT_FAILURE, INTERNAL_FAILURE, IDLE_TIMEOUT, EVICTION, THRASHING, OOM = range(1, 11)
# By type: gigabytes, dollars an hour.
GPUS = {"T4": (16, 0.59), "L4": (24, 0.80), "A10": (24, 1.10), "L40S": (48, 1.95), "A100-40GB": (40, 2.10), "A100-80GB": (80, 2.50), "H100": (80, 3.95),
        "H200": (141, 4.54), "B200": (192, 6.25), "RTX-PRO-6000": (96, 3.03)}
CPU, MEMORY = 0.1419, 0.0242  # dollars an hour for a core and a GiB of a sandbox
STATUSES = {400: 3, 401: 16, 402: 8, 403: 7, 404: 5, 408: 4, 409: 6, 422: 3, 429: 8, 500: 13, 501: 12, 503: 14, 504: 4}
CREATE_IF_MISSING, ANONYMOUS = 1, 4


class No(Refusal):
    """A refusal with a gRPC status."""
    def __init__(self, status, words):
        super().__init__(status, words)


class Program:
    """A program that runs in a sandbox, and its output. Its input is stored by offset, so that repeated writes count once."""
    def __init__(self, words, home, env):
        self.said, self.ended, self.more = [bytearray(), bytearray()], [False, False], threading.Condition()
        self.taken, self.lock = 0, threading.Lock()
        self.process = subprocess.Popen(words, cwd=home, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, start_new_session=True)
        for number, pipe in enumerate((self.process.stdout, self.process.stderr)):
            threading.Thread(target=self.listen, args=(number, pipe), daemon=True).start()

    def listen(self, number, pipe):
        while True:
            data = pipe.read(65536)
            with self.more:
                self.said[number] += data or b""
                self.ended[number] = not data
                self.more.notify_all()
            if not data:
                pipe.close()
                if number == 0:
                    self.process.wait()
                return

    def write(self, offset, data, last):
        with self.lock:
            if offset > self.taken:
                raise No(11, "offset %d is beyond %d" % (offset, self.taken))
            data = data[self.taken - offset:]
            try:
                while data:
                    n = self.process.stdin.write(data)
                    self.taken += n
                    data = data[n:]
                if last:
                    self.process.stdin.close()
            except (OSError, ValueError):
                raise No(9, "the process does not read any more") from None


class Sandbox(Machine):
    def __init__(self, cloud, request, key):
        definition = request["definition"]
        resources = definition.get("resources", {})
        gpu = resources.get("gpu_config", {}).get("gpu_type", "")
        cores, memory = resources.get("milli_cpu", 125) / 1000, resources.get("memory_mb", 128) / 1024
        super().__init__(cloud, definition.get("name", ""), (GPUS[gpu][1] if gpu else 0) + cores * CPU + memory * MEMORY)
        self.id, self.task, self.key = "sb-" + secrets.token_hex(11), "ta-" + secrets.token_hex(11), key
        self.kind, self.body, self.request, self.created = (gpu,), definition, request, time.time()
        self.result, self.going, self.public, self.state, self.programs, self.raised = None, None, None, "", {}, False

    def end(self):
        for program in self.programs.values():
            program.process.kill()
        super().end()


class Box:
    """The directory of a real sandbox."""
    def __init__(self, cloud):
        self.dir = tempfile.mkdtemp(prefix="kolm-sandbox-")
        self.home, self.cloud = os.path.join(self.dir, "root"), cloud
        os.mkdir(self.home)
        self.env = {"HOME": self.home, "PATH": cloud.box_path, "LANG": "C.UTF-8"}

    def stop(self):
        """Does nothing, because end_account ends what runs in it."""

    def cut(self):
        for link in list(self.cloud.server.links):
            link.sever()


class Modal(MachineCloud):
    """key: id and secret of the token, with a colon. limited: ten calls a minute, then it asks to wait. builds: whether images must be
    built first. timeout: what a sandbox really gets, if not as requested. result: the final status of a sandbox that dies."""
    def __init__(self, key="ak-kolm-test:as-0123456789abcdef", boot=0, port=None):
        self.limited, self.builds, self.timeout, self.result, self.expires, self.page = False, True, None, INTERNAL_FAILURE, None, 50
        self.images, self.apps, self.throttled, self.box_path = {}, {}, 0, "/usr/bin:/bin"
        self.told = None  # the rates to report instead of all
        self.environments = {"main": "en-" + secrets.token_hex(11)}
        super().__init__(key, boot, port)

    def serve(self):
        return h2.Server(self.take)

    def api(self):
        return self.url()

    # ---- Calls

    def take(self, call):
        call.more = [("date", self.date())]
        with self.lock:
            number = len(self.requests)
            self.requests.append(("POST", call.path))
            self.times.append(self.clock.now())
            fault = self.faults.get(number) or (self.always(call) if self.always else None)
        if fault is None:
            return self.reply_to(call)
        return self.spoil(fault, call, number)

    def reply_to(self, call):
        try:
            function, answer = self.function_of(call)
            result = function(call)
            if answer:
                call.send(SCHEMA.write(answer, result or {}))
            call.end()
        except Refusal as refusal:
            more = []
            if refusal.status == 8 and self.throttled:
                more = [("grpc-status-details-bin", self.wish(1))]
            call.end(refusal.status, refusal.body.replace("%", "%25").replace(" ", "%20"), more)

    def wish(self, seconds):
        """Returns a request to retry after these seconds."""
        detail = {"type_url": "type.modal.com/modal.client.RPCRetryPolicy", "value": SCHEMA.write("RPCRetryPolicy", {"retry_after_secs": seconds})}
        return base64.b64encode(SCHEMA.write("RPCStatus", {"code": 8, "message": "wait", "details": [detail]})).decode().rstrip("=")

    def done_by(self, call):
        """Executes a call without answering it; returns its status and message."""
        try:
            function, answer = self.function_of(call)
            result = function(call)
            return 0, SCHEMA.write(answer, result or {}) if answer else b""
        except Refusal as refusal:
            return refusal.status, b""

    def spoil(self, fault, call, number):
        kind, more = fault.kind, []
        if fault.retry_after is not None:
            more = [("grpc-status-details-bin", self.wish(2 if not isinstance(fault.retry_after, int) else fault.retry_after))]
        if kind == "refuse":
            return call.sever()
        if kind == "html":
            return call.refuse_in_http(404, b"<html><body>Not here</body></html>", [("content-type", "text/html")])
        if kind == "error-200":
            return call.refuse_in_http(200, b'{"error": "not now"}', [("content-type", "application/json")])
        if kind in (410, 502):
            return call.refuse_in_http(kind)
        if isinstance(kind, int):
            return call.end(STATUSES[kind], "refused%%20with%%20%d" % kind, more)
        if isinstance(kind, tuple) and kind[0] == "status":
            return call.end(kind[1], "refused%%20with%%20status%%20%d" % kind[1], more)
        if kind == "break":
            return call.break_off()
        status, message = self.done_by(call)
        if self.spoil_message(kind, status, message, call):
            return None
        if kind == "lose":
            return call.sever()
        if kind == "no-status":
            call.send(message)
            return call.end_without_status()
        if kind == "cut":
            call.send_bytes(b"\x00\x00\x00\x00" + bytes([min(255, len(message) + 5)]) + message)
            return call.sever()
        if kind == "malformed":
            call.send_bytes(b"<html>no frame</html>") if number % 2 else call.send(b"\xff" * 20)
            return call.end()
        if kind == "huge":
            call.send_bytes(b"\x00\x02\x00\x00\x00")
            while True:
                call.send_bytes(b" " * 65536)
        if kind == "slow":
            self.server.over.wait(0.3)
        elif isinstance(kind, tuple):
            return call.end(STATUSES.get(kind[1], 14), "after%20all", more)
        if status == 0:
            call.send(message)
        return call.end(status)

    @staticmethod
    def spoil_message(kind, status, message, call):
        """Faults specific to gRPC, after the call was executed. Returns whether the fault is one of these."""
        if isinstance(kind, tuple) and kind[0] == "done-status":
            call.end(kind[1], "after%20all")
        elif kind == "break-done":
            call.send_bytes(b"\x00\x00\x00")
            call.break_off()
        elif kind == "goaway":  # this call is answered, but no other on this connection
            call.link.frame(h2.GOAWAY, 0, 0, struct.pack(">II", call.number, 0))
            if status == 0:
                call.send(message)
            call.end(status)
        elif kind == "compressed":
            call.send_bytes(b"\x01" + struct.pack(">I", len(message)) + message)
            call.end()
        elif kind == "two":
            call.send(message)
            call.send(message)
            call.end(status)
        elif kind == "none":
            call.begin()
            call.end()
        elif kind == "status-text":
            call.send(message)
            call.begin()
            call.link.write_headers(call, [("grpc-status", "fine")], True)
        else:
            return False
        return True

    def function_of(self, call):
        name = call.path.rpartition("/")[2]
        if call.path.startswith(CLIENT):
            self.authorized(call)
        elif call.path.startswith(ROUTER):
            if not any(call.headers.get("authorization") == "Bearer " + self.jwt(one) for one in self.instances):
                raise No(16, "the token is not of a task")
            if "x-modal-token-id" in call.headers or "x-modal-token-secret" in call.headers:
                raise No(3, "the account's token does not belong here")
        found = ROUTES.get(call.path)
        if found is None:
            raise No(12, "Method not found: " + name)
        function, asked, answer = found
        try:
            message = SCHEMA.read(asked, call.message())
        except (ValueError, IndexError, KeyError) as error:
            raise No(13, "cannot be read: %s" % error) from None

        def run(_):
            if call.path in STREAMS or call.path in SLOW:
                return function(self, message, call)
            with self.lock:
                return function(self, message, call)
        return run, None if call.path in STREAMS else answer

    def authorized(self, call):
        identity, _, secret = self.key.partition(":")
        for name in ("x-modal-client-type", "x-modal-client-version"):
            if name not in call.headers:
                raise No(3, "Missing metadata: " + name)
        if "x-modal-token-id" not in call.headers or "x-modal-token-secret" not in call.headers:
            raise No(16, "Token missing. Could not authenticate client.")
        if (call.headers["x-modal-token-id"], call.headers["x-modal-token-secret"]) != (identity, secret):
            raise No(16, "Token ID is malformed or not known")
        now = self.clock.now()
        with self.lock:
            self.throttled = self.limited and len([at for at in self.times if now - at < 60]) > 20
            if self.throttled:
                raise No(8, "too many calls")

    # ---- The account

    def hello(self, message, call):
        return {"image_builder_version": "2025.06"}

    def token(self, message, call):
        answer = {"token_id": self.key.partition(":")[0], "workspace_id": "ac-1", "workspace_name": "kolm-tests", "created_at": {"seconds": 1700000000}, "token_name": "t"}
        if self.expires is not None:
            answer["expires_at"] = {"seconds": self.expires}
        return answer

    def workspace(self, message, call):
        return {"workspace_name": "kolm-tests", "username": "kolm-tests"}

    def auth_token(self, message, call):
        return {"token": jwt({"exp": int(time.time()) + 3600})}

    def rates(self, message, call):
        if self.told is not None:
            return {"rates": self.told}
        risen = self.risen / 100 if any(self.advance(one) or self.is_booted(one) for one in self.instances) else 0
        rates = {"gpu_" + name.lower().replace("-", "_"): "%.4f" % (price + risen) for name, (_, price) in GPUS.items()}
        return {"rates": {**rates, "sandbox_cpu_core": str(CPU), "sandbox_memory_gib": str(MEMORY), "volume_storage": "0.09"}}

    # ---- Prerequisites of a sandbox

    def environment(self, name):
        name = name or "main"
        if name not in self.environments:
            raise No(5, "No Environment with that name found")
        return name

    def app(self, message, call):
        name = (self.environment(message.get("environment_name", "")), message.get("app_name", ""))
        if message.get("object_creation_type", 0) not in (0, CREATE_IF_MISSING):
            raise No(3, "this server makes no such app")
        if name not in self.apps and message.get("object_creation_type", 0) != CREATE_IF_MISSING:
            raise No(5, "App not found")
        return {"app_id": self.apps.setdefault(name, "ap-%d" % len(self.apps))}

    def get_environment(self, message, call):
        name = self.environment(message.get("deployment_name", ""))
        return {"environment_id": self.environments[name], "metadata": {"name": name, "settings": {"image_builder_version": "2025.06"}}}

    def image(self, message, call):
        lines = message.get("image", {}).get("dockerfile_commands", [])
        bases = message.get("image", {}).get("base_images", [])
        if message.get("app_id") not in self.apps.values():
            raise No(3, "app_id is not known")
        if not lines or message.get("builder_version") != "2025.06":
            raise No(3, "an image needs commands and the builder's version")
        key = json.dumps([lines, bases])
        known = key in self.images
        self.images.setdefault(key, "im-%d" % len(self.images))
        status = FAILURE if "no/such" in lines[0] else SUCCESS
        return {"image_id": self.images[key], **({"result": self.built(status)} if known or not self.builds else {})}

    def built(self, status):
        return {"status": status, **({"exception": "the registry has no such image"} if status != SUCCESS else {})}

    def join(self, message, call):
        key = next((key for key, value in self.images.items() if value == message.get("image_id")), None)
        if key is None:
            raise No(5, "Image not found")
        call.send(SCHEMA.write("ImageJoinStreamingResponse", {"task_logs": [{"data": "Building\n"}], "entry_id": "1-1"}))
        call.send(SCHEMA.write("ImageJoinStreamingResponse", {"result": self.built(FAILURE if "no/such" in key else SUCCESS)}))

    def secret(self, message, call):
        return {"secret_id": "st-" + secrets.token_hex(4)}

    # ---- Sandboxes

    def create(self, message, call):
        definition, key = message.get("definition", {}), call.headers.get("x-idempotency-key")
        before = next((one for one in self.instances if key and one.key == key), None)
        if before:
            return {"sandbox_id": before.id}
        self.check(message, definition)
        if any(one.name and one.name == definition.get("name") and self.advance(one) is None and one.result is None for one in self.instances):
            raise No(6, "Sandbox with that name already exists")
        gpu = definition["resources"].get("gpu_config", {}).get("gpu_type", "")
        if gpu in self.no_capacity:
            raise No(8, "no capacity for %s" % gpu)
        sandbox = Sandbox(self, message, key)
        self.rent(sandbox)
        if self.port is not None:
            sandbox.box = Box(self)
        return {"sandbox_id": sandbox.id}

    def check(self, message, definition):
        resources, gpu = definition.get("resources", {}), definition.get("resources", {}).get("gpu_config", {})
        if message.get("app_id") not in self.apps.values():
            raise No(3, "app_id is not known")
        if definition.get("image_id") not in self.images.values():
            raise No(3, "image_id is not known")
        if not 1 <= definition.get("timeout_secs", 300) <= 86400:
            raise No(3, "timeout_secs must be between 1 and 86400")
        if len(definition.get("name", "")) > 63:
            raise No(3, "name is too long")
        if gpu and (gpu.get("gpu_type") not in GPUS or not 1 <= gpu.get("count", 0) <= 8 or gpu.get("type", 0) != 0):
            raise No(3, "GPU type %s is not known" % gpu.get("gpu_type"))
        if resources.get("memory_mb_max", 0) and resources["memory_mb_max"] < resources.get("memory_mb", 0):
            raise No(3, "memory_mb_max is below memory_mb")

    def limit(self, sandbox):
        return self.timeout if self.timeout is not None else sandbox.body.get("timeout_secs", 300)

    def finish(self, sandbox, status, words="", code=0):
        sandbox.result = {"status": status, **({"exception": words} if words else {}), **({"exitcode": code} if code else {})}
        sandbox.end()

    def advance(self, sandbox):
        age = self.clock.now() - sandbox.born
        if sandbox.result is not None:
            return
        if sandbox.going is not None and self.clock.now() - sandbox.going >= self.ends_in:
            self.finish(sandbox, TERMINATED, code=137)
        elif self.dies is not None and age >= self.dies:
            self.finish(sandbox, self.result, "the host went away")
        elif age >= self.limit(sandbox):
            self.finish(sandbox, TIMEOUT, code=124)
        elif self.is_booted(sandbox) and not sandbox.raised:
            sandbox.raised = True
            sandbox.price += self.risen / 100

    def find(self, identity):
        for sandbox in self.instances:
            if sandbox.id == identity and self.shows(sandbox):
                self.advance(sandbox)
                return sandbox
        raise No(5, "Sandbox not found")

    def until(self, sandbox_of, seconds, ready):
        """Returns the value of ready() once it is true or the time is over; the lock is free in the meantime. Does not wait if the test has
        set the clock."""
        end = time.monotonic() + (seconds if self.clock.held is None else 0)
        while True:
            with self.lock:
                value = ready(sandbox_of())
            if value or time.monotonic() >= end or self.server.over.wait(0.02):
                return value

    def wait(self, message, call):
        result = self.until(lambda: self.find(message.get("sandbox_id")), message.get("timeout", 0), lambda one: one.result)
        return {"result": result} if result else {}

    def task_id(self, message, call):
        def ready(sandbox):
            if sandbox.result:
                return {"task_result": sandbox.result}
            return {"task_id": sandbox.task} if self.is_booted(sandbox) else None
        return self.until(lambda: self.find(message.get("sandbox_id")), message.get("timeout", 0), ready) or {}

    def terminate(self, message, call):
        sandbox = self.find(message.get("sandbox_id"))
        if sandbox.result is not None:
            return {"existing_result": sandbox.result}
        if self.deaf > 0:
            self.deaf -= 1
        elif sandbox.going is None:
            sandbox.going = self.clock.now()
        return {}

    def listed(self, message, call):
        self.environment(message.get("environment_name", ""))
        wanted = {(tag["tag_name"], tag["tag_value"]) for tag in message["tags"]}
        found = []
        for one in reversed(self.instances):
            self.advance(one)
            tags = {(tag["tag_name"], tag["tag_value"]) for tag in one.request["tags"]}
            late = message.get("before_timestamp", 0) and one.created >= message["before_timestamp"]
            if not self.shows(one) or not wanted <= tags or late or (one.result and not message.get("include_finished")) or (
                    message.get("app_id") and message["app_id"] != one.request["app_id"]):
                continue
            task = {"id": one.task, **({"result": one.result} if one.result else {})}
            found.append({"id": one.id, "created_at": one.created, "task_info": task, "app_id": one.request["app_id"], "tags": one.request["tags"], "name": one.name,
                          "image_id": one.body["image_id"], "timeout_secs": self.limit(one)})
        return {"sandboxes": found[:self.page]}

    def logs(self, message, call):
        call.send(SCHEMA.write("TaskLogsBatch", {"entry_id": "1", "eof": True}))

    # ---- The router

    def jwt(self, sandbox):
        return jwt({"exp": int(sandbox.created) + 36000, "task_id": sandbox.task})

    def access(self, message, call):
        for one in self.instances:
            self.advance(one)
            if one.task == message.get("task_id") and one.result is None and self.is_booted(one):
                return {"jwt": self.jwt(one), "url": self.url()}
        raise No(5, "Task not found")

    def running_task(self, message):
        for one in self.instances:
            self.advance(one)
            if one.task == message.get("task_id"):
                if one.result is not None:
                    raise No(9, "the task has ended")
                return one
        raise No(5, "Task not found")

    def program(self, message):
        with self.lock:
            found = self.running_task(message).programs.get(message.get("exec_id"))
        if found is None:
            raise No(5, "exec not found")
        return found

    def exec_start(self, message, call):
        sandbox = self.running_task(message)
        if message.get("exec_id") not in sandbox.programs:
            if not message["command_args"] or sum(map(len, message["command_args"])) > 65536 or not message.get("exec_id"):
                raise No(3, "command_args or exec_id cannot be used")
            home, env = (sandbox.box.home, {**sandbox.box.env, **message["env"]}) if sandbox.box else ("/", {})
            try:
                sandbox.programs[message["exec_id"]] = Program(message["command_args"], home, env)
            except OSError as error:
                raise No(5, str(error)) from None
        return {}

    def exec_write(self, message, call):
        self.program(message).write(message.get("offset", 0), message.get("data", b""), message.get("eof", 0))

    def exec_read(self, message, call):
        program, number, at = self.program(message), message.get("file_descriptor", 0), message.get("offset", 0)
        call.begin()
        while True:
            with program.more:
                while at >= len(program.said[number]) and not program.ended[number]:
                    if call.link.dead or call.ended or self.server.over.is_set():
                        raise h2.Gone()
                    program.more.wait(0.2)
                data = bytes(program.said[number][at:at + 65536])
            if not data:
                return
            call.send(SCHEMA.write("TaskExecStdioReadResponse", {"data": data}))
            at += len(data)

    def exec_wait(self, message, call):
        code = self.program(message).process.wait()
        return {"code": code} if code >= 0 else {"signal": -code}

    def exec_poll(self, message, call):
        code = self.program(message).process.poll()
        return {} if code is None else {"code": code} if code >= 0 else {"signal": -code}

    def close(self):
        super().close()
        for one in self.instances:
            for program in one.programs.values():
                program.process.kill()


def jwt(claims):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    return "%s.%s.%s" % (part({"alg": "none"}), part(claims), "c2ln")


ROUTES = {CLIENT + name: (function, asked, answer) for name, function, asked, answer in (
    ("ClientHello", Modal.hello, "Empty", "ClientHelloResponse"),
    ("TokenInfoGet", Modal.token, "Empty", "TokenInfoGetResponse"),
    ("AuthTokenGet", Modal.auth_token, "Empty", "AuthTokenGetResponse"),
    ("WorkspaceNameLookup", Modal.workspace, "Empty", "WorkspaceNameLookupResponse"),
    ("WorkspaceBillingRates", Modal.rates, "Empty", "WorkspaceBillingRatesResponse"),
    ("AppGetOrCreate", Modal.app, "AppGetOrCreateRequest", "AppGetOrCreateResponse"),
    ("EnvironmentGetOrCreate", Modal.get_environment, "EnvironmentGetOrCreateRequest", "EnvironmentGetOrCreateResponse"),
    ("ImageGetOrCreate", Modal.image, "ImageGetOrCreateRequest", "ImageGetOrCreateResponse"),
    ("ImageJoinStreaming", Modal.join, "ImageJoinStreamingRequest", "ImageJoinStreamingResponse"),
    ("SecretGetOrCreate", Modal.secret, "SecretGetOrCreateRequest", "SecretGetOrCreateResponse"),
    ("SandboxCreate", Modal.create, "SandboxCreateRequest", "SandboxCreateResponse"),
    ("SandboxGetTaskId", Modal.task_id, "SandboxGetTaskIdRequest", "SandboxGetTaskIdResponse"),
    ("SandboxWait", Modal.wait, "SandboxWaitRequest", "SandboxWaitResponse"),
    ("SandboxTerminate", Modal.terminate, "SandboxTerminateRequest", "SandboxTerminateResponse"),
    ("SandboxList", Modal.listed, "SandboxListRequest", "SandboxListResponse"),
    ("SandboxListV2", Modal.listed, "SandboxListRequest", "SandboxListResponse"),
    ("SandboxGetLogs", Modal.logs, "SandboxGetLogsRequest", "TaskLogsBatch"),
    ("TaskGetCommandRouterAccess", Modal.access, "TaskGetCommandRouterAccessRequest", "TaskGetCommandRouterAccessResponse"))}
ROUTES.update({ROUTER + name: (function, asked, answer) for name, function, asked, answer in (
    ("TaskExecStart", Modal.exec_start, "TaskExecStartRequest", "Empty"),
    ("TaskExecStdinWrite", Modal.exec_write, "TaskExecStdinWriteRequest", "Empty"),
    ("TaskExecStdioRead", Modal.exec_read, "TaskExecStdioReadRequest", "TaskExecStdioReadResponse"),
    ("TaskExecWait", Modal.exec_wait, "TaskExecWaitRequest", "TaskExecResult"),
    ("TaskExecPoll", Modal.exec_poll, "TaskExecPollRequest", "TaskExecResult"))})
STREAMS = {CLIENT + "ImageJoinStreaming", CLIENT + "SandboxGetLogs", ROUTER + "TaskExecStdioRead"}
SLOW = {CLIENT + "SandboxWait", CLIENT + "SandboxGetTaskId", ROUTER + "TaskExecStdinWrite", ROUTER + "TaskExecWait"}  # take the lock themselves
