# SPDX-License-Identifier: Apache-2.0
"""The exception for all failures of the trainer: a code of the backend ABI, what happened, and what to do next."""

CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
NOT_FOUND = 5
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
UNIMPLEMENTED = 12
INTERNAL = 13
DATA_LOSS = 15


class TrainerError(Exception):
    """code: one of the above, the numbers of kolm/backend.h. text: what happened, and to what. remedy: what to do."""

    def __init__(self, code, text, remedy=""):
        super().__init__(text)
        self.code, self.text, self.remedy = code, text, remedy


def cancelled():
    return TrainerError(CANCELLED, "training was stopped", "run the same command again: it continues where it stopped")
