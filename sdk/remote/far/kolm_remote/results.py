# SPDX-License-Identifier: Apache-2.0
"""The verbs that fetch what a job made, and remove the job: results, get, drop."""
import os
import shutil
import stat
import time

from errors import DATA_LOSS, FAILED_PRECONDITION, NOT_FOUND, Refused
from fields import count_of, is_safe, list_of, safe_name, text_of, to_path
from frames import CHUNK, Packer, zlib
from files import digest_file, lock, remove


class Results(object):
    """A part of Agent."""

    def results(self, request):
        """Lists the files that a job made, with their digests. If they have at most "send" bytes in total, they are sent immediately,
        as if requested one after the other with get."""
        job, limit = self.job(request), count_of(request, "send") if "send" in request else -1
        # Locked, because another connection may drop the job now, and a third one start it again: files that are gone, or not there yet,
        # would look like a job that made nothing.
        held = lock(job.lock_path, True)
        try:
            if job.state()["state"] != "done":
                raise Refused(NOT_FOUND, "job %s is not here, or has not ended" % job.name, "run the same command again")
            names = [name for asked in list_of(request, "names") for name in self.below(job, asked)]
            files = [self.offer(job, name, request.get("adopt") is True) for name in names]
        finally:
            os.close(held)
        sent = bool(files) and sum(file["size"] for file in files) <= limit
        self.reply(request, {"files": files, "sent": sent})
        for file in files if sent else []:
            self.reply(request, self.get(dict(request, name=file["name"])))

    @staticmethod
    def below(job, name):
        """Returns the file of that name, or all files of that directory, as paths below the job's directory."""
        path = os.path.join(job.work, safe_name(name))
        if os.path.islink(path) or not os.path.isdir(path):
            return [to_path(name)] if os.path.lexists(path) else []
        found = []
        for where, dirs, leaves in os.walk(path):
            dirs.sort()
            found += [os.path.relpath(os.path.join(where, leaf), job.work) for leaf in sorted(leaves)]
        return found

    def offer(self, job, name, adopt):
        path = os.path.join(job.work, name)
        about = os.lstat(path)
        text = os.fsencode(name).decode("utf-8", "surrogateescape")
        if not stat.S_ISREG(about.st_mode) or not is_safe(text):
            raise Refused(DATA_LOSS, "the job made %s, which is not a regular file with a valid name" % ascii(text)[:200],
                          "check what the trainer wrote")
        digest = digest_file(path)
        if adopt:
            self.blobs.adopt(path, digest)
        return {"name": text, "size": about.st_size, "sha256": digest}

    def get(self, request):
        """Sends the bytes of a file from an offset, in frames with "more": true except for the last."""
        job, name, offset = self.job(request), safe_name(text_of(request, "name")), count_of(request, "offset", 0)
        path = os.path.join(job.work, name)
        with open(path, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or os.path.islink(path):
                raise Refused(DATA_LOSS, "%s is not a regular file" % ascii(name))
            file.seek(offset)
            packer = Packer(self.link, zlib is not None and request.get("packed") is True)
            chunk = file.read(CHUNK)
            while chunk:
                following = file.read(CHUNK)
                packer.send({"id": request.get("id"), "ok": True, "more": bool(following)}, chunk)
                if not following:
                    return None
                chunk = following
        return {"more": False}

    def drop(self, request):
        """Removes a job that has ended."""
        job = self.job(request)
        held = lock(job.lock_path, True)
        try:
            state = job.state()["state"]
            if state == "running":
                raise Refused(FAILED_PRECONDITION, "job %s is still running" % job.name, "cancel it first")
            if state == "lost":
                self.end_lost(job)
            self.forget(job.dir)
            remove(job.lock_path)
        finally:
            os.close(held)
        return {}

    def forget(self, path):
        if os.path.isdir(path):
            away = os.path.join(self.base, "trees", "gone.%d.%d" % (os.getpid(), int(time.time() * 1e6)))
            os.rename(path, away)  # so that it is never found half removed
            shutil.rmtree(away, ignore_errors=True)
