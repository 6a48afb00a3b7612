#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What pkg-config reports about the SDK respects another prefix and a sysroot, and so does the installation of the template.

usage: test_pkgconfig.py KOLM PC_DIR PREFIX BACKEND_DIR
"""
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

KOLM, PC_DIR, PREFIX, BACKEND_DIR = (os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), *sys.argv[3:5])
RELATIVE = os.path.relpath(os.path.join(PREFIX, BACKEND_DIR), PREFIX)
INSIDE = not RELATIVE.startswith("..")


def run(*words, **env):
    return subprocess.run(words, env=dict(os.environ, PKG_CONFIG_PATH=PC_DIR, **env), capture_output=True, text=True, check=True).stdout.strip()


@unittest.skipUnless(shutil.which("pkg-config"), "there is no pkg-config")
@unittest.skipUnless(INSIDE, "backends are installed outside the prefix")
class PkgConfig(unittest.TestCase):
    def variable(self, *words, **env):
        return run("pkg-config", *words, "kolm-backend-1", **env)

    def test_directories_follow_the_prefix_and_the_sysroot(self):
        for name in ("backenddir", "trainerdir"):
            plain = self.variable("--variable=" + name)
            self.assertTrue(plain.startswith(PREFIX + "/"), plain)
            self.assertEqual(self.variable("--define-variable=prefix=/foo", "--variable=" + name), plain.replace(PREFIX, "/foo", 1))
            self.assertEqual(self.variable("--variable=" + name, PKG_CONFIG_SYSROOT_DIR="/sr"), "/sr" + plain)
        self.assertEqual(self.variable("--variable=backenddir"), os.path.join(PREFIX, RELATIVE))
        for env in ({}, {"PKG_CONFIG_SYSROOT_DIR": "/sr"}):
            self.assertEqual(self.variable("--variable=backendsubdir", **env), RELATIVE)

    def test_no_file_contains_the_prefix(self):
        files = glob.glob(os.path.join(PC_DIR, "kolm-*.pc"))
        self.assertEqual(len(files), 7)
        for path in files:
            with open(path, encoding="utf-8") as file:
                spelled = [line for line in file if PREFIX in line and not line.startswith("prefix=")]
            self.assertEqual(spelled, [], path)

    @unittest.skipUnless(shutil.which("meson") and shutil.which("ninja"), "there is no meson")
    def test_the_template_installs_below_its_own_prefix(self):
        work = tempfile.mkdtemp(prefix="kolm-pkgconfig-")
        self.addCleanup(shutil.rmtree, work, True)
        source = os.path.join(work, "acme")
        run(KOLM, "backend", "new", "acme", "--dir", source, KOLM_HOME=os.path.join(work, "home"))
        for number, env in enumerate(({}, {"PKG_CONFIG_SYSROOT_DIR": "/sr"})):
            build = os.path.join(work, "build%d" % number)
            run("meson", "setup", build, source, "--prefix", "/opt/acme", **env)
            installed = json.loads(run("meson", "introspect", build, "--installed"))
            self.assertEqual(sorted(installed.values()), [os.path.join("/opt/acme", RELATIVE, f) for f in ("acme.json", "acme.so")])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
