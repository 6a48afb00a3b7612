#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The slots of a provider of machines, with real work on real accounts: training, answers, the test, and problems while a machine is
rented."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
for room in ("contract", "remote"):
    sys.path.insert(0, os.path.join(HERE, "..", room))
import box as boxes  # noqa: E402
sys.path.insert(0, HERE)
from providers import PROVIDERS, Fault  # noqa: E402
from runpod_serverless import Serverless  # noqa: E402

os.umask(0o022)
SLOT, ENGINE = (os.path.abspath(word) for word in sys.argv[1:3])
PROVIDER = PROVIDERS[sys.argv[3]]
del sys.argv[1:4]
SANITIZED = b"__asan_init" in open(SLOT, "rb").read()
WHY_NOT = boxes.usable()
OPTIONS = {name: value for name, value in os.environ.items() if name.startswith(("ASAN_", "UBSAN_", "LSAN_"))}
# With sanitizers, which make a start take five times as long: one of each kind.
FEW = ("test_the_model_is_the_one_that_is_made_here", "test_answers", "test_the_test_tries_an_endpoint_that_is_set", "test_stopped_while_it_works",
       "test_a_cut_in_the_middle_is_repaired", "test_streams_that_break_are_taken_up", "test_another_account_does_not_know_it",
       "test_another_workspace_does_not_know_it", "test_what_is_left_and_another_token", "test_detect_with_the_network")


def alive(pid):
    return pid in boxes.processes()


