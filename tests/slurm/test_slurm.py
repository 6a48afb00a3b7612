#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The fifteenth backend against a real Slurm: built out of tree with the installed SDK, run on a cluster of this machine.

usage: test_slurm.py BUILD_DIR SOURCE_DIR
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

BUILD, SOURCE = (os.path.abspath(path) for path in sys.argv[1:3])
sys.path.insert(0, os.path.join(SOURCE, "tests", "slurm"))
from installed import install  # noqa: E402

EXAMPLE = os.path.join(SOURCE, "examples", "backends", "slurm")
NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol", "meson", "ninja", "pkg-config")

CONF = """\
ClusterName=kolmtest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctl_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={dir}/munge.sock
CryptoType=crypto/munge
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool-%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd-%n.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=1,sched_interval=2,sched_min_interval=0
MpiDefault=none
ReturnToService=2
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=kolm1 NodeHostname={host} NodeAddr=127.0.0.1 Port={d_port} CPUs={cpus} RealMemory=1000 State=UNKNOWN
NodeName=kolm2 NodeHostname={host} NodeAddr=127.0.0.1 Port={d_port2} CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=kolm1 Default=YES MaxTime=INFINITE State=UP
PartitionName=both Nodes=kolm[1-2] MaxTime=INFINITE State=UP
"""

# A double of torchrun: every node writes how it was started, the first one works.
TORCHRUN = """\
#!/usr/bin/env python3
import os, sys
with open(os.path.join(os.environ["HOME"], "torchrun-" + os.environ["SLURM_NODEID"]), "w") as out:
    out.write("\\n".join([os.environ["SLURMD_NODENAME"], *sys.argv[1:]]))
if os.environ["SLURM_NODEID"] == "0":
    os.execvp("kolm", ["kolm", "job", "run", sys.argv[-1]])
"""

