# SPDX-License-Identifier: Apache-2.0
"""The verbs that upload files: have, put, sync, lend, tree."""
import os
import shutil

from errors import ABORTED, NOT_FOUND, RESOURCE_EXHAUSTED, Refused, of_error, setting
from fields import DIGEST, NAME_ID, SOCKET, count_of, files_of, list_of, text_of, to_text
from frames import Lent, unpacked
from files import lock, make_dir, sync_dir

WIDE = 16 << 20  # bytes from which it is worth opening further streams
ROOM_LEFT = 32 << 20  # bytes to leave free on the disk
NEEDED_SECONDS = 3600  # what was used within this time is kept when space is freed


class Uploads(object):
    """A part of Agent."""

    def free(self):
        disk = os.statvfs(self.base)
        return disk.f_bavail * disk.f_frsize

    def room(self, needed):
        if self.free() < needed + ROOM_LEFT:
            self.remove_older(NEEDED_SECONDS, self.blobs.trusted)
        free = self.free()
        if free < needed + ROOM_LEFT:
            raise Refused(RESOURCE_EXHAUSTED, "%s there has %d MB free, and %d MB are needed" %
                          (to_text(self.base), free >> 20, (needed + ROOM_LEFT + (1 << 20) - 1) >> 20),
                          "free some space there, or name a directory on another disk in config.json: " + setting("dir"))

    # Blobs

    def have(self, request):
        missing, needed = [], 0
        for item in list_of(request, "blobs"):
            digest, size = text_of(item if isinstance(item, dict) else {}, "sha256", DIGEST), count_of(item, "size")
            if self.blobs.has(digest, size):
                continue
            at = self.blobs.at(digest)
            if at > size:
                part = self.blobs.parts.pop(digest)
                part.drop()
                part.close()
                at = 0
            missing.append({"sha256": digest, "at": at})
            needed += size - at
        if missing:
            # Twice, because each is also copied into the job.
            self.room(2 * needed)
        wide = needed >= WIDE and request.get("wide") is True
        return dict({"missing": missing}, **({"socket": self.link.lent.listen()} if wide else {}))

    def put(self, request, packed):
        digest = text_of(request, "sha256", DIGEST)
        size, offset = count_of(request, "size"), count_of(request, "offset")
        if digest in self.dropped:
            return
        try:
            fresh = digest not in self.blobs.parts
            if fresh and (digest in self.blobs.trusted or (offset == 0 and self.blobs.has(digest, size))):
                return  # the same bytes are here already, perhaps under another name
            raw = unpacked(request, packed)
            part = self.blobs.part(digest)
            if offset == 0 and part.size:  # the sender did not ask what is here
                part.begin_anew()
            if part.size != offset or offset + len(raw) > size:
                raise Refused(ABORTED, "received bytes of %s from offset %d, but %d are here" % (digest, offset, part.size),
                              "run the same command again")
            part.write(raw)
            if part.size == size:
                self.blobs.finish(digest, size)
        except OSError as error:
            self.put_failed(digest, of_error(error, "cannot write to %s there" % to_text(self.base)))
        except Refused as refused:
            self.put_failed(digest, refused)

    def put_failed(self, digest, refused):
        self.dropped.add(digest)
        self.bad_put = self.bad_put or refused
        part = self.blobs.parts.pop(digest, None)
        if part:
            part.close()

    def sync(self, request):
        self.link.lent.give_back()
        bad, self.bad_put, self.dropped = self.bad_put, None, set()
        if bad:
            raise bad
        return {}

    def lend(self, request):
        """Passes all further input to the connection that listens on "socket", writes "word", and ends when that connection says so."""
        name, word = text_of(request, "socket", SOCKET), text_of(request, "word", NAME_ID)
        Lent.lend(name.encode("ascii"), count_of(request, "stream"), self.link.source.fd, lambda: os.write(self.link.fd_out, b"\n" + word.encode("ascii") + b"\n"))
        raise EOFError()

    # Trees and jobs

    def place_files(self, directory, files):
        for name, digest, size, executable in files:
            if not self.blobs.has(digest, size):
                raise Refused(NOT_FOUND, "%s has not arrived yet" % digest, "run the same command again")
        for name, digest, size, executable in files:
            self.blobs.place(digest, os.path.join(directory, name), executable)

    def fresh_dir(self, path):
        shutil.rmtree(path, ignore_errors=True)
        make_dir(path)
        return path

    def tree(self, request):
        name, files = text_of(request, "tree", NAME_ID), files_of(request)
        path = os.path.join(self.base, "trees", name)
        held = lock(os.path.join(self.base, "locks", "tree-" + name), True)
        try:
            if os.path.isdir(path) and all(self.same(os.path.join(path, f[0]), f[2]) for f in files):
                os.utime(path)
                return {}
            self.room(sum(f[2] for f in files))
            temporary = self.fresh_dir(path + ".new")
            self.place_files(temporary, files)
            shutil.rmtree(path, ignore_errors=True)
            os.rename(temporary, path)
            sync_dir(os.path.dirname(path))
        finally:
            os.close(held)
        return {}

    @staticmethod
    def same(path, size):
        try:
            return os.path.getsize(path) == size
        except OSError:
            return False
