#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input of every kind: an error message, the right exit code, and nothing lost or left behind."""
import glob
import json
import os
import pty
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case, jsonl, tickets  # noqa: E402

ROOT = os.geteuid() == 0
NOBODY = 65534


def setUpModule():
    harness.set_up_tree()


class Data(Case):
    def bad(self, content, *pieces, code=6, name="tickets.jsonl", words=()):
        self.write(name, content)
        self.assert_error(self.compile(*words, data=name, code=code), *pieces)
        self.assert_nothing_left()

    def weighed(self, *words):
        """Returns the document that the command prints, and its peak memory. A child inherits Python's own peak across fork, which is small
        as long as no test keeps large objects."""
        process = self.start(*words)
        out = process.stdout.read()
        process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        process.stdout.close()
        process.stderr.close()
        return json.loads(out), used.ru_maxrss

    def test_no_file_empty_file_directory(self):
        self.assert_error(self.compile(code=6), "tickets.jsonl", "no such file")
        self.assert_error(self.compile(data=self.plugins, code=6), "directory")
        self.assert_nothing_left()
        for content in (b"", b"\n\n  \n", b"\xef\xbb\xbf"):
            with self.subTest(content=content):
                self.bad(content, "tickets.jsonl", "empty")
        self.write_tickets()
        self.assert_error(self.compile("--eval", "nowhere.jsonl", code=6), "nowhere.jsonl")
        self.assert_nothing_left()

    def test_binary(self):
        with open(harness.BUILT_KOLM, "rb") as program:
            self.bad(program.read(100000), "tickets.jsonl")
        self.bad(b"\x1f\x8b\x08\0" + random.Random(1).randbytes(5000), "tickets.jsonl")
        self.bad('{"input":"a","output":"b"}\n'.encode("utf-16"), "UTF-16")

    def test_marks_and_line_ends_are_fine(self):
        rows = jsonl(tickets(200))
        models = []
        for content in (rows, b"\xef\xbb\xbf" + rows, rows.replace(b"\n", b"\r\n"), rows[:-1], b"\n\n" + rows.replace(b"\n", b"\n\n")):
            self.write("tickets.jsonl", content)
            models.append(self.json("compile", "-t", "router", "-d", "tickets.jsonl", "--force")["score"]["k"])
        self.assertEqual(len(set(models)), 1)

    def test_bytes_that_are_no_text(self):
        good = jsonl(tickets(50))
        self.bad(good + b'{"input":"a\xff","output":"b"}\n', "line 51", "column", "UTF-8")
        self.bad(good + b'{"input":"a\x00","output":"b"}\n', "line 51")
        self.bad(good + b'{"input":"a\\u0000","output":"b"}\n', "line 51")
        self.bad(good + b'{"input":"a\\ud800","output":"b"}\n', "line 51")
        self.bad(b"text,label\na\xff,b\n", "line 2", name="rows.csv")

    def test_a_line_of_100_megabytes(self):
        with open(self.write("tickets.jsonl", jsonl(tickets(50)) + b'{"input":"'), "ab") as out:
            for _ in range(100):
                out.write(b"a" * 1_000_000)
            out.write(b'","output":"b"}\n')
        self.assert_error(self.compile(code=6), "line 51", "16")
        self.assert_nothing_left()
        # It counts as one bad row like any other.
        out, peak = self.weighed("compile", "-t", "router", "-d", "tickets.jsonl", "--skip-bad", "--json")
        self.assertEqual(out["data"]["bad_rows"], 1)
        if not harness.SANITIZED:
            self.assertLess(peak, 100_000, "kilobytes of memory")

    def test_rows_that_are_no_rows(self):
        good = jsonl(tickets(50))
        for line, piece in ((b'{"input":"a"}', "output"), (b'{"output":"a"}', "input"), (b'{"input":1,"output":"b"}', "input"), (b'{"input":"a","output":null}', "output"),
                            (b'{"input":"a","output":["b"]}', "output"), (b'{"input":"a","output":1.5}', "output"), (b'["a","b"]', "line 51"), (b'"a"', "line 51"),
                            (b'{"input":"a","output":"b"', "line 51"), (b'{"input":"a","output":"b"} x', "line 51"), (b'{"input":"a","input":"b","output":"c"}', "key"),
                            (b"{'input':'a','output':'b'}", "line 51"), (b"{}", "line 51"), (b'{"messages":[]}', "assistant"),
                            (b'{"messages":[{"role":"user","content":"a"}]}', "assistant"), (b"[" * 100 + b"]" * 100, "line 51")):
            with self.subTest(line=line):
                self.bad(good + line + b"\n", "line 51", piece)
                done = self.compile("--skip-bad", "--force")
                self.assertIn("1 bad row", done.out)
                self.assertIn("line 51", done.out)
                for name in self.left():
                    os.remove(os.path.join(self.work, name))
                shutil.rmtree(self.home)

    def test_nothing_but_bad_rows(self):
        self.bad(b'{"a":1}\n' * 10, "row", words=["--skip-bad"])

    def test_tables(self):
        self.bad("a,b\nc,d\n", "column", name="rows.csv")
        self.bad('text,label\n"open,b\n', "line 2", name="rows.csv")
        self.bad("text,label\na\n", "line 2", name="rows.csv")

    def test_duplicates_and_contradictions_are_dropped_and_reported(self):
        rows = tickets(200)
        rows += rows[:7] + [dict(rows[10], output="shipping-later"), {"input": "odd one", "output": "billing"}, {"input": "odd one", "output": "login"}]
        self.write("tickets.jsonl", jsonl(rows))
        done = self.compile()
        self.assertIn("7 duplicate rows dropped", done.out)
        self.assertRegex(done.out, r"4 contradicting rows dropped.*lines \d+ and \d+")

    def test_one_label(self):
        self.bad(jsonl({"input": "text %d" % i, "output": "same"} for i in range(100)), "same output")

    def test_one_row_per_label(self):
        self.bad(jsonl({"input": "text %d" % i, "output": "label %d" % i} for i in range(100)), "two rows", "--eval")
        self.bad(jsonl([{"input": "a", "output": "b"}]), "row")

    def test_ten_thousand_labels(self):
        rows = [{"input": "word%d and %d" % (i % 10000, i), "output": "label %d" % (i % 10000)} for i in range(30000)]
        self.write("tickets.jsonl", jsonl(rows))
        self.assertIn("10000 labels", self.compile().out)

    def test_labels_with_odd_characters(self):
        odd = ["line\nbreak", "tab\there", "\x1b[31mred", "quote\"s", "comma,s", "\u202eleft", "e\u0301", "x" * 200]
        rows = [{"input": "w%d row %d" % (i % 8, i), "output": odd[i % 8]} for i in range(400)]
        self.write("tickets.jsonl", jsonl(rows))
        self.compile()
        for i, label in enumerate(odd):
            done = self.kolm("run", "router-1.0.0.kolm", "w%d" % i)
            self.assertNotIn("\x1b", done.out)
            self.assertEqual(len(done.out.splitlines()), 1, done.out)
            self.assertEqual(self.json("run", "router-1.0.0.kolm", "w%d" % i)["output"], label)
        self.assertNotIn("\x1b", self.kolm("inspect", "router-1.0.0.kolm").out)
        self.write("tickets.jsonl", jsonl([dict(r, output=odd[j * 5 % 8]) for j, r in enumerate(rows) if j % 3] + rows[:1]))
        self.compile("-o", "bad.kolm", "--gate", "1", code=4)

    def test_a_million_rows(self):
        """Rows are streamed: memory does not grow with the file."""
        count = 100_000 if harness.SANITIZED else 1_000_000
        with open(os.path.join(self.work, "tickets.jsonl"), "wb") as out:
            for start in range(0, count, 10000):
                out.write(b"".join(b'{"input":"%s number %d","output":"%s"}\n' % (w, i, w) for i, w in
                                   ((i, harness.LABELS[i % 6].encode()) for i in range(start, start + 10000))))
        out, peak = self.weighed("compile", "-t", "router", "-d", "tickets.jsonl", "--json")
        self.assertEqual(out["data"]["rows"], count)
        if not harness.SANITIZED:
            self.assertLess(peak, 100_000, "kilobytes of memory")


