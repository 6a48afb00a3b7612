# SPDX-License-Identifier: Apache-2.0
"""Tokens that must not appear anywhere: in the command line or environment of another program, in output, requests or files."""
import glob
import os
import secrets

VARIABLES = ["KOLM_%s_TOKEN" % name for name in ("MODAL", "RUNPOD", "VAST", "TOGETHER", "LAMBDA", "REPLICATE", "FAL")]


def tokens():
    """Returns {variable: token} for all providers, in each provider's format. They are unique to this run, because all processes of the
    machine are searched."""
    return {name: ("ak-%s:as-%s" if name == "KOLM_MODAL_TOKEN" else "%s:%s" if name == "KOLM_FAL_TOKEN" else "canary-%s_%s") % (secrets.token_hex(12), secrets.token_hex(12))
            for name in VARIABLES}


def is_kolm(path, kolm):
    """Tells whether the process is kolm itself, which has the tokens from the test, or its child before exec."""
    try:
        return os.path.samefile(os.path.join(os.path.dirname(path), "exe"), kolm)
    except OSError:
        return True  # the process is gone


def seen_while(process, kolm, canaries, over):
    """Returns what other programs have of a canary in their command line or environment, until process or `over` ends."""
    pieces = [piece.encode() for canary in canaries for piece in canary.split(":")]
    seen = []
    while process.poll() is None:
        for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
            if path.endswith("environ") and is_kolm(path, kolm):
                continue  # checked before the file is read, so that an environment of kolm is never reported as another program's
            try:
                with open(path, "rb") as file:
                    text = file.read()
            except OSError:
                continue
            if any(piece in text for piece in pieces):
                seen.append((path, text[:200]))
        if over.wait(0.05):
            break
    return seen


def files_with(folder, canaries):
    """Returns the files below folder that contain a canary."""
    pieces = [piece.encode() for canary in canaries for piece in canary.split(":")]
    found = []
    for below, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(below, name), "rb") as file:
                text = file.read()
            if any(piece in text for piece in pieces):
                found.append(os.path.join(below, name))
    return found
