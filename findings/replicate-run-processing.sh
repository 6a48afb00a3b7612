#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# replicate 1.0.7 (Python), 2026-11-30: run() takes a prediction that has begun for one that has ended.
#
# One would guess: run() returns the output, however long the prediction takes; it says so itself when the prediction fails.
# What happens: the create request asks the server to hold its answer for a while. When the time is over the answer has the status "starting"
# or "processing". After "starting" run() polls to the end. After "processing", which only means that the machine was quick to start, it does
# not: it returns None at once, while the prediction goes on, succeeds and is billed, and its output is never fetched.
#
# The output seen:
#   answer to the create request: starting -> '42', 1 polls
#   answer to the create request: processing -> None, 0 polls
#
# Needs python3 with venv and the network; the requests go to a server on loopback that the script starts.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --retries 1 --timeout 30 replicate==1.0.7 >pip.log 2>&1 || { cat pip.log >&2; exit 1; }
cat >try.py <<'END'
import http.server
import json
import os
import threading

VERSION = "a" * 64
first, polls = [], []


def prediction(status, output):
    base = f"http://127.0.0.1:{server.server_port}/v1/predictions/p1"
    return {"id": "p1", "model": "acme/answer", "version": VERSION, "status": status, "input": {}, "output": output, "logs": "", "error": None,
            "metrics": {}, "source": "api", "created_at": "2026-11-30T00:00:00Z", "urls": {"get": base, "cancel": base + "/cancel"}}


class Server(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201, prediction(first[0], None))

    def do_GET(self):
        if self.path.startswith("/v1/predictions/"):
            polls.append(self.path)
            return self.answer(200, prediction("succeeded", "42"))
        self.answer(200, {"id": VERSION, "created_at": "2026-11-30T00:00:00Z", "cog_version": "0.9.0", "openapi_schema": {}})

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
import replicate

client = replicate.Client(api_token="a-token-for-loopback", base_url=f"http://127.0.0.1:{server.server_port}")
for status in "starting", "processing":
    first[:], polls[:] = [status], []
    output = client.run(f"acme/answer:{VERSION}", input={"text": "6 x 7"})
    print(f"answer to the create request: {status} -> {output!r}, {len(polls)} polls")
END
HOME="$dir" venv/bin/python try.py | tee seen
diff - seen <<'END' || { echo "it changed" >&2; exit 1; }
answer to the create request: starting -> '42', 1 polls
answer to the create request: processing -> None, 0 polls
END
