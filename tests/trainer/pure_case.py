# SPDX-License-Identifier: Apache-2.0
"""What the tests of the trainer without libraries share: a folder, and the check of a refusal."""
import json
import os
import shutil
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.abspath(sys.argv[1]))
from kolm_trainer.errors import TrainerError  # noqa: E402


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-trainer-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def write(self, name, data):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data if isinstance(data, bytes) else json.dumps(data).encode())
        return path

    def refused(self, code, words, call, *arguments):
        """Checks that the call fails with this code, these words, and a remedy."""
        with self.assertRaises(TrainerError) as caught:
            call(*arguments)
        self.assertIn(words, caught.exception.text)
        self.assertEqual(caught.exception.code, code, caught.exception.text)
        self.assertTrue(caught.exception.remedy, caught.exception.text)
        return caught.exception
