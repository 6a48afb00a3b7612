# SPDX-License-Identifier: Apache-2.0
"""What the tests of sdk/http share: the tool that sends requests, and a server with predefined answers."""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "contract"))
from server import Server, answer, reset  # noqa: E402

TOOL = os.environ["HTTP_TOOL"]
NOWHERE = "n" * 64 + ".example"  # a label of 64 letters is invalid, so no resolver sends a query for it
TOKEN = "r8_ThisIsTheCanaryOfTheTest0123456789"
AUTH = {"name": "Authorization", "value": "Bearer ", "secret": TOKEN}
FAST = {"plain": True, "first_wait_ms": 1, "proxy": "", "no_proxy": ""}


def run(options, *lines, env=None, check=True):
    """Returns the answers of http_tool to these requests; checks its whole output for secrets."""
    text = "".join(json.dumps(line) + "\n" for line in ({**FAST, **options}, *lines))
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy") and name != "SSL_CERT_FILE"}
    done = subprocess.run([TOOL], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**clean, **(env or {})}, timeout=280, check=False)
    if check and done.returncode != 0:
        raise AssertionError("http_tool ended with %d\n%s\n%s" % (done.returncode, done.stdout, done.stderr))
    if any(TOKEN[at:at + 8] in done.stdout + done.stderr for at in range(len(TOKEN) - 7)):
        if not any(isinstance(line, dict) and line.get("echo") for line in lines):
            raise AssertionError("the token was printed: " + done.stdout + done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def one(request, **options):
    return run(options, request)[0]


class Case(unittest.TestCase):
    maxDiff = None

    def serve(self, *replies, **more):
        """Starts a server that gives these replies in order and repeats the last one; a reply is bytes, or a function of request and
        connection."""
        state = {"at": 0}

        def handle(request, connection):
            reply = replies[min(state["at"], len(replies) - 1)]
            state["at"] += 1
            return reply(request, connection) if callable(reply) else reply
        server = Server(handle, **more)
        self.addCleanup(server.close)
        return server

    def folder(self):
        path = tempfile.mkdtemp(prefix="kolm-http-")
        self.addCleanup(shutil.rmtree, path, True)
        return path

    def file(self, content=b"", name="file"):
        path = os.path.join(self.folder(), name)
        with open(path, "wb") as out:
            out.write(content)
        return path


def closing(request, connection):
    """Receives the request and closes the connection without an answer."""
    return None


def resetting(request, connection):
    reset(connection)
    return None


def half_body(request, connection):
    connection.sendall(answer(200, b"", [("Content-Length", "1000")]) + b"x" * 100)
    return None


def nobody_there():
    """Returns a port that refuses connections."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]
