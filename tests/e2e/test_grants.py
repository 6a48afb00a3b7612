#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a backend requests of the user's own: nothing before it is granted, no more than was granted, and not for any other backend."""
import json
import os
import pty
import shutil
import subprocess
import sys


sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case  # noqa: E402


def setUpModule():
    harness.set_up_tree()


class Grants(Case):
    backends = ("test-word",)
    ASKS = {"kind": "cloud-marketplace", "airgap": "no", "billing": "per-hour", "cost_per_hour_usd": 1, "auth": ["FAKE_TOKEN"]}
    TOKEN = "very-secret-token-4711"

    def setUp(self):
        super().setUp()
        self.env["FAKE_TOKEN"] = self.TOKEN
        self.add_backend("fake-cloud", **self.ASKS)

    def found(self, *words, name="fake-cloud", **more):
        return next(b["detection"] for b in self.json("compute", "detect", *words, **more)["backends"] if b["name"] == name)

    def state(self, *words, **more):
        return self.found(*words, **more)["state"]

    def row(self, name="fake-cloud", env=None):
        return next(r for r in self.json("backend", "why", name, env=env)["rows"] if r["state"] == "taken")

    def grant(self, name="fake-cloud", **more):
        return self.json("backend", "grant", name, **more)

    def path(self, suffix, name="fake-cloud"):
        return os.path.join(self.plugins, name + suffix)

    # ---- before

    def test_nothing_without_a_grant(self):
        said = "not granted: kolm backend grant fake-cloud"
        found = self.found()
        self.assertEqual((found["state"], found["devices"] if "devices" in found else []), ("not granted", []))
        self.assertIn(said, found["reason"])
        self.assertIn("the secret FAKE_TOKEN", found["reason"])
        self.assertIn("`kolm backend grant fake-cloud`", found["remedy"])
        self.assertEqual(self.state("--refresh"), "not granted")
        self.assertRegex(self.kolm("compute", "list").out, r"fake-cloud .*\(not granted\)  \(reference price of .*\)\n")
        for words in (("compute", "detect"), ("compute", "info", "fake-cloud"), ("backend", "list"), ("backend", "why", "fake-cloud")):
            self.assertIn(said, self.kolm(*words).out, words)
        row = self.row()
        self.assertEqual((row["granted"], row["asks"], row["rule"]), (False, ["secret FAKE_TOKEN"], None))
        self.assertIn(said, row["why"])
        picked = self.json("compute", "pick")
        self.assertEqual(picked["picked"], "test-word")
        self.assertIn("fake-cloud", json.dumps(picked))
        self.assertIn(said, self.kolm("compute", "pick", "--exclude", "test-word", code=3).out)
        quotes = {q["name"]: q for q in self.json("compute", "quote", "--rows", "5")["quotes"]}
        self.assertFalse(quotes["fake-cloud"]["answered"])
        self.write_tickets()
        for words in (("compile", "-t", "x", "-d", "tickets.jsonl", "--backend", "fake-cloud"), ("compute", "test", "fake-cloud"),
                      ("compute", "status", "fake-cloud")):
            self.assert_error(self.kolm(*words, code=3), "fake-cloud is not called", said)
        self.assert_error(self.compile(code=3, env={"KOLM_BACKEND": "fake-cloud"}), said)
        self.assert_nothing_left()

    def test_an_ungranted_plugin_is_not_even_loaded(self):
        self.add_backend("fake-crash", auth=["FAKE_TOKEN"])
        self.assertEqual(self.state(name="fake-crash"), "not granted")
        self.grant("fake-crash")
        self.assertEqual(self.state(name="fake-crash"), "crashed")

    def test_backends_without_requests_need_no_grant(self):
        self.assertEqual(self.grant("test-word")["state"], "needs none")
        self.assertEqual((self.row("test-word")["granted"], self.row("test-word")["asks"]), (True, []))
        self.assertFalse(os.path.exists(os.path.join(self.home, "grants.json")))

    def test_what_is_installed_with_kolm_has_its_own(self):
        installed = os.path.join(harness.TREE.prefix, harness.BACKENDS)
        for suffix in (".so", ".json"):
            shutil.move(self.path(suffix), installed)
            self.addCleanup(os.unlink, os.path.join(installed, "fake-cloud" + suffix))
        self.assertEqual(self.state(), "available")
        self.assertEqual(self.grant()["state"], "needs none")

    def test_variables_and_paths_are_requested_too(self):
        self.add_backend("fake-cpu", requires=[{"env": "ACME_REGION"}, {"env": "CUDA_VISIBLE_DEVICES"}, {"path": "/etc/acme"}], secrets=["A_KEY"],
                         files={"read": ["~/.acme"], "write": ["~/.cache/acme/"]})
        self.assertEqual(self.row("fake-cpu")["asks"],
                         ["secret A_KEY", "variable ACME_REGION", "read /etc/acme", "read ~/.acme", "write ~/.cache/acme/"])
        self.assertEqual(self.state(name="fake-cpu"), "not granted")
        self.grant("fake-cpu")
        self.assertEqual(self.state(name="fake-cpu"), "available")

    # ---- granted

    def test_a_grant_counts_at_once_and_until_it_is_taken_back(self):
        self.assertEqual(self.state(), "not granted")
        done = self.grant()
        self.assertEqual((done["state"], done["asks"], sorted(done["to"])), ("granted", ["secret FAKE_TOKEN"], ["manifest_sha256", "plugin_sha256"]))
        self.assertEqual(self.state(), "available")
        self.assertEqual(os.stat(os.path.join(self.home, "grants.json")).st_mode & 0o777, 0o600)
        listed = self.json("backend", "grant")["grants"]
        self.assertEqual([(g["backend"], g["what"], g["counts"]) for g in listed], [("fake-cloud", ["secret FAKE_TOKEN"], True)])
        self.assertIn("granted: yes", self.kolm("backend", "why", "fake-cloud").out)
        self.assertEqual(self.json("backend", "grant", "fake-cloud", "--remove")["state"], "removed")
        self.assertEqual(self.state(), "not granted")
        self.assertEqual(self.json("backend", "grant", "fake-cloud", "--remove")["state"], "nothing to remove")
        self.assertIn("granted  fake-cloud", self.kolm("backend", "grant", "fake-cloud").out)
        self.assertEqual(self.state(), "available")

    def test_detect_gets_the_value_only_with_refresh(self):
        self.grant()
        self.assertEqual(self.found()["reason"], "FAKE_TOKEN is set; not checked: use kolm compute detect --refresh")
        self.kolm("backend", "why", "fake-cloud")
        self.assertIn("not checked", self.found()["reason"])
        self.assertNotIn("not checked", self.found("--refresh")["reason"])
        self.assertEqual(self.state(env={"FAKE_TOKEN": None}), "absent")  # detect learns whether it is set

    def test_other_files_are_another_backend(self):
        for suffix in (".so", ".json"):
            with self.subTest(changed=suffix):
                self.grant()
                with open(self.path(suffix), "rb") as file:
                    content = file.read() + b"\n"
                self.write(self.path(suffix) + ".new", content, 0o755)
                os.rename(self.path(suffix) + ".new", self.path(suffix))
                self.assertEqual(self.state(), "not granted")
                self.assertIn("other files", self.row()["why"])
        self.grant()
        second = os.path.join(self.dir, "second")
        os.mkdir(second, 0o755)
        env = {"KOLM_BACKEND_PATH": second + ":" + self.plugins}
        for suffix in (".so", ".json"):
            shutil.copy(self.path(suffix), second)
        self.assertEqual(self.state(env=env), "available")  # a copy of the same files elsewhere has the same grant
        with open(os.path.join(second, "fake-cloud.json"), "a", encoding="utf-8") as out:
            out.write(" ")
        self.assertEqual(self.state(env=env), "not granted")  # other files of that name do not
        self.assertEqual(self.state(), "available")

    def test_its_own_libraries_are_its_bytes_too(self):
        libs = self.path(".libs")
        self.grant()
        self.assertEqual(self.state(), "available")
        os.mkdir(libs, 0o755)
        for name, content in (("libone.so", "one"), ("libone.so", "two"), ("libtwo.so", "two")):
            with self.subTest(name=name, content=content):
                self.write(os.path.join(libs, name), content, 0o755)
                self.assertEqual(self.state(), "not granted")
                self.assertIn("other files", self.row()["why"])
                self.assertRegex(self.grant()["to"]["libs_sha256"], "^[0-9a-f]{64}$")
                self.assertEqual(self.state(), "available")
        shutil.rmtree(libs)
        self.assertEqual(self.state(), "not granted")

    def sign(self, who="publisher"):
        env = {"KOLM_HOME": os.path.join(self.dir, who)}
        self.kolm("backend", "sign", self.path(".so"), env=env)
        return self.write("publisher.pem", self.kolm("keys", "export", env=env).out)

    def test_a_signer_keeps_its_grant_across_versions_but_gets_no_more(self):
        key = self.sign()
        self.kolm("backend", "trust", key)
        keyid = self.grant()["to"]["signer"]
        self.add_backend("fake-cloud", summary="The next version.", **self.ASKS)
        self.assertEqual(self.row_rule(), ("refused", 5))  # by its signature, which no longer matches
        self.sign()
        self.assertEqual(self.state(), "available")
        self.add_backend("fake-cloud", **dict(self.ASKS, secrets=["AWS_SECRET_ACCESS_KEY"]))
        self.sign()
        self.assertEqual(self.state(), "not granted")
        self.assertIn("the secret AWS_SECRET_ACCESS_KEY, more than was granted", self.row()["why"])
        self.assertNotIn("FAKE_TOKEN", self.row()["why"])
        self.add_backend("fake-cloud", **self.ASKS)
        os.unlink(self.path(".so.sig"))
        self.assertEqual(self.state(), "not granted")  # it is unsigned now
        self.sign("stranger")
        self.assertEqual(self.state(), "not granted")
        self.sign()
        self.assertEqual(self.state(), "available")
        self.kolm("backend", "untrust", keyid)
        self.assertEqual(self.state(), "not granted")
        self.kolm("backend", "trust", os.path.join(self.work, "publisher.pem"))
        self.assertEqual(self.state(), "available")
        self.kolm("keys", "revoke", keyid)
        self.assertEqual(self.row_rule(), ("refused", 5))

    def row_rule(self):
        return [(r["state"], r["rule"]) for r in self.json("backend", "why", "fake-cloud")["rows"]][0]

    # ---- the file

    def test_a_file_that_others_could_have_written_gives_nothing(self):
        self.grant()
        path = os.path.join(self.home, "grants.json")
        good = self.read(path)
        elsewhere = self.write(os.path.join(self.dir, "elsewhere.json"), good, 0o600)

        def link():
            os.unlink(path)
            os.symlink(elsewhere, path)

        def directory():
            os.unlink(path)
            os.mkdir(path)

        harms = [("can change", lambda: os.chmod(path, 0o622)), ("symbolic link", link), ("not a file that kolm wrote", directory)]
        harms += [("not in the format that kolm writes", lambda text=text: self.write(path, text, 0o600))
                  for text in ("", "{", "[]", '{"grants":{}}', '{"format":2,"grants":{}}', '{"format":1,"grants":[]}',
                               '{"format":1,"grants":{"fake-cloud":{"to":{},"what":["secret FAKE_TOKEN"]}}}')]
        if os.geteuid() == 0:
            harms.append(("another user", lambda: os.chown(path, 65534, 65534)))
        for words, harm in harms:
            with self.subTest(harm=words):
                harm()
                self.assertEqual(self.state(), "not granted")
                self.assertIn(words, self.row()["why"])
                self.assert_error(self.kolm("backend", "grant", "fake-cloud", code=None), words)
                self.assertEqual(self.state(name="test-word"), "available")  # a backend that requests nothing is not affected
                shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
                self.write(path, good, 0o600)
                self.assertEqual(self.state(), "available")

    # ---- at first use

    def on_terminal(self, answer, *words):
        """Runs kolm with a terminal for standard input and error; returns what it printed there, and its exit code."""
        master, slave = pty.openpty()
        process = subprocess.Popen([harness.TREE.kolm, *words], env=self.full_env(None), cwd=self.work, stdin=slave, stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        said = b""
        try:
            while b"[y/N] " not in said:
                said += os.read(master, 4096)
            os.write(master, answer)
            while True:
                said += os.read(master, 4096)
        except OSError:
            pass  # the other end is closed
        os.close(master)
        process.stdout.read()
        process.stdout.close()
        return said.decode(), process.wait()

    def test_first_use_on_a_terminal_asks_once(self):
        words = ("compute", "test", "fake-cloud")
        for answer in (b"n\n", b"\n"):
            said, code = self.on_terminal(answer, *words)
            for piece in ("fake-cloud (%s)" % self.path(".so"), "SHA-256 ", "the secret FAKE_TOKEN", "Grant this? [y/N]", "kolm backend grant fake-cloud"):
                self.assertIn(piece, said)
            self.assertEqual((code, self.state()), (3, "not granted"))
        said, code = self.on_terminal(b"y\n", *words)
        self.assertEqual((code, self.state()), (0, "available"))
        self.kolm(*words)
        self.assert_error(self.kolm("backend", "grant", "fake-cluod", code=2), "fake-cloud")


if __name__ == "__main__":
    harness.main()
