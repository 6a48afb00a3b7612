# SPDX-License-Identifier: Apache-2.0
"""The verbs that run a job and follow it: create, start, status, follow, cancel."""
import os
import shutil
import signal
import time

from errors import FAILED_PRECONDITION, INTERNAL, INVALID_ARGUMENT, NOT_FOUND, Refused, setting
from fields import NAME_ID, count_of, files_of, list_of, safe_name, text_of, to_path
from frames import CHUNK
from files import lock, make_dir, read_json, remove, sync_dir, write_whole
from keeper import Job, end_tree, launch, started_at


class Running(object):
    """A part of Agent."""

    def job(self, request):
        return Job(self.base, text_of(request, "job", NAME_ID))

    def create(self, request):
        job, files = self.job(request), files_of(request)
        held = lock(job.lock_path, True)
        try:
            if job.exists():
                return dict(job.summary(), attached=True)
            self.room(sum(f[2] for f in files) + count_of(request, "room", 0))
            temporary = self.fresh_dir(job.dir + ".new")
            make_dir(os.path.join(temporary, "work"))
            self.place_files(os.path.join(temporary, "work"), files)
            base = os.path.join(self.base, "trees", text_of(request, "base", NAME_ID)) if request.get("base") else None
            self.own_paths(os.path.join(temporary, "work"), job.work, base)
            write_whole(os.path.join(temporary, "spec.json"), {"files": len(files), "created": int(time.time()),
                                                               "mark": os.urandom(8).hex(), "about": str(request.get("about", ""))[:200]})
            shutil.rmtree(job.dir, ignore_errors=True)
            os.rename(temporary, job.dir)
            sync_dir(os.path.dirname(job.dir))
            return dict(job.summary(), attached=False)
        finally:
            os.close(held)

    @staticmethod
    def own_paths(directory, final, base):
        """Rewrites the paths in job.json: here, model files are below the job's own model/, and the base model is a tree."""
        path = os.path.join(directory, "job.json")
        value = read_json(path)
        files = value.get("model_files")
        if not isinstance(files, list) and not base:
            return

        def text(place):
            try:
                return os.fsencode(place).decode("utf-8")
            except UnicodeDecodeError:
                raise Refused(FAILED_PRECONDITION, "the path of the directory there is not UTF-8",
                              "name another one in config.json: " + setting("dir"))

        for item in files if isinstance(files, list) else []:
            name = safe_name(item.get("name") if isinstance(item, dict) else None)
            item.update(path=text(os.path.join(final, "model", name)), offset=0)
        if base:
            value["options"]["base"]["path"] = text(base)
        os.unlink(path)
        write_whole(path, value)

    def words(self, job, words):
        """Expands words: strings, and {"job": NAME}, {"tree": ID, "name": NAME} or {"runtime": ID} for paths here; lists are joined."""
        made = []
        for word in words:
            if isinstance(word, list):
                made.append("".join(self.words(job, word)))
            elif isinstance(word, str) and "\0" not in word:
                made.append(to_path(word))
            elif isinstance(word, dict) and "job" in word:
                made.append(os.path.join(job.work, safe_name(word["job"])) if word["job"] else job.work)
            elif isinstance(word, dict) and "tree" in word:
                tree = os.path.join(self.base, "trees", text_of(word, "tree", NAME_ID))
                made.append(os.path.join(tree, safe_name(word["name"])) if word.get("name") else tree)
            elif isinstance(word, dict) and "runtime" in word:
                made.append(os.path.join(self.base, "runtimes", text_of(word, "runtime", NAME_ID)))
            else:
                raise Refused(INVALID_ARGUMENT, "a word of the command is invalid")
        return made

    def start(self, request):
        job = self.job(request)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("SSH_", "KOLM_"))}
        for given in (request.get("environment") or {}, request.get("secrets") or {}):
            if not isinstance(given, dict) or any(not key or "=" in key or "\0" in key for key in given):
                raise Refused(INVALID_ARGUMENT, "the environment of start is invalid")
            for key, value in given.items():
                environment[to_path(key)] = self.words(job, [value])[0]
        environment["KOLM_REMOTE_JOB"] = job.mark()
        command = self.words(job, list_of(request, "command"))
        if not command or not os.path.isabs(command[0]):
            raise Refused(INVALID_ARGUMENT, "the program of start is not an absolute path")
        grace, limit = count_of(request, "grace_ms", 8000) / 1000.0, count_of(request, "limit_ms", 0) / 1000.0
        held = lock(job.lock_path, True)
        try:
            value = job.state()
            state = value["state"]
            if state == "absent":
                raise Refused(NOT_FOUND, "job %s is not here" % job.name, "run the same command again")
            if state in ("created", "lost") or (state == "done" and value.get("exit") != 0 and request.get("again") is True):
                if state == "lost":
                    self.end_lost(job)
                elif state == "done":
                    self.forget_end(job)
                launch(job, command, environment, grace, limit)
        finally:
            os.close(held)
        value = job.summary()
        if value["state"] in ("created", "lost"):
            raise Refused(INTERNAL, "the job's keeper there ended immediately", "run the same command again")
        return value

    @staticmethod
    def forget_end(job):
        """Resets an ended job, so that it can continue from what it left: its events start from the beginning."""
        for path in (job.events, job.errors, job.state_path):
            remove(path)

    @staticmethod
    def end_lost(job):
        """Kills what a killed keeper left running."""
        value = read_json(job.state_path)
        child, started = value.get("child", 0), value.get("child_started", 0)
        session = child if child and started and started_at(child) == started else 0
        end_tree(job.mark(), [], session)

    def status(self, request):
        return self.job(request).summary()

    def follow(self, request):
        """Returns complete lines of the events from an offset; waits for some, for the end, or for the next request. "last": no more
        will follow."""
        job, since, wait = self.job(request), count_of(request, "since"), count_of(request, "wait_ms", 0) / 1000.0
        end = time.monotonic() + min(wait, 60)
        while True:
            value = job.summary()  # before reading: an ended job had written all its events by then
            data = self.read_from(job.events, since)
            whole = data[:data.rfind(b"\n") + 1]
            if not whole and data and (value["state"] != "running" or len(data) >= CHUNK):
                whole = data  # a last line without a line end, or one that is too long to be an event
            if whole or value["state"] != "running" or time.monotonic() >= end or self.link.pending(0):
                last = value["state"] not in ("running", "created") and len(whole) == len(data) < CHUNK
                if last:
                    value["errors_tail"] = self.tail(job.errors)
                return dict(value, next=since + len(whole), last=last), whole
            self.link.pending(0.03)

    @staticmethod
    def read_from(path, offset):
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(offset)
                return file.read(CHUNK) or b""
        except OSError:
            return b""

    @staticmethod
    def tail(path):
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(max(0, os.path.getsize(path) - 2000))
                return file.read(2000).decode("utf-8", "replace")
        except OSError:
            return ""

    def cancel(self, request):
        """Stops a job and everything below it: asks, waits for its grace period, kills. Answers once it has ended."""
        job = self.job(request)
        held = lock(job.lock_path, True)
        try:
            value = job.state()
            if value["state"] == "lost":
                self.end_lost(job)
            elif value["state"] == "running":
                self.stop_keeper(job, value)
        finally:
            os.close(held)
        return job.summary()

    def stop_keeper(self, job, value):
        try:
            os.kill(value["keeper"], signal.SIGTERM)  # it holds its lock, so this is still its pid
        except OSError:
            pass
        end = time.monotonic() + 60
        while job.state()["state"] == "running":
            if time.monotonic() > end:
                try:
                    os.kill(value["keeper"], signal.SIGKILL)
                except OSError:
                    pass
                self.end_lost(job)
            time.sleep(0.02)
