#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The fifteenth backend against doubles of Slurm's commands (double.py): every end of a job, output of sbatch, files that appear late.

usage: test_states.py BUILD_DIR SOURCE_DIR
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BUILD, SOURCE = (os.path.abspath(path) for path in sys.argv[1:3])
HERE = os.path.join(SOURCE, "tests", "slurm")
sys.path.insert(0, HERE)
from installed import install  # noqa: E402

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo")
AWAY = {"err": "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", "code": 1}

# Logs a line, leaves a checkpoint and is interrupted, as at its time limit; with a checkpoint it does the job.
INTERRUPTED = """\
#!/bin/sh
grep -q '"kind":"infer"' "$1/job.json" && exec kolm job run "$1"
if [ -e "$1/checkpoint/half" ]; then
  echo '{"event":"log","level":"warning","text":"going on from the half"}'
  exec kolm job run "$1"
fi
mkdir -p "$1/checkpoint" && echo half > "$1/checkpoint/half"
echo '{"event":"error","code":1,"text":"interrupted","remedy":"start again"}'
"""

# Its error is followed by the events of another start.
AGAIN = """\
#!/bin/sh
echo '{"event":"error","code":1,"text":"interrupted","remedy":"start again"}'
exec kolm job run "$1"
"""

SPEAKS = """\
#!/bin/sh
echo "line one" >&2
echo "the last word" >&2
echo "slurmstepd: error: *** JOB 100 ON kolm1 CANCELLED AT 2026-11-29T20:46:36 DUE TO TIME LIMIT ***" >&2
"""


