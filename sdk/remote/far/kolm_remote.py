# SPDX-License-Identifier: Apache-2.0
"""The far end of a job that kolm does on a machine reached by SSH: sent over the connection, never installed.

How it gets there. One fixed command is run by the login shell, whatever that is; it reads this program from its
standard input. A random word opens the answer, so that what a login shell prints before it is skipped.

    in:   WORD N LF, then N bytes: this program
    out:  anything, LF WORD LF

Then frames, both ways: four bytes, big-endian, the length of a JSON object; the object; and as many raw bytes as its
"bytes" says; with "packed" those are a zlib stream (RFC 1950) of that many bytes. A request has "verb" and "id"; its
answer has the same "id", and "ok": true, or "ok": false with "code" (KOLM_E_*), "text" and "remedy". Requests are done
in order, and may be sent before the one before was answered; with "then": true one is done only if that one was. put
has no answer: what went wrong is told by sync. The bytes of a put with "stream": N come on another stream, which a second
connection has lent: that one is told the name of a socket that have gave, and passes its standard input on through it.

What it keeps, below its directory (mode 0700):

    blobs/ab/abcd...   bytes under their SHA-256; large ones reached the disk before they got their name, small ones are
                       checked again before they are used
    parts/             blobs that are not whole yet: a cut costs what was in flight
    trees/ID/          programs, from blobs
    runtimes/ID/       Python environments: see kolm_runtime.py, which makes them
    jobs/ID/           spec.json, state.json, events.jsonl, errors.txt, work/ (the job directory)

A job runs below a keeper, a process of a session of its own, which outlives the connection. While it lives it holds a
lock on jobs/ID/run; so a job whose keeper was killed is seen as lost, and may be started again.

Python 3.6 or later, standard library only.
"""
import sys

if sys.version_info < (3, 6):
    sys.stdout.write("\n%s\n" % MARKER.decode("ascii"))  # noqa: F821 (given by the bootstrap)
    sys.stderr.write("kolm needs Python 3.6 or later on this machine; this is %s\n" % sys.version.split()[0])
    sys.exit(1)

import errno
import fcntl
import hashlib
import io
import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import time

try:
    import zlib
except ImportError:  # a Python that was built without: nothing is compressed then
    zlib = None

PROTOCOL = 1
HEADER_MAX = 16 << 20
BYTES_MAX = 4 << 20
CHUNK = 256 << 10
AHEAD = 8 << 10  # bytes that may be read of what follows
WIDE = 16 << 20  # from so many bytes on further streams are worth their opening
LENT_MAX = 64
LENT_SECONDS = 30
SMALL = 1 << 20  # blobs below this are not synced one by one, but checked before use
IDLE_SECONDS = 900  # without a request: the other side is gone, whatever the link says
ROOM_LEFT = 32 << 20  # bytes that stay free on the disk
NEEDED_SECONDS = 3600  # what was of use within this time is kept when room is made
KEPT_SECONDS = 30 * 86400  # what was of no use for so long is removed
FICLONE = 0x40049409  # of Linux: the copy shares its bytes with the original until one of them is written
LOOK_SECONDS = 86400  # how often that is looked for

CANCELLED, UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED = 1, 2, 3, 5, 6, 7, 8
FAILED_PRECONDITION, ABORTED, INTERNAL, UNAVAILABLE, DATA_LOSS = 9, 10, 13, 14, 15

DIGEST = re.compile(r"[0-9a-f]{64}\Z")
SOCKET = re.compile(r"kolm-[0-9a-f]{32}\Z")
NAME_ID = re.compile(r"[0-9a-f]{16,64}\Z")


class Refused(Exception):
    """What the other side is told of a failure."""

    def __init__(self, code, text, remedy=""):
        Exception.__init__(self, text)
        self.code, self.text, self.remedy = code, text, remedy


def of_error(error, what):
    """The Refused for an OSError."""
    codes = {errno.ENOENT: NOT_FOUND, errno.EACCES: PERMISSION_DENIED, errno.EPERM: PERMISSION_DENIED,
             errno.EROFS: PERMISSION_DENIED, errno.ENOSPC: RESOURCE_EXHAUSTED, errno.EDQUOT: RESOURCE_EXHAUSTED,
             errno.EFBIG: RESOURCE_EXHAUSTED, errno.ENOMEM: RESOURCE_EXHAUSTED, errno.EMFILE: RESOURCE_EXHAUSTED}
    code = codes.get(error.errno, UNKNOWN)
    remedy = ""
    if code == RESOURCE_EXHAUSTED:
        remedy = "make room there, or name a directory on another disk in config.json: backends.remote-ssh.dir"
    elif code == PERMISSION_DENIED:
        remedy = "name a directory there that may be written in config.json: backends.remote-ssh.dir"
    return Refused(code, "%s: %s" % (what, error.strerror or error), remedy)


# ---- Frames

