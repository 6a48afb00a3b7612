#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gRPC calls against a server that fails in every way."""
import base64
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "contract"))
from http2_server import Server  # noqa: E402

TOOL = os.environ["GRPC_TOOL"]
KINDS = ("read", "change", "keyed", "create")


class Said:
    def __init__(self, text):
        lines = text.splitlines()
        self.messages = [line[8:] for line in lines if line.startswith("message ")]
        end = next(line for line in lines if line.startswith("end "))
        code, grpc, http, may, self.said = end.split(" ", 5)[1:]
        self.code, self.grpc, self.http, self.may = int(code), int(grpc), int(http), may == "1"
        self.text = lines[-1]


class Grpc(unittest.TestCase):
    def ask(self, handle, repeat="read", kind="one", text="hello", url=None):
        """handle(call, number) answers call number 1, 2, and so on."""
        self.calls = []

        def take(call):
            self.calls.append(call)
            handle(call, len(self.calls))
        with Server(take) as server:
            done = subprocess.run([TOOL, url or "http://127.0.0.1:%d" % server.port, "/a.B/C", repeat, kind, text], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                  text=True, timeout=60, check=True)
        return Said(done.stdout)

    @staticmethod
    def echo(call, _):
        call.send(b"re: " + call.message())
        call.end()

    def test_one_answer(self):
        said = self.ask(self.echo)
        self.assertEqual((said.messages, said.code, said.grpc, said.http), (["re: hello"], 0, 0, 200))
        call = self.calls[0]
        self.assertEqual((call.path, call.headers[":method"], call.headers["content-type"], call.headers["te"]), ("/a.B/C", "POST", "application/grpc", "trailers"))
        self.assertNotIn("x-idempotency-key", call.headers)
        self.assertEqual(self.ask(self.echo, "keyed").code, 0)
        self.assertEqual(self.calls[0].headers["x-idempotency-key"], "the-key")
        self.assertEqual(self.ask(self.echo, text="").messages, ["re: "])

    def test_frames_in_pieces_of_any_size(self):
        whole = b"\x00\x00\x00\x00\x03abc"
        for size in range(1, len(whole) + 1):
            def slow(call, _, n=size):
                for at in range(0, len(whole), n):
                    call.send_bytes(whole[at:at + n])
                call.end()
            self.assertEqual(self.ask(slow).messages, ["abc"], size)

    def test_a_stream(self):
        def many(call, _):
            for number in range(5):
                call.send(b"%d" % number)
            call.send(b"")
            call.end()
        said = self.ask(many, kind="stream")
        self.assertEqual((said.messages, said.code), (["0", "1", "2", "3", "4", ""], 0))

        def broken(call, _):
            call.send(b"first")
            call.end(14, "again%20please")
        said = self.ask(broken, kind="stream")
        self.assertEqual((said.messages, said.grpc, said.said, len(self.calls)), (["first"], 14, "again please", 1))  # its caller resumes it

        def at_once(call, number):
            call.end(14) if number == 1 else many(call, number)
        self.assertEqual(len(self.ask(at_once, kind="stream").messages), 6)

    def test_statuses_and_tries(self):
        tries = {1: "333-", 2: "333-", 3: "111", 4: "333-", 5: "111", 6: "111", 7: "111", 8: "111", 9: "111", 13: "333-", 14: "333-", 15: "333-", 16: "111", 99: "333-"}
        for status, wanted in tries.items():
            for kind, count in zip(KINDS, wanted.replace("-", "1")):
                said = self.ask(lambda call, _, s=status: call.end(s, "in%20words %C3%A9%1b"), kind)
                self.assertEqual((said.grpc, said.http, len(self.calls)), (status, 200, int(count)), (status, kind))
                self.assertNotEqual(said.code, 0)
                self.assertNotIn("\x1b", said.said)
                self.assertEqual(said.may, kind in ("keyed", "create") and ("-" in wanted or status == 6), (status, kind))

    def test_what_was_unclear_stays_unclear(self):
        said = self.ask(lambda call, number: call.end(14 if number == 1 else 8), "keyed")
        self.assertEqual((said.grpc, said.may, len(self.calls)), (8, True, 2))
        self.assertEqual([call.headers["x-idempotency-key"] for call in self.calls], ["the-key"] * 2)
        said = self.ask(lambda call, number: call.end(14) if number == 1 else self.echo(call, number), "keyed")
        self.assertEqual((said.code, said.may), (0, False))

    def bad(self, handle, code, words, kind="keyed"):
        said = self.ask(handle, kind)
        self.assertEqual((said.code, said.messages), (code, []), said.text)
        self.assertIn(words, said.text)
        return said

    def test_no_status_is_no_success(self):
        def without(call, _):
            call.send(b"abc")
            call.end_without_status()
        self.assertTrue(self.bad(without, 15, "ended without a status").may)
        self.assertEqual(len(self.calls), 3)

        def empty(call, _):
            call.begin()
            call.end(0)
        self.assertTrue(self.bad(empty, 15, "ended without a message").may)

        def half(call, _):
            call.send_bytes(b"\x00\x00\x00\x00\x09abc")
            call.end()
        self.bad(half, 15, "in the middle of a message")
        for text in ("-1", "x", "100", "0 0"):
            def odd(call, _, status=text):
                call.send(b"abc")
                call.end(status)
            self.bad(odd, 15, "ended without a status")

    def test_invalid_frames(self):
        for raw, code, words in ((b"\x01\x00\x00\x00\x01a", 15, "compressed"), (b"<html>hello", 15, "compressed"), (b"\x00\xff\xff\xff\xffabc", 11, "4294967295 bytes"),
                                 (b"\x00\x00\x00\x00\x01a" * 2, 15, "more than one message")):
            def odd(call, _, data=raw):
                call.send_bytes(data)
                call.end()
            self.assertTrue(self.bad(odd, code, words).may)

    def test_bodies_without_end(self):
        def endless(call, _):
            for _ in range(700):
                call.send_bytes(b" " * 65536)
        self.assertIn(self.ask(endless).code, (11, 15))

    def test_what_is_no_grpc(self):
        for status in (200, 404, 410):
            said = self.bad(lambda call, _, s=status: call.refuse_in_http(s, b"<html>", [("content-type", "text/html")]), 9, "does not speak gRPC")
            self.assertEqual((said.grpc, said.http, said.may, len(self.calls)), (-1, status, status == 200, 1))
        for status, code, tries in ((401, 16, 1), (403, 7, 1), (429, 8, 3), (503, 14, 3)):
            self.assertEqual((self.ask(lambda call, _, s=status: call.refuse_in_http(s)).code, len(self.calls)), (code, tries))

    def test_broken_connections(self):
        for way in ("break_off", "sever"):
            for kind, tries, may in (("read", 3, False), ("keyed", 3, True), ("create", 1, True)):
                said = self.ask(lambda call, _, w=way: getattr(call, w)(), kind)
                self.assertEqual((said.http, said.may, len(self.calls)), (0, may, tries), (way, kind))
            said = self.ask(lambda call, number, w=way: getattr(call, w)() if number == 1 else self.echo(call, number))
            self.assertEqual(said.messages, ["re: hello"])
        self.assertFalse(self.ask(self.echo, "create", url="http://127.0.0.1:1").may)
        said = self.ask(self.echo, "create", url="https://%s.invalid" % ("n" * 64))  # no resolver asks for so long a label
        self.assertEqual((said.code, said.grpc, said.may), (14, -1, False))

    def test_asked_to_wait(self):
        details = base64.b64encode(b"wait").decode().rstrip("=")
        said = self.ask(lambda call, number: call.end(8, more=[("grpc-status-details-bin", details)]) if number < 6 else self.echo(call, number), "create")
        self.assertEqual((said.code, said.may, len(self.calls)), (0, False, 6))
        for kind, tries, may in (("read", 3, False), ("change", 3, False), ("keyed", 3, True), ("create", 1, True)):  # after an unclear status
            said = self.ask(lambda call, number: call.end(14, more=[("grpc-status-details-bin", details)]) if number < 3 else call.end(8), kind)
            self.assertEqual((said.may, len(self.calls)), (may, tries), kind)

        def begun(call, number):
            call.send(b"%d" % number)
            call.end(*((8, "", [("grpc-status-details-bin", details)]) if number == 1 else (0,)))
        said = self.ask(begun, kind="stream")
        self.assertEqual((said.messages, said.grpc, len(self.calls)), (["1"], 8, 1))  # its caller resumes it
        said = self.ask(lambda call, number: call.end(8, more=[("grpc-status-details-bin", "!!")]))
        self.assertEqual((said.code, len(self.calls)), (8, 1))


if __name__ == "__main__":
    unittest.main(verbosity=2)
