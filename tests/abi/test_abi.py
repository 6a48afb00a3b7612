#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compatibility checks of kolm/backend.h: it compiles by itself in strict C11 and C++17, and abidiff finds it unchanged since 1.2.

usage: test_abi.py header|abidiff|symbols SDK_INCLUDE [FILE]      (SDK_INCLUDE: the directory that holds kolm/backend.h)
       test_abi.py renew SDK_INCLUDE                              (rewrites the baseline, for a new minor version)

The baseline is compared without any suppression: abidiff's usual "a member was appended" suppression also hides a
reorder. So an intended addition is reported too: read the report, then renew the baseline in the same commit.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BASELINE = os.path.join(HERE, "backend-1.2.abi.xml")
ABIDW = ["abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--no-elf-needed"]
SKIP = 77
include = file = None


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "LC_ALL": "C"}, check=False)


def first(*names):
    return next((n for n in names if shutil.which(n)), None)


class Header(unittest.TestCase):
    def compile(self, compiler, name, text, *flags):
        with tempfile.TemporaryDirectory() as there:
            source = os.path.join(there, name)
            with open(source, "w", encoding="utf-8") as out:
                out.write(text)
            done = run(compiler, "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *flags, "-I", include, source)
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_alone_as_c11(self):
        for compiler in filter(shutil.which, ("cc", "gcc", "clang")):
            with self.subTest(compiler):
                self.compile(compiler, "a.c", "#include <kolm/backend.h>\n#include <kolm/backend.h>\ntypedef int nothing;\n", "-std=c11")

    def test_alone_as_cxx17(self):
        compilers = [c for c in ("c++", "g++", "clang++") if shutil.which(c)]
        if not compilers:
            self.skipTest("no C++ compiler here")
        for compiler in compilers:
            with self.subTest(compiler):
                self.compile(compiler, "a.cc", "#include <kolm/backend.h>\n#include <kolm/backend.h>\n"
                             "uint32_t f(const kolm_host_v1_t *h) { return KOLM_HAS(kolm_host_v1_t, h, scratch_dir) "
                             "? KOLM_FINGERPRINT : KOLM_HOST_SIZE_1_0; }\n", "-std=c++17")

    def test_a_plugin_in_strict_c11(self):
        for name in ("stub_backend.c", "old_backend.c"):
            with open(os.path.join(HERE, name), encoding="utf-8") as source:
                self.compile(first("cc", "gcc", "clang"), name, source.read(), "-std=c11", "-I", HERE)

    def test_includes_and_types(self):
        with open(os.path.join(include, "kolm", "backend.h"), encoding="utf-8") as header:
            text = re.sub(r"/\*.*?\*/", "", header.read(), flags=re.S)
        self.assertEqual(re.findall(r"#include\s+(\S+)", text), ["<stddef.h>", "<stdint.h>"])
        records = re.findall(r"typedef struct (\w+) \{(.*?)\n\}", text, re.S)
        self.assertGreaterEqual(len(records), 16)
        for name, body in records:
            with self.subTest(name):
                self.assertRegex(body.strip(), r"^uint32_t struct_size;")
                self.assertNotRegex(body, r"\b(enum|bool|_Bool|int|long|short|unsigned|size_t|FILE|va_list)\b")
                self.assertNotRegex(body, r"\w\s*:\s*\d", "a bit-field")


class Abidiff(unittest.TestCase):
    """Compares the current header with the baseline, and shows that each kind of break would be found."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.there = directory.name

    def build(self, change=None):
        inc = os.path.join(self.there, "inc", "kolm")
        os.makedirs(inc, exist_ok=True)
        with open(os.path.join(include, "kolm", "backend.h"), encoding="utf-8") as header:
            text = header.read()
        if change is not None:
            before, after = change
            self.assertEqual(text.count(before), 1, f"{before!r} is not once in the header")
            text = text.replace(before, after)
        with open(os.path.join(inc, "backend.h"), "w", encoding="utf-8") as header:
            header.write(text)
        return build_stub(os.path.dirname(inc), self.there)

    def compare(self, change=None):
        return run("abidiff", BASELINE, self.build(change))

    def test_unchanged_since_the_baseline(self):
        done = self.compare()
        if "architecture changed" in done.stdout:
            self.skipTest("the baseline is of another processor")
        if done.returncode & 1:
            self.skipTest("abidiff cannot read what this compiler writes: " + done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout + "\nIntended growth? test_abi.py renew, in the same commit.")

    def test_breaks_are_seen(self):
        for name, change in {
            "reorder": ("    int32_t code; /* the value that the slot returns */\n    char text[512];",
                        "    char text[512];\n    int32_t code;"),
            "narrower": ("    uint64_t duration_ms; ", "    uint32_t duration_ms; "),
            "signedness": ("    uint32_t outcome; /* KOLM_STEP_* */", "    int32_t outcome; /* KOLM_STEP_* */"),
            "inserted": ("    uint64_t total;           /* total number of steps", "    uint64_t extra; uint64_t total; /* steps in all"),
            "appended": ("    uint64_t older_seconds;\n}", "    uint64_t older_seconds;\n    uint64_t later;\n}"),
            "slots swapped": ("    kolm_train_fn train;\n    kolm_infer_fn infer;\n", "    kolm_infer_fn infer;\n    kolm_train_fn train;\n"),
            "argument added": ("int32_t (*cancelled)(void *user);", "int32_t (*cancelled)(void *user, int32_t why);"),
        }.items():
            with self.subTest(name):
                done = self.compare(change)
                self.assertTrue(done.returncode & 4, done.stdout)
                self.assertRegex(done.stdout, r"Variables changes summary: 0 Removed, 1 Changed")


class Symbols(unittest.TestCase):
    def test_exactly_one_is_exported(self):
        done = run(first("nm", "llvm-nm"), "-D", "--defined-only", file)
        names = [line.split()[-1] for line in done.stdout.splitlines() if line.strip()]
        # Symbols that instrumentation adds are not part of the plugin.
        names = [n for n in names if not re.match(r"(__asan|__ubsan|__sanitizer|__odr_asan|__start_|__stop_|_?_llvm|__gcov)", n)]
        self.assertEqual(names, ["kolm_backend_v1"])


def build_stub(inc, there):
    # Fixed flags: the comparison is of the header, not of how this tree is built.
    out = os.path.join(there, "stub.so")
    done = run(first("gcc", "cc", "clang"), "-std=c11", "-g", "-gdwarf-4", "-O0", "-fPIC", "-shared", "-fvisibility=hidden",
               "-fdebug-prefix-map=" + HERE + "=.", "-I", inc, os.path.join(HERE, "stub_backend.c"), "-o", out)
    if done.returncode != 0:
        sys.exit(done.stdout)
    return out


def renew():
    with tempfile.TemporaryDirectory() as there:
        done = run(*ABIDW, "--out-file", BASELINE, build_stub(include, there))
        sys.exit(done.stdout or 0)


def main():
    global include, file
    what, include = sys.argv[1], os.path.abspath(sys.argv[2])
    file = os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 else None
    if what == "renew":
        renew()
    missing = {"abidiff": not shutil.which("abidiff") or not shutil.which("abidw"), "symbols": not first("nm", "llvm-nm")}
    if missing.get(what):
        print("the tool for this test is not installed")
        sys.exit(SKIP)
    tests = {"header": Header, "abidiff": Abidiff, "symbols": Symbols}[what]
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(tests)
    sys.exit(not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful())


if __name__ == "__main__":
    main()