# A trainer that waits until a test releases it.
GATED = """\
#!/usr/bin/env python3
import os, sys, time
print('{"event":"log","level":"info","text":"at the gate"}', flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
os.execvp("kolm", ["kolm", "job", "run", sys.argv[2]])
"""


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("timed out waiting for " + what)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-slurm-", dir="/tmp")
        os.chmod(self.dir, 0o755)
        for name in ("state", "spool-kolm1", "spool-kolm2"):
            os.mkdir(os.path.join(self.dir, name))
        key = os.path.join(self.dir, "munge.key")
        with open(key, "wb") as out:
            out.write(os.urandom(1024))
        os.chmod(key, 0o400)
        host = socket.gethostname().split(".")[0]
        user = "root" if os.getuid() == 0 else os.environ.get("USER", str(os.getuid()))
        self.conf = os.path.join(self.dir, "slurm.conf")
        with open(self.conf, "w") as out:
            out.write(CONF.format(dir=self.dir, host=host, user=user, cpus=os.cpu_count(), ctl_port=free_port(), d_port=free_port(), d_port2=free_port()))
        with open(os.path.join(self.dir, "cgroup.conf"), "w") as out:
            out.write("CgroupPlugin=cgroup/v1\n")
        self.env = dict(os.environ, SLURM_CONF=self.conf)
        self.munged = self.start("munged", "--foreground", "--force", "--key-file=" + key, "--socket=" + os.path.join(self.dir, "munge.sock"),
                                 "--pid-file=" + os.path.join(self.dir, "munged.pid"), "--log-file=" + os.path.join(self.dir, "munged.log"),
                                 "--seed-file=" + os.path.join(self.dir, "munge.seed"))
        wait_for(lambda: os.path.exists(os.path.join(self.dir, "munge.sock")), "munge's socket")
        self.controller = None
        self.start_controller("-c")
        self.nodes = [self.start("slurmd", "-D", "-c", "-N", name, "-f", self.conf) for name in ("kolm1", "kolm2")]
        wait_for(lambda: self.ask("sinfo", "-h", "-N", "-p", "both", "-o", "%t").split() == ["idle", "idle"], "the nodes to be idle")

    def start(self, *argv):
        with open(os.path.join(self.dir, argv[0] + ".out"), "ab") as out:
            return subprocess.Popen(argv, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)

    def start_controller(self, *more):
        self.controller = self.start("slurmctld", "-D", "-f", self.conf, *more)
        wait_for(lambda: "UP" in self.ask("scontrol", "ping").split("is ")[-1], "the controller to answer")

    def stop_controller(self):
        self.controller.send_signal(signal.SIGTERM)
        self.controller.wait(60)

    def ask(self, *argv):
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=60).stdout

    def jobs(self):
        lines = self.ask("scontrol", "--oneliner", "show", "jobs").splitlines()
        return [dict(f.split("=", 1) for f in line.split() if "=" in f) for line in lines if line.startswith("JobId=")]

    def close(self):
        for process in (*self.nodes, self.controller, self.munged):
            if process.poll() is None:
                process.terminate()
        for process in (*self.nodes, self.controller, self.munged):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class Slurm(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        missing = [name for name in NEEDED if shutil.which(name) is None]
        if missing:
            raise unittest.SkipTest("not installed: " + ", ".join(missing))
        cls.root = tempfile.mkdtemp(prefix="kolm-sdk-", dir="/tmp")
        os.chmod(cls.root, 0o755)
        cls.addClassCleanup(shutil.rmtree, cls.root, True)
        cls.kolm_path, cls.built = install(BUILD, EXAMPLE, cls.root)
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.close)

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-slurm-test-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.dir, True)
        os.chmod(self.dir, 0o755)
        self.home = os.path.join(self.dir, "home")
        backends = os.path.join(self.home, "backends")
        os.makedirs(backends, 0o700)
        for name in ("slurm.so", "slurm.json"):
            shutil.copy(os.path.join(self.built, name), backends)
            os.chmod(os.path.join(backends, name), 0o755)
        self.shared = os.path.join(self.dir, "shared")
        self.data = os.path.join(self.dir, "tickets.jsonl")
        with open(os.path.join(SOURCE, "examples", "support_tickets", "tickets.jsonl")) as f, open(self.data, "w") as out:
            out.writelines(line for i, line in enumerate(f) if i % 4 == 0)
        self.env = {"PATH": os.path.dirname(self.kolm_path) + ":/usr/bin:/bin", "HOME": self.dir, "KOLM_HOME": self.home, "LANG": "C.UTF-8",
                    "SLURM_CONF": self.cluster.conf}
        self.configure()
        subprocess.run([self.kolm_path, "backend", "grant", "slurm"], env=self.env, stdout=subprocess.DEVNULL, check=True)

    def configure(self, **settings):
        settings.setdefault("shared_dir", self.shared)
        settings.setdefault("fence", {"read": [os.path.join(self.cluster.dir, "munge.sock")]})  # munge's socket is not in its usual place
        with open(os.path.join(self.home, "config.json"), "w") as out:
            json.dump({"backends": {"slurm": settings}}, out)
        os.chmod(os.path.join(self.home, "config.json"), 0o600)

    def gate(self):
        """Configures a trainer that waits; returns the function that releases it."""
        trainer, flag = os.path.join(self.dir, "gated.py"), os.path.join(self.dir, "go")
        with open(trainer, "w") as out:
            out.write(GATED)
        os.chmod(trainer, 0o755)
        self.configure(trainer=[trainer, flag])
        return lambda: open(flag, "w").close()

    def start(self, *words):
        return subprocess.Popen([self.kolm_path, *words], cwd=self.dir, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def kolm(self, *words, code=0):
        process = self.start(*words)
        text, _ = process.communicate(timeout=300)
        self.assertEqual(process.returncode, code, text)
        return text

    COMPILE = ("compile", "-t", "router", "-d", "tickets.jsonl", "--effort", "quick", "--gate", "0.1", "--min-accuracy", "0")

    def compile(self, *words, code=0):
        return self.kolm(*self.COMPILE, "--backend", "slurm", *words, code=code)

    def active(self):
        return [j for j in self.cluster.jobs() if j["JobState"] in ("PENDING", "RUNNING", "COMPLETING")]

    def payload(self, path):
        with zipfile.ZipFile(os.path.join(self.dir, path)) as artifact:
            return {n: artifact.read(n) for n in artifact.namelist() if n.startswith("model/")}

    # ---- What every backend must do

    def test_it_keeps_the_contract(self):
        self.kolm("backend", "check", os.path.join(self.built, "slurm.so"))

    def test_it_trains_the_example_through_the_controller(self):
        before = len(self.cluster.jobs())
        text = self.compile("--out", "far.kolm")
        self.assertIn("slurm", text)
        self.assertEqual(len(self.cluster.jobs()), before + 2)  # one for training, one for the held-out rows
        self.kolm(*self.COMPILE, "--backend", "local-cpu", "--out", "near.kolm")
        self.assertEqual(self.payload("far.kolm"), self.payload("near.kolm"))
        self.assertIn("trusted", self.kolm("verify", "far.kolm"))
        receipt = self.kolm("verify", "--json", "far.kolm")
        self.assertIn("(Slurm)", receipt + self.kolm("inspect", "--json", "far.kolm"))
        self.assertEqual(os.listdir(self.shared), [])

    def test_its_own_test(self):
        self.assertIn("PASS", self.kolm("compute", "test", "slurm"))

    def test_settings_reach_the_job(self):
        go = self.gate()
        with open(os.path.join(self.home, "config.json")) as f:
            settings = json.load(f)["backends"]["slurm"]
        self.configure(**dict(settings, time="7", memory="123M", partition="main"))
        process = self.start(*self.COMPILE, "--backend", "slurm", "--threads", "1")
        job = wait_for(lambda: next((j for j in self.active() if j["JobState"] == "RUNNING"), None), "the job to run")
        self.assertEqual((job["TimeLimit"], job["MinMemoryNode"], job["Partition"]), ("00:07:00", "123M", "main"))
        self.assertRegex(job["JobName"], "^kolm-router-[0-9a-f]{8}$")
        go()
        text, _ = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, text)

    def test_several_nodes_meet_under_torchrun(self):
        """Two nodes on this machine; torchrun itself, and what it starts, come with the trainer."""
        tools = os.path.join(self.dir, "tools")
        os.mkdir(tools)
        with open(os.path.join(tools, "torchrun"), "w") as out:
            out.write(TORCHRUN)
        os.chmod(os.path.join(tools, "torchrun"), 0o755)
        self.env["PATH"] = tools + ":" + self.env["PATH"]
        self.configure(nodes="2", partition="both", trainer=["--nproc-per-node=1", "-m", "kolm_trainer"])
        self.compile("--threads", "1")
        started = []
        for node in "01":
            with open(os.path.join(self.dir, "torchrun-" + node)) as f:
                started.append(f.read().split("\n"))
        self.assertEqual([s[0] for s in started], ["kolm1", "kolm2"])
        self.assertEqual(started[0][1:], started[1][1:])
        self.assertEqual(started[0][1:3], ["--nnodes=2", "--rdzv-backend=c10d"])
        self.assertEqual(started[0][3], "--rdzv-endpoint=kolm1:29400")
        self.assertEqual(started[0][5:8], ["--nproc-per-node=1", "-m", "kolm_trainer"])
        self.assertTrue(started[0][8].startswith(self.shared))

    def test_what_slurm_refuses(self):
        self.configure(partition="nowhere")
        text = self.compile(code=5)
        self.assertIn("Slurm did not accept the job", text)
        self.assertIn("nowhere", text.replace("invalid partition", "nowhere"))

    def test_a_trainer_that_fails(self):
        self.configure(trainer=["/bin/ls", "/there/is/nothing/here"])
        text = self.compile(code=5)
        self.assertIn("failed with exit code 2 (FAILED)", text)
        self.assertIn("/there/is/nothing/here", text)

    # ---- Events during a job

    def test_it_waits_in_the_queue(self):
        self.cluster.ask("scontrol", "update", "PartitionName=main", "State=DOWN")
        process = self.start(*self.COMPILE, "--backend", "slurm")
        try:
            wait_for(lambda: [j for j in self.active() if j["JobState"] == "PENDING"], "the job to be pending")
        finally:
            self.cluster.ask("scontrol", "update", "PartitionName=main", "State=UP")
        text, _ = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, text)

    def test_ctrl_c_ends_the_job(self):
        self.gate()
        process = self.start(*self.COMPILE, "--backend", "slurm")
        wait_for(lambda: [j for j in self.active() if j["JobState"] == "RUNNING"], "the job to run")
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, text)
        wait_for(lambda: not self.active(), "the job to end")
        self.assertEqual(os.listdir(self.shared), [])

    def test_another_client_cancels_the_job(self):
        go = self.gate()
        before = len(self.cluster.jobs())
        process = self.start(*self.COMPILE, "--backend", "slurm")
        job = wait_for(lambda: next((j for j in self.active() if j["JobState"] == "RUNNING"), None), "the job to run")
        self.cluster.ask("scancel", job["JobId"])
        text, _ = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 5, text)
        self.assertIn("Slurm job %s was cancelled (CANCELLED)" % job["JobId"], text)
        go()
        self.compile()
        self.assertEqual(len(self.cluster.jobs()), before + 3, "it was submitted again")

    def test_the_controller_may_be_restarted(self):
        go = self.gate()
        process = self.start(*self.COMPILE, "--backend", "slurm")
        wait_for(lambda: [j for j in self.active() if j["JobState"] == "RUNNING"], "the job to run")
        self.cluster.stop_controller()
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "does not respond" in line:
                break
        self.cluster.start_controller()
        go()
        text, _ = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, "".join(lines) + text)

    def test_two_with_the_same_request(self):
        both = [self.start(*self.COMPILE, "--backend", "slurm", "--out", name) for name in ("one.kolm", "two.kolm")]
        for process in both:
            text, _ = process.communicate(timeout=200)
            self.assertEqual(process.returncode, 0, text)
        self.assertEqual(self.payload("one.kolm"), self.payload("two.kolm"))
        self.assertEqual(os.listdir(self.shared), [])

    def test_kolm_may_be_killed(self):
        go = self.gate()
        before = len(self.cluster.jobs())
        process = self.start(*self.COMPILE, "--backend", "slurm")
        wait_for(lambda: [j for j in self.active() if j["JobState"] == "RUNNING"], "the job to run")
        process.kill()
        process.communicate()
        process = self.start(*self.COMPILE, "--backend", "slurm")
        go()
        text, _ = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, text)
        self.assertEqual(len(self.cluster.jobs()), before + 2, "the training job was submitted once")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
