#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A directory full of bad backends: for each the row and the message that the user sees, and every good one still works."""
import json
import os
import re
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case, manifest  # noqa: E402

ZOO = os.path.join(os.path.dirname(os.path.dirname(harness.TEST_BACKENDS)), "tests", "host")

# For each plugin the state and the message; whole messages unless a part depends on the machine.
ROWS = {
    # never loaded
    "garbage": ("failed", r"garbage\.so is not a shared object: it does not begin like one$"),
    "empty": ("failed", r"empty\.so is empty$"),
    "cut-off": ("failed", r"cut-off\.so is truncated: it has 3000 bytes of at least \d+$"),
    "wrong-arch": ("failed", r"wrong-arch\.so was built for (RISC-V, this kolm for \S+|x86-64, this kolm for RISC-V)$"),
    "wrong-class": ("failed", r"wrong-class\.so was built for 32-bit programs, this kolm for 64-bit ones$"),
    "function": ("failed", r"^kolm_backend_v1 is a function in \S+/function\.so, and not the table$"),
    "thread-local": ("failed", r"^kolm_backend_v1 is thread-local in \S+/thread-local\.so, and not the table$"),
    "indirect": ("failed", r"^kolm_backend_v1 is an indirect function in \S+/indirect\.so, and not the table$"),
    "no-symbol": ("failed", r"no-symbol\.so does not export kolm_backend_v1: not a kolm backend$"),
    "undefined": ("failed", r"undefined\.so: undefined symbol: no_function_is_called_like_this$"),
    "wrong-major": ("failed", r"^needs kolm ABI 2\.3, this is 1\.2$"),
    "needs-newer-host": ("failed", r"^needs kolm ABI 1\.3, this is 1\.2$"),
    "missing-feature": ("failed", r"^needs features of kolm that this one does not have \(bits 0x10000000000\)$"),
    "short-struct": ("failed", r"^its table has 104 bytes, that of ABI 1\.0 has 112$"),
    "tiny-struct": ("failed", r"^its table has 8 bytes, too few for its version$"),
    "wrong-fingerprint": ("failed", r"^it was built for pointers of 4 bytes, this kolm has 8$"),
    "name-mismatch": ("failed", r"^its name is 'somebody-else', but its file is named 'name-mismatch'$"),
    "no-vendor": ("failed", r"^its table has no vendor$"),
    "crash-constructor": ("crashed", r"^crash-constructor crashed while it was being loaded: signal 11 \(Segmentation fault\)$"),
    "exits-constructor": ("no reply", r"^exits-constructor exited while it was being loaded without an answer \(exit status 0\)$"),
    "hang-constructor": ("timed out", r"^hang-constructor did not respond within 5000 ms while it was being loaded$"),
    # in the slot
    "null-slots": ("failed", r"^this backend does not implement detect$"),
    "crash-slot": ("crashed", r"^crash-slot crashed in detect: signal 11 \(Segmentation fault\)$"),
    "aborts": ("crashed", r"^aborts crashed in detect: signal 6 \(Aborted\)$"),
    "alarms": ("crashed", r"^alarms was ended in detect by a timer that it set itself \(alarm, setitimer\), signal 14$"),
    "alarms-host": ("crashed", r"^alarms-host was ended in detect by a timer that it set itself \(alarm, setitimer\), signal 14$"),
    "hang-slot": ("timed out", r"^hang-slot did not respond within 5000 ms in detect$"),
    "late": ("timed out", r"^late did not respond within 5000 ms in detect$"),
    "fork-bomb": ("timed out", r"^fork-bomb did not respond within 5000 ms in detect$"),
    "exits": ("no reply", r"^exits exited in detect without an answer \(exit status 0\)$"),
    "closes-fds": ("no reply", r"^closes-fds exited in detect without an answer \(exit status \d+\)$"),
    "writes-fds": ("no reply", r"^writes-fds wrote over its own reply in detect$"),
    "fails": ("failed", r"^the quota of the zoo is used up$"),
    "odd-code": ("failed", r"^odd-code: detect failed with 4711, which is not a KOLM_E_\* code, and gave no reason$"),
    "mute": ("failed", r'^mute: detect failed with RESOURCE_EXHAUSTED \(8\) and gave no reason; its last output: "the quota is used up"$'),
    "licence": ("no reply", r'^licence exited in detect without an answer \(exit status 3\); its last output: "checking" "licence \\x1B\[31mexpired'),
    "throws": ("crashed", r'^throws crashed in detect: signal 6 \(Aborted\); its last output: "terminate called .*"  what\(\):  no seat is free"$'),
    "sanitized": ("crashed", r'; its last output: "==7==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x1 at pc 0x2 bp 0x3 sp 0x4"$'),
    "babbles": ("no reply", r"^babbles exited in detect without an answer"),
    "odd-state": ("failed", r"^detect answered with an unknown state \(99\)$"),
    "hog": ("failed", r"^no memory after \d+ pieces$"),
    # odd, but still usable
    "good": ("available", r"^a zoo animal$"),
    "newer-minor": ("available", r"^a zoo animal$"),
    "long-struct": ("available", r"^a zoo animal$"),
    "floods": ("available", r"^a zoo animal$"),
    "prints": ("available", r"^a zoo animal$"),
    "forks": ("available", r"^a zoo animal$"),
    "forks-away": ("available", r"^a zoo animal$"),
    "bad-utf8": ("available", r"^(\\xFF){20}"),
}
SANITIZED = "ASAN_OPTIONS" in os.environ
if SANITIZED:  # a sanitizer uses address space differently, and prevents some of the crashes
    for name in ("hog", "closes-fds"):
        ROWS.pop(name)


