#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A double of Slurm's commands, installed under each of their names: ../scenario.json has its answers, ../asked.jsonl logs its calls.

scenario.json: {"jobs": [JOB, ...], "test_only": ANSWER, "squeue": ANSWER}; the first submission is jobs[0], the last one repeats.
JOB: number (default 100, 101, ...); sbatch: successive [ANSWER, ...], {} is the usual one; run: whether the script is run (at once,
before sbatch answers); looks: successive answers of scontrol, the last one repeats: a state, {"state":...,FIELD:...}, an ANSWER or
"forgotten"; sacct: ANSWER; late: how often the directory is
examined after the end was reported until the files are visible, or "never"; before, after: lines around the record.
ANSWER: {"out":..., "err":..., "code":..., "taken": whether sbatch accepted the job nevertheless}. The texts are those of Slurm 22.05.8.
"""
import fcntl
import json
import os
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0])))
RECORD = (
    "JobId={number} JobName={name} UserId=root(0) GroupId=root(0) MCS_label=N/A Priority=4294901750 Nice=0 Account=(null) QOS=(null) "
    "JobState={state} Reason={Reason} Dependency=(null) Requeue={Requeue} Restarts={Restarts} BatchFlag=1 Reboot=0 ExitCode={ExitCode} "
    "RunTime=00:00:00 TimeLimit={TimeLimit} TimeMin=N/A Partition=main AllocNode:Sid=localhost:7667 ReqNodeList=(null) ExcNodeList=(null) "
    "NodeList=kolm1 BatchHost=kolm1 NumNodes=1 NumCPUs=1 NumTasks=1 MinCPUsNode=1 MinMemoryNode={MinMemoryNode} MinTmpDiskNode=0 "
    "Features=(null) Licenses=(null) Command={dir}/batch.sh kolm job run {dir} WorkDir={dir} StdErr=/dev/null StdIn=/dev/null Power= \n"
)
DEFAULTS = {"Reason": "None", "Requeue": 0, "Restarts": 0, "ExitCode": "0:0", "TimeLimit": "00:07:00", "MinMemoryNode": "123M"}


def path(name):
    return os.path.join(TOP, name)


def read(name, fallback):
    if not os.path.exists(path(name)):
        return fallback
    with open(path(name)) as f:
        return json.load(f)


def write(name, value):
    with open(path(name) + ".new", "w") as f:
        json.dump(value, f)
    os.rename(path(name) + ".new", path(name))


def answer(a):
    sys.stdout.write(a.get("out", ""))
    sys.stderr.write(a.get("err", ""))
    sys.stdout.flush()
    sys.exit(a.get("code", 0))


def job_of(scenario, state, number):
    for i, taken in enumerate(state["taken"]):
        if taken["number"] == number:
            return scenario["jobs"][min(i, len(scenario["jobs"]) - 1)], taken
    return None, None


def run(job, option, script):
    """Runs the batch script as a node would; with "late" its files are hidden until a while after the end was reported."""
    with open(option["output"], "a") as out, open(option["error"], "a") as err:
        subprocess.run(script, cwd=option["chdir"], stdout=out, stderr=err, stdin=subprocess.DEVNULL, check=False)
    if "late" not in job:
        return
    hidden = option["chdir"] + ".late"
    os.mkdir(hidden)
    trained = os.path.exists(os.path.join(option["chdir"], "result.json"))
    names = ("events.jsonl", "result.json", "model") if trained else ("events.jsonl", "predictions.jsonl")
    names = [n for n in names if os.path.exists(os.path.join(option["chdir"], n))]
    for name in names:
        os.rename(os.path.join(option["chdir"], name), os.path.join(hidden, name))
    if job["late"] == "never" or os.fork() > 0:
        return
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, 256)  # including the lock
    looks, changed = 0, None
    for _ in range(3000):
        if looks > job["late"]:
            break
        time.sleep(0.01)
        if os.path.exists(path("ended")):  # each check for the files changes the directory's time
            now = os.stat(option["chdir"]).st_mtime_ns
            looks, changed = looks + (now != changed), now
    for name in names:  # the parts of a result, one by one
        os.rename(os.path.join(hidden, name), os.path.join(option["chdir"], name))
    os.rmdir(hidden)
    os._exit(0)


def sbatch(scenario, state, argv):
    if "--version" in argv:
        answer({"out": "slurm 22.05.8\n"})
    if "--test-only" in argv:
        answer(scenario.get("test_only", {"err": "sbatch: Job 1 to start at 2026-11-29T20:44:51 using 1 processors on nodes kolm1 in partition main\n"}))
    count = 0
    while count < len(argv) and argv[count].startswith("--"):
        count += 1
    option = dict(word[2:].split("=", 1) for word in argv[:count] if "=" in word)
    job = scenario["jobs"][min(len(state["taken"]), len(scenario["jobs"]) - 1)]
    answers = job.get("sbatch", [{}])
    a = dict(answers[min(state["tries"], len(answers) - 1)])
    state["tries"] += 1
    if a.get("taken", a.get("code", 0) == 0):
        number = str(job.get("number", 100 + len(state["taken"])))
        state["taken"].append({"number": number, "name": option["job-name"], "dir": option["chdir"], "looks": 0})
        state["tries"] = 0
        a.setdefault("out", number + "\n")
        a["out"] = a["out"].replace("NUMBER", number)
        write("state.json", state)
        if job.get("run", True):
            option.setdefault("error", option["output"])
            run(job, option, argv[count:])
    write("state.json", state)
    answer(a)


def scontrol(scenario, state, argv):
    argv = [word for word in argv if not word.startswith("--")]
    if argv[:1] == ["ping"]:
        answer({"out": "Slurmctld(primary) at localhost is UP\n"})
    job, taken = job_of(scenario, state, argv[2])
    if taken is None:
        answer(scenario.get("others", {}).get(argv[2]) or {"err": "slurm_load_jobs error: Invalid job id specified\n", "code": 1})
    looks = job.get("looks", ["COMPLETED"])
    look = looks[min(taken["looks"], len(looks) - 1)]
    taken["looks"] += 1
    if taken.get("cancelled"):
        look = "CANCELLED"
    write("state.json", state)
    if look == "forgotten":
        look = {"err": "slurm_load_jobs error: Invalid job id specified\n", "code": 1}
    if isinstance(look, str):
        look = {"state": look}
    if look.get("state") == "COMPLETED" or job.get("late") and "err" in look:
        open(path("ended"), "w").close()
    if "state" not in look:
        answer(look)
    answer({"out": job.get("before", "") + RECORD.format(**dict(DEFAULTS, **look), **{k: taken[k] for k in ("number", "name", "dir")}) + job.get("after", "")})


def squeue(scenario, state, argv):
    name = next(word[7:] for word in argv if word.startswith("--name="))
    lines = ["JOBID|NAME"] + [f"{t['number']}|{t['name']}" for t in state["taken"] if t["name"] == name]
    answer(scenario.get("squeue", {"out": "\n".join(lines) + "\n"}))


def sacct(scenario, state, argv):
    off = {"err": "Slurm accounting storage is disabled\n", "code": 1}
    number = next((word[7:] for word in argv if word.startswith("--jobs=")), None)
    job, taken = job_of(scenario, state, number)
    a = dict(job.get("sacct", off) if job else off)
    if taken:
        a["out"] = a.get("out", "").replace("NUMBER", number).replace("NAME", taken["name"])
    answer(a)


def scancel(scenario, state, argv):
    for taken in state["taken"]:
        if taken["number"] == argv[-1]:
            taken["cancelled"] = True
    write("state.json", state)
    answer({})


def main():
    program, argv = os.path.basename(sys.argv[0]), sys.argv[1:]
    with open(path("lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.fcntl(lock, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        variables = {k: v for k, v in os.environ.items() if k.startswith(("SBATCH_", "SLURM_"))}
        with open(path("asked.jsonl"), "a") as f:
            f.write(json.dumps({"program": program, "argv": argv, "env": variables}) + "\n")
        state = read("state.json", {"taken": [], "tries": 0})
        globals()[program](read("scenario.json", {"jobs": [{}]}), state, argv)


main()
