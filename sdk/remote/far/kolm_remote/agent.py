# SPDX-License-Identifier: Apache-2.0
"""The loop that answers requests, and start-up."""
import os
import signal
import sys

from errors import ABORTED, FAILED_PRECONDITION, INVALID_ARGUMENT, PERMISSION_DENIED, Refused, caller, of_error, setting
from fields import NAME_ID, count_of, text_of, to_path, to_text
from frames import Link, PROTOCOL, zlib
from files import make_dir, make_dirs, read_json
from blobs import Blobs
from machine import probe
from uploads import Uploads
from running import Running
from results import Results
from housekeeping import Housekeeping
from guard import Guard

IDLE_SECONDS = 900  # without a request: the near end is gone, even if the link is open


class Agent(Uploads, Running, Results, Housekeeping, Guard):
    def __init__(self, link):
        self.link = link
        self.base = None
        self.blobs = None
        self.using = None  # locked shared by every connection, exclusively by one that removes recent things
        self.bad_put = None  # the first error of put since the last sync
        self.dropped = set()  # digests whose further pieces are ignored until the next sync
        self.failed = False  # the last request failed, or was skipped because an earlier one failed

    def hello(self, request):
        if count_of(request, "protocol") != PROTOCOL:
            raise Refused(FAILED_PRECONDITION, "this end speaks protocol %d" % PROTOCOL)
        caller["backend"] = text_of(request, "backend")
        wanted = request.get("dir") or ""
        if wanted:
            wanted = os.path.join(os.path.expanduser(to_path(text_of(request, "dir"))), "kolm-remote")
        else:
            cache = os.environ.get("XDG_CACHE_HOME", "")
            cache = cache if cache.startswith("/") else os.path.join(os.path.expanduser("~"), ".cache")
            wanted = os.path.join(cache, "kolm")
        if not wanted.startswith("/"):
            raise Refused(INVALID_ARGUMENT, "%s '%s' is not absolute" % (setting("dir"), to_text(wanted)),
                          "start it with / or ~/")
        try:
            self.base = self.open_base(os.path.normpath(wanted))
            self.blobs = Blobs(self.base)
            for name in ("jobs", "trees", "locks", "runtimes"):
                make_dir(os.path.join(self.base, name))
            self.using = os.open(os.path.join(self.base, "using"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            self.shared()  # waits for a connection that is pruning, which does not take long
        except OSError as error:
            refused = of_error(error, "cannot use %s there" % to_text(wanted))
            refused.remedy = "name a writable directory there in config.json: " + setting("dir")
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
            raise Refused(PERMISSION_DENIED, "%s there is writable by others" % to_text(path),
                          "set its mode to 0700, or name another directory in config.json: " + setting("dir"))
        if about.st_mode & 0o077:
            os.chmod(path, 0o700)
        return path

    def look(self, request):
        return probe(self.base, to_path(request.get("python") or ""), to_path(request.get("kolm") or ""), request.get("cards", True) is True)

    def runtime(self, request):
        """Reports a Python environment, if it is complete, in the form of "python" in the answer to probe."""
        path = os.path.join(self.base, "runtimes", text_of(request, "runtime", NAME_ID))
        about, python = read_json(os.path.join(path, "runtime.json")), os.path.join(path, "venv", "bin", "python")
        if not about or not os.access(python, os.X_OK):
            return {"whole": False}
        os.utime(path)  # pruning goes by the last use
        return {"whole": True, "python": {"path": to_text(python), "version": about.get("python"), "packages": about.get("packages")}}

    # The loop

    def answer(self, request, raw):
        verbs = {"hello": self.hello, "probe": self.look, "have": self.have, "sync": self.sync, "lend": self.lend, "tree": self.tree,
                 "create": self.create, "start": self.start, "status": self.status, "follow": self.follow,
                 "cancel": self.cancel, "results": self.results, "get": self.get, "drop": self.drop, "jobs": self.jobs,
                 "holdings": self.holdings, "prune": self.prune, "runtime": self.runtime,
                 "guard": self.guard, "guarded": self.guarded}
        verb = request.get("verb")
        if self.base is None and verb != "hello":
            raise Refused(FAILED_PRECONDITION, "hello comes first")
        if verb == "put":
            return self.put(request, raw)
        if verb not in verbs:
            raise Refused(INVALID_ARGUMENT, "unknown verb: %s" % ascii(verb)[:60])
        self.reply(request, verbs[verb](request))

    def reply(self, request, given):
        """given: the answer, or (answer, bytes); None if the request was answered already."""
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
                    raise Refused(ABORTED, "%s was to run only after a request that failed" % ascii(request.get("verb"))[:60])
                self.failed = False
                self.answer(request, raw)
            except Refused as refused:
                self.refuse(request, refused)
            except (BrokenPipeError, EOFError):
                return
            except OSError as error:
                self.refuse(request, of_error(error, "%s failed there" % request.get("verb")))
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                self.refuse(request, Refused(INVALID_ARGUMENT, "malformed request: %s" % ascii(str(error))))


def read_ahead():
    """Returns what Python has already read beyond this program."""
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
    os.dup2(2, 1)  # so that nothing printed by accident becomes a frame
    os.write(link.fd_out, b"\n" + marker + b"\n")
    try:
        Agent(link).serve()
    except BrokenPipeError:
        pass


if "MARKER" in globals():
    main(globals()["MARKER"])
