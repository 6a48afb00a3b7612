#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""For those who ship a backend of their own: manifests of another version, their own recipes and formats."""
import json
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case  # noqa: E402

ZOO = os.path.join(os.path.dirname(os.path.dirname(harness.TEST_BACKENDS)), "tests", "host")


def setUpModule():
    harness.set_up_tree()


class Manifests(Case):
    backends = ()

    def test_one_of_a_later_kolm(self):
        """A key of version 1.99 in a manifest read by 1.1: the row is used without the key, and info, why and compile report it."""
        self.add_backend("test-word", manifest_version="1.99", colour="red", recipes=[{"name": "linear", "shade": 2}])
        self.assertIn("this kolm does not know: colour, linear.shade", self.kolm("compute", "info", "test-word").out)
        self.assertEqual(self.json("compute", "info", "test-word")["unread"], "colour, linear.shade")
        self.assertIn("does not know: colour, linear.shade", self.kolm("backend", "why", "test-word").out)
        self.write_tickets()
        self.assertIn("warning: the manifest of test-word is of a later version, and this kolm does not know: colour", self.compile().err)

    def test_a_slip_is_no_later_version(self):
        for version in ({}, {"manifest_version": "1.1"}):
            self.add_backend("test-word", colour="red", **version)
            done = self.kolm("backend", "why", "test-word")
            self.assertIn('unknown field "colour"', done.out)
            self.assertIn("begin it with x-", done.out)
        self.add_backend("test-word", manifest_version="2.0")
        self.assertIn("is written for manifests of version 2, and this kolm reads 1.x", self.kolm("backend", "why", "test-word").out)

    def test_what_is_a_vendors_own(self):
        self.add_backend("test-word", **{"x-packager": {"built": "today"}})
        self.assertEqual(self.json("compute", "info", "test-word")["unread"], None)
        self.write_tickets()
        self.assertNotIn("packager", self.compile().err)

    def test_names_in_lower_case(self):
        self.add_backend("test-word", auth=["acme_token"], requires=[{"env": "https_proxy"}])
        done = self.kolm("compute", "info", "test-word", env={"acme_token": "a-secret-of-acme"})
        self.assertIn("acme_token from the environment (...acme)", done.out)


NB = {"name": "acme-nb", "summary": "Naive Bayes.", "base": "none", "outputs": "labels", "options": [
    {"key": "alpha", "type": "number", "min": 0, "max": 10, "default": 1, "summary": "Smoothing."},
    {"key": "rank2", "type": ["string", "integer"], "values": ["auto"], "min": 1, "max": 9, "summary": "Pairs of words."}]}


