#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A backend that rents from a provider that is a directory; kolm is killed at every transition and at random instants. After one
more command, the directory is empty or each machine in it is listed.

KOLM_RENTING_INSTANTS=N tries N random instants instead of a few."""
import json
import os
import random
import re
import shutil
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import harness  # noqa: E402  pylint: disable=wrong-import-position

INSTANTS = int(os.environ.get("KOLM_RENTING_INSTANTS", "12"))
PATIENCE = 60
ROOT, NOBODY = os.geteuid() == 0, 65534
RENTERS = os.path.join(harness.BUILD, "tests", "lease")
# In the order of a job that succeeds.
POINTS = ["before-intent", "after-intent", "before-create", "after-create", "before-handle", "after-handle", "armed", "before-work",
          "after-work", "before-destroy", "after-destroy", "before-gone", "after-gone"]


def setUpModule():
    harness.set_up_tree()


def children_of(pid):
    """Returns the current descendants of pid, and pid itself as the last."""
    below = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % entry, encoding="utf-8", errors="replace") as stat:
                parent = int(stat.read().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        below.setdefault(parent, []).append(int(entry))
    found, at = [pid], 0
    while at < len(found):
        found += below.get(found[at], [])
        at += 1
    return found[::-1]


class Rented(harness.Case):
    backends = ()

    def setUp(self):
        super().setUp()
        self.provider = os.path.join(self.dir, "provider")
        self.machines = os.path.join(self.provider, "machines")
        os.makedirs(self.machines)
        self.add_renter()
        self.write_home("config.json", json.dumps({"backends": {"renter": {"ledger": self.provider}}}))
        self.kolm("backend", "grant", "renter")
        self.write_tickets(rows=60)

    def add_renter(self, **changes):
        fields = {"kind": "cloud-marketplace", "airgap": "no", "billing": "per-hour", "cost_per_hour_usd": 3.6,
                  "settings": [{"key": "ledger", "type": "path", "summary": "Where the provider is."}],
                  "files": {"write": [self.provider]}, "recipes": ["linear"], "summary": "Rents for tests."}
        fields.update(changes)
        shutil.copy(os.path.join(RENTERS, "renter.so"), os.path.join(self.plugins, "renter.so"))
        os.chmod(os.path.join(self.plugins, "renter.so"), 0o755)
        self.write(os.path.join(self.plugins, "renter.json"), json.dumps(harness.manifest("renter", **fields)), 0o644)

    # ---- The provider

    def control(self, name, text):
        path = os.path.join(self.provider, name)
        if text is None:
            if os.path.exists(path):
                os.remove(path)
        else:
            self.write(path + ".new", text)
            os.rename(path + ".new", path)

    def running(self):
        return sorted(os.listdir(self.machines))

    def points(self):
        try:
            with open(os.path.join(self.provider, "points"), encoding="utf-8") as lines:
                return lines.read().split()
        except FileNotFoundError:
            return []

    # ---- kolm

    def rent(self, *words, **more):
        return self.compile("--backend", "renter", "--gate", "0", "--min-accuracy", "0", "--allow-baseline", *words, **more)

    def start_rent(self):
        return self.start("compile", "-t", "router", "-d", "tickets.jsonl", "--backend", "renter", "--gate", "0", "--min-accuracy", "0",
                          "--allow-baseline", "--force")

    def status(self):
        return self.json("compute", "status", schema="kolm.compute.status/1")

    def journals(self):
        path = os.path.join(self.home, "leases")
        return os.listdir(path) if os.path.isdir(path) else []

    def wait_for(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.005)  # between two checks of a condition

    @staticmethod
    def signal(pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def kill(self, process, everything):
        """Kills kolm, or everything it started at once, as in a power failure, so that no process sees another one die."""
        if everything:
            self.signal(process.pid, signal.SIGSTOP)
            for pid in children_of(process.pid)[:-1]:
                self.signal(pid, signal.SIGKILL)
        self.signal(process.pid, signal.SIGKILL)
        process.communicate()

    def check_nothing_hidden(self, where):
        """After one more command, everything that still runs is listed; soon nothing runs."""
        value = self.status()
        listed = {lease["name"] for lease in value["leases"]}
        self.assertLessEqual(set(self.running()), listed, where)
        self.wait_for(lambda: not self.status()["leases"] and not self.journals(), where)
        self.assertEqual(self.running(), [], where)


class Renting(Rented):
    def test_a_job_that_goes_well(self):
        self.rent()
        self.assertEqual(list(dict.fromkeys(self.points())), POINTS)
        self.assertEqual((self.running(), self.journals()), ([], []))
        value = self.status()
        self.assertEqual(value["leases"], [])
        (day,) = value["days"]
        self.assertEqual((day["backend"], day["jobs"], day["leases"], day["unknown_billed"]), ("renter", 1, 1, 0))
        # Receipt and journal agree.
        self.assertEqual(day["cost_usd"], day["billed_usd"])
        self.assertEqual(value["totals"]["cost_usd"], day["billed_usd"])
        text = self.kolm("compute", "status").out
        self.assertIn("leases:   none\n", text)
        self.assertRegex(text, r"renter +1 compiles +\$[0-9.]+ +1 rented +\$[0-9.]+\n")
        self.assertEqual(self.json("compute", "reap", schema="kolm.compute.reap/1"), {"schema": "kolm.compute.reap/1", "leases": [], "open": 0})

    def test_killed_at_every_transition(self):
        for everything in (True, False):
            for name in POINTS:
                with self.subTest(name, everything=everything):
                    self.control("points", None)
                    self.control("stop", name)
                    process = self.start_rent()
                    self.wait_for(lambda: name in self.points(), "%s is not reached" % name)
                    self.kill(process, everything)
                    self.control("stop", None)
                    self.check_nothing_hidden((name, everything))

    def test_backend_dies_at_every_transition(self):
        for name in POINTS:
            with self.subTest(name):
                self.control("die", name)
                done = self.rent("--force", code=5)
                self.control("die", None)
                self.assertIn("crashed", done.err)
                # The command that rented it has ended it, and reports that.
                if name not in ("before-intent", "after-gone"):
                    self.assertIn("ended what an earlier call had rented and left: renter renter-", done.err)
                self.assertEqual((self.running(), self.journals()), ([], []))

    def test_killed_at_random_instants(self):
        draw = random.Random(7)
        begun = time.monotonic()
        self.control("slow", "")
        self.rent()
        whole = time.monotonic() - begun
        for number in range(INSTANTS):
            process = self.start_rent()
            try:
                process.wait(draw.uniform(0, whole))
            except harness.subprocess.TimeoutExpired:
                pass
            self.kill(process, number % 2 == 0)
            self.check_nothing_hidden(number)

    def test_no_answer_to_a_create(self):
        self.control("how", "no-answer")
        self.rent()
        self.assertEqual((self.running(), self.journals()), ([], []))

    def test_interrupted(self):
        self.control("stop", "before-work")
        process = self.start_rent()
        self.wait_for(lambda: "before-work" in self.points(), "it works")
        process.send_signal(signal.SIGINT)
        out = process.communicate(timeout=PATIENCE)[0].decode()
        self.assertEqual(process.returncode, 130)
        self.assertRegex(out, r"(?m)^\[rented\]      1 from renter, the last a small one; \$0\.0[0-9]* in all; nothing of it is left$")
        self.assertEqual((self.running(), self.journals()), ([], []))
        self.assertEqual(self.status()["days"][0]["leases"], 1)

    def leave_one(self):
        """Leaves a running machine, and no process of kolm."""
        self.control("stop", "before-work")
        process = self.start_rent()
        self.wait_for(lambda: "before-work" in self.points(), "it works")
        self.kill(process, True)
        self.control("stop", None)
        (name,) = self.running()
        # it takes a moment until the killed processes have released the journal
        self.wait_for(lambda: self.json("compute", "reap")["open"] == 1, "it has no owner")
        return name

    def test_reap(self):
        name = self.leave_one()
        value = self.json("compute", "reap", schema="kolm.compute.reap/1")
        (lease,) = value["leases"]
        self.assertEqual((lease["name"], lease["handle"], lease["state"], lease["backend"], lease["place"], lease["cost_per_hour_usd"], value["open"]),
                         (name, "h:" + name, "open", "renter", "the directory", 3.6, 1))
        self.assertEqual(self.running(), [name])  # it did not end anything
        self.assertIn("--yes` ends open leases", self.kolm("compute", "reap").out)
        (lease,) = self.json("compute", "reap", "--yes")["leases"]
        self.assertEqual((lease["name"], lease["state"]), (name, "ended"))
        self.assertEqual((self.running(), self.journals()), ([], []))
        self.assertIn("nothing is rented", self.kolm("compute", "reap").out)

    def test_reap_two_of_one_backend(self):
        """They are reclaimed at the same time, and do not interfere."""
        self.control("stop", "before-work")
        processes = []
        for number in (1, 2):
            processes.append(self.start_rent())
            self.wait_for(lambda n=number: self.points().count("before-work") == n, "it works")
        for process in processes:
            self.kill(process, True)
        self.control("stop", None)
        names = self.running()
        self.assertEqual(len(names), 2)
        self.wait_for(lambda: self.json("compute", "reap")["open"] == 2, "they have no owner")
        leases = self.json("compute", "reap", "--yes")["leases"]
        self.assertEqual(sorted((lease["name"], lease["state"]) for lease in leases), [(name, "ended") for name in names])
        self.assertEqual((self.running(), self.journals()), ([], []))

    def test_a_verb_says_what_it_ended(self):
        for words in (["pick"], ["detect"], ["quote", "--rows", "100"], ["status"]):
            name = self.leave_one()
            self.control("points", None)
            done = self.kolm("compute", *words, code=None)
            self.assertEqual(done.err.count("ended what an earlier call had rented and left: renter %s (h:%s)" % (name, name)), 1, done.err)
            self.assertEqual(self.running(), [])
            self.assertNotIn("rented", self.kolm("compute", *words, code=None).err)

    def test_provider_is_away(self):
        name = self.leave_one()
        self.control("reclaim", "fails")
        done = self.kolm("compute", "pick", code=None)
        self.assertIn("1 lease that may still be billed: renter %s (h:%s): the provider is away; wait" % (name, name), done.err)
        done = self.kolm("compute", "reap", "--yes", code=5)
        self.assertIn("the provider is away", done.out)
        self.control("reclaim", "hangs")
        self.assertIn("renter did not respond within 8000 ms in reclaim", self.kolm("compute", "pick", code=None).err)
        self.assertEqual(self.status()["leases"][0]["name"], name)
        self.control("reclaim", None)
        self.kolm("compute", "reap", "--yes")
        self.assertEqual(self.running(), [])

    def test_not_under_an_airgap(self):
        name = self.leave_one()
        self.control("points", None)
        done = self.kolm("compute", "pick", "--airgap=advisory", code=None)
        self.assertIn("1 lease that may still be billed: renter %s (h:%s): --airgap excludes its backend" % (name, name), done.err)
        self.assertEqual((self.running(), self.points()), ([name], []))
        for words, code in ((["status", "--remote"], 5), (["status", "renter"], 5), (["reap", "--yes"], 5), (["reap"], 0)):
            done = self.without_sockets("compute", *words, "--airgap", code=code)
            self.assertIn(name, done.out + done.err, words)
            if words != ["reap"]:
                self.assertIn("--airgap excludes its backend", done.out + done.err, words)
            if words[0] == "status":
                self.assertIn("--airgap loads no backend that needs the network", done.out + done.err, words)
        self.assertEqual((self.running(), self.points()), ([name], []))

    def without_sockets(self, *words, code):
        """Runs kolm; if it can be traced, neither kolm nor its children may create an internet socket."""
        tracer, log = shutil.which("strace"), os.path.join(self.dir, "strace")
        if not tracer or harness.SANITIZED:  # sanitized programs cannot be traced well
            return self.kolm(*words, code=code)
        done = harness.subprocess.run([tracer, "-f", "-o", log, "-e", "trace=socket,connect", harness.TREE.kolm, *words], env=self.full_env(None), cwd=self.work,
                                      stdin=harness.subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        done.out, done.err = done.stdout.decode(), done.stderr.decode()
        if "ptrace" in done.err:  # not permitted here
            return self.kolm(*words, code=code)
        self.assertEqual(done.returncode, code, (words, done.out, done.err))
        with open(log, encoding="utf-8", errors="replace") as file:
            self.assertEqual([line for line in file if "AF_INET" in line], [])
        return done

    def test_backend_is_not_there_any_more(self):
        name = self.leave_one()
        os.remove(os.path.join(self.plugins, "renter.so"))
        os.remove(os.path.join(self.plugins, "renter.json"))
        done = self.kolm("compute", "status")
        self.assertIn("its backend is no longer installed; install renter again; or end it at the provider, and then "
                      "`kolm compute reap --forget %s`" % name, done.err)
        self.assertIn(name, done.out)
        self.kolm("compute", "reap", "--yes", code=5)
        self.assert_error(self.kolm("compute", "reap", "--forget", "another", code=2), "no open lease is called another")
        self.kolm("compute", "reap", "--forget", name)
        self.assertEqual(self.journals(), [])
        (day,) = self.status()["days"]
        self.assertEqual((day["leases"], day["unknown_billed"]), (1, 1))

    def test_what_stays_unknown(self):
        """The provider's lists may lag at first; later only the user can check, and each warning says how to end it. The age of the lease counts,
        which a clock that was set forward does not change."""
        self.leave_one()
        self.control("reclaim", "does-not-know")
        self.assertNotIn("--forget", self.kolm("compute", "reap", "--yes", code=5).out)
        (journal,) = self.journals()
        path = os.path.join(self.home, "leases", journal)
        self.change(path, lambda text: re.sub('"at":"([0-9]+)"', lambda at: '"at":"%d"' % (int(at.group(1)) - 3600000), text))
        self.assertNotIn("--forget", self.kolm("compute", "reap", "--yes", code=5).out)
        (name,) = self.running()
        self.change(path, lambda text: "".join(text.splitlines(True)[:1] + [line.replace(name, "%s-%d" % (name, i)) for line in text.splitlines(True)[1:] for i in (1, 2)]))
        self.change(path, lambda text: re.sub('"up":"[0-9]+"', '"up":"1"', text))
        said = self.kolm("compute", "reap", "--yes", code=5).out
        with open("/proc/uptime", encoding="utf-8") as file:
            if float(file.read().split()[0]) < 660:  # no lease is older than the uptime of the machine
                self.skipTest("this machine was started just now")
        for one in ("%s-1" % name, "%s-2" % name):
            self.assertIn("check with renter whether it exists, end it, and then run `kolm compute reap --forget %s`" % one, said)

    @staticmethod
    def change(path, how):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(how(text))

    def test_a_clock_that_was_set_forward(self):
        """A lease that may have created something is not considered gone before the provider's list is up to date; wall time does not
        count."""
        self.control("stop", "after-intent")
        process = self.start_rent()
        self.wait_for(lambda: "after-intent" in self.points(), "it is about to rent")
        self.kill(process, True)
        self.control("stop", None)
        self.control("lists", "late")
        self.wait_for(lambda: self.json("compute", "reap")["open"] == 1, "it has no owner")
        (journal,) = self.journals()
        path = os.path.join(self.home, "leases", journal)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(re.sub('"at":"([0-9]+)"', lambda at: '"at":"%d"' % (int(at.group(1)) - 86400000), text))
        (lease,) = self.json("compute", "reap", "--yes", code=5)["leases"]
        self.assertEqual(lease["state"], "unknown")
        self.control("lists", None)
        (lease,) = self.json("compute", "reap", "--yes")["leases"]
        self.assertEqual((lease["state"], self.journals()), ("ended", []))

    def test_a_journal_that_cannot_be_opened(self):
        """The error is reported, and not as a lock of another kolm."""
        self.leave_one()
        (journal,) = self.journals()
        path = os.path.join(self.home, "leases", journal)
        os.rename(path, path + ".away")
        os.symlink(path + ".away", path)
        done = self.kolm("compute", "reap", "--yes", code=5)
        self.assertIn("cannot open the journal " + path, done.out)
        self.assertNotIn("another kolm", done.out)
        os.rename(path + ".away", path)
        self.kolm("compute", "reap", "--yes")
        self.assertEqual((self.running(), self.journals()), ([], []))

    def give_away(self):
        """Gives the files to a user who may read the home but not write it, because root may write everywhere."""
        places = [self.provider, self.home]
        for path in [os.path.join(at, name) for place in places for at, below, files in os.walk(place) for name in below + files] + places:
            if ROOT:
                os.chown(path, NOBODY, NOBODY)
            if path.startswith(self.home):
                os.chmod(path, 0o500 if os.path.isdir(path) else 0o400)
        os.chmod(self.dir, 0o755)
        self.addCleanup(lambda: [os.chmod(at, 0o700) for at, _, _ in os.walk(self.home)])
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if ROOT else {}

    def test_a_home_that_may_only_be_read(self):
        """Everything possible is ended, and one sentence reports that this cannot be recorded."""
        name = self.leave_one()
        who = self.give_away()
        done = self.kolm("compute", "reap", "--yes", **who)
        self.assertEqual(self.running(), [], done.out)
        self.assertRegex(done.out, name + ".* ended ")
        sentence = "it is gone, but this cannot be recorded, so it is checked again: cannot write the journal "
        self.assertEqual((done.out + done.err).count(sentence), 1, done.out + done.err)
        done = self.kolm("compute", "pick", code=None, **who)
        self.assertIn("ended what an earlier call had rented and left: renter %s (h:%s) (%s" % (name, name, sentence), done.err)
        self.assertEqual(len(self.journals()), 1)

    def test_a_past_that_cannot_be_written(self):
        """The training does not fail because of it; the next start tries again."""
        ledger = os.path.join(self.home, "leases.jsonl")
        os.mkdir(ledger)
        done = self.rent()
        self.assertIn("the journal of what was rented cannot be written, and the next start of kolm tries again: cannot open " + ledger, done.err)
        self.assertEqual((self.running(), len(self.journals())), ([], 1))
        (model,) = [name for name in os.listdir(self.work) if name.endswith(".kolm")]
        self.kolm("verify", model)
        done = self.kolm("compute", "pick")
        self.assertIn("stays listed in leases until this is resolved: cannot open " + ledger, done.err)
        os.rmdir(ledger)
        self.kolm("compute", "pick")
        self.assertEqual(self.journals(), [])
        (day,) = self.status()["days"]
        self.assertEqual((day["leases"], day["unknown_billed"], day["cost_usd"] == day["billed_usd"]), (1, 0, True))

    def test_a_damaged_line_is_shown(self):
        name = self.leave_one()
        (journal,) = self.journals()
        with open(os.path.join(self.home, "leases", journal), "a", encoding="utf-8") as lines:
            lines.write("rubbish\n")
        done = self.kolm("compute", "status")
        self.assertIn("ended what an earlier call had rented and left: renter " + name, done.err)
        self.assertIn("(a line that is damaged)", done.out)
        self.assertIn("`kolm compute reap --forget renter-", self.kolm("compute", "reap").out)
        self.assertEqual(self.running(), [])
        (lease,) = self.status()["leases"]
        self.assertEqual((lease["state"], lease["name"]), ("damaged", None))
        self.kolm("compute", "reap", "--forget", "%s:%d" % (lease["journal"], lease["line"]))
        self.assertEqual((self.status()["leases"], self.journals()), ([], []))

    def test_two_at_once(self):
        """A lease of one process is in use for the other, which leaves it alone."""
        self.control("stop", "before-work")
        process = self.start_rent()
        self.wait_for(lambda: "before-work" in self.points(), "it works")
        (name,) = self.running()
        done = self.kolm("compute", "reap", "--yes")
        self.assertIn("in use", done.out)
        self.assertEqual(self.status()["leases"][0]["state"], "in use")
        self.assert_error(self.kolm("compute", "reap", "--forget", name, code=2), "is still running")
        self.assertEqual(self.running(), [name])
        self.control("stop", None)
        process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, self.running(), self.journals()), (0, [], []))

    def test_reapers_at_once(self):
        """Each lease is ended by exactly one of them."""
        name = self.leave_one()
        errors = [process.communicate(timeout=PATIENCE)[1].decode() for process in [self.start("compute", "pick") for _ in range(4)]]
        self.assertEqual(sum(e.count("ended what an earlier call had rented and left: renter " + name) for e in errors), 1, errors)
        self.assertEqual((self.running(), self.journals()), ([], []))

    def test_breaches(self):
        self.control("how", "handle-first")
        done = self.rent(code=5)
        self.assertIn("renter-1 has no intent recorded", done.err)
        self.assertIn("record the INTENT before anything is created", done.err)
        self.control("how", "leaves")
        done = self.rent("--force")
        self.assertIn("with 1 lease that is not gone: renter-", done.err)
        self.assertIn("ended what an earlier call had rented and left: renter renter-", done.err)
        self.assertEqual((self.running(), self.journals()), ([], []))
        self.control("how", "create-fails")
        self.assertIn("no credit", self.rent("--force", code=5).err)
        self.assertEqual((self.running(), self.journals()), ([], []))

    def test_budget_of_the_environment(self):
        env = {"KOLM_COMPUTE_BUDGET_USD": "0"}
        self.assertIn("KOLM_COMPUTE_BUDGET_USD is 0, which allows no cost, and renter may have one", self.rent(code=5, env=env).err)
        self.assertIn("'much', which is not an amount", self.rent(code=2, env={"KOLM_COMPUTE_BUDGET_USD": "much"}).err)
        self.assertEqual(self.points(), [])
        self.rent("--budget", "100", env={"KOLM_COMPUTE_BUDGET_USD": "2"})

    def test_a_budget_is_one_for_training_and_answers(self):
        self.control("bill", "dear")
        self.rent("--budget", "2")
        self.rent("--force")
        done = self.rent("--force", "--budget", "100", code=5, env={"KOLM_COMPUTE_BUDGET_USD": "1.5"})
        self.assertIn("the training cost $1.50, which leaves nothing of the budget of $1.50 for the answers", done.err)
        with open(os.path.join(self.provider, "budgets"), encoding="utf-8") as lines:
            self.assertEqual(lines.read().split("\n"), ["train 2000000", "infer 500000", "train none", "infer none", "train 1500000", ""])


class Conformance(Rented):
    """The result of `kolm backend check` for a backend that rents."""

    def check(self, code, *words):
        env = {"RENTER_DIRECTORY": self.provider}
        done = self.kolm("backend", "check", os.path.join(self.plugins, "renter.so"), "--network", "--only", "lease", "--json", *words, code=code, env=env)
        return {c["name"]: (c["outcome"], c["reason"]) for c in json.loads(done.out)["checks"] if c["name"].startswith("lease")}

    def setUp(self):
        super().setUp()
        self.add_renter(requires=[{"env": "RENTER_DIRECTORY"}])

    def test_good(self):
        found = self.check(0)
        self.assertEqual({name: outcome for name, (outcome, _) in found.items()},
                         {"lease.refused": "pass", "lease.killed": "pass", "lease.unknown": "pass", "lease.ends": "pass"}, found)
        self.assertRegex(found["lease.ends"][1], "[0-9]+ were rented, and are gone")
        self.assertEqual(self.running(), [])

    def failing(self, where, what, name, *pieces):
        self.control(where, what)
        found = self.check(5)
        self.assertEqual(found[name][0], "fail", found)
        for piece in pieces:
            self.assertIn(piece, found[name][1])
        self.control(where, None)
        for machine in self.running():
            os.remove(os.path.join(self.machines, machine))

    def test_bad(self):
        self.failing("how", "leaves", "lease.ends", "was not gone when it returned: end what it rents, and record GONE")
        self.failing("reclaim", "fails", "lease.killed", "killed between intent and handle: train: renter-", "the provider is away")
        self.assertEqual(self.json("compute", "reap")["open"], 1)  # it stays recorded
        self.failing("reclaim", "lies", "lease.killed", "reclaim reports that renter-", "is gone, but status lists it")
        self.failing("reclaim", "by-handle", "lease.killed", "reclaim reports that renter-", "is gone, but status lists it")
        self.failing("reclaim", "once", "lease.killed", "was gone, but a second reclaim does not report that")
        self.failing("reclaim", "once", "lease.unknown", "is not GONE")

    def test_settings_of_the_command_line(self):
        path = os.path.join(self.plugins, "renter.so")
        self.add_renter()
        done = self.kolm("backend", "check", path, "--network", "--only", "lease.refused", "--set", "ledger=" + self.provider)
        self.assertIn("pass", done.out)
        self.assertNotIn("is not set", done.out)
        for words, said in (("ledgr=x", "renter has no setting ledgr"), ("ledger", "is not a setting"), ("=x", "is not a setting")):
            self.assertIn(said, self.kolm("backend", "check", path, "--set", words, code=2).err)

    def test_handle_first(self):
        self.control("how", "handle-first")
        env = {"RENTER_DIRECTORY": self.provider}
        done = self.kolm("backend", "check", os.path.join(self.plugins, "renter.so"), "--network", "--only", "contract.records", env=env, code=5)
        self.assertIn("a lease was recorded with a handle, and without an intent", done.out)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