def to_path(text):
    """A path or a name from JSON, as this Python's file functions want it in any locale."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def to_text(path):
    """The reverse; what is no UTF-8 is shown, not sent."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class Source(object):
    """Bytes that come."""

    def __init__(self, fd, held=b""):
        self.fd, self.file = fd, io.FileIO(fd, "rb", closefd=False)
        self.held = bytearray(held)  # read, and not taken yet

    def take(self, length):
        """So many bytes. What is much is read to where it stays."""
        while len(self.held) < length <= AHEAD:
            more = self.file.read(AHEAD)
            if not more:
                raise EOFError()
            self.held += more
        taken = bytearray(length)
        count = min(length, len(self.held))
        taken[:count] = self.held[:count]
        del self.held[:count]
        with memoryview(taken) as view:
            while count < length:
                more = self.file.readinto(view[count:])
                if not more:
                    raise EOFError()
                count += more
        return taken

    def pending(self, seconds):
        """True when something, or the end, is there within that time."""
        return bool(self.held) or bool(select.select([self.fd], [], [], seconds)[0])


class Lent(object):
    """Streams that other connections of this user lend: their standard inputs, passed on through a socket without a place on the disk.
    What they send is understood by what comes on the first stream."""

    def __init__(self):
        self.listener, self.sources, self.lenders = None, {}, []

    def listen(self):
        """The name of the socket; None where there is no such thing (it is Linux's)."""
        self.give_back()
        try:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(b"\0kolm-" + os.urandom(16).hex().encode("ascii"))
            self.listener.listen(16)
            self.listener.settimeout(LENT_SECONDS)
            return self.listener.getsockname()[1:].decode("ascii")
        except (OSError, AttributeError):
            self.give_back()
            return None

    def accept(self):
        lender = self.listener.accept()[0]
        if self.stranger(lender):
            lender.close()
            return
        lender.settimeout(LENT_SECONDS)
        self.lenders.append(lender)
        number, passed = lender.recvmsg(4, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)[:2]
        if len(number) == 4 and passed and passed[0][1] == socket.SCM_RIGHTS:
            stream, fd = struct.unpack(">I", number)[0], struct.unpack("i", passed[0][2])[0]
            if stream in self.sources:
                os.close(fd)
            else:
                self.sources[stream] = Source(fd)

    @staticmethod
    def stranger(peer):
        """True when it is another user's: names of such sockets are no secret, and nothing guards them."""
        return struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1] != os.geteuid()

    def take(self, stream, length):
        try:
            while stream not in self.sources and self.listener and len(self.lenders) < LENT_MAX:
                self.accept()
            return self.sources[stream].take(length)
        except (OSError, KeyError):  # what was to come there is missed: nothing after it can be understood
            raise EOFError()

    def give_back(self):
        for source in self.sources.values():
            os.close(source.fd)
        for lender in self.lenders + [self.listener] * (self.listener is not None):  # with it go those that were not taken
            lender.close()
        self.listener, self.sources, self.lenders = None, {}, []

    @classmethod
    def lend(cls, name, stream, fd, done):
        """Passes fd on, calls done, and waits until it is given back."""
        with socket.socket(socket.AF_UNIX) as lender:
            lender.settimeout(LENT_SECONDS)
            lender.connect(b"\0" + name)
            if cls.stranger(lender):
                raise Refused(PERMISSION_DENIED, "somebody else listens there")
            lender.sendmsg([struct.pack(">I", stream)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))])
            done()
            lender.settimeout(None)
            lender.recv(1)


class Link(object):
    def __init__(self, fd_in, fd_out, held=b""):
        self.source, self.fd_out, self.lent = Source(fd_in, held), fd_out, Lent()
        self.take, self.pending = self.source.take, self.source.pending

    def receive(self):
        """(header, bytes). EOFError when the link is gone; Refused when what came is no frame: then nothing after it can be
        understood."""
        length = struct.unpack(">I", self.take(4))[0]
        if length > HEADER_MAX:
            raise Refused(INVALID_ARGUMENT, "a frame of %d bytes" % length)
        try:
            header = json.loads(self.take(length).decode("utf-8"))
        except ValueError:
            raise Refused(INVALID_ARGUMENT, "a frame that is not JSON")
        if not isinstance(header, dict):
            raise Refused(INVALID_ARGUMENT, "a frame that is no object")
        count = header.get("bytes", 0)
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= BYTES_MAX:
            raise Refused(INVALID_ARGUMENT, "a frame with a bad number of bytes")
        stream = count_of(header, "stream", 0)
        return header, b"" if not count else self.lent.take(stream, count) if stream else self.take(count)

    def send(self, header, raw=b""):
        if raw:
            header = dict(header, bytes=len(raw))
        text = json.dumps(header).encode("ascii")
        data = memoryview(struct.pack(">I", len(text)) + text + raw)
        while data:
            data = data[os.write(self.fd_out, data):]


# ---- Compression

