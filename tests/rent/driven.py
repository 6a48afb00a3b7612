# SPDX-License-Identifier: Apache-2.0
"""Runs a provider's table against its contract server on the test's clock, and checks what must be true after every run."""
import os
import subprocess
import tempfile
import unittest


def stride_of(program, released, sanitized):
    """Returns n if every n-th fault is to be tried. With sanitizers each request takes twice as long, and what they find depends on the fault and
    hardly on the request. KOLM_TEST_ALL: all."""
    if os.environ.get("KOLM_TEST_ALL"):
        return 1
    return sanitized if is_sanitized(program) else released


def is_sanitized(program):
    with open(program, "rb") as file:
        return b"__asan_init" in file.read()


def drawn(requests, kinds, stride, each=1, whole=None):
    """Returns (number, kind) of one fault in `stride` at one request in `each`, so that each kind and each of those requests occurs; and of every
    kind at the request `whole`."""
    numbers = range(0, requests, each)
    stride = min(stride, len(kinds), len(numbers))
    some = [(number, kind) for place, number in enumerate(numbers) for kind in kinds[place % stride::stride]]
    return some + [(whole, kind) for kind in kinds if whole is not None and (whole, kind) not in some]


class Run:
    """The output of a drive: records {name: [kind, handle, open, billed]}, ends {machine, key or reclaim: (state, code, spent, text)},
    work, log."""
    def __init__(self):
        self.records, self.ends, self.work, self.log, self.states, self.prices = {}, {}, [], [], [], []

    def take(self, line):
        word, _, rest = line.partition(" ")
        if word == "intent":
            kind, name = rest.split(" ")[:2]
            assert name not in self.records, "a name is on record twice: " + line
            self.records[name] = [kind, "", True, None]
            self.prices.append(int(rest.split(" ")[2]) / 1e6)  # dollars an hour, as agreed
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


class Driver:
    """A process of the program drive, which drives one run after another."""
    running = {}  # by program

    def __init__(self, program):
        self.program, self.words = program, tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.words, text=True,
                                        env={name: value for name, value in os.environ.items() if name == "PATH" or name.endswith("SAN_OPTIONS")})

    @classmethod
    def of(cls, program):
        if not cls.running:
            unittest.addModuleCleanup(cls.end_all)
        if program not in cls.running:
            cls.running[program] = cls(program)
        return cls.running[program]

    @classmethod
    def end_all(cls):
        """Ends all processes, which reports leaks."""
        for driver in list(cls.running.values()):
            code, words = driver.end()
            assert code == 0, (code, words)

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self, kill=False):
        """Returns exit code and errors."""
        del self.running[self.program]
        if kill:
            self.process.kill()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            code = self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
        self.words.seek(0)
        with self.words:
            return code, self.words.read()


def drive(program, cloud, variable, token, each=None, kill_at=None, run=None, settings=(), **options):
    """Drives one run to its end. settings: "KEY=VALUE" of the backend. each(state, number of the step): called here before every step.
    kill_at: kill -9 before that step."""
    run = run or Run()
    driver = Driver.of(program)
    over, killed, steps = False, False, 0
    try:
        driver.say("\t".join(["run", cloud.api(), "secret.%s=%s" % (variable, token), *("%s=%s" % pair for pair in options.items()),
                              *("set." + setting for setting in settings)]))
        for line in driver.process.stdout:
            line = line.rstrip("\n")
            if line == "over":
                over = True
                break
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
                killed = True
                break
            driver.say("go")
    except BaseException:
        driver.end(kill=True)
        raise
    if not over:
        ended = driver.end(kill=killed)
        assert killed, ended
    run.time = int(cloud.clock.now() * 1000)
    run.steps = steps
    return run
