#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The jobs of the far end: every verb, and every way to die."""
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
import unittest
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import far_end  # noqa: E402
from far_case import Case, ID, OTHER, PYTHON, TREE, alive, script, wait_until  # noqa: E402
from far_end import FarEnd, sha  # noqa: E402


class Jobs(Case):
    def test_a_job_from_start_to_end(self):
        far = self.far()
        text = ("import os,sys\nprint('{\"event\":\"log\"}',flush=True)\nos.mkdir('model')\nopen('model/m','w').write('model')\n"
                "open('result.json','w').write('{}')\nsys.stderr.write('a word')\nprint(sys.argv[1:],flush=True)\nprint('tail',end='')")
        tree = far.upload({"sub/x": b"prog"})
        far.ask("tree", tree=OTHER, files=[dict(tree[0], executable=True)])
        state = far.make(ID, {"job.json": b'{"kind":"train"}'}, script(text) + [{"job": ""}, {"tree": OTHER, "name": "sub/x"}, ["--p=", {"job": "x"}]])
        self.assertIn(state["state"], ("running", "done"))
        state, events = far.follow(ID)
        work = self.path("jobs", ID, "work")
        self.assertEqual(events.decode(), "{\"event\":\"log\"}\n%s\ntail" % [work, self.path("trees", OTHER, "sub", "x"), "--p=%s/x" % work])
        self.assertEqual((state["state"], state["exit"], state["signal"], state["errors_tail"]), ("done", 0, 0, "a word"))
        files = far.ask("results", job=ID, names=["model", "result.json", "predictions.jsonl"], adopt=True)["files"]
        self.assertEqual([(f["name"], f["size"], f["sha256"]) for f in files], [("model/m", 5, sha(b"model")), ("result.json", 2, sha(b"{}"))])
        self.assertEqual(far.get(ID, "model/m"), b"model")
        self.assertEqual(far.get(ID, "model/m", offset=3), b"el")
        self.assertEqual(far.get(ID, "model/m", offset=5), b"")
        self.assertEqual(far.ask("have", blobs=[{"sha256": sha(b"model"), "size": 5}])["missing"], [])
        far.ask("drop", job=ID)
        self.assertEqual(far.ask("status", job=ID)["state"], "absent")
        self.assertEqual(os.listdir(self.path("jobs")), [])

    def test_no_results_of_a_job_that_was_begun_again(self):
        """Two clients follow a job to its end; one fetches the results, drops the job, and starts it again. The other must not get empty
        results."""
        far = self.far()
        go = self.path("go")
        os.mkfifo(go)
        far.make(ID, {}, script("open('result.json','w').write('{}')"))
        with FarEnd(self.home) as other:
            other.follow(ID)
            far.follow(ID)
            far.ask("drop", job=ID)
            self.refused(other.try_ask("results", job=ID, names=["result.json"]), 5, "is not here")
            far.make(ID, {}, script("open(%r).read();open('result.json','w').write('{}')" % go))
            self.refused(other.try_ask("results", job=ID, names=["result.json"]), 5, "has not ended")
            with open(go, "w"):
                pass
            other.follow(ID)
            self.assertEqual([f["name"] for f in other.ask("results", job=ID, names=["result.json"])["files"]], ["result.json"])

    def test_a_large_result_comes_in_order_and_from_any_place(self):
        far = self.far()
        far.make(ID, {}, script("import os;open('big','wb').write(bytes(range(251))*20000)"))
        far.follow(ID)
        whole = bytes(range(251)) * 20000
        self.assertEqual(far.get(ID, "big"), whole)
        for offset in (1, 262144, 262145, len(whole) - 1, len(whole), len(whole) + 5):
            self.assertEqual(far.get(ID, "big", offset=offset), whole[offset:])
        self.assertEqual(far.packed, 0)
        with FarEnd(self.home) as other:  # which has not measured the line's speed yet
            self.assertEqual(other.get(ID, "big", packed=True), whole)
            self.assertGreater(other.packed, 0)

    def test_small_results_come_with_the_list_of_them(self):
        far = self.far()
        far.make(ID, {}, script("import os;os.mkdir('model');open('model/a','w').write('a'*3000);open('model/b','w');open('c','w').write('c')"))
        far.follow(ID)
        self.assertFalse(far.ask("results", job=ID, names=["model", "c"], send=3000)["sent"])
        self.assertFalse(far.ask("results", job=ID, names=["model", "c"])["sent"])
        self.assertFalse(far.ask("results", job=ID, names=["nothing"], send=3000)["sent"])
        for packed in (False, True):
            offered = far.ask("results", job=ID, names=["model", "c"], send=3001, packed=packed)
            self.assertTrue(offered["sent"])
            pieces = [far.receive() for _ in range(3)]
            self.assertEqual([(piece["more"], "packed" in piece) for piece in pieces], [(False, packed), (False, False), (False, False)])
            self.assertEqual([pieces[0].raw if not packed else zlib.decompress(pieces[0].raw), pieces[1].raw, pieces[2].raw], [b"a" * 3000, b"", b"c"])
        self.assertEqual(far.ask("status", job=ID)["state"], "done")

    def test_the_last_lines_are_marked_as_last(self):
        far = self.far()
        far.make(ID, {}, script("import os,sys;os.mkfifo('go');print('line',flush=True);open('go').read();sys.stderr.write('a word');print('tail',end='')"))
        first = far.ask("follow", job=ID, since=0, wait_ms=20000)
        self.assertEqual((first.raw, first["last"]), (b"line\n", False))
        with open(self.path("jobs", ID, "work", "go"), "w"):
            pass
        second = far.ask("follow", job=ID, since=first["next"], wait_ms=20000)
        self.assertEqual((second.raw, second["last"], second["state"], second["errors_tail"]), (b"tail", True, "done", "a word"))
        both = far.ask("follow", job=ID, since=0, wait_ms=0)
        self.assertEqual((both.raw, both["last"]), (b"line\n", False))
        far.ask("create", job=OTHER, files=[])
        self.assertEqual(far.ask("follow", job=OTHER, since=0, wait_ms=20000)["state"], "created")

    def test_only_what_ended_badly_is_begun_again(self):
        far = self.far()
        text = "import sys;open('runs','a').write('x');sys.exit(len(open('runs').read()) < 2)"
        far.make(ID, {}, script(text))
        for again, runs in ((False, "x"), (True, "xx"), (True, "xx")):
            far.follow(ID)
            far.ask("start", job=ID, command=script(text), again=again)
            far.follow(ID)
            with open(self.path("jobs", ID, "work", "runs")) as file:
                self.assertEqual(file.read(), runs)

    def test_what_a_job_makes_is_distrusted(self):
        far = self.far()
        far.make(ID, {}, script("import os;os.mkdir('model');os.symlink('/etc/passwd','model/l');os.mkdir('other');open('other/a\\nb','w');"
                                "os.mkdir('third');os.mkfifo('third/f');os.symlink('/etc','etc')"))
        far.follow(ID)
        for name in ("model", "other", "third", "etc"):
            self.refused(far.try_ask("results", job=ID, names=[name]), 15)
        self.refused(far.try_ask("get", job=ID, name="model/l"), 15)
        self.refused(far.try_ask("get", job=ID, name="../spec.json"), 3)
        self.refused(far.try_ask("get", job=ID, name="nothing"), 5)

    def test_secrets_reach_the_program_and_nothing_else(self):
        far = self.far()
        secret = "s3cr3t-%d" % random.getrandbits(64)
        far.make(ID, {}, script("import os,time;open('seen','w').write(str(os.environ.get('TOKEN')=='%s'[::-1]))\n"
                                "while not os.path.exists('go'): time.sleep(0.01)" % secret[::-1]), secrets={"TOKEN": secret})
        wait_until(lambda: os.path.exists(self.path("jobs", ID, "work", "seen")))
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as file:
                    self.assertNotIn(secret.encode(), file.read())
            except OSError:
                pass
        for where, _, leaves in os.walk(self.home):
            for leaf in leaves:
                with open(os.path.join(where, leaf), "rb") as file:
                    self.assertNotIn(secret.encode(), file.read(), leaf)
        with open(self.path("jobs", ID, "work", "go"), "w"):
            pass
        self.assertEqual(far.follow(ID)[0]["exit"], 0)
        self.assertEqual(far.get(ID, "seen"), b"True")

    def test_a_program_that_fails_or_is_not_there(self):
        far = self.far()
        far.make(ID, {}, script("import sys;sys.stderr.write('why');sys.exit(7)"))
        state = far.follow(ID)[0]
        self.assertEqual((state["exit"], state["errors_tail"]), (7, "why"))
        far.make(OTHER, {}, ["/nowhere/program"])
        state = far.follow(OTHER)[0]
        self.assertEqual((state["state"], state["code"]), ("done", 5))
        self.assertIn("/nowhere/program", state["text"])

    def test_a_keeper_that_cannot_write_leaves_nothing_running(self):
        far = self.far(command=[PYTHON, "-I", "-B", "-c", far_end.other_bootstrap("os.close(told)  #", "raise OSError(errno.EDQUOT, \"quota\")  #")])
        state = far.make(ID, {}, script("import signal;signal.pause()"))
        self.assertEqual((state["state"], state["code"]), ("done", 8), state)
        self.assertFalse(alive(state["child"]))

    def test_it_outlives_the_connection_and_is_found_again(self):
        text = "import os,time\nfor i in range(5):\n  print('line %d'%i,flush=True)\n  while not os.path.exists('go%d'%i): time.sleep(0.01)"
        far = self.far()
        far.make(ID, {}, script(text))
        first = far.ask("follow", job=ID, since=0, wait_ms=20000)
        self.assertEqual(first.raw, b"line 0\n")
        far.kill()
        for i in range(5):
            with open(self.path("jobs", ID, "work", "go%d" % i), "w"):
                pass
            if i == 2:
                wait_until(lambda: os.path.getsize(self.path("jobs", ID, "events.jsonl")) >= 28)
        again = self.far()
        attached = again.ask("create", job=ID, files=[])
        self.assertTrue(attached["attached"])
        again.ask("start", job=ID, command=script("print('not again')"))
        state, events = again.follow(ID, since=first["next"])
        self.assertEqual((state["exit"], events), (0, b"line 1\nline 2\nline 3\nline 4\n"))

    def test_follow_gives_way_to_the_next_request(self):
        far = self.far()
        far.make(ID, {}, script("import signal;signal.pause()"))
        begun = time.monotonic()
        far.send("follow", job=ID, since=0, wait_ms=50000)
        far.send("status", job=ID)
        self.assertEqual(far.receive()["next"], 0)
        self.assertEqual(far.receive()["state"], "running")
        self.assertLess(time.monotonic() - begun, 20)

    def test_cancel_ends_the_whole_tree(self):
        far = self.far()
        text = ("import os,subprocess,sys,signal\nsignal.signal(signal.SIGTERM,signal.SIG_IGN)\n"
                "p=[subprocess.Popen([sys.executable,'-c','import signal;signal.signal(15,signal.SIG_IGN);signal.pause()'],start_new_session=i%2==1,"
                "env={} if i==3 else None).pid for i in range(4)]\n"
                "if os.fork()==0:\n  os.setsid()\n  if os.fork()==0:\n    p=[os.getpid()]\n    open('orphan','w').write(str(os.getpid()));signal.pause()\n  os._exit(0)\n"
                "open('pids','w').write(' '.join(map(str,p+[os.getpid()])))\nos.rename('pids','ready')\nsignal.pause()")
        far.make(ID, {}, script(text), grace_ms=200)
        work = self.path("jobs", ID, "work")
        wait_until(lambda: os.path.exists(os.path.join(work, "ready")) and os.path.exists(os.path.join(work, "orphan"))
                   and os.path.getsize(os.path.join(work, "orphan")))
        with open(os.path.join(work, "ready")) as ready, open(os.path.join(work, "orphan")) as orphan:
            pids = [int(word) for word in (ready.read() + " " + orphan.read()).split()]
        self.assertEqual(len(pids), 6)
        state = far.ask("cancel", job=ID)
        self.assertEqual((state["state"], state["why"]), ("done", "cancelled"))
        self.assertEqual([pid for pid in pids if alive(pid)], [])
        self.assertEqual(far.ask("cancel", job=ID)["state"], "done")
        self.assertEqual(far.ask("cancel", job=OTHER)["state"], "absent")

    def test_cancel_lets_a_trainer_write_its_checkpoint(self):
        far = self.far()
        far.make(ID, {}, script("import signal,sys\ndef end(*a):\n  open('checkpoint','w').write('x')\n  sys.exit(1)\n"
                                "signal.signal(15,end)\nprint('up',flush=True)\nsignal.pause()"))
        self.assertEqual(far.ask("follow", job=ID, since=0, wait_ms=20000).raw, b"up\n")
        self.assertEqual(far.ask("cancel", job=ID)["exit"], 1)
        self.assertEqual(far.get(ID, "checkpoint"), b"x")

    def test_a_limit_of_time(self):
        far = self.far()
        far.make(ID, {}, script("import signal;signal.pause()"), limit_ms=300)
        state = far.follow(ID)[0]
        self.assertEqual((state["why"], state["signal"]), ("deadline", 15))

    def test_a_job_whose_keeper_was_killed_is_lost_and_starts_again(self):
        far = self.far()
        text = "import os,signal\nopen('pid','w').write(str(os.getpid()));os.rename('pid','up')\nif not os.path.exists('again'): signal.pause()\nprint('done')"
        far.make(ID, {}, script(text))
        up = self.path("jobs", ID, "work", "up")
        wait_until(lambda: os.path.exists(up))
        with open(up) as file:
            pid = int(file.read())
        os.kill(far.ask("status", job=ID)["keeper"], signal.SIGKILL)
        wait_until(lambda: far.ask("status", job=ID)["state"] == "lost")
        with open(self.path("jobs", ID, "work", "again"), "w"):
            pass
        far.ask("start", job=ID, command=script(text))
        self.assertFalse(alive(pid))
        state, events = far.follow(ID)
        self.assertEqual((state["exit"], events), (0, b"done\n"))

    def test_the_same_job_below_another_directory_is_another_one(self):
        """A user may have two directories on one machine, and a machine may see the processes of its containers."""
        far, other = self.far(), self.far(env={"XDG_CACHE_HOME": os.path.join(self.home, "other")})
        wait = script("import signal;print('up',flush=True);signal.pause()")
        for end in (far, other):
            end.make(ID, {}, wait)
            self.assertEqual(end.ask("follow", job=ID, since=0, wait_ms=20000).raw, b"up\n")
        far.ask("cancel", job=ID)
        self.assertEqual(other.ask("status", job=ID)["state"], "running")
        child = other.ask("status", job=ID)["child"]
        self.assertTrue(alive(child))
        self.assertEqual(other.ask("cancel", job=ID)["why"], "cancelled")

    def test_two_start_the_same_job(self):
        ends = [self.far() for _ in range(4)]
        entry = ends[0].upload({"a": b"x"})
        for far in ends:
            far.send("create", job=ID, files=entry)
            far.send("start", job=ID, command=script("print('once')"))
        answers = [(far.receive(), far.receive()) for far in ends]
        self.assertEqual(sorted(a[0]["attached"] for a in answers), [False, True, True, True])
        self.assertTrue(all(a[1]["ok"] for a in answers), answers)
        for far in ends:
            self.assertEqual(far.follow(ID)[1], b"once\n")

    def test_killed_at_any_time_it_continues(self):
        """The agent is killed 25 times at random instants of the same job; the next one can always continue."""
        rng = random.Random(11)
        data = os.urandom(3000000)
        files = {"train.jsonl": data, "sub/b": b"small", "job.json": b"{}"}
        command = script("import hashlib;print(hashlib.sha256(open('train.jsonl','rb').read()).hexdigest(),flush=True);open('out','wb').write(b'o'*300000)")
        for _ in range(25):
            far = self.far()
            killer = subprocess.Popen([PYTHON, "-c", "import os,sys,select;select.select([],[],[],float(sys.argv[2]));os.kill(int(sys.argv[1]),9)",
                                       str(far.process.pid), str(rng.random() * 0.12)])
            try:
                far.make(ID, files, command)
                far.follow(ID)
                far.get(ID, "out")
            except (EOFError, BrokenPipeError):
                pass
            killer.wait()
        far = self.far()
        far.make(ID, files, command)
        state, events = far.follow(ID)
        self.assertEqual((state["exit"], events.decode().strip()), (0, sha(data)))
        self.assertEqual(far.get(ID, "out"), b"o" * 300000)

    def test_files_of_the_job_are_its_own(self):
        far = self.far()
        far.make(ID, {"train.jsonl": b"data"}, script("open('train.jsonl','a').write('more')"))
        self.assertEqual(far.follow(ID)[0]["exit"], 0)
        with FarEnd(self.home) as again:
            self.assertEqual(again.ask("have", blobs=[{"sha256": sha(b"data"), "size": 4}])["missing"], [])

    def test_paths_of_model_files_are_rewritten(self):
        far = self.far()
        job = {"kind": "infer", "model_files": [{"name": "a/linear.bin", "path": "/home/me/x", "offset": 7, "size": 1}]}
        far.ask("create", job=ID, files=far.upload({"job.json": json.dumps(job).encode(), "model/a/linear.bin": b"m"}))
        with open(self.path("jobs", ID, "work", "job.json")) as file:
            item = json.load(file)["model_files"][0]
        self.assertEqual((item["path"], item["offset"]), (self.path("jobs", ID, "work", "model", "a", "linear.bin"), 0))
        job["model_files"][0]["name"] = "../../x"
        self.refused(far.try_ask("create", job=OTHER, files=far.upload({"job.json": json.dumps(job).encode()})), 3)

    def pruned(self, far, older_seconds):
        return [(row["kind"], row["name"]) for row in far.ask("prune", older_seconds=older_seconds)["removed"]]

    def looked(self, days):
        """Sets the time of the last search for old files to `days` from now."""
        when = time.time() + days * 86400
        os.utime(self.path("pruned"), (when, when))

    def test_what_was_unused_for_long_is_removed(self):
        far = self.far()
        far.upload({"a": b"old"})
        old = self.path("blobs", sha(b"old")[:2], sha(b"old"))
        os.utime(old, (1, 1))
        far.upload({"b": b"new"})
        self.looked(-2)
        with FarEnd(self.home):
            pass
        self.assertFalse(os.path.exists(old))
        self.assertTrue(os.path.exists(self.path("blobs", sha(b"new")[:2], sha(b"new"))))

    def test_what_is_dated_from_the_future_goes_too(self):
        """A clock that was years ahead and was corrected must not keep files for years, or prevent the search for old files."""
        far = self.far()
        far.upload({"a": b"old", "b": b"ahead"})
        old, ahead = (self.path("blobs", sha(data)[:2], sha(data)) for data in (b"old", b"ahead"))
        later = time.time() + 5 * 31536000
        os.utime(old, (1, 1))
        os.utime(ahead, (later, later))
        # The box was unused for years, or its clock was corrected: results that a client still expects are not removed at once.
        for days in (5 * 365, -5 * 365):
            self.looked(days)
            with FarEnd(self.home):
                pass
            self.assertTrue(os.path.exists(old) and os.path.exists(ahead))
            self.assertLess(abs(os.stat(self.path("pruned")).st_mtime - time.time()), 86400)
        self.looked(-2)
        with FarEnd(self.home):
            pass
        self.assertFalse(os.path.exists(old))
        self.assertFalse(os.path.exists(ahead))
        far.make(ID, {"a": b"one"}, script("print(1)"))
        far.follow(ID)
        os.utime(self.path("jobs", ID), (later, later))
        self.assertIn(("job", ID), self.pruned(far, 0))

    def test_what_was_just_sent_stays_whatever_the_clock_of_the_disk_says(self):
        """A file server's clock differs from this machine's: files are removed to free space, but not those that this connection sent for
        its job."""
        far = self.far()
        files = far.upload({"a": b"just sent"})
        os.utime(self.path("blobs", files[0]["sha256"][:2], files[0]["sha256"]), (1, 1))
        self.refused(far.try_ask("have", blobs=[{"sha256": "0" * 64, "size": 1 << 50}]), 8)
        far.ask("create", job=ID, files=files)

    def test_environments(self):
        """An environment is complete if it has its stamp and a working Python; it is kept while it is being made or used by a job, and
        removed with its lock."""
        far = self.far()
        self.assertEqual(far.ask("runtime", runtime=ID)["whole"], False)
        for name in (ID, OTHER):
            os.makedirs(self.path("runtimes", name, "venv", "bin"))
            os.symlink(PYTHON, self.path("runtimes", name, "venv", "bin", "python"))
        self.assertEqual(far.ask("runtime", runtime=ID)["whole"], False)
        with open(self.path("runtimes", ID, "runtime.json"), "w") as file:
            json.dump({"python": "3.11.2", "packages": {"torch": "2.13.0"}}, file)
        os.utime(self.path("runtimes", ID), (1, 1))
        python = self.path("runtimes", ID, "venv", "bin", "python")
        self.assertEqual(far.ask("runtime", runtime=ID)["python"], {"path": python, "version": "3.11.2", "packages": {"torch": "2.13.0"}})
        self.assertNotIn(("files", ID), self.pruned(far, 3600))
        self.assertTrue(os.path.exists(python))  # a query counts as use
        far.make(ID, {}, script("import sys; print(sys.argv[1], flush=True); import signal; signal.pause()") + [{"runtime": ID}])
        wait_until(lambda: far.ask("status", job=ID)["events"] > 0)
        far.ask("prune", older_seconds=0)
        self.assertTrue(os.path.exists(python))
        far.ask("cancel", job=ID)
        self.assertEqual(far.follow(ID)[1].decode().strip(), self.path("runtimes", ID))
        with open(self.path("locks", "runtime-" + OTHER), "w") as maker:
            fcntl.flock(maker, fcntl.LOCK_EX)
            far.ask("prune", older_seconds=0)
            self.assertEqual(os.listdir(self.path("runtimes")), [OTHER])
        far.ask("prune", older_seconds=0)
        self.assertEqual((os.listdir(self.path("runtimes")), os.listdir(self.path("locks"))), ([], []))

    def test_room_in_addition_to_the_files(self):
        far = self.far()
        self.refused(far.try_ask("create", job=ID, files=[], room=1 << 50), 8, "MB are needed")

    def test_housekeeping(self):
        far = self.far()
        far.make(ID, {"a": b"one"}, script("print(1)"))
        far.follow(ID)
        far.make(OTHER, {"a": b"two"}, script("import signal;signal.pause()"))
        self.assertEqual([(j["job"], j["state"]) for j in far.ask("jobs")["jobs"]], [(ID, "done"), (OTHER, "running")])
        self.assertEqual(self.pruned(far, 3600), [])
        self.assertEqual(self.pruned(far, 0), [("job", ID), ("files", "blobs")])
        self.assertEqual([j["job"] for j in far.ask("jobs")["jobs"]], [OTHER])
        self.refused(far.try_ask("drop", job=OTHER), 9, "is still running")
        far.ask("cancel", job=OTHER)
        far.ask("prune", older_seconds=0)
        for name in ("jobs", "trees", "parts", "locks"):
            self.assertEqual(os.listdir(self.path(name)), [], name)

    def test_holdings(self):
        """Lists jobs with their state, trees, environments, and all contents as one; ages are since the last use, whatever the clocks
        say."""
        far = self.far()
        self.assertEqual(far.ask("holdings")["holdings"], [])
        far.ask("create", job=ID, files=far.upload({"a": b"one"}), about="tickets, linear")
        far.ask("start", job=ID, command=script("print(1)"))
        far.follow(ID)
        far.make(OTHER, {}, script("import signal;signal.pause()"))
        far.ask("tree", tree=TREE, files=far.upload({"p": b"program"}))
        os.mkdir(self.path("runtimes", "abc"))
        os.utime(self.path("trees", TREE), (time.time() + 7200,) * 2)
        rows = {(row["kind"], row["name"]): row for row in far.ask("holdings")["holdings"]}
        self.assertEqual(sorted(rows), [("files", "abc"), ("files", "blobs"), ("files", TREE), ("job", ID), ("job", OTHER)])
        self.assertEqual({name: row["in_use"] for name, row in rows.items()},
                         {("files", "abc"): True, ("files", "blobs"): False, ("files", TREE): True, ("job", ID): False, ("job", OTHER): True})
        self.assertEqual(rows["job", ID]["note"], "done; tickets, linear")
        self.assertEqual(rows["job", OTHER]["note"], "running")
        self.assertEqual(rows["files", "abc"]["note"], "a Python environment")
        self.assertEqual(rows["files", "blobs"]["note"], "2 contents that need not be sent again")
        self.assertLess(rows["job", ID]["age"], 600)
        self.assertTrue(7000 < rows["files", TREE]["age"] < 7300)
        self.assertGreaterEqual(rows["job", ID]["bytes"], 4096)
        far.ask("cancel", job=OTHER)

    def test_what_another_connection_just_sent_stays(self):
        far = self.far()
        sent = far.upload({"a": b"for a job that is made in a moment"})
        blob = self.path("blobs", sent[0]["sha256"][:2], sent[0]["sha256"])
        with FarEnd(self.home) as other:
            answer = other.ask("prune", older_seconds=0)
            self.assertEqual((answer["removed"], answer["older"]), ([], 3600))
            far.ask("create", job=ID, files=sent)
            os.utime(blob, (time.time() - 3700,) * 2)
            self.assertEqual(self.pruned(other, 0), [("files", "blobs")])
        self.assertFalse(os.path.exists(blob))
        self.assertEqual(far.ask("prune", older_seconds=0)["older"], 0)  # this is the only connection now


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
