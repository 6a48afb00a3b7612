# SPDX-License-Identifier: Apache-2.0
"""A job, its processes, and the keeper that outlives the connection."""
import os
import signal
import subprocess
import time

from errors import of_error
from fields import to_text
from files import lock, read_json, write_whole


def processes():
    """Returns {pid: (parent, group, session, started)} of all processes, from /proc; empty if there is no /proc."""
    found = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return found
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, "rb") as file:
                words = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if len(words) > 19 and words[0] not in (b"Z", b"X"):
            found[int(name)] = (int(words[1]), int(words[2]), int(words[3]), int(words[19]))
    return found


def started_at(pid):
    return processes().get(pid, (0, 0, 0, 0))[3]


def marked(pid, mark):
    """True if the environment of a process of this user has the mark of a job."""
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            return b"KOLM_REMOTE_JOB=" + mark.encode("ascii") in file.read().split(b"\0")
    except OSError:
        return False


def tree_of(mark, roots, session):
    """Processes below roots, in the session, or with the job's mark in their environment; except roots and this process."""
    table = processes()
    found, grew = set(roots), True
    for pid in table:
        if (session and table[pid][2] == session) or marked(pid, mark):
            found.add(pid)
    while grew:
        more = {pid for pid in table if table[pid][0] in found} - found
        grew = bool(more)
        found |= more
    return [pid for pid in found if pid in table and pid not in roots and pid != os.getpid()]


def end_tree(mark, roots, session):
    """Kills all processes of tree_of, repeatedly, until none is left."""
    for _ in range(200):
        if session:
            try:
                os.killpg(session, signal.SIGKILL)
            except OSError:
                pass
        left = tree_of(mark, roots, session)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        if not left:
            return
        time.sleep(0.01)


class Job(object):
    def __init__(self, base, name):
        self.name = name
        self.dir = os.path.join(base, "jobs", name)
        self.work = os.path.join(self.dir, "work")
        self.events, self.errors = os.path.join(self.dir, "events.jsonl"), os.path.join(self.dir, "errors.txt")
        self.state_path, self.run_path = os.path.join(self.dir, "state.json"), os.path.join(self.dir, "run")
        self.lock_path = os.path.join(base, "locks", name)

    def exists(self):
        return os.path.exists(os.path.join(self.dir, "spec.json"))

    def mark(self):
        """Identifies the processes of this job only. Its name does not: the same job may exist below another directory, on another
        box in a container, or again while the keeper of a removed one still cleans up."""
        return "%s.%s" % (self.name, read_json(os.path.join(self.dir, "spec.json")).get("mark", ""))

    def state(self):
        """Returns {"state": ...}: absent, created, running, done or lost."""
        if not self.exists():
            return {"state": "absent"}
        value = read_json(self.state_path)
        if value.get("state") != "running":
            return value if value.get("state") == "done" else {"state": "created"}
        held = lock(self.run_path, False)
        if held is None:
            return value
        os.close(held)
        value = read_json(self.state_path)  # it may have ended in the meantime
        if value.get("state") == "running":
            value["state"] = "lost"
        return value

    def summary(self):
        value = self.state()
        try:
            value["events"] = os.path.getsize(self.events)
        except OSError:
            value["events"] = 0
        return value


def keep(job, command, environment, grace, limit, told):
    """The keeper: starts the job's program, waits for it to end, and records how it ended. Never returns."""
    reason, mark = {"why": ""}, environment["KOLM_REMOTE_JOB"]
    value = {"state": "running", "keeper": os.getpid(), "started": int(time.time())}
    try:
        # PR_SET_CHILD_SUBREAPER: orphans of the job become children of this process, not of init, so that they are found.
        try:
            import ctypes
            ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
        except Exception:
            pass
        with open(job.events, "ab") as events, open(job.errors, "ab") as errors:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=events, stderr=errors, cwd=job.work,
                                     env=environment, start_new_session=True, close_fds=True)
        value["child"], value["child_started"] = child.pid, started_at(child.pid)

        def stop(number, frame):
            del frame
            if number == signal.SIGALRM and reason["why"]:
                end_tree(mark, [os.getpid()], child.pid)
                return
            reason["why"] = reason["why"] or ("deadline" if number == signal.SIGALRM else "cancelled")
            try:
                os.killpg(child.pid, signal.SIGTERM)
            except OSError:
                pass
            signal.setitimer(signal.ITIMER_REAL, max(grace, 0.05))

        signal.signal(signal.SIGALRM, stop)
        signal.signal(signal.SIGTERM, stop)
        if limit:
            signal.setitimer(signal.ITIMER_REAL, limit)
        write_whole(job.state_path, value)
        os.close(told)  # only closed, because the waiting process may be gone by now
        told = None
        status = None
        while status is None:
            pid, ended = os.waitpid(-1, 0)
            if pid == child.pid:
                status = ended
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        end_tree(mark, [os.getpid()], child.pid)
        value.update(state="done", ended=int(time.time()), why=reason["why"],
                     exit=os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
                     signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)
    except OSError as error:
        if "child" in value:  # it would continue unnoticed
            end_tree(mark, [os.getpid()], value["child"])
        told_of = of_error(error, "cannot run %s there" % to_text(command[0]))
        value.update(state="done", ended=int(time.time()), why="failed", exit=-1, signal=0, code=told_of.code,
                     text=told_of.text, remedy=told_of.remedy)
    for _ in range(600):  # a full disk may have room again later
        try:
            write_whole(job.state_path, value)
            break
        except FileNotFoundError:
            break  # the job was removed
        except OSError:
            if told is not None:
                os.close(told)
                told = None
            time.sleep(1)
    os._exit(0)


def detach(body, kept):
    """Runs body in a process with its own session, which outlives the connection. It inherits only the descriptors in kept."""
    first = os.fork()
    if first != 0:
        os.waitpid(first, 0)
        return
    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        for fd in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else map(str, range(3, 256)):
            if int(fd) not in (0, 1, 2) + kept:
                try:
                    os.close(int(fd))
                except OSError:
                    pass
        os.chdir("/")
        body()
    finally:
        os._exit(1)


def launch(job, command, environment, grace, limit):
    """Starts the keeper; returns once the job is running, or could not be started."""
    held = lock(job.run_path, False)
    for _ in range(200):  # others hold it only for a moment, to test it
        if held is None:
            time.sleep(0.01)
            held = lock(job.run_path, False)
    if held is None:
        return
    listen, told = os.pipe()
    detach(lambda: keep(job, command, environment, grace, limit, told), (held, told))
    os.close(told)
    os.close(held)
    while os.read(listen, 1):
        pass  # until the job is running (then the keeper closes its end) or the keeper is gone
    os.close(listen)
