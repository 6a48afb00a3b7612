#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# runpod 1.12.0 (Python), 2026-11-30: terminate_pod() is as content with a refusal as with success.
#
# One would guess: terminate_pod() returns when the pod is being ended, and raises for any HTTP status that says it is not.
# What happens: of all statuses only 401 raises by itself. For the rest the client looks for a member "errors" in the body alone, and throws
# the answer away; a 429 or 500 whose JSON has no such member returns None, as success does. The pod runs on and is billed. So the end of
# a pod has to be read from a later list, never from this call.
#
# The output seen:
#   200 {"data": {"podTerminate": null}} -> None
#   404 {"message": "pod not found"} -> None
#   429 {"message": "too many requests"} -> None
#   500 {"message": "internal error"} -> None
#   401 {"message": "unauthorized"} -> AuthenticationError
#
# Needs python3 with venv and the network; the requests go to a server on loopback that the script starts.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --retries 1 --timeout 30 runpod==1.12.0 >pip.log 2>&1 || { cat pip.log >&2; exit 1; }
cat >try.py <<'END'
import http.server
import json
import os
import threading

ANSWERS = [(200, {"data": {"podTerminate": None}}), (404, {"message": "pod not found"}), (429, {"message": "too many requests"}),
           (500, {"message": "internal error"}), (401, {"message": "unauthorized"})]
now = []


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = now[0]
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["RUNPOD_API_BASE_URL"] = f"http://127.0.0.1:{server.server_port}"
import runpod

runpod.api_key = "a-key-for-loopback"
for answer in ANSWERS:
    now[:] = [answer]
    try:
        outcome = repr(runpod.terminate_pod("abc123"))
    except Exception as error:
        outcome = type(error).__name__
    print(answer[0], json.dumps(answer[1]), "->", outcome)
END
HOME="$dir" venv/bin/python try.py | tee seen
diff - seen <<'END' || { echo "it changed" >&2; exit 1; }
200 {"data": {"podTerminate": null}} -> None
404 {"message": "pod not found"} -> None
429 {"message": "too many requests"} -> None
500 {"message": "internal error"} -> None
401 {"message": "unauthorized"} -> AuthenticationError
END
