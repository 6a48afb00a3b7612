#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What those meet who ship a backend of their own: manifests of another version, recipes and formats of their own."""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case  # noqa: E402


def setUpModule():
    harness.set_up_tree()


class Manifests(Case):
    backends = ()

    def test_one_of_a_later_kolm(self):
        """A key of 1.99 ships to 1.1: the row is used without it, and whoever looks is told."""
        self.add_backend("test-word", manifest_version="1.99", colour="red", recipes=[{"name": "linear", "shade": 2}])
        self.assertIn("this kolm does not know: colour, linear.shade", self.kolm("compute", "info", "test-word").out)
        self.assertEqual(self.json("compute", "info", "test-word")["unread"], "colour, linear.shade")
        self.assertIn("does not know: colour, linear.shade", self.kolm("backend", "why", "test-word").out)
        self.write_tickets()
        self.assertIn("warning: the manifest of test-word is of a later version, and this kolm does not know: colour", self.compile().err)

    def test_a_slip_is_no_later_version(self):
        for version in ({}, {"manifest_version": "1.1"}):
            self.add_backend("test-word", colour="red", **version)
            done = self.kolm("backend", "why", "test-word")
            self.assertIn('unknown field "colour"', done.out)
            self.assertIn("begin it with x-", done.out)
        self.add_backend("test-word", manifest_version="2.0")
        self.assertIn("is written for manifests of version 2, and this kolm reads 1.x", self.kolm("backend", "why", "test-word").out)

    def test_what_is_a_vendors_own(self):
        self.add_backend("test-word", **{"x-packager": {"built": "today"}})
        self.assertEqual(self.json("compute", "info", "test-word")["unread"], None)
        self.write_tickets()
        self.assertNotIn("packager", self.compile().err)

    def test_names_in_lower_case(self):
        self.add_backend("test-word", auth=["acme_token"], requires=[{"env": "https_proxy"}])
        done = self.kolm("compute", "info", "test-word", env={"acme_token": "a-secret-of-acme"})
        self.assertIn("acme_token from the environment (...acme)", done.out)


if __name__ == "__main__":
    harness.main()
