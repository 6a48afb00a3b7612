#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm with a provider of machines from the command line: a model is made on a rented account, with receipt and bill; kolm is killed during
this, and started again.

usage: test_machines_compile.py KOLM PROVIDER [EXAMPLE] TEST...   (EXAMPLE: the provider's sources, built against the installed SDK of KOLM's build)"""
import atexit
import json
import os
import random
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
for room in ("contract", "remote", "slurm"):
    sys.path.insert(0, os.path.join(HERE, "..", room))
import box as boxes  # noqa: E402
import canary  # noqa: E402
from installed import install  # noqa: E402
sys.path.insert(0, HERE)
from providers import PROVIDERS, Fault  # noqa: E402

os.umask(0o022)
KOLM, PROVIDER = os.path.abspath(sys.argv[1]), PROVIDERS[sys.argv[2]]
del sys.argv[1:3]
MORE = {}  # additions to the environment
if os.path.isdir(sys.argv[1]):
    ROOT = tempfile.mkdtemp(prefix="kolm-root-")
    atexit.register(shutil.rmtree, ROOT, True)
    os.chmod(ROOT, 0o755)
    KOLM, BUILT = install(os.path.join(os.path.dirname(KOLM), "..", ".."), os.path.abspath(sys.argv.pop(1)), ROOT)
    MORE = {"KOLM_BACKEND_PATH": BUILT}
SANITIZED = b"__asan_init" in open(KOLM, "rb").read()
WHY_NOT = boxes.usable()
OPTIONS = {name: value for name, value in os.environ.items() if name.startswith(("ASAN_", "UBSAN_", "LSAN_"))}
# With sanitizers, which make a start take five times as long: one of each kind.
FEW = ("test_a_model_with_its_receipt_and_its_bill", "test_an_account_that_cannot_pay", "test_a_wrong_token_is_a_sentence", "test_killed_at_random_instants")
CANARY = "secret_canary-of-the-test_" + secrets.token_hex(16)  # unique to this run, because other processes are searched, too


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Case(unittest.TestCase):
    def setUp(self):
        if SANITIZED and self._testMethodName not in FEW:
            self.skipTest("with sanitizers a few are tried")
        self.dir = tempfile.mkdtemp(prefix="kolm-rent-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.cloud = PROVIDER.make(key=PROVIDER.token(CANARY), boot=0.2, port=boxes.free_port())
        self.cloud.tools = os.path.join(self.dir, "tools")
        self.addCleanup(self.cloud.close)
        self.home = os.path.join(self.dir, "kolm")
        os.mkdir(self.home)
        self.data = os.path.join(self.dir, "tickets.jsonl")
        draw = random.Random(3)
        with open(self.data, "w") as file:
            for i in range(400):
                label = draw.choice(("billing", "login", "outage"))
                file.write(json.dumps({"input": "%s %s %d" % (label, " ".join(draw.choices(("please", "help", "the", "order"), k=4)), i), "output": label}) + "\n")
        self.set()
        self.env = {**OPTIONS, "KOLM_HOME": self.home, "HOME": self.dir, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", PROVIDER.variable: PROVIDER.token(CANARY), **MORE}
        if MORE:
            self.kolm("backend", "grant", PROVIDER.name)

    def set(self, **more):
        own = {"api": self.cloud.api(), "poll_seconds": 0.1, **PROVIDER.settings(self.cloud), **more}
        with open(os.path.join(self.home, "config.json"), "w") as file:
            json.dump({"backends": {PROVIDER.name: own}}, file)

    def start(self, *words, before=()):
        return subprocess.Popen([*before, KOLM, *words], cwd=self.dir, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                start_new_session=True)

    def kolm(self, *words, code=0):
        process = self.start(*words)
        said = process.communicate(timeout=200)[0]
        self.assertEqual(process.returncode, code, said)
        self.assertNotIn(CANARY, said)
        return said

    def compile_words(self, *more):
        return ["compile", "-t", "router", "-d", self.data, "--backend", PROVIDER.name, "--force", "--effort", "quick", "--recipe", "linear", *more]

    def nothing_left(self):
        self.assertEqual((self.cloud.running(), self.cloud.key_names()), ([], []))


class Compile(Case):
    def test_a_model_with_its_receipt_and_its_bill(self):
        said = self.kolm(*self.compile_words())
        what = re.escape("%s, the last %s" % (PROVIDER.name, PROVIDER.device.rstrip(": ")))
        self.assertRegex(said, r"(?m)^\[rented\]      2 from %s; \$0\.00[0-9]* in all; nothing of it is left$" % what)
        self.nothing_left()
        self.assertEqual(len(self.cloud.instances), 2)  # one trained, one answered
        shown = self.kolm("verify", "router-1.0.0.kolm")
        self.assertIn("made by      %s on %s" % (PROVIDER.name, PROVIDER.device), shown)
        self.assertIn("trusted", shown)
        status = json.loads(self.kolm("compute", "status", "--json"))
        day = status["days"][0]
        self.assertEqual((status["leases"], day["backend"], day["leases"], day["unknown_billed"]), ([], PROVIDER.name, 2 * len(PROVIDER.records), 0))
        self.assertEqual(day["cost_usd"], day["billed_usd"])  # the receipt and the journal agree
        self.assertGreaterEqual(day["billed_usd"] + 1e-6, self.cloud.bill())
        self.assertLess(day["billed_usd"], self.cloud.bill() + 2 * 60 / 3600 * PROVIDER.price)

    def test_the_same_bytes_as_here(self):
        said = self.kolm(*self.compile_words("-v"))
        self.assertIn("%s: renting " % PROVIDER.name, said)
        self.assertNotRegex(said, "(?i)%s: %s:" % (PROVIDER.name, PROVIDER.name))  # kolm names the backend itself
        there = self.manifest()
        os.unlink(os.path.join(self.dir, "router-1.0.0.kolm"))
        self.kolm("compile", "-t", "router", "-d", self.data, "--backend", "local-cpu", "--force", "--effort", "quick", "--recipe", "linear")
        self.assertEqual(self.manifest(), there)

    def manifest(self):
        return subprocess.run(["unzip", "-p", "router-1.0.0.kolm", "model/linear.bin"], cwd=self.dir, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True).stdout

    @unittest.skipUnless(PROVIDER.name == "runpod", "it has no endpoints")
    def test_an_endpoint_is_not_for_the_model_that_is_made(self):
        """An endpoint is set, but cannot have the model: the held-out rows are answered on a pod."""
        self.set(endpoint="abc123", endpoint_api="http://127.0.0.1:1/v2")
        self.assertIn("the endpoint does not have the model that was just made", self.kolm(*self.compile_words("-v")))
        self.assertEqual(len(self.cloud.instances), 2)
        self.nothing_left()

    def test_the_tokens_are_nowhere(self):
        """The tokens of all providers are set."""
        all_tokens = {**canary.tokens(), PROVIDER.variable: PROVIDER.token(CANARY)}
        self.env.update(all_tokens)
        process = self.start(*self.compile_words("-vv"))
        seen = canary.seen_while(process, KOLM, all_tokens.values(), self.cloud.server.over)
        said = process.communicate()[0]
        self.assertEqual((process.returncode, seen), (0, []), said)
        for token in all_tokens.values():
            self.assertNotIn(token, said)
            self.assertFalse(any(token in target for _, target in self.cloud.requests))
        self.assertEqual(canary.files_with(self.dir, all_tokens.values()), [])

    def test_budgets(self):
        self.env["KOLM_COMPUTE_BUDGET_USD"] = "0.000001"
        self.kolm(*self.compile_words(), code=3)
        self.assertEqual(self.cloud.instances, [])
        asked = len(self.cloud.requests)
        self.assertEqual(self.quoted()["price_source"], "live")  # because it was compared with the budget
        self.assertEqual(len(self.cloud.requests), asked)
        del self.env["KOLM_COMPUTE_BUDGET_USD"]
        self.set(budget_usd=0.01, max_price_usd=0.1)
        said = self.kolm(*self.compile_words(), code=5)
        self.assertIn(PROVIDER.nothing_fits, said)
        self.nothing_left()

    @unittest.skipUnless(PROVIDER.name in ("vast", "runpod"), "does not say what the account has")
    def test_an_account_that_cannot_pay(self):
        self.cloud.credit = self.cloud.balance = 0.0001
        said = self.kolm(*self.compile_words(), code=5)
        self.assertRegex(said, r"the account has 0\.0001 USD, and this job is quoted at 0\.\d+ USD; nothing was rented")
        self.assertEqual(self.cloud.instances, [])

    @unittest.skipUnless(PROVIDER.name == "runpod", "has one way to say it")
    def test_an_account_whose_balance_is_unavailable(self):
        """If RunPod has removed GraphQL, or the key may not use it."""
        for status in (403, 410):
            self.cloud.always = lambda request, s=status: Fault(s) if request.target == "/graphql" else None
            self.kolm(*self.compile_words())
        self.assertEqual(len(self.cloud.instances), 4)

    def test_least_memory(self):
        self.kolm(*self.compile_words("--min-vram", str(PROVIDER.memory[1][0] // 10**9)))
        self.assertEqual({instance.kind[0] for instance in self.cloud.instances}, {PROVIDER.memory[1][1]})

    def test_airgap_asks_nothing(self):
        self.kolm("compute", "detect", "--refresh", "--airgap")
        process = self.start(*self.compile_words("--airgap"))
        process.communicate()
        self.assertNotEqual(process.returncode, 0)
        self.assertEqual(self.cloud.requests, [])

    def test_detect_queries_only_on_request(self):
        self.kolm("compute", "detect")
        self.assertEqual(self.cloud.requests, [])
        self.assertIn(PROVIDER.detected.split(":")[0].split(" ", 1)[1], self.kolm("compute", "detect", "--refresh"))
        self.assertEqual(self.cloud.requests[0][1], PROVIDER.check)
        self.assertLessEqual(len(self.cloud.requests), 2)  # also requests the offers

    def quoted(self, *more):
        quotes = json.loads(self.kolm("compute", "quote", "--rows", "400", "--json", *more))["quotes"]
        return next(quote for quote in quotes if quote["name"] == PROVIDER.name)

    def picked(self, *more):
        record = json.loads(self.kolm("compute", "pick", "--json", *more))
        return next(one for one in record["candidates"] if one["name"] == PROVIDER.name), [one["name"] for one in record["ranking"]]

    def test_prices_are_what_the_provider_asks_for_now(self):
        """If there is a token and the network is allowed: one request for quote, pick and --max-price, and the record says so."""
        self.assertFalse(self.quoted("--airgap")["answered"])
        candidate, _ = self.picked("--airgap")
        self.assertEqual((candidate["price_source"], self.cloud.requests), ("manifest", []))
        dated = candidate["cost_per_hour_usd"]
        quote = self.quoted()
        self.assertEqual((quote["price_source"], quote["price_age_seconds"] < 120), ("live", True))
        asked = len(self.cloud.requests)
        self.assertIn(asked, (1, 2))
        self.assertGreater(quote["cost_usd"], quote["duration_ms"] / 3600000 * PROVIDER.price * 1.01)  # training and answering each start a machine
        self.assertIn("the start of a second machine for the answers", self.kolm("compute", "quote", "--rows", "400"))
        candidate, _ = self.picked()
        self.assertEqual((candidate["price_source"], candidate["priced_on"]), ("live", time.strftime("%Y-%m-%d", time.gmtime())))
        self.assertAlmostEqual(candidate["cost_per_hour_usd"], PROVIDER.price, 5)
        if abs(dated - PROVIDER.price) > 0.01:  # those of the example are equal
            _, ranked = self.picked("--max-price", "%.4f" % ((dated + PROVIDER.price) / 2))
            self.assertEqual(PROVIDER.name in ranked, PROVIDER.price < dated)
        self.assertEqual(len(self.cloud.requests), asked)  # the others used the cached prices
        self.assertIn("live price of its cheapest offer that fits", self.kolm("compute", "quote", "--rows", "400"))
        self.set(cost_per_hour_usd=0.5)
        self.assertEqual((self.picked()[0]["price_source"], len(self.cloud.requests)), ("config", asked))

    def test_prices_are_requested_at_the_same_time(self):
        """No provider answers before all have received a request: sequential requests would time out."""
        built_in = [provider for provider in PROVIDERS.values() if provider.name != "acme"]
        together = threading.Barrier(len(built_in))
        config = {"backends": {}}
        for provider in built_in:
            cloud = provider.make(key=provider.token(CANARY), boot=0.2, port=self.cloud.port)
            self.addCleanup(cloud.close)
            cloud.always = self.waiting(together)
            self.env[provider.variable] = provider.token(CANARY)
            config["backends"][provider.name] = {"api": cloud.api()}
        with open(os.path.join(self.home, "config.json"), "w") as file:
            json.dump(config, file)
        quotes = json.loads(self.kolm("compute", "quote", "--rows", "400", "--json"))["quotes"]
        found = {quote["name"]: quote["price_source"] for quote in quotes}
        self.assertEqual({provider.name: found[provider.name] for provider in built_in}, dict.fromkeys((provider.name for provider in built_in), "live"))

    @staticmethod
    def waiting(together):
        """Returns no fault, but makes the first request wait for the others."""
        met = threading.Event()

        def wait(_):
            if not met.is_set():
                met.set()
                try:
                    together.wait(20)
                except threading.BrokenBarrierError:
                    pass
        return wait

    def test_prices_of_a_provider_that_is_away(self):
        self.cloud.always = lambda request: Fault(503)
        quote = self.quoted()
        self.assertEqual((quote["answered"], quote["price_source"]), (True, "manifest"))
        asked = len(self.cloud.requests)
        self.assertGreater(asked, 0)
        self.said_to_be_a_reference()
        self.assertEqual(len(self.cloud.requests), asked)  # valid for an hour

    def said_to_be_a_reference(self):
        for words in (("quote", "--rows", "400"), ("list",), ("info", PROVIDER.name)):
            self.assertRegex(self.kolm("compute", *words), r"reference price of \d{4}-\d\d-\d\d, because its provider gave no price")

    def test_prices_of_a_provider_that_hangs(self):
        """Only the first command waits for it."""
        self.cloud.always = lambda request: self.cloud.server.over.wait(30) and None
        self.assertEqual(self.picked()[0]["price_source"], "manifest")
        asked = len(self.cloud.requests)
        self.assertGreater(asked, 0)
        connections = self.cloud.server.connections
        self.assertEqual(self.picked()[0]["price_source"], "manifest")
        self.assertEqual((len(self.cloud.requests), self.cloud.server.connections), (asked, connections))
        self.said_to_be_a_reference()

    def test_the_price_is_of_a_machine_that_fits(self):
        cheap = self.picked()[0]["cost_per_hour_usd"]
        self.assertAlmostEqual(cheap, PROVIDER.price, 5)
        vram = PROVIDER.memory[1][0]
        dear = self.picked("--min-vram", str(vram // 10**9))[0]
        self.assertEqual(dear["price_source"], "live")
        self.assertGreater(dear["cost_per_hour_usd"], cheap)
        asked = len(self.cloud.requests)
        self.assertEqual(self.picked("--min-vram", str(vram // 10**9))[0]["cost_per_hour_usd"], dear["cost_per_hour_usd"])
        self.assertEqual(len(self.cloud.requests), asked)
        self.assertEqual(self.picked()[0]["cost_per_hour_usd"], cheap)  # not the price of that time

    def test_running_a_model_asks_for_no_price(self):
        """This machine answers, whichever backend made the model."""
        self.kolm(*self.compile_words())
        asked = len(self.cloud.requests)
        self.kolm("run", "router-1.0.0.kolm", "billing please")
        self.assertEqual(len(self.cloud.requests), asked)

    def test_a_wrong_token_is_a_sentence(self):
        self.cloud.key = "another"
        said = self.kolm(*self.compile_words(), code=5)
        self.assertIn(PROVIDER.unknown, said)
        self.assertIn("nothing was rented", said)
        self.assertIn(PROVIDER.remedy, said)


class Kills(Case):
    def once_more(self, about):
        """The next start ends what was left. A call that outlives kolm ends its own machine; until then it is in use."""
        until = time.monotonic() + 200
        while time.monotonic() < until:
            process = self.start("compute", "reap", "--yes")
            said = process.communicate(timeout=60)[0]
            if not self.cloud.running() and not self.cloud.key_names():
                return
        self.fail((about, self.cloud.running(), self.cloud.key_names(), said))

    def no_leases(self):
        """The last process of a killed call may still be recording the end. A machine without a handle counts as gone only when its
        creation has ended and it would be visible under its name: this takes minutes, which faketime skips. What a start reaps it reports
        before the JSON."""
        until = time.monotonic() + 200
        while True:
            process = self.start("compute", "status", "--json", before=("faketime", "-f", "+10m"))
            said = process.communicate(timeout=200)[0]
            self.assertEqual(process.returncode, 0, said)
            leases = json.loads(said[said.index("{"):])["leases"]
            if not leases or time.monotonic() > until:
                return self.assertEqual(leases, [])
            self.cloud.server.over.wait(0.5)

    def kill_all(self, process):
        boxes.kill_all(process)
        process.communicate()

    def test_killed_at_every_request(self):
        """kill -9 before the answer to each request arrives."""
        for number in range(1, 16, int(os.environ.get("KOLM_TEST_KILL_EVERY", "3"))):
            reached = []

            def kill(request, n=number):
                if len(self.cloud.requests) - begun == n + 1 and not reached:
                    reached.append(True)
                    self.kill_all(process)
                    return Fault("lose")
                return None
            begun = len(self.cloud.requests)
            self.cloud.always = kill
            process = self.start(*self.compile_words())
            process.wait()
            self.cloud.always = None
            self.once_more(number)
        names = [instance.name for instance in self.cloud.instances]
        self.assertEqual(len(names), len(set(names)))

    @unittest.skipUnless(shutil.which("faketime"), "no faketime")
    def test_a_clock_of_this_machine_that_is_wrong(self):
        """The next start ends what was rented with a clock two days ahead or behind; a successful rental is not disturbed."""
        for shift in ("-2d", "+2d"):
            for kill in (True, False):
                rented = len(self.cloud.instances)
                process = self.start(*self.compile_words(), before=("faketime", "-f", shift))
                while kill and process.poll() is None and len(self.cloud.instances) == rented:
                    self.cloud.server.over.wait(0.02)
                if kill:
                    self.kill_all(process)
                else:
                    said = process.communicate(timeout=200)[0]
                    self.assertEqual(process.returncode, 0, said)
                self.assertGreater(len(self.cloud.instances), rented)
                self.once_more((shift, kill))
                self.no_leases()

    def test_killed_at_random_instants(self):
        draw = random.Random(11)
        for number in range(int(os.environ.get("KOLM_TEST_KILLS", "4"))):
            process = self.start(*self.compile_words())
            until = time.monotonic() + draw.uniform(0, 6)
            while process.poll() is None and time.monotonic() < until:
                self.cloud.server.over.wait(0.02)
            if process.poll() is None:
                (self.kill_all if number % 2 else lambda p: (p.kill(), p.communicate()))(process)
            else:
                process.communicate()
            self.once_more(number)


if __name__ == "__main__":
    unittest.main(verbosity=2)
