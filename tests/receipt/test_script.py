#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/verify-without-kolm.sh with valid and changed files, and receipts read by independent code.

usage: test_script.py SCRIPT ARTIFACT_TOOL
"""
import base64
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

SCRIPT = sys.argv.pop(1) if len(sys.argv) > 1 else ""
TOOL = sys.argv.pop(1) if len(sys.argv) > 1 else ""


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-script-")
        self.addCleanup(shutil.rmtree, self.dir)
        with open(self.path("payload"), "wb") as file:
            file.write(b"payload" * 1000)
        self.make("x.kolm")
        self.key = self.path("keys/signing.pub.pem")

    def path(self, name):
        return os.path.join(self.dir, name)

    def make(self, name, home=None):
        subprocess.run([TOOL, "write", home or self.dir, self.path(name), "model/a=" + self.path("payload")], check=True)

    def lines(self, name):
        with open(self.path(name), "rb") as file:
            return file.read().split(b"\n")[:-1]

    def put(self, name, lines):
        with open(self.path(name), "wb") as file:
            file.write(b"".join(line + b"\n" for line in lines))

    def script(self, *more, key=None, name="x.kolm"):
        return subprocess.run(["sh", SCRIPT, self.path(name), key or self.key, *more], capture_output=True, text=True,
                              env={"PATH": os.environ["PATH"], "TMPDIR": self.dir})

    def good(self, *more):
        result = self.script(*more)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertIn("verified: ", result.stdout)
        return result.stdout

    def bad(self, words, *more, **options):
        result = self.script(*more, **options)
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("NOT verified: ", result.stderr)
        self.assertIn(words, result.stderr)
        self.assertNotIn("verified: ", result.stdout)


class Script(Case):
    def test_good(self):
        self.good()
        self.assertEqual([name for name in os.listdir(self.dir) if name.startswith("tmp.")], [])

    def test_good_with_log(self):
        self.make("y.kolm")
        self.assertIn("chain: 4 lines, head " + hashlib.sha256(self.lines("receipts.jsonl")[-1]).hexdigest(), self.good(self.path("receipts.jsonl")))

    def test_every_kind_of_tampering_with_the_artifact(self):
        with open(self.path("x.kolm"), "r+b") as file:
            data = file.read()
            for at in (0, 100, len(data) // 2, len(data) - 1):
                file.seek(at)
                file.write(bytes([data[at] ^ 1]))
                file.flush()
                self.bad("the artifact was changed")
                file.seek(at)
                file.write(data[at:at + 1])
                file.flush()
            self.good()
            file.write(b"\0")
            file.flush()
            self.bad("the artifact was changed")

    def test_changed_lines(self):
        name = "x.kolm.intoto.jsonl"
        lines = self.lines(name)
        for number in (0, 1):
            for at in [*range(0, len(lines[number]), 149), *range(len(lines[number]) - 20, len(lines[number]))]:
                changed = list(lines)
                changed[number] = lines[number][:at] + bytes([lines[number][at] ^ 1]) + lines[number][at + 1:]
                self.put(name, changed)
                self.assertEqual(self.script().returncode, 1, f"byte {at} of line {number}")

    def test_removed_swapped_and_cut_lines(self):
        name = "x.kolm.intoto.jsonl"
        lines = self.lines(name)
        self.put(name, lines[:1])
        self.bad("two receipts")
        self.put(name, lines[::-1])
        self.bad("is not the provenance")
        self.put(name, [lines[0], lines[0]])
        self.bad("is not a receipt")
        self.put(name, [lines[0], lines[1], lines[1]])
        self.bad("no more")
        self.put(name, [lines[0], lines[1] + b" "])
        self.bad("as kolm writes it")
        with open(self.path(name), "wb") as file:
            file.write(b"\n".join(lines))
        self.bad("is cut off")
        self.put(name, [])
        self.bad("two receipts")
        os.unlink(self.path(name))
        self.bad("there are no receipts")

    def test_odd_names(self):
        """A file name is never taken as an option or as shell syntax."""
        for name in ("-x.kolm", "a b;$(touch hit)`touch hit`'\".kolm"):
            shutil.copy(self.path("x.kolm"), self.path(name))
            shutil.copy(self.path("x.kolm.intoto.jsonl"), self.path(name + ".intoto.jsonl"))
            shutil.copy(self.key, self.path("-key.pem"))
            result = subprocess.run(["sh", os.path.abspath(SCRIPT), name, "-key.pem"], capture_output=True, text=True, cwd=self.dir,
                                    env={"PATH": os.environ["PATH"], "TMPDIR": self.dir})
            self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertFalse(os.path.exists(self.path("hit")))

    def test_second_fields(self):
        name = "x.kolm.intoto.jsonl"
        lines = self.lines(name)
        payload = json.loads(lines[1])["payload"]
        for extra in (b'{"payload":"' + payload.encode() + b'",', b'{"x":1,'):
            self.put(name, [lines[0], extra + lines[1][1:]])
            self.bad("as kolm writes it")

    def test_other_key(self):
        os.mkdir(self.path("other"))
        self.make("y.kolm", self.path("other"))
        self.bad("is not by this key", key=self.path("other/keys/signing.pub.pem"))
        self.bad("cannot read", key=self.path("none"))
        self.bad("is not by this key", name="y.kolm")

    def test_log(self):
        self.make("y.kolm")
        lines = self.lines("receipts.jsonl")
        self.put("shorter", lines[2:])
        self.bad("does not follow", self.path("shorter"), name="y.kolm")
        self.put("without", lines[:1] + lines[2:])
        self.bad("does not follow", self.path("without"))
        self.put("cut", lines[:2])
        self.good(self.path("cut"))
        self.bad("is not in", self.path("cut"), name="y.kolm")

    def test_usage(self):
        self.assertEqual(subprocess.run(["sh", SCRIPT], capture_output=True).returncode, 1)


class Formats(Case):
    """The formats that other programs read, read without kolm's code."""

    def statement(self, number):
        envelope = json.loads(self.lines("x.kolm.intoto.jsonl")[number])
        self.assertEqual(envelope["payloadType"], "application/vnd.in-toto+json")
        return json.loads(base64.b64decode(envelope["payload"]))

    def test_canonical(self):
        for line in self.lines("x.kolm.intoto.jsonl"):
            envelope = json.loads(line)
            payload = base64.b64decode(envelope["payload"])
            self.assertEqual(json.dumps(json.loads(payload), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(), payload)
            self.assertEqual(json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode(), line)

    def test_slsa(self):
        statement = self.statement(0)
        self.assertEqual(statement["_type"], "https://in-toto.io/Statement/v1")
        self.assertEqual(statement["predicateType"], "https://slsa.dev/provenance/v1")
        predicate = statement["predicate"]
        self.assertTrue(predicate["runDetails"]["builder"]["id"].endswith(":acme"))
        self.assertIn("buildType", predicate["buildDefinition"])
        self.assertIn("externalParameters", predicate["buildDefinition"])
        self.assertRegex(predicate["runDetails"]["metadata"]["startedOn"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_receipt(self):
        statement = self.statement(1)
        with open(self.path("x.kolm"), "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        self.assertEqual(statement["subject"], [{"name": "x.kolm", "digest": {"sha256": digest}}])
        predicate = statement["predicate"]
        compute = predicate["metrics"]["compute"]
        self.assertEqual(set(compute), {"backend", "device", "cost_usd", "wall_duration_ms", "provenance"})
        self.assertEqual((compute["backend"], compute["cost_usd"], compute["wall_duration_ms"]), ("acme", 0, 12))
        self.assertEqual(compute["provenance"]["score"], 0.895)
        self.assertIsNone(compute["provenance"]["quoted_cost_usd"])
        self.assertEqual(compute["provenance"]["stated_by_plugin"], [])  # it reported nothing
        self.assertEqual(predicate["metrics"]["kscore"]["k"], 0.9)
        self.assertEqual(set(predicate["airgap"]), {"requested", "enforced", "profile", "mechanisms"})
        self.assertEqual(predicate["chain"]["prev"], hashlib.sha256(self.lines("x.kolm.intoto.jsonl")[0]).hexdigest())
        self.assertEqual(predicate["chain"]["seq"], 1)

    def test_keys(self):
        private, public = self.path("keys/signing.pem"), self.key
        self.assertEqual(stat.S_IMODE(os.stat(private).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("keys")).st_mode), 0o700)
        derived = subprocess.run(["openssl", "pkey", "-in", private, "-pubout"], check=True, capture_output=True).stdout
        with open(public, "rb") as file:
            self.assertEqual(file.read(), derived)
        der = subprocess.run(["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"], check=True, capture_output=True).stdout
        keyid = json.loads(self.lines("receipts.jsonl")[0])["signatures"][0]["keyid"]
        self.assertEqual(keyid, hashlib.sha256(der).hexdigest())


if __name__ == "__main__":
    unittest.main()