class Packer(object):
    """Sends the pieces of a file, compressed where that is quicker. The line is measured over all files of a connection."""
    wire_ns = 100.0  # to send a byte, until it was measured

    def __init__(self, link, allowed):
        self.link, self.allowed = link, allowed
        self.pack_ns, self.left, self.plain = 15.0, 0.5, 0  # to compress a byte; the share that is left; pieces until another try

    def packed(self, chunk):
        self.plain -= 1
        if not self.allowed or len(chunk) < 1024 or self.plain > 0 or self.pack_ns >= (1 - self.left) * self.wire_ns:
            return None
        begun = time.monotonic()
        packed = zlib.compress(chunk, 1)
        self.pack_ns += (1e9 * (time.monotonic() - begun) / len(chunk) - self.pack_ns) / 4
        if len(packed) > 0.95 * len(chunk):
            self.plain = 32
            return None
        self.left += (len(packed) / len(chunk) - self.left) / 4
        return packed

    def send(self, header, chunk):
        packed = self.packed(chunk)
        if packed is not None:
            header["packed"], chunk = len(chunk), packed
        begun = time.monotonic()
        self.link.send(header, chunk)
        measured = 1e9 * (time.monotonic() - begun) / len(chunk)
        Packer.wire_ns += (measured - Packer.wire_ns) * len(chunk) / (4 << 20)  # less fits into buffers, and seems to be sent at once


def unpacked(request, raw):
    """What was sent, compressed or not: exactly as much as is said."""
    if "packed" not in request:
        return raw
    size = count_of(request, "packed")
    stream = zlib.decompressobj() if zlib and 0 < size <= BYTES_MAX else None
    try:
        data = stream.decompress(raw, size + 1) if stream else b""
    except zlib.error:
        data = b""
    if not stream or len(data) != size or not stream.eof or stream.unused_data:
        raise Refused(DATA_LOSS, "a piece that came compressed cannot be read", "run the same command again")
    return data


# ---- What requests hold

def text_of(request, key, pattern=None):
    value = request.get(key)
    if not isinstance(value, str) or "\0" in value or (pattern and not pattern.match(value)):
        raise Refused(INVALID_ARGUMENT, "%s of %s is not what it should be" % (key, request.get("verb")))
    return value


def count_of(request, key, fallback=None):
    value = request.get(key, fallback)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Refused(INVALID_ARGUMENT, "%s of %s is not a count" % (key, request.get("verb")))
    return value


def list_of(request, key):
    value = request.get(key, [])
    if not isinstance(value, list):
        raise Refused(INVALID_ARGUMENT, "%s of %s is not a list" % (key, request.get("verb")))
    return value


def is_safe(name):
    """As kit_path_is_safe: stays inside its directory, whatever reads it."""
    return (isinstance(name, str) and 0 < len(name.encode("utf-8", "surrogatepass")) <= 255 and "\\" not in name and
            not any(ord(c) < 32 or ord(c) == 127 or 0xd800 <= ord(c) < 0xe000 for c in name) and
            all(part not in ("", ".", "..") for part in name.split("/")))


def safe_name(name):
    if not is_safe(name):
        raise Refused(INVALID_ARGUMENT, "%s is not a name inside a directory" % ascii(name)[:200])
    return to_path(name)


def files_of(request):
    """[(name, digest, size, executable)]"""
    files, seen = [], set()
    for item in list_of(request, "files"):
        if not isinstance(item, dict):
            raise Refused(INVALID_ARGUMENT, "a file of %s is not an object" % request.get("verb"))
        name = safe_name(item.get("name"))
        if name in seen:
            raise Refused(INVALID_ARGUMENT, "%s is there twice" % ascii(name))
        seen.add(name)
        files.append((name, text_of(item, "sha256", DIGEST), count_of(item, "size"), item.get("executable") is True))
    return files


# ---- Files

def make_dir(path):
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def make_dirs(path):
    if os.path.isdir(path):
        return
    make_dirs(os.path.dirname(path))
    make_dir(path)


