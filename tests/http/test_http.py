#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sdk/http against a server that fails in every way: what is sent, how often, and what the caller gets."""
import gzip
import json
import os
import socket
import sys
import threading
import time
import unittest
from email.utils import formatdate

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from http_case import AUTH, Case, TOKEN, closing, half_body, nobody_there, one, resetting, run  # noqa: E402
from server import Server, answer  # noqa: E402


class Lines(Case):
    def listen(self, serve):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.addCleanup(listener.close)
        thread = threading.Thread(target=lambda: serve(listener.accept()[0]), daemon=True)
        thread.start()
        self.addCleanup(thread.join, 30)
        return "http://127.0.0.1:%d/" % listener.getsockname()[1]

    def test_an_upload_over_a_slow_line_is_not_ended(self):
        """The kernel buffers all of it at once; the timeout depends on what the other end accepts."""
        pause = threading.Event()

        def serve(connection):
            left = 400000
            while left > 0:
                left -= len(connection.recv(16384))
                pause.wait(0.06)
            connection.sendall(answer(200, "{}"))
            connection.close()
        url = self.listen(serve)
        begun = time.monotonic()
        got = one({"url": url, "method": "POST", "body": "x" * 400000, "idle_ms": 700}, tries=1)
        self.assertEqual(got["status"], 200, got)
        self.assertGreater(time.monotonic() - begun, 0.7)

    def test_connections_are_kept_alive(self):
        """Otherwise a connection whose other end is gone would hang for as long as an answer may take."""
        timers = []

        def serve(connection):
            port = "%04X" % connection.getpeername()[1]
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
            for _ in range(100):  # acknowledgements have a timer, too
                with open("/proc/net/tcp", encoding="ascii") as file:
                    rows = [line.split() for line in file]
                timers.extend(int(row[5].split(":")[1], 16) for row in rows if row[1].endswith(":" + port) and row[5].startswith("02"))
                if timers and timers[-1] > 1000:
                    break
            connection.sendall(b"}")
            connection.close()
        self.assertEqual(one({"url": self.listen(serve)}, tries=1)["status"], 200)
        self.assertGreater(max(timers, default=0), 1000)  # hundredths of a second


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
        """Each request once took up to a tenth of a second longer than its answer."""
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
        self.assertEqual(server.connections, 1)  # the connection is kept

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

    def test_invalid_requests(self):
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
            self.assertIn(TOKEN, got["body"])  # the caller gets it unchanged

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
        """How often each kind of request is sent, for each kind of failure."""
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
                    self.assertRegex(got["text"], "may have taken effect|the result is unknown")
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
        self.assertIn("it may have taken effect", got["text"])
        self.assertIn("check with the provider", got["remedy"])

    def test_kept_connection_that_died_makes_no_second_machine(self):
        """libcurl repeats a request by itself if a connection that it kept turns out to be dead."""
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
        self.assertIn("it succeeded", got["text"])

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
        self.assertIn("a wait of 3600 s", got["text"])
        got = one({"url": server.url(), "deadline_ms": 5000}, wait_most_ms=100000000)  # nor beyond the deadline
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
        """A try that this side ends has a separate request id, or none, and requests no pause."""
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
        """The secret is in no error and in no line of the log: run() checks both."""
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
        for cut in range(150, 200, 7):  # the text is truncated in the middle of the secret
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
        for to in ("/again", ""):  # an empty one refers to the current address (RFC 3986 4.4)
            server = self.serve(answer(302, "", [("Location", to)]))
            got = one({"url": server.url()})
            self.assertEqual((got["code"], got["status"], len(server.seen)), ("FAILED_PRECONDITION", 302, 6), to)


if __name__ == "__main__":
    unittest.main()
