# SPDX-License-Identifier: Apache-2.0
"""Files that are complete or absent, and locks."""
import errno
import fcntl
import hashlib
import json
import os

from frames import CHUNK, HEADER_MAX


def make_dir(path):
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def make_dirs(path):
    if os.path.isdir(path):
        return
    make_dirs(os.path.dirname(path))
    make_dir(path)


def sync_dir(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError:
        pass  # not supported by some network file systems
    finally:
        os.close(fd)


def write_whole(path, value):
    """Writes value as JSON to path, completely or not at all."""
    temporary = "%s.%d" % (path, os.getpid())
    try:
        with open(temporary, "wb") as file:
            file.write(json.dumps(value).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError:
        remove(temporary)
        raise
    sync_dir(os.path.dirname(path))


def read_json(path):
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read(HEADER_MAX).decode("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def remove(path):
    try:
        os.unlink(path)
    except OSError:
        pass


def digest_file(path):
    sha = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            sha.update(chunk)
    return sha.hexdigest()


def lock(path, wait):
    """Returns a descriptor that holds the lock, or None. Close it to release the lock."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(path) and os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
            os.close(fd)  # its previous holder renamed or removed the file: try again
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise
