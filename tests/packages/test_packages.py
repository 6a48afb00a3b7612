#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Packages: the split by install tags, the Debian packages in a clean root, and a backend made there from the SDK alone.

usage: test_packages.py BUILD_DIR SOURCE_DIR
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD, SOURCE = (os.path.abspath(path) for path in sys.argv[1:3])
NAMES = sorted(os.path.basename(p)[:-5] for p in glob.glob(os.path.join(SOURCE, "plugins", "**", "*.json"), recursive=True))


def run(*argv, **more):
    more.setdefault("check", True)
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **dict(more, check=False))
    if more["check"] and done.returncode != 0:
        raise AssertionError("%s ended with %d\n%s" % (" ".join(argv), done.returncode, done.stdout[-4000:]))
    return done.stdout


def files_below(root):
    return sorted(os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names)


def source_copy(to):
    """Copies the tree without build directories."""
    shutil.copytree(SOURCE, to, symlinks=True, ignore=lambda folder, names: [n for n in names if n in (".git", "__pycache__") or
                                                                             (n == "build" and os.path.samefile(folder, SOURCE))])


def mirror():
    """Returns the mirror from which this machine's apt gets Debian."""
    lines = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True).stdout.splitlines()
    found = [line.split()[0] for line in lines if line.endswith(" bookworm") and line.startswith("http")]
    return found[0] if found else "http://deb.debian.org/debian"


class Tags(unittest.TestCase):
    """`meson install --tags`: the same split for all other systems."""

    def installed(self, *words):
        root = tempfile.mkdtemp(prefix="kolm-tags-")
        self.addCleanup(shutil.rmtree, root, True)
        run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", *words, env=dict(os.environ, DESTDIR=root))
        return files_below(root)

    def test_every_file_has_one_tag(self):
        tags = ["runtime", "devel", "trainer", "man", "doc"] + ["backend-" + name for name in NAMES]
        parts = {tag: self.installed("--tags", tag) for tag in tags}
        whole = self.installed()
        self.assertEqual(sorted(f for part in parts.values() for f in part), whole)
        for name in NAMES:
            # the embedded engine for machines without kolm, and the worker of an endpoint
            more = {"local-cpu": ["kolm-linear"], "runpod": ["kolm_worker.py"]}.get(name, [])
            self.assertEqual(sorted(os.path.basename(f) for f in parts["backend-" + name]), sorted([name + ".json", name + ".so"] + more))
        self.assertEqual([os.path.basename(f) for f in parts["runtime"]], ["kolm", "kolm-host", "kolm-lazy.so"])


class Spec(unittest.TestCase):
    def test_rpm_reads_the_same_split(self):
        if shutil.which("rpmspec") is None:
            self.skipTest("rpmspec is not installed")
        spec = os.path.join(SOURCE, "packaging", "kolm.spec")
        # Debian lacks Fedora's macros for meson: their contents do not matter here.
        macros = [word for name in ("meson", "meson_build", "meson_install", "autosetup") for word in ("--define", name + " true")]
        packages = run("rpmspec", "-q", "--qf", "%{NAME}\n", *macros, spec).split()
        self.assertEqual(sorted(packages), sorted(["kolm", "kolm-devel", "kolm-trainer", "kolm-backend-all"] + ["kolm-backend-" + name for name in NAMES]))
        with open(spec) as f:
            text = f.read()
        for name in NAMES:
            self.assertIn("%%{backends}/%s.json\n%%{backends}/%s.so\n" % (name, name), text)
            self.assertIn("Requires:       %%{name}-backend-%s\n" % name, text)

    def test_all_tell_the_same_version(self):
        found = set()
        for path, pattern in (("meson.build", r"version: '([0-9.]+)'"), ("debian/changelog", r"^kolm \(([0-9.]+)\)"), ("packaging/kolm.spec", r"Version: +([0-9.]+)")):
            with open(os.path.join(SOURCE, path)) as f:
                found.add(re.search(pattern, f.read(), re.M).group(1))
        self.assertEqual(len(found), 1, found)


