#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Backends in C++, Rust, Zig and Go (examples/backends/languages): built, checked, and used to compile and answer.

usage: test_languages.py KOLM KOLM_HOST TEST_BACKENDS PLUGINS LIBEXEC BACKENDS
"""
import json
import os
import shlex
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import harness  # noqa: E402

SDK = os.path.join(harness.SOURCE, "sdk")
SOURCES = os.path.join(harness.SOURCE, "examples", "backends", "languages")
LIBRARY = os.path.join(harness.BUILD, "sdk", "kit", "libkolm-kit.a")
INCLUDE = [f"-I{SDK}/include", f"-I{SDK}/kit/include", "-I/usr/include/cjson"]
SCRIPT = os.path.join(SOURCES, "words.map")


def setUpModule():
    harness.set_up_tree()


class Language(harness.Case):
    backends = ()

    def prove(self, name, tool, command, unsupported=(), cwd=None, **environment):
        """Builds words-X.so with command (a function of its path), and does everything with it that its user would."""
        if tool is None:
            self.skipTest("its compiler is not installed")
        plugin = os.path.join(self.plugins, name + ".so")
        env = {"PATH": os.environ["PATH"], "HOME": self.dir, "LC_ALL": "C.UTF-8", **environment}
        done = subprocess.run([*tool, *command(plugin)], capture_output=True, text=True, env=env, cwd=cwd or self.dir)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(os.path.join(SDK, "template", "example.json"), encoding="utf-8") as file:
            manifest = json.load(file)
        self.write(os.path.join(self.plugins, name + ".json"), json.dumps({**manifest, "name": name}))
        excused = [word for check in unsupported for word in ("--unsupported", check)]
        report = self.json("backend", "check", plugin, *excused, code=None, schema="kolm.backend.check/1")
        self.assertTrue(report["good"], report)
        self.assertGreater(sum(check["outcome"] == "pass" for check in report["checks"]), 20, report)
        rows = [{"input": f"{word} {word[0]}{i}", "output": label} for i in range(40) for word, label in (("parcel", "shipping"), ("invoice", "billing"))]
        self.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        self.kolm("compile", "-t", "router", "-d", "rows.jsonl", "--backend", name)
        first = self.json("inspect", "router-1.0.0.kolm")["manifest_sha256"]
        self.assertIn("billing", self.kolm("run", "router-1.0.0.kolm", "invoice i7").out)
        self.assertIn("PASS", self.kolm("compute", "test", name).out)
        # The same rows give the same bytes, in whatever order a language's maps iterate.
        self.kolm("compile", "-t", "router", "-d", "rows.jsonl", "--backend", name, "--force")
        self.assertEqual(self.json("inspect", "router-1.0.0.kolm")["manifest_sha256"], first)
        # An error is reported with the plugin's text, and no exception or panic crosses the ABI.
        done = self.kolm("compute", "test", name, "--json", code=None)
        self.assertEqual(done.returncode, 0, done.err)

    def test_cpp(self):
        compiler = shutil.which("g++")
        self.prove("words-cpp", compiler and [compiler], lambda out: [
            "-std=c++17", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fPIC", "-shared", "-fvisibility=hidden", *INCLUDE,
            "-o", out, os.path.join(SOURCES, "words.cpp"), "-Wl,-z,defs", "-Wl,--version-script=" + SCRIPT, LIBRARY, "-lcjson", "-lm"])

    def test_rust(self):
        compiler = shutil.which("rustc")
        self.prove("words-rust", compiler and [compiler], lambda out: [
            "--edition", "2021", "--crate-type", "cdylib", "--crate-name", "words", "-D", "warnings", "-O", "-o", out,
            os.path.join(SOURCES, "words.rs"), "-L", os.path.dirname(LIBRARY), "-l", "static=kolm-kit", "-l", "cjson"])

    def test_zig(self):
        compiler = os.environ.get("KOLM_TEST_ZIG") or shutil.which("zig")
        multiarch = subprocess.run(["cc", "-print-multiarch"], capture_output=True, text=True).stdout.strip()
        self.prove("words-zig", compiler and shlex.split(compiler), lambda out: [
            "build-lib", "-dynamic", "-O", "ReleaseSafe", "-femit-bin=" + out, os.path.join(SOURCES, "words.zig"), "-lc", *INCLUDE,
            "-I/usr/include", LIBRARY, f"-L/usr/lib/{multiarch}", "-lcjson", "--version-script", SCRIPT],
            ZIG_GLOBAL_CACHE_DIR=os.path.join(self.dir, "zig"), ZIG_LOCAL_CACHE_DIR=os.path.join(self.dir, "zig"))

    def test_go(self):
        compiler = shutil.which("go")
        self.prove("words-go", compiler and [compiler], lambda out: [
            # Go's own library, most of what is compiled here, is not optimised.
            "build", "-buildmode=c-shared", "-gcflags=std=-N -l", "-ldflags", "-extldflags=-Wl,--version-script=" + SCRIPT, "-o", out, "."],
            # Its runtime keeps threads for the next call.
            unsupported=("detect.leaves-nothing", "cost.leaves-nothing", "manners.leaves-nothing"), cwd=os.path.join(SOURCES, "go"),
            GOCACHE=os.path.join(self.dir, "go"), GOPATH=os.path.join(self.dir, "gopath"), GOFLAGS="-mod=mod", GOPROXY="off",
            CGO_CFLAGS=f"-I{SDK}/include")

    def test_a_cpp_slot_that_throws(self):
        """Each kind of exception becomes a code and a text; none leaves the plugin."""
        compiler = shutil.which("g++")
        if compiler is None:
            self.skipTest("g++ is not installed")
        source = """\
#include <kolm/backend.hpp>
#include <filesystem>
#include <vector>
struct thrower {
    static void detect(kolm::host host, const kolm_detect_args_t &, kolm_detect_result_t &) {
        const std::string kind = host.setting("kind").value_or("");
        if (kind == "failure") throw kolm::failure(KOLM_E_UNAVAILABLE, "the cluster is away", "wait for it");
        if (kind == "memory") throw std::bad_alloc();
        if (kind == "system") (void)std::filesystem::file_size("/nowhere/at/all");
        if (kind == "logic") (void)std::vector<int>().at(7);
        throw 7;
    }
};
constexpr kolm_backend_v1_t kolm_backend_v1 = kolm::table<thrower>({"thrower", "1.0.0", "tests", "Apache-2.0", "https://example.org"});
"""
        path = self.write("thrower.cpp", source)
        plugin = os.path.join(self.plugins, "thrower.so")
        subprocess.run([compiler, "-std=c++17", "-fPIC", "-shared", "-fvisibility=hidden", *INCLUDE, "-o", plugin, path,
                        "-Wl,-z,defs", "-Wl,--version-script=" + SCRIPT], check=True)
        self.write(os.path.join(self.plugins, "thrower.json"), json.dumps(harness.manifest("thrower", train=False, settings=[
            {"key": "kind", "type": "string", "summary": "What it throws."}])))
        for kind, words in (("failure", ("the cluster is away", "wait for it")), ("memory", ("out of memory",)), ("system", ("No such file",)),
                            ("logic", ("at",)), ("number", ("not a std::exception",))):
            with self.subTest(kind):
                self.write_home("config.json", json.dumps({"backends": {"thrower": {"kind": kind}}}))
                said = self.kolm("compute", "info", "thrower", code=None).out
                for word in words:
                    self.assertIn(word, said)
                self.assertNotIn("terminate called", said)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
