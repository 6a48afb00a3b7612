#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two implementations of one rule: a table of sidecars and logs for which `kolm verify --receipts` and docs/verify-without-kolm.sh must give
the same verdict (the rule is in core/receipt/receipt.h).

usage: test_rule.py KOLM SCRIPT ARTIFACT_TOOL
"""
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

KOLM, SCRIPT, TOOL = sys.argv[1:4]
del sys.argv[1:4]
with open(KOLM, "rb") as program:
    SANITIZED = b"__asan_init" in program.read()  # tests only kolm, not the script
SIDECAR, LOG = "x.kolm.intoto.jsonl", "receipts.jsonl"


def edit(line, **fields):
    """Replaces fields of the envelope of line, in kolm's formatting; the signature stays the same."""
    envelope = json.loads(line)
    signature = envelope["signatures"][0]
    envelope["payload"] = fields.get("payload", envelope["payload"])
    envelope["payloadType"] = fields.get("type", envelope["payloadType"])
    signature["keyid"] = fields.get("keyid", signature["keyid"])
    signature["sig"] = fields.get("sig", signature["sig"])
    return json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()


def repayload(line, old, new):
    payload = base64.b64decode(json.loads(line)["payload"])
    assert old in payload
    return edit(line, payload=base64.b64encode(payload.replace(old, new)).decode())


