# SPDX-License-Identifier: Apache-2.0
"""kolm_trainer: fine-tunes a language model as a job directory asks, and answers with it (docs/trainer.md)."""

VERSION = "1"  # of what the trainer makes of the same job: part of the toolchain in every manifest