class Words(Case):
    """The command line, the configuration, the environment."""

    def test_unknown_flags_and_words(self):
        self.write_tickets()
        base = ["compile", "-t", "router", "-d", "tickets.jsonl"]
        for words, piece in (
                (base + ["--frob"], "'--frob'"), (base + ["--taks", "x"], "did you mean --task"), (base + ["extra"], "'extra'"), (base + ["--budget", "abc"], "'abc'"),
                (base + ["--budget", "-1"], "'-1'"), (base + ["--min-vram"], "--min-vram needs a value"), (base + ["--gate", "2"], "'2'"), (base + ["--gate", "85%"], "'85%'"),
                (base + ["--seed", "-3"], "'-3'"), (base + ["--threads", "0"], "--threads"), (base + ["--effort", "hard"], "'hard'"), (base + ["--recipe", "magic"], "'magic'"),
                (base + ["--recipe", "lora"], "--base"), (base + ["--set", "rank=8"], "--set"), (base + ["--recipe", "linear", "--base", "x"], "base model"),
                (base + ["--version", "../1"], "'../1'"), (base + ["--abstain", "0.5", "--target-accuracy", "0.9"], "--abstain"),
                (base + ["--quiet=yes"], "takes no value"), (["compile", "-t", "Router", "-d", "tickets.jsonl"], "'Router'"), (["compile", "-t", "../x", "-d", "tickets.jsonl"], "'../x'"),
                (["compile", "-t", "", "-d", "tickets.jsonl"], "--task needs a value"), (["compile", "-d", "tickets.jsonl"], "--task"), (["compile", "-t", "router"], "--data"),
                (["compil"], "did you mean 'kolm compile'"), (["--frob"], "'--frob'"), (["run"], "missing"), (["verify"], "missing"), (["verify", "a", "b"], "'b'"), (["score", "x.kolm"], "--eval"),
                (["keys", "list", "x"], "'x'"), (["keys", "trust"], "missing")):
            with self.subTest(words=words):
                self.assert_error(self.kolm(*words, code=2), piece)
        self.kolm(code=2)
        self.assert_nothing_left()

    def test_errors_are_documents_too(self):
        value = json.loads(self.compile("--json", code=6).out)
        self.assertEqual((value["schema"], value["exit"]), ("kolm.error/1", 6))

    def test_config_that_is_no_json(self):
        self.write_tickets()
        for text in ("{", "[]", "{'a':1}", "", "\x00"):
            self.write_home("config.json", text)
            self.assert_error(self.compile(code=6), "config.json")
        self.assertEqual((self.left(), self.jobs()), ([], []))
        with open(os.path.join(self.home, "config.json"), encoding="utf-8") as kept:
            self.assertEqual(kept.read(), "\x00")

    def test_cache_that_is_garbage(self):
        self.write_tickets()
        os.makedirs(os.path.join(self.home, "cache"), mode=0o700)
        for text in ("garbage", '{"version":1,"entries":[]}', '{"version":1,"entries":{"test-word":{"key":1}}}', "\0" * 1000):
            self.write_home("cache/detect.json", text)
            self.compile("--force")
        self.write_home("cache/key", "short")
        self.compile("--force")

    def test_no_home(self):
        self.write_tickets()
        self.assert_error(self.compile(env={"HOME": None, "KOLM_HOME": None}, code=2), "HOME")
        self.assert_error(self.compile(env={"KOLM_HOME": "relative"}, code=2), "KOLM_HOME")
        self.assertEqual(self.left(), [])
        self.compile(env={"KOLM_HOME": None})
        self.assertIn("receipts.jsonl", os.listdir(os.path.join(self.dir, ".kolm")))

    def as_nobody(self, *words, **more):
        """Runs kolm as another user if we are root, because root can write everywhere."""
        if ROOT:
            os.chmod(self.dir, 0o755)
            more.update(user=NOBODY, group=NOBODY, extra_groups=[])
        return self.kolm(*words, **more)

    def test_a_backend_that_anybody_may_change(self):
        self.write_tickets()
        os.chmod(os.path.join(self.plugins, "test-word.so"), 0o777)
        self.assert_error(self.compile(code=3), "test-word", "can be changed by every user")
        shutil.rmtree(self.plugins)
        self.assert_error(self.compile(code=3), "no backend was found")

    def test_a_home_that_cannot_be_written(self):
        self.write_tickets()
        os.mkdir(self.home)
        os.chmod(self.home, 0o555)
        out = os.path.join(self.dir, "out")
        os.mkdir(out)
        if ROOT:
            os.chown(out, NOBODY, NOBODY)
        done = self.as_nobody("compile", "-t", "router", "-d", "tickets.jsonl", "-o", out, code=None)
        self.assertIn(done.returncode, (2, 6), done.err)
        self.assert_error(done, self.home)
        self.assertEqual((os.listdir(out), os.listdir(self.home)), ([], []))

    def test_a_directory_that_cannot_be_written(self):
        self.write_tickets()
        out = os.path.join(self.dir, "out")
        os.mkdir(out, 0o555)
        os.mkdir(self.home)
        if ROOT:
            os.chown(self.home, NOBODY, NOBODY)
        done = self.as_nobody("compile", "-t", "router", "-d", "tickets.jsonl", "-o", out, code=2)
        self.assert_error(done, out)
        self.assertEqual(self.jobs(), [])
        self.assert_error(self.compile("-o", os.path.join(self.dir, "nowhere"), code=2), "nowhere")


