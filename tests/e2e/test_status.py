#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm compute status: what backends keep elsewhere, shown and removed; a broken backend must not hide what others have."""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case, manifest  # noqa: E402

ZOO = os.path.join(os.path.dirname(os.path.dirname(harness.TEST_BACKENDS)), "tests", "host")


def setUpModule():
    harness.set_up_tree()


class Status(Case):
    backends = ()

    def add(self, name, kind="cloud-managed"):
        shutil.copy(os.path.join(ZOO, name + ".so"), self.plugins)
        os.chmod(os.path.join(self.plugins, name + ".so"), 0o755)
        changes = {} if kind == "local" else {"airgap": "no"}
        self.write(os.path.join(self.plugins, name + ".json"), json.dumps(manifest(name, kind=kind, **changes)))

    def status(self, *words, code=0):
        done = self.kolm("compute", "status", *words, "--json", code=code)
        value = json.loads(done.out)
        self.assertEqual(value["schema"], "kolm.compute.status/1")
        return value

    def test_what_is_kept_elsewhere(self):
        self.add("good")
        value = self.status("--remote")
        self.assertEqual(value["elsewhere"], [
            {"backend": "good", "place": "the zoo", "kind": "instance", "name": "lion", "state": "in use", "bytes": 1000, "age_seconds": 60,
             "cost_per_hour_usd": 2.5, "note": "asleep"},
            {"backend": "good", "place": "the zoo", "kind": "files", "name": "straw", "state": "idle", "bytes": None, "age_seconds": None,
             "cost_per_hour_usd": None, "note": ""}])
        self.assertEqual(value["asked"], [{"backend": "good", "summary": "one zoo, called"}])
        self.assertIn("totals", value)
        text = self.kolm("compute", "status", "--remote").out
        self.assertIn("good on the zoo\n", text)
        self.assertRegex(text, r"(?m)^  instance lion +in use +1\.0 kB +1m.* +\$2\.50 an hour; asleep$")
        self.assertRegex(text, r"(?m)^  files +straw +idle")

    def test_nothing_is_queried_without_request(self):
        self.add("good")
        self.add("crash-slot")
        self.assertNotIn("elsewhere", self.status())
        self.assertNotIn("lion", self.kolm("compute", "status").out)

    def test_prune(self):
        """The zoo's straw is removed if an hour is old enough; the default is a day."""
        self.add("good")
        for words, state in ((("--prune",), "idle"), (("--prune", "--older", "61m"), "idle"), (("--prune", "--older", "1h"), "removed"),
                             (("good", "--prune", "--older", "0s"), "removed"), (("good",), "idle")):
            with self.subTest(words):
                self.assertEqual([row["state"] for row in self.status(*words)["elsewhere"]], ["in use", state])

    def test_one_by_name(self):
        for name in ("good", "null-slots"):
            self.add(name)
        self.add("newer-minor", kind="local")
        self.assertNotIn("totals", self.status("good"))
        self.assertEqual([row["backend"] for row in self.status("--remote")["asked"]], ["good"])
        self.assertEqual(len(self.status("newer-minor")["elsewhere"]), 2)  # a backend of this machine is queried if it is named
        self.assertIn("null-slots keeps nothing elsewhere", self.kolm("compute", "status", "null-slots", code=None).err)

    def test_those_that_break_hide_nothing(self):
        for name in ("good", "crash-slot", "exits", "odd-state", "bad-utf8"):
            self.add(name)
        value = self.status("--remote", code=5)
        asked = {row["backend"]: row for row in value["asked"]}
        self.assertIn("crashed in status: signal 11", asked["crash-slot"]["error"])
        self.assertIn("exited in status", asked["exits"]["error"])
        self.assertEqual({row["backend"] for row in value["elsewhere"]}, {"good", "odd-state", "bad-utf8"})
        self.assertEqual([row["state"] for row in value["elsewhere"] if row["backend"] == "odd-state"], ["in use", "unknown"])
        done = self.kolm("compute", "status", "--remote", code=5)
        self.assertIn("crash-slot: ", done.err)
        self.assertIn("lion", done.out)
        self.assertNotIn("\033", done.out + done.err)

    def test_no_terminal_to_ask_on(self):
        self.assertIn("no backend that is set up keeps anything", self.kolm("compute", "status", "--remote").out)

    def test_bad_words(self):
        self.add("good")
        for words, word in ((["--older", "1h"], "--prune"), (["--prune", "--older", "1"], "not a span"), (["lion"], "'lion'"), (["good", "b"], "'b'")):
            with self.subTest(words):
                self.assertIn(word, self.kolm("compute", "status", *words, code=2).err)

    def test_credentials_are_read(self):
        """The address of the machine may be in HOME/credentials, which status reads as every other verb does."""
        for path in (os.path.join(harness.BUILT_PLUGINS, "remote-ssh", "remote-ssh.so"),
                     os.path.join(harness.SOURCE, "plugins", "remote-ssh", "remote-ssh.json")):
            shutil.copy(path, self.plugins)
        self.kolm("backend", "grant", "remote-ssh")
        self.write_home("credentials", "KOLM_REMOTE_HOST=me@127.0.0.1:1\n", 0o600)
        self.assertIn("127.0.0.1 port 1", self.kolm("compute", "status", "remote-ssh", code=None).err)


if __name__ == "__main__":
    harness.main()
