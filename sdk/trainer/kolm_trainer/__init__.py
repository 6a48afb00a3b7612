# SPDX-License-Identifier: Apache-2.0
"""kolm_trainer: fine-tunes a language model as described by a job directory, and runs it (docs/trainer.md)."""

VERSION = "1"  # changes when the same job gives another result; part of the toolchain in every manifest
