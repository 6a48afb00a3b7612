#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The watchdog of a rented machine: armed, read back, and what it does when its time is over and no client is connected."""
import os
import shutil
import signal
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from far_case import ID, Case, alive, script, wait_until  # noqa: E402

STUBBORN = "import os,signal,subprocess,sys;signal.signal(signal.SIGTERM,signal.SIG_IGN);" \
           "p=subprocess.Popen([sys.executable,'-c','import signal;signal.pause()'],start_new_session=True);" \
           "open('pids','w').write('%d %d' % (os.getpid(),p.pid));open('ready','w').close();signal.pause()"


class Guards(Case):
    def setUp(self):
        super().setUp()
        self.watchdogs = []
        self.addCleanup(self.end_watchdogs)

    def end_watchdogs(self):
        for pid in self.watchdogs:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    def guard(self, far, **request):
        answer = far.ask("guard", **request)
        self.watchdogs.append(answer["pid"])
        return answer

    def start(self, far, text):
        far.ask("create", job=ID, files=[])
        far.ask("start", job=ID, command=script(text), grace_ms=200)
        wait_until(lambda: os.path.exists(self.path("jobs", ID, "work", "ready")))
        with open(self.path("jobs", ID, "work", "pids")) as file:
            return [int(word) for word in file.read().split()]

    def test_it_is_armed_read_back_and_replaced(self):
        far = self.far()
        self.assertEqual(far.ask("guarded")["armed"], False)
        first = self.guard(far, seconds=100)
        self.assertTrue(first["armed"] and 95 <= first["left"] <= 100, first)
        far.kill()
        other = self.far()
        self.assertEqual(other.ask("guarded")["pid"], first["pid"])
        second = self.guard(other, seconds=200)
        self.assertNotEqual(second["pid"], first["pid"])
        self.assertGreater(other.ask("guarded")["left"], 150)
        wait_until(lambda: not alive(first["pid"]))

    def test_one_that_was_killed_is_not_armed_whatever_its_record_says(self):
        far = self.far()
        pid = self.guard(far, seconds=100)["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid))
        self.assertTrue(os.path.exists(self.path("guard.json")))
        self.assertEqual(far.ask("guarded")["armed"], False)

    def test_it_ends_a_job_that_ignores_signals_and_what_the_job_started(self):
        far = self.far()
        pids = self.start(far, STUBBORN)
        watchdog = self.guard(far, seconds=0)["pid"]
        far.kill()
        wait_until(lambda: not any(alive(pid) for pid in pids))
        wait_until(lambda: not alive(watchdog))  # without the power-off option it just ends
        self.assertEqual(self.far().ask("status", job=ID)["state"], "done")

    def test_a_job_that_ends_in_time_is_not_touched(self):
        far = self.far()
        self.guard(far, seconds=100)
        far.ask("create", job=ID, files=[])
        far.ask("start", job=ID, command=script("print('{\"event\":\"result\"}')"))
        wait_until(lambda: far.ask("status", job=ID)["state"] == "done")
        self.assertEqual(far.ask("status", job=ID)["exit"], 0)

    def test_it_powers_off_on_request(self):
        tools = os.path.join(self.home, "tools")
        os.mkdir(tools)
        for name in ("shutdown", "sudo"):  # never the real commands
            path = os.path.join(tools, name)
            with open(path, "w") as file:
                file.write('#!/bin/sh\necho "%s $*" >"%s/off.new" && mv "%s/off.new" "%s/off"\n' % (name, tools, tools, tools))
            os.chmod(path, 0o755)
        far = self.far(env={"PATH": tools + ":" + os.environ.get("PATH", "/usr/bin:/bin")})
        self.assertEqual(shutil.which("shutdown", path=tools), os.path.join(tools, "shutdown"))
        self.guard(far, seconds=0, off=True)
        wait_until(lambda: os.path.exists(os.path.join(tools, "off")))
        with open(os.path.join(tools, "off")) as file:
            self.assertEqual(file.read().strip(), "shutdown -h now" if os.geteuid() == 0 else "sudo -n shutdown -h now")

    def test_what_is_not_a_request_is_refused(self):
        far = self.far()
        for bad in ({}, {"seconds": -1}, {"seconds": "7"}, {"seconds": True}):
            self.refused(far.try_ask("guard", **bad), 3, "seconds")


if __name__ == "__main__":
    unittest.main(verbosity=2)
