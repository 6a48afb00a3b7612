#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# libcurl 8.16.0 (in pycurl 7.45.7 from PyPI; Debian's 7.88.1 alike), 2026-11-30: a POST is sent a second time without a word to the caller.
#
# One would guess: libcurl leaves it to the caller whether a request is repeated, and surely a POST, which may have created something. Its
# manual speaks of repetition for the command line's --retry only.
# What happens: if a connection that was kept from an earlier request is closed before the first byte of the answer, libcurl takes it for
# one that had died meanwhile, opens another and sends the request again, POST included; the transfer ends with CURLE_OK. The server here
# reads the whole POST before it closes, as one does that creates a machine and then restarts: it gets two. On a connection of its own
# (FRESH_CONNECT) the same POST is sent once, and the transfer fails with 52 (CURLE_GOT_NOTHING).
#
# The output seen:
#   kept connection: POST reached the server 2 times, libcurl says ok, status 200
#   fresh connection: POST reached the server 1 times, libcurl says error 52
#
# Needs python3 with venv and the network; the requests go to a server on loopback that the script starts.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --only-binary :all: --retries 1 --timeout 30 pycurl==7.45.7 >pip.log 2>&1 || { cat pip.log >&2; exit 1; }
cat >try.py <<'END'
import io
import socketserver
import threading

import pycurl

posts = []


class Server(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            head = []
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                head.append(line)
            if not head:
                return
            length = sum(int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length"))
            body = self.rfile.read(length)
            if head[0].startswith(b"POST"):
                posts.append(body)
                if len(posts) == 1:
                    return  # received in full, and closed without an answer
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


socketserver.ThreadingTCPServer.daemon_threads = True
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = "http://127.0.0.1:%d/" % server.server_address[1]

for name, fresh in (("kept", 0), ("fresh", 1)):
    posts.clear()
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.WRITEDATA, io.BytesIO())
    curl.perform()  # a GET, whose connection is kept
    curl.setopt(pycurl.FRESH_CONNECT, fresh)
    curl.setopt(pycurl.POSTFIELDS, '{"create":"a machine"}')
    try:
        curl.perform()
        outcome = "ok, status %d" % curl.getinfo(pycurl.RESPONSE_CODE)
    except pycurl.error as error:
        outcome = "error %d" % error.args[0]
    print("%s connection: POST reached the server %d times, libcurl says %s" % (name, len(posts), outcome))
END
venv/bin/python try.py | tee seen
diff - seen <<'END' || { echo "it changed" >&2; exit 1; }
kept connection: POST reached the server 2 times, libcurl says ok, status 200
fresh connection: POST reached the server 1 times, libcurl says error 52
END
