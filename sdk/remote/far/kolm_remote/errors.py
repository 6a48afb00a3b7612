# SPDX-License-Identifier: Apache-2.0
"""Failures as reported to the near end, with the codes of the backend ABI."""
import errno

CANCELLED, UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED = 1, 2, 3, 5, 6, 7, 8
FAILED_PRECONDITION, ABORTED, INTERNAL, UNAVAILABLE, DATA_LOSS = 9, 10, 13, 14, 15

caller = {"backend": ""}  # the backend at the near end, from hello


class Refused(Exception):
    """A failure that is reported to the near end."""

    def __init__(self, code, text, remedy=""):
        Exception.__init__(self, text)
        self.code, self.text, self.remedy = code, text, remedy


def setting(key):
    """The full name of a setting of that backend."""
    return "backends.%s.%s" % (caller["backend"], key)


def of_error(error, what):
    """The Refused for an OSError."""
    codes = {errno.ENOENT: NOT_FOUND, errno.EACCES: PERMISSION_DENIED, errno.EPERM: PERMISSION_DENIED,
             errno.EROFS: PERMISSION_DENIED, errno.ENOSPC: RESOURCE_EXHAUSTED, errno.EDQUOT: RESOURCE_EXHAUSTED,
             errno.EFBIG: RESOURCE_EXHAUSTED, errno.ENOMEM: RESOURCE_EXHAUSTED, errno.EMFILE: RESOURCE_EXHAUSTED}
    code = codes.get(error.errno, UNKNOWN)
    remedy = ""
    if code == RESOURCE_EXHAUSTED:
        remedy = "free some space there, or name a directory on another disk in config.json: " + setting("dir")
    elif code == PERMISSION_DENIED:
        remedy = "name a writable directory there in config.json: " + setting("dir")
    return Refused(code, "%s: %s" % (what, error.strerror or error), remedy)