def sync_dir(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError:
        pass  # some network file systems cannot
    finally:
        os.close(fd)


def write_whole(path, value):
    """The JSON of value under path, whole or not at all."""
    temporary = "%s.%d" % (path, os.getpid())
    try:
        with open(temporary, "wb") as file:
            file.write(json.dumps(value).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError:
        remove(temporary)
        raise
    sync_dir(os.path.dirname(path))


def read_json(path):
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read(HEADER_MAX).decode("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def remove(path):
    try:
        os.unlink(path)
    except OSError:
        pass


def digest_file(path):
    sha = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            sha.update(chunk)
    return sha.hexdigest()


def lock(path, wait):
    """A descriptor that holds the lock, or None. Close it to let go."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(path) and os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
            os.close(fd)  # who had it gave the file another name, or removed it
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise


# ---- Blobs

class Blobs(object):
    def __init__(self, base):
        self.dir, self.parts_dir = os.path.join(base, "blobs"), os.path.join(base, "parts")
        make_dir(self.dir)
        make_dir(self.parts_dir)
        self.parts = {}  # digest: Part, those that this process writes
        self.trusted = set()

    def path(self, digest):
        return os.path.join(self.dir, digest[:2], digest)

    def has(self, digest, size):
        """True when the whole of it is here."""
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
            os.utime(path)  # pruned by when it was last of use
            return True
        remove(path)
        self.trusted.discard(digest)
        return False

    def part(self, digest):
        """What is being written, or a new one. Somebody else's is left alone: then ours has a name of its own."""
        if digest not in self.parts:
            self.parts[digest] = Part(os.path.join(self.parts_dir, digest))
        return self.parts[digest]

    def at(self, digest):
        """How much of a blob that is not whole is here already; it is kept for this process then."""
        if digest not in self.parts and not os.path.exists(os.path.join(self.parts_dir, digest)):
            return 0
        return self.part(digest).size

    def finish(self, digest, size):
        part = self.parts.pop(digest)
        path = self.path(digest)
        try:
            if part.size != size or part.sha.hexdigest() != digest:
                part.drop()
                raise Refused(DATA_LOSS, "what came is not what its digest says: %s" % digest, "run the same command again")
            make_dir(os.path.dirname(path))
            if size >= SMALL:
                os.fsync(part.fd)
            os.fchmod(part.fd, 0o500)  # nobody writes it through a link; programs may be run
            os.rename(part.path, path)
            if size >= SMALL:
                sync_dir(os.path.dirname(path))
        finally:
            part.close()
        self.trusted.add(digest)

    def adopt(self, path, digest):
        """A file that a job made: it need not be sent here when the next job wants it."""
        target = self.path(digest)
        if os.path.exists(target):
            return
        try:
            make_dir(os.path.dirname(target))
            os.link(path, target)
            os.chmod(target, 0o500)
        except OSError:
            pass  # a file system without links: it will be sent, then

    @staticmethod
    def copy(path, target, mode):
        with open(path, "rb") as source:
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(fd, "wb") as out:
                try:
                    fcntl.ioctl(out.fileno(), FICLONE, source.fileno())
                except OSError:  # a file system that cannot share blocks
                    shutil.copyfileobj(source, out, 4 << 20)

    def place(self, digest, target, executable):
        """Makes target hold the blob. Only programs are links: a job may write to its own files."""
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


# ---- Processes

def processes():
    """{pid: (parent, group, session, started)} of all, by /proc; empty where there is none."""
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
    """True when the environment of a process of ours has the mark of a job."""
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            return b"KOLM_REMOTE_JOB=" + mark.encode("ascii") in file.read().split(b"\0")
    except OSError:
        return False


def tree_of(mark, roots, session):
    """Everything below roots, in the session, or with the job's mark in its environment; neither roots nor this process."""
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
    """Kills until nothing is left."""
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


# ---- Jobs

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
        """What its processes are known by: this job and no other. The same may be asked below another directory, by another box in
        a container, or anew while the keeper of a removed job still cleans up; all those have the same name."""
        return "%s.%s" % (self.name, read_json(os.path.join(self.dir, "spec.json")).get("mark", ""))

    def state(self):
        """{"state": absent, created, running, done or lost, ...}"""
        if not self.exists():
            return {"state": "absent"}
        value = read_json(self.state_path)
        if value.get("state") != "running":
            return value if value.get("state") == "done" else {"state": "created"}
        held = lock(self.run_path, False)
        if held is None:
            return value
        os.close(held)
        value = read_json(self.state_path)  # it may have ended in between
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
    """The keeper: starts the job's program, waits for its end, and says what became of it. Never returns."""
    reason, mark = {"why": ""}, environment["KOLM_REMOTE_JOB"]
    value = {"state": "running", "keeper": os.getpid(), "started": int(time.time())}
    try:
        # Orphans of the job come to this process instead of to init, so that they are found.
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
        os.close(told)  # who waits for this may be gone by now
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
        if "child" in value:  # nobody would know of it
            end_tree(mark, [os.getpid()], value["child"])
        told_of = of_error(error, "cannot run %s there" % to_text(command[0]))
        value.update(state="done", ended=int(time.time()), why="failed", exit=-1, signal=0, code=told_of.code,
                     text=told_of.text, remedy=told_of.remedy)
    for _ in range(600):  # a disk that is full now may have room in a while
        try:
            write_whole(job.state_path, value)
            break
        except FileNotFoundError:
            break  # somebody removed the job
        except OSError:
            if told is not None:
                os.close(told)
                told = None
            time.sleep(1)
    os._exit(0)


def launch(job, command, environment, grace, limit):
    """Starts the keeper; returns when the job runs, or could not be started."""
    held = lock(job.run_path, False)
    for _ in range(200):  # others only look whether it is held
        if held is None:
            time.sleep(0.01)
            held = lock(job.run_path, False)
    if held is None:
        return
    listen, told = os.pipe()
    first = os.fork()
    if first == 0:
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
                if int(fd) not in (0, 1, 2, held, told):
                    try:
                        os.close(int(fd))
                    except OSError:
                        pass
            os.chdir("/")
            keep(job, command, environment, grace, limit, told)
        finally:
            os._exit(1)
    os.close(told)
    os.close(held)
    os.waitpid(first, 0)
    while os.read(listen, 1):
        pass  # until it runs (the keeper closes its end then) or the keeper is gone
    os.close(listen)


# ---- Facts about this machine

def output_of(command, seconds=5):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=seconds, env=dict(os.environ, LC_ALL="C"))
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def first_line(path):
    try:
        with open(path, "rb") as file:
            return file.readline().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def nvidia_cards():
    program = shutil.which("nvidia-smi") or next(
        (p for p in ("/usr/bin/nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi", "/opt/bin/nvidia-smi") if os.path.exists(p)), None)
    cards = []
    for line in output_of([program, "--query-gpu=uuid,name,memory.total,memory.free,driver_version,compute_cap",
                           "--format=csv,noheader,nounits"]).splitlines() if program else []:
        words = [word.strip() for word in line.split(",")]
        if len(words) < 5:
            continue
        memory = [int(word) << 20 if word.isdigit() else None for word in words[2:4]]
        cards.append({"kind": "cuda", "id": words[0], "name": words[1], "total": memory[0], "free": memory[1],
                      "driver": "NVIDIA " + words[4]})
    return cards


def amd_cards():
    cards = []
    try:
        names = sorted(name for name in os.listdir("/sys/class/drm") if re.match(r"card\d+\Z", name))
    except OSError:
        names = []
    for name in names:
        device = os.path.join("/sys/class/drm", name, "device")
        total, used = (first_line(os.path.join(device, "mem_info_vram_" + word)) for word in ("total", "used"))
        if first_line(os.path.join(device, "vendor")) != "0x1002" or not total.isdigit():
            continue
        cards.append({"kind": "rocm", "id": os.path.basename(os.path.realpath(device)), "total": int(total),
                      "name": first_line(os.path.join(device, "product_name")) or "AMD GPU",
                      "free": int(total) - int(used) if used.isdigit() else None,
                      "driver": ("amdgpu " + first_line("/sys/module/amdgpu/version")).strip()})
    return cards


def processor():
    try:
        with open("/proc/cpuinfo", "rb") as file:
            for line in file:
                key, _, value = line.decode("utf-8", "replace").partition(":")
                if key.strip() in ("model name", "Model", "cpu"):
                    return value.strip()
    except OSError:
        pass
    return output_of(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]).strip() or os.uname().machine


def memory_bytes():
    total = free = None
    try:
        with open("/proc/meminfo", "rb") as file:
            for line in file:
                words = line.split()
                total = int(words[1]) << 10 if words[0] == b"MemTotal:" else total
                free = int(words[1]) << 10 if words[0] == b"MemAvailable:" else free
    except (OSError, ValueError, IndexError):
        pass
    return total, free


def package_dirs(python):
    """Where an interpreter keeps what was installed for it, by the layout of its directories: it is not started."""
    real = os.path.dirname(os.path.dirname(os.path.abspath(python)))
    prefixes = [real]
    if real in ("/usr", "/"):
        prefixes = ["/usr/local", "/usr"]
    elif "include-system-site-packages = true" in (open(os.path.join(real, "pyvenv.cfg")).read()
                                                  if os.path.exists(os.path.join(real, "pyvenv.cfg")) else ""):
        prefixes += ["/usr/local", "/usr"]
    version = re.match(r"python3\.\d+", os.path.basename(os.path.realpath(python)))
    found = []
    for prefix in prefixes:
        for lib in ("lib", "lib64"):
            try:
                names = sorted(os.listdir(os.path.join(prefix, lib)))
            except OSError:
                continue
            for name in names:
                if name == "python3" or (re.match(r"python3\.\d+\Z", name) and (not version or name == version.group())):
                    found += [os.path.join(prefix, lib, name, leaf) for leaf in ("site-packages", "dist-packages")]
    return [path for path in found if os.path.isdir(path)]


def packages_of(python):
    wanted = ("torch", "transformers", "peft", "unsloth")
    found = {}
    for path in package_dirs(python):
        try:
            names = os.listdir(path)
        except OSError:
            continue
        for name in names:
            match = re.match(r"(.+?)-([^-]+)\.(?:dist|egg)-info\Z", name)
            if match and match.group(1).lower() in wanted:
                found.setdefault(match.group(1).lower(), match.group(2))
    return found


def kolm_here(named):
    path = named or shutil.which("kolm") or next(
        (p for p in (os.path.expanduser("~/.local/bin/kolm"), "/usr/local/bin/kolm", "/usr/bin/kolm") if os.path.exists(p)), "")
    if not path:
        return None
    match = re.search(r"\d+\.\d+[^\s]*", output_of([path, "--version"]))
    return {"path": to_text(path), "version": match.group() if match else ""}


def probe(base, python, kolm, cards):
    """Everything that kolm asks of a machine before it sends work there."""
    total, free = memory_bytes()
    disk = os.statvfs(base)
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    if python and not os.access(python, os.X_OK):
        interpreter = {"path": to_text(python), "version": "", "packages": {}, "missing": True}
    else:
        path = python or sys.executable or shutil.which("python3") or ""
        version = "%d.%d.%d" % sys.version_info[:3] if not python else output_of([path, "--version"]).strip().rpartition(" ")[2]
        interpreter = {"path": to_text(path), "version": version, "packages": packages_of(path)}
    system = os.uname()
    libc = ""
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError, AttributeError):
        pass
    return {"system": system.sysname, "release": system.release, "machine": system.machine, "libc": libc,
            "host": system.nodename, "processor": processor(), "cores": cores, "memory_total": total, "memory_free": free,
            "disk_free": disk.f_bavail * disk.f_frsize, "gpus": nvidia_cards() + amd_cards() if cards else [], "python": interpreter,
            "kolm": kolm_here(kolm), "time": int(time.time())}


