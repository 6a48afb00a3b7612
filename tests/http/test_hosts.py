#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Parallel requests, the permitted hosts, TLS and HTTP/2."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from http_case import AUTH, Case, FAST, NOWHERE, TOKEN, TOOL, nobody_there, one, run  # noqa: E402
from server import Authority, Server, answer  # noqa: E402


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
        one({"url": "https://127.0.0.1:%d/" % nobody_there()}, proxy=address)  # requests to this machine never use a proxy
        self.assertEqual(len(asked), count)

    def through(self, env):
        text = [{"plain": False, "tries": 1, "proxy": None, "no_proxy": None}, {"url": "https://%s/" % NOWHERE, "headers": [AUTH], "method": "POST", "repeat": "create"}]
        return run(*text, env=env)[0]


class Http2(Case):
    def test_asked_for(self):
        """A minimal HTTP/2 server: it sends settings, and one answer with the status 200 of the static table."""
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
