# SPDX-License-Identifier: Apache-2.0
"""Runs a provider's table against its contract server on the test's clock, and holds what must be true after every run."""
import os
import subprocess


class Run:
    """What a drive said: records {name: [kind, handle, open, billed]}, ends {machine, key or reclaim: (state, code, spent, text)}, work, log."""
    def __init__(self):
        self.records, self.ends, self.work, self.log, self.states, self.prices = {}, {}, [], [], [], []

    def take(self, line):
        word, _, rest = line.partition(" ")
        if word == "intent":
            kind, name = rest.split(" ")[:2]
            assert name not in self.records, "a name is on record twice: " + line
            self.records[name] = [kind, "", True, None]
            self.prices.append(int(rest.split(" ")[2]) / 1e6)  # dollars an hour, as agreed on
        elif word == "handle":
            name, given = rest.split(" ")
            assert self.records.get(name, [0, 0, False])[2], "a handle that was not announced: " + line
            self.records[name][1] = given
        elif word == "gone":
            name, billed = rest.split(" ")
            if name in self.records:
                self.records[name][2:] = [False, int(billed)]
        elif word == "work":
            self.work.append(rest)
        elif word == "log":
            self.log.append(rest)
        elif word == "end":
            what, state, code, spent, text = rest.split(" ", 4)
            self.ends[what] = (state, int(code), int(spent), text)
        else:
            raise AssertionError("what does this mean: " + line)

    def open(self):
        return [name for name, record in self.records.items() if record[2]]


def drive(program, cloud, variable, token, each=None, kill_at=None, run=None, settings=(), **options):
    """One run to its end. settings: "KEY=VALUE" of the backend. each(state, number of the step): called before every step, on this side. kill_at: kill -9 before that step."""
    run = run or Run()
    words = [program, cloud.api(), *("%s=%s" % pair for pair in options.items()), *("set." + setting for setting in settings)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={"PATH": os.environ["PATH"], variable: token})
    steps = 0
    try:
        for line in process.stdout:
            line = line.rstrip("\n")
            if not line.startswith("now "):
                run.take(line)
                continue
            _, milliseconds, state = line.split(" ")
            with cloud.lock:
                cloud.clock.set(int(milliseconds) / 1000)
            run.states.append(state)
            steps += 1
            assert steps < 20000, "it does not end"
            if each:
                each(state, steps)
            if kill_at is not None and steps >= kill_at:
                process.kill()
                break
            process.stdin.write("go\n")
            process.stdin.flush()
        process.stdin.close()
    finally:
        if process.poll() is None and kill_at is None:
            process.wait(60)
        process.kill()
        code, words = process.wait(), process.stderr.read()
        process.stdout.close()
        process.stderr.close()
    if kill_at is None:
        assert code == 0, (code, words)
    run.time = int(cloud.clock.now() * 1000)
    run.steps = steps
    return run
