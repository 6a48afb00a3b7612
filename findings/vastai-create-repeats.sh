#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vastai 1.9.1 (Python), 2026-11-30: the command that rents a machine rents again after an unclear answer, and ends with 0 when it got none.
#
# One would guess: a request that rents, and that carries nothing by which the server could know it again, is sent once; a command that did
# not get what it asked for ends with another code than 0.
# What happens: a 504 does not say whether the machine was rented. The client sends the same PUT twice more, with no key and no look at the
# list in between, so that one command can rent three machines. It then ends with 0, as it does after a refusal that comes in the body, which
# is how this provider refuses.
#
# The output seen:
#   504 {} -> requests that rent: 3, exit code: 0
#   200 {"success": false, "msg": "no_such_ask"} -> requests that rent: 1, exit code: 0
#
# Needs python3 with venv and the network; the requests go to a server on loopback that the script starts.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --retries 1 --timeout 30 vastai==1.9.1 >pip.log 2>&1 || { cat pip.log >&2; exit 1; }
cat >try.py <<'END'
import http.server
import json
import os
import subprocess
import threading

ANSWERS = [(504, {}), (200, {"success": False, "msg": "no_such_ask"})]
now, puts = [], []


class Server(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        puts.append(self.path)
        self.answer(*now[0])

    def do_GET(self):
        self.answer(200, {})

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
command = ["venv/bin/vastai", "--url", f"http://127.0.0.1:{server.server_port}", "--api-key", "a-key-for-loopback", "create", "instance", "7",
           "--image", "debian:12", "--disk", "10", "--raw"]
for answer in ANSWERS:
    now[:], puts[:] = [answer], []
    done = subprocess.run(command, env={**os.environ, "VASTAI_NO_UPDATE_CHECK": "1"}, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    print(answer[0], json.dumps(answer[1]), f"-> requests that rent: {len(puts)}, exit code: {done.returncode}")
END
HOME="$dir" venv/bin/python try.py | tee seen
diff - seen <<'END' || { echo "it changed" >&2; exit 1; }
504 {} -> requests that rent: 3, exit code: 0
200 {"success": false, "msg": "no_such_ask"} -> requests that rent: 1, exit code: 0
END
