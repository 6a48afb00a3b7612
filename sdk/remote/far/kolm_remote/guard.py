# SPDX-License-Identifier: Apache-2.0
"""The watchdog of a rented machine: a process that outlives the connection, and ends the work here when its time is up."""
import os
import signal
import subprocess
import time

from errors import FAILED_PRECONDITION, INTERNAL, Refused
from fields import count_of
from files import lock, read_json, write_whole
from keeper import Job, detach, end_tree, started_at

GRACE_SECONDS = 20  # between asking a job to stop and killing it
NEXT_SECONDS = 60  # between two attempts to power off


def signal_keeper(job, number):
    """Signals the keeper of a running job. It holds its lock as long as it lives, so the recorded pid is still its own."""
    value = job.state()
    if value.get("state") == "running" and value.get("keeper"):
        try:
            os.kill(value["keeper"], number)
        except OSError:
            pass


def end_jobs(base):
    """Asks all jobs below base to stop, then kills what is left of them."""
    jobs = []
    for name in os.listdir(os.path.join(base, "jobs")):
        job = Job(base, name)
        if job.exists() and job.state().get("state") in ("running", "lost"):
            jobs.append(job)
    for job in jobs:
        signal_keeper(job, signal.SIGTERM)
    end = time.monotonic() + GRACE_SECONDS
    while any(job.state().get("state") == "running" for job in jobs) and time.monotonic() < end:
        time.sleep(0.05)
    for job in jobs:
        value = read_json(job.state_path)
        signal_keeper(job, signal.SIGKILL)
        child = value.get("child", 0)
        end_tree(job.mark(), [], child if child and started_at(child) == value.get("child_started") else 0)


def power_off():
    """As root, or with sudo if that needs no password; otherwise the machine stays on."""
    words = ["shutdown", "-h", "now"]
    command = words if os.geteuid() == 0 else ["sudo", "-n"] + words
    null = open(os.devnull, "r+b")
    try:
        subprocess.call(command, stdin=null, stdout=null, stderr=null)
    except OSError:
        pass
    finally:
        null.close()


def watch(base, path, value):
    """The watchdog. Never returns. It holds a lock as long as it lives, so that no other process is mistaken for it."""
    value["pid"] = os.getpid()
    write_whole(path, value)
    # Uses both clocks: one stops while the machine sleeps, the other may be set back.
    late = time.monotonic() + max(0, value["until"] - time.time())
    while time.time() < value["until"] and time.monotonic() < late:
        time.sleep(max(0.05, min(5, value["until"] - time.time(), late - time.monotonic())))
    end_jobs(base)
    while value["off"]:
        power_off()
        time.sleep(NEXT_SECONDS)
    os._exit(0)


class Guard(object):
    """A part of Agent."""

    def guard(self, request):
        """Arms the watchdog: after "seconds" it ends all jobs here and, with "off", powers off. Replaces one that is armed."""
        seconds, off = count_of(request, "seconds"), request.get("off") is True
        path, lock_path = os.path.join(self.base, "guard.json"), os.path.join(self.base, "guard")
        before = self.guarded(request)
        if before["armed"]:
            try:
                os.kill(before["pid"], signal.SIGKILL)
            except OSError:
                pass
        end = time.monotonic() + 10
        held = lock(lock_path, False)
        while held is None and time.monotonic() < end:
            time.sleep(0.01)
            held = lock(lock_path, False)
        if held is None:
            raise Refused(FAILED_PRECONDITION, "the watchdog that is armed there cannot be replaced", "terminate that machine")
        value = {"until": time.time() + seconds, "off": off}
        detach(lambda: watch(self.base, path, value), (held,))
        os.close(held)
        while time.monotonic() < end:
            after = self.guarded(request)
            if after["armed"] and after["pid"] != before.get("pid"):
                return after
            time.sleep(0.01)
        raise Refused(INTERNAL, "the watchdog there ended immediately", "run the same command again")

    def guarded(self, request):
        """Reports the armed watchdog, from the process's own record, and only while it lives."""
        del request
        held = lock(os.path.join(self.base, "guard"), False)
        if held is not None:
            os.close(held)
            return {"armed": False}
        value = read_json(os.path.join(self.base, "guard.json"))
        if "until" not in value:
            return {"armed": False}
        return {"armed": True, "pid": value["pid"], "off": value["off"], "left": max(0, int(value["until"] - time.time()))}
