#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A model that is kept loaded: the same answers as from a cold one, for many clients at once, and nothing left after its server ends."""
import glob
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case  # noqa: E402

QUESTIONS = ["billing please", "shipping monday 7", "refund the order", "nothing known"]


def setUpModule():
    harness.set_up_tree()


class Serve(Case):
    def setUp(self):
        super().setUp()
        self.write_tickets()
        self.compile()

    def serve(self, *words):
        """Starts a server and waits until it says where it listens."""
        server = subprocess.Popen([harness.TREE.kolm, "run", "--serve", "router-1.0.0.kolm", *words], cwd=self.work, env=self.env,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end, server)
        line = server.stdout.readline()
        self.assertRegex(line, r"^\[serve\]       /.*\.sock$", server.stderr.read() if not line else "")
        return server, line.split(None, 1)[1].strip()

    def end(self, server):
        if server.poll() is None:
            server.kill()
        server.communicate()

    def connect(self, path):
        """Opens a connection and reads its greeting."""
        side = socket.socket(socket.AF_UNIX)
        self.addCleanup(side.close)
        side.settimeout(60)
        side.connect(path)
        lines = side.makefile("r", encoding="utf-8")
        greeting = json.loads(lines.readline())
        self.assertEqual((greeting["kolm"], greeting["backend"]), (1, "test-word"))
        return side, lines, greeting

    def test_the_answers_are_those_of_a_cold_model(self):
        cold = self.kolm("run", "router-1.0.0.kolm", *QUESTIONS).out
        server, path = self.serve()
        self.assertEqual(os.stat(path).st_mode & 0o077, 0)
        self.assertEqual(os.stat(os.path.dirname(path)).st_mode & 0o777, 0o700)
        self.assertEqual(self.kolm("run", "router-1.0.0.kolm", *QUESTIONS).out, cold)
        # The answers came from the server: while it is stopped there are none.
        server.send_signal(signal.SIGSTOP)
        waiting = subprocess.Popen([harness.TREE.kolm, "run", "--jsonl", "router-1.0.0.kolm"], cwd=self.work, env=self.env,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        waiting.stdin.write('{"id":7,"input":"billing"}\n')
        waiting.stdin.flush()
        server.send_signal(signal.SIGCONT)
        out, _ = waiting.communicate(timeout=60)
        self.assertEqual(json.loads(out)["id"], "7")

    def test_many_at_once(self):
        _, path = self.serve()
        wrong = []

        def ask(number):
            side, lines, _ = self.connect(path)
            for i in range(400):
                side.sendall(json.dumps({"id": "%d/%d" % (number, i), "input": "billing %d" % i}).encode() + b"\n")
            side.shutdown(socket.SHUT_WR)
            ids = [json.loads(line)["id"] for line in lines]
            if ids != ["%d/%d" % (number, i) for i in range(400)]:
                wrong.append((number, len(ids)))

        clients = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self.assertEqual(wrong, [])

    def test_clients_that_send_nonsense_or_leave_early_do_no_harm(self):
        _, path = self.serve()
        for nonsense in (b"not json\n", b"[]\n", b'{"id":1,"input":"x"}\n', b'{"id":"a"}\n', b"\xff\xfe\n", b"\n"):
            side, lines, _ = self.connect(path)
            side.sendall(nonsense)
            self.assertIn("error", json.loads(lines.readline()), nonsense)
            self.assertEqual(lines.readline(), "")
        # Lines after the invalid one do not keep the connection open.
        side, lines, _ = self.connect(path)
        side.sendall(b'not json\n' + b'{"id":"late","input":"billing"}\n' * 3)
        self.assertIn("error", json.loads(lines.readline()))
        self.assertEqual(lines.readline(), "")
        for _ in range(5):
            side, _, _ = self.connect(path)
            side.sendall(b'{"id":"gone","input":"billing"}\n' * 50)
            side.close()
        self.assertEqual(len(self.kolm("run", "router-1.0.0.kolm", *QUESTIONS).out.splitlines()), 4)

    def test_an_invalid_answer_is_reported(self):
        self.tell("garbled answers")
        _, path = self.serve()
        side, lines, _ = self.connect(path)
        side.sendall(b"".join(b'{"id":"%d","input":"billing"}\n' % i for i in range(3)))
        side.shutdown(socket.SHUT_WR)
        first, second, third = (json.loads(line) for line in lines)
        self.assertEqual((first["id"], third["id"]), ("0", "2"))
        self.assertIn("not an answer of the backend", second["error"])

    def test_only_one_serves_and_its_end_leaves_nothing_in_the_way(self):
        server, path = self.serve()
        again = self.kolm("run", "--serve", "router-1.0.0.kolm", code=2)
        self.assertIn("another kolm serves this model", again.err)
        server.send_signal(signal.SIGINT)
        self.assertEqual(server.wait(60), 0)
        self.assertFalse(os.path.exists(path))
        server, path = self.serve()
        server.kill()
        server.wait()
        self.assertTrue(os.path.exists(path))
        self.assertEqual(len(self.kolm("run", "router-1.0.0.kolm", "billing").out.splitlines()), 1)
        self.serve()

    def test_a_question_that_needs_more_than_the_server_has_is_answered_cold(self):
        _, path = self.serve()
        side, _, greeting = self.connect(path)
        self.assertFalse(greeting["airgap"])
        done = self.kolm("run", "--backend", "test-nobody", "router-1.0.0.kolm", "billing", code=None)
        self.assertNotEqual(done.returncode, 0)

    def test_it_ends_when_idle(self):
        server, path = self.serve("--idle", "1")
        side, lines, _ = self.connect(path)
        side.sendall(b'{"id":"1","input":"billing"}\n')
        self.assertEqual(json.loads(lines.readline())["id"], "1")
        # It stays while a client is connected.
        self.assertEqual(select.select([server.stdout], [], [], 2)[0], [])
        side.close()
        lines.close()
        self.assertEqual(server.wait(60), 0)

    # ---- a model that may be run at the start, but not later

    def signer(self):
        return self.json("verify", "router-1.0.0.kolm")["keyid"]

    def same_as_cold(self, *words, code=7):
        """Checks that a warm model gives the same answer as a cold one, with the same exit code."""
        warm = self.kolm("run", "router-1.0.0.kolm", *words, "billing", code=code)
        for path in glob.glob(os.path.join(self.home, "run", "*.sock")):
            os.rename(path, path + ".away")
        cold = self.kolm("run", "router-1.0.0.kolm", *words, "billing", code=code)
        self.assertEqual((warm.out, warm.err), (cold.out, cold.err))
        return cold

    def test_a_key_that_was_revoked(self):
        self.serve()
        self.kolm("run", "router-1.0.0.kolm", "billing")
        self.kolm("keys", "revoke", self.signer())
        self.assertIn("revoked", self.same_as_cold().err)

    def test_a_key_that_was_revoked_while_questions_come(self):
        server, path = self.serve()
        side, lines, _ = self.connect(path)
        side.sendall(b'{"id":"1","input":"billing"}\n')
        self.assertEqual(json.loads(lines.readline())["id"], "1")
        asking = self.start("run", "--jsonl", "router-1.0.0.kolm", stdin=subprocess.PIPE)
        asking.stdin.write(b'{"id":"1","input":"billing"}\n')
        asking.stdin.flush()
        self.assertEqual(json.loads(asking.stdout.readline())["id"], "1")
        self.kolm("keys", "revoke", self.signer())
        asking.stdin.write(b'{"id":"2","input":"billing"}\n')
        asking.stdin.flush()
        # The client does not wait for the rest of its questions.
        self.assertEqual(asking.wait(60), 7)
        self.assertIn(b"revoked", asking.stderr.read())
        self.assertEqual(asking.stdout.read(), b"")
        asking.stdin.close()
        # A client other than kolm gets the error too, and the server ends with the same one.
        told = json.loads(lines.readline())
        self.assertEqual((told["exit"], lines.readline()), (7, ""))
        self.assertIn("revoked", told["error"])
        self.assertTrue(told["remedy"])
        self.assertEqual(server.wait(60), 7)
        self.assertIn("revoked", server.stderr.read())
        self.assertFalse(os.path.exists(path))

    def test_an_end_with_a_reason_that_is_interrupted(self):
        """It is shutting down, and a client that does not read is still to be notified: the interruption does not replace the reason."""
        server, path = self.serve()
        slow, _, _ = self.connect(path)
        side, lines, _ = self.connect(path)
        for number in range(200):  # the replies exceed the buffer of a socket
            slow.sendall(json.dumps({"id": "%d" % number + "x" * 20000, "input": "billing"}).encode() + b"\n")
        side.sendall(b'{"id":"1","input":"billing"}\n')
        self.assertEqual(json.loads(lines.readline())["id"], "1")
        self.kolm("keys", "revoke", self.signer())
        side.sendall(b'{"id":"2","input":"billing"}\n')
        self.assertEqual(json.loads(lines.readline())["exit"], 7)
        server.send_signal(signal.SIGINT)
        self.assertEqual(server.wait(60), 7)
        self.assertIn("revoked", server.stderr.read())

    def test_a_change_that_changes_nothing(self):
        server, path = self.serve()
        side, lines, _ = self.connect(path)
        self.write_home("policy.json", json.dumps({"plugins": {"signatures": "optional"}}))
        side.sendall(b'{"id":"1","input":"billing"}\n')
        self.assertEqual(json.loads(lines.readline())["id"], "1")
        self.assertIsNone(server.poll())

    def test_a_policy_that_forbids_its_backend(self):
        server, path = self.serve()
        side, lines, _ = self.connect(path)
        self.write_home("policy.json", json.dumps({"plugins": {"signatures": "required"}}))
        side.sendall(b'{"id":"1","input":"billing"}\n')
        told = json.loads(lines.readline())
        self.assertEqual(told["exit"], 3, told)
        self.assertIn("sign", told["error"])
        self.assertEqual(server.wait(60), 3)
        self.kolm("run", "router-1.0.0.kolm", "billing", code=3)

    def test_a_file_that_was_changed_and_says_the_same_of_itself(self):
        """Its manifest, by which the server is found, is the same, but one byte of the model differs."""
        self.serve()
        with open(os.path.join(self.work, "router-1.0.0.kolm"), "r+b") as file:
            at = file.read().index(b'"label":"billing"')
            file.seek(at)
            file.write(b'"label":"spoiled"')
        self.same_as_cold()

    def test_a_copy_of_the_file_is_answered_warm(self):
        server, _ = self.serve()
        os.mkdir(os.path.join(self.work, "elsewhere"))
        shutil.copy(os.path.join(self.work, "router-1.0.0.kolm"), os.path.join(self.work, "elsewhere"))
        server.send_signal(signal.SIGSTOP)
        asking = self.start("run", "elsewhere/router-1.0.0.kolm", "billing")
        server.send_signal(signal.SIGCONT)
        self.assertIn(b"billing", asking.communicate(timeout=60)[0])

    def test_words_that_do_not_go_together(self):
        self.assertIn("--serve takes no TEXT", self.kolm("run", "--serve", "router-1.0.0.kolm", "billing", code=2).err)
        self.assertIn("--idle needs --serve", self.kolm("run", "--idle", "3", "router-1.0.0.kolm", "billing", code=2).err)


if __name__ == "__main__":
    harness.main()
