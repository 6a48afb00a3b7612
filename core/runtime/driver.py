# SPDX-License-Identifier: Apache-2.0
# The Python side of `kolm compute setup`, run as PYTHON -I -B -c THIS VERB WORDS...: one verb for each step.
# Standard input is a pipe that kolm holds open: end of file means that kolm has died, and nothing of this group may keep running.
# The answer is one line of JSON after MARK; anything else that is printed goes to the log.
import json
import os
import signal
import sys
import threading

MARK = "kolm-answer "


def watch():
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def probe():
    """What this interpreter is, and whether it can make a virtual environment with pip in it."""
    import platform
    try:
        import ensurepip
        import venv
        able = bool(ensurepip and venv)
    except ImportError:
        able = False
    return {"version": "%d.%d.%d" % sys.version_info[:3], "major": sys.version_info[0], "minor": sys.version_info[1],
            "venv": able, "executable": sys.executable, "system": platform.system().lower(),
            "machine": platform.machine().lower()}


def wheel_of_pip():
    """The wheel from which ensurepip installs pip, or None if it is in none of the usual places."""
    import glob
    import ensurepip
    import sysconfig
    for place in (sysconfig.get_config_var("WHEEL_PKG_DIR"), os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")):
        found = glob.glob(os.path.join(glob.escape(place), "pip-*.whl")) if place else []
        if found:
            return max(found)
    return None


def make(path):
    """Makes an empty virtual environment at path, and removes what was there."""
    import venv
    # ensurepip takes most of the time of a setup, and installs what no lock names: pip runs from its wheel instead.
    venv.EnvBuilder(clear=True, symlinks=os.name != "nt", with_pip=wheel_of_pip() is None).create(path)
    return {}


def install(*words):
    """pip, in the environment of this interpreter: the one that is installed there, or else the one that came with Python."""
    import importlib.util
    import runpy
    if importlib.util.find_spec("pip") is None:
        sys.path.insert(0, wheel_of_pip())
    sys.argv = ["pip", "install", *words]
    try:
        runpy.run_module("pip", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
    return {}


def rewrite(path, old, new):
    with open(path, "rb") as file:
        text = file.read()
    if old in text and b"\0" not in text:
        with open(path, "wb") as file:
            file.write(text.replace(old, new))


def finish(path, place):
    """Makes the scripts of the environment at path refer to its final place; returns what is installed in it."""
    import sysconfig
    from importlib.metadata import distributions
    old, new = os.fsencode(path), os.fsencode(place)
    scripts = sysconfig.get_path("scripts")
    for name in os.listdir(scripts):
        if not os.path.islink(os.path.join(scripts, name)):
            rewrite(os.path.join(scripts, name), old, new)
    rewrite(os.path.join(path, "pyvenv.cfg"), old, new)
    packages = {str(d.metadata["Name"]).lower().replace("_", "-"): d.version for d in distributions()}
    return {"python": "%d.%d.%d" % sys.version_info[:3], "packages": dict(sorted(packages.items()))}


threading.Thread(target=watch, daemon=True).start()
answer = {"probe": probe, "venv": make, "install": install, "finish": finish}[sys.argv[1]](*sys.argv[2:])
print("\n" + MARK + json.dumps(answer), flush=True)
