#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm with the backend replicate against its contract server.

usage: test_replicate.py KOLM PLUGIN_DIRECTORY SOURCE_DIRECTORY
"""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from case import CloudCase, main  # noqa: E402
from jobs import Jobs  # noqa: E402
from replicate_cloud import VERSION, Replicate  # noqa: E402

CREATE, LOOK = "^POST /v1/models/.*/trainings$", r"^GET /v1/trainings/[a-z0-9]+$"


class ReplicateCase(Jobs, CloudCase):
    name, variable = "replicate", "KOLM_REPLICATE_TOKEN"
    look, first, working = LOOK, "starting", "processing"
    # step, kind, whether it succeeds nevertheless, whether the job may be left as unknown
    faults = (
        ("^POST /v1/files$", "refuse", False, False), ("^POST /v1/files$", "lost", False, False), ("^POST /v1/files$", "reset", False, False), ("^POST /v1/files$", "after-500", False, False),
        ("^POST /v1/files$", "slow", True, False), ("^POST /v1/files$", "malformed", False, False), ("^POST /v1/files$", "huge", False, False), ("^POST /v1/files$", 401, False, False),
        ("^POST /v1/files$", 402, False, False), ("^POST /v1/files$", 403, False, False), ("^POST /v1/files$", 422, False, False), ("^POST /v1/files$", (429, (("Retry-After", "0"),)), True, False),
        ("^GET /v1/models/me/router$", 404, False, False), ("^GET /v1/models/me/router$", 503, True, False), ("^GET /v1/models/me/router$", "error-200", False, False),
        (CREATE, "refuse", False, True), (CREATE, "lost", False, True), (CREATE, "reset", False, True), (CREATE, "slow", True, False), (CREATE, "after-500", False, True),
        (CREATE, "error-200", False, True), (CREATE, "malformed", False, True), (CREATE, "huge", False, True), (CREATE, 401, False, False), (CREATE, 402, False, False),
        (CREATE, 403, False, False), (CREATE, 404, False, False), (CREATE, 409, False, False), (CREATE, 410, False, False), (CREATE, 422, False, False),
        (CREATE, (429, (("Retry-After", "0"),)), True, False), (CREATE, (429, (("Retry-After", "7200"),)), False, False), (CREATE, (429, (("Retry-After", "date"),)), True, False), (CREATE, 429, True, False), (CREATE, 503, False, True),
        (LOOK, "refuse", True, False), (LOOK, "reset", True, False), (LOOK, "slow", True, False), (LOOK, "malformed", True, False), (LOOK, "huge", True, False), (LOOK, "html", True, False),
        (LOOK, 401, True, False), (LOOK, 500, True, False), (LOOK, 503, True, False), (LOOK, "error-200", True, False),
        ("^GET /delivery/", "reset", True, False), ("^GET /delivery/", 404, False, False), ("^GET /delivery/", 503, True, False),
        ("^DELETE /v1/files/", "after-500", True, False), ("^DELETE /v1/files/", "refuse", True, False), ("^DELETE /v1/files/", "html", True, False),
    )

    def make(self):
        return Replicate(), {"trainer": "replicate/llama-8b:" + VERSION, "destination": "me/router"}

    def test_compiles_and_answers(self):
        hosted, manifest, job = self.compile_well("model/weights.bin")
        training = next(iter(self.provider.trainings.values()))
        self.assertEqual((hosted["provider"], hosted["model"], hosted["version"], hosted["job"]), ("replicate", "me/router", training["trained"], training["id"]))
        self.assertEqual(manifest["report"]["trainer_version"], VERSION)

    def test_an_unclear_training_is_for_the_user_to_look_at(self):
        """Replicate cannot find trainings by name: kolm does not promise that it will, and says how to clear the warning."""
        self.provider.fault(CREATE, "lost")
        done = self.compile()
        self.assert_sentence(done, "it may have been submitted", "(POST ")
        (name,) = set(re.findall(r"--forget (kolm-[0-9a-f]+)`", done.stdout))
        self.assertNotIn("kolm also tries", done.stdout)
        self.assertIn("check with Replicate whether it exists, end it, and then run", self.run_kolm("compute", "reap", "--yes").stdout)
        self.run_kolm("compute", "reap", "--forget", name)
        self.assertNotIn('"open"', self.open_leases())

    def test_weights_that_are_not_handed_out(self):
        self.provider.no_weights = True
        done = self.compile("-v")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("offers no weights", done.stdout)
        self.assertIn("the last training of me/router; its cost is unknown; nothing of it is left\n", done.stdout)

    def test_destinations(self):
        self.configure(trainer="replicate/llama-8b:" + VERSION, destination="me/open")
        self.assert_sentence(self.compile(), "is not private")
        self.configure(trainer="replicate/llama-8b:" + VERSION, destination="me/nothing")
        self.assert_sentence(self.compile(), "is not on Replicate")
        self.configure(trainer="replicate/llama-8b:" + VERSION)
        self.assert_sentence(self.compile(), "no model of yours on Replicate is configured")
        self.configure(destination="me/router")
        self.assert_sentence(self.compile(), "no version of a Replicate model to train is configured")
        self.assertEqual(self.provider.submits, 0)

    def test_a_budget_is_refused(self):
        self.configure(**self.settings, budget_usd=5)
        self.assert_sentence(self.compile(), "cannot say what the job will cost", "no job was submitted")
        self.assert_nothing_left()

    def test_an_aborted_training(self):
        self.provider.strange = "aborted"
        self.assert_sentence(self.compile(), "aborted")

    def test_tokens(self):
        self.check_tokens("replicate", "account me")

    def test_test(self):
        done = self.run_kolm("compute", "test", "replicate")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("[4/4]", done.stdout)
        self.assertNotIn("skipped", done.stdout)
        self.assert_nothing_left()
        self.assertEqual(self.provider.submits, 0)

    def test_a_test_without_a_trainer_says_what_it_did_not_test(self):
        self.configure(**{key: value for key, value in self.settings.items() if key != "trainer"})
        done = self.run_kolm("compute", "test", "replicate")
        self.assertNotIn("is ready for kolm compile", done.stdout)
        self.assertIn("replicate accepts the token; nothing else was tested: ", done.stdout)
        self.assertIn("trainer", done.stdout)

    def test_files_of_many_pages_are_found_by_name(self):
        """The result of the upload is unclear, and the file is on the third page of the list."""
        for number in range(5):
            self.provider.files["other%d" % number] = {"id": "other%d" % number, "name": "mine.jsonl", "content": b"", "born": 0}
        self.provider.fault("^POST /v1/files$", "lost")
        self.assert_sentence(self.compile())
        self.assertEqual(set(self.provider.files), {"other%d" % number for number in range(5)})


if __name__ == "__main__":
    main()
