# SPDX-License-Identifier: Apache-2.0
"""Tokens that must be nowhere: not in the command line or environment of another program, not in what is printed, asked for or written."""
import glob
import os
import secrets

VARIABLES = ["KOLM_%s_TOKEN" % name for name in ("MODAL", "RUNPOD", "VAST", "TOGETHER", "LAMBDA", "REPLICATE", "FAL")]


def tokens():
    """{variable: token} for all providers, of this run alone, as other processes of the machine are looked at, too. In the form that each provider has."""
    return {name: ("ak-%s:as-%s" if name == "KOLM_MODAL_TOKEN" else "%s:%s" if name == "KOLM_FAL_TOKEN" else "canary-%s_%s") % (secrets.token_hex(12), secrets.token_hex(12))
            for name in VARIABLES}


def is_kolm(path, kolm):
    """kolm itself, to which the test gave them; and a child of it that has not begun its program yet."""
    try:
        return os.path.samefile(os.path.join(os.path.dirname(path), "exe"), kolm)
    except OSError:
        return True  # it is gone


def seen_while(process, kolm, canaries, over):
    """What of other programs has a canary in its command line or environment, until process or `over` ends."""
    pieces = [piece.encode() for canary in canaries for piece in canary.split(":")]
    seen = []
    while process.poll() is None:
        for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
            if path.endswith("environ") and is_kolm(path, kolm):
                continue  # asked before it is read: what is another program by now was not kolm then
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
    """Files below it that have one."""
    pieces = [piece.encode() for canary in canaries for piece in canary.split(":")]
    found = []
    for below, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(below, name), "rb") as file:
                text = file.read()
            if any(piece in text for piece in pieces):
                found.append(os.path.join(below, name))
    return found
