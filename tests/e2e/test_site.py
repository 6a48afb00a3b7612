#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an administrator sets for all users of a machine, and what a user sets over it. The kolm of this test uses a directory of the build
as SYSCONFDIR."""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case  # noqa: E402

SITE = os.path.join(os.environ["KOLM_TEST_SITE"], "kolm")
FILE = os.path.join(SITE, "config.json")
SETTINGS = [{"key": "fault", "type": "string", "summary": "How it misbehaves."}, {"key": "region", "type": "string", "summary": "Where."},
            {"key": "seconds", "type": "integer", "min": 1, "summary": "How long."}]


def setUpModule():
    harness.set_up_tree()


class Site(Case):
    def setUp(self):
        super().setUp()
        self.add_backend("test-word", settings=SETTINGS)
        self.add_backend("test-other", settings=[])
        os.makedirs(SITE, mode=0o755, exist_ok=True)
        self.addCleanup(shutil.rmtree, SITE, True)

    def site(self, value, mode=0o644):
        self.write(FILE, value if isinstance(value, str) else json.dumps(value), mode)

    def own(self, value):
        self.write_home("config.json", json.dumps(value))

    def settings(self):
        return {s["key"]: (s["set"], s["site"]) for s in self.json("compute", "info", "test-word")["settings"]}

    def test_it_counts_where_the_user_says_nothing(self):
        self.site({"backend": "test-other", "backends": {"test-word": {"region": "eu", "tier": 4}}, "runtimes": {"test-word": "/opt/python"}})
        info = self.kolm("compute", "info", "test-word").out
        self.assertIn("region (set in %s): a string" % FILE, info)
        self.assertIn("tier comes from %s, not from the manifest" % FILE, info)
        self.assertIn("/opt/python, of this machine (%s)" % FILE, info)
        self.assertEqual(self.json("compute", "info", "test-word")["tier"], 4)
        self.write_tickets()
        self.assertIn("using test-other (config: %s)" % FILE, self.compile().out)
        self.assertIn("test-other (config: %s)" % FILE, self.kolm("compute", "status").out)

    def test_a_users_file_comes_first_key_by_key(self):
        self.site({"backend": "test-other", "backends": {"test-word": {"region": "eu", "seconds": 9, "tier": 4}}})
        self.own({"backend": "test-word", "backends": {"test-word": {"region": "us", "tier": 2}}})
        self.assertEqual(self.settings(), {"fault": (False, None), "region": (True, None), "seconds": (True, FILE)})
        self.assertEqual(self.json("compute", "info", "test-word")["tier"], 2)
        self.assertIn("tier comes from %s/config.json" % self.home, self.kolm("compute", "info", "test-word").out)
        self.write_tickets()
        self.assertIn("using test-word (config: kolm compute use test-word)", self.compile().out)
        self.own({"backend": None})
        self.assertIn("(picked: score", self.compile("-o", "again").out if os.mkdir(os.path.join(self.work, "again")) is None else "")

    def test_taking_the_own_default_back(self):
        self.site({"backend": "test-other"})
        self.kolm("compute", "use", "test-word")
        self.assertIn("test-other is the default of this machine, by %s" % FILE, self.kolm("compute", "use", "--clear").out)
        self.assertEqual(json.loads(self.read(os.path.join(self.home, "config.json"))), {})  # no machine-wide setting gets into it

    def test_each_mistake_names_its_file(self):
        own = os.path.join(self.home, "config.json")
        for site, mine, pieces in [
                ({"backends": {"test-word": {"seconds": 0}}}, {"backends": {"test-word": {"region": "eu"}}}, (FILE + ": backends.test-word.seconds: expected",)),
                ({"backends": {"test-word": {"region": "eu"}}}, {"backends": {"test-word": {"seconds": 0}}}, (own + ": backends.test-word.seconds: expected",)),
                ({"backends": {"test-word": {"tier": 99}}}, {}, (FILE + ": backends.test-word.tier",)),
                ({"backends": {"test-word": 7}}, {}, (FILE + ": backends.test-word: expected an object",)),
                ({"backends": {"test-wort": {"region": "eu"}}}, {}, (FILE + ": backends.test-wort: there is no such backend",)),
                ({"runtimes": {"test-word": 7}}, {}, (FILE + ": runtimes.test-word: expected the path",))]:
            with self.subTest(site=site, mine=mine):
                self.site(site)
                self.own(mine)
                self.assert_error(self.kolm("compute", "info", "test-word", code=6), *pieces)
        self.own({})
        self.site({"backend": "nobody"})
        self.write_tickets()
        self.assert_error(self.compile(code=2), FILE, "no backend is called")

    def test_a_file_that_is_wrong_or_may_be_changed_by_others(self):
        for text, piece in [('{"colour":1}', 'there is no key "colour"'), ("{", "is not valid"), ("[]", "expected an object"), ('{"backend":7}', "expected the name")]:
            with self.subTest(text=text):
                self.site(text)
                self.assert_error(self.kolm("compute", "list", code=6), FILE, piece, "ask the administrator")
        self.site({}, 0o666)
        self.assert_error(self.kolm("compute", "list", code=6), FILE, "can be changed by every user")
        os.unlink(FILE)
        os.symlink("/nowhere/at/all.json", FILE)
        self.assertNotEqual(self.kolm("compute", "list", code=None).returncode, 0)
        os.unlink(FILE)
        self.kolm("compute", "list")


if __name__ == "__main__":
    harness.main()