# ---- Verbs

class Agent(object):
    def __init__(self, link):
        self.link = link
        self.base = None
        self.blobs = None
        self.using = None  # held shared by every connection, and alone by one that removes what is young
        self.bad_put = None  # the first thing that went wrong since the last sync
        self.dropped = set()  # digests of which nothing is taken any more until then
        self.failed = False  # the last request, or one before that it was to follow

    # Where things are kept

    def hello(self, request):
        if count_of(request, "protocol") != PROTOCOL:
            raise Refused(FAILED_PRECONDITION, "this end speaks protocol %d" % PROTOCOL)
        wanted = request.get("dir") or ""
        if wanted:
            wanted = os.path.join(os.path.expanduser(to_path(text_of(request, "dir"))), "kolm-remote")
        else:
            cache = os.environ.get("XDG_CACHE_HOME", "")
            cache = cache if cache.startswith("/") else os.path.join(os.path.expanduser("~"), ".cache")
            wanted = os.path.join(cache, "kolm")
        if not wanted.startswith("/"):
            raise Refused(INVALID_ARGUMENT, "backends.remote-ssh.dir '%s' is not absolute" % to_text(wanted),
                          "write it from / or ~/ on")
        try:
            self.base = self.open_base(os.path.normpath(wanted))
            self.blobs = Blobs(self.base)
            for name in ("jobs", "trees", "locks", "runtimes"):
                make_dir(os.path.join(self.base, name))
            self.using = os.open(os.path.join(self.base, "using"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            self.shared()  # waits for one that removes things, which is soon done
        except OSError as error:
            refused = of_error(error, "cannot use %s there" % to_text(wanted))
            refused.remedy = "name a directory there that may be written in config.json: backends.remote-ssh.dir"
            raise refused
        self.prune_old()
        return {"protocol": PROTOCOL, "dir": to_text(self.base), "python": "%d.%d.%d" % sys.version_info[:3],
                "pid": os.getpid(), "packs": zlib is not None}

    @staticmethod
    def open_base(path):
        fresh = not os.path.isdir(path)
        make_dirs(path)
        path = os.path.realpath(path)
        about = os.stat(path)
        if about.st_uid != os.geteuid() or (about.st_mode & 0o022 and not fresh):
            raise Refused(PERMISSION_DENIED, "%s there may be written by others" % to_text(path),
                          "chmod 0700 it, or name another directory in config.json: backends.remote-ssh.dir")
        if about.st_mode & 0o077:
            os.chmod(path, 0o700)
        return path

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
                          "make room there, or name a directory on another disk in config.json: backends.remote-ssh.dir")

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
            # Each is placed once more into the job.
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
                return  # the same bytes are here, from before or under another name
            raw = unpacked(request, packed)
            part = self.blobs.part(digest)
            if offset == 0 and part.size:  # it is sent without asking what is here
                part.begin_anew()
            if part.size != offset or offset + len(raw) > size:
                raise Refused(ABORTED, "bytes of %s from %d on, where %d are here" % (digest, offset, part.size),
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
        """Passes what comes from now on to the connection that listens on "socket", writes "word", and ends when it is told to."""
        name, word = text_of(request, "socket", SOCKET), text_of(request, "word", NAME_ID)
        Lent.lend(name.encode("ascii"), count_of(request, "stream"), self.link.source.fd, lambda: os.write(self.link.fd_out, b"\n" + word.encode("ascii") + b"\n"))
        raise EOFError()

    # Trees and jobs

    def place_files(self, directory, files):
        for name, digest, size, executable in files:
            if not self.blobs.has(digest, size):
                raise Refused(NOT_FOUND, "%s has not come here yet" % digest, "run the same command again")
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
        """The model files of a job lie below its own model/ here, and its base model is a tree: job.json says so."""
        path = os.path.join(directory, "job.json")
        value = read_json(path)
        files = value.get("model_files")
        if not isinstance(files, list) and not base:
            return

        def text(place):
            try:
                return os.fsencode(place).decode("utf-8")
            except UnicodeDecodeError:
                raise Refused(FAILED_PRECONDITION, "the path of the directory there is no UTF-8",
                              "name another one in config.json: backends.remote-ssh.dir")

        for item in files if isinstance(files, list) else []:
            name = safe_name(item.get("name") if isinstance(item, dict) else None)
            item.update(path=text(os.path.join(final, "model", name)), offset=0)
        if base:
            value["options"]["base"]["path"] = text(base)
        os.unlink(path)
        write_whole(path, value)

    def words(self, job, words):
        """Strings, and {"job": NAME}, {"tree": ID, "name": NAME} or {"runtime": ID} for paths here; lists are joined."""
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
                raise Refused(INVALID_ARGUMENT, "a word of the command is not what it should be")
        return made

    def start(self, request):
        job = self.job(request)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("SSH_", "KOLM_"))}
        for given in (request.get("environment") or {}, request.get("secrets") or {}):
            if not isinstance(given, dict) or any(not key or "=" in key or "\0" in key for key in given):
                raise Refused(INVALID_ARGUMENT, "the environment of start is not what it should be")
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
            raise Refused(INTERNAL, "the job's keeper there ended at once", "run the same command again")
        return value

    @staticmethod
    def forget_end(job):
        """A job that ended, and is to go on from what it left: its events begin anew."""
        for path in (job.events, job.errors, job.state_path):
            remove(path)

    @staticmethod
    def end_lost(job):
        """What a killed keeper left running."""
        value = read_json(job.state_path)
        child, started = value.get("child", 0), value.get("child_started", 0)
        session = child if child and started and started_at(child) == started else 0
        end_tree(job.mark(), [], session)

    def status(self, request):
        return self.job(request).summary()

    def follow(self, request):
        """Whole lines of the events from an offset on; waits for some, for the end, or for the next request. "last": there will be no
        more."""
        job, since, wait = self.job(request), count_of(request, "since"), count_of(request, "wait_ms", 0) / 1000.0
        end = time.monotonic() + min(wait, 60)
        while True:
            value = job.summary()  # before the reading: who ended had written all by then
            data = self.read_from(job.events, since)
            whole = data[:data.rfind(b"\n") + 1]
            if not whole and data and (value["state"] != "running" or len(data) >= CHUNK):
                whole = data  # a last line without its end, or one that is no line of ours
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
        """Stops a job and everything below it: asks, waits for its grace, kills. Answers when it is over."""
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
            os.kill(value["keeper"], signal.SIGTERM)  # it holds its lock, so the number is its own
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

    # Results

    def results(self, request):
        """The files that a job made, with their digests. Those that have no more than "send" bytes together are sent at once, as if get
        had asked for one after the other."""
        job, limit = self.job(request), count_of(request, "send") if "send" in request else -1
        # Another connection may drop the job just now: what is gone halfway through would look like a job that made nothing.
        held = lock(job.lock_path, True)
        try:
            if not job.exists():
                raise Refused(NOT_FOUND, "job %s is not here" % job.name, "run the same command again")
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
        """The file of that name, or all files of the directory, as paths below the job's."""
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
            raise Refused(DATA_LOSS, "the job made %s, which is no file with a plain name" % ascii(text)[:200],
                          "look at what the trainer wrote")
        digest = digest_file(path)
        if adopt:
            self.blobs.adopt(path, digest)
        return {"name": text, "size": about.st_size, "sha256": digest}

    def get(self, request):
        """Sends a file's bytes from an offset on, in frames with "more": true before the last."""
        job, name, offset = self.job(request), safe_name(text_of(request, "name")), count_of(request, "offset", 0)
        path = os.path.join(job.work, name)
        with open(path, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or os.path.islink(path):
                raise Refused(DATA_LOSS, "%s is no file" % ascii(name))
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
        """Forgets a job that is over."""
        job = self.job(request)
        held = lock(job.lock_path, True)
        try:
            state = job.state()["state"]
            if state == "running":
                raise Refused(FAILED_PRECONDITION, "job %s still runs" % job.name, "cancel it first")
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
            os.rename(path, away)  # nobody finds half of it
            shutil.rmtree(away, ignore_errors=True)

    # Housekeeping

    def jobs(self, request):
        found = []
        for name in sorted(os.listdir(os.path.join(self.base, "jobs"))):
            job = Job(self.base, name)
            if NAME_ID.match(name) and job.exists():
                spec = read_json(os.path.join(job.dir, "spec.json"))
                found.append(dict(job.summary(), job=name, created=spec.get("created", 0), about=spec.get("about", "")))
        return {"jobs": found, "disk_used": self.used()}

    def used(self, below=None):
        """Bytes on the disk; what has several names counts in parts."""
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
        """All that is kept here, for people: jobs, trees, environments, and the contents together."""
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
        """True when no other connection is here; none can come then until shared() is called."""
        try:
            fcntl.flock(self.using, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            return False

    def shared(self):
        fcntl.flock(self.using, fcntl.LOCK_SH)

    def prune(self, request):
        """Removes what was of no use for so many seconds. What another connection sent just now is of no use yet: while there is one,
        an hour is the least."""
        older = count_of(request, "older_seconds")
        try:
            least = 0 if older >= NEEDED_SECONDS or self.alone() else NEEDED_SECONDS
            return self.remove_older(max(older, least))
        finally:
            self.shared()

    def remove_older(self, limit, kept=()):
        """Removes finished jobs, and trees, environments, blobs and parts, that were of no use for so many seconds; not the blobs in kept."""
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
        """A tree or an environment, unless somebody makes it just now."""
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
                return  # the clock was put right, or nobody came for long: who comes now may have come for what looks old
            self.remove_older(KEPT_SECONDS)
        except OSError:
            pass  # a full disk is told when there is something to write

    @staticmethod
    def since(when):
        """Seconds between then and now. What is dated from the future was so by a clock that was wrong: that far off, it is old too."""
        return abs(time.time() - when)

    def age(self, path):
        """Seconds since it was of use; -1: it is not there."""
        try:
            return self.since(os.lstat(path).st_mtime)
        except OSError:
            return -1

    def look(self, request):
        return probe(self.base, to_path(request.get("python") or ""), to_path(request.get("kolm") or ""), request.get("cards", True) is True)

    def runtime(self, request):
        """A Python environment here, when it is whole: as "python" of probe says it."""
        path = os.path.join(self.base, "runtimes", text_of(request, "runtime", NAME_ID))
        about, python = read_json(os.path.join(path, "runtime.json")), os.path.join(path, "venv", "bin", "python")
        if not about or not os.access(python, os.X_OK):
            return {"whole": False}
        os.utime(path)  # pruned by when it was last of use
        return {"whole": True, "python": {"path": to_text(python), "version": about.get("python"), "packages": about.get("packages")}}

    # The loop

    def answer(self, request, raw):
        verbs = {"hello": self.hello, "probe": self.look, "have": self.have, "sync": self.sync, "lend": self.lend, "tree": self.tree,
                 "create": self.create, "start": self.start, "status": self.status, "follow": self.follow,
                 "cancel": self.cancel, "results": self.results, "get": self.get, "drop": self.drop, "jobs": self.jobs,
                 "holdings": self.holdings, "prune": self.prune, "runtime": self.runtime}
        verb = request.get("verb")
        if self.base is None and verb != "hello":
            raise Refused(FAILED_PRECONDITION, "hello comes first")
        if verb == "put":
            return self.put(request, raw)
        if verb not in verbs:
            raise Refused(INVALID_ARGUMENT, "no such verb: %s" % ascii(verb)[:60])
        self.reply(request, verbs[verb](request))

    def reply(self, request, given):
        """given: what to answer, and bytes with it; None: it was answered already."""
        if given is not None:
            value, data = given if isinstance(given, tuple) else (given, b"")
            self.link.send(dict(value, id=request.get("id"), ok=True), data)

    def refuse(self, request, refused):
        self.failed = True
        self.link.send({"id": request.get("id"), "ok": False, "code": refused.code, "text": refused.text[:500],
                        "remedy": refused.remedy[:500]})

    def serve(self):
        while self.link.pending(IDLE_SECONDS):
            try:
                request, raw = self.link.receive()
            except EOFError:
                return
            except Refused as refused:
                self.refuse({}, refused)
                return
            try:
                if self.failed and request.get("then") is True:
                    raise Refused(ABORTED, "%s was to follow something that failed" % ascii(request.get("verb"))[:60])
                self.failed = False
                self.answer(request, raw)
            except Refused as refused:
                self.refuse(request, refused)
            except (BrokenPipeError, EOFError):
                return
            except OSError as error:
                self.refuse(request, of_error(error, "%s failed there" % request.get("verb")))
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                self.refuse(request, Refused(INVALID_ARGUMENT, "a request that is not understood: %s" % ascii(str(error))))


def read_ahead():
    """What Python read of what comes after this program."""
    os.set_blocking(0, False)
    try:
        return sys.stdin.buffer.peek()
    finally:
        os.set_blocking(0, True)


def main(marker):
    os.umask(0o077)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    link = Link(os.dup(0), os.dup(1), read_ahead())
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)  # nothing that is printed by accident becomes a frame
    os.write(link.fd_out, b"\n" + marker + b"\n")
    try:
        Agent(link).serve()
    except BrokenPipeError:
        pass


if "MARKER" in globals():
    main(globals()["MARKER"])
