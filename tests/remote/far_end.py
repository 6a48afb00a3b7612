# SPDX-License-Identifier: Apache-2.0
"""Talks to the far end of a remote job, which runs as a child process: what the tests of remote jobs share."""
import hashlib
import json
import os
import struct
import subprocess
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
REMOTE = os.path.join(HERE, "..", "..", "sdk", "remote")
sys.path.insert(0, REMOTE)
from join import joined  # noqa: E402

PROGRAM = joined(os.path.join(REMOTE, "far", "kolm_remote"))
MARKER = b"2f1c8a0d5e7b49639f00aa11bb22cc33"
BOOTSTRAP = ("import sys;i=sys.stdin.buffer;h=i.readline().split();p=i.read(int(h[1]));"
             "exec(compile(p,\"kolm_remote\",\"exec\"),{\"__name__\":\"kolm_remote\",\"MARKER\":h[0]})")


def other_bootstrap(old, new):
    """Returns a bootstrap that changes the program before running it."""
    assert PROGRAM.count(old) == 1, old
    words = tuple(text.replace("\\", "\\\\").replace('"', '\\"') for text in (old, new))
    return BOOTSTRAP.replace("p=i.read(int(h[1]));", "p=i.read(int(h[1])).replace(b\"%s\",b\"%s\");" % words)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def frame(header, raw=b""):
    text = json.dumps(header).encode()
    return struct.pack(">I", len(text)) + text + raw


class Answer(dict):
    raw = b""


class FarEnd(object):
    """One agent. base: its cache directory (XDG_CACHE_HOME/kolm). ahead: bytes that are sent right after its program."""

    def __init__(self, home, hello=True, env=None, command=None, preexec=None, ahead=b""):
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": home, "LANG": "C"}
        environment.update(env or {})
        self.process = subprocess.Popen(command or [sys.executable, "-I", "-B", "-c", BOOTSTRAP], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env=environment, cwd="/", preexec_fn=preexec, bufsize=0)
        program = PROGRAM.encode()
        self.write(MARKER + b" %d\n" % len(program) + program + ahead)
        line = b""
        while line.strip() != MARKER:
            line = self.line()
        self.number = 0
        self.packed = 0  # pieces that get() received compressed
        if hello:
            self.hello = self.ask("hello", protocol=1, backend="remote-ssh")
            self.base = self.hello["dir"]

    def line(self):
        got = b""
        while not got.endswith(b"\n"):
            byte = self.process.stdout.read(1)
            if not byte:
                raise EOFError(got)
            got += byte
        return got

    def write(self, data):
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view):]

    def exactly(self, length):
        got = b""
        while len(got) < length:
            more = self.process.stdout.read(length - len(got))
            if not more:
                raise EOFError()
            got += more
        return got

    def send(self, verb, raw=b"", **fields):
        self.number += 1
        header = dict(fields, verb=verb, id=self.number)
        if raw:
            header["bytes"] = len(raw)
        self.write(frame(header, raw))

    def receive(self):
        header = Answer(json.loads(self.exactly(struct.unpack(">I", self.exactly(4))[0]).decode()))
        header.raw = self.exactly(header.get("bytes", 0))
        return header

    def try_ask(self, verb, raw=b"", **fields):
        self.send(verb, raw, **fields)
        answer = self.receive()
        assert answer["id"] == self.number, answer
        return answer

    def ask(self, verb, raw=b"", **fields):
        answer = self.try_ask(verb, raw, **fields)
        assert answer["ok"], answer
        return answer

    def put(self, data, digest=None, offset=0, size=None, chunk=100000):
        digest = digest or sha(data)
        size = len(data) if size is None else size
        at = offset
        while True:
            piece = data[at:at + chunk]
            self.send("put", piece, sha256=digest, size=size, offset=at)
            at += len(piece)
            if at >= len(data):
                return digest

    def upload(self, files):
        """files: {name: bytes}. Sends what is missing; returns the list for create and tree."""
        entries = [{"name": name, "sha256": sha(data), "size": len(data)} for name, data in sorted(files.items())]
        by_digest = {sha(data): data for data in files.values()}
        for missing in self.ask("have", blobs=entries)["missing"]:
            self.put(by_digest[missing["sha256"]], offset=missing["at"])
        self.ask("sync")
        return entries

    def make(self, job, files, command, **start):
        self.ask("create", job=job, files=self.upload(files))
        return self.ask("start", job=job, command=command, **start)

    def follow(self, job, since=0):
        """Returns (final state, all event bytes)."""
        events = b""
        while True:
            answer = self.ask("follow", job=job, since=since, wait_ms=5000)
            events += answer.raw
            since = answer["next"]
            if answer["state"] != "running" and not answer.raw:
                return answer, events

    def get(self, job, name, offset=0, **fields):
        self.send("get", job=job, name=name, offset=offset, **fields)
        data = b""
        while True:
            answer = self.receive()
            assert answer["ok"], answer
            data += zlib.decompress(answer.raw) if "packed" in answer else answer.raw
            self.packed += "packed" in answer
            if not answer["more"]:
                return data

    def kill(self):
        self.process.kill()
        self.close()

    def close(self):
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.close()
