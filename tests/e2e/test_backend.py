#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Backends written by users: created, checked and explained; and a zoo of bad ones, each caught for its defect."""
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import unittest
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case, manifest  # noqa: E402

ZOO = os.path.join(os.path.dirname(os.path.dirname(harness.TEST_BACKENDS)), "tests", "host")
COMPILER = os.environ.get("CC", "cc").split()
SANITIZED = "ASAN_OPTIONS" in os.environ

# Plugin: the checks that must fail, and a word from the reason of the first one.
CAUGHT = {
    "no-symbol": ({"exports", "loads"}, "kolm_backend_v1"),
    "wrong-major": ({"loads"}, "needs kolm ABI"),
    "short-struct": ({"loads"}, "bytes"),
    "tiny-struct": ({"loads"}, "bytes"),
    "needs-newer-host": ({"loads"}, "needs kolm ABI"),
    "missing-feature": ({"loads"}, "needs features"),
    "wrong-fingerprint": ({"loads"}, "built"),
    "name-mismatch": ({"loads"}, "its name is"),
    "no-vendor": ({"loads"}, "no vendor"),
    "undefined": ({"loads"}, "undefined symbol"),
    "crash-constructor": ({"loads"}, "signal"),
    "exits-constructor": ({"loads"}, "exit status"),
    "hang-constructor": ({"loads"}, "within"),
    "crash-slot": ({"detect.answers"}, "signal"),
    "aborts": ({"detect.answers"}, "signal"),
    "exits": ({"detect.answers"}, "exit status"),
    "fails": ({"detect.answers"}, ""),
    "odd-state": ({"detect.answers"}, "unknown state"),
    "prints": ({"manners.prints-nothing"}, "standard output"),
    "null-slots": ({"slots"}, "no detect"),
    "forks": ({"detect.leaves-nothing"}, "still"),
    "forks-away": ({"detect.leaves-nothing"}, "still"),
    "trusts-host": ({"abi.first-host"}, "signal"),
    "removes": ({"status"}, "not asked"),
}
# The checks that are needed besides detect.answers.
ONLY = {"forks": "detect.leaves", "forks-away": "detect.leaves", "null-slots": "slots", "trusts-host": "abi", "removes": "status"}


def setUpModule():
    harness.set_up_tree()


