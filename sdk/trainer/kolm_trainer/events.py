# SPDX-License-Identifier: Apache-2.0
"""Sends events as JSON lines to standard output; what libraries print goes to standard error instead."""

import json
import math
import os
import signal
import sys
import time

_out = None
_muted = False
_stop = False
_PROGRESS_SECONDS = 0.1  # users do not need more than ten a second
_last_progress = 0.0


def open_stream(muted=False):
    """Reserves descriptor 1 for events. muted: send only errors, in a process of a group other than the first."""
    global _out, _muted
    _muted = muted
    sys.stdout.flush()
    _out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, _on_stop)
    signal.signal(signal.SIGINT, _on_stop)


def _on_stop(_number, _frame):
    global _stop
    _stop = True


def stopping():
    """True once SIGTERM or SIGINT has arrived."""
    return _stop


def _say(event, always=False):
    if _out is None or (_muted and not always):
        return
    _out.write(json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n")
    _out.flush()


def log(level, text):
    _say({"event": "log", "level": level, "text": text})


def metric(name, value):
    if math.isfinite(value):
        _say({"event": "metric", "name": name, "value": value})


def progress(phase, step, total, loss=None, tokens_per_second=None):
    """Always sends the last step of a phase, others at most ten times a second."""
    global _last_progress
    now = time.monotonic()
    if step != total and now - _last_progress < _PROGRESS_SECONDS:
        return
    _last_progress = now
    finite = lambda value: value if value is not None and math.isfinite(value) else None
    _say({"event": "progress", "phase": phase, "step": step, "total": total, "loss": finite(loss),
          "tokens_per_second": finite(tokens_per_second)})


def result(value):
    _say({"event": "result", "result": value})


def error(failure):
    """Sent from muted processes, too: the one that fails need not be the first."""
    _say({"event": "error", "code": failure.code, "text": failure.text, "remedy": failure.remedy}, always=True)
