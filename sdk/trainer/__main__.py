# SPDX-License-Identifier: Apache-2.0
"""Runs the trainer from its directory: `python -s -B DIR train --job JOB --device cpu`."""

import sys

from kolm_trainer.cli import main

sys.exit(main(sys.argv[1:]))