class Check(Case):
    backends = ()

    def add_animal(self, name, **changes):
        source = os.path.join(ZOO, name + ".so")
        shutil.copy(source, self.plugins)
        os.chmod(os.path.join(self.plugins, name + ".so"), 0o755)
        self.write(os.path.join(self.plugins, name + ".json"), json.dumps(manifest(name, **changes)))
        return os.path.join(self.plugins, name + ".so")

    def check(self, path, *words, code=None):
        done = self.kolm("backend", "check", "--json", path, *words, code=code)
        report = json.loads(done.out)
        self.assertEqual(report["schema"], "kolm.backend.check/1")
        self.assertEqual(report["good"], done.returncode == 0)
        return {item["name"]: item for item in report["checks"]}

    def failing(self, checks):
        return {name for name, item in checks.items() if item["outcome"] == "fail"}

    def test_every_animal_is_caught_for_its_defect(self):
        for name, (expected, word) in CAUGHT.items():
            with self.subTest(animal=name):
                path = self.add_animal(name, train=False, infer=False)
                only = () if name == "prints" else ("--only", ONLY.get(name, "detect.answers"))
                checks = self.check(path, *only, code=5)
                found = self.failing(checks)
                self.assertLessEqual(expected, found, checks)
                self.assertIn(word, " ".join(checks[n]["reason"] for n in sorted(expected)))
                os.unlink(path)

    def test_the_shipped_backends_are_good(self):
        for folder, _, files in sorted(os.walk(harness.BUILT_PLUGINS)):
            for name in (f for f in files if f.endswith(".so") and f != "local-cpu.so"):
                with self.subTest(plugin=name):
                    self.assertEqual(self.failing(self.check(os.path.join(folder, name), code=0)), set())

    def test_the_engine_is_good_in_every_respect(self):
        self.add_engine()
        checks = self.check(os.path.join(self.plugins, "local-cpu.so"), code=0)
        self.assertEqual({item["outcome"] for item in checks.values()}, {"pass"}, checks)
        self.assertIn("30 of 30", checks["train.tiny"]["reason"])

    def test_a_backend_that_learns_nothing(self):
        self.add_backend("test-word")
        path = os.path.join(self.plugins, "test-word.so")
        checks = self.check(path, "--only", "train", code=5)  # the backend uses the first word, which is always the same here
        self.assertIn("counting words gets all of them", checks["train.tiny"]["reason"])

    def test_lists_of_what_is_known(self):
        path = self.add_animal("fails", train=False, infer=False)
        only = ("--only", "detect.answers")
        self.check(path, *only, code=5)
        checks = self.check(path, *only, "--expected-failure", "detect.answers", code=0)
        self.assertEqual(checks["detect.answers"]["outcome"], "expected-failure")
        checks = self.check(path, *only, "--unsupported", "detect.answers", code=0)
        self.assertEqual(checks["detect.answers"]["outcome"], "skip")
        good = self.add_animal("good", train=False, infer=False)
        checks = self.check(good, *only, "--expected-failure", "detect.answers", code=5)
        self.assertEqual(checks["detect.answers"]["outcome"], "unexpected-pass")
        self.assertIn("not a check", self.kolm("backend", "check", good, "--unsupported", "detct", code=2).err)

    def test_junit(self):
        path = self.add_animal("fails", train=False, infer=False)
        self.kolm("backend", "check", path, "--only", "detect.answers", "--junit", "report.xml", code=5)
        suite = xml.etree.ElementTree.parse(os.path.join(self.work, "report.xml")).getroot()
        self.assertEqual((suite.tag, suite.get("failures"), suite.get("tests")), ("testsuite", "1", "4"))
        self.assertEqual([c.get("name") for c in suite if c.find("failure") is not None], ["detect.answers"])

    def test_junit_of_odd_names(self):
        """Whatever names files and symbols have, the report is well-formed XML that contains them."""
        for name in ('a"b<', "c\udcff&", "d\uffff\x01]]>"):
            with self.subTest(name=ascii(name)):
                path = os.path.join(self.plugins, name + ".so")
                shutil.copy(os.path.join(ZOO, "good.so"), path)
                self.kolm("backend", "check", path, "--junit", "report.xml", code=5)
                suite = xml.etree.ElementTree.parse(os.path.join(self.work, "report.xml")).getroot()
                self.assertEqual(suite.find("testcase/failure").get("message")[:6], "rule 1")
                self.assertIn("cannot have this name", self.kolm("backend", "check", path, code=5).out)

    def test_a_report_without_a_place(self):
        path = self.add_animal("hang-slot", train=False, infer=False)
        done = self.kolm("backend", "check", path, "--junit", "no/where.xml", code=6)
        self.assert_error(done, "no")
        self.assertEqual(done.out, "")  # fails before the first check

    def test_a_slip_of_the_pen_does_not_pass(self):
        path = self.add_animal("good", train=False, infer=False)
        self.assert_error(self.kolm("backend", "check", path, "--only", "detct", code=2), "'detct'")

    def test_a_training_that_says_nothing_can_be_stopped(self):
        path = self.add_animal("cancels")  # waits until it is cancelled
        running = self.start("backend", "check", path, "--only", "train.tiny")
        self.addCleanup(running.kill)
        seen = []  # all other calls end at once: the child that remains after a while is the training

        def training():
            seen.append(self.children_of(running.pid))
            return len(seen) > 100 and seen[-1] and seen[-1] == seen[-100]

        self.wait_for(training, "the training")
        self.assertTrue(select.select([running.stdout], [], [], 0)[0])  # the results so far are printed already
        self.assertIn(b"files", os.read(running.stdout.fileno(), 99999))
        code, _, err = self.interrupt(running)
        self.assertEqual(code, 130)
        self.assertIn("stopped", err)

    def test_what_kolm_cannot_do_is_no_fault_of_the_plugin(self):
        path = self.add_animal("good", train=False, infer=False)
        few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))  # noqa: E731
        done = self.kolm("backend", "check", path, "--only", "detect.soon", code=1, preexec_fn=few)
        self.assert_error(done, "too many open files")
        if os.geteuid() != 0:  # root can read everything
            os.chmod(self.plugins, 0o311)
            self.addCleanup(os.chmod, self.plugins, 0o755)
            self.assert_error(self.kolm("backend", "check", path, code=6), "Permission denied")

    def test_a_plugin_that_is_a_link(self):
        self.add_animal("good", train=False, infer=False)
        real = os.path.join(self.dir, "real")
        os.mkdir(real)
        os.chmod(real, 0o755)
        os.rename(os.path.join(self.plugins, "good.so"), os.path.join(real, "libgood.so.1.2"))
        os.symlink(os.path.join(real, "libgood.so.1.2"), os.path.join(self.plugins, "good.so"))
        self.check(os.path.join(self.plugins, "good.so"), "--only", "detect.answers", code=0)
        self.kolm("backend", "check", "good.so", "--only", "detect.answers", cwd=self.plugins)

    def test_a_pipe_is_not_waited_for(self):
        for suffix in (".so", ".json"):
            os.mkfifo(os.path.join(self.plugins, "pipe" + suffix))
        path = os.path.join(self.plugins, "pipe.so")
        self.assertIn("not a regular file", self.kolm("backend", "check", path, code=5, timeout=20).out)
        self.assert_error(self.kolm("backend", "sign", path, code=6, timeout=20), "not a regular file")

    def test_what_cannot_be_checked(self):
        self.assert_error(self.kolm("backend", "check", "nothing.so", code=6), "nothing.so")
        self.write("text.so", "not a plugin")
        self.write("text.json", json.dumps(manifest("text")))
        checks = self.check(os.path.join(self.work, "text.so"), code=5)
        self.assertEqual(checks["exports"]["outcome"], "skip")
        self.assertEqual(checks["loads"]["outcome"], "fail")
        path = self.add_animal("good")
        os.chmod(path, 0o777)
        checks = self.check(path, code=5)
        self.assertIn("rule 3", checks["files"]["reason"])
        self.assertIn("chmod go-w", checks["files"]["reason"])
        self.assertEqual(checks["loads"]["outcome"], "skip")


