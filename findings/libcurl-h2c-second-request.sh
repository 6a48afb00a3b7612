#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# curl and libcurl 7.88.1 (Debian 12), hypercorn 0.18.0 (Python), 2026-12-01: HTTP/2 without TLS works for one request a connection.
#
# One would guess: a client that is told that the server speaks HTTP/2 (--http2-prior-knowledge, CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE), as
# clients of gRPC are told, keeps its connection, and sends the second request on it like the first.
# What happens: every second request to the same server fails at once with 16 (CURLE_HTTP2), "Error in the HTTP2 framing layer". On reuse
# libcurl puts a second layer of HTTP/2 on a connection that has one (curl's pull request 10643). With a connection for each request, and over
# HTTP/1.1, all goes well, and so it does with libcurl 8.16.0 (in pycurl 7.45.7 from PyPI): curl mended it in 8.0.0, and Debian 12 has
# it to this day.
#
# The output seen:
#   curl 7.88.1, HTTP/2, one connection: 1 of 3 requests answered, exit 16
#   curl 7.88.1, HTTP/2, a connection each: 3 of 3 requests answered, exit 0
#   curl 7.88.1, HTTP/1.1, one connection: 3 of 3 requests answered, exit 0
#   libcurl 8.16.0-DEV, HTTP/2, one connection: 3 of 3 requests answered
#
# Needs Debian 12 with curl, python3 with venv, and the network; the requests go to a server on loopback that the script starts.
set -euo pipefail
dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --only-binary :all: --retries 1 --timeout 30 hypercorn==0.18.0 h2==4.3.0 pycurl==7.45.7 >pip.log 2>&1 || { cat pip.log >&2; exit 1; }
cat >app.py <<'END'
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"answered\n"})
END
cat >newer.py <<'END'
import io
import sys

import pycurl

handle, answered = pycurl.Curl(), 0
for path in "abc":
    body = io.BytesIO()
    handle.setopt(pycurl.URL, sys.argv[1] + path)
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE)
    handle.setopt(pycurl.WRITEDATA, body)
    handle.perform()
    answered += body.getvalue() == b"answered\n" and handle.getinfo(pycurl.INFO_HTTP_VERSION) == pycurl.CURL_HTTP_VERSION_2_0
print(f"libcurl {pycurl.version_info()[1]}, HTTP/2, one connection: {answered} of 3 requests answered")
END
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port/
venv/bin/hypercorn -b "127.0.0.1:$port" app:app >server.log 2>&1 &
server=$!
curl -q -s --retry 20 --retry-connrefused --retry-delay 1 -o /dev/null "$url"

version=$(curl --version | sed -n '1s/^curl \([0-9.]*\).*/\1/p')
ask() {  # WHAT CURL-WORD...
    local what=$1 code=0
    shift
    curl -q -sS "$@" >answers 2>errors || code=$?
    echo "curl $version, $what: $(grep -c '^answered$' answers || true) of 3 requests answered, exit $code"
}
h2=--http2-prior-knowledge
{
    ask "HTTP/2, one connection" $h2 --fail-early "${url}a" "${url}b" "${url}c"
    ask "HTTP/2, a connection each" $h2 --parallel --parallel-immediate --no-progress-meter "${url}a" "${url}b" "${url}c"
    ask "HTTP/1.1, one connection" --http1.1 "${url}a" "${url}b" "${url}c"
    HOME="$dir" venv/bin/python newer.py "$url"
} | tee seen
diff - seen <<'END' || { echo "it changed" >&2; exit 1; }
curl 7.88.1, HTTP/2, one connection: 1 of 3 requests answered, exit 16
curl 7.88.1, HTTP/2, a connection each: 3 of 3 requests answered, exit 0
curl 7.88.1, HTTP/1.1, one connection: 3 of 3 requests answered, exit 0
libcurl 8.16.0-DEV, HTTP/2, one connection: 3 of 3 requests answered
END