class Recipes(Case):
    def make_base(self, name, *more):
        os.makedirs(os.path.join(self.work, name))
        for file in ("config.json", "model.safetensors") + more:
            self.write(os.path.join(name, file), "{}")

    def test_a_base_that_a_recipe_is_made_for(self):
        """The manifest lists the files that such a base has; a named recipe or another base work as before."""
        enc = {"name": "acme-enc", "base": "required", "base_files": ["modules.json", "config.json"], "outputs": "labels"}
        self.add_backend("test-word", recipes=[enc, "lora"])
        self.make_base("sentences", "modules.json")
        self.make_base("other")
        self.write_tickets()
        words = ("compile", "-t", "router", "-d", "tickets.jsonl", "--force", "--base")
        done = self.kolm(*words, "sentences")
        self.assertIn("[recipe]      acme-enc, the recipe for bases with a modules.json, such as sentences", done.out)
        self.assertIn("acme-enc", self.kolm("inspect", "router-1.0.0.kolm").out)
        self.assertIn("[recipe]      lora, which fine-tunes other", self.kolm(*words, "other", code=None).out)
        self.assertIn("lora", self.kolm("inspect", "router-1.0.0.kolm").out)
        self.assertNotIn("[recipe]", self.kolm(*words, "sentences", "--recipe", "lora").out)
        self.assert_error(self.kolm(*words, "nowhere", code=None), "there is no base model nowhere")
        self.write("texts.jsonl", harness.jsonl({"input": "say %d" % i, "output": "word %d " % (i // 2) * 400} for i in range(60)))
        self.assert_error(self.kolm("compile", "-t", "texts", "-d", "texts.jsonl", "--base", "sentences", code=None),
                          "sentences is a base for the acme-enc recipe, which learns labels", "--recipe lora")

    backends = ()

    def setUp(self):
        super().setUp()
        self.add_backend("test-word", recipes=["linear", NB])
        self.write_tickets()

    def test_one_of_a_backends_own(self):
        self.add_backend("test-other", perf=1)  # would be picked, but does not say that it makes the recipe
        done = self.compile("--recipe", "acme-nb", "--set", "alpha=0.5", "--set", "rank2=auto")
        self.assertIn("using test-word", done.out)
        self.assertIn("billing", self.kolm("run", "router-1.0.0.kolm", "billing").out)
        manifest = self.json("inspect", "router-1.0.0.kolm")["manifest"]
        self.assertEqual((manifest["recipe"], manifest["options"]["trainer"]), ("acme-nb", {"alpha": "0.5", "rank2": "auto"}))
        self.write("eval.jsonl", harness.jsonl(harness.tickets(50, seed=5, noise=0)))
        self.assertEqual(self.json("score", "router-1.0.0.kolm", "--eval", "eval.jsonl")["n"], 50)
        self.assertIn("recipe acme-nb", self.kolm("compute", "quote", "--rows", "10", "--recipe", "acme-nb").out)

    def test_one_that_no_backend_makes(self):
        self.assert_error(self.compile("--recipe", "acme-mb", code=2), "--recipe 'acme-mb' is unknown: no backend that was found makes it",
                          "did you mean 'acme-nb'?", "recipes here: auto, linear (test-word), acme-nb (test-word)", "kolm backend list")
        self.assert_error(self.compile("--recipe", "Acme", code=2), "'Acme' is not the name of a recipe")
        self.add_backend("test-other", recipes=["lora"])
        self.assert_error(self.compile("--recipe", "acme-nb", "--backend", "test-other", code=5), "makes lora, not acme-nb")
        self.add_backend("test-other")  # declares nothing: any recipe may be requested from it by name
        self.compile("--recipe", "magic", "--backend", "test-other")

    def test_options_that_there_are_not(self):
        for given, pieces in [
                ("alfa=1", ('the recipe acme-nb of test-word has no such option; did you mean "alpha"?', "it takes alpha (a number from 0 to 10), rank2 (\"auto\", or a whole number from 1 to 9)")),
                ("colour=red", ("--set colour: the recipe acme-nb of test-word has no such option",)),
                ("alpha=11", ("--set alpha=11: expected a number from 0 to 10", "Smoothing.")),
                ("alpha=some", ("expected a number from 0 to 10",)), ("rank2=1.5", ('expected "auto", or a whole number from 1 to 9',)),
                ("rank2", ("is not NAME=VALUE",))]:
            with self.subTest(given=given):
                self.assert_error(self.compile("--recipe", "acme-nb", "--set", given, code=2), *pieces)
        self.assert_error(self.compile("--recipe", "acme-nb", "--base", "x", code=2), "the acme-nb recipe has no base model")
        self.assert_nothing_left()

    def test_what_there_is(self):
        text = self.kolm("compile", "--help").out
        self.assertRegex(text, r"acme-nb +made by test-word\n +Naive Bayes\.\n +--set: alpha, rank2\n")
        text = self.kolm("compute", "info", "test-word").out
        self.assertIn("acme-nb: Naive Bayes.\n", text)
        self.assertIn("--set alpha: a number from 0 to 10; 1 when it is not given. Smoothing.", text)
        told = {r["name"]: r for r in self.json("compute", "info", "test-word")["recipe_options"]}
        self.assertIsNone(told["linear"]["options"])
        self.assertEqual(told["acme-nb"]["options"][0], {"key": "alpha", "type": "a number from 0 to 10", "summary": "Smoothing.", "default": "1"})

    def test_checked_with_a_recipe_of_its_own(self):
        self.add_backend("test-nb", recipes=[{"name": "acme-big", "base": "required"}, NB])
        text = self.kolm("backend", "check", os.path.join(self.plugins, "test-nb.so"), "--only", "train.tiny", code=5).out
        self.assertIn("of 30 answers are right", text)  # it uses only the first word, but it was asked for the recipe that it makes


class Formats(Case):
    """Which backend answers with a model: its maker, then one that declares the format, otherwise an error."""

    def setUp(self):
        super().setUp()
        self.add_engine()
        self.write_tickets()
        self.compile("--backend", "test-word")
        self.write("eval.jsonl", harness.jsonl(harness.tickets(20, seed=5, noise=0)))
        self.ask = (("run", "router-1.0.0.kolm", "billing"), ("score", "router-1.0.0.kolm", "--eval", "eval.jsonl"))

    def remove(self, name):
        for suffix in (".so", ".json"):
            os.unlink(os.path.join(self.plugins, name + suffix))

    def test_the_engine_is_not_called_for_the_model_of_another(self):
        self.remove("test-word")
        for words in self.ask:
            for env in ({}, {"KOLM_BACKEND": "local-cpu"}):  # the default backend is about where to train
                with self.subTest(verb=words[0], env=env):
                    self.assert_error(self.kolm(*words, code=3, env=env), "the model was made by test-word, which is not installed",
                                      "no other backend that is available here answers with its format, test-word", "install test-word",
                                      "kolm-backend-test-word", "kolm backend list")

    def test_a_maker_that_is_here_and_cannot(self):
        self.add_backend("test-word", colour="red")
        self.assert_error(self.kolm(*self.ask[0], code=3), "made by test-word, which is refused", 'unknown field "colour"', "->")

    def test_backends_that_declare_support_are_called(self):
        self.add_backend("test-other", formats=["test-word"], recipes=["lora"], perf=0)
        self.remove("test-word")
        for words in self.ask:
            self.kolm(*words)
        self.assertIn("test-other", self.kolm("compute", "info", "test-other").out)

    def test_no_model_sends_questions_away_from_this_machine(self):
        self.add_backend("test-word", kind="self-hosted")
        self.add_backend("test-other", kind="self-hosted", formats=["test-word"])
        for words in self.ask:
            self.assert_error(self.kolm(*words, code=3), "made by test-word, which does not run on this machine, and is used only if it is named",
                              "--backend test-word")
            self.kolm(*words, "--backend", "test-word")
            self.kolm(*words, env={"KOLM_BACKEND": "test-word"})

    def test_a_named_one_that_says_it_cannot(self):
        done = self.kolm(*self.ask[0], "--backend", "local-cpu", code=5)
        self.assert_error(done, "local-cpu (named by --backend) cannot do this: it answers with models of the format kolm-linear, kolm-encoder, kolm_trainer",
                          "made by test-word, is of test-word", "leave out --backend")
        self.add_backend("test-other")  # declares nothing: used if it is named
        self.kolm(*self.ask[0], "--backend", "test-other")

    def test_a_format_that_the_backend_names(self):
        self.tell("own format")
        self.compile("--backend", "test-word", "--force")
        self.assertEqual(self.json("inspect", "router-1.0.0.kolm")["manifest"]["model_format"], "words-2")
        self.write_home("config.json", "{}")
        self.remove("test-word")
        self.assert_error(self.kolm(*self.ask[0], code=3), "made by test-word, which is not installed", "its format, words-2")
        self.add_backend("test-other", formats=["words-2"])
        self.kolm(*self.ask[0])

    def test_the_models_of_the_engine(self):
        """They name no format, and work as before: the engine that wrote them is known."""
        self.compile("--backend", "local-cpu", "--force")
        self.assertNotIn("model_format", self.json("inspect", "router-1.0.0.kolm")["manifest"])
        self.assertIn("billing", self.kolm(*self.ask[0]).out)


class Versions(Case):
    """Several versions of a backend next to each other: the newest that loads is used, the others are shown."""

    backends = ()

    def add_version(self, version, source=None, name="test-word", **changes):
        stem = os.path.join(self.plugins, name + ("-" + version if version else ""))
        shutil.copy(source or os.path.join(harness.TEST_BACKENDS, name + ".so"), stem + ".so")
        os.chmod(stem + ".so", 0o755)
        self.write(stem + ".json", json.dumps(harness.manifest(name, **changes)))
        return stem + ".so"

    def rows(self):
        return {r["version"]: r for r in self.json("backend", "list")["rows"]}

    def taken(self):
        rows = self.rows()
        self.assertEqual([r["name"] for r in rows.values()], ["test-word"] * len(rows))
        return [v for v, r in rows.items() if r["state"] == "taken"]

    def test_the_newest_is_taken(self):
        for version in ("1.2.0", "1.10.0", "1.9", "0.99.3.7"):
            self.add_version(version, tier=2)
        self.assertEqual(self.taken(), ["1.10.0"])
        self.assertEqual((self.rows()["1.9"]["state"], self.rows()["1.9"]["rule"]), ("shadowed", 6))
        self.assertIn("test-word-1.10.0 takes precedence", self.rows()["1.2.0"]["why"])
        self.assertTrue(self.json("compute", "info", "test-word")["plugin"].endswith("test-word-1.10.0.so"))
        self.assertEqual(len(self.json("compute", "list")["shadowed"]), 3)
        self.write_tickets()
        self.compile("--backend", "test-word")
        self.assertIn("billing", self.kolm("run", "router-1.0.0.kolm", "billing").out)
        self.add_version("")  # installed by hand
        self.assertEqual(self.taken(), [None])

    def test_one_that_does_not_load_gives_way(self):
        self.write_tickets()
        self.add_version("1.0.0", perf=0.7)
        self.add_version("1.1.0", os.path.join(ZOO, "crash-constructor.so"))
        self.add_version("2.0.0", __file__)
        self.add_version("3.0.0", os.path.join(ZOO, "needs-newer-host.so"))
        for again in (False, True):  # from the cache, too
            with self.subTest(again=again):
                self.assertEqual(self.taken(), ["1.0.0"])
                self.assertEqual(self.json("compute", "info", "test-word")["perf"], 0.7)
                self.compile("--backend", "test-word", *(("--force",) if again else ()))
        rows = self.rows()
        for version, why in (("1.1.0", "crashed while it was being loaded"), ("2.0.0", "test-word-2.0.0.so is not a shared object"), ("3.0.0", "needs kolm ABI 1.3")):
            self.assertEqual((rows[version]["state"], rows[version]["rule"]), ("refused", 8), rows[version])
            self.assertIn("it does not load: ", rows[version]["why"])
            self.assertIn(why, rows[version]["why"])
        self.add_version("0.9.0")  # hidden by the version that is used, not by one that was itself skipped
        self.assertIn("test-word-1.0.0 takes precedence", self.rows()["0.9.0"]["why"])
        for _ in range(2):  # a second look gives the same result
            self.assertEqual(self.json("compute", "list")["backends"][0]["perf"], 0.7)
            self.assertEqual(self.taken(), ["1.0.0"])
        text = self.kolm("backend", "why", "test-word").out
        for piece in ("test-word-3.0.0.so", "needs kolm ABI 1.3", "test-word-1.0.0.so", "here and now: available"):
            self.assertIn(piece, text)

    def test_one_that_is_refused_gives_way(self):
        self.add_version("1.0.0")
        os.chmod(self.add_version("2.0.0"), 0o777)
        self.add_version("3.0.0", colour="red")
        self.assertEqual(self.taken(), ["1.0.0"])
        self.assertEqual({v: r["rule"] for v, r in self.rows().items()}, {"1.0.0": None, "2.0.0": 3, "3.0.0": 4})
        self.add_version("4.0.0", settings=[])  # an error in config.json is not the plugin's fault
        self.write_home("config.json", json.dumps({"backends": {"test-word": {"region": "eu"}}}))
        self.assert_error(self.kolm("compute", "info", "test-word", code=6), "backends.test-word.region")

    def test_none_that_loads(self):
        self.add_version("1.0.0", __file__)
        self.add_version("2.0.0", __file__)
        self.assertEqual(self.json("compute", "info", "test-word")["detection"]["state"], "failed")

    def test_checked_and_signed_each_by_itself(self):
        old = self.add_version("1.0.0")
        self.add_version("2.0.0", __file__)
        text = self.kolm("backend", "check", old, "--only", "loads").out
        self.assertIn("test-word: 3 passed", text)
        self.kolm("backend", "sign", old)
        self.write_home("policy.json", json.dumps({"plugins": {"signatures": "required"}}))
        self.assertEqual(self.taken(), ["1.0.0"])

    def test_a_name_that_only_looks_like_one(self):
        self.add_version("2")  # test-word-2: a name
        self.assertEqual([r["name"] for r in self.json("backend", "list")["rows"]], ["test-word-2"])


@unittest.skipIf(harness.SANITIZED, "what is built here has no sanitizer, and a kolm that has one takes no such plugin")
class Libraries(Case):
    """A directory of libraries next to a plugin, NAME.libs, which is in its run path."""

    backends = ()
    PLUGIN = """#include "kolm/backend.h"
#include <stdio.h>
const char *own_word(void);
static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out, kolm_error_t *err) {
    (void)host, (void)args, (void)err;
    out->state = KOLM_DETECT_AVAILABLE;
    snprintf(out->reason, sizeof out->reason, "%s", own_word());
    return KOLM_OK;
}
KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {KOLM_BACKEND_HEADER_INIT, .name = "acme", .version = "1", .vendor = "tests",
    .licence = "Apache-2.0", .homepage = "https://example.org", .detect = detect};
"""

    def setUp(self):
        super().setUp()
        self.libs = os.path.join(self.plugins, "acme.libs")
        self.own = os.path.join(self.libs, "libown.so")
        self.plugin = os.path.join(self.plugins, "acme.so")
        os.mkdir(self.libs, 0o755)
        self.make_library("from its own library")
        self.write("acme.c", self.PLUGIN)
        self.cc("-fvisibility=hidden", "-I", os.path.join(harness.SOURCE, "sdk", "include"), "-o", self.plugin, "acme.c", "-L", self.libs, "-lown",
                "-Wl,-rpath,$ORIGIN/acme.libs")
        self.write(os.path.join(self.plugins, "acme.json"), json.dumps(harness.manifest("acme", train=False, infer=True)))

    def cc(self, *words):
        subprocess.run([*os.environ.get("CC", "cc").split(), "-shared", "-fPIC", *words], cwd=self.work, check=True)

    def make_library(self, word):
        self.write("own.c", 'const char *own_word(void);\nconst char *own_word(void) { return "%s"; }\n' % word)
        self.cc("-o", self.own, "own.c")

    def reason(self):
        return self.json("compute", "info", "acme")["detection"]["reason"]

    def test_it_is_found(self):
        self.assertEqual(self.reason(), "from its own library")
        self.make_library("from another one")  # and the cached detection with the old library is dropped
        self.assertEqual(self.reason(), "from another one")
        self.assertEqual([r["name"] for r in self.json("backend", "list")["rows"]], ["acme"])

    def test_it_is_trusted_like_the_plugin(self):
        for change, back, piece in [(lambda: os.chmod(self.own, 0o666), lambda: os.chmod(self.own, 0o755), "libown.so"),
                                    (lambda: os.chmod(self.libs, 0o777), lambda: os.chmod(self.libs, 0o755), "acme.libs"),
                                    (lambda: os.symlink("/nowhere", self.own + ".1"), lambda: os.unlink(self.own + ".1"), "libown.so.1"),
                                    (lambda: os.mkdir(self.own + ".d"), lambda: os.rmdir(self.own + ".d"), "libown.so.d")]:
            with self.subTest(piece=piece):
                change()
                row = self.json("backend", "list")["rows"][0]
                self.assertEqual((row["state"], row["rule"]), ("refused", 3), row)
                self.assertIn(piece, row["why"])
                back()
                self.assertEqual(self.json("backend", "list")["rows"][0]["state"], "taken")

    def test_it_is_signed_with_the_plugin(self):
        self.kolm("backend", "sign", self.plugin)
        self.write_home("policy.json", json.dumps({"plugins": {"signatures": "required"}}))
        self.assertEqual(self.reason(), "from its own library")
        self.make_library("from somebody else")
        self.assertIn("is for other files", self.kolm("backend", "why", "acme").out)


if __name__ == "__main__":
    harness.main()