class New(Case):
    backends = ()

    def build(self, name, *flags):
        """Builds the template with its meson.build against the SDK of this tree."""
        folder = os.path.join(self.work, name)
        sdk, built = os.path.join(harness.SOURCE, "sdk"), os.path.join(harness.BUILD, "sdk", "kit")
        subprocess.run([*COMPILER, "-std=gnu11", "-shared", "-fPIC", "-fvisibility=hidden", *flags, "-I", os.path.join(sdk, "include"),
                        "-I", os.path.join(sdk, "kit", "include"), "-I", "/usr/include/cjson", "-o", os.path.join(folder, name + ".so"),
                        os.path.join(folder, name + ".c"), "-Wl,-z,defs", "-Wl,--exclude-libs,ALL", os.path.join(built, "libkolm-kit.a"), "-lcjson", "-lm"], check=True)

    def test_made_built_checked_and_used(self):
        self.kolm("backend", "new", "acme-gpu")
        folder = os.path.join(self.work, "acme-gpu")
        self.assertEqual(sorted(os.listdir(folder)), ["acme-gpu.c", "acme-gpu.json", "acme-gpu.map", "meson.build"])
        text = (self.read(os.path.join(folder, "acme-gpu.c")) + self.read(os.path.join(folder, "acme-gpu.json"))).decode()
        self.assertNotIn("example", text)
        if SANITIZED:
            self.skipTest("a plugin without the sanitizer is refused by a kolm with it")
        self.build("acme-gpu", "-Wall", "-Wextra", "-Werror", "-Wl,--version-script=" + os.path.join(folder, "acme-gpu.map"))
        os.chmod(folder, 0o755)
        report = self.json("backend", "check", "acme-gpu/acme-gpu.so", schema="kolm.backend.check/1")
        self.assertTrue(report["good"])
        for suffix in (".so", ".json"):
            shutil.copy(os.path.join(folder, "acme-gpu" + suffix), self.plugins)
            os.chmod(os.path.join(self.plugins, "acme-gpu" + suffix), 0o755)
        self.assertIn("acme-gpu", self.kolm("compute", "list").out)
        self.assertIn("needs only a processor", self.kolm("compute", "info", "acme-gpu").out)
        # The first thing that its author does with it.
        rows = [{"input": f"{word} {i}", "output": label} for i in range(40) for word, label in (("parcel", "shipping"), ("invoice", "billing"))]
        self.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        self.kolm("compile", "-t", "router", "-d", "rows.jsonl", "--backend", "acme-gpu")
        self.assertIn("billing", self.kolm("run", "router-1.0.0.kolm", "an invoice").out)
        self.assertIn("PASS", self.kolm("compute", "test", "acme-gpu").out)

    @unittest.skipIf(SANITIZED, "a plugin without the sanitizer is refused by a kolm with it")
    def test_what_else_it_exports(self):
        self.kolm("backend", "new", "mine")
        os.chmod(os.path.join(self.work, "mine"), 0o755)
        source = self.read("mine/mine.c").decode()
        for symbol, code in (("__odr_asan.kolm_backend_v1", 0), ("__gcov_flush", 0), ("helper", 5)):
            with self.subTest(symbol=symbol):
                self.write("mine/mine.c", source + '\n__attribute__((visibility("default"))) char other __asm__("%s") = 1;\n' % symbol)
                self.build("mine")
                self.kolm("backend", "check", "mine/mine.so", "--only", "exports", code=code)

    def test_nothing_is_overwritten(self):
        self.kolm("backend", "new", "mine", "--dir", "here")
        before = self.read(os.path.join(self.work, "here", "mine.c"))
        self.assert_error(self.kolm("backend", "new", "mine", "--dir", "here", code=2), "exists already")
        self.assertEqual(self.read(os.path.join(self.work, "here", "mine.c")), before)

    def test_half_a_backend_is_not_left(self):
        self.assert_error(self.kolm("backend", "new", "mine", code=1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (99, 99))), "mine")
        self.assertEqual(self.left(), [])
        self.kolm("backend", "new", "mine")

    def test_names(self):
        for name in ("Mine", "../x", "", "-x", "a" * 33, "ä"):
            with self.subTest(name=name):
                self.kolm("backend", "new", "--", name, code=2)
        self.assertEqual(list(self.left()), [])


