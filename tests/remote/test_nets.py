#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kolm with remote-ssh across separate networks: a real jump host, IPv6, unplugged cables, lost packets, slow lines and long distances."""
import json
import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import nets  # noqa: E402

WHY_NOT = nets.why_not()
if not WHY_NOT:
    nets.enter()

import test_remote as remote  # noqa: E402

WORLD = None
if remote.SANITIZED:
    WHY_NOT = WHY_NOT or "the engine of a sanitized build runs only where it was built"


def setUpModule():
    global WORLD
    if not WHY_NOT:
        WORLD = nets.World()


def tearDownModule():
    if not WHY_NOT:
        WORLD.remove()


class Nets(remote.Case):
    """The case of test_remote, with the box behind the jump host instead of one on loopback."""

    # Whether the user of the tests may log in does not matter here, because ACCOUNT does.
    __unittest_skip__, __unittest_skip_why__ = bool(WHY_NOT), WHY_NOT

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-near-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.box = WORLD.box
        shutil.rmtree(self.far(WORLD.box), True)
        shutil.rmtree(self.far(WORLD.jump), True)
        for name in ("go", "runs", "kolm"):
            if os.path.exists(os.path.join(self.box.dir, name)):
                os.unlink(os.path.join(self.box.dir, name))
        self.data = os.path.join(self.dir, "tickets.jsonl")
        remote.tickets(self.data)
        self.env = {"KOLM_HOME": os.path.join(self.dir, "kolm"), "HOME": self.dir, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8",
                    "KOLM_REMOTE_HOST": "%s@%s" % (nets.ACCOUNT, nets.BOX)}
        os.mkdir(self.env["KOLM_HOME"])
        self.ssh_config = os.path.join(self.dir, "ssh_config")
        with open(self.ssh_config, "w") as file:
            file.write("Host %s %s\n  ProxyJump %s@%s\n" % (nets.BOX, nets.BOX6, nets.ACCOUNT, nets.JUMP))
        self.set()

    def set(self, **settings):
        own = {"identity_file": WORLD.key, "known_hosts": WORLD.known, "ssh_config": self.ssh_config, "patience_seconds": 60,
               "connect_timeout_seconds": 5, "idle_timeout_seconds": 2}
        own.update(settings)
        with open(os.path.join(self.env["KOLM_HOME"], "config.json"), "w") as file:
            json.dump({"backends": {"remote-ssh": own}}, file)

    @staticmethod
    def far(machine):
        return os.path.join(machine.home, ".cache", "kolm")

    def slow(self):
        # ACCOUNT cannot read kolm's build directory.
        engine = os.path.join(self.box.dir, "kolm-linear")
        shutil.copy(remote.ENGINE, engine)
        path = os.path.join(self.box.dir, "kolm")
        with open(path, "w") as file:
            file.write(remote.SLOW_KOLM % engine)
        os.chmod(path, 0o755)
        self.set(kolm=path)

        def go():
            with open(os.path.join(self.box.dir, "go"), "w"):
                pass
        return go

    def through(self, machine, *words):
        """Runs a command that changes the network, and one that undoes it at the end of the test."""
        done, undone = words
        self.addCleanup(lambda: nets.possible("/bin/sh", "-c", undone) if machine is None else
                        nets.possible("ip", "netns", "exec", machine.name, "/bin/sh", "-c", undone))
        if machine is None:
            nets.run("/bin/sh", "-c", done)
        else:
            machine.sh(done)

    def finish(self, process, code=0):
        said = " ".join(process.communicate(timeout=120)[0].decode("utf-8", "replace").split())
        self.assertEqual(process.returncode, code, said)
        return said

    def goes_on_after(self, machine, breaks, mends):
        """Breaks the network while the job runs, lets the job end, and restores the network: kolm must notice, reconnect, and have the
        right bytes."""
        go = self.slow()
        process = self.start(*self.compile_words())
        self.wait_for(lambda: len(self.runs()) == 1)
        self.through(machine, breaks, mends)
        go()
        self.wait_for(lambda: b"connecting again" in self.heard(process))
        if machine is None:
            nets.run("/bin/sh", "-c", mends)
        else:
            machine.sh(mends)
        said = self.finish(process)
        self.assertEqual(len(self.runs()), 2, said)  # the training and the answering, once each
        self.assertEqual(self.artifact(), self.local())

    def start(self, *words, folder="out"):
        """As in the base class, but the output goes into a file, so that it can be read while kolm runs."""
        out = os.path.join(self.dir, folder)
        os.makedirs(out, exist_ok=True)
        self.said = os.path.join(self.dir, folder + ".said")
        with open(self.said, "wb") as file:
            return Told(self.said, [remote.KOLM] + list(words), cwd=out, env=self.env, stdin=remote.subprocess.DEVNULL, stdout=file,
                        stderr=remote.subprocess.STDOUT, start_new_session=True)

    @staticmethod
    def heard(process):
        return b" ".join(process.heard().split())