class Output(Case):
    def setUp(self):
        super().setUp()
        self.write_tickets()

    def test_output_exists(self):
        self.compile()
        before = self.read("router-1.0.0.kolm")
        self.assert_error(self.compile("--seed", "3", code=2), "router-1.0.0.kolm exists", "--force")
        self.assertEqual(self.read("router-1.0.0.kolm"), before)
        self.compile("--seed", "3", "--force")
        self.assertNotEqual(self.read("router-1.0.0.kolm"), before)
        self.kolm("verify", "router-1.0.0.kolm")
        os.remove(os.path.join(self.work, "router-1.0.0.kolm"))
        os.mkdir(os.path.join(self.work, "router-1.0.0.kolm"))
        self.assert_error(self.compile("--force", code=2), "directory")

    def test_a_name_that_cannot_be_made_is_found_before_the_training(self):
        for out in ("y" * 245 + ".kolm", "/proc/router.kolm"):
            done = self.compile("--out", out, code=None)
            self.assert_error(done, "cannot")
            self.assertIn(done.returncode, (2, 6))
            self.assertNotIn("[trainer]", done.out)
        self.assertEqual((self.left(), self.jobs()), ([], []))

    def test_on_a_terminal_it_asks(self):
        self.compile()
        before = self.read("router-1.0.0.kolm")
        for answer, code, same in ((b"n\n", 2, True), (b"\n", 2, True), (b"y\n", 0, False)):
            pid, master = pty.fork()
            if pid == 0:
                os.chdir(self.work)
                os.execve(harness.TREE.kolm, ["kolm", "compile", "-t", "router", "-d", "tickets.jsonl", "--seed", "3"], self.full_env({"TERM": "xterm"}))
            seen, answered = b"", False
            while True:
                try:
                    piece = os.read(master, 4096)
                except OSError:
                    break
                if not piece:
                    break
                seen += piece
                if b"[y/N]" in seen and not answered:
                    os.write(master, answer)
                    answered = True
            _, status = os.waitpid(pid, 0)
            os.close(master)
            self.assertTrue(answered, seen)
            self.assertEqual(os.waitstatus_to_exitcode(status), code, seen)
            self.assertEqual(self.read("router-1.0.0.kolm") == before, same)

    def test_two_compiles_at_once(self):
        for words, codes in ((["--force"], [(0, 0)]), ([], [(0, 2)])):
            for name in self.left():
                os.remove(os.path.join(self.work, name))
            pair = [self.start("compile", "-t", "router", "-d", "tickets.jsonl", *words) for _ in range(2)]
            results = [p.communicate(timeout=60) + (p.returncode,) for p in pair]
            got = tuple(sorted(r[2] for r in results))
            self.assertIn(got, codes, results)
            self.assertEqual(self.left(), ["router-1.0.0.kolm", "router-1.0.0.kolm.intoto.jsonl"])
            self.kolm("verify", "router-1.0.0.kolm")
            self.assertEqual(self.jobs(), [])
        seqs = [json.loads(harness_payload(line))["predicate"] for line in self.receipts()[1::2]]
        self.assertEqual([p["chain"]["seq"] for p in seqs], list(range(1, 2 * len(seqs), 2)))


