#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm with remote-ssh against a real sshd: the same bytes as on this machine, and every kind of interruption."""
import base64
import glob
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import box as boxes  # noqa: E402

os.umask(0o022)
KOLM, ENGINE = (os.path.abspath(word) for word in sys.argv[1:3])
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZED = b"__asan_init" in open(KOLM, "rb").read()
WHY_NOT = boxes.usable() or ("the engine of a sanitized build runs only where it was built" if SANITIZED else "")

# A kolm on the box that waits until a test releases it: the real engine, controlled by two files.
SLOW_KOLM = """#!/usr/bin/python3
import os, sys, time
if sys.argv[1:] == ["--version"]:
    print("kolm 9.9.9")
    sys.exit()
assert sys.argv[1:4] == ["job", "run", "--threads"], sys.argv
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "runs"), "a") as file:
    file.write("%%d\\n" %% os.getpid())
print('{"event":"progress","phase":"waiting","step":1,"total":2}', flush=True)
while not os.path.exists(os.path.join(here, "go")):
    time.sleep(0.02)
os.execv(%r, ["kolm-linear", "--threads", sys.argv[4], sys.argv[5]])
"""


def sha(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def tickets(path, rows=400, seed=3):
    draw = random.Random(seed)
    with open(path, "w") as file:
        for i in range(rows):
            label = draw.choice(("billing", "login", "outage"))
            words = " ".join(draw.choices(("please", "help", "the", "order", "today", "again", "é中"), k=6))
            file.write(json.dumps({"input": "%s %s %d" % (label, words, i), "output": label}, ensure_ascii=False) + "\n")


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Case(unittest.TestCase):
    box_options = {}

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-near-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.box = boxes.Box(**self.box_options)
        self.addCleanup(self.box.remove)
        self.data = os.path.join(self.dir, "tickets.jsonl")
        tickets(self.data)
        self.env = {"KOLM_HOME": os.path.join(self.dir, "kolm"), "HOME": self.dir, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8",
                    "KOLM_REMOTE_HOST": "%s@127.0.0.1:%d" % (boxes.USER, self.box.port)}
        os.mkdir(self.env["KOLM_HOME"])
        self.set()

    def set(self, **settings):
        own = {"identity_file": self.box.user_key, "known_hosts": self.box.known, "ssh_config": "none", "patience_seconds": 60}
        own = {key: value for key, value in {**own, **settings}.items() if value is not None}
        with open(os.path.join(self.env["KOLM_HOME"], "config.json"), "w") as file:
            json.dump({"backends": {"remote-ssh": own}}, file)

    def start(self, *words, folder="out"):
        out = os.path.join(self.dir, folder)
        os.makedirs(out, exist_ok=True)
        return subprocess.Popen([KOLM] + list(words), cwd=out, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, start_new_session=True)

    def run_kolm(self, *words, folder="out", code=0):
        process = self.start(*words, folder=folder)
        said = process.communicate(timeout=120)[0].decode("utf-8", "replace")
        self.assertEqual(process.returncode, code, said)
        return said

    def compile_words(self, backend="remote-ssh"):
        return ["compile", "-t", "router", "-d", self.data, "--backend", backend, "--force", "--effort", "quick"]

    def compile(self, backend="remote-ssh", folder="out", code=0):
        return self.run_kolm(*self.compile_words(backend), folder=folder, code=code)

    def artifact(self, folder="out"):
        return sha(os.path.join(self.dir, folder, "router-1.0.0.kolm"))

    def local(self):
        self.compile("local-cpu", folder="local")
        return self.artifact("local")

    def slow(self):
        """Installs the waiting kolm on the box; returns the function that releases it."""
        path = os.path.join(self.box.dir, "kolm")
        with open(path, "w") as file:
            file.write(SLOW_KOLM % ENGINE)
        os.chmod(path, 0o755)
        self.set(kolm=path)

        def go():
            with open(os.path.join(self.box.dir, "go"), "w"):
                pass
        return go

    def runs(self):
        try:
            with open(os.path.join(self.box.dir, "runs")) as file:
                return [int(line) for line in file]
        except OSError:
            return []

    def wait_for(self, what, seconds=60):
        end = time.monotonic() + seconds
        while not what():
            self.assertLess(time.monotonic(), end, "waited in vain")
            time.sleep(0.02)


class Work(Case):
    def test_the_same_bytes_as_here(self):
        self.compile()
        self.assertEqual(self.artifact(), self.local())
        self.assertEqual(glob.glob(os.path.join(self.box.base, "jobs", "*")), [])
        self.run_kolm("verify", "router-1.0.0.kolm")
        # The second time, only the job's own description has to be sent.
        before = {path: os.stat(path).st_ino for path in glob.glob(os.path.join(self.box.base, "blobs", "*", "*"))}
        self.compile(folder="again")
        self.assertEqual(self.artifact("again"), self.artifact())
        after = {path: os.stat(path).st_ino for path in glob.glob(os.path.join(self.box.base, "blobs", "*", "*"))}
        self.assertEqual({p: after.get(p) for p in before}, before)

    def test_the_four_steps(self):
        said = json.loads(self.run_kolm("compute", "test", "remote-ssh", "--json"))
        self.assertTrue(said["passed"], said)
        self.assertEqual([step["outcome"] for step in said["steps"]], ["ok"] * 4)
        self.assertIn("SHA256:", said["steps"][0]["note"])
        self.assertIn("cores", said["steps"][1]["note"])
        self.assertIn("the same bytes twice", said["steps"][3]["note"])
        self.run_kolm("compute", "detect", "--refresh")
        self.assertIn("as seen on", self.run_kolm("compute", "info", "remote-ssh"))

    def test_a_box_by_its_name(self):
        self.set(boxes={"lab box": {"host": self.env["KOLM_REMOTE_HOST"], "dir": "~/a b"}})
        self.env["KOLM_REMOTE_HOST"] = "lab box"
        self.compile()
        self.assertTrue(os.path.isdir(os.path.join(self.box.home, "a b", "kolm-remote", "blobs")))

    def test_strange_paths_there(self):
        self.set(dir=os.path.join(self.box.dir, "it's \"a\" dir\n$(touch /tmp/x) `id` é中"))
        self.compile()
        self.assertEqual(self.artifact(), self.local())

    def test_two_at_once(self):
        both = [self.start(*self.compile_words(), folder="two%d" % i) for i in range(2)]
        for process in both:
            said = process.communicate(timeout=120)[0]
            self.assertEqual(process.returncode, 0, said)
        self.assertEqual(self.artifact("two0"), self.artifact("two1"))


class Status(Case):
    def status(self, *words, code=0):
        """Returns {(place, kind, state): [names]} and each backend's report."""
        said = self.run_kolm("compute", "status", "remote-ssh", "--json", *words, code=code)
        value, found = json.loads(said[said.index("{\n"):said.rindex("}") + 1]), {}
        for row in value["elsewhere"]:
            found.setdefault((row["place"], row["kind"], row["state"]), []).append(row["name"])
        return found, value["asked"][0]

    def test_what_a_job_left_and_that_it_goes(self):
        place = self.env["KOLM_REMOTE_HOST"]
        self.assertEqual(self.status(), ({}, {"backend": "remote-ssh", "summary": "1 machine"}))
        self.set(keep=True)
        self.compile()
        found, _ = self.status()
        self.assertEqual(len(found.pop((place, "job", "idle"))), 2)  # the training, and the answers to the held-out rows
        files = found.pop((place, "files", "idle"))
        self.assertIn("blobs", files)
        self.assertEqual(found, {})
        text = self.run_kolm("compute", "status", "--remote")
        self.assertRegex(text, r"(?m)^  job .* idle .* done; ")
        found, _ = self.status("--prune")  # default is a day: nothing is that old
        self.assertEqual(found.keys(), {(place, "job", "idle"), (place, "files", "idle")})
        found, _ = self.status("--prune", "--older", "0s")
        self.assertEqual(sorted(found[place, "files", "removed"]), sorted(files))
        self.assertEqual(found.keys(), {(place, "job", "removed"), (place, "files", "removed")})
        self.assertEqual(self.status()[0], {})
        for name in ("jobs", "trees", "blobs", "parts", "locks"):
            left = [leaf for _, _, leaves in os.walk(os.path.join(self.box.base, name)) for leaf in leaves]
            self.assertEqual(left, [], name)
        self.compile()  # sends everything again

    def test_what_runs_stays(self):
        go = self.slow()
        process = self.start(*self.compile_words())
        self.wait_for(lambda: len(self.runs()) == 1)
        found, _ = self.status("--prune", "--older", "0s")
        place = self.env["KOLM_REMOTE_HOST"]
        self.assertEqual(len(found[place, "job", "in use"]), 1)
        self.assertEqual([key for key in found if key[2] == "removed"], [])
        go()
        self.assertEqual(process.wait(60), 0, process.stdout.read())
        process.stdout.close()
        self.assertEqual(self.artifact(), self.local())

    def test_several_boxes_one_of_them_away(self):
        other = boxes.Box()
        self.addCleanup(other.remove)
        own = {"identity_file": other.user_key, "known_hosts": other.known}
        host = "%s@127.0.0.1:%d" % (boxes.USER, other.port)
        self.set(boxes={"two": dict(own, host=host), "same": {"host": self.env["KOLM_REMOTE_HOST"]},
                        "gone": {"host": "ana@127.0.0.1:%d" % boxes.free_port()}})
        self.compile()
        self.env["KOLM_REMOTE_HOST"], first = "two", self.env["KOLM_REMOTE_HOST"]
        self.compile()
        self.env["KOLM_REMOTE_HOST"] = first
        found, asked = self.status(code=5)
        self.assertEqual({key[0] for key in found}, {first, "two"})  # and "same" is not listed twice
        self.assertRegex(asked["error"], "gone|127.0.0.1")
        del self.env["KOLM_REMOTE_HOST"]
        self.set(boxes={"two": dict(own, host=host)})
        found, asked = self.status()
        self.assertEqual(({key[0] for key in found}, asked["summary"]), ({"two"}, "1 machine"))

    def test_none_is_known(self):
        del self.env["KOLM_REMOTE_HOST"]
        self.assertIn("no backend that is set up keeps anything", self.run_kolm("compute", "status", "--remote"))
        self.assertIn("KOLM_REMOTE_HOST", self.run_kolm("compute", "status", "remote-ssh", code=5))


class Airgap(Case):
    def receipt(self):
        with open(os.path.join(self.dir, "out", "router-1.0.0.kolm.intoto.jsonl")) as file:
            payloads = [json.loads(base64.b64decode(json.loads(line)["payload"])) for line in file]
        return next(p["predicate"] for p in payloads if "airgap" in p["predicate"])

    def test_a_private_machine_with_leave(self):
        said = self.run_kolm(*self.compile_words(), "--airgap", "--allow-private-remote")
        self.assertIn("private address", said)
        airgap = self.receipt()["airgap"]
        self.assertEqual((airgap["requested"], airgap["enforced"], airgap["profile"]), (True, False, "private-remote"))
        finger = subprocess.check_output(["ssh-keygen", "-l", "-f", self.box.host_key + ".pub"]).decode().split()[1]
        self.assertIn(finger, json.dumps(self.receipt()))
        self.assertEqual(self.artifact(), self.local())

    def test_not_without_leave(self):
        self.run_kolm(*self.compile_words(), "--airgap", code=5)
        self.assertFalse(os.path.exists(self.box.base))

    def test_no_other_machine(self):
        for target in ("8.8.8.8", "example.org", "[2001:4860:4860::8888]:22"):
            self.env["KOLM_REMOTE_HOST"] = target
            self.run_kolm(*self.compile_words(), "--airgap", "--allow-private-remote", code=5)

    def test_a_private_name_that_the_configuration_sends_elsewhere(self):
        path = os.path.join(self.dir, "ssh_config")
        with open(path, "w") as file:
            file.write("Host 127.0.0.1\n  HostName 192.0.2.1\n")
        self.set(ssh_config=path)
        said = self.run_kolm(*self.compile_words(), "--airgap", "--allow-private-remote", code=5)
        self.assertIn("does not allow", " ".join(said.split()))

    def test_no_way_through_another_machine(self):
        path = os.path.join(self.dir, "ssh_config")
        with open(path, "w") as file:
            file.write("Host 127.0.0.1\n  ProxyJump %s\n" % self.env["KOLM_REMOTE_HOST"])
        self.set(ssh_config=path)
        said = " ".join(self.run_kolm(*self.compile_words(), "--airgap", "--allow-private-remote", code=5).split())
        self.assertIn("ProxyJump", said)
        self.assertFalse(os.path.exists(self.box.base))


class Shells(Case):
    def test_login_shells_and_what_they_print(self):
        noise = "echo 'Welcome to the box'; printf '\\000\\377\\n'; echo noise >&2; head -c 100000 /dev/zero"
        tried = []
        here = self.local()
        for shell in ("/bin/sh", "/bin/bash", "/bin/bash -l", "/usr/bin/dash", "/usr/bin/zsh", "/usr/bin/fish", "/bin/busybox sh",
                      "/usr/bin/tcsh", "/usr/bin/mksh"):
            with self.subTest(shell=shell):
                if not os.path.exists(shell.split()[0]):
                    self.skipTest("no %s here" % shell.split()[0])
                self.box.configure(shell, noise)
                self.box.restart()
                self.compile(folder="shell%d" % len(tried))
                self.assertEqual(self.artifact("shell%d" % len(tried)), here)
                tried.append(shell)
        self.assertGreaterEqual(len(tried), 2)

    @unittest.skipUnless(os.path.exists("/bin/busybox"), "no busybox here")
    def test_a_box_of_busybox(self):
        """The box only has BusyBox and Python 3, like a small appliance."""
        tools = os.path.join(self.box.dir, "tools")
        os.mkdir(tools)
        subprocess.check_call(["/bin/busybox", "--install", "-s", tools])
        os.symlink("/usr/bin/python3", os.path.join(tools, "python3"))
        self.box.configure("/bin/busybox sh", "PATH=%s; export PATH" % tools)
        self.box.restart()
        self.compile()
        self.assertEqual(self.artifact(), self.local())

    def test_a_box_without_python(self):
        self.box.configure(before="PATH=/nonexistent; export PATH")
        self.box.restart()
        said = self.compile(code=5)
        self.assertIn("python3", said)
        self.assertIn("install Python 3.6", said)

    def test_a_box_whose_words_only_sound_like_it(self):
        """It has a Python; kolm fails there for another reason, although the message mentions python3."""
        self.box.configure(before="echo 'python3 is for the compute nodes' >&2; exit 3")
        self.box.restart()
        said = self.compile(code=5)
        self.assertIn("python3 is for the compute nodes", said)
        self.assertNotIn("install Python", said)
        self.assertIn("must work without a terminal", said)

    def test_a_box_that_prints_without_end(self):
        self.box.configure(before="exec /usr/bin/yes")
        self.box.restart()
        self.assertIn("does not speak kolm's protocol", self.compile(code=5))

    def test_a_box_that_closes_at_once(self):
        self.box.configure(before="exit 3")
        self.box.restart()
        self.set(patience_seconds=1)
        self.compile(code=5)


class Cuts(Case):
    def test_cut_while_it_runs_it_continues(self):
        go = self.slow()
        process = self.start(*self.compile_words())
        self.wait_for(lambda: len(self.runs()) == 1)
        for _ in range(3):
            self.wait_for(lambda: self.box.cut() > 0)
        go()
        said = process.communicate(timeout=120)[0].decode()
        self.assertEqual(process.returncode, 0, said)
        self.assertEqual(len(self.runs()), 2)  # the training and the answering, once each
        self.assertEqual(self.artifact(), self.local())

    def test_the_server_is_away_for_a_while(self):
        go = self.slow()
        process = self.start(*self.compile_words())
        self.wait_for(lambda: len(self.runs()) == 1)
        self.box.stop()
        go()
        self.wait_for(lambda: not self.box.running())  # it ends while no client is connected
        self.box.start()
        said = process.communicate(timeout=120)[0].decode()
        self.assertEqual(process.returncode, 0, said)
        self.assertEqual(self.artifact(), self.local())

    def test_cut_at_any_time(self):
        draw = random.Random(7)
        here = self.local()
        for i in range(4):
            shutil.rmtree(self.box.base, True)
            process = self.start(*self.compile_words(), folder="cut%d" % i)
            self.wait_for(lambda: os.path.isdir(os.path.join(self.box.base, "locks")))
            cuts = 0
            while process.poll() is None and cuts < 5:
                end = time.monotonic() + draw.random() * 0.3
                while time.monotonic() < end:
                    time.sleep(0.01)
                cuts += self.box.cut() > 0
            said = process.communicate(timeout=120)[0].decode()
            self.assertEqual(process.returncode, 0, said)
            self.assertEqual(self.artifact("cut%d" % i), here)

    def test_a_link_that_falls_silent(self):
        go = self.slow()
        self.set(kolm=os.path.join(self.box.dir, "kolm"), idle_timeout_seconds=2)
        process = self.start(*self.compile_words())
        self.wait_for(lambda: len(self.runs()) == 1)
        self.box.freeze()
        frozen = self.box.sessions()
        go()
        said = process.communicate(timeout=120)[0].decode()
        self.assertEqual(process.returncode, 0, said)
        self.assertTrue(frozen)
        self.assertEqual(self.artifact(), self.local())

    def test_patience_ends(self):
        self.slow()
        self.set(kolm=os.path.join(self.box.dir, "kolm"), patience_seconds=1)
        process = self.start(*self.compile_words())
        self.wait_for(lambda: len(self.runs()) == 1)
        self.box.stop()
        said = process.communicate(timeout=120)[0].decode()
        self.assertEqual(process.returncode, 5, said)
        self.assertIn("the same command finds it again", " ".join(said.split()))
        self.box.start()

    def test_killed_kolm_is_followed_by_the_next_command(self):
        go = self.slow()
        process = self.start(*self.compile_words())
        self.wait_for(lambda: len(self.runs()) == 1)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        self.wait_for(lambda: not self.box.sessions())
        self.assertEqual(len(self.box.running()), 1)
        again = self.start(*self.compile_words())
        self.wait_for(lambda: self.box.sessions())
        go()
        said = again.communicate(timeout=120)[0].decode()
        self.assertEqual(again.returncode, 0, said)
        self.assertEqual(len(self.runs()), 2)
        self.assertEqual(self.artifact(), self.local())

    def test_killed_at_any_time(self):
        draw = random.Random(9)
        for _ in range(12):
            process = self.start(*self.compile_words())
            try:
                process.communicate(timeout=0.02 + draw.random() * 0.9)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        self.compile(folder="last")
        self.assertEqual(self.artifact("last"), self.local())

    def test_control_c_ends_what_runs_there(self):
        self.slow()
        process = self.start(*self.compile_words())
        self.wait_for(lambda: len(self.runs()) == 1 and self.box.running())
        os.kill(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[0].decode()
        self.assertEqual(process.returncode, 130, said)
        self.wait_for(lambda: not self.box.running())

    def test_a_job_whose_processes_were_killed_there_is_done_again(self):
        go = self.slow()
        process = self.start(*self.compile_words())
        self.wait_for(lambda: len(self.runs()) == 1)
        self.box.stop()
        state = glob.glob(os.path.join(self.box.base, "jobs", "*", "state.json"))[0]
        with open(state) as file:
            value = json.load(file)
        os.kill(value["keeper"], signal.SIGKILL)
        os.kill(value["child"], signal.SIGKILL)
        go()
        self.box.start()
        said = process.communicate(timeout=120)[0].decode()
        self.assertEqual(process.returncode, 0, said)
        self.assertEqual(self.artifact(), self.local())


class Keys(Case):
    def test_an_unknown_host(self):
        with open(self.box.known, "w"):
            pass
        said = self.compile(code=5)
        self.assertIn("SHA256:", said)
        self.set(host_key="accept-new")
        self.compile()
        self.assertTrue(os.path.getsize(self.box.known))
        self.set()
        self.compile(folder="again")

    def test_a_changed_host_key_is_a_hard_stop(self):
        other = os.path.join(self.box.dir, "other")
        boxes.keygen(other)
        self.box.know(other)
        self.set(host_key="accept-new")
        self.compile(code=5)

    def test_a_pinned_key(self):
        finger = subprocess.check_output(["ssh-keygen", "-l", "-f", self.box.host_key + ".pub"]).decode().split()[1]
        self.set(host_key=finger)
        self.compile()
        self.set(host_key="SHA256:" + "A" * 43)
        self.assertIn("the settings say", " ".join(self.compile(code=5).split()))

    def test_a_key_that_cannot_be_remembered(self):
        self.set(host_key="accept-new", known_hosts="/dev/null")
        self.assertIn("so it is not trusted", " ".join(self.compile(code=5).split()))
        config = os.path.join(self.dir, "config")
        with open(config, "w") as file:
            file.write("StrictHostKeyChecking accept-new\nUserKnownHostsFile ${HOME}/new/known\nBindAddress 127.0.0.1\n")
        self.set(ssh_config=config, known_hosts=None)
        said = " ".join(self.compile(code=5).split())
        self.assertIn("backends.remote-ssh.fence in config.json", said)
        self.set(ssh_config=config, known_hosts=None, fence={"write": ["~/new/known"]})
        said = " ".join(self.compile().split())
        self.assertIn("is now trusted", said)
        self.assertIn("BindAddress is ignored", said)
        self.assertTrue(os.path.getsize(os.path.join(self.dir, "new", "known")))

    def test_a_key_that_the_box_does_not_know(self):
        other = os.path.join(self.box.dir, "stranger")
        boxes.keygen(other)
        self.set(identity_file=other)
        self.compile(code=5)

    def test_settings_that_make_no_sense(self):
        for settings in ({"host_key": "yes"}, {"patience_seconds": "soon"}, {"boxes": {self.env["KOLM_REMOTE_HOST"]: {}}}, {"boxes": "x"}):
            self.set(**settings)
            self.compile(code=6)


class Hostile(Case):
    """A hostile box: the far end is changed on its way into Python."""

    def lie(self, old, new):
        liar = os.path.join(self.box.dir, "liar.py")
        with open(liar, "w") as file:
            file.write("import sys\ni=sys.stdin.buffer\nh=i.readline().split()\np=i.read(int(h[1]))\nassert p.count(%r)==1\n"
                       "p=p.replace(%r,%r)\nexec(compile(p,'kolm_remote','exec'),{'__name__':'kolm_remote','MARKER':h[0]})\n"
                       % (old.encode(), old.encode(), new.encode()))
        self.box.configure(before="exec python3 -I -B " + liar)
        self.box.restart()

    def test_names_outside_the_directory(self):
        for name in ("../../escaped", "/tmp/escaped", "model/../../escaped", "model/a\\nb", "other", "model/" + "x" * 300):
            self.lie('return {"name": text,', 'return {"name": "%s",' % name)
            said = self.compile(code=5)
            self.assertIn("offers a result with a bad name", " ".join(said.split()))
        self.assertEqual(glob.glob(os.path.join(self.dir, "**", "escaped"), recursive=True), [])

    def test_other_bytes_than_offered(self):
        self.lie('packer.send({"id": request.get("id"), "ok": True, "more": bool(following)}, chunk)',
                 'self.link.send({"id": request.get("id"), "ok": True, "more": bool(following)}, b"x" * len(chunk))')
        self.assertIn("does not match its digest", " ".join(self.compile(code=5).split()))

    def test_more_bytes_than_offered(self):
        self.lie('packer.send({"id": request.get("id"), "ok": True, "more": bool(following)}, chunk)',
                 'self.link.send({"id": request.get("id"), "ok": True, "more": True}, chunk * 100)')
        self.compile(code=5)

    def test_invalid_packed_bytes(self):
        old = 'packer.send({"id": request.get("id"), "ok": True, "more": bool(following)}, chunk)'
        for raw, size in (("b'rubbish'", "7"), ("zlib.compress(chunk)[:-1]", "len(chunk)"), ("zlib.compress(chunk)", "len(chunk) + 1"),
                          ("zlib.compress(chunk + b'0')", "len(chunk)"), ("zlib.compress(b'0' * 4000000)", "4000000"), ("zlib.compress(chunk)", "1 << 50"),
                          ("zlib.compress(chunk)", "-1"), ("zlib.compress(chunk)", "0")):
            with self.subTest(raw=raw, size=size):
                self.lie(old, 'self.link.send({"id": request.get("id"), "ok": True, "more": bool(following), "packed": %s}, %s)' % (size, raw))
                self.assertIn("does not match the digest it gave", " ".join(self.compile(code=5).split()))

    def test_invalid_answers(self):
        for old, new in (('text = json.dumps(header).encode("ascii")', 'text = b"{]"'),
                         ('text = json.dumps(header).encode("ascii")', 'text = b"[" * 100000'),
                         ('struct.pack(">I", len(text)) + text', 'b"\\xff" * 4 + text'),
                         ('return {"missing": missing}', 'return {"missing": [{"sha256": "0" * 64, "at": 0}]}'),
                         ('return {"missing": missing}', 'return {"missing": [dict(m, at=1 << 50) for m in missing]}')):
            self.lie(old, new)
            self.compile(code=5)


class Disks(Case):
    def test_a_home_that_may_not_be_written(self):
        self.set(dir="/proc/nothing")
        said = " ".join(self.compile(code=5).split())
        self.assertIn("backends.remote-ssh.dir", said)

    @unittest.skipUnless(os.geteuid() == 0, "mounts need root")
    def test_a_full_disk(self):
        disk = os.path.join(self.box.dir, "disk")
        os.mkdir(disk)
        if subprocess.call(["mount", "-t", "tmpfs", "-o", "size=20m", "none", disk], stderr=subprocess.DEVNULL) != 0:
            self.skipTest("no mounts here")
        try:
            self.set(dir=disk)
            said = " ".join(self.compile(code=5).split())
            self.assertIn("MB free", said)
            self.assertIn("backends.remote-ssh.dir", said)
        finally:
            subprocess.check_call(["umount", disk])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[3:])