class Told(remote.subprocess.Popen):
    def __init__(self, path, *words, **settings):
        super().__init__(*words, **settings)
        self.path = path

    def heard(self):
        with open(self.path, "rb") as file:
            return file.read()

    def communicate(self, timeout=None):
        self.wait(timeout)
        return self.heard(), b""


class Jump(Nets):
    def test_the_jump_host_is_the_only_way_and_the_bytes_are_the_same(self):
        self.set(ssh_config="none", patience_seconds=1)
        self.compile(code=5)
        self.assertFalse(os.path.exists(self.far(WORLD.box)))
        self.set()
        self.compile()
        self.assertEqual(self.artifact(), self.local())
        self.assertFalse(os.path.exists(self.far(WORLD.jump)))  # nothing is left on the jump host
        self.run_kolm("verify", "router-1.0.0.kolm")

    def test_ipv6_with_and_without_the_jump_host(self):
        here = self.local()
        for folder, address in (("near", nets.JUMP6), ("far", nets.BOX6)):
            with self.subTest(address=address):
                self.env["KOLM_REMOTE_HOST"] = "%s@[%s]" % (nets.ACCOUNT, address)
                self.compile(folder=folder)
                self.assertEqual(self.artifact(folder), here)

    def test_the_jump_host_loses_the_box(self):
        self.goes_on_after(WORLD.jump, "ip link set jump1 down", "ip link set jump1 up && ip -6 addr replace fd71:2::1/64 dev jump1 nodad")

    def test_a_jump_host_with_another_key_is_a_hard_stop(self):
        with open(WORLD.known) as file:
            lines = file.read().splitlines(True)
        keys = {line.split()[0]: line.split(" ", 1)[1] for line in lines}
        known = os.path.join(self.dir, "known")
        with open(known, "w") as file:
            file.write("".join("%s %s" % (name, keys[nets.BOX] if name == nets.JUMP else key) for name, key in keys.items()))
        self.set(known_hosts=known, host_key="accept-new")
        said = " ".join(self.compile(code=5).split())
        self.assertIn(nets.JUMP, said)
        self.assertFalse(os.path.exists(self.far(WORLD.box)))

    def test_airgap_goes_through_no_jump_host(self):
        said = " ".join(self.run_kolm(*self.compile_words(), "--airgap", "--allow-private-remote", code=5).split())
        self.assertIn("ProxyJump", said)
        self.assertFalse(os.path.exists(self.far(WORLD.box)))


class Lines(Nets):
    def test_the_cable_is_pulled_and_put_back(self):
        self.goes_on_after(None, "ip link set home0 down", "ip link set home0 up && ip -6 addr replace fd71:1::1/64 dev home0 nodad")

    def test_packets_vanish_silently(self):
        """What the box sends goes to a hardware address that no card has: no reset, no ICMP, no error on either side."""
        self.goes_on_after(WORLD.box, "ip neigh replace 10.71.2.1 lladdr 02:00:00:00:00:99 dev box0 nud permanent", "ip neigh del 10.71.2.1 dev box0")

    def test_a_thin_line(self):
        """8 Mbit/s with a queue of 50 ms: sending the engine alone takes seconds."""
        self.shape("tbf rate 8mbit burst 16k latency 50ms")

    def test_a_long_line_that_loses_packets(self):
        self.shape("netem delay 50ms loss 1%")

    def shape(self, how):
        if not nets.possible("tc", "qdisc", "add", "dev", "home0", "root", *how.split()):
            self.skipTest("this kernel has no " + how.split()[0])
        self.addCleanup(nets.possible, "tc", "qdisc", "del", "dev", "home0", "root")
        WORLD.jump.sh("tc qdisc add dev jump0 root " + how)
        self.addCleanup(nets.possible, "ip", "netns", "exec", "jump", "tc", "qdisc", "del", "dev", "jump0", "root")
        self.compile()
        self.assertEqual(self.artifact(), self.local())


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[3:])