class Debian(unittest.TestCase):
    """Needs root, for the clean root, and a mirror of Debian."""

    @classmethod
    def setUpClass(cls):
        if os.getuid() != 0:
            raise unittest.SkipTest("a clean root needs root")
        missing = [name for name in ("debootstrap", "dpkg-buildpackage", "dh") if shutil.which(name) is None]
        if missing:
            raise unittest.SkipTest("not installed: " + ", ".join(missing))
        cls.dir = tempfile.mkdtemp(prefix="kolm-packages-")
        cls.addClassCleanup(shutil.rmtree, cls.dir, True)
        cls.root = os.path.join(cls.dir, "root")
        try:
            made = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", cls.root, mirror()], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        except subprocess.TimeoutExpired:
            raise unittest.SkipTest("no clean root could be made: the mirror is too slow")
        if made.returncode != 0:
            raise unittest.SkipTest("no clean root could be made: " + " ".join(made.stdout.split()[-20:]))
        # The root reaches its mirror in the same way as this machine (through a proxy or a cache).
        for path in glob.glob("/etc/apt/apt.conf.d/*"):
            with open(path) as f:
                if "Acquire" in f.read():
                    shutil.copy(path, os.path.join(cls.root, "etc/apt/apt.conf.d"))
        cls.build_packages()

    @classmethod
    def build_packages(cls):
        tree = os.path.join(cls.dir, "kolm")
        source_copy(tree)
        # Build dependencies are not installed here, because ./dev did that. -d: python3:native and the like are not checked. Without debug
        # information, which would be stripped again, and without optimization, because this tests the split and not the speed (without
        # optimization the C library has no checked functions, and warns).
        run("dpkg-buildpackage", "-us", "-uc", "-b", "-d", cwd=tree,
            env=dict(os.environ, DEB_BUILD_OPTIONS="nocheck noautodbgsym noopt parallel=2", DEB_CFLAGS_STRIP="-g", DEB_CFLAGS_APPEND="-U_FORTIFY_SOURCE"))
        os.mkdir(os.path.join(cls.root, "debs"))
        for path in glob.glob(os.path.join(cls.dir, "*.deb")):
            shutil.copy(path, os.path.join(cls.root, "debs"))

    def inside(self, *argv, **more):
        return run("chroot", self.root, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
                   "KOLM_HOME=/root/.kolm", *("%s=%s" % v for v in os.environ.items() if v[0].lower() in ("http_proxy", "https_proxy", "no_proxy")),
                   *argv, **more)

    def install(self, *names):
        paths = ["/debs/" + os.path.basename(p) for n in names for p in glob.glob(os.path.join(self.root, "debs", n + "_*.deb"))]
        self.inside("apt-get", "install", "-y", "-qq", "--no-install-recommends", *paths)

    def listed(self):
        return [b["name"] for b in json.loads(self.inside("kolm", "compute", "list", "--json"))["backends"]]

    def test_1_the_split(self):
        built = {os.path.basename(p).split("_")[0] for p in glob.glob(os.path.join(self.root, "debs", "*.deb"))}
        self.assertEqual(built, {"kolm", "libkolm-dev", "kolm-trainer", "kolm-backend-all"} | {"kolm-backend-" + n for n in NAMES})
        all_of_them = glob.glob(os.path.join(self.root, "debs", "kolm-backend-all_*.deb"))[0]
        self.assertEqual(sorted(run("dpkg-deb", "-f", all_of_them, "Depends").strip().split(", ")), ["kolm-backend-" + n for n in NAMES])

    def test_2_backends_appear_and_go_without_a_rebuild(self):
        self.install("kolm")
        self.assertEqual(self.listed(), [])
        self.install("kolm-backend-local-cpu")
        self.assertEqual(self.listed(), ["local-cpu"])
        self.install("kolm-backend-modal")
        self.assertEqual(self.listed(), ["local-cpu", "modal"])
        self.inside("apt-get", "remove", "-y", "-qq", "kolm-backend-modal")
        self.assertEqual(self.listed(), ["local-cpu"])

    def test_3_the_main_job(self):
        shutil.copy(os.path.join(SOURCE, "examples", "support_tickets", "tickets.jsonl"), os.path.join(self.root, "root"))
        self.inside("sh", "-c", "cd /root && kolm compile -t router -d tickets.jsonl --effort quick && kolm verify router-1.0.0.kolm")
        self.assertTrue(os.path.exists(os.path.join(self.root, "root", "router-1.0.0.kolm")))

    def test_4_a_backend_from_the_sdk_alone(self):
        """Follows the author's guide, in a root that has never had kolm's source."""
        self.install("libkolm-dev")
        self.inside("apt-get", "install", "-y", "-qq", "--no-install-recommends", "gcc", "libc6-dev", "meson", "pkg-config")
        self.inside("sh", "-e", "-c", """
            cd /root && kolm backend new acme-gpu && cd acme-gpu
            meson setup build --prefix=/usr >/dev/null && ninja -C build >/dev/null
            kolm backend check build/acme-gpu.so
            DESTDIR=$PWD/deb meson install -C build >/dev/null
            kolm backend sign deb/usr/lib/*/kolm/backends-1/acme-gpu.so
            mkdir -p deb/DEBIAN && printf '%s\\n' 'Package: kolm-backend-acme-gpu' 'Version: 0.1.0' "Architecture: $(dpkg --print-architecture)" \\
                'Maintainer: you <you@example.org>' 'Depends: kolm-backend-abi-1' 'Description: ACME GPUs for kolm' > deb/DEBIAN/control
            dpkg-deb --root-owner-group --build deb kolm-backend-acme-gpu.deb
            apt-get install -y -qq ./kolm-backend-acme-gpu.deb
            mkdir -p /root/.kolm && echo '{"plugins":{"signatures":"required","except":["local-cpu"]}}' >/root/.kolm/policy.json
            kolm backend why acme-gpu
        """)
        self.assertEqual(sorted(self.listed()), ["acme-gpu", "local-cpu"])
        # The larger examples use the kit too.
        for name in ("slurm", "acme"):
            self.inside("sh", "-e", "-c", "cp -r /usr/share/doc/libkolm-dev/examples/%s /root/%s && cd /root/%s && "
                                          "meson setup build >/dev/null && ninja -C build >/dev/null && kolm backend check build/%s.so --only detect" % (name, name, name, name))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