class Why(Case):
    backends = ("test-word", "test-other")

    def rows(self, name=None):
        words = ("backend", "why", name) if name else ("backend", "list")
        report = self.json(*words)
        return report, [row for row in report["rows"] if name in (None, row["name"])]

    def test_every_place_and_file(self):
        report, rows = self.rows()
        self.assertEqual(report["searched"][0]["path"], self.plugins)
        self.assertTrue(report["searched"][0]["searched"])
        self.assertIn(("test-word", "taken"), [(r["name"], r["state"]) for r in rows])
        self.assertEqual(len(report["rules"]), 8)
        text = self.kolm("backend", "list").out
        self.assertIn(self.plugins, text)
        self.assertIn("no other user can change the directory", text)

    def assert_decided(self, name, rule, word):
        _, rows = self.rows(name)
        self.assertEqual(rows[0]["rule"], rule, rows)
        self.assertIn(word, rows[0]["why"])
        text = self.kolm("backend", "why", name).out
        self.assertIn("rule %d" % rule, text)
        self.assertIn("NO", text)

    def test_which_rule_decided(self):
        os.chmod(os.path.join(self.plugins, "test-word.so"), 0o777)
        self.assert_decided("test-word", 3, "can be changed by every user")
        os.chmod(os.path.join(self.plugins, "test-word.so"), 0o755)
        self.write(os.path.join(self.plugins, "test-word.json"), "{}")
        self.assert_decided("test-word", 4, "missing")
        os.unlink(os.path.join(self.plugins, "test-word.json"))
        self.assert_decided("test-word", 3, "manifest")
        os.chmod(self.plugins, 0o777)
        self.assert_decided("test-other", 2, self.plugins)
        os.chmod(self.plugins, 0o755)

    def test_the_second_of_a_name(self):
        second = os.path.join(self.dir, "second")
        shutil.copytree(self.plugins, second)
        os.chmod(second, 0o755)
        env = {"KOLM_BACKEND_PATH": self.plugins + ":" + second}
        report = json.loads(self.kolm("backend", "why", "--json", "test-word", env=env).out)
        self.assertEqual([(r["state"], r["rule"]) for r in report["rows"]], [("taken", None), ("shadowed", 6)])
        self.assertIn("hidden by", self.kolm("backend", "why", "test-word", env=env).out)

    def test_here_and_now_is_now(self):
        self.kolm("compute", "detect")
        cache = os.path.join(self.home, "cache", "detect.json")
        kept = json.loads(self.read(cache))
        kept["entries"]["test-word"]["detection"]["reason"] = "as it was an hour ago"
        self.write(cache, json.dumps(kept), 0o600)
        self.assertIn("an hour ago", self.kolm("compute", "detect").out)  # the control
        self.assertNotIn("an hour ago", self.kolm("backend", "why", "test-word").out)

    def test_patience_for_a_debugger(self):
        shutil.copy(os.path.join(ZOO, "hang-slot.so"), self.plugins)
        os.chmod(os.path.join(self.plugins, "hang-slot.so"), 0o755)
        self.write(os.path.join(self.plugins, "hang-slot.json"), json.dumps(manifest("hang-slot")))
        waiting = self.start("backend", "why", "hang-slot", "--patient")
        self.addCleanup(waiting.kill)
        child = min(self.wait_for(lambda: self.children_of(waiting.pid), "the call"))

        def seconds():
            with open("/proc/%d/limits" % child, encoding="ascii") as limits:
                return int(limits.read().split("Max cpu time")[1].split()[0].replace("unlimited", "0"))

        try:
            self.wait_for(lambda: seconds() > 3600, "a limit of an hour")
        except PermissionError:
            pass  # only root can read it
        self.assertEqual(self.interrupt(waiting)[0], 130)

    def test_a_directory_that_is_reached_by_a_link(self):
        link = os.path.join(self.dir, "link")
        os.symlink(self.plugins, link)
        env = {"KOLM_BACKEND_PATH": link}
        lines = self.kolm("backend", "list", env=env).out.splitlines()
        self.assertIn(link, lines[1])
        self.assertEqual([line.split()[:2] for line in lines[2:4]], [["test-other", "taken"], ["test-word", "taken"]])
        os.chmod(self.plugins, 0o777)
        self.assertIn("test-word       refused   rule 2", self.kolm("backend", "list", env=env).out)

    def test_one_directory_under_several_names_does_not_hide_itself(self):
        link = os.path.join(self.dir, "link")
        os.symlink(self.plugins, link)
        env = {"KOLM_BACKEND_PATH": ":".join((self.plugins, link, self.plugins + "/", self.plugins + "/../backends"))}
        report = json.loads(self.kolm("backend", "list", "--json", env=env).out)
        self.assertEqual([(r["name"], r["state"]) for r in report["rows"]], [("test-other", "taken"), ("test-word", "taken")])
        self.assertEqual([(p["directory"], p["searched"]) for p in report["searched"][:4]],
                         [(self.plugins, True)] + 3 * [(self.plugins, False)])
        self.assertIn("the same directory as " + self.plugins, report["searched"][1]["why"])
        os.chmod(self.plugins, 0o777)
        report = json.loads(self.kolm("backend", "list", "--json", env=env).out)
        self.assertEqual([(r["name"], r["rule"]) for r in report["rows"]], [("test-other", 2), ("test-word", 2)])

    def test_a_name_that_is_not_there(self):
        self.assert_error(self.kolm("backend", "why", "test-wrod", code=2), "test-word", "backend list")
        self.assertEqual(json.loads(self.kolm("backend", "why", "test-wrod", "--json", code=2).out)["schema"], "kolm.error/1")