def setUpModule():
    harness.set_up_tree()


class Zoo(Case):
    backends = ()

    def add(self, name, source=None):
        path = os.path.join(self.plugins, name + ".so")
        shutil.copy(source or os.path.join(ZOO, name + ".so"), path)
        os.chmod(path, 0o755)
        self.write(os.path.join(self.plugins, name + ".json"), json.dumps(manifest(name)))
        return path

    def fill(self):
        for name in ROWS:
            if name not in ("garbage", "empty", "cut-off", "wrong-arch", "wrong-class"):
                self.add(name)
        for name, length in (("empty", 0), ("cut-off", 3000)):
            os.truncate(self.add(name, os.path.join(ZOO, "good.so")), length)
        with open(self.add("wrong-class", os.path.join(ZOO, "good.so")), "r+b") as f:
            f.seek(4)  # EI_CLASS
            f.write(b"\x01")
        with open(self.add("garbage", __file__), "r+b") as f:
            f.write(b"no plugin")
        with open(self.add("wrong-arch", os.path.join(ZOO, "good.so")), "r+b") as f:
            f.seek(18)  # e_machine: RISC-V, or x86-64 there
            f.write(b"\xf3\x00" if os.uname().machine != "riscv64" else b"\x3e\x00")

    def test_each_row_and_sentence_under_one_deadline(self):
        self.fill()
        start = time.monotonic()
        report = json.loads(self.kolm("compute", "detect", "--refresh", "--json").out)
        self.assertLess(time.monotonic() - start, 12)  # one deadline of five seconds for all, not one for each that hangs
        rows = {b["name"]: b["detection"] for b in report["backends"]}
        self.assertEqual(set(rows), set(ROWS))
        for name, (state, sentence) in ROWS.items():
            with self.subTest(animal=name):
                self.assertEqual(rows[name]["state"], state, rows[name])
                self.assertRegex(rows[name]["reason"], re.compile(sentence))
                if state not in ("available", "failed"):
                    self.assertTrue(rows[name]["remedy"], rows[name])
        self.assertEqual(self.named_processes(), [])
        text = self.kolm("compute", "detect").out
        self.assertNotIn("\x1b[2J", text)
        for name in ROWS:
            self.assertIn(name, text)

    def test_what_check_reports_for_an_invalid_table(self):
        for name, what in (("function", "a function"), ("indirect", "an indirect function"), ("thread-local", "thread-local")):
            report = self.kolm("backend", "check", "--json", self.add(name), "--only", "exports", code=5).out
            reasons = {c["name"]: c["reason"] for c in json.loads(report)["checks"]}
            self.assertEqual(reasons["exports"], "kolm_backend_v1 is %s, and not a data object" % what)

    # ---- What they log while they run

    def levels(self, *words, log=None, **more):
        """Returns those of the plugin's five lines that are shown on standard error."""
        done = self.kolm(*words, env={"KOLM_LOG": log} if log is not None else None, **more)
        return [line.split(": ", 1)[1] for line in done.err.splitlines() if "levels: " in line]

    ALL = ["debug: levels: seen by few", "info: levels: seen by some", "warning: levels: seen by all",
           "error: levels: a \\x1B[2Jlens is broken", "info: levels: printed"]

    def test_what_a_backend_says(self):
        self.add("levels")
        detect = ("compute", "detect", "--refresh")
        debug, info, warning, error, printed = self.ALL
        for words, log, lines in [
            (detect, None, [warning, error]), (detect, "", [warning, error]), (detect, "error", [error]), (detect, "error,levels=warning", [warning, error]),
            (detect, "debug,levels=error", [error]), ((*detect, "-v"), None, [info, warning, error, printed]),
            (("compute", "-v", *detect[1:]), None, [info, warning, error, printed]), (("-v", *detect), None, [info, warning, error, printed]),
            ((*detect, "--verbose"), "error", [info, warning, error, printed]), ((*detect, "-vv"), None, self.ALL),
            ((*detect, "-v", "-v"), None, self.ALL), (detect, "levels=debug", self.ALL), (detect, "other=debug", [warning, error]),
        ]:
            with self.subTest(words=words, log=log):
                self.assertEqual(sorted(self.levels(*words, log=log)), sorted(lines))

    def test_what_a_backend_says_as_json(self):
        self.add("levels")
        value = json.loads(self.kolm("compute", "detect", "--refresh", "--json", "-v").out)
        self.assertEqual({(line["backend"], line["level"], line["text"]) for line in value["log"]},
                         {("levels", *line.split(": levels: ")) for line in self.ALL if not line.startswith("debug")})
        self.assertNotIn("log", json.loads(self.kolm("compute", "detect", "--json").out))  # from the cache: no backend was called
        self.assertNotIn("log", json.loads(self.kolm("compute", "pick", "--refresh", "--json", code=None).out))

    def test_levels_that_there_are_not(self):
        self.add("levels")
        for log, piece in [("inf", "'inf' is not a log level; did you mean 'info'?"), ("5", "'5' is not a log level"), ("info,", "'' is not a log level"),
                           ("levels=loud", "'loud' is not a log level"), ("=info", "a name is missing"), ("INFO", "'INFO' is not a log level")]:
            with self.subTest(log=log):
                self.assert_error(self.kolm("compute", "detect", env={"KOLM_LOG": log}, code=2), piece)

    def test_last_words_of_a_training(self):
        self.add("licence")
        done = self.kolm("compute", "info", "licence")
        self.assertIn('its last output: "checking" "licence \\x1B[31mexpired', done.out)
        self.assertIn("report it to", done.out)

    def test_one_that_trains_and_has_no_test(self):
        self.add_backend("test-word")
        done = self.kolm("compute", "test", "test-word", code=5)
        self.assert_error(done, "test-word has no test", "compile a small model with it instead")
        self.assertNotIn("not implemented yet", done.err)

    def named_processes(self):
        """Returns the kolm-host processes of this test that are still running."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/maps" % pid) as f:
                    if self.plugins in f.read():
                        found.append(pid)
            except OSError:
                pass
        return found

    def test_the_others_still_work(self):
        self.fill()
        self.add_engine()
        self.add_backend("test-word")
        self.write_tickets()
        self.kolm("compute", "pick")
        self.compile("--backend", "test-word")

    def test_a_caller_that_ignores_its_children(self):
        # An ignored SIGCHLD is inherited across exec, and the exit codes of all children are lost.
        self.add("aborts")
        done = self.kolm("compute", "detect", "--json", preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        self.assertEqual(json.loads(done.out)["backends"][0]["detection"]["state"], "crashed")

    def test_invalid_signatures(self):
        for name, text, reason in [("good", b"no signature\xff", "line 1, column 1: expected a JSON value, found 'n'"), ("floods", b"", "found the end"),
                                   ("prints", b"{}", "it is not a DSSE envelope"), ("threads", b"x" * 70000, "is larger than 65536 bytes")]:
            with self.subTest(name=name):
                path = self.add(name) + ".sig"
                self.write(path, text)
                self.assert_error(self.kolm("compute", "info", name, code=3), "%s is refused: %s is not a signature: " % (name, path), reason,
                                  "download the signature from its publisher again")

    def test_files_that_are_not_trusted(self):
        self.add("good")
        writable = self.add("newer-minor")
        os.chmod(writable, 0o777)
        os.symlink("/nowhere/at/all.so", os.path.join(self.plugins, "floods.so"))
        self.write(os.path.join(self.plugins, "floods.json"), json.dumps(manifest("floods")))
        os.mkfifo(os.path.join(self.plugins, "prints.so"))
        self.write(os.path.join(self.plugins, "prints.json"), json.dumps(manifest("prints")))
        outside = os.path.join(self.dir, "outside")
        os.mkdir(outside)
        os.chmod(outside, 0o777)
        shutil.copy(os.path.join(ZOO, "forks.so"), outside)
        os.symlink(os.path.join(outside, "forks.so"), os.path.join(self.plugins, "forks.so"))
        self.write(os.path.join(self.plugins, "forks.json"), json.dumps(manifest("forks")))
        report = self.json("backend", "list")
        rows = {r["name"]: r for r in report["rows"]}
        for name, word in (("newer-minor", "can be changed by every user"), ("floods", "No such file"), ("prints", "not a regular file"), ("forks", "can be changed by every user")):
            with self.subTest(name=name):
                self.assertEqual((rows[name]["state"], rows[name]["rule"]), ("refused", 3), rows[name])
                self.assertIn(word, rows[name]["why"])
        self.assertEqual(rows["good"]["state"], "taken")


if __name__ == "__main__":
    harness.main()
