# SPDX-License-Identifier: Apache-2.0
"""Parses and validates the fields of requests, which are untrusted."""
import os
import re

from errors import INVALID_ARGUMENT, Refused

DIGEST = re.compile(r"[0-9a-f]{64}\Z")
SOCKET = re.compile(r"kolm-[0-9a-f]{32}\Z")
NAME_ID = re.compile(r"[0-9a-f]{16,64}\Z")


def to_path(text):
    """Converts a path or a name from JSON to what this Python's file functions expect, in any locale."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def to_text(path):
    """The reverse, for display: bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def text_of(request, key, pattern=None):
    value = request.get(key)
    if not isinstance(value, str) or "\0" in value or (pattern and not pattern.match(value)):
        raise Refused(INVALID_ARGUMENT, "%s of %s is invalid" % (key, request.get("verb")))
    return value


def count_of(request, key, fallback=None):
    value = request.get(key, fallback)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Refused(INVALID_ARGUMENT, "%s of %s is not a count" % (key, request.get("verb")))
    return value


def list_of(request, key):
    value = request.get(key, [])
    if not isinstance(value, list):
        raise Refused(INVALID_ARGUMENT, "%s of %s is not a list" % (key, request.get("verb")))
    return value


def is_safe(name):
    """Same rules as kit_path_is_safe: true if the name stays inside its directory, whichever program uses it."""
    return (isinstance(name, str) and 0 < len(name.encode("utf-8", "surrogatepass")) <= 255 and "\\" not in name and
            not any(ord(c) < 32 or ord(c) == 127 or 0xd800 <= ord(c) < 0xe000 for c in name) and
            all(part not in ("", ".", "..") for part in name.split("/")))


def safe_name(name):
    if not is_safe(name):
        raise Refused(INVALID_ARGUMENT, "%s is not a name inside a directory" % ascii(name)[:200])
    return to_path(name)


def files_of(request):
    """Returns [(name, digest, size, executable)]."""
    files, seen = [], set()
    for item in list_of(request, "files"):
        if not isinstance(item, dict):
            raise Refused(INVALID_ARGUMENT, "a file of %s is not an object" % request.get("verb"))
        name = safe_name(item.get("name"))
        if name in seen:
            raise Refused(INVALID_ARGUMENT, "%s is listed twice" % ascii(name))
        seen.add(name)
        files.append((name, text_of(item, "sha256", DIGEST), count_of(item, "size"), item.get("executable") is True))
    return files
