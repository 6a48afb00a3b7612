#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Python environment that remote-ssh makes on a box, with wheels, a lock and a trainer made by the test; no network."""
import base64
import glob
import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import unittest
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import box as boxes  # noqa: E402
from test_remote import Case as RemoteCase, sha  # noqa: E402

PYTHON = "/usr/bin/python3"
VERSION = subprocess.check_output([PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).decode().strip()

# A trainer that needs its three packages, and answers with the first word of a row, which is its label.
TRAINER = """import json, os, sys
import torch, transformers, peft
job = sys.argv[sys.argv.index("--job") + 1]
if sys.argv[1] == "train":
    os.makedirs(os.path.join(job, "model"))
    with open(os.path.join(job, "model", "kolm_trainer.json"), "w") as out:
        out.write("{}")
    with open(os.path.join(job, "result.json"), "w") as out:
        json.dump({"format": 1, "toolchain": "toy 1", "report": {}}, out)
else:
    with open(sys.argv[sys.argv.index("--input") + 1]) as rows, open(sys.argv[sys.argv.index("--output") + 1], "w") as out:
        for row in map(json.loads, rows):
            out.write(json.dumps({"id": row["id"], "output": row["input"].split()[0], "confidence": 1.0}) + "\\n")
print(json.dumps({"event": "result", "result": {"device": "toy, " + sys.argv[sys.argv.index("--device") + 1], "toolchain": "toy 1"}}))
"""


def pip_wheel():
    """Returns the pip wheel of this machine's Python, or None."""
    places = ["/usr/share/python-wheels"] + glob.glob("/usr/lib/python3*/ensurepip/_bundled")
    return next((path for place in places for path in sorted(glob.glob(os.path.join(place, "pip-*-py3-none-any.whl")))), None)


class Case(RemoteCase):
    def setUp(self):
        super().setUp()
        self.wheels, self.trainer = os.path.join(self.dir, "wheels"), os.path.join(self.dir, "trainer")
        os.mkdir(self.wheels)
        os.makedirs(os.path.join(self.trainer, "locks"))
        with open(os.path.join(self.trainer, "__main__.py"), "w") as file:
            file.write(TRAINER)
        if pip_wheel() is None:
            self.skipTest("this machine's Python brings no wheel of pip")
        self.packages = [shutil.copy(pip_wheel(), self.wheels)] + [self.wheel(name) for name in ("torch", "transformers", "peft")]
        self.lock()
        self.set(setup=True, wheels=self.wheels)

    def set(self, **settings):
        super().set(**dict({"trainer": getattr(self, "trainer", "")}, **settings))

    def wheel(self, name, version="1.0", body="VERSION = 1\n", tag="py3-none-any", directory=None):
        info = "%s-%s.dist-info/" % (name, version)
        files = {name + "/__init__.py": body, info + "METADATA": "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version),
                 info + "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: %s\n" % tag}
        record = "".join("%s,sha256=%s,%d\n" % (path, base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode(), len(text))
                         for path, text in files.items())
        files[info + "RECORD"] = record + info + "RECORD,,\n"
        path = os.path.join(directory or self.wheels, "%s-%s-%s.whl" % (name, version, tag))
        with zipfile.ZipFile(path, "w") as out:
            for inner, text in files.items():
                out.writestr(zipfile.ZipInfo(inner), text)
        return path

    def lock(self, head="", name="local-cpu", packages=None, more="", python=">=3.6 <4.0", disk=2500000):
        lines = ["# kolm: summary tiny things\n# kolm: python %s\n# kolm: download-bytes 1500000\n# kolm: disk-bytes %d\n%s" % (python, disk, head)]
        for path in packages or self.packages:
            lines.append("%s==%s \\\n    --hash=sha256:%s\n" % (*os.path.basename(path).split("-")[:2], sha(path)))
        path = os.path.join(self.trainer, "locks", name + ".txt")
        with open(path, "w") as file:
            file.write("".join(lines) + more)
        return path

    def make(self, code=0, *words):
        return " ".join(self.run_kolm("compute", "test", "remote-ssh", *words, code=code).split())

    @property
    def place(self):
        return os.path.join(self.box.base, "runtimes", sha(os.path.join(self.trainer, "locks", "local-cpu.txt")))

    def about(self):
        with open(os.path.join(self.place, "runtime.json")) as file:
            return json.load(file)

    def pips(self):
        """Identifies the environment: each time a venv is made, its directory has another inode."""
        return os.stat(os.path.join(self.place, "venv", "pyvenv.cfg")).st_ino

    def base(self):
        path = os.path.join(self.dir, "base")
        if os.path.exists(path):  # written once: changing a base that is in use is an error
            return path
        os.makedirs(path)
        for name, text in (("config.json", "{}"), ("model.safetensors", "no weights")):
            with open(os.path.join(path, name), "w") as file:
                file.write(text)
        return path

    def lora_words(self):
        return self.compile_words() + ["--recipe", "lora", "--base", self.base()]


class Making(Case):
    def test_made_once_kept_and_used(self):
        said = self.make()
        self.assertIn("[5/5] Python environment (lora)", said)
        self.assertIn("tiny things", said)
        about = self.about()
        self.assertEqual({n: about["packages"][n] for n in ("torch", "transformers", "peft")}, dict.fromkeys(("torch", "transformers", "peft"), "1.0"))
        self.assertEqual(about["python"].rpartition(".")[0], VERSION)
        self.assertEqual(sorted(os.listdir(self.place)), ["runtime.json", "setup.log", "venv"])
        self.assertEqual(glob.glob(os.path.join(self.box.base, "jobs", "*")), [])
        before = self.pips()
        said = self.make()
        self.assertNotIn("tiny things", said)
        self.run_kolm("compute", "detect", "--refresh")
        self.assertIn("torch 1.0", self.run_kolm("compute", "info", "remote-ssh"))
        # An existing environment is used, even if none may be made any more.
        self.set()
        self.run_kolm(*self.lora_words())
        self.assertEqual(self.pips(), before)

    def test_a_job_makes_what_it_needs(self):
        said = self.run_kolm(*self.lora_words())
        self.assertIn("making a Python environment there, once (tiny things): nothing to download, about 2.5 MB on disk", " ".join(said.split()))
        self.assertTrue(os.path.exists(os.path.join(self.place, "runtime.json")))
        self.assertEqual(glob.glob(os.path.join(self.box.base, "jobs", "*")), [])

    def test_nothing_unrequested_is_made(self):
        self.set()
        said = " ".join(self.run_kolm(*self.lora_words(), code=5).split())
        for piece in ("lacks torch, transformers, peft", '"setup": true', "about 2 MB to download", "kolm compute test remote-ssh"):
            self.assertIn(piece, said)
        self.assertEqual(os.listdir(os.path.join(self.box.base, "runtimes")), [])
        self.assertIn("[4/4]", self.make())

    def test_a_named_interpreter_wins(self):
        self.make()
        own = os.path.join(self.dir, "own")
        subprocess.check_call([PYTHON, "-m", "venv", "--without-pip", own])
        python = os.path.join(own, "bin", "python")
        self.set(setup=True, wheels=self.wheels, python=python)
        said = " ".join(self.run_kolm(*self.lora_words(), code=5).split())
        self.assertIn("%s of" % python, said)
        self.assertIn("backends.remote-ssh.python", said)
        packages = glob.glob(os.path.join(own, "lib", "python3*", "site-packages"))[0]
        for path in self.packages[1:]:
            with zipfile.ZipFile(path) as file:
                file.extractall(packages)
        shutil.rmtree(os.path.join(self.box.base, "runtimes"))
        self.run_kolm(*self.lora_words())
        self.assertEqual(os.listdir(os.path.join(self.box.base, "runtimes")), [])

    def test_half_made_is_made_again(self):
        os.makedirs(os.path.join(self.place, "venv", "bin"))
        half = os.path.join(self.place, "venv", "bin", "python")
        os.symlink(PYTHON, half)
        with open(os.path.join(self.place, "runtime.json.new"), "w") as file:
            file.write("{}")
        os.chmod(self.box.base, 0o700)
        self.make()
        self.assertIn("torch", self.about()["packages"])
        before = self.pips()
        # A Python that no longer exists, as after a system upgrade.
        os.unlink(half)
        os.symlink("/nonexistent/python3.1", half)
        self.make()
        self.assertNotEqual(self.pips(), before)
        self.assertTrue(os.access(half, os.X_OK))

    def test_without_ensurepip(self):
        """As on Debian without python3-venv: pip comes from the lock."""
        self.bare_python("ensurepip")
        self.make()
        self.assertIn("torch", self.about()["packages"])
        # A lock without pip needs that of ensurepip.
        self.lock(packages=self.packages[1:])
        self.bare_python("ensurepip", "venv")
        said = self.make(5)
        self.assertIn("cannot make virtual environments", said)
        self.assertIn("install python3-venv there", said)

    def bare_python(self, *lacks):
        """Makes the box's python3 lack modules."""
        tools = os.path.join(self.box.dir, "tools")
        shutil.rmtree(tools, True)
        subprocess.check_call([PYTHON, "-m", "venv", "--without-pip", tools])
        with open(os.path.join(glob.glob(os.path.join(tools, "lib", "python3*", "site-packages"))[0], "lacks.pth"), "w") as file:
            file.write("import sys; sys.modules.update(dict.fromkeys(%r))\n" % (lacks,))
        self.box.configure(before="PATH=%s/bin:/usr/bin:/bin; export PATH" % tools)
        self.box.restart()

    def test_strange_paths_there(self):
        self.set(setup=True, wheels=self.wheels, dir=os.path.join(self.box.dir, "it's \"a\" dir\n$(touch /tmp/x) `id` é中"))
        self.run_kolm(*self.lora_words())

    def test_cleaned_when_unused(self):
        self.make()
        long_ago = os.stat(self.place).st_mtime - 40 * 86400
        os.utime(self.place, (long_ago, long_ago))
        os.unlink(os.path.join(self.box.base, "pruned"))
        self.set()
        self.make()
        self.assertFalse(os.path.exists(self.place))


class Cards(Case):
    """A box whose nvidia-smi reports a card."""

    def card(self, driver):
        tools = os.path.join(self.box.dir, "cards")
        os.makedirs(tools, exist_ok=True)
        path = os.path.join(tools, "nvidia-smi")
        with open(path, "w") as file:
            file.write("#!/bin/sh\necho 'GPU-1, NVIDIA Test, 81559, 80000, %s, 9.0'\n" % driver)
        os.chmod(path, 0o755)
        self.box.configure(before="PATH=%s:/usr/bin:/bin; export PATH" % tools)
        self.box.restart()

    def trained_on(self):
        """Returns what the receipts say about the device."""
        with open(os.path.join(self.dir, "out", "router-1.0.0.kolm.intoto.jsonl")) as file:
            return "".join(base64.b64decode(json.loads(line)["payload"]).decode() for line in file)

    def test_the_lock_of_the_card_when_its_driver_is_new_enough(self):
        path = self.lock("# kolm: nvidia-driver 580\n", name="local-cuda")
        self.card("580.65.06")
        self.run_kolm(*self.lora_words())
        self.assertIn("toy, cuda", self.trained_on())
        self.assertEqual(os.listdir(os.path.join(self.box.base, "runtimes")), [sha(path)])

    def test_processors_and_a_word_when_it_is_not(self):
        self.lock("# kolm: nvidia-driver 580\n", name="local-cuda")
        self.card("570.86.10")
        said = " ".join(self.run_kolm(*self.lora_words()).split())
        self.assertIn("trains on its processors, because kolm has no Python environment for its GPU: it needs the NVIDIA driver 580 or newer, "
                      "and that machine has NVIDIA 570.86.10", said)
        self.assertIn("toy, cpu", self.trained_on())
        self.assertEqual(os.listdir(os.path.join(self.box.base, "runtimes")), [os.path.basename(self.place)])


class Offline(Case):
    def test_a_clear_list_of_what_is_missing(self):
        for name in ("torch", "peft"):
            os.unlink(os.path.join(self.wheels, name + "-1.0-py3-none-any.whl"))
        said = self.make(5)
        self.assertIn("wheels that are missing there: torch 1.0, peft 1.0; all wheels of the environment are about 1.5 MB", said)
        self.assertIn("pip download --no-deps --require-hashes --only-binary :all: -d DIR -r " + os.path.join(self.trainer, "locks", "local-cpu.txt"), said)
        self.assertFalse(os.path.exists(os.path.join(self.place, "venv")))
        for name in ("torch", "peft"):
            self.wheel(name)
        self.make()

    def test_a_directory_there(self):
        there = os.path.join(self.box.dir, "their wheels")
        shutil.move(self.wheels, there)
        self.set(setup=True, wheels_there=there)
        self.make()
        self.assertIn("torch", self.about()["packages"])
        self.set(setup=True, wheels_there=there + "x")
        shutil.rmtree(self.place)
        self.assertIn("there is no directory %sx there" % there, self.make(5))

    def test_a_wrong_hash(self):
        self.wheel("torch", body="EVIL = 1\n")
        said = self.make(5)
        self.assertIn("torch 1.0 (torch-1.0-py3-none-any.whl has another SHA-256 than the lock)", said)
        self.assertFalse(os.path.exists(self.place + "/runtime.json"))

    def test_a_wheel_for_another_machine(self):
        os.unlink(self.packages[1])
        self.packages[1] = self.wheel("torch", tag="cp27-cp27m-win32")
        self.lock()
        self.assertIn("missing there: torch 1.0;", self.make(5))

    def test_markers(self):
        self.lock(more="elsewhere==1.0 ; sys_platform == 'win32' or python_version < '3.0' \\\n    --hash=sha256:%s\n" % ("0" * 64))
        self.make()
        self.lock(more="here==1.0 ; sys_platform == 'linux' and python_version >= '3.6' \\\n    --hash=sha256:%s\n" % ("0" * 64))
        self.assertIn("missing there: here 1.0;", self.make(5))

    def test_under_airgap_nothing_is_fetched(self):
        self.set(setup=True, index_url="https://127.0.0.1:9/simple")
        words = self.lora_words() + ["--airgap", "--allow-private-remote"]
        said = " ".join(self.run_kolm(*words, code=5).split())
        self.assertIn("wheels that are missing there: pip ", said)
        self.set(setup=True, wheels=self.wheels)
        self.run_kolm(*words)

    def test_a_box_without_a_network(self):
        self.set(setup=True, index_url="http://127.0.0.1:9/simple")
        said = self.make(5)
        self.assertIn("wheels that are missing there: pip ", said)
        self.assertIn("peft 1.0; all wheels", said)
        self.assertIn("127.0.0.1:9", said)

    def test_a_machine_that_no_lock_is_for(self):
        self.lock("# kolm: system amiga\n")
        self.assertIn("kolm has no Python environment for", self.make(5))
        self.lock("# kolm: unavailable the moon is down\n")
        self.assertIn("the moon is down", self.make(5))
        self.lock(python=">=3.90")
        self.assertIn("the environment needs Python >=3.90, which is not installed there: /usr/bin/python3 is " + VERSION, self.make(5))

    def test_no_room_on_the_disk(self):
        self.lock(disk=9007199254740991)
        self.assertIn("MB are needed", self.make(5))


class Fetching(Case):
    """An index on loopback, like a mirror."""

    def setUp(self):
        super().setUp()
        self.asked, self.holding, self.held = [], None, threading.Event()
        case = self

        class Index(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                name = os.path.basename(handler.path.rstrip("/"))
                if handler.path.startswith("/simple/"):
                    body = "".join('<a href="/files/%s">%s</a>' % (f, f) for f in os.listdir(case.wheels) if f.startswith(name + "-")).encode()
                else:
                    case.asked.append(name)
                    if case.holding and name.startswith(case.holding):
                        case.held.wait(60)
                    with open(os.path.join(case.wheels, name), "rb") as file:
                        body = file.read()
                try:
                    handler.send_response(200)
                    handler.send_header("Content-Type", "text/html" if handler.path.startswith("/simple/") else "application/octet-stream")
                    handler.send_header("Content-Length", str(len(body)))
                    handler.end_headers()
                    handler.wfile.write(body)
                except OSError:
                    pass

            def log_message(self, *words):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for step in (server.server_close, thread.join, server.shutdown, self.held.set):
            self.addCleanup(step)
        self.set(setup=True, index_url="http://ana:s3cret@127.0.0.1:%d/simple" % server.server_port)

    def test_fetched_and_reported(self):
        said = self.make()
        self.assertIn("about 1.5 MB to download", said)
        self.assertNotIn("s3cret", said)
        self.assertEqual(sorted(name.split("-")[0] for name in self.asked), ["peft", "pip", "pip", "torch", "transformers"])
        self.assertIn("torch", self.about()["packages"])
        with open(os.path.join(self.place, "setup.log")) as file:
            self.assertIn("Downloading", file.read())

    def test_another_file_on_the_index(self):
        self.wheel("peft", body="EVIL = 1\n")
        said = self.make(5)
        self.assertIn("the file of peft", said)
        self.assertIn("does not match the lock", said)
        self.assertFalse(os.path.exists(os.path.join(self.place, "runtime.json")))
        with open(os.path.join(self.wheels, os.path.basename(self.packages[0])), "ab") as file:
            file.write(b"more")
        shutil.rmtree(self.place)
        self.assertIn("the file of pip does not match the lock", self.make(5))

    def begin_and_hold(self):
        self.holding = "transformers"
        process = self.start(*self.lora_words())
        self.wait_for(lambda: any(name.startswith("transformers") for name in self.asked))
        return process

    def test_two_at_once_fetch_it_once(self):
        """Two start the same job, and a third would make the environment from wheels: it waits for them, and makes nothing."""
        first = self.begin_and_hold()
        second = self.start(*self.lora_words(), folder="second")
        other = os.path.join(self.dir, "other")
        shutil.copytree(self.env["KOLM_HOME"], other, ignore=shutil.ignore_patterns("*.tmp", "jobs"))  # the other two write there
        self.env["KOLM_HOME"] = other
        self.set(setup=True, wheels=self.wheels)
        third = self.start(*self.lora_words(), folder="third")
        self.wait_for(lambda: self.waiters() > 0)
        self.held.set()
        for process in (first, second, third):
            said = process.communicate(timeout=120)[0].decode()
            self.assertEqual(process.returncode, 0, said)
        self.assertEqual(len(self.asked), 5)

    def waiters(self):
        """Returns how many processes wait for the lock of an environment, according to the lines with an arrow in /proc/locks."""
        inode = os.stat(os.path.join(self.box.base, "locks", "runtime-" + os.path.basename(self.place))).st_ino
        with open("/proc/locks") as file:
            return sum("-> FLOCK" in line and ":%d " % inode in line for line in file)

    def test_cancelled_midway(self):
        process = self.begin_and_hold()
        # No secret is visible in a process list.
        self.assertNotIn("s3cret", subprocess.check_output(["ps", "-eo", "args"]).decode("utf-8", "replace"))
        os.kill(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[0].decode()
        self.assertEqual(process.returncode, 130, said)
        self.wait_for(lambda: not self.box.running())
        self.assertFalse(os.path.exists(os.path.join(self.place, "runtime.json")))
        self.holding = None
        self.held.set()
        self.run_kolm(*self.lora_words(), folder="again")
        self.assertIn("torch", self.about()["packages"])

    def test_cut_and_killed_midway(self):
        process = self.begin_and_hold()
        self.wait_for(lambda: self.box.cut() > 0)
        self.wait_for(lambda: self.box.sessions())
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        self.wait_for(lambda: not self.box.sessions())
        self.assertTrue(self.box.running())  # the box continues
        again = self.start(*self.lora_words())
        self.wait_for(lambda: self.box.sessions())
        self.held.set()
        said = again.communicate(timeout=120)[0].decode()
        self.assertEqual(again.returncode, 0, said)
        self.assertEqual(len([name for name in self.asked if name.startswith("torch")]), 1)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[3:])
