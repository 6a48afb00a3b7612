#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sdk/http against a server that does everything wrong: what is asked, how often, what comes back, and what nobody may see."""
import gzip
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from email.utils import formatdate

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "contract"))
from server import Authority, Server, answer, reset  # noqa: E402

TOOL = os.environ["HTTP_TOOL"]
NOWHERE = "n" * 64 + ".example"  # no resolver asks anybody for a label of 64 letters
TOKEN = "r8_ThisIsTheCanaryOfTheTest0123456789"
AUTH = {"name": "Authorization", "value": "Bearer ", "secret": TOKEN}
FAST = {"plain": True, "first_wait_ms": 1, "proxy": "", "no_proxy": ""}


def run(options, *lines, env=None, check=True):
    """The answers of http_tool to these requests, and what it printed in all."""
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
        """A server that gives these replies in order, the last one for ever; a reply is bytes, or a function of request and connection."""
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
    """The request has arrived; no answer comes."""
    return None


def resetting(request, connection):
    reset(connection)
    return None


def half_body(request, connection):
    connection.sendall(answer(200, b"", [("Content-Length", "1000")]) + b"x" * 100)
    return None


def nobody_there():
    """A port that refuses."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


class Plain(Case):
    def test_get(self):
        server = self.serve(answer(200, '{"a":[1,2]}', [("Content-Type", "application/json"), ("X-Request-Id", "req-7"), ("X-Test", "one"), ("x-test", "two")]))
        got = one({"url": server.url("/v1/x?q=1"), "headers": [AUTH, {"name": "X-Empty", "value": ""}], "json": True})
        self.assertEqual((got["code"], got["status"], got["fate"], got["tries"], got["may"]), ("OK", 200, "answered", 1, False))
        self.assertEqual((got["json"], got["request_id"], got["x-test"], got["retry_after_ms"]), ({"a": [1, 2]}, "req-7", "two", -1))
        request = server.seen[0]
        self.assertEqual((request.method, request.target, request.body), ("GET", "/v1/x?q=1", b""))
        self.assertEqual(request.headers["authorization"], "Bearer " + TOKEN)
        self.assertEqual(request.headers["x-empty"], "")
        self.assertTrue(request.headers["user-agent"].startswith("kolm/"))
        self.assertNotIn("content-type", request.headers)

    def test_an_answer_that_is_there_is_not_waited_for(self):
        """Each request once cost a slice of a tenth of a second more than its answer took."""
        server = self.serve(answer(200, "{}"))
        begun = time.monotonic()
        answers = run({}, *[{"url": server.url()}] * 40)
        self.assertEqual([a["status"] for a in answers], [200] * 40)
        self.assertLess(time.monotonic() - begun, 40 * 0.1 * 0.8)

    def test_bodies(self):
        server = self.serve(answer(200))
        content = os.urandom(300000)
        path = self.file(content)
        run({}, {"url": server.url(), "body": '{"n":1}'}, {"url": server.url(), "method": "POST"}, {"url": server.url(), "method": "DELETE", "repeat": "change"},
            {"url": server.url(), "method": "PUT", "body_file": path, "offset": 5, "repeat": "change", "content_type": "application/x-tar"},
            {"url": server.url(), "method": "HEAD"})
        post, empty, delete, put, head = server.seen
        self.assertEqual((post.method, post.body, post.headers["content-type"]), ("POST", b'{"n":1}', "application/json"))
        self.assertEqual((empty.method, empty.body, empty.headers["content-length"]), ("POST", b"", "0"))
        self.assertNotIn("content-type", empty.headers)
        self.assertEqual((delete.method, delete.body), ("DELETE", b""))
        self.assertEqual((put.method, put.headers["content-type"], put.headers["content-length"]), ("PUT", "application/x-tar", "299995"))
        self.assertEqual(put.body, content[5:])
        self.assertNotIn("expect", put.headers)
        self.assertEqual(head.method, "HEAD")
        self.assertEqual(server.connections, 1)  # it is kept

    def test_multipart(self):
        server = self.serve(answer(201))
        path = self.file(b"\x00\x01rows\r\n--x")
        got = one({"url": server.url(), "repeat": "create", "parts": [
            {"name": "purpose", "text": "fine-tune"}, {"name": "file", "filename": "train.jsonl", "content_type": "application/jsonl", "file": path}]})
        self.assertEqual(got["code"], "OK")
        body, kind = server.seen[0].body, server.seen[0].headers["content-type"]
        boundary = kind.split("boundary=")[1].encode()
        parts = body.split(b"--" + boundary)
        self.assertIn(b'name="purpose"\r\n\r\nfine-tune\r\n', parts[1])
        self.assertIn(b'filename="train.jsonl"\r\nContent-Type: application/jsonl\r\n', parts[2])
        self.assertTrue(parts[2].endswith(b"\r\n\r\n\x00\x01rows\r\n--x\r\n"))

    def test_requests_that_are_none(self):
        server = self.serve(answer(200))
        url = server.url()
        requests = ({"url": "http://203.0.113.5/"}, {"url": "https://u:p@localhost/"}, {"url": "nonsense"}, {"url": url, "method": "GET\r\nX: y"},
                        {"url": url, "headers": [{"name": "Host", "value": "x"}]}, {"url": url, "headers": [{"name": "A", "value": "b\r\nC: d"}]},
                        {"url": url, "headers": [{"name": "A B", "value": "c"}]}, {"url": url, "repeat": "keyed", "method": "POST"},
                        {"url": url, "headers": [{"name": "Content-Length", "value": "0"}]}, {"url": url, "body": "x", "body_file": "/dev/null"})
        for request, got in zip(requests, run({}, *requests)):
            self.assertEqual((got["code"], got["fate"], got["tries"] <= 1), ("INVALID_ARGUMENT", "not-sent", True), request)
            self.assertTrue(got["text"] and got["remedy"], request)
        self.assertEqual(server.seen, [])

    def test_not_json(self):
        server = self.serve(answer(200, "<html>", [("Content-Type", "text/html")]), answer(200, '{"a":1,"a":2}'), answer(200, "[" * 100 + "]" * 100))
        got = run({}, *[{"url": server.url(), "json": True}] * 3)
        self.assertIn("text/html", got[0]["json_error"])
        self.assertIn("not JSON", got[1]["json_error"])
        self.assertIn("not JSON", got[2]["json_error"])


class Statuses(Case):
    def test_each_has_code_and_words(self):
        codes = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "RESOURCE_EXHAUSTED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED", 410: "NOT_FOUND",
                 422: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 500: "UNAVAILABLE", 503: "UNAVAILABLE"}
        body = json.dumps({"error": {"message": "bad thing\nhere " + TOKEN + " \x1b[31m"}})
        server = self.serve(lambda request, connection: answer(int(request.target[1:4]), body))
        results = run({"tries": 1}, *[{"url": server.url("/%d?secret=hidden" % status), "headers": [AUTH], "echo": True} for status in codes])
        for (status, code), got in zip(codes.items(), results):
            self.assertEqual((got["code"], got["status"], got["fate"], got["may"]), (code, status, "answered", False))
            self.assertIn("answered %d" % status, got["text"])
            self.assertIn("bad thing here [secret]", got["text"])
            self.assertNotIn(TOKEN, got["text"] + got["remedy"])
            self.assertNotIn("hidden", got["text"])
            self.assertNotIn("\x1b", got["text"])
            self.assertTrue(got["remedy"])
            self.assertIn(TOKEN, got["body"])  # the caller has it as it came

    def test_sentences_of_providers(self):
        bodies, expected = [], []
        for body, words in (('{"detail":"Not allowed"}', "Not allowed"), ('{"detail":[{"loc":["a"],"msg":"field required"}]}', "field required"), ('{"msg":"no"}', ": no"),
                            ('{"error":"plain"}', ": plain"), ("<html><body>gateway</body></html>", "Bad Request"), ("", "Bad Request"), ("oops \xe9", "oops")):
            bodies.append(body)
            expected.append(words)
        server = self.serve(*[answer(400, body) for body in bodies])
        for words, got in zip(expected, run({}, *[{"url": server.url()}] * len(bodies))):
            self.assertIn(words, got["text"])
            self.assertNotIn("html", got["text"])

    def test_huge_error_body(self):
        server = self.serve(lambda request, connection: answer(404, b"y" * 1000000))
        got = one({"url": server.url()})
        self.assertEqual((got["code"], got["status"], got["cut"], len(got["body"]), got["fate"]), ("NOT_FOUND", 404, True, 65536, "answered"))


class Tries(Case):
    def test_table(self):
        """What is sent how often, for each way to fail and each kind of request."""
        ways = {"408": answer(408), "429": answer(429), "500": answer(500), "503": answer(503), "501": answer(501), "closed": closing, "reset": resetting, "half": half_body,
                "401": answer(401), "402": answer(402), "403": answer(403), "404": answer(404), "409": answer(409), "410": answer(410), "422": answer(422)}
        again = {"read": {"408", "429", "500", "503", "closed", "reset", "half"}, "create": {"429"}}
        again["change"] = again["keyed"] = again["read"]
        unclear = {"408", "500", "503", "501", "closed", "reset", "half"}
        server = self.serve(lambda request, connection: self.reply(ways[request.target.split("/")[1]], request, connection))
        cases = [(way, repeat) for way in ways for repeat in ("read", "change", "keyed", "create")]
        results = run({"tries": 3}, *[{"url": server.url("/%s/%s" % case), "method": "GET" if case[1] == "read" else "POST", "repeat": case[1], "key": "k-1"} for case in cases])
        for (way, repeat), got in zip(cases, results):
            with self.subTest(way=way, repeat=repeat):
                requests = [request for request in server.seen if request.target == "/%s/%s" % (way, repeat)]
                sent = 3 if way in again[repeat] else 1
                self.assertEqual((len(requests), got["tries"]), (sent, sent))
                may = repeat in ("keyed", "create") and way in unclear
                self.assertEqual((got["may"], got["code"] == "UNKNOWN"), (may, may), got)
                if may:
                    self.assertIn("happened", got["text"])
                if repeat == "keyed":
                    self.assertEqual({request.headers["idempotency-key"] for request in requests}, {"k-1"})

    @staticmethod
    def reply(way, request, connection):
        return way(request, connection) if callable(way) else way

    def test_success_after_failures(self):
        server = self.serve(answer(503), resetting, answer(429), answer(201, "done"))
        got = one({"url": server.url(), "method": "POST", "repeat": "keyed", "key": "k", "key_header": "x-idempotency-key"})
        self.assertEqual((got["code"], got["status"], got["tries"], got["body"], got["may"], got["text"]), ("OK", 201, 4, "done", False, ""))
        self.assertEqual(server.seen[3].headers["x-idempotency-key"], "k")

    def test_keyed_refused_after_a_lost_answer(self):
        server = self.serve(closing, answer(401))
        got = one({"url": server.url(), "method": "POST", "repeat": "keyed", "key": "k"})
        self.assertEqual((got["code"], got["status"], got["may"]), ("UNAUTHENTICATED", 401, True))

    def test_500_after_having_created(self):
        made = []

        def create(request, connection):
            made.append(request)
            return answer(500, "internal error")
        server = self.serve(create)
        got = one({"url": server.url(), "method": "POST", "body": "{}", "repeat": "create", "headers": [AUTH]})
        self.assertEqual((len(made), got["code"], got["may"], got["status"]), (1, "UNKNOWN", True, 500))
        self.assertIn("it may have happened", got["text"])
        self.assertIn("check with the provider", got["remedy"])

    def test_kept_connection_that_died_makes_no_second_machine(self):
        """libcurl sends a request again by itself when a connection that it kept turns out to be dead."""
        server = self.serve(answer(200), closing, answer(200))
        got = run({}, {"url": server.url()}, {"url": server.url("/rent"), "method": "PUT", "body": "{}", "repeat": "create"})
        self.assertEqual([request.target for request in server.seen], ["/", "/rent"])
        self.assertEqual((got[1]["code"], got[1]["may"], got[1]["fate"]), ("UNKNOWN", True, "lost"))

    def test_nothing_there(self):
        for repeat in ("read", "create"):
            got = one({"url": "http://127.0.0.1:%d/" % nobody_there(), "repeat": repeat}, tries=2)
            self.assertEqual((got["code"], got["fate"], got["tries"], got["may"], got["status"]), ("UNAVAILABLE", "not-sent", 2, False, 0))
            self.assertIn("refused", got["text"])
            self.assertIn("while connecting", got["text"])

    def test_200_that_breaks_off_has_happened(self):
        server = self.serve(half_body)
        got = one({"url": server.url(), "method": "POST", "repeat": "create"})
        self.assertEqual((got["code"], got["fate"], got["status"], got["may"]), ("UNKNOWN", "cut", 200, True))
        self.assertIn("it has happened", got["text"])

    def test_retry_after(self):
        for value, date, wanted in (("1", None, 1000), (formatdate(2000000003, usegmt=True), formatdate(2000000002, usegmt=True), 1000),
                                    (formatdate(5, usegmt=True), formatdate(2000000002, usegmt=True), 0), ("soon", None, -1)):
            headers = [("Retry-After", value)] + ([("Date", date)] if date else [])
            server = self.serve(answer(429, "", headers), answer(200))
            begun = time.monotonic()
            got = run({}, {"url": server.url()})[0]
            self.assertEqual((got["code"], got["tries"]), ("OK", 2))
            self.assertGreaterEqual(time.monotonic() - begun, wanted / 1000)
            server = self.serve(answer(429, "", headers))
            self.assertEqual(one({"url": server.url()}, tries=1)["retry_after_ms"], wanted)

    def test_retry_after_is_bounded(self):
        server = self.serve(answer(429, "", [("Retry-After", "3600")]))
        got = one({"url": server.url()})
        self.assertEqual((got["code"], got["tries"], got["retry_after_ms"]), ("RESOURCE_EXHAUSTED", 1, 3600000))
        self.assertIn("wait 3600 s", got["text"])
        got = one({"url": server.url(), "deadline_ms": 5000}, wait_most_ms=100000000)  # not beyond the deadline either
        self.assertEqual(got["tries"], 1)


class Slow(Case):
    def test_deadline_while_waiting(self):
        server = self.serve(lambda request, connection: server.over.wait(250) and None)
        for repeat, code in (("read", "DEADLINE_EXCEEDED"), ("create", "UNKNOWN")):
            got = one({"url": server.url(), "method": "POST", "repeat": repeat, "deadline_ms": 2000})
            self.assertEqual((got["code"], got["fate"], got["may"]), (code, "lost", repeat == "create"))
            self.assertIn("while waiting for the answer", got["text"])

    def test_deadline_in_the_body(self):

        def drip(request, connection):
            connection.sendall(answer(200, b"", [("Content-Length", "1000")]) + b"x")
            server.over.wait(250)
        server = self.serve(drip)
        got = one({"url": server.url(), "deadline_ms": 2000})
        self.assertEqual((got["code"], got["fate"], got["status"]), ("DEADLINE_EXCEEDED", "cut", 200))
        self.assertIn("in the middle of the answer", got["text"])
        got = one({"url": server.url(), "idle_ms": 200}, tries=2)
        self.assertEqual((got["code"], got["tries"]), ("DEADLINE_EXCEEDED", 2))
        self.assertIn("200 ms without a byte", got["text"])

    def test_nothing_of_an_earlier_answer_is_left(self):
        """A try that is ended from here has a request id of its own, or none, and asks for no pause."""
        over = threading.Event()

        def begun(request, connection):
            connection.sendall(answer(200, b"", [("Content-Length", "1000"), ("X-Request-Id", "second")]) + b"x")
            over.wait(250)
        first = answer(503, "", [("Retry-After", "0"), ("X-Request-Id", "first")])
        servers = [self.serve(first, lambda request, connection: over.wait(250) and None), self.serve(first, begun), self.serve(first)]
        self.addCleanup(over.set)
        got = run({"tries": 2}, [{"url": each.url(), "idle_ms": 4000} for each in servers])
        self.assertEqual([(g["code"], g["tries"], g["retry_after_ms"], g["request_id"]) for g in got],
                         [("DEADLINE_EXCEEDED", 2, -1, ""), ("DEADLINE_EXCEEDED", 2, -1, "second"), ("UNAVAILABLE", 2, 0, "first")])

    def test_deadline_while_sending(self):
        server = Server(None, raw=lambda connection: server.over.wait(250))
        self.addCleanup(server.close)
        path = self.file(b"z" * 30000000)
        got = one({"url": server.url(), "method": "PUT", "repeat": "change", "body_file": path, "deadline_ms": 3000})
        self.assertEqual((got["code"], got["fate"]), ("DEADLINE_EXCEEDED", "lost"))
        self.assertIn("while the request was being sent", got["text"])

    def test_tls_that_says_nothing(self):
        server = Server(None, raw=lambda connection: server.over.wait(250))
        self.addCleanup(server.close)
        got = one({"url": server.url(scheme="https"), "repeat": "create", "method": "POST", "connect_ms": 2000}, tries=1)
        self.assertEqual((got["code"], got["fate"], got["may"]), ("DEADLINE_EXCEEDED", "not-sent", False))
        self.assertIn("while TLS was being negotiated", got["text"])


class Malformed(Case):
    def raw(self, reply):
        def speak(connection):
            connection.recv(65536)
            connection.sendall(reply)
        server = Server(None, raw=speak)
        self.addCleanup(server.close)
        return server

    def test_not_http(self):
        for reply in (b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\x01\x02\x03\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
                      b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab"):
            server = self.raw(reply)
            got = one({"url": server.url(), "method": "POST", "repeat": "create"})
            self.assertEqual((got["code"], got["may"]), ("UNKNOWN", True), (reply, got))
            got = one({"url": server.url()}, tries=1)
            self.assertIn(got["code"], ("DATA_LOSS", "UNAVAILABLE", "INTERNAL"), (reply, got))
            self.assertTrue(got["text"] and got["remedy"])

    def test_header_floods(self):
        for reply in (b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 300 + b"\r\n", b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: " % i + b"y" * 30000 + b"\r\n" for i in range(4)) + b"\r\n",
                      b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" * 200 + b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 3000000 + b"\r\n\r\n"):
            server = self.raw(reply)
            got = one({"url": server.url()}, tries=2)
            self.assertNotEqual(got["code"], "OK", reply[:60])
            self.assertTrue(got["text"])
            self.assertLess(got["peak_kib"], 40000)

    def test_huge_bodies(self):
        def endless(request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(b"x" * 65536)
        for reply in (answer(200, b"", [("Content-Length", "99999999999")]), endless, answer(200, b"x" * 2000)):
            server = self.serve(reply)
            got = one({"url": server.url(), "body_max": 1000})
            self.assertEqual((got["code"], got["tries"]), ("OUT_OF_RANGE", 1))
            self.assertIn("1000", got["text"])
        server = self.serve(answer(200, b"x" * 1000))
        self.assertEqual(one({"url": server.url(), "body_max": 1000})["size"], 1000)

    def test_compressed(self):
        server = self.serve(answer(200, gzip.compress(b"hello " * 100), [("Content-Encoding", "gzip")]))
        got = one({"url": server.url()})
        self.assertEqual((got["body"], server.seen[0].headers["accept-encoding"]), ("hello " * 100, "gzip"))
        bomb = gzip.compress(b"\0" * 50000000)
        server = self.serve(answer(200, bomb, [("Content-Encoding", "gzip")]))
        got = one({"url": server.url(), "body_max": 100000})
        self.assertEqual(got["code"], "OUT_OF_RANGE")
        self.assertLess(got["peak_kib"], 40000)
        for body, encoding in ((b"not gzip at all", "gzip"), (b"xx", "x-own")):
            server = self.serve(answer(200, body, [("Content-Encoding", encoding)]))
            got = one({"url": server.url()}, tries=1)
            self.assertNotEqual(got["code"], "OK", encoding)


class Redirects(Case):
    def test_followed_at_home(self):
        server = self.serve(answer(302, "", [("Location", "/two?b=2")]), answer(307, "", [("Location", "three")]), answer(200, "here"))
        got = one({"url": server.url("/one"), "headers": [AUTH]})
        self.assertEqual((got["code"], got["body"], got["tries"]), ("OK", "here", 1))
        self.assertEqual([request.target for request in server.seen], ["/one", "/two?b=2", "/three"])

    def test_never_elsewhere(self):
        other = self.serve(answer(200, "stolen"))
        for to in (other.url("/x?sig=hidden"), "https://127.0.0.1:%d/" % other.port, "http://localhost:%d/" % other.port, "//127.0.0.1:%d/" % other.port, "file:///etc/passwd"):
            server = self.serve(answer(302, "", [("Location", to)]))
            got = one({"url": server.url(), "headers": [AUTH]})
            self.assertEqual((got["code"], got["status"], got["tries"], len(server.seen)), ("FAILED_PRECONDITION", 302, 1, 1), to)
            self.assertNotIn("hidden", got["text"])
        self.assertEqual(other.seen, [])

    def test_secret_in_a_path_that_the_server_gives(self):
        """It stands in no error and in no line of the log: run looks for it in both."""
        path = "/files/%s/mine" % TOKEN
        ends = {"refused": (answer(403, "no"), "answered 403"), "busy": (answer(503, "no"), "answered 503"), "closed": (closing, "the connection "),
                "large": (answer(200, "x" * 2000), "2000 bytes"),
                "again": (answer(302, "", [("Location", "https://elsewhere.example/")]), "to https://elsewhere.example, which"),
                "silent": (lambda request, connection: server.over.wait(250) and None, "3000 ms without a byte")}
        for end, words in ends.values():
            server = self.serve(answer(302, "", [("Location", path)]), end)
            got = run({"host": True, "tries": 1}, {"url": server.url(), "headers": [AUTH], "body_max": 1000, "idle_ms": 3000 if "3000" in words else 0})[0]
            self.assertNotEqual(got["code"], "OK")
            self.assertIn("/files/[secret]/mine", got["text"])
            self.assertIn(words, got["text"])
        server = self.serve(answer(307, "", [("Location", path)]))
        for repeat in ("change", "keyed", "create"):
            got = run({"host": True}, {"url": server.url(), "method": "POST", "repeat": repeat, "key": "k", "headers": [AUTH]})[0]
            self.assertIn("to %s, which" % server.url("/files/[secret]/mine"), got["text"])
        for cut in range(150, 200, 7):  # where the text is cut in the middle of it
            server = self.serve(answer(307, "", [("Location", "/" + "-" * cut + TOKEN)]))
            run({"host": True}, {"url": server.url(), "method": "POST", "repeat": "change", "headers": [AUTH]})

    def test_foreign_target_is_shown_without_its_path(self):
        for to, shown in (("https://elsewhere.example/private/x?sig=hidden#y", "https://elsewhere.example"), ("//127.0.0.1:1/private", "http://127.0.0.1:1"),
                          ("https://[::1]:77/private", "https://[::1]:77"), ("https://elsewhere.example?private", "https://elsewhere.example")):
            server = self.serve(answer(302, "", [("Location", to)]))
            got = one({"url": server.url("/from")})
            self.assertIn("/from answered 302", got["text"])
            self.assertIn(" to %s, which is not followed" % shown, got["text"])
            self.assertNotIn("private", got["text"])

    def test_not_for_changes(self):
        for repeat in ("change", "keyed", "create"):
            server = self.serve(answer(307, "", [("Location", "/two")]), answer(200))
            got = one({"url": server.url(), "method": "POST", "repeat": repeat, "key": "k"})
            self.assertEqual((got["code"], got["may"], len(server.seen)), ("FAILED_PRECONDITION", False, 1))
            self.assertIn("/two, which is not followed", got["text"])

    def test_bounded(self):
        for to in ("/again", ""):  # an empty one leads to where it came from (RFC 3986 4.4)
            server = self.serve(answer(302, "", [("Location", to)]))
            got = one({"url": server.url()})
            self.assertEqual((got["code"], got["status"], len(server.seen)), ("FAILED_PRECONDITION", 302, 6), to)


class Files(Case):
    def ranged(self, content, etag='"v1"', cut_after=None, honours=True):
        """A server of one file; the first `cut_after` answers break off half-way. An etag of None: it sends none."""
        state, tags = {"cuts": 0}, [("ETag", etag)] if etag else []

        def handle(request, connection):
            begin = 0
            wanted = request.headers.get("range")
            if wanted and honours and request.headers.get("if-range", etag) == etag:
                begin = int(wanted.split("=")[1].rstrip("-"))
                if begin >= len(content):
                    return answer(416, "", [("Content-Range", "bytes */%d" % len(content))])
                head = answer(206, b"", [("Content-Length", str(len(content) - begin)), ("Content-Range", "bytes %d-%d/%d" % (begin, len(content) - 1, len(content))), *tags])
            else:
                head = answer(200, b"", [("Content-Length", str(len(content))), *tags])
            rest = content[begin:]
            if cut_after is not None and state["cuts"] < cut_after:
                state["cuts"] += 1
                connection.sendall(head + rest[:len(rest) // 2])
                return None
            return head + rest
        return self.serve(handle)

    def check(self, got, path, content):
        self.assertEqual((got["code"], got["text"]), ("OK", ""))
        with open(path, "rb") as file:
            self.assertEqual(file.read(), content)
        self.assertEqual((got["sha256"], got["size"]), (hashlib.sha256(content).hexdigest(), len(content)))

    def test_download(self):
        content = os.urandom(200001)
        server, path = self.ranged(content), self.file(b"what was there before" * 100000)
        self.check(one({"url": server.url(), "out_file": path}), path, content)
        self.assertNotIn("accept-encoding", server.seen[0].headers)
        empty, path = self.ranged(b""), self.file(b"old")
        self.check(one({"url": empty.url(), "out_file": path}), path, b"")

    def test_breaks_without_resume(self):
        content = os.urandom(100000)
        server, path = self.ranged(content, cut_after=2), self.file()
        got = one({"url": server.url(), "out_file": path})
        self.check(got, path, content)
        self.assertEqual((got["tries"], [r.headers.get("range") for r in server.seen]), (3, [None] * 3))

    def test_breaks_with_resume(self):
        content = os.urandom(100000)
        for honours in (True, False):
            server, path = self.ranged(content, cut_after=2, honours=honours), self.file()
            got = one({"url": server.url(), "out_file": path, "resume": True})
            self.check(got, path, content)
            ranges = [request.headers.get("range") for request in server.seen]
            self.assertEqual((ranges[0], got["tries"]), (None, 3))
            if honours:
                self.assertEqual(ranges[1:], ["bytes=50000-", "bytes=75000-"])
                self.assertEqual(server.seen[1].headers["if-range"], '"v1"')

    def test_resumes_what_another_call_began(self):
        content = os.urandom(100000)
        server, path = self.ranged(content), self.file(content[:33333])
        self.check(one({"url": server.url(), "out_file": path, "resume": True, "etag": '"v1"'}), path, content)
        self.assertEqual(server.seen[0].headers["range"], "bytes=33333-")
        path = self.file(b"n" * 33333)  # of another version: the server knows by the ETag, and sends all
        self.check(one({"url": server.url(), "out_file": path, "resume": True, "etag": '"v0"'}), path, content)
        path = self.file(content)  # nothing is missing
        self.check(one({"url": server.url(), "out_file": path, "resume": True, "etag": '"v1"'}), path, content)
        self.assertEqual(server.seen[-1].headers["range"], "bytes=100000-")

    def test_nothing_is_resumed_without_a_strong_etag(self):
        content = os.urandom(100000)
        for etag in (None, 'W/"v1"', '"' + "v" * 200 + '"'):
            server, path = self.ranged(content, etag=etag, cut_after=2), self.file()
            self.check(one({"url": server.url(), "out_file": path, "resume": True}), path, content)
            self.assertEqual([request.headers.get("range") for request in server.seen], [None] * 3)
        for etag in (None, 'W/"v1"', '"' + "v" * 200 + '"'):  # what another call began
            server, path = self.ranged(content), self.file(b"n" * 33333)
            self.check(one({"url": server.url(), "out_file": path, "resume": True, "etag": etag}), path, content)
            self.assertIsNone(server.seen[0].headers.get("range"))

    def test_two_versions_of_one_length_make_no_file(self):
        """The file is replaced by one of the same length while it is being downloaded, by a server that does not look at If-Range."""
        old, new = b"o" * 1000, b"n" * 1000

        def version(content, begin, tags):
            ranged = [("Content-Range", "bytes %d-999/1000" % begin)] if begin else []
            return answer(206 if begin else 200, b"", [("Content-Length", str(1000 - begin)), *ranged, *tags]) + content[begin:]

        def cut(tags):
            def reply(request, connection):
                connection.sendall(version(old, 0, tags)[:-400])
            return reply

        def rest(tags):
            return lambda request, connection: version(new, 600 if "range" in request.headers else 0, tags)
        path = self.file()
        server = self.serve(cut([]), rest([]))  # nothing tells the versions apart: it is begun again
        self.check(one({"url": server.url(), "out_file": path, "resume": True}), path, new)
        for tags in ([("ETag", '"v2"')], [("ETag", 'W/"v1"')], []):
            server = self.serve(cut([("ETag", '"v1"')]), rest(tags))
            got = one({"url": server.url(), "out_file": path, "resume": True})
            self.assertEqual((got["code"], got["status"], server.seen[1].headers.get("if-range")), ("DATA_LOSS", 206, '"v1"'), tags)
            self.assertIn("of the version that was begun", got["text"])
        server = self.serve(answer(416, "", [("Content-Range", "bytes */1000"), ("ETag", '"v2"')]))
        self.assertEqual(one({"url": server.url(), "out_file": self.file(old), "resume": True, "etag": '"v1"'})["status"], 416)

    def test_wrong_part(self):
        server, path = self.serve(answer(206, b"abc", [("Content-Range", "bytes 7-9/10"), ("ETag", '"v1"')])), self.file(b"12345")
        got = one({"url": server.url(), "out_file": path, "resume": True, "etag": '"v1"'})
        self.assertEqual(got["code"], "DATA_LOSS")
        self.assertIn("another part", got["text"])
        got = one({"url": server.url(), "out_file": self.file()})
        self.assertEqual(got["code"], "DATA_LOSS")

    def test_error_leaves_the_file(self):
        server, path = self.serve(answer(403, "no")), self.file(b"precious")
        got = one({"url": server.url(), "out_file": path})
        self.assertEqual((got["code"], got["body"]), ("PERMISSION_DENIED", "no"))
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"precious")

    def test_compressed_unasked(self):
        server, path = self.serve(answer(200, gzip.compress(b"x"), [("Content-Encoding", "gzip")])), self.file()
        self.assertEqual(one({"url": server.url(), "out_file": path})["code"], "DATA_LOSS")

    def test_bounded(self):
        server, path = self.serve(answer(200, b"x" * 5000)), self.file()
        self.assertEqual(one({"url": server.url(), "out_file": path, "body_max": 4999})["code"], "OUT_OF_RANGE")

    def test_large_in_little_memory(self):
        size, piece = 64 << 20, b"k" * (1 << 20)

        def stream(request, connection):
            connection.sendall(answer(200, b"", [("Content-Length", str(size))]))
            for _ in range(size >> 20):
                connection.sendall(piece)
        server, path = self.serve(stream), self.file()
        got = one({"url": server.url(), "out_file": path})
        self.assertEqual((got["code"], got["size"]), ("OK", size))
        if not sanitized():
            self.assertLess(got["peak_kib"], 24 * 1024)


def sanitized():
    """A sanitizer has memory of its own."""
    return "AddressSanitizer" in subprocess.run([TOOL], input='"x"\n', stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                                                env={**os.environ, "ASAN_OPTIONS": "help=1"}).stderr


class Streams(Case):
    def test_events(self):
        def events(request, connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in (b"id: 1\nda", b"ta: a\n", b"\n: keep", b"-alive\n\nevent: end\ndata: b\n\n"):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\n\r\n")
            return None
        server = self.serve(events)
        got = one({"url": server.url(), "sse": 1000})
        self.assertEqual((got["code"], got["events"]), ("OK", "message|a|1\nend|b|1\n"))
        got = one({"url": server.url(), "sse": 10})
        self.assertEqual((got["code"], got["tries"]), ("OUT_OF_RANGE", 1))

    def test_nothing_is_delivered_twice(self):
        server = self.serve(half_body)
        got = one({"url": server.url(), "flow": True})
        self.assertEqual((got["code"], got["tries"], got["flowed"], len(server.seen)), ("UNAVAILABLE", 1, 100, 1))
        server = self.serve(answer(503, "busy"), answer(200, "x" * 10))  # an error is no delivery
        got = one({"url": server.url(), "flow": True})
        self.assertEqual((got["code"], got["flowed"]), ("OK", 10))


class Many(Case):
    def test_at_once(self):
        together = threading.Barrier(8)

        def handle(request, connection):
            together.wait(200)
            return answer(200, request.target)
        server = self.serve(handle)
        refused = {"url": "http://127.0.0.1:%d/" % nobody_there()}
        got = run({"tries": 1}, [{"url": server.url("/%d" % i)} for i in range(8)] + [refused, {"url": "nonsense"}])
        self.assertEqual([g["body"] for g in got[:8]], ["/%d" % i for i in range(8)])
        self.assertEqual([g["code"] for g in got[8:]], ["UNAVAILABLE", "INVALID_ARGUMENT"])

    def test_no_thread_is_left(self):
        server = self.serve(answer(200))
        got = run({"tries": 1}, {"url": "http://localhost:%d/" % server.port}, {"url": "https://%s/" % NOWHERE}, {"url": server.url()})
        self.assertEqual([g["threads"] for g in got], [1, 1, 1])
        self.assertEqual([g["code"] for g in got][::2], ["OK", "OK"])
        self.assertEqual((got[1]["code"], got[1]["fate"]), ("NOT_FOUND", "not-sent"))
        self.assertIn("does not resolve", got[1]["text"])


class Hosts(Case):
    def test_no_network(self):
        with self.assertRaisesRegex(AssertionError, "this call may not use the network"):
            run({"host": True, "offline": True}, {"url": "http://127.0.0.1:9/"})

    def test_private_addresses_only(self):
        server = self.serve(answer(200))
        got = run({"host": True, "private": True, "proxy": server.url()}, {"url": "https://203.0.113.5/", "method": "POST", "repeat": "create"}, {"url": server.url()})
        self.assertEqual((got[0]["code"], got[0]["fate"], got[0]["tries"], got[0]["may"]), ("PERMISSION_DENIED", "not-sent", 1, False))
        self.assertIn("may not connect to", got[0]["text"])
        self.assertEqual((got[1]["code"], len(server.seen)), ("OK", 1))

    def test_cancelled(self):
        server = self.serve(lambda request, connection: server.over.wait(250) and None)
        for repeat in ("read", "create"):
            got = one({"url": server.url(), "method": "POST", "repeat": repeat}, host=True, cancel_after=8)
            self.assertEqual((got["code"], got["may"]), ("CANCELLED", repeat == "create" and got["fate"] == "lost"))

    def test_time_that_the_host_leaves(self):
        server = self.serve(lambda request, connection: server.over.wait(250) and None)
        got = one({"url": server.url(), "deadline_ms": 200000}, host=True, time_left_ms=300)
        self.assertEqual(got["code"], "DEADLINE_EXCEEDED")

    def test_log_has_no_secret(self):
        server = self.serve(answer(503, "no " + TOKEN), answer(200))
        text = json.dumps({**FAST, "host": True}) + "\n" + json.dumps({"url": server.url("/x?sig=hidden"), "headers": [AUTH]}) + "\n"
        done = subprocess.run([TOOL], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=250, check=False)
        self.assertIn("0 GET", done.stderr)
        self.assertIn("answered 503", done.stderr)
        for word in (TOKEN, TOKEN[4:14], "hidden"):
            self.assertNotIn(word, done.stderr)


class Tapes(Case):
    def test_recorded_and_replayed(self):
        """A whole conversation, failures included, comes again without a server, and no secret is in the recording."""
        made = "sk-fresh-from-the-server-1"
        server = self.serve(
            answer(200, json.dumps({"echo": "you sent " + TOKEN, "api_key": made, "upload_url": "https://s.example/x?X-Amz-Signature=abc123def&part=1", "nested": [{"token": made}], "n": 1.5},
                                   separators=(",", ":")), [("Content-Type", "application/json"), ("Set-Cookie", "session=cookie-value"), ("X-Echo", "key " + TOKEN[3:30]), ("X-Test", "t")]),
            answer(503, "busy", [("Retry-After", "0")]), resetting, answer(200, "plain text"), closing, answer(404, '{"detail":"none"}'))
        tape = os.path.join(self.folder(), "tape.jsonl")
        requests = [{"url": server.url("/a?page=2&signature=presigned-value"), "headers": [AUTH, {"name": "X-Plain", "value": "v"}]}, {"url": server.url("/b")},
                    {"url": server.url("/rent"), "body": json.dumps({"name": "n", "hf_token": TOKEN, "password": "pw-value"}), "repeat": "create", "headers": [AUTH]}, {"url": server.url("/c")}]
        live = run({"record": tape}, *[{**request, "echo": True} for request in requests])
        with open(tape, encoding="utf-8") as file:
            text = file.read()
        for word in (TOKEN, TOKEN[3:12], made, "cookie-value", "presigned-value", "abc123def", "pw-value"):
            self.assertNotIn(word, text)
        lines = [json.loads(line) for line in text.splitlines()]
        self.assertEqual([line["request"]["method"] for line in lines], ["GET", "GET", "GET", "GET", "POST", "GET"])
        self.assertEqual((lines[0]["request"]["headers"]["Authorization"], lines[0]["request"]["headers"]["X-Plain"]), ("[secret]", "v"))
        self.assertEqual(os.stat(tape).st_mode & 0o777, 0o600)
        connections = server.connections
        again = run({"replay": tape}, *[{**request, "echo": True} for request in requests])
        self.assertEqual(server.connections, connections)
        for one_live, one_again in zip(live, again):
            for key in ("code", "status", "fate", "may", "tries", "x-test", "text"):
                self.assertEqual(one_again[key], one_live[key], key)
        self.assertEqual((live[2]["code"], live[2]["may"], again[1]["body"]), ("UNKNOWN", True, "plain text"))
        self.assertEqual(json.loads(again[0]["body"]), {"echo": "you sent [secret]", "api_key": "[hidden]", "n": 1.5, "nested": [{"token": "[hidden]"}],
                                                        "upload_url": "https://s.example/x?X-Amz-Signature=[hidden]&part=1"})

    def test_replay_is_strict(self):
        server = self.serve(answer(200, "x"))
        tape = os.path.join(self.folder(), "tape.jsonl")
        run({"record": tape}, {"url": server.url("/a")}, {"url": server.url("/b"), "body": "1"})
        got = run({"replay": tape}, {"url": server.url("/other")}, {"url": server.url("/b"), "body": "2"}, {"url": server.url("/c")})
        self.assertEqual([g["code"] for g in got], ["FAILED_PRECONDITION"] * 3)
        for g, words in zip(got, ("another url", "another body", "has no 3th line")):
            self.assertIn(words, g["text"])
        with self.assertRaisesRegex(AssertionError, "1 lines of the recording"):
            run({"replay": tape}, {"url": server.url("/a")})

    def test_large_and_binary(self):
        server = self.serve(answer(200, b"\xff\xfe\x00"), answer(200, b"y" * 1500000))
        tape, path = os.path.join(self.folder(), "tape.jsonl"), self.file()
        run({"record": tape}, {"url": server.url()}, {"url": server.url(), "out_file": path})
        with open(tape, encoding="utf-8") as file:
            answers = [json.loads(line)["answer"] for line in file]
        self.assertEqual([("body" in a, a["body_size"]) for a in answers], [(False, 3), (False, 1500000)])


@unittest.skipUnless(shutil.which("openssl"), "there is no openssl")
class Tls(Case):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="kolm-http-tls-")
        cls.addClassCleanup(shutil.rmtree, cls.dir, True)
        cls.authority = Authority(cls.dir)

    def test_verified(self):
        server = self.serve(answer(200, "safe"), context=self.authority.context())
        for options, env in (({"ca_file": self.authority.ca}, None), ({}, {"SSL_CERT_FILE": self.authority.ca})):
            for host in ("127.0.0.1", "localhost"):
                got = run({**options, "plain": False}, {"url": "https://%s:%d/" % (host, server.port), "headers": [AUTH]}, env=env)[0]
                self.assertEqual((got["code"], got["body"]), ("OK", "safe"))

    def test_refused(self):
        if shutil.which("faketime") is None:
            self.skipTest("there is no faketime")
        self.authority.make("stranger", None, ["-addext", "basicConstraints=critical,CA:TRUE"])
        for name, more, words in (("wrong-name", {"names": "DNS:elsewhere.example"}, "is for another name"), ("strange", {"issuer": "stranger"}, "does not trust"),
                                  ("self", {"issuer": None}, "is self-signed"), ("old", {"at": "2020-01-01"}, "has expired")):
            server = self.serve(answer(200), context=self.authority.context(name, **more))
            for repeat in ("read", "create"):
                got = one({"url": server.url(), "repeat": repeat, "method": "POST", "headers": [AUTH]}, ca_file=self.authority.ca)
                self.assertEqual((got["code"], got["fate"], got["tries"], got["may"]), ("FAILED_PRECONDITION", "not-sent", 1, False), got)
                self.assertIn(words, got["text"])
                self.assertTrue(got["remedy"])
            self.assertEqual(server.seen, [])

    def test_system_authorities_by_default(self):
        server = self.serve(answer(200), context=self.authority.context())
        self.assertEqual(one({"url": server.url()})["code"], "FAILED_PRECONDITION")

    def test_no_ca_file(self):
        server = self.serve(answer(200), context=self.authority.context())
        got = one({"url": server.url()}, ca_file="/nonexistent.pem")
        self.assertEqual((got["code"], got["tries"]), ("FAILED_PRECONDITION", 1))

    def test_not_tls(self):
        server = self.serve(answer(200))
        got = one({"url": server.url(scheme="https"), "method": "POST", "repeat": "create"}, tries=1)
        self.assertEqual((got["code"], got["fate"], got["may"]), ("UNAVAILABLE", "not-sent", False))

    def test_proxy(self):
        """Through CONNECT: the proxy sees neither headers nor secrets, and its password is not printed."""
        asked = []

        def proxy(connection):
            stream = connection.makefile("rb")
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = stream.readline()
                if not line:
                    return
                head += line
            asked.append(head)
            connection.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
        server = Server(None, raw=proxy)
        self.addCleanup(server.close)
        address = "http://user:proxy-password@127.0.0.1:%d" % server.port
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            env = {name: address}
            got = self.through(env)
            self.assertEqual((got["code"], got["fate"], got["may"]), ("FAILED_PRECONDITION", "not-sent", False), got)
            self.assertIn("407", got["text"])
            self.assertNotIn("proxy-password", json.dumps(got))
        self.assertTrue(asked and all(head.startswith(b"CONNECT %s:443 " % NOWHERE.encode()) and TOKEN.encode() not in head for head in asked))
        count = len(asked)
        got = self.through({"HTTPS_PROXY": address, "NO_PROXY": NOWHERE})
        self.assertEqual(got["code"], "NOT_FOUND")
        for name in ("http_proxy", "HTTP_PROXY"):
            self.assertEqual(self.through({name: address})["code"], "NOT_FOUND", name)
        one({"url": "https://127.0.0.1:%d/" % nobody_there()}, proxy=address)  # this machine is never asked for through a proxy
        self.assertEqual(len(asked), count)

    def through(self, env):
        text = [{"plain": False, "tries": 1, "proxy": None, "no_proxy": None}, {"url": "https://%s/" % NOWHERE, "headers": [AUTH], "method": "POST", "repeat": "create"}]
        return run(*text, env=env)[0]


class Http2(Case):
    def test_asked_for(self):
        """The smallest server of HTTP/2: it sends settings, and one answer with the status 200 of the static table."""
        seen = []

        def frame(kind, flags, stream, payload):
            return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

        def speak(connection):
            stream = connection.makefile("rb")
            seen.append(stream.read(24))
            connection.sendall(frame(4, 0, 0, b""))
            while True:
                head = stream.read(9)
                if len(head) < 9:
                    return
                stream.read(int.from_bytes(head[:3], "big"))
                if head[3] == 1:  # HEADERS
                    number = int.from_bytes(head[5:], "big")
                    connection.sendall(frame(1, 4, number, b"\x88") + frame(0, 1, number, b"two"))
        server = Server(None, raw=speak)
        self.addCleanup(server.close)
        got = one({"url": server.url(), "http2": True})
        self.assertEqual((got["code"], got["body"], seen), ("OK", "two", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]))


if __name__ == "__main__":
    unittest.main()
