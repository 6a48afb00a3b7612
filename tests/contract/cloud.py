# SPDX-License-Identifier: Apache-2.0
"""What the servers of providers share: JSON, a clock that a test can set, faults by request, and accounts on loopback as machines."""
import email.utils
import json
import os
import pwd
import shutil
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "remote"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Server, answer, reset  # noqa: E402


class Clock:
    """Seconds: by this machine's clock, or as set by the test."""
    def __init__(self):
        self.held = None

    def now(self):
        return time.monotonic() if self.held is None else self.held

    def set(self, seconds):
        self.held = seconds


class Fault:
    """What happens to a request instead of its answer. Kinds:
    refuse       the connection is reset before the request is executed
    lose         it is executed, and the connection is reset
    cut          it is executed, and the answer is truncated
    STATUS       that status with the provider's own body for it, not executed
    ("done", S)  it is executed, and the answer is that status
    html         404 as from a proxy
    error-200    200 with the body of an error
    malformed    it is executed, and the body is not JSON;    huge  the body is 40 MB of blanks
    slow         executed, answered after a delay
    hang         not executed and never answered; other requests are
    retry-after: seconds or "date", with 429 and 503"""
    def __init__(self, kind, retry_after=None):
        self.kind, self.retry_after = kind, retry_after

    def __repr__(self):
        return "%s%s" % (self.kind, "+retry-after %s" % self.retry_after if self.retry_after is not None else "")


class Refusal(Exception):
    """A refused request: status and body."""
    def __init__(self, status, body):
        super().__init__("%d %s" % (status, body))
        self.status, self.body = status, body