# name: (whether it is trusted, sidecar, log); each of the two is a function of (own lines, lines of another key, the log) that
# returns bytes, or None for unchanged.
def table():
    whole = lambda lines: b"".join(line + b"\n" for line in lines)
    rows = {}

    def sidecar(name, trusted, make):
        rows["sidecar: " + name] = (trusted, make, None)

    def log(name, trusted, make):
        rows["log: " + name] = (trusted, None, make)

    sidecar("as written", True, lambda own, other, log: whole(own))
    sidecar("another's line behind", True, lambda own, other, log: whole(own + other[:1]))
    sidecar("two of another's behind", True, lambda own, other, log: whole(own + other))
    sidecar("another's line twice behind", True, lambda own, other, log: whole(own + other[:1] * 2))
    sidecar("another's line of another type", True, lambda own, other, log: whole(own + [edit(other[0], type="a/b+c.d-e")]))
    sidecar("another's broken signature", True, lambda own, other, log: whole(own + [edit(other[0], sig="A" * 86 + "==")]))
    sidecar("another's line in front", False, lambda own, other, log: whole(other[:1] + own))
    sidecar("another's line between", False, lambda own, other, log: whole([own[0], other[0], own[1]]))
    sidecar("another's lines only", False, lambda own, other, log: whole(other))
    sidecar("empty", False, lambda own, other, log: b"")
    sidecar("one line feed", False, lambda own, other, log: b"\n")
    sidecar("provenance only", False, lambda own, other, log: whole(own[:1]))
    sidecar("receipt only", False, lambda own, other, log: whole(own[1:]))
    sidecar("swapped", False, lambda own, other, log: whole(own[::-1]))
    sidecar("provenance twice", False, lambda own, other, log: whole([own[0]] + own))
    sidecar("receipt twice", False, lambda own, other, log: whole(own + [own[1]]))
    sidecar("receipt twice at the front", False, lambda own, other, log: whole([own[1]] + own))
    sidecar("both twice", False, lambda own, other, log: whole(own * 2))
    sidecar("provenance of another run behind", False, lambda own, other, log: whole(own + log[2:3]))
    sidecar("receipt of another run", False, lambda own, other, log: whole([own[0], log[3]]))
    sidecar("receipts of another run", False, lambda own, other, log: whole(log[2:4]))
    sidecar("cut in the last line", False, lambda own, other, log: whole(own)[:-100])
    sidecar("without the last line feed", False, lambda own, other, log: whole(own)[:-1])
    sidecar("an empty line behind", False, lambda own, other, log: whole(own) + b"\n")
    sidecar("an empty line between", False, lambda own, other, log: own[0] + b"\n\n" + own[1] + b"\n")
    sidecar("an empty line in front", False, lambda own, other, log: b"\n" + whole(own))
    sidecar("carriage returns", False, lambda own, other, log: whole(own).replace(b"\n", b"\r\n"))
    sidecar("a byte order mark", False, lambda own, other, log: b"\xef\xbb\xbf" + whole(own))
    sidecar("a blank behind a line", False, lambda own, other, log: whole([own[0] + b" ", own[1]]))
    sidecar("a NUL behind a line", False, lambda own, other, log: whole([own[0] + b"\0", own[1]]))
    sidecar("garbage behind", False, lambda own, other, log: whole(own) + b"garbage\n")
    sidecar("an object behind", False, lambda own, other, log: whole(own) + b"{}\n")
    sidecar("half a line behind", False, lambda own, other, log: whole(own) + other[0][:50])
    sidecar("another's line with blanks", False, lambda own, other, log: whole(own + [other[0].replace(b'","', b'", "')]))
    sidecar("another's line with a short key id", False, lambda own, other, log: whole(own + [edit(other[0], keyid="ab12")]))
    sidecar("another's line with capitals in the key id", False,
            lambda own, other, log: whole(own + [edit(other[0], keyid="AB" * 32)]))
    sidecar("another's line with a short signature", False, lambda own, other, log: whole(own + [edit(other[0], sig="AAAA")]))
    sidecar("another's line without a type", False, lambda own, other, log: whole(own + [edit(other[0], type="")]))
    sidecar("another's line with blanks in the type", False, lambda own, other, log: whole(own + [edit(other[0], type="a b")]))
    sidecar("another's line with a stray bit", False,
            lambda own, other, log: whole(own + [edit(other[0], sig="A" * 85 + "B==")]))
    sidecar("another's line that names the signer", False,
            lambda own, other, log: whole(own + [edit(other[0], keyid=json.loads(own[0])["signatures"][0]["keyid"])]))
    sidecar("own line under another key id", False, lambda own, other, log: whole([edit(own[0], keyid="ab" * 32), own[1]]))
    sidecar("own receipt under another key id", False, lambda own, other, log: whole([own[0], edit(own[1], keyid="ab" * 32)]))
    sidecar("own receipt with another's signature", False,
            lambda own, other, log: whole([own[0], edit(own[1], sig=json.loads(other[1])["signatures"][0]["sig"])]))
    sidecar("own lines with another type", False, lambda own, other, log: whole([edit(line, type="text/plain") for line in own]))
    sidecar("a changed date", False, lambda own, other, log: whole([own[0], repayload(own[1], b'"finished_at":"20', b'"finished_at":"21')]))
    sidecar("a changed backend", False, lambda own, other, log: whole([own[0], repayload(own[1], b'"backend":"acme"', b'"backend":"acmf"')]))
    sidecar("keys in another order", False,
            lambda own, other, log: whole([json.dumps(dict(reversed(json.loads(own[0]).items())), separators=(",", ":")).encode(), own[1]]))
    sidecar("a field twice", False, lambda own, other, log: whole([b'{"payload":"AAAA",' + own[0][1:], own[1]]))
    sidecar("a field more", False, lambda own, other, log: whole([own[0][:-1] + b',"x":1}', own[1]]))
    sidecar("two signatures", False,
            lambda own, other, log: whole([own[0].replace(b'"signatures":[', b'"signatures":[' + own[0].split(b'"signatures":[')[1][:-2] + b","), own[1]]))

    log("as written", True, lambda own, other, log: whole(log))
    log("only this model's lines", False, lambda own, other, log: whole(log[:2]))
    log("cut behind the third line", False, lambda own, other, log: whole(log[:3]))
    log("cut behind the first line", False, lambda own, other, log: whole(log[:1]))
    log("emptied", False, lambda own, other, log: b"")
    log("half a line behind", True, lambda own, other, log: whole(log) + log[0][:100])
    log("a whole line without a line feed behind", True, lambda own, other, log: whole(log) + log[0])
    log("the last line torn", False, lambda own, other, log: whole(log)[:-1])
    log("first line gone", False, lambda own, other, log: whole(log[1:]))
    log("second line gone", False, lambda own, other, log: whole(log[:1] + log[2:]))
    log("later line gone", False, lambda own, other, log: whole(log[:2] + log[3:]))
    log("a line twice", False, lambda own, other, log: whole(log[:1] + log))
    log("the last line twice", False, lambda own, other, log: whole(log + log[-1:]))
    log("lines swapped", False, lambda own, other, log: whole([log[1], log[0]] + log[2:]))
    log("later lines swapped", False, lambda own, other, log: whole(log[:2] + [log[3], log[2]]))
    log("garbage behind", False, lambda own, other, log: whole(log) + b"garbage\n")
    log("another's line behind", False, lambda own, other, log: whole(log + other[:1]))
    log("carriage returns", False, lambda own, other, log: whole(log).replace(b"\n", b"\r\n"))
    log("a blank behind the last line", False, lambda own, other, log: whole(log[:-1] + [log[-1] + b" "]))
    log("last signature changed", False, lambda own, other, log: whole(log[:-1] + [edit(log[-1], sig="A" * 86 + "==")]))
    log("last date changed", False, lambda own, other, log: whole(log[:-1] + [repayload(log[-1], b'"finished_at":"20', b'"finished_at":"21')]))
    log("first date changed", False, lambda own, other, log: whole([repayload(log[0], b'"startedOn":"20', b'"startedOn":"21')] + log[1:]))
    log("last line in another spelling", False, lambda own, other, log: whole(log[:-1] + [log[-1].replace(b'","', b'", "', 1)]))
    return rows


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class Rule(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-rule-")
        self.addCleanup(shutil.rmtree, self.dir)
        os.mkdir(self.path("other"))
        with open(self.path("payload"), "wb") as file:
            file.write(b"payload" * 100)
        for home, name in ((self.dir, "x.kolm"), (self.dir, "y.kolm"), (self.path("other"), "z.kolm")):
            subprocess.run([TOOL, "write", home, self.path(name), f"model/{name}=" + self.path("payload")], check=True)
        self.key = self.path("keys/signing.pub.pem")

    def path(self, name):
        return os.path.join(self.dir, name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def put(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)

    def lines(self, name):
        return self.read(name).split(b"\n")[:-1]

    def kolm(self, *words):
        env = {"PATH": os.environ["PATH"], "KOLM_HOME": self.dir, "HOME": self.dir, "LC_ALL": "C.UTF-8"}
        return subprocess.run([KOLM, *words], capture_output=True, text=True, env=env, timeout=60)

    def judged(self):
        """Returns the verdicts of both on x.kolm, and their output."""
        verify = self.kolm("verify", "--receipts", self.path("x.kolm"))
        self.assertIn(verify.returncode, (0, 7), verify.stdout + verify.stderr)
        if SANITIZED:
            return {verify.returncode == 0}, verify.stdout + verify.stderr
        script = subprocess.run(["sh", SCRIPT, self.path("x.kolm"), self.key, self.path(LOG)], capture_output=True, text=True,
                                env={"PATH": os.environ["PATH"], "TMPDIR": self.dir}, timeout=60)
        said = verify.stdout + verify.stderr + script.stdout + script.stderr
        self.assertIn(script.returncode, (0, 1), said)
        return {verify.returncode == 0, script.returncode == 0}, said

    def test_table(self):
        own, other, log = self.lines(SIDECAR), self.lines("z.kolm.intoto.jsonl"), self.lines(LOG)
        good = {name: self.read(name) for name in (SIDECAR, LOG)}
        rows = table()
        for name, (trusted, sidecar, lines) in rows.items():
            with self.subTest(name):
                for file, make in ((SIDECAR, sidecar), (LOG, lines)):
                    self.put(file, good[file] if make is None else make(own, other, log))
                found, said = self.judged()
                self.assertEqual(found, {trusted}, said)
        self.assertGreater(len(rows), 70)

    def test_a_log_without_its_heads(self):
        """Without the heads a truncated end cannot be detected; the rest of the rule applies."""
        log = self.lines(LOG)
        os.unlink(self.path(LOG + ".heads"))
        for lines, trusted in ((log[:2], True), (log[:1], False), (log[:3], True)):
            self.put(LOG, b"".join(line + b"\n" for line in lines))
            found, said = self.judged()
            self.assertEqual(found, {trusted}, said)

    def test_what_is_there_instead(self):
        for name in (SIDECAR, LOG):
            data = self.read(name)
            os.unlink(self.path(name))
            found, said = self.judged()
            self.assertEqual(found, {False}, said)
            os.mkfifo(self.path(name))
            verify = self.kolm("verify", "--receipts", self.path("x.kolm"))
            self.assertEqual(verify.returncode, 8, verify.stdout + verify.stderr)
            self.assertIn("could not be checked", verify.stdout)
            script = subprocess.run(["sh", SCRIPT, self.path("x.kolm"), self.key, self.path(LOG)], capture_output=True, timeout=60)
            self.assertEqual(script.returncode, 1)
            os.unlink(self.path(name))
            self.put(name, data)

    def test_rotated(self):
        """The log continues with the new key; the script accepts it with either key."""
        self.assertEqual(self.kolm("keys", "rotate").returncode, 0)
        # The tool uses the current signing key.
        subprocess.run([TOOL, "write", self.dir, self.path("w.kolm"), "model/a=" + self.path("payload")], check=True)
        keyid = json.loads(self.lines(SIDECAR)[0])["signatures"][0]["keyid"]
        self.key = self.path(f"keys/trusted/{keyid}.pem")
        found, said = self.judged()
        self.assertEqual(found, {True}, said)
        self.assertIn("own, until", said)

    def test_interrupted_in_a_large_file(self):
        """Commands that read files of any size react to Ctrl-C while reading one."""
        size = 256 << 20
        pieces = {"kolm_trainer.json": b"{}", "adapter_config.json": b"{}"}
        for name, data in pieces.items():
            self.put(name, data)
        with open(self.path("large"), "wb") as file:
            file.truncate(size)
        subprocess.run([TOOL, "write", self.dir, self.path("large.kolm"), "model/adapter_model.bin=" + self.path("large"),
                        *("model/%s=%s" % (name, self.path(name)) for name in pieces)], check=True)
        for words in (("verify", "large.kolm"), ("export", "large.kolm", "--to", "there")):
            child = subprocess.Popen([os.path.abspath(KOLM), *words], cwd=self.dir, env={"PATH": os.environ["PATH"], "KOLM_HOME": self.dir, "HOME": self.dir, "LC_ALL": "C.UTF-8"},
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.addCleanup(child.kill)
            while True:  # until it has begun to read the large file
                self.assertIsNone(child.poll(), words)
                try:
                    with open("/proc/%d/io" % child.pid, encoding="ascii") as file:
                        read = int(file.readline().split()[1])
                except PermissionError:
                    self.skipTest("kolm does not let itself be looked at but by root")
                if read > 4 << 20:
                    break
            os.kill(child.pid, signal.SIGSTOP)
            self.assertLess(read, size)
            os.kill(child.pid, signal.SIGINT)
            os.kill(child.pid, signal.SIGCONT)
            out, err = child.communicate(timeout=60)
            self.assertEqual(child.returncode, 130, (words, out, err))
            self.assertFalse([name for name in os.listdir(self.dir) if name.startswith("there")])


if __name__ == "__main__":
    unittest.main()