class States(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        missing = [name for name in ("meson", "ninja", "pkg-config") if shutil.which(name) is None]
        if missing:
            raise unittest.SkipTest("not installed: " + ", ".join(missing))
        cls.root = tempfile.mkdtemp(prefix="kolm-sdk-", dir="/tmp")
        os.chmod(cls.root, 0o755)
        cls.addClassCleanup(shutil.rmtree, cls.root, True)
        cls.kolm_path, cls.built = install(BUILD, os.path.join(SOURCE, "examples", "backends", "slurm"), cls.root)

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-slurm-states-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.home, self.bin = os.path.join(self.dir, "home"), os.path.join(self.dir, "slurm", "bin")
        self.shared = os.path.join(self.dir, "shared")
        backends = os.path.join(self.home, "backends")
        os.makedirs(backends, 0o700)
        os.makedirs(self.bin)
        for name in ("slurm.so", "slurm.json"):
            shutil.copy(os.path.join(self.built, name), backends)
            os.chmod(os.path.join(backends, name), 0o755)
        for name in COMMANDS:
            shutil.copy(os.path.join(HERE, "double.py"), os.path.join(self.bin, name))
            os.chmod(os.path.join(self.bin, name), 0o755)
        with open(os.path.join(SOURCE, "examples", "support_tickets", "tickets.jsonl")) as f, open(os.path.join(self.dir, "t.jsonl"), "w") as out:
            out.writelines(line for i, line in enumerate(f) if i % 16 == 0)
        conf = os.path.join(self.dir, "slurm.conf")
        with open(conf, "w") as out:
            out.write("ClusterName=double\n")
        self.env = {"PATH": os.path.dirname(self.kolm_path) + ":/usr/bin:/bin", "HOME": self.dir, "KOLM_HOME": self.home, "LANG": "C.UTF-8",
                    "SLURM_CONF": conf}
        self.configure()
        subprocess.run([self.kolm_path, "backend", "grant", "slurm"], env=self.env, stdout=subprocess.DEVNULL, check=True)

    # ---- Helpers

    def configure(self, **settings):
        # The double's commands run in the call's own processes, unlike a controller: one fence cannot suit both.
        self.settings = dict({"shared_dir": self.shared, "bin": self.bin, "settle": 1, "fence": "off"}, **settings)
        with open(os.path.join(self.home, "config.json"), "w") as out:
            json.dump({"backends": {"slurm": self.settings}}, out)
        os.chmod(os.path.join(self.home, "config.json"), 0o600)

    def trainer(self, text, **settings):
        path = os.path.join(self.dir, "trainer.sh")
        with open(path, "w") as out:
            out.write(text)
        os.chmod(path, 0o755)
        self.configure(trainer=path, **settings)

    def scenario(self, *jobs, **more):
        with open(os.path.join(self.dir, "slurm", "scenario.json"), "w") as out:
            json.dump(dict(jobs=jobs or [{}], **more), out)

    def asked(self, program):
        try:
            with open(os.path.join(self.dir, "slurm", "asked.jsonl")) as f:
                return [a for a in map(json.loads, f) if a["program"] == program]
        except FileNotFoundError:
            return []

    def submitted(self):
        return [a for a in self.asked("sbatch") if "--parsable" in a["argv"]]

    def start(self, *words):
        command = [self.kolm_path, "compile", "-t", "router", "-d", "t.jsonl", "--effort", "quick", "--gate", "0.1", "--min-accuracy", "0",
                   "--backend", "slurm", "--threads", "1", *words]
        return subprocess.Popen(command, cwd=self.dir, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def compile(self, *words, code=0):
        process = self.start(*words)
        text, _ = process.communicate(timeout=120)
        self.assertEqual(process.returncode, code, text)
        return text

    def places(self):
        return sorted(n for n in os.listdir(self.shared) if not n.endswith((".lock", ".late"))) if os.path.isdir(self.shared) else []

    def wait_for(self, condition, what):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.02)
        self.fail("timed out waiting for " + what)

    def killed(self, *jobs):
        """Kills kolm while its job runs."""
        self.scenario(*jobs)
        before = len(self.asked("scontrol"))
        process = self.start()
        self.wait_for(lambda: len(self.asked("scontrol")) > before, "the job to be followed")
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def contains(self, text, *words):
        for word in words:
            self.assertIn(word, text)

    # ---- States that are not an end

    def test_states_that_continue(self):
        self.scenario({"looks": ["CONFIGURING", "STOPPED", {"state": "SPECIAL_EXIT", "Reason": "job_requeued_in_held_state"}, "LATER_INVENTED", "COMPLETING", "COMPLETED"]}, {})
        text = self.compile()
        self.contains(text, "does not start by itself (job_requeued_in_held_state)", "scontrol release 100", "LATER_INVENTED, a state that this backend does not know")
        self.assertEqual(len(self.submitted()), 2)
        self.assertEqual(os.listdir(self.shared), [])

    def test_a_controller_that_is_away_for_a_moment(self):
        timeout = {"err": "slurm_load_jobs error: Socket timed out on send/recv operation\n", "code": 1}
        self.scenario({"looks": ["RUNNING", AWAY, timeout, "COMPLETED"]}, {})
        self.contains(self.compile(), "controller does not respond; the job continues")

    def test_a_controller_that_stays_away(self):
        self.configure(patience=1)
        self.scenario({"looks": [AWAY]})
        self.contains(self.compile(code=5), "did not respond for 1 seconds: Unable to contact slurm controller")
        self.scenario({"looks": ["COMPLETED"]}, {})
        self.compile()
        self.assertEqual(len(self.submitted()), 2)

    def test_the_moment_before_slurm_starts_it_again(self):
        node_fail = {"state": "NODE_FAIL", "Reason": "NodeDown", "Requeue": 1}
        self.scenario({"looks": ["RUNNING", node_fail, {"state": "PENDING", "Reason": "BeginTime", "Restarts": 1}, "COMPLETED"]}, {})
        self.compile()
        self.assertEqual(len(self.submitted()), 2)

    def test_an_error_of_the_start_before(self):
        self.trainer(AGAIN)
        self.scenario({"looks": ["COMPLETED"]}, {})
        self.compile()

    # ---- Ends

    ENDS = (
        ({"state": "TIMEOUT", "Reason": "TimeLimit", "ExitCode": "0:15", "TimeLimit": "00:07:00"}, {},
         ("reached its time limit (TIMEOUT)", "backends.slurm.time", "it was 00:07:00")),
        ({"state": "OUT_OF_MEMORY", "Reason": "OutOfMemory", "ExitCode": "0:125"}, {}, ("ran out of memory (OUT_OF_MEMORY)", "backends.slurm.memory", "it was 123M")),
        ({"state": "CANCELLED", "ExitCode": "0:15"}, {}, ("was cancelled (CANCELLED)", "does not record here")),
        ({"state": "CANCELLED", "ExitCode": "0:15"}, {"out": "NUMBER|NAME|CANCELLED by 1|0:15\n"}, ("was cancelled by daemon (CANCELLED)",)),
        ({"state": "CANCELLED", "ExitCode": "0:15"}, {"out": "NUMBER|NAME|CANCELLED by 54321|0:15\n"}, ("was cancelled by the user with the number 54321",)),
        ({"state": "NODE_FAIL", "Reason": "NodeDown", "ExitCode": "0:15"}, {}, ("lost its node kolm1 (NODE_FAIL)", "another node")),
        ({"state": "PREEMPTED", "ExitCode": "0:15"}, {}, ("was preempted by another job (PREEMPTED)", "backends.slurm.qos")),
        ({"state": "BOOT_FAIL"}, {}, ("did not start kolm1 (BOOT_FAIL)", "administrator")),
        ({"state": "DEADLINE"}, {}, ("(DEADLINE)", "backends.slurm.time")),
        ({"state": "FAILED", "Reason": "JobLaunchFailure", "ExitCode": "0:9"}, {}, ("killed by signal 9 (Killed) (FAILED)", "backends.slurm.memory")),
        ({"state": "FAILED", "Reason": "NonZeroExitCode", "ExitCode": "127:0"}, {}, ("exit code 127 (FAILED)", "'kolm' must be in PATH")),
        ("forgotten", {"out": "NUMBER|NAME|TIMEOUT|0:0\n"}, ("reached its time limit (TIMEOUT)",)),
        ("forgotten", {"out": "NUMBER|another|TIMEOUT|0:0\n"}, (", which left no result",)),
    )

    def test_every_end_has_its_sentence_and_the_next_start_submits_again(self):
        ends = [{"run": False, "looks": [look], **({"sacct": sacct} if sacct else {})} for look, sacct, _ in self.ENDS]
        self.configure(settle=0)
        for i, (end, (_, _, words)) in enumerate(zip(ends, self.ENDS)):
            with self.subTest(words[0]):
                self.scenario(*ends)
                self.contains(self.compile(code=5), *words)
                self.assertEqual(len(self.submitted()), i + 1)
                if "left no result" not in words[0]:
                    self.assertEqual(os.listdir(self.shared), [])
                for name in os.listdir(self.shared):
                    shutil.rmtree(os.path.join(self.shared, name), ignore_errors=True)

    def test_time_runs_out_and_the_next_start_continues_from_the_checkpoint(self):
        """The trainer cleans up on the signal and exits successfully: the state decides."""
        self.trainer(INTERRUPTED)
        self.scenario({"looks": [{"state": "TIMEOUT", "ExitCode": "0:0"}]}, {}, {})
        text = self.compile(code=5)
        self.contains(text, "reached its time limit (TIMEOUT)", "continues from its checkpoint")
        place = self.places()[0]
        self.assertEqual(os.listdir(os.path.join(self.shared, place)), ["checkpoint"])
        self.contains(self.compile(), "going on from the half")
        self.assertEqual(len(self.submitted()), 3)
        self.assertEqual(os.listdir(self.shared), [])

    def test_a_job_that_ended_while_it_was_not_followed(self):
        self.trainer(INTERRUPTED)
        self.killed({"looks": ["RUNNING"]})
        self.scenario({"looks": [{"state": "TIMEOUT"}]}, {}, {})
        text = self.compile()
        self.contains(text, "(TIMEOUT)", "before this start: submitting it again", "going on from the half")
        self.assertEqual(len(self.submitted()), 3)

    def test_the_trainers_words(self):
        self.trainer(SPEAKS)
        self.scenario({"looks": [{"state": "TIMEOUT"}]})
        text = self.compile(code=5)
        self.contains(text, "(TIMEOUT): the last word")

    def test_the_kernel_took_it_for_its_memory(self):
        self.trainer("#!/bin/sh\necho 'slurmstepd: error: Detected 1 oom_kill event in StepId=100.batch. Some of the step tasks have been OOM Killed.' >&2\n")
        self.scenario({"looks": [{"state": "FAILED", "Reason": "NonZeroExitCode", "ExitCode": "137:0"}]})
        self.contains(self.compile(code=5), "ran out of memory (OUT_OF_MEMORY)", "backends.slurm.memory")

    def test_what_is_kept(self):
        self.trainer("#!/bin/sh\necho gone wrong >&2\nexit 3\n", keep=True)
        self.scenario({"looks": [{"state": "FAILED", "ExitCode": "3:0"}]}, {}, {})
        text = self.compile(code=5)
        place = os.path.join(self.shared, self.places()[0])
        self.contains(text, "failed with exit code 3 (FAILED): gone wrong", "its directory is kept: " + place)
        self.assertTrue({"errors.txt", "train.jsonl"} <= set(os.listdir(place)))
        self.configure(keep=True)
        self.compile()
        self.assertTrue(os.path.isdir(os.path.join(place, "model")))
        self.assertEqual(len(self.submitted()), 3)
        self.compile("--version", "2.0.0")
        self.assertEqual(len(self.submitted()), 5, "a job that is kept is not taken for one that goes on")

    # ---- Files

    def test_files_that_are_seen_late(self):
        self.configure(settle=60)
        self.scenario({"late": 2}, {"late": 2})
        self.compile()
        self.assertEqual(len(self.submitted()), 2)

    def test_a_job_that_is_forgotten_when_it_has_ended(self):
        self.scenario({"looks": ["forgotten"]}, {"looks": ["forgotten"]})
        self.compile()
        self.assertEqual(len(self.submitted()), 2)

    def test_files_that_never_come(self):
        self.scenario({"late": "never"}, {}, {})
        self.contains(self.compile(code=5), "Slurm job 100 is COMPLETED, but no result was seen here within 1 seconds", "shared_dir")
        self.assertIn("slurm.id", os.listdir(os.path.join(self.shared, self.places()[0])))
        self.contains(self.compile(), "before this start: submitting it again")
        self.assertEqual(len(self.submitted()), 3)

    def test_files_that_come_after_all(self):
        self.scenario({"late": "never"}, {})
        self.compile(code=5)
        place = os.path.join(self.shared, self.places()[0])
        for name in os.listdir(place + ".late"):
            os.rename(os.path.join(place + ".late", name), os.path.join(place, name))
        self.compile()
        self.assertEqual(len(self.submitted()), 2)

    # ---- What sbatch prints

    PRINTED = (
        {"out": "Welcome to the cluster\n  * maintenance on 12 2026\nNUMBER\n"},
        {"out": "NUMBER;double\n"},
        {"out": "\nsbatch: 17 credits left\nSubmitted batch job NUMBER\n"},
        {"out": "2026\nNUMBER\n"},
        {"out": "2026\n"},
        {"out": "done\n"},
        {"out": ""},
        {"out": "NUMBER\n", "err": "a hook of the site failed\n", "code": 1, "taken": True},
        {"out": "", "err": "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n", "code": 1, "taken": True},
    )

    def test_the_number_among_other_lines(self):
        foreign = {"out": "JobId=2026 JobName=mine UserId=root(0) JobState=RUNNING Reason=None WorkDir=/root\n"}
        for i, printed in enumerate(self.PRINTED):
            with self.subTest(printed["out"]):
                shutil.rmtree(os.path.join(self.dir, "slurm", "state.json"), ignore_errors=True)
                self.scenario(*[{"sbatch": [p]} for p in self.PRINTED for _ in (0, 1)], others={"2026": foreign})
                self.compile("--version", f"{i + 1}.0.0")
                self.assertEqual(len(self.submitted()), 2 * (i + 1))
        self.assertEqual(self.asked("scancel"), [])
        clusters = [a["argv"] for a in self.asked("scontrol") if "--clusters=double" in a["argv"]]
        self.assertEqual([argv[-1] for argv in clusters], ["102", "103"])

    def test_no_number_and_no_job(self):
        self.scenario({"sbatch": [{"out": "queued, thank you\n", "taken": False}]}, squeue={"out": "JOBID|NAME\n"})
        self.contains(self.compile(code=5), "sbatch reported no job id", "queued, thank you")

    def test_a_death_before_the_number_was_written_down(self):
        self.killed({"looks": ["RUNNING"]})
        os.unlink(os.path.join(self.shared, self.places()[0], "slurm.id"))
        self.scenario({}, {})
        self.compile()
        self.assertEqual(len(self.submitted()), 2)

    def test_several_records(self):
        other = "JobId=101 ArrayJobId=100 ArrayTaskId=1 JobName=x JobState=FAILED Reason=None WorkDir=/\n"
        self.scenario({"before": other, "after": other}, {})
        self.compile()

    # ---- Submitting

    def test_a_controller_that_is_away_at_first(self):
        away = {"err": "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n", "code": 1}
        self.scenario({"sbatch": [away, {}]}, {})
        self.contains(self.compile(), "did not accept the job: Batch job submission failed: Unable to contact")
        self.assertEqual(len(self.submitted()), 3)

    def test_refusals_name_what_was_wrong(self):
        self.configure(partition="gpu", account="lab", qos="long", time="9-00:00:00")
        for said, remedy in (("Invalid account or account/partition combination specified", "correct backends.slurm.account in config.json ('lab')"),
                             ("Invalid qos specification", "correct backends.slurm.qos in config.json ('long')"),
                             ("Requested time limit is invalid (missing or exceeds some limit)", "correct backends.slurm.time in config.json ('9-00:00:00')")):
            self.scenario({"sbatch": [{"err": "sbatch: error: Batch job submission failed: " + said + "\n", "code": 1}]})
            text = self.compile(code=5)
            self.contains(text, said, remedy)
            self.assertEqual(os.listdir(self.shared), [])

    def test_variables_of_sbatch(self):
        self.env.update(SBATCH_ACCOUNT="lab", SBATCH_QOS="long", SBATCH_MEM_PER_CPU="9", SBATCH_ARRAY_INX="1-3", SBATCH_WAIT="1", SBATCH_EXPORT="NONE")
        self.configure(qos="short", memory="1G")
        self.compile()
        asked = self.submitted()[0]
        self.assertEqual({k: v for k, v in asked["env"].items() if k.startswith("SBATCH_")}, {"SBATCH_ACCOUNT": "lab"})
        self.contains(asked["argv"], "--qos=short", "--mem=1G")
        self.env["SBATCH_PARTITION"] = "nowhere"
        self.scenario({"sbatch": [{"err": "sbatch: error: invalid partition specified: nowhere\n", "code": 1}]})
        self.contains(self.compile("--seed", "7", "--version", "2.0.0", code=5), "correct SBATCH_PARTITION in the environment ('nowhere')")

    def test_invalid_settings(self):
        self.configure(partiton="main")
        process = self.start()
        text, _ = process.communicate(timeout=60)
        self.assertNotEqual(process.returncode, 0)
        self.contains(text, "partiton", "partition")
        self.assertEqual(self.submitted(), [])

    # ---- The slot status

    def status(self, *words):
        process = subprocess.run([self.kolm_path, "compute", "status", "slurm", "--remote", "--json", *words], cwd=self.dir, env=self.env,
                                 capture_output=True, text=True, timeout=60)
        self.assertEqual(process.returncode, 0, process.stdout + process.stderr)
        return process.stdout

    def test_what_is_left_can_be_seen_and_removed(self):
        self.trainer(INTERRUPTED)
        self.scenario({"looks": [{"state": "TIMEOUT"}]}, {"looks": ["RUNNING"]})
        self.compile(code=5)
        self.contains(self.status(), "the checkpoint of a job that failed", '"idle"', self.places()[0])
        self.status("--prune", "--older", "1h")
        self.assertEqual(len(self.places()), 1)
        self.contains(self.status("--prune", "--older", "0s"), '"removed"')
        self.assertEqual(os.listdir(self.shared), [])
        self.killed({"looks": [{"state": "TIMEOUT"}]}, {"looks": ["RUNNING"]})
        self.wait_for(lambda: "a kolm follows its job" not in self.status(), "the process that followed it to end too")
        self.contains(self.status("--prune", "--older", "0s"), "Slurm job 101: RUNNING", '"in use"')
        self.assertEqual(len(self.places()), 1)

    # ---- The slot test

    def compute_test(self, code):
        process = subprocess.run([self.kolm_path, "compute", "test", "slurm"], cwd=self.dir, env=self.env, capture_output=True, text=True, timeout=120)
        self.assertEqual(process.returncode, code, process.stdout + process.stderr)
        return process.stdout + process.stderr

    def test_its_own_test(self):
        self.configure(account="lab", qos="long", reservation="course")
        self.scenario()
        self.contains(self.compute_test(0), "PASS")
        for asked in [a["argv"] for a in self.asked("sbatch") if "--version" not in a["argv"]]:
            self.contains(asked, "--account=lab", "--qos=long", "--reservation=course")
        self.assertEqual(os.listdir(self.shared), [])

    def test_its_own_test_says_what_is_wrong(self):
        self.configure(account="lab", qos="long")
        self.scenario(test_only={"err": "allocation failure: Invalid qos specification\n", "code": 1})
        self.contains(self.compute_test(5), "Invalid qos specification: correct backends.slurm.qos in config.json ('long')")

    def test_its_own_test_says_that_the_trainer_is_not_there(self):
        self.configure(trainer="nowhere-kolm")
        self.scenario({"looks": [{"state": "FAILED", "ExitCode": "1:0"}]})
        self.contains(self.compute_test(5), "nowhere-kolm is not in PATH on")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