class Cloud:
    """A provider's API over HTTP on loopback. A subclass has routes [(method, pattern, function(match, request))], which return an object,
    or (status, object), or raise Refusal, and error(status), the provider's own body for a status. faults: {number of request: Fault}, from
    0; `always`: a function that returns the fault of a request which has none there. requests: (method, path) of all, in order."""
    routes = ()
    refusals_are = "application/json"
    skew = 0  # seconds by which its clock, in Date and Retry-After, is ahead of this machine's

    def __init__(self):
        self.clock, self.faults, self.always = Clock(), {}, None
        self.requests, self.times, self.lock = [], [], threading.RLock()
        self.server = self.serve()

    def serve(self):
        return Server(self.handle)

    def close(self):
        self.server.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def url(self):
        return "http://127.0.0.1:%d" % self.server.port

    def error(self, status):
        raise NotImplementedError

    def authorized(self, request):
        raise NotImplementedError

    def act(self, request):
        path = request.target.split("?")[0]
        self.authorized(request)
        allowed = False
        for method, pattern, function in self.routes:
            match = pattern.fullmatch(path)
            if match and method == request.method:
                result = function(self, match, request)
                return result if isinstance(result, tuple) else (200, result)
            allowed = allowed or bool(match)
        raise Refusal(405 if allowed else 404, self.error(405 if allowed else 404))

    def done(self, request):
        """Executes the request; returns its status and body."""
        try:
            return self.act(request)
        except Refusal as refusal:
            return refusal.status, refusal.body

    def date(self, more=0):
        return email.utils.formatdate(time.time() + self.skew + more, usegmt=True)

    def reply(self, status, body, more=()):
        text = body if isinstance(body, (str, bytes)) else "" if body is None else json.dumps(body)
        kind = self.refusals_are if status >= 400 else "application/json"
        return answer(status, text, [("Content-Type", kind), ("Date", self.date()), *more])

    def handle(self, request, connection):
        with self.lock:
            number = len(self.requests)
            self.requests.append((request.method, request.target))
            self.times.append(self.clock.now())
            fault = self.faults.get(number) or (self.always(request) if self.always else None)
            if fault is None:
                return self.reply(*self.done(request))
            if fault.kind != "hang":
                return self.fail(fault, request, connection)
        self.server.over.wait()
        return None

    def fail(self, fault, request, connection):
        kind, more = fault.kind, []
        if fault.retry_after is not None:
            value = self.date(2) if fault.retry_after == "date" else str(fault.retry_after)
            more = [("Retry-After", value)]
        if kind == "refuse":
            reset(connection)
            return None
        if isinstance(kind, int):
            return self.reply(kind, self.error(kind), more)
        if kind == "html":
            return answer(404, "<html><body>Not here</body></html>", [("Content-Type", "text/html")])
        if kind == "error-200":
            return self.reply(200, self.error(500))
        status, body = self.done(request)
        if kind == "lose":
            reset(connection)
            return None
        if kind == "cut":
            text = self.reply(status, body)
            connection.sendall(text[:-max(2, len(json.dumps(body)) // 2)])
            reset(connection)
            return None
        if kind == "malformed":
            return self.reply(status, json.dumps(body)[:-1] + ",,,")
        if kind == "huge":
            return self.reply(status, b" " * 40000000)
        if kind == "slow":
            self.server.over.wait(0.3)
            return self.reply(status, body)
        if isinstance(kind, tuple):
            return self.reply(kind[1], self.error(kind[1]), more)
        raise AssertionError(kind)


class Machine:
    """A rented machine, billed from `born` until `died`. Its account is a real sshd of this user on loopback, if the server has
    accounts."""
    def __init__(self, cloud, name, price_per_hour):
        self.cloud, self.name, self.price = cloud, name, price_per_hour
        self.born, self.died, self.box, self.address = cloud.clock.now(), None, None, None

    def bill(self):
        """Returns dollars."""
        end = self.died if self.died is not None else self.cloud.clock.now()
        return (end - self.born) / 3600 * self.price

    def end(self):
        if self.died is None:
            self.died = self.cloud.clock.now()
        if self.box:
            box, self.box = self.box, None
            end_account(box)


class MachineCloud(Cloud):
    """A provider of machines. A subclass appends what it rents to `instances`: Machines with `name`, `state`, which `advance(instance)`
    updates with time, `kind`, whose first word the tests use, and `public`, the key that their account accepts. boot: seconds from launch
    to running. port: that of the accounts on 127.0.0.N; None: no accounts, machines only have an address. Problems, all off at first: lag,
    seconds until lists and queries show what was launched; no_capacity, kinds refused though they are offered; risen, cents more once it
    runs; never_boots; dies, seconds from launch until a machine becomes unusable; deaf, how many terminations are answered but not
    executed; ends_in, seconds from a termination to its end."""
    def __init__(self, key, boot, port):
        self.key, self.boot, self.port, self.tools = key, boot, port, None
        self.instances, self.launches, self.lag = [], 0, 0
        self.no_capacity, self.risen, self.never_boots, self.dies, self.deaf, self.ends_in = set(), 0, False, None, 0, 1
        super().__init__()

    def close(self):
        super().close()
        for instance in self.instances:
            instance.end()

    def advance(self, instance):
        raise NotImplementedError

    def shows(self, instance):
        return self.clock.now() - instance.born >= self.lag

    def is_booted(self, instance):
        age = self.clock.now() - instance.born
        return not self.never_boots and age >= self.boot and (self.port is None or instance.box is not None)

    def rent(self, instance):
        self.instances.append(instance)
        self.launches += 1
        number = len(self.instances) + 10
        instance.address = "127.0.%d.%d" % (number // 250, number % 250 + 1)
        if instance.public is not None:
            self.admit(instance)

    def admit(self, instance):
        """Adds its key to the account."""
        if self.port is not None:
            threading.Thread(target=self.open_account, args=(instance, instance.public), daemon=True).start()

    def open_account(self, instance, public):
        box = open_account(public, instance.address, self.port, self.tools)
        with self.lock:
            if instance.died is None:
                instance.box = box
                return
        end_account(box)

    # ---- State, for tests

    def running(self):
        """Returns the names of everything that is billed now."""
        for instance in self.instances:
            self.advance(instance)
        return [instance.name for instance in self.instances if instance.died is None]

    def key_names(self):
        """Returns the names of the account's keys."""
        return []

    def bill(self):
        return sum(instance.bill() for instance in self.instances)


def end_account(box):
    """Ends the account and every process that has its home, as the end of a machine would."""
    mark = b"HOME=" + box.home.encode()
    box.stop()
    while True:
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % pid, "rb") as file:
                    if mark in file.read().split(b"\0") and int(pid) != os.getpid():
                        found.append(int(pid))
            except OSError:
                pass
        if not found:
            break
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
    shutil.rmtree(box.dir, True)


def open_account(public_key, address, port, tools):
    """Starts a real sshd that accepts this key. shutdown and sudo there are ours and only record that they were called, so that this
    machine is not turned off."""
    from box import Box
    os.makedirs(tools, exist_ok=True)
    for name in ("shutdown", "sudo", "poweroff", "halt", "reboot"):
        path = os.path.join(tools, name)
        if not os.path.exists(path):
            with open(path + ".new", "w") as file:
                file.write('#!/bin/sh\necho "%s $*" >>"%s/calls"\n' % (name, tools))
            os.chmod(path + ".new", 0o755)
            os.rename(path + ".new", path)
    box = Box(port=port, address=address, before='PATH="%s:$PATH"; export PATH' % tools)
    with open(os.path.join(box.dir, "authorized"), "w") as file:
        file.write(public_key + "\n")
    return box


USER = pwd.getpwuid(os.geteuid()).pw_name