class Job(Case):
    """`kolm job run`, which a user's backend starts on the machines that it rents or queues for."""

    backends = ("test-word",)

    def make(self, kind="train", **changes):
        rows = harness.tickets(60)
        os.makedirs(os.path.join(self.work, "job"), exist_ok=True)
        job = {"format": 1, "kind": kind, "task": "t", "recipe": "linear", "seed": 1, "effort": "normal", "rows": 60, "labels": 6,
               "options": {}, "model_files": []}
        self.write("job/job.json", json.dumps(dict(job, **changes)))
        self.write("job/train.jsonl", "".join(json.dumps(dict(r, id=str(i))) + "\n" for i, r in enumerate(rows)))
        self.write("job/eval.jsonl", "".join(json.dumps({"id": str(i), "input": r["input"]}) + "\n" for i, r in enumerate(rows[:9])))

    def events(self, *words, code=0, **more):
        done = self.kolm("job", "run", "job", *words, code=code, **more)
        return [json.loads(line) for line in done.out.splitlines()], done

    def test_train_then_answer(self):
        self.make()
        events, _ = self.events()
        self.assertEqual((events[-1]["event"], events[-1]["backend"]), ("result", "test-word"))
        model = os.path.join(self.work, "job", "model")
        files = [{"name": n, "path": os.path.join(model, n), "offset": 0, "size": os.path.getsize(os.path.join(model, n))}
                 for n in os.listdir(model)]
        self.assertTrue(files)
        self.make("infer", model_files=files)
        events, _ = self.events()
        self.assertEqual(events[-1]["event"], "result")
        answers = [json.loads(line) for line in self.read("job/predictions.jsonl").splitlines()]
        self.assertEqual([a["id"] for a in answers], [str(i) for i in range(9)])

    def test_the_defaults_of_the_user_do_not_send_it_on(self):
        self.make()
        self.add_backend("test-other", airgap="no", kind="cloud-serverless")
        self.kolm("compute", "use", "test-other")
        events, _ = self.events(env={"KOLM_BACKEND": "test-other"})
        self.assertEqual(events[-1]["backend"], "test-word")

    def test_invalid_directories(self):
        self.make()
        os.rename(os.path.join(self.work, "job"), os.path.join(self.work, "job\udcff"))
        for name, words in (("job\udcff", "UTF-8"), ("nothing\udcff", "nothing"), ("", "cannot find")):
            with self.subTest(directory=ascii(name)):
                done = self.kolm("job", "run", name, code=6)
                event = json.loads(done.out.splitlines()[-1])
                self.assertEqual(event["event"], "error")
                self.assertIn(words, event["text"])
                self.assert_error(done, words)

    def test_rows_that_are_no_file(self):
        for kind, name in (("train", "train.jsonl"), ("infer", "eval.jsonl")):
            self.make(kind)
            path = os.path.join(self.work, "job", name)
            os.unlink(path)
            self.assertIn(name, self.events(code=6)[0][-1]["text"])
            os.mkfifo(path)
            self.assertIn("not a regular file", self.events(code=6, timeout=20)[0][-1]["text"])
            os.unlink(path)

    def test_threads(self):
        self.make()
        for number in ("0", "1025", "4294967297"):
            self.assert_error(self.kolm("job", "run", "job", "--threads", number, code=2), number)

    def test_failures_are_events_too(self):
        events, done = self.events(code=6)
        self.assertIn("cannot find", events[-1]["text"] if events else done.err)
        self.make()
        self.tell("crash")
        events, done = self.events(code=5)
        self.assertEqual(events[-1]["event"], "error")
        self.assertIn("crashed", events[-1]["text"])
        self.assertIn("crashed", done.err)


if __name__ == "__main__":
    harness.main()
