#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bodies from and to files, streams of events, recordings, and what is never written into them."""
import gzip
import hashlib
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from http_case import AUTH, Case, TOKEN, TOOL, closing, half_body, one, resetting, run  # noqa: E402
from server import answer  # noqa: E402


class Files(Case):
    def ranged(self, content, etag='"v1"', cut_after=None, honours=True):
        """Serves one file; the first `cut_after` answers break off half-way. With etag None it sends no ETag."""
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
        path = self.file(b"n" * 33333)  # from another version: the server sees the ETag and sends the whole file
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
        for etag in (None, 'W/"v1"', '"' + "v" * 200 + '"'):  # a file that another call began
            server, path = self.ranged(content), self.file(b"n" * 33333)
            self.check(one({"url": server.url(), "out_file": path, "resume": True, "etag": etag}), path, content)
            self.assertIsNone(server.seen[0].headers.get("range"))

    def test_two_versions_of_one_length_make_no_file(self):
        """The file is replaced by one of the same length during the download, by a server that ignores If-Range."""
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
        server = self.serve(cut([]), rest([]))  # the versions cannot be distinguished: the download starts again
        self.check(one({"url": server.url(), "out_file": path, "resume": True}), path, new)
        for tags in ([("ETag", '"v2"')], [("ETag", 'W/"v1"')], []):
            server = self.serve(cut([("ETag", '"v1"')]), rest(tags))
            got = one({"url": server.url(), "out_file": path, "resume": True})
            self.assertEqual((got["code"], got["status"], server.seen[1].headers.get("if-range")), ("DATA_LOSS", 206, '"v1"'), tags)
            self.assertIn("belongs to the same version", got["text"])
        server = self.serve(answer(416, "", [("Content-Range", "bytes */1000"), ("ETag", '"v2"')]))
        self.assertEqual(one({"url": server.url(), "out_file": self.file(old), "resume": True, "etag": '"v1"'})["status"], 416)

    def test_wrong_part(self):
        server, path = self.serve(answer(206, b"abc", [("Content-Range", "bytes 7-9/10"), ("ETag", '"v1"')])), self.file(b"12345")
        got = one({"url": server.url(), "out_file": path, "resume": True, "etag": '"v1"'})
        self.assertEqual(got["code"], "DATA_LOSS")
        self.assertIn("did not send the part of the file", got["text"])
        got = one({"url": server.url(), "out_file": self.file()})
        self.assertEqual(got["code"], "DATA_LOSS")

    def test_error_leaves_the_file(self):
        server, path = self.serve(answer(403, "no")), self.file(b"precious")
        got = one({"url": server.url(), "out_file": path})
        self.assertEqual((got["code"], got["body"]), ("PERMISSION_DENIED", "no"))
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"precious")

    def test_compressed_without_request(self):
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
    """Tells whether the tool has a sanitizer, which needs additional memory."""
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
        server = self.serve(answer(503, "busy"), answer(200, "x" * 10))  # an error delivers no data
        got = one({"url": server.url(), "flow": True})
        self.assertEqual((got["code"], got["flowed"]), ("OK", 10))


class Tapes(Case):
    def test_recorded_and_replayed(self):
        """A whole conversation, including failures, is repeated without a server, and no secret is in the recording."""
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


if __name__ == "__main__":
    unittest.main()