class Said:
    """The output of a slot."""
    def __init__(self, code, text):
        self.code, self.text = code, text
        self.lines = [line.split(" ") for line in text.splitlines()]

    def of(self, word):
        return [" ".join(line[1:]) for line in self.lines if line[0] == word]

    def place(self, name):
        """Returns the place in the record."""
        return next(" ".join(line[4:]) for line in self.lines if line[0] == "intent" and line[1] == name)

    def open(self):
        """Returns {name: handle} of the open records."""
        found = {}
        for line in self.lines:
            if line[0] == "intent":
                found[line[1]] = ""
            elif line[0] == "handle":
                found[line[1]] = line[2]
            elif line[0] == "gone":
                found.pop(line[1], None)
        return found


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Case(unittest.TestCase):
    def setUp(self):
        if SANITIZED and self._testMethodName not in FEW:
            self.skipTest("with sanitizers a few are tried")
        self.dir = tempfile.mkdtemp(prefix="kolm-rent-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.cloud = PROVIDER.make(boot=0.2, port=boxes.free_port())
        self.cloud.tools = os.path.join(self.dir, "tools")
        self.addCleanup(self.cloud.close)
        self.settings = {"api": self.cloud.api(), "poll_seconds": "0.1", **PROVIDER.settings(self.cloud)}
        self.job = os.path.join(self.dir, "job")
        self.write_job(240)

    def write_job(self, rows, effort="quick", labels=2, seed=3):
        draw = random.Random(seed)
        os.makedirs(self.job, exist_ok=True)
        with open(os.path.join(self.job, "train.jsonl"), "w") as file:
            for i in range(rows):
                label = draw.randrange(labels)
                words = " ".join("w%d" % draw.randrange(500) for _ in range(8))
                file.write(json.dumps({"id": str(i), "input": "topic%d %s %s" % (label, words, "x" * (i % 7)), "output": "label %d" % label}) + "\n")
        with open(os.path.join(self.job, "eval.jsonl"), "w") as file:
            for i in range(20):
                file.write(json.dumps({"id": str(i), "input": "topic%d w1 w2" % (i % labels)}) + "\n")
        with open(os.path.join(self.job, "job.json"), "w") as file:
            json.dump({"format": 1, "kind": "train", "task": "t", "recipe": "linear", "seed": 1, "effort": effort, "rows": rows, "labels": labels, "options": {}}, file)

    def start(self, *words, **settings):
        scratch = tempfile.mkdtemp(dir=self.dir)
        pairs = ["%s=%s" % pair for pair in {**self.settings, **settings}.items()]
        return subprocess.Popen([SLOT, scratch, *words, *pairs], env={**OPTIONS, PROVIDER.variable: self.cloud.key, "PATH": "/usr/bin:/bin", "HOME": self.dir}, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def slot(self, *words, **settings):
        process = self.start(*words, **settings)
        text = process.communicate(timeout=200)[0]
        return Said(process.returncode, text)

    def nothing_left(self, said=None):
        if said:
            self.assertEqual(said.open(), {}, said.text)
        self.assertEqual((self.cloud.running(), self.cloud.key_names()), ([], []))

    def reap(self, said):
        """Starts kolm once more, after the cloud has executed the last requests of a killed one, except those that it never answers."""
        self.cloud.faults, self.cloud.always = {}, None
        until = time.monotonic() + 2
        while any(thread.is_alive() for thread in self.cloud.server.threads) and time.monotonic() < until:
            self.cloud.server.over.wait(0.01)
        for name, handle in said.open().items():
            for _ in range(5):
                answer = self.slot("reclaim", name, handle, "3600", place=said.place(name)).of("reclaimed")
                if answer and answer[0].split(" ")[0] == "gone":
                    break
            self.assertEqual(answer[0].split(" ")[0], "gone", (name, answer))
        self.nothing_left()

    def follow(self, process, until):
        """Returns the lines up to one that begins with `until`."""
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith(until):
                break
        return lines

    def finish(self, process, lines):
        text = "".join(lines) + process.communicate(timeout=200)[0]
        return Said(process.returncode, text)


class Work(Case):
    def test_the_model_is_the_one_that_is_made_here(self):
        said = self.slot("train", self.job)
        self.assertEqual(said.code, 0, said.text)
        self.nothing_left(said)
        with open(os.path.join(self.job, "model", "linear.bin"), "rb") as file:
            there = file.read()
        here = os.path.join(self.dir, "here")
        shutil.copytree(self.job, here, ignore=shutil.ignore_patterns("model", "result.json"))
        subprocess.run([ENGINE, "--threads", "1", here], check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        with open(os.path.join(here, "model", "linear.bin"), "rb") as file:
            self.assertEqual(file.read(), there)
        billed, device = said.of("trained")[0].split(" ", 1)
        self.assertTrue(device.startswith(PROVIDER.device), device)
        self.assertGreaterEqual(int(billed) / 1e6 + 1e-6, self.cloud.bill())
        self.assertLess(int(billed) / 1e6, self.cloud.bill() + 10 / 3600 * PROVIDER.price)

    def test_the_key_is_of_this_job_and_nothing_of_it_stays(self):
        said = self.slot("train", self.job)
        keys = [line[1] for line in said.lines if line[0] == "intent" and line[2] == "key"]
        self.assertEqual(len(keys), PROVIDER.records.count("key"))
        name = self.cloud.instances[0].public.split(" ")[2]  # the name in the key
        self.assertEqual(self.cloud.instances[0].name, name + "-1")
        self.assertEqual(set(keys) - {name}, set())
        self.assertEqual([name for name in os.listdir(self.dir) if name == ".ssh"], [])

    def test_answers(self):
        self.assertEqual(self.slot("train", self.job).code, 0)
        model = os.path.join(self.job, "model", "linear.bin")
        with open(os.path.join(self.job, "job.json")) as file:
            job = json.load(file)
        job.update(kind="infer", rows=0, model_files=[{"name": "linear.bin", "path": model, "offset": 0, "size": os.path.getsize(model)}])
        with open(os.path.join(self.job, "job.json"), "w") as file:
            json.dump(job, file)
        said = self.slot("infer", self.job)
        self.assertEqual(said.code, 0, said.text)
        self.nothing_left(said)
        with open(os.path.join(self.job, "predictions.jsonl")) as file:
            answers = [json.loads(line) for line in file]
        self.assertEqual([answer["id"] for answer in answers], [str(i) for i in range(20)])
        self.assertEqual(answers[3]["output"], "label 1")
        rented = len(self.cloud.instances)
        open(os.path.join(self.job, "eval.jsonl"), "w").close()  # no questions: no machine
        said = self.slot("infer", self.job)
        self.assertEqual((said.code, said.of("answered")[0].split(" ")[:2], len(self.cloud.instances)), (0, ["0", "0"], rented))

    def test_the_test_leaves_nothing(self):
        said = self.slot("test")
        self.assertEqual(said.of("tested"), ["passed %s is ready for kolm compile" % PROVIDER.name], said.text)
        self.assertEqual([step.split(" ")[0] for step in said.of("step")], ["ok"] * 4)
        self.nothing_left(said)

    @unittest.skipUnless(PROVIDER.name == "runpod", "it has no endpoints")
    def test_the_test_tries_an_endpoint_that_is_set(self):
        asked = []

        def worker(job):
            asked.append(job["input"])
            return {"model": "ab" * 32, "answers": []} if len(asked) == 1 else {"error": "no such model"}
        server = Serverless(worker, "abc123", token=self.cloud.key)
        self.addCleanup(server.close)
        more = {"endpoint": "abc123", "endpoint_api": server.api()}
        said = self.slot("test", **more)
        self.assertEqual([step.split(" ")[0] for step in said.of("step")], ["ok"] * 5)
        self.assertEqual(said.of("step")[4], "ok serverless endpoint: a worker of abc123 has the model abababababababab...")
        self.assertEqual(asked, [{"format": 1, "model": "", "rows": []}])
        said = self.slot("test", **more)
        self.assertIn("no such model (its cost is unknown); deploy the kolm_worker.py of this version of kolm to the endpoint", said.of("step")[4])
        self.assertEqual(said.of("tested")[0].split(" ")[0], "failed")
        self.nothing_left()

    @unittest.skipUnless(PROVIDER.name == "runpod", "it has no endpoints")
    def test_the_test_of_an_endpoint_that_cannot_be_tried(self):
        server = Serverless(lambda job: {"answers": []}, "abc123", token=self.cloud.key)
        self.addCleanup(server.close)
        more = {"endpoint": "abc123", "endpoint_api": server.api()}
        self.assertIn("there is a budget, and RunPod cannot say what an endpoint will cost", self.slot("test", budget_usd="5", **more).of("step")[4])
        self.assertEqual(server.submits, 0)
        self.assertIn("the endpoint abc123 did not report which model it has (its cost is unknown); deploy the", self.slot("test", **more).of("step")[4])
        server.fault("/run$", "lost")
        self.assertIn("if it exists, RunPod will end it at the latest 330 s after submission (its ttl)", self.slot("test", **more).of("step")[4])
        self.nothing_left()

    @unittest.skipUnless(PROVIDER.name == "runpod", "its credit is paid in advance")
    def test_an_account_that_pays_automatically(self):
        """Its balance is low most of the time: a setting allows this, and the refusal names the setting."""
        self.cloud.balance = 0.01
        for settings in ({}, {"automatic_payment": "false"}):
            said = self.slot("train", self.job, **{"job.quote_micro_usd": "500000"}, **settings)
            self.assertIn("the account has 0.0100 USD, and this job is quoted at 0.5000 USD; nothing was rented", said.of("failed")[0])
            self.assertIn("set backends.runpod.automatic_payment in config.json to true", said.text)
        asked = len(self.cloud.requests)
        said = self.slot("train", self.job, **{"job.quote_micro_usd": "500000"}, automatic_payment="true")
        self.assertEqual((said.code, "automatic_payment" in said.text), (0, False), said.text)
        self.assertNotIn("/graphql", [path for _, path in self.cloud.requests[asked:]])
        said = self.slot("train", self.job, **{"job.quote_micro_usd": "9999"})  # the balance is sufficient
        self.assertEqual((said.code, "automatic_payment" in said.text), (0, False), said.text)
        self.nothing_left()

    @unittest.skipUnless(PROVIDER.name == "runpod", "it has no GraphQL")
    def test_a_balance_with_errors_is_unknown(self):
        quote = {"job.quote_micro_usd": "500000"}
        self.cloud.balance = 0.01
        said = self.slot("train", self.job, **quote)
        self.assertIn("the account has 0.0100 USD, and this job is quoted at 0.5000 USD; nothing was rented", said.of("failed")[0])
        self.cloud.errors = [{"message": "Something went wrong", "path": ["myself", "clientBalance"]}]
        self.assertEqual(self.slot("train", self.job, **quote).code, 0)
        self.nothing_left()

    def test_a_test_with_a_wrong_token_rents_nothing(self):
        self.cloud.key = PROVIDER.token("secret_another")
        self.cloud.always = lambda request: Fault(401)
        said = self.slot("test")
        self.assertEqual([step.split(" ")[0] for step in said.of("step")], ["failed", "skipped", "skipped", "skipped"])
        self.assertIn(PROVIDER.unknown, said.of("step")[0])

    def test_status_and_prune(self):
        process = self.start("train", self.job)
        lines = self.follow(process, "phase connecting")
        said = self.slot("status")
        kinds = sorted(line.split(" ")[0:2] for line in said.of("holding"))
        self.assertEqual(kinds, [["in-use", kind] for kind in PROVIDER.records], said.text)
        self.assertIn("1 machine and %s of kolm" % ("1 key" if "key" in PROVIDER.records else "0 keys"), said.of("summary")[0])
        self.assertEqual(len(self.slot("prune").of("holding")), len(PROVIDER.records))
        said = self.finish(process, lines)
        self.assertEqual(said.code, 0, said.text)  # machines in use were not touched
        if "key" not in PROVIDER.records:
            return
        self.cloud.keys.append({"id": "ab" * 16, "name": "kolm-01234567-60000000-89abcdef", "public_key": "ssh-ed25519 AAAA"})
        self.cloud.keys.append({"id": "cd" * 16, "name": "mine", "public_key": "ssh-ed25519 AAAA"})
        self.assertTrue(self.slot("status").of("holding")[0].startswith("idle key"))
        self.assertTrue(self.slot("prune").of("holding")[0].startswith("removed key"))
        self.assertEqual(self.cloud.key_names(), ["mine"])


class Trouble(Case):
    def slow(self, rows=20000):
        """Writes a job that only ends when it is stopped."""
        self.write_job(rows, "high", 40)

    def test_stopped_while_it_works(self):
        self.slow()
        process = self.start("train", self.job)
        lines = self.follow(process, "phase comparing")
        stopped = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said = self.finish(process, lines)
        self.assertLess(time.monotonic() - stopped, 10)  # later kolm would kill the process
        self.assertIn("stopped", said.of("failed")[0])
        self.assertIn("it cost 0.0", said.of("failed")[0])
        self.nothing_left(said)

    def test_the_budget_ends_it(self):
        self.slow()
        said = self.slot("train", self.job, budget_usd="%.6f" % (PROVIDER.price * 4 / 3600))
        self.assertIn("the budget of 0.00 USD is used up", said.of("failed")[0])
        self.nothing_left(said)
        self.assertLess(self.cloud.bill(), 0.002)

    def test_the_time_ends_it(self):
        self.slow()
        said = self.slot("train", self.job, max_hours="0.0011")
        self.assertIn("the time of 3 s has run out", said.of("failed")[0])
        self.nothing_left(said)

    def test_the_machine_dies_while_it_works(self):
        self.slow()
        process = self.start("train", self.job)
        lines = self.follow(process, "phase comparing")
        with self.cloud.lock:
            self.cloud.dies = 0
            self.cloud.instances[0].box.stop()
        said = self.finish(process, lines)
        self.assertEqual(said.code, 1, said.text)
        self.assertIn("the machine ended while it worked", said.of("failed")[0])
        self.nothing_left(said)

    def test_another_host_key_is_not_trusted(self):
        self.slow()
        process = self.start("train", self.job)
        lines = self.follow(process, "phase comparing")
        with self.cloud.lock:
            box = self.cloud.instances[0].box
            os.unlink(box.host_key)
            boxes.keygen(box.host_key)
            box.restart()
        said = self.finish(process, lines)
        self.assertEqual(said.code, 1, said.text)
        self.assertRegex(said.of("failed")[0], "host key|changed")
        self.nothing_left(said)

    def test_a_cut_in_the_middle_is_repaired(self):
        self.slow(1000)
        process = self.start("train", self.job)
        lines = self.follow(process, "phase comparing")
        self.cloud.instances[0].box.cut()
        said = self.finish(process, lines)
        self.assertEqual(said.code, 0, said.text)
        self.nothing_left(said)

    @staticmethod
    def refused(box):
        with open(os.path.join(box.dir, "log")) as file:
            return "Connection closed" in file.read()

    def test_an_account_that_opens_late(self):
        """The provider reports it as running before sshd, and then the key, are ready."""
        self.cloud.boot = 0
        original = self.cloud.open_account

        def late(instance, public):
            original(instance, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ another")
            while not self.refused(instance.box) and not self.cloud.server.over.wait(0.05):
                pass
            with open(os.path.join(instance.box.dir, "authorized"), "w") as file:
                file.write(public + "\n")
        self.cloud.open_account = late
        said = self.slot("train", self.job)
        self.assertEqual(said.code, 0, said.text)
        self.nothing_left(said)

    def test_a_watchdog_stays_when_kolm_is_killed(self):
        """far-guard tests what it does when its time is over."""
        self.slow()
        process = self.start("train", self.job, budget_usd="0.1")
        lines = self.follow(process, "phase comparing")
        process.kill()
        said = self.finish(process, lines)
        with open(os.path.join(self.cloud.instances[0].box.home, ".cache", "kolm", "guard.json")) as file:
            guard = json.load(file)
        self.assertTrue(guard["off"])
        self.assertLess(guard["until"] - time.time(), 0.1 / PROVIDER.price * 3600 + 900)  # what the budget pays for, and 15 minutes
        self.assertTrue(alive(guard["pid"]))
        self.assertEqual(len(said.open()), len(PROVIDER.records), said.text)
        self.reap(said)
        self.assertFalse(alive(guard["pid"]))  # it ended with the machine
        self.assertFalse(os.path.exists(os.path.join(self.cloud.tools, "calls")))

    def test_killed_at_random_instants(self):
        draw = random.Random(7)
        for _ in range(int(os.environ.get("KOLM_TEST_KILLS", "4"))):
            process = self.start("train", self.job)
            lines = []
            try:
                lines.append(process.communicate(timeout=draw.uniform(0, 2.5))[0])
            except subprocess.TimeoutExpired:
                process.kill()
                lines.append(process.communicate()[0])
            said = Said(process.returncode, "".join(lines))
            for name in self.cloud.running() + self.cloud.key_names():
                self.assertIn(name, said.open(), said.text)
            self.reap(said)
            shutil.rmtree(os.path.join(self.job, "model"), True)


class Elsewhere(Case):
    """kolm is killed, and its next start has a token of another account, which does not see what is rented."""
    def asked(self, said, key, **settings):
        """Returns the answer of reclaim with that token."""
        (name, handle), = [(name, handle) for name, handle in said.open().items() if name.endswith("-1")]
        ours, self.cloud.key = self.cloud.key, key
        answer = self.slot("reclaim", name, handle, "3600", place=said.place(name), **settings)
        self.cloud.key = ours
        return name, answer.of("reclaimed")[0]

    def test_another_account_does_not_know_it(self):
        process = self.start("train", self.job)
        lines = self.follow(process, "phase booting")
        process.kill()
        said = self.finish(process, lines)
        other = PROVIDER.make(key=PROVIDER.token("secret_of-another_0123456789abcdef"), boot=0.2, port=self.cloud.port)
        other.user = 2
        self.addCleanup(other.close)
        name, told = self.asked(said, other.key, api=other.api())
        self.assertRegex(told, r"^unknown not found in .*, and its record says .*kolm compute reap --forget " + name)
        self.assertEqual(self.cloud.running(), [name])
        self.reap(said)

    @unittest.skipUnless(PROVIDER.name == "vast", "does not say whose token it is")
    def test_another_token_of_the_same_account(self):
        process = self.start("train", self.job)
        lines = self.follow(process, "phase booting")
        process.kill()
        said = self.finish(process, lines)
        self.cloud.instances[0].end()
        _, told = self.asked(said, "another-token-of-it-0123456789abcdef")
        self.assertEqual(told.split(" ")[0], "gone")

    def test_what_another_token_of_the_same_account_ends_is_gone(self):
        """A machine that is not listed while it ends, and a key: the provider accepted them as belonging to the account."""
        process = self.start("train", self.job)
        lines = self.follow(process, "phase booting")
        process.kill()
        said = self.finish(process, lines)
        self.cloud.key = PROVIDER.token("another-token-of-it-0123456789abcdef")
        self.assertEqual(len(said.open()), len(PROVIDER.records))
        for name, handle in sorted(said.open().items(), reverse=True):  # the machine, and then its key
            answer = self.slot("reclaim", name, handle, "3600", place=said.place(name))
            self.assertEqual(answer.of("reclaimed")[0].split(" ")[0], "gone", answer.text)
        self.nothing_left()

    @unittest.skipUnless(PROVIDER.name == "vast", "does not say whose token it is")
    def test_the_account_of_a_token_is_unknown_at_the_moment(self):
        """The machine is ended nevertheless, before the account is queried."""
        for fault, left in ((Fault(503), "60"), (Fault(404), "60"), (Fault(400), "60"), (Fault("hang"), "4")):
            with self.subTest(fault=fault):
                self.cloud.always = None
                process = self.start("train", self.job)
                lines = self.follow(process, "phase booting")
                process.kill()
                said = self.finish(process, lines)
                self.cloud.always = lambda request, f=fault: f if "/users/current" in request.target else None
                (name, handle), = said.open().items()
                answer = self.slot("reclaim", name, handle, "3600", place=said.place(name), left=left)
                self.assertEqual((self.cloud.running(), [told.split(" ")[0] for told in answer.of("reclaimed")]), ([], ["gone"]), answer.text)
                answer = self.slot("reclaim", "kolm-01234567-60000000-89abcdef-1", "", "86400", place="Vast.ai (account 1)", left=left)
                self.assertRegex(answer.of("reclaimed")[0], "^unknown not found; Vast.ai cannot say at the moment which account this token belongs to")

    @unittest.skipUnless(PROVIDER.name == "vast", "does not say what the account has")
    def test_an_account_without_a_credit(self):
        self.cloud.tells_credit = False
        process = self.start("train", self.job)
        lines = self.follow(process, "phase booting")
        process.kill()
        said = self.finish(process, lines)
        (name,) = said.open()
        self.assertEqual(said.place(name), "Vast.ai (account 1)")
        self.assertEqual(self.asked(said, self.cloud.key)[1].split(" ")[0], "gone")

    def test_a_record_of_an_older_kolm_says_no_account(self):
        answer = self.slot("reclaim", "kolm-01234567-60000000-89abcdef-1", "", "86400", place="somewhere")
        self.assertEqual(answer.of("reclaimed")[0].split(" ")[0], "gone", answer.text)


class Tokens(Case):
    def test_what_is_left_and_another_token(self):
        """Then it is unknown whether it exists, and the error says why. A removed key is deleted from the records at once."""
        process = self.start("train", self.job)
        lines = self.follow(process, "handle ")
        process.kill()
        said = self.finish(process, lines)
        name, handle = next((name, handle) for name, handle in said.open().items() if handle)  # the key, if there is one
        words = ("reclaim", name, handle, "1")
        self.cloud.always = lambda request: Fault(401)
        self.assertIn(PROVIDER.unknown, self.slot(*words).of("failed")[0])
        self.cloud.always = None
        self.assertEqual(self.slot(*words, place=said.place(name)).of("reclaimed")[0].split(" ")[0], "gone")
        self.reap(said)

    def detected(self, **more):
        return self.slot("refresh", **more).of("detected")[0]

    def test_detect_with_the_network(self):
        self.assertTrue(self.detected().startswith(PROVIDER.detected), self.detected())
        for fault, start in ((Fault(401), "broken " + PROVIDER.unknown), (Fault(503), PROVIDER.reached),
                             *((fault, "%s %s" % (state, words)) for fault, _, state, words in PROVIDER.refusals)):
            self.cloud.always = lambda request, f=fault: f
            self.assertTrue(self.detected().startswith(start), self.detected())
        self.cloud.always = lambda request: Fault(429)  # only for now: the token may be valid
        self.assertTrue(self.detected().startswith("available the token is set; "), self.detected())
        self.assertRegex(self.detected(), "says to try again later|accepts no more requests at the moment")
        self.cloud.always = None
        self.assertTrue(self.detected(api="http://127.0.0.1:1/v2").startswith(PROVIDER.reached))
        self.assertEqual(self.cloud.instances, [])

    def test_a_provider_whose_clock_is_wrong(self):
        """Its Retry-After, a date in two seconds, is relative to its own clock."""
        for skew in (-6 * 3600, 6 * 3600):
            self.cloud.skew = skew
            self.cloud.faults[len(self.cloud.requests)] = Fault(429, "date")
            self.assertTrue(self.detected().startswith(PROVIDER.detected), (skew, self.detected()))

    def test_detect_without_it(self):
        self.assertTrue(self.slot("detect").of("detected")[0].startswith("available %s is set" % PROVIDER.variable))
        self.assertEqual(self.cloud.requests, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
