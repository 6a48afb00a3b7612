#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Signed backends: who signed them, whose keys are trusted, and what is refused."""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case  # noqa: E402


def setUpModule():
    harness.set_up_tree()


class Signing(Case):
    backends = ("test-word", "test-other")

    def demand(self, **plugins):
        self.write_home("policy.json", json.dumps({"plugins": dict({"signatures": "required"}, **plugins)}))

    def state(self, name):
        return [(r["state"], r["rule"]) for r in self.json("backend", "why", name)["rows"]][0]

    def publisher(self):
        """Signs test-word with the key of another home; returns the path of its public key."""
        other = {"KOLM_HOME": os.path.join(self.dir, "publisher")}
        self.kolm("backend", "sign", os.path.join(self.plugins, "test-word.so"), env=other)
        return self.write("publisher.pem", self.kolm("keys", "export", env=other).out)


class Signed(Signing):
    def test_a_demand_is_met_by_a_trusted_publisher_only(self):
        key = self.publisher()
        self.assertEqual(self.state("test-word"), ("taken", None))
        self.demand()
        self.assertEqual(self.state("test-word"), ("refused", 5))
        self.assertEqual(self.state("test-other"), ("refused", 5))
        self.assertIn("not trusted here", self.kolm("backend", "why", "test-word").out)
        self.kolm("backend", "trust", key, "--label", "ACME")
        self.assertEqual(self.state("test-word"), ("taken", None))
        self.assertIn("(ACME)", self.kolm("backend", "why", "test-word").out)
        self.assertEqual(self.state("test-other"), ("refused", 5))

    def test_what_is_no_plugin_is_neither_checked_nor_signed(self):
        for name in ("test-word.json", "test-word.txt", "Test-Word.so", "test-word.so.sig", ".so"):
            with self.subTest(file=name):
                path = self.write(os.path.join(self.plugins, name), self.read(os.path.join(self.plugins, "test-word.json")))
                self.write(os.path.join(self.plugins, "Test-Word.json"), "{}")
                self.assert_error(self.kolm("backend", "sign", path, code=6), "does not look like a plugin", "NAME.so")
                self.assertFalse(os.path.exists(path + ".sig"))
                if name != "Test-Word.so":  # Test-Word.so fails by rule 1
                    self.assert_error(self.kolm("backend", "check", path, code=6), "does not look like a plugin")

    def test_a_key_for_models_is_not_one_for_plugins(self):
        self.kolm("keys", "trust", self.publisher())
        self.demand()
        self.assertEqual(self.state("test-word"), ("refused", 5))

    def test_changed_files_are_refused_without_any_demand(self):
        key = self.publisher()
        self.kolm("backend", "trust", key)
        for name in ("test-word.json", "test-word.so"):
            with self.subTest(changed=name):
                path = os.path.join(self.plugins, name)
                with open(path, "rb") as file:
                    kept = file.read()
                with open(path, "ab") as out:
                    out.write(b"\n")
                self.assertEqual(self.state("test-word"), ("refused", 5))
                with open(path, "wb") as out:
                    out.write(kept)
                self.assertEqual(self.state("test-word"), ("taken", None))
        for suffix in (".so", ".json"):  # a signature is valid for one name
            shutil.copy(os.path.join(self.plugins, "test-word" + suffix), os.path.join(self.plugins, "test-copy" + suffix))
        shutil.copy(os.path.join(self.plugins, "test-word.so.sig"), os.path.join(self.plugins, "test-copy.so.sig"))
        text = self.read(os.path.join(self.plugins, "test-copy.json")).decode().replace("test-word", "test-copy")
        self.write(os.path.join(self.plugins, "test-copy.json"), text)
        self.assertEqual(self.state("test-copy"), ("refused", 5))

    def test_a_signature_next_to_a_link(self):
        self.demand()
        real = os.path.join(self.dir, "real")
        os.mkdir(real)
        os.chmod(real, 0o755)
        for suffix in (".so", ".json"):
            path = os.path.join(self.plugins, "test-word" + suffix)
            os.rename(path, os.path.join(real, "other-1.2" + suffix))
            os.symlink(os.path.join(real, "other-1.2" + suffix), path)
        self.assertEqual(self.state("test-word"), ("refused", 5))
        self.kolm("backend", "sign", os.path.join(self.plugins, "test-word.so"))
        self.assertEqual(self.state("test-word"), ("taken", None))
        os.rename(os.path.join(self.plugins, "test-word.so.sig"), os.path.join(real, "other-1.2.so.sig"))
        self.assertEqual(self.state("test-word"), ("taken", None))

    def test_a_policy_that_others_can_change(self):
        self.write_home("policy.json", json.dumps({"plugins": {"signatures": "optional"}}), 0o622)
        self.assert_error(self.kolm("compute", "list", code=6), "policy.json", "can be changed by every user", "chmod go-w")

    def test_garbage_for_a_signature(self):
        self.write(os.path.join(self.plugins, "test-word.so.sig"), "{}")
        self.assertEqual(self.state("test-word"), ("refused", 5))

    def test_exceptions_and_the_own_key(self):
        self.demand(**{"except": ["test-other"]})
        self.assertEqual(self.state("test-other"), ("taken", None))
        self.kolm("backend", "sign", os.path.join(self.plugins, "test-word.so"))
        self.assertEqual(self.state("test-word"), ("taken", None))

    def test_a_policy_is_never_skipped(self):
        for text in ("{", "[]", '{"plugin":{}}', '{"plugins":{"signatures":"yes"}}', '{"plugins":{"except":"x"}}', '{"plugins":{"signatrues":"required"}}'):
            with self.subTest(policy=text):
                self.write_home("policy.json", text)
                self.assert_error(self.kolm("compute", "list", code=6), "policy")
        os.unlink(os.path.join(self.home, "policy.json"))
        for target in ("policy.json", "gone.json"):  # unreadable is not the same as missing
            os.symlink(target, os.path.join(self.home, "policy.json"))
            self.assert_error(self.kolm("compute", "list", code=None), "policy")
            self.assertNotEqual(self.kolm("compute", "list", code=None).returncode, 0)
            os.unlink(os.path.join(self.home, "policy.json"))