def harness_payload(line):
    import base64
    return base64.b64decode(line["payload"])


class DiskFull(Case):
    """Uses a small file system if it can be mounted, otherwise a limit on the size of files: at every stage there is too little space."""

    def mount(self, path, kilobytes):
        os.makedirs(path, exist_ok=True)
        if not ROOT or not shutil.which("mount"):
            return False
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dk,mode=0700" % kilobytes, "tmpfs", path], capture_output=True, check=False)
        if done.returncode != 0:
            return False
        self.addCleanup(subprocess.run, ["umount", "-l", path], check=False)
        return True

    def check_full(self, done, code):
        self.assertIn(done.returncode, (1, 2, 5, 6) if code is None else (code,), done.err)
        self.assert_error(done)
        self.assertRegex(done.err, "(?i)no space left|file too large|file size limit|disk")
        self.assertEqual(self.jobs(), [])

    def test_the_home_is_full(self):
        self.write_tickets(rows=2000)
        if not self.mount(self.home, 4):
            self.skipTest("a small file system cannot be mounted here")
        outcomes = set()
        for kilobytes in (4, 8, 16, 40, 80, 160, 240, 320, 400, 2000):
            subprocess.run(["mount", "-o", "remount,size=%dk" % kilobytes, self.home], check=True)
            done = self.compile(code=None)
            outcomes.add(done.returncode)
            if done.returncode == 0:
                self.kolm("verify", "router-1.0.0.kolm")
                break
            self.check_full(done, None)
            self.assertEqual(self.left(), [])
        self.assertEqual(done.returncode, 0, done.err)
        self.assertIn(1, outcomes)

    def test_the_place_of_the_output_is_full(self):
        self.write_tickets(rows=300)
        out = os.path.join(self.dir, "out")
        if not self.mount(out, 4):
            self.skipTest("a small file system cannot be mounted here")
        for kilobytes in (4, 8, 12):
            subprocess.run(["mount", "-o", "remount,size=%dk" % kilobytes, out], check=True)
            done = self.compile("-o", out, code=None)
            if done.returncode == 0:
                break
            self.check_full(done, 1)
            self.assertEqual(os.listdir(out), [])

    def test_files_may_not_grow(self):
        self.write_tickets(rows=2000)

        def limit(size):
            return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        # SIGXFSZ kills a program that does not handle it.
        for size in (0, 10, 300, 5000, 30000, 100000):
            with self.subTest(size=size):
                done = self.compile(code=None, preexec_fn=limit(size))
                self.check_full(done, None)
                self.assertEqual(self.left(), [])
        self.compile()
        self.kolm("verify", "router-1.0.0.kolm")


