#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of the trainer that need torch, each file in a fork of a process that has loaded the libraries, two at a time.

usage: test_torch.py TRAINER FILE...: each file can run alone too, as FILE TRAINER
"""
import importlib
import os
import sys
import tempfile
import traceback
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import real  # noqa: E402

if __name__ == "__main__":
    real.enter()

import causal_case  # noqa: E402

AT_ONCE = 2


def begin(file):
    """Returns the process and the file of its output."""
    name = os.path.splitext(os.path.basename(file))[0]
    output = tempfile.TemporaryFile()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            for number in (1, 2):
                os.dup2(output.fileno(), number)
            unittest.main(module=importlib.import_module(name), argv=[name])
        except SystemExit as end:
            status = end.code
        except BaseException:  # nothing else would print it
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return pid, output


def main():
    causal_case.warm()
    waiting, running, failed = sys.argv[2:], {}, False
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            file = waiting.pop(0)
            pid, output = begin(file)
            running[pid] = file, output
        pid, status = os.wait()
        file, output = running.pop(pid)
        output.seek(0)
        print(f"== {os.path.basename(file)}: {os.waitstatus_to_exitcode(status)}", flush=True)
        sys.stdout.buffer.write(output.read())
        output.close()
        failed |= status != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
