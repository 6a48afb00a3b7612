# SPDX-License-Identifier: Apache-2.0
"""What holds for every provider that takes jobs, whatever fails in any step."""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "remote"))
import canary  # noqa: E402
from case import NOWHERE  # noqa: E402
from box import kill_all  # noqa: E402


class Jobs:
    """A mixin for CloudCase. make() returns the provider and the settings; look: the pattern of a status request for the job; faults:
    (step, kind, succeeds, may be left)."""
    look = None
    first = working = None  # the words for a waiting and a working job
    faults = ()
    named = False  # whether jobs can be found by name

    def setUp(self):
        provider, settings = self.make()
        self.settings = {"settle_seconds": 0.2, **settings}
        self.set_up(provider, **self.settings)

    def give_up_soon(self, **more):
        """Makes kolm give up after two seconds instead of half an hour: only where the provider never does what it should, because on a
        loaded machine two seconds pass while all is well."""
        self.configure(**{**self.settings, "patience_seconds": 2, **more})

    def compile_out_of_time(self, *pieces):
        """Compiles with so little time that it is over while the job runs, and kolm gives up soon. On a loaded machine it may be over before
        the job is submitted: then there is more."""
        hours = 0.0003
        while True:
            self.give_up_soon(max_hours=hours)
            self.assert_sentence(self.compile(), *pieces)
            if self.provider.submits:
                break
            self.assertLess(hours, 0.1, self.provider.taken)
            hours *= 2

    def again(self):
        """Starts over with a new provider, home and working directory."""
        self.doCleanups()
        self.setUp()

    def compile_well(self, adapter):
        done = self.compile("-v")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("%s: submitted as " % self.name, done.stdout)
        self.assertNotIn("%s: %s: " % (self.name, self.name), done.stdout)
        self.assert_nothing_left()
        self.assertEqual(self.provider.submits, 1)
        with zipfile.ZipFile(os.path.join(self.work, "router-1.0.0.kolm")) as artifact:
            hosted = json.loads(artifact.read("model/hosted.json"))
            manifest = json.loads(artifact.read("manifest.json"))
            self.assertEqual(hosted["adapter"]["bytes"], len(artifact.read(adapter)))
        self.assertEqual(manifest["report"]["weights_elsewhere_bytes"], 16_000_000_000)
        self.assertEqual(manifest["model_format"] if "model_format" in manifest else manifest["toolchain"].split()[0], "kolm-hosted")
        done = self.run_kolm("run", "router-1.0.0.kolm", "refund refunds about refund", "--backend", self.name)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("refund", done.stdout)
        self.assertEqual(self.provider.running(), [])
        self.assert_no_canary()
        return hosted, manifest, done

    def check_tokens(self, name, about):
        def reason(**env):
            found = self.json("compute", "detect", "--refresh", env=env)
            return next(one["detection"] for one in found["backends"] if one["name"] == name)
        self.assertIn(about, reason()["reason"])
        self.assertEqual(reason()["state"], "available")
        wrong = reason(**{self.variable: "wrong-token-0123456789"})
        self.assertEqual(wrong["state"], "broken")
        self.assertIn("does not accept the token in %s" % self.variable, wrong["reason"])
        self.assertIn("expired", wrong["remedy"])
        self.assertNotIn("wrong-token-0123456789", json.dumps(wrong))
        self.assertIn("cannot be a token", reason(**{self.variable: "x"})["reason"])
        self.provider.scopes.clear()
        scoped = reason()
        self.assertEqual(scoped["state"], "broken")
        self.assertIn("authorize it for this (403)", scoped["reason"])
        self.provider.close()
        away = reason()
        self.assertEqual(away["state"], "available")
        self.assertIn("could not be checked", away["reason"])

    def compile_with(self, *faults):
        self.again()
        for step, kind in faults:
            self.provider.fault(step, kind)
        done = self.compile()
        self.assertLessEqual(self.provider.submits, 1)
        self.assertEqual(self.provider.strangers, [])
        for fault in self.provider.faults:
            self.assertGreater(fault.seen, 0, "no request was %s: %s" % (fault.where.pattern, done.stdout))
        return done

    def try_faults(self, step):
        for kind, may_be_left in [row[1:] for row in self.drawn_faults() if row[0] == step]:
            with self.subTest(step=step, kind=kind):
                done = self.compile_with((step, kind))
                self.assert_sentence(done)
                if may_be_left and self.provider.running():
                    self.assertIn("it is not submitted again", done.stdout)
                    self.assertIn("its cost is unknown", done.stdout)
                    self.assertIn("job", self.open_leases())
                    self.assertEqual(self.provider.stored(), [])
                else:
                    self.assert_nothing_left()

    def drawn_faults(self):
        """Returns (step, kind, may be left) of faults that are fatal: every second one, one of each step, and one of each kind, both of those
        after which nothing is left and of those after which a job may be. With sanitizers one of each kind; the statuses of one hundred
        are one kind."""
        def features_of(row):
            step, kind, may_be_left = row
            if not self.is_sanitized():
                return step, (kind, may_be_left)
            return step, (kind // 100 if isinstance(kind, int) else kind, None)
        return self.drawn([(step, kind, may_be_left) for step, kind, good, may_be_left in self.faults if not good], 2, features_of)

    def test_faults_that_do_not_matter(self):
        """Faults that are not fatal: one in each step at once."""
        by_step = {}
        for step, kind, good, _ in self.faults:
            if good:
                by_step.setdefault(step, []).append((step, kind))
        rounds = [[kinds[number % len(kinds)] for kinds in by_step.values()] for number in range(max(map(len, by_step.values())))]
        for faults in self.drawn(rounds, features_of=lambda faults: [kind for _, kind in faults]):
            with self.subTest(faults=faults):
                done = self.compile_with(*faults)
                self.assertEqual(done.returncode, 0, done.stdout)
                self.assert_nothing_left()

    def __init_subclass__(cls):
        """Adds a test for each step in which a fault is fatal, so that it can be run alone."""
        for number, step in enumerate(dict.fromkeys(row[0] for row in cls.faults if not row[2]), 1):
            setattr(cls, "test_faults_%d" % number, lambda self, step=step: self.try_faults(step))

    def test_a_job_that_never_starts(self):
        self.provider.stuck = self.first
        self.compile_out_of_time("the time of ", " s has run out")
        self.assert_nothing_left()

    def test_the_tokens_are_nowhere(self):
        """The tokens of all providers are set."""
        tokens = canary.tokens()
        self.provider.token = tokens[self.variable]
        self.env.update(tokens)
        process = self.start_compile("--force", "-vv")
        seen = canary.seen_while(process, self.kolm, tokens.values(), self.provider.server.over)
        said = process.communicate()[0]
        self.assertEqual((process.returncode, seen), (0, []), said)
        for token in tokens.values():
            self.assertNotIn(token, said)
            self.assertFalse(any(token in line for line in self.provider.taken))
        self.assertEqual(canary.files_with(self.dir, tokens.values()), [])

    def test_an_unknown_word_is_not_final(self):
        self.provider.strange = "meditating"
        self.compile_out_of_time()
        self.assertTrue(any(self.provider_cancels()))

    def provider_cancels(self):
        return [line for line in self.provider.taken if line.startswith("POST ") and line.endswith("/cancel")]

    def start_compile(self, *words):
        self.write_rows()
        return subprocess.Popen([self.kolm, "compile", "-t", "router", "-d", "rows.jsonl", "--backend", self.name, "--recipe", "hosted-lora", *words],
                                env=self.env, cwd=self.work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait_for(self, kolm, condition):
        while not condition():
            if kolm.poll() is not None:
                self.fail("it ended before: " + kolm.communicate()[0])
            self.provider.server.over.wait(0.005)

    def test_status(self):
        """Shows what kolm has at the provider while a job runs."""
        self.provider.stuck = self.working
        kolm = self.start_compile()
        self.wait_for(kolm, lambda: len([line for line in self.provider.taken if self.is_look(line)]) > 2)
        done = self.run_kolm("compute", "status", self.name)
        kolm.send_signal(signal.SIGINT)
        kolm.communicate(timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"files +kolm-[0-9a-f]+ ")
        if self.named:
            self.assertRegex(done.stdout, r"job +kolm-[0-9a-f]+ ")
        self.assert_nothing_left()

    def test_airgap(self):
        """No connection is made, whatever tokens are set. (kolm's own check of the fence creates sockets, and must fail to use them.)"""
        tracer = shutil.which("strace")
        log = os.path.join(self.dir, "strace")
        self.write_rows()
        words = [self.kolm, "compile", "-t", "router", "-d", "rows.jsonl", "--backend", self.name, "--recipe", "hosted-lora", "--airgap"]
        done = subprocess.run([*([tracer, "-f", "-o", log, "-e", "trace=connect"] if tracer else []), *words], env=self.env, cwd=self.work, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        if "ptrace" not in done.stdout:
            self.assert_sentence(done)
        self.assertEqual(self.provider.server.connections, 0)
        if tracer and os.path.exists(log):
            with open(log, encoding="utf-8", errors="replace") as file:
                self.assertEqual([line for line in file if "AF_INET" in line and line.rstrip().endswith("= 0")], [])

    def test_interrupted(self):
        """The user stops it while the job runs: it is cancelled until that is confirmed, and the rows are removed."""
        self.provider.stuck = self.working
        kolm = self.start_compile()
        self.wait_for(kolm, lambda: self.provider.running() and len([line for line in self.provider.taken if self.is_look(line)]) > 2)
        kolm.send_signal(signal.SIGINT)
        kolm.communicate(timeout=60)
        self.assert_nothing_left()
        self.assertNotIn('"open"', self.open_leases())

    def is_look(self, line):
        return re.search(self.look, line) is not None

    def test_a_name_that_does_not_resolve_says_nothing(self):
        """Before anything is submitted it is an error; later the recorded jobs stay recorded, and are ended when the name resolves
        again."""
        self.configure(**self.settings, api=NOWHERE)
        self.assert_sentence(self.compile(), "does not resolve")
        self.assertEqual(self.provider.server.connections, 0)
        self.assertEqual(self.json("compute", "status")["leases"], [])  # nothing was sent, so there is nothing to look for
        self.configure(**self.settings)
        self.provider.stuck = self.working
        kolm = self.start_compile()
        self.wait_for(kolm, lambda: len([line for line in self.provider.taken if self.is_look(line)]) > 2)
        kill_all(kolm)
        kolm.communicate()
        running, self.provider.now = self.provider.running(), self.provider.now + 1000  # by now it would be visible
        self.give_up_soon(api=NOWHERE)
        done = self.run_kolm("compute", "reap", "--yes")
        while "in use" in done.stdout:
            self.provider.server.over.wait(0.2)
            done = self.run_kolm("compute", "reap", "--yes")
        self.assertIn("could not be cancelled, or the provider does not report it", done.stdout)
        self.assertEqual((len(self.json("compute", "status")["leases"]), self.provider.running()), (2, running))
        self.configure(**self.settings)
        self.settle()

    def test_another_account_does_not_know_it(self):
        """kolm is killed, and its next start has a token of another account, where "not found" closes no record."""
        self.provider.stuck = self.working
        kolm = self.start_compile()
        self.wait_for(kolm, lambda: len([line for line in self.provider.taken if self.is_look(line)]) > 2)
        kill_all(kolm)
        kolm.communicate()
        for kind in ("jobs", "trainings", "files"):  # the other account has none
            getattr(self.provider, kind, {}).clear()
        self.provider.token = "another-t0ken-5f21d7"
        self.env[self.variable] = self.provider.token
        done = self.run_kolm("compute", "reap", "--yes")
        while "in use" in done.stdout:  # processes that were killed take a moment to release the journal
            self.provider.server.over.wait(0.2)
            done = self.run_kolm("compute", "reap", "--yes")
        self.assertRegex(done.stdout, r"not found in .*, and its record says .*kolm compute reap --forget kolm-")
        self.assertEqual(len(self.json("compute", "status")["leases"]), 2)

    def leave_a_job(self, *words):
        """Kills kolm while its job runs."""
        self.provider.stuck = self.working
        asked = len(self.provider.taken)
        kolm = self.start_compile(*words)
        self.wait_for(kolm, lambda: len([line for line in self.provider.taken[asked:] if self.is_look(line)]) > 2)
        kill_all(kolm)
        kolm.communicate()

    def reap_with_a_new_token(self):
        """Reaps with another token of the same account."""
        self.provider.token = "another-t0ken-5f21d7"
        self.env[self.variable] = self.provider.token
        done = self.run_kolm("compute", "reap", "--yes")
        while "in use" in done.stdout:  # processes that were killed take a moment to release the journal
            self.provider.server.over.wait(0.2)
            done = self.run_kolm("compute", "reap", "--yes")
        self.assertEqual((done.returncode, self.json("compute", "status")["leases"]), (0, []), done.stdout)
        self.assertEqual(self.provider.running(), [])

    def test_what_a_new_token_of_the_same_account_removes_is_gone(self):
        self.leave_a_job()
        self.assertEqual(len(self.provider.stored()), 1)
        self.reap_with_a_new_token()
        self.assertEqual(self.provider.stored(), [])

    def test_killed_anywhere(self):
        """kill -9 at each request, of kolm alone and of all its processes; after one more command nothing is left."""
        self.provider.stuck = self.working
        kolm = self.start_compile()
        self.wait_for(kolm, lambda: len([line for line in self.provider.taken if self.is_look(line)]) > 2)
        kill_all(kolm)
        for at in self.drawn(range(1, len(self.provider.taken) + 1)):
            for kill in (subprocess.Popen.kill, kill_all):
                with self.subTest(request=at, kill=kill.__name__):
                    self.kill_at(at, kill)

    def kill_at(self, at, kill):
        self.again()
        self.provider.stuck = self.working
        kolm = self.start_compile()
        self.wait_for(kolm, lambda: len(self.provider.taken) >= at)
        kill(kolm)
        kolm.communicate()
        self.settle()

    def test_killed_at_random_instants(self):
        """Kills during a job that would succeed. KOLM_TEST_KILLS is the number of kills."""
        draw, begun = random.Random(11), time.monotonic()
        self.assertEqual(self.compile().returncode, 0)
        whole = time.monotonic() - begun
        for number in range(int(os.environ.get("KOLM_TEST_KILLS", "4"))):
            with self.subTest(number):
                self.again()
                kolm = self.start_compile()
                until = time.monotonic() + draw.uniform(0, whole)
                while kolm.poll() is None and time.monotonic() < until:
                    self.provider.server.over.wait(0.002)
                (kill_all if number % 2 else subprocess.Popen.kill)(kolm)
                kolm.communicate()
                self.settle()

    def settle(self):
        """Starts kolm again until nothing is left that it can end."""
        # remaining processes of the call end the job themselves, and until then the lease is in use
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and not self.is_settled():
            self.provider.now += 200  # new jobs are visible by then
            self.run_kolm("compute", "reap")
            self.provider.server.over.wait(0.05)
        self.assertTrue(self.is_settled(), (self.provider.taken, self.json("compute", "status")["leases"]))
        self.assertLessEqual(self.provider.submits, 1)

    def is_settled(self):
        """Tells whether nothing runs and nothing is stored, or it is listed as unknown: no id was received, and jobs cannot be found by
        name."""
        open_leases = self.json("compute", "status")["leases"]
        unknown = [one for one in open_leases if not one["handle"] and not one["name"].endswith("-files")]
        return not self.provider.stored() and (not self.provider.running() or (not self.named and len(unknown) == 1)) and len(open_leases) <= len(unknown)
