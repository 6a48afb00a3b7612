#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What users do with an artifact: run, score and verify it, trust or revoke its keys."""
import json
import os
import shutil
import subprocess
import sys
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case, jsonl, tickets  # noqa: E402

VERIFY_SCRIPT = os.path.join(harness.SOURCE, "docs", "verify-without-kolm.sh")


def setUpModule():
    harness.set_up_tree()


class Use(Case):
    """What users do with an artifact."""

    def setUp(self):
        super().setUp()
        self.write_tickets()
        self.compile()
        self.model = os.path.join(self.work, "router-1.0.0.kolm")

    # ---- verify

    def test_trusted_at_home(self):
        done = self.kolm("verify", self.model)
        self.assertIn("trusted", done.out)
        self.assertTrue(self.json("verify", self.model, schema="kolm.verify/1")["trusted"])
        self.kolm("verify", "--deep", self.model)

    def test_an_unknown_key_is_not_verified(self):
        other = {"KOLM_HOME": os.path.join(self.dir, "elsewhere")}
        self.assertIn("unknown key", self.kolm("verify", self.model, env=other, code=7).out)
        self.assertIn("not trusted here", self.kolm("run", self.model, "billing", env=other).err)
        self.write("signer.txt", self.kolm("keys", "export").out)
        self.kolm("keys", "trust", "signer.txt", "--label", "the office", env=other)
        done = self.kolm("verify", self.model, env=other)
        self.assertIn("trusted", done.out)
        self.assertIn("the office", done.out)
        keyid = self.json("verify", self.model, env=other)["keyid"]
        self.kolm("keys", "revoke", keyid[:12], "--reason", "stolen", env=other)
        self.assertIn("revoked", self.kolm("verify", self.model, env=other, code=7).out)
        self.assert_error(self.kolm("run", self.model, "billing", env=other, code=7), "revoked")

    def test_expired_keys(self):
        other = {"KOLM_HOME": os.path.join(self.dir, "elsewhere")}
        self.write("signer.txt", self.kolm("keys", "export").out)
        self.kolm("keys", "trust", "signer.txt", "--to", "2001-01-01", env=other)
        self.assertIn("expired", self.kolm("verify", self.model, env=other, code=7).out)

    def test_a_rotated_key_stays_trusted(self):
        self.kolm("keys", "rotate")
        self.assertIn("trusted", self.kolm("verify", self.model).out)
        self.kolm("run", self.model, "parcel")
        # The receipt in the log proves that the old key signed it before it was replaced.
        os.rename(self.model + ".intoto.jsonl", self.model + ".away")
        self.assertIn("expired", self.kolm("verify", self.model, code=7).out)
        self.assert_error(self.kolm("run", self.model, "parcel", code=7), "was replaced on", ".intoto.jsonl")
        os.rename(self.model + ".away", self.model + ".intoto.jsonl")
        self.compile("--force")
        self.assertIn("trusted", self.kolm("verify", self.model).out)

    def test_every_flipped_byte_is_noticed(self):
        data = self.read(self.model)
        for at in range(0, len(data), 41):
            changed = bytearray(data)
            changed[at] ^= 1
            self.write(self.model, bytes(changed))
            done = self.kolm("verify", self.model, code=7)
            self.assertRegex(done.out, "tampered|malformed", at)
        with zipfile.ZipFile(os.path.join(self.write(self.model, data))) as artifact:
            offset = data.index(artifact.read("model/words.jsonl"))
        changed = bytearray(data)
        changed[offset + 3] ^= 1
        self.write(self.model, bytes(changed))
        self.assertIn("tampered", self.kolm("verify", self.model, code=7).out)
        self.assert_error(self.kolm("run", self.model, "billing", code=7), "digest")
        os.remove(self.model + ".intoto.jsonl")
        self.assertIn("tampered", self.kolm("verify", self.model, code=7).out)

    def test_files_that_are_no_artifact(self):
        for name, content in (("empty.kolm", b""), ("text.kolm", b"hello\n" * 100), ("cut.kolm", self.read(self.model)[:-10]),
                              ("digest.kolm", self.read(self.model) + b"x"), ("before.kolm", b"x" + self.read(self.model))):
            self.write(name, content)
            self.assertIn("malformed", self.kolm("verify", name, code=7).out)
            self.kolm("run", name, "billing", code=7)
            self.kolm("inspect", name, code=7)
        for verb in (("verify",), ("inspect",), ("run", "x"), ("score", "--eval", "tickets.jsonl")):
            self.assert_error(self.kolm(verb[0], "missing.kolm", *verb[1:], code=6), "missing.kolm")
            self.kolm(verb[0], self.work, *verb[1:], code=6)

    def test_openssl_alone_accepts_and_refuses(self):
        if not os.path.exists(VERIFY_SCRIPT) or not shutil.which("openssl"):
            self.skipTest("needs docs/verify-without-kolm.sh and openssl")
        self.write("signer.txt", self.kolm("keys", "export").out)
        command = ["/bin/bash", VERIFY_SCRIPT, self.model, os.path.join(self.work, "signer.txt")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        data = bytearray(self.read(self.model))
        data[-30] ^= 1
        self.write(self.model, bytes(data))
        self.assertNotEqual(subprocess.run(command, capture_output=True, check=False).returncode, 0)

    # ---- run

    def test_one_answer(self):
        done = self.kolm("run", self.model, "billing is wrong")
        self.assertRegex(done.out, r"^billing  [01]\.\d{3}\n$")
        answer = self.json("run", self.model, "billing is wrong")
        self.assertEqual(answer["output"], "billing")
        self.assertEqual(self.kolm("run", self.model, "billing", "login").out.split()[::2], ["billing", "login"])
        self.assertEqual(self.jobs(), [])

    def test_lines_and_json_lines(self):
        done = self.kolm("run", self.model, stdin="billing ä\nlogin\r\nrefund".encode())
        self.assertEqual([line.split("  ")[0] for line in done.out.splitlines()], ["billing", "login", "refund"])
        questions = b'{"id":"a","input":"billing 1"}\n{"id":7,"input":"login"}\n\n{"input":"refund \\u00e9"}\n'
        answers = [json.loads(line) for line in self.kolm("run", self.model, "--jsonl", stdin=questions).out.splitlines()]
        self.assertEqual([a["output"] for a in answers], ["billing", "login", "refund"])
        self.assertEqual([str(a["id"]) for a in answers[:2]], ["a", "7"])
        self.assertTrue(all(0 <= a["confidence"] <= 1 for a in answers))
        self.assertEqual(self.kolm("run", self.model, stdin=b"").out, "")

    def test_bad_questions(self):
        for words, stdin, pieces in ((["--jsonl"], b'{"input":"billing"}\n{"input":\n', ("line 2",)), (["--jsonl"], b'{"topic":"x"}\n', ("line 1", "input")),
                                     ([], b"billing\n\xff\xfe\n", ("line 2", "UTF-8")), ([], b"billing\x00x\n", ("line 1",))):
            self.assert_error(self.kolm("run", self.model, *words, stdin=stdin, code=6), *pieces)

    def test_a_batch_streams(self):
        """The first answer arrives while the input is still open."""
        process = self.start("run", self.model, stdin=subprocess.PIPE)
        process.stdin.write(b"billing 1\n")
        process.stdin.flush()
        self.assertTrue(process.stdout.readline().startswith(b"billing"))
        process.stdin.write(b"login 2\n")
        process.stdin.flush()
        self.assertTrue(process.stdout.readline().startswith(b"login"))
        process.stdin.close()
        self.assertEqual(process.wait(30), 0)
        process.stdout.close()
        process.stderr.close()

    def test_a_batch_ends_by_interrupt(self):
        process = self.start("run", self.model, stdin=subprocess.PIPE)
        process.stdin.write(b"billing 1\n")
        process.stdin.flush()
        process.stdout.readline()
        below = self.children_of(process.pid)
        self.assertTrue(below)
        process.send_signal(2)
        self.assertEqual(process.wait(30), 130)
        self.wait_for(lambda: not any(self.alive(pid) for pid in below), "the end of the backend")
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
        self.assertEqual(self.jobs(), [])

    def test_a_long_batch_in_constant_memory(self):
        rows = 20000
        questions = b"".join(b"%s number %d\n" % (harness.LABELS[i % 6].encode(), i) for i in range(rows))
        done = self.kolm("run", self.model, stdin=questions)
        answers = done.out.splitlines()
        self.assertEqual(len(answers), rows)
        self.assertTrue(all(line.startswith(harness.LABELS[i % 6]) for i, line in enumerate(answers)))

    def test_a_closed_reader_is_no_error(self):
        questions = b"billing\n" * 20000
        process = self.start("run", self.model, stdin=subprocess.PIPE)
        process.stdout.close()
        try:
            process.communicate(questions, timeout=60)
        except (BrokenPipeError, ValueError):
            pass
        self.assertGreaterEqual(process.wait(30), 0)

    def test_abstaining(self):
        self.write("noisy.jsonl", jsonl(tickets(300, noise=0.15)))
        done = self.compile("-o", "shy.kolm", "--abstain", "0.95", "--gate", "0.2", "--min-accuracy", "0", "--allow-baseline", data="noisy.jsonl")
        self.assertIn("withheld", done.out)
        self.assertIn("withheld", self.kolm("run", "shy.kolm", "zebra crossing").out)
        mute = self.compile("-o", "mute.kolm", "--abstain", "1", "--effort", "quick", data="noisy.jsonl", code=4)
        self.assertIn("what to try: a lower --abstain or --target-accuracy", mute.out)
        answer = self.json("run", "shy.kolm", "zebra crossing")
        self.assertIsNone(answer["output"])
        self.assertIn(answer["best"], harness.LABELS)

    def test_the_maker_answers(self):
        self.add_backend("test-other")
        self.kolm("compute", "use", "test-other")
        self.tell("crash infer", "test-other", backend="test-other")
        self.kolm("run", self.model, "billing")
        self.assert_error(self.kolm("run", "--backend", "test-other", self.model, "billing", code=5), "crashed")

    def test_only_the_maker_is_looked_at(self):
        self.add_backend("test-other")
        cache = os.path.join(self.home, "cache", "detect.json")
        if os.path.exists(cache):
            os.unlink(cache)
        self.kolm("run", self.model, "billing")
        self.assertEqual(list(json.loads(self.read(cache))["entries"]), ["test-word"])
        self.kolm("run", "--airgap", self.model, "billing")

    def test_a_maker_that_is_elsewhere_is_not_called(self):
        """A model that was made on another machine is used on this one."""
        self.add_backend("test-word", kind="self-hosted")
        self.tell("crash infer")
        self.add_backend("test-other", formats=["test-word"])
        self.assertIn("billing", self.kolm("run", self.model, "billing").out)
        self.assert_error(self.kolm("run", "--backend", "test-word", self.model, "billing", code=5), "crashed")

    def test_without_its_maker_another_one_is_looked_for(self):
        self.add_backend("test-other", formats=["words", "test-word"])
        for name in os.listdir(self.plugins):
            if name.startswith("test-word"):
                os.unlink(os.path.join(self.plugins, name))
        self.assertIn("billing", self.kolm("run", self.model, "billing").out)

    def test_a_backend_without_slices_answers_too(self):
        self.add_backend("test-other")
        self.assertEqual(self.kolm("run", "--backend", "test-other", self.model, "billing").out.split()[0], "billing")

    def test_a_home_that_cannot_be_written_answers(self):
        for directory, _, _ in os.walk(self.home):
            os.chmod(directory, 0o500)
        try:
            self.kolm("run", self.model, "billing")
        finally:
            for directory, _, _ in os.walk(self.home):
                os.chmod(directory, 0o700)

    # ---- score, inspect, keys

    def test_score_again(self):
        self.write("eval.jsonl", jsonl(tickets(100, seed=5, noise=0)))
        report = self.json("score", self.model, "--eval", "eval.jsonl", schema="kolm.score/1")
        self.assertEqual(report["n"], 100)
        self.assertIn("1.000", self.kolm("score", self.model, "--eval", "eval.jsonl").out)
        self.write("wrong.jsonl", jsonl(tickets(100, seed=5, noise=1)))
        self.kolm("score", self.model, "--eval", "wrong.jsonl")
        self.kolm("score", self.model, "--eval", "wrong.jsonl", "--min-accuracy", "0.8", code=4)
        self.assert_error(self.kolm("score", self.model, code=2), "--eval")
        self.assert_error(self.kolm("score", self.model, "--eval", "nowhere.jsonl", code=6), "nowhere.jsonl")
        self.assertEqual(self.jobs(), [])

    def test_inspect(self):
        done = self.kolm("inspect", self.model)
        for piece in ("router", "1.0.0", "linear", "model/words.jsonl"):
            self.assertIn(piece, done.out)
        value = self.json("inspect", self.model)
        self.assertIn("manifest", value)

    def test_keys(self):
        keyid = self.json("verify", self.model)["keyid"]
        self.assertIn(keyid, self.kolm("keys", "list").out)
        pem = self.kolm("keys", "export").out
        self.assertTrue(pem.startswith("-----BEGIN PUBLIC KEY-----\n"))
        self.assert_error(self.kolm("keys", "trust", "nothing.pem", code=6), "nothing.pem")
        self.write("bad.txt", "not a key")
        self.kolm("keys", "trust", "bad.txt", code=6)
        self.assert_error(self.kolm("keys", "frob", code=2), "'frob'")
        self.kolm("keys", "revoke", "123", code=6)


if __name__ == "__main__":
    harness.main()
