# SPDX-License-Identifier: Apache-2.0
"""Contents stored under their SHA-256."""
import fcntl
import hashlib
import os
import shutil
import stat

from errors import DATA_LOSS, Refused
from frames import CHUNK
from files import digest_file, lock, make_dir, make_dirs, remove, sync_dir

SMALL = 1 << 20  # blobs below this are not synced one by one, but checked before use
FICLONE = 0x40049409  # Linux: the copy shares its blocks with the original until one of them is written


class Blobs(object):
    def __init__(self, base):
        self.dir, self.parts_dir = os.path.join(base, "blobs"), os.path.join(base, "parts")
        make_dir(self.dir)
        make_dir(self.parts_dir)
        self.parts = {}  # {digest: Part}, those that this process writes
        self.trusted = set()

    def path(self, digest):
        return os.path.join(self.dir, digest[:2], digest)

    def has(self, digest, size):
        """True if all of it is here."""
        path = self.path(digest)
        try:
            about = os.lstat(path)
        except OSError:
            self.trusted.discard(digest)
            return False
        good = stat.S_ISREG(about.st_mode) and about.st_size == size
        if good and size < SMALL and digest not in self.trusted:
            good = digest_file(path) == digest
        if good:
            self.trusted.add(digest)
            os.utime(path)  # pruning goes by the last use
            return True
        remove(path)
        self.trusted.discard(digest)
        return False

    def part(self, digest):
        """Returns this process's part of the blob, opened if necessary. If another process writes the same blob, ours has another name."""
        if digest not in self.parts:
            self.parts[digest] = Part(os.path.join(self.parts_dir, digest))
        return self.parts[digest]

    def at(self, digest):
        """Returns how many bytes of an incomplete blob are here; they are then reserved for this process."""
        if digest not in self.parts and not os.path.exists(os.path.join(self.parts_dir, digest)):
            return 0
        return self.part(digest).size

    def finish(self, digest, size):
        part = self.parts.pop(digest)
        path = self.path(digest)
        try:
            if part.size != size or part.sha.hexdigest() != digest:
                part.drop()
                raise Refused(DATA_LOSS, "the bytes received do not match their digest: %s" % digest, "run the same command again")
            make_dir(os.path.dirname(path))
            if size >= SMALL:
                os.fsync(part.fd)
            os.fchmod(part.fd, 0o500)  # not writable, because there may be links to it; executable, because it may be a program
            os.rename(part.path, path)
            if size >= SMALL:
                sync_dir(os.path.dirname(path))
        finally:
            part.close()
        self.trusted.add(digest)

    def adopt(self, path, digest):
        """Makes a file of a job a blob, so that it need not be sent when the next job uses it."""
        target = self.path(digest)
        if os.path.exists(target):
            return
        try:
            make_dir(os.path.dirname(target))
            os.link(path, target)
            os.chmod(target, 0o500)
        except OSError:
            pass  # a file system without links: the file will be sent instead

    @staticmethod
    def copy(path, target, mode):
        with open(path, "rb") as source:
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(fd, "wb") as out:
                try:
                    fcntl.ioctl(out.fileno(), FICLONE, source.fileno())
                except OSError:  # the file system cannot share blocks
                    shutil.copyfileobj(source, out, 4 << 20)

    def place(self, digest, target, executable):
        """Places the blob at target. Only programs are links, because a job may write to its other files."""
        make_dirs(os.path.dirname(target))
        if executable:
            try:
                os.link(self.path(digest), target)
                return
            except OSError:
                pass  # a file system without links
        self.copy(self.path(digest), target, 0o700 if executable else 0o600)


class Part(object):
    def __init__(self, path):
        self.path = path
        self.fd = lock(path, False)
        if self.fd is None:
            self.path = "%s.%d" % (path, os.getpid())
            self.fd = lock(self.path, True)
            os.ftruncate(self.fd, 0)
        self.sha, self.size = hashlib.sha256(), 0
        for chunk in iter(lambda: os.read(self.fd, CHUNK), b""):
            self.sha.update(chunk)
            self.size += len(chunk)

    def write(self, data):
        data = memoryview(data)
        while data:
            written = os.write(self.fd, data)
            self.sha.update(data[:written])
            self.size += written
            data = data[written:]

    def begin_anew(self):
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        self.sha, self.size = hashlib.sha256(), 0

    def drop(self):
        remove(self.path)

    def close(self):
        os.close(self.fd)