class Interrupt(Case):
    """Ctrl-C at any moment: exit code 130, no descendant is alive, nothing is left half-written."""

    def setUp(self):
        super().setUp()
        self.write_tickets()

    def after(self, process, below, code, err):
        self.assertEqual(code, 130, err)
        self.wait_for(lambda: not any(self.alive(pid) for pid in below), "the end of the backend")
        self.assert_nothing_left()

    def begin(self, *words, **more):
        return self.start("compile", "-t", "router", "-d", "tickets.jsonl", *words, **more)

    def test_while_it_reads(self):
        read, write = os.pipe()
        process = self.start("compile", "-t", "router", "-d", "-", stdin=read)
        os.close(read)
        os.write(write, jsonl(tickets(20)))
        self.wait_for(self.jobs, "the job directory")
        code, _, err = self.interrupt(process)
        os.close(write)
        self.after(process, set(), code, err)

    def test_while_it_trains(self):
        self.tell("hang")
        # Under nohup kolm would ignore SIGHUP, as it should. A signal with a handler here has its default action in a new program.
        self.addCleanup(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, lambda *_: None))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = self.begin()
            self.assertIn(b"training", process.stderr.readline())
            below = self.children_of(process.pid)
            self.assertTrue(below)
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
            self.after(process, below, process.returncode, err.decode())
            self.assertIn(b"interrupted", err)

    def let_run(self, process, seconds):
        """Waits until the process ends, for at most these seconds: the test interrupts it at this moment."""
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            pass

    def test_while_it_answers(self):
        self.tell("hang infer")
        process = self.begin()
        # No line reports the start of answering: it would come too soon after that of training.
        self.wait_for(lambda: glob.glob(os.path.join(self.home, "jobs", "*", "job", "result.json")), "the end of training")
        below = self.children_of(process.pid)
        code, _, err = self.interrupt(process)
        self.after(process, below, code, err)

    def test_twice_when_the_backend_does_not_heed(self):
        self.tell("hang hard")
        process = self.begin()
        left = self.wait_for(lambda: self.children_of(process.pid) if len(self.children_of(process.pid)) >= 2 else None, "the backend and its child")
        process.send_signal(signal.SIGINT)
        self.let_run(process, 0.1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, 130)
        self.assertEqual((self.left(), self.jobs()), ([], []))
        self.wait_for(lambda: not any(self.alive(pid) for pid in left), "the end of the backend", 60)

    def test_at_many_moments(self):
        began = time.monotonic()
        self.compile()
        whole = time.monotonic() - began
        for name in self.left():
            os.remove(os.path.join(self.work, name))
        shutil.rmtree(self.home)
        steps = 16
        for step in range(steps):
            receipts = len(self.receipts())
            process = self.begin()
            self.let_run(process, whole * 1.1 * step / steps)
            below = self.children_of(process.pid)
            code, _, err = self.interrupt(process)
            self.assertIn(code, (130, 0, -2), err)  # -2: so early that kolm had not installed its handlers
            self.wait_for(lambda: not any(self.alive(pid) for pid in below), "the end of the backend")
            self.assertEqual(self.jobs(), [])
            if code == 0:
                self.kolm("verify", "router-1.0.0.kolm")
                self.assertEqual(len(self.receipts()), receipts + 2)
            for name in self.left():
                self.assertEqual(code, 0, "left behind at moment %d: %s" % (step, self.left()))
                os.remove(os.path.join(self.work, name))

    def test_killed_outright(self):
        """After kill -9 the next compile is not blocked by anything left behind, and removes it, including scratch files of backends."""
        scratch = os.path.join(self.dir, "scratch")
        os.mkdir(scratch)
        self.env["TMPDIR"] = scratch
        for step in range(6):
            process = self.begin("--force")
            time.sleep(0.01 + 0.02 * step)
            below = self.children_of(process.pid)
            process.kill()
            process.communicate()
            self.wait_for(lambda: not any(self.alive(pid) for pid in below), "the end of the backend")
        self.compile("--force")
        self.assertEqual(self.left(), ["router-1.0.0.kolm", "router-1.0.0.kolm.intoto.jsonl"])
        self.assertEqual(self.jobs(), [])
        self.assertEqual([n for n in os.listdir(self.work) if n.startswith(".")], [])
        self.assertEqual(os.listdir(scratch), [])
        self.kolm("verify", "router-1.0.0.kolm")


if __name__ == "__main__":
    harness.main()