class Publishers(Signing):
    """One keyring: which key is trusted for what, until `untrust` or `keys revoke`."""

    def trusted(self, *words):
        key = self.publisher()
        self.kolm("backend", "trust", key, *words)
        return self.json("backend", "keys")["keys"][-1]["keyid"]

    def keys(self):
        return {k["keyid"]: (k["source"], k["artifacts"], k["revoked"], k["label"]) for k in self.json("backend", "keys")["keys"]}

    def test_a_publisher_is_listed_and_no_maker_of_models(self):
        keyid = self.trusted("--label", "ACME")
        self.assertEqual(self.keys(), {keyid: ("home", False, False, "ACME")})
        self.assertRegex(self.kolm("backend", "keys").out, r"^%s  home     trusted  ACME\n\Z" % keyid)
        self.assertEqual([(k["trusted"], k["roles"]) for k in self.json("keys", "list")["keys"]], [(False, ["backends"])])
        self.assertIn("trusted for backends", self.kolm("keys", "list").out)
        self.kolm("keys", "trust", os.path.join(self.work, "publisher.pem"), "--to", "2001-01-01")
        self.assertEqual([(k["trusted"], k["roles"]) for k in self.json("keys", "list")["keys"]], [(True, ["artifacts", "backends"])])
        self.assertEqual(self.state("test-word"), ("refused", 5))  # the dates belong to the key, for both uses
        self.kolm("backend", "trust", os.path.join(self.work, "publisher.pem"))
        self.assertEqual(self.state("test-word"), ("refused", 5))  # and are not extended by another `trust`

    def test_a_revoked_publisher_is_refused_without_any_demand(self):
        keyid = self.trusted()
        self.assertEqual(self.state("test-word"), ("taken", None))
        done = self.json("keys", "revoke", keyid[:12], "--reason", "laptop stolen")
        self.assertEqual((done["keyid"], [(b["name"], b["state"]) for b in done["backends"]]), (keyid, [("test-word", "refused")]))
        self.assertEqual(self.state("test-word"), ("refused", 5))
        self.assertIn("a key that was revoked", self.kolm("backend", "why", "test-word").out)
        self.assertEqual(self.keys(), {keyid: ("home", False, True, "")})
        self.assert_error(self.kolm("backend", "trust", os.path.join(self.work, "publisher.pem"), code=2), "revoked")
        self.assertIn("refused from now on:  test-word (", self.kolm("keys", "revoke", keyid).out)
        done = self.kolm("backend", "untrust", keyid)  # removes the key, but not its revocation
        self.assertIn("stays refused, since the key is revoked:  test-word (", done.out)
        self.assertNotIn("counts as not signed", done.out)
        self.assertEqual(self.state("test-word"), ("refused", 5))
        self.assertEqual(self.state("test-other"), ("taken", None))

    def test_a_key_that_was_only_ever_revoked(self):
        self.publisher()
        keyid = json.loads(self.read(os.path.join(self.plugins, "test-word.so.sig")))["signatures"][0]["keyid"]
        self.assertEqual(self.state("test-word"), ("taken", None))
        self.kolm("keys", "revoke", keyid, "--reason", "stolen")
        self.assertEqual(self.state("test-word"), ("refused", 5))
        self.assertEqual(self.keys(), {keyid: ("home", False, True, "")})
        self.assertRegex(self.kolm("backend", "keys").out, r"^%s  home     revoked    \(stolen\)\n\Z" % keyid)

    def test_a_key_that_was_revoked_without_a_reason(self):
        keyid = self.trusted()
        self.kolm("keys", "revoke", keyid)
        done = self.kolm("backend", "trust", os.path.join(self.work, "publisher.pem"), code=2)
        self.assertEqual(done.err.splitlines()[0], "kolm: the key %.16s was revoked" % keyid)

    def test_a_key_for_models_that_is_revoked(self):
        self.kolm("keys", "trust", self.publisher())
        self.assertEqual(self.state("test-word"), ("taken", None))
        keyid = self.json("keys", "list")["keys"][0]["keyid"]
        self.assertEqual(self.keys(), {})
        self.kolm("keys", "revoke", keyid)
        self.assertEqual(self.state("test-word"), ("refused", 5))
        self.assertEqual(self.keys(), {keyid: ("home", False, True, "")})

    def test_the_own_key(self):
        self.kolm("backend", "sign", os.path.join(self.plugins, "test-word.so"))
        [(keyid, row)] = self.keys().items()
        self.assertEqual(row, ("own", True, False, "own"))
        self.assert_error(self.kolm("backend", "untrust", keyid, code=6), "your own", "rotate")
        self.kolm("keys", "revoke", keyid)
        self.assertEqual(self.state("test-word"), ("refused", 5))

    def test_untrust_takes_one_role_away(self):
        keyid = self.trusted()
        self.kolm("keys", "trust", os.path.join(self.work, "publisher.pem"))
        self.demand()
        self.assertEqual(self.state("test-word"), ("taken", None))
        done = self.json("backend", "untrust", keyid[:8])
        self.assertEqual((done["keyid"], [b["name"] for b in done["backends"]]), (keyid, ["test-word"]))
        self.assertEqual(self.state("test-word"), ("refused", 5))
        self.assertEqual([(k["trusted"], k["roles"]) for k in self.json("keys", "list")["keys"]], [(True, ["artifacts"])])
        self.assertEqual(self.keys(), {})
        self.assert_error(self.kolm("backend", "untrust", keyid, code=6), "not trusted for backends")
        self.assert_error(self.kolm("backend", "untrust", "0123", code=6), "first eight")

    def test_the_ring_of_an_older_kolm(self):
        """HOME/backend-keys is read as it is, and converted by the first verb that changes the keyring."""
        keyid = self.trusted("--label", "ACME")
        old = os.path.join(self.home, "backend-keys")
        os.mkdir(old, 0o700)
        os.rename(os.path.join(self.home, "keys", "trusted"), os.path.join(old, "trusted"))
        note = os.path.join(old, "trusted", keyid + ".json")
        with open(note, encoding="utf-8") as file:
            plain = {key: value for key, value in json.load(file).items() if key != "roles"}
        with open(note, "w", encoding="utf-8") as file:
            json.dump(plain, file)
        self.demand()
        self.assertEqual(self.state("test-word"), ("taken", None))
        self.assertEqual(self.keys(), {keyid: ("home", False, False, "ACME")})
        self.assertTrue(os.path.exists(old))  # verbs that only read change nothing
        self.kolm("keys", "revoke", keyid[:8])
        self.assertFalse(os.path.exists(old))
        self.assertEqual(self.keys(), {keyid: ("home", False, True, "ACME")})
        self.assertEqual(self.state("test-word"), ("refused", 5))

    def test_a_revocation_does_not_wait_for_the_rest_of_the_home(self):
        keyid = self.trusted()
        self.write_home("policy.json", "{")
        self.assertIn("revoked " + keyid, self.kolm("keys", "revoke", keyid).out)
        os.unlink(os.path.join(self.home, "policy.json"))
        self.assertEqual(self.state("test-word"), ("refused", 5))


if __name__ == "__main__":
    harness.main()
