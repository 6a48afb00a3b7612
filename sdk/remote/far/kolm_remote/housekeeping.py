# SPDX-License-Identifier: Apache-2.0
"""The verbs that list and remove what is kept here: jobs, holdings, prune; and pruning by age."""
import fcntl
import os
import time

from fields import NAME_ID, count_of
from files import lock, read_json, remove
from keeper import Job
from uploads import NEEDED_SECONDS

KEPT_SECONDS = 30 * 86400  # what was unused for this long is removed
LOOK_SECONDS = 86400  # how often that is checked


class Housekeeping(object):
    """A part of Agent."""

    def jobs(self, request):
        found = []
        for name in sorted(os.listdir(os.path.join(self.base, "jobs"))):
            job = Job(self.base, name)
            if NAME_ID.match(name) and job.exists():
                spec = read_json(os.path.join(job.dir, "spec.json"))
                found.append(dict(job.summary(), job=name, created=spec.get("created", 0), about=spec.get("about", "")))
        return {"jobs": found, "disk_used": self.used()}

    def used(self, below=None):
        """Bytes on disk; those of a file with several links are divided among them."""
        total = 0
        for where, _, leaves in os.walk(below or self.base):
            for leaf in leaves:
                total += self.used_by(os.path.join(where, leaf))
        return total

    @staticmethod
    def used_by(path):
        try:
            about = os.lstat(path)
        except OSError:
            return 0
        return about.st_blocks * 512 // max(about.st_nlink, 1)

    def contents(self):
        return [os.path.join(where, leaf) for where, _, leaves in os.walk(self.blobs.dir) for leaf in leaves]

    def holdings(self, request):
        """Lists all that is kept here, for display: jobs, trees, environments, and all blobs as one entry."""
        found, told = [], self.jobs(request)["jobs"]
        running = any(job["state"] == "running" for job in told)
        for job in told:
            about = "; ".join(text for text in (job["state"], job.get("why"), job["about"]) if text)
            found.append(self.holding("jobs", job["job"], about, job["state"] == "running", job.get("ended", 0)))
        for kind in ("trees", "runtimes"):
            for name in sorted(os.listdir(os.path.join(self.base, kind))):
                found.append(self.holding(kind, name, "", running))
        ages = [self.age(path) for path in self.contents()]
        if ages:
            found.append({"kind": "files", "name": "blobs", "bytes": self.used(self.blobs.dir), "age": int(max(0, min(ages))), "in_use": False,
                          "note": "%d contents that need not be sent again" % len(ages)})
        return {"holdings": found}

    def holding(self, where, name, note="", in_use=False, ended=0):
        kind, words = {"jobs": ("job", ""), "trees": ("files", "a program or a base model"), "runtimes": ("files", "a Python environment")}[where]
        path = os.path.join(self.base, where, name)
        return {"kind": kind, "name": name, "bytes": self.used(path), "age": int(max(0, min(self.age(path), self.since(ended)))),
                "note": note or words, "in_use": in_use}

    def alone(self):
        """True if there is no other connection; then new ones wait until shared() is called."""
        try:
            fcntl.flock(self.using, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            return False

    def shared(self):
        fcntl.flock(self.using, fcntl.LOCK_SH)

    def prune(self, request):
        """Removes what was unused for at least that many seconds. Another connection may be about to use what it has sent: while there
        is one, the minimum is an hour."""
        older = count_of(request, "older_seconds")
        try:
            least = 0 if older >= NEEDED_SECONDS or self.alone() else NEEDED_SECONDS
            return self.remove_older(max(older, least))
        finally:
            self.shared()

    def remove_older(self, limit, kept=()):
        """Removes jobs that are not running, trees, environments, blobs and parts, unused for limit seconds; not the blobs in kept."""
        before, removed = self.used(), self.remove_jobs(limit)
        running = any(job["state"] == "running" for job in self.jobs({})["jobs"])
        for kind in [] if running else ["trees", "runtimes"]:
            for name in os.listdir(os.path.join(self.base, kind)):
                if self.age(os.path.join(self.base, kind, name)) >= limit:
                    removed += self.remove_unlocked(kind, name)
        blobs = [path for path in self.contents() if os.path.basename(path) not in kept and self.age(path) >= limit]
        if blobs:
            removed.append({"kind": "files", "name": "blobs", "bytes": sum(self.used_by(path) for path in blobs), "age": limit, "in_use": False,
                            "note": "%d contents" % len(blobs)})
        for path in blobs:
            remove(path)
        for name in os.listdir(self.blobs.parts_dir):
            path = os.path.join(self.blobs.parts_dir, name)
            held = lock(path, False) if self.age(path) >= limit else None
            if held is not None:
                remove(path)
                os.close(held)
        return {"freed": max(0, before - self.used()), "removed": removed, "older": limit}

    def remove_unlocked(self, kind, name):
        """Removes a tree or an environment, unless another connection is making it."""
        path = os.path.join(self.base, "locks", "%s-%s" % (kind[:-1], name))
        held = lock(path, False)
        if held is None:
            return []
        removed = [self.holding(kind, name)]
        self.forget(os.path.join(self.base, kind, name))
        remove(path)
        os.close(held)
        return removed

    def remove_jobs(self, limit):
        removed = []
        for name in os.listdir(os.path.join(self.base, "jobs")):
            path = os.path.join(self.base, "jobs", name)
            job = Job(self.base, name)
            held = lock(job.lock_path, False) if NAME_ID.match(name) else None
            if held is not None:
                try:
                    state = job.state()
                    if state["state"] != "running" and min(self.since(state.get("ended", 0)), self.age(path)) >= limit:
                        removed.append(self.holding("jobs", name, state["state"], False, state.get("ended", 0)))
                        self.forget(path)
                        remove(job.lock_path)
                    elif state["state"] != "running" and os.path.isdir(path + ".new") and self.age(path + ".new") >= limit:
                        self.forget(path + ".new")
                finally:
                    os.close(held)
            elif name.endswith(".new") and self.age(path) >= limit and not os.path.isdir(path[:-4]):
                self.forget(path)
        return removed

    def prune_old(self):
        mark = os.path.join(self.base, "pruned")
        try:
            age = self.age(mark)
            if 0 <= age < LOOK_SECONDS:
                return
            os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            os.utime(mark)
            if age >= KEPT_SECONDS:
                return  # the clock was corrected, or nobody connected for long: this connection may need what looks old
            self.remove_older(KEPT_SECONDS)
        except OSError:
            pass  # a full disk is reported when something must be written

    @staticmethod
    def since(when):
        """Seconds between then and now. A date in the future was made by a wrong clock: its distance counts as age, too."""
        return abs(time.time() - when)

    def age(self, path):
        """Seconds since its last use; -1 if it does not exist."""
        try:
            return self.since(os.lstat(path).st_mtime)
        except OSError:
            return -1
