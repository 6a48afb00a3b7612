# SPDX-License-Identifier: Apache-2.0
"""Three machines in network namespaces: home, a jump host, and a box behind it that home can only reach through the jump host."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from box import SSHD, keygen

ACCOUNT, NUMBER = "ana", 40001
# Addresses of the jump host, as seen from home, and of the box, as seen from the jump host. No names are resolved.
JUMP, BOX = "10.71.1.2", "10.71.2.2"
JUMP6, BOX6 = "fd71:1::2", "fd71:2::2"


def run(*words):
    return subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.decode()


def possible(*words):
    return subprocess.call(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def why_not():
    """Returns the reason why there can be no such machines here, or ""."""
    if os.geteuid() != 0:
        return "network namespaces with an sshd of another user need root"
    if SSHD is None or shutil.which("ssh-keygen") is None:
        return "no sshd here"
    if not all(shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin") for name in ("ip", "unshare", "mount")):
        return "no ip, unshare or mount here"
    probe = "ip link add kolm0 type veth peer name kolm1 && ip addr add 10.71.0.1/24 dev kolm0 && mount -t tmpfs none /run"
    if not possible("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "/bin/sh", "-c", probe):
        return "this kernel or container gives no network namespaces"
    return ""


def enter():
    """Runs this program again in separate namespaces for network, mounts and PIDs, which end with the program."""
    if os.environ.get("KOLM_TEST_NETS") == "inside":
        run("ip", "link", "set", "lo", "up")
        run("mount", "-t", "tmpfs", "none", "/run")
        return
    os.execvpe("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable] + sys.argv,
               {**os.environ, "KOLM_TEST_NETS": "inside"})


class Machine:
    """A network namespace with an sshd on port 22 that runs as ACCOUNT, which is not root and has only a home directory."""

    def __init__(self, name, addresses, authorized):
        self.name, self.addresses = name, addresses
        self.dir = tempfile.mkdtemp(prefix="kolm-%s-" % name)
        self.home = os.path.join(self.dir, "home")
        os.mkdir(self.home)
        self.host_key = os.path.join(self.dir, "host")
        keygen(self.host_key)
        shutil.copy(authorized, os.path.join(self.dir, "authorized"))
        self.own()
        self.sh("echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start")
        self.process = None

    def own(self):
        for folder, names, files in os.walk(self.dir):
            for path in [folder] + [os.path.join(folder, name) for name in files]:
                os.chown(path, NUMBER, NUMBER)

    def sh(self, line):
        return self.ip("netns", "exec", self.name, "/bin/sh", "-c", line, here=True)

    def ip(self, *words, here=False):
        return run("ip", *([] if here else ["-n", self.name]), *words)

    def start(self):
        config = os.path.join(self.dir, "sshd_config")
        with open(config, "w") as file:
            file.write("\n".join([
                "Port 22", *("ListenAddress " + address for address in self.addresses), "HostKey " + self.host_key, "StrictModes no",
                "UsePAM no", "PidFile none", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "LogLevel ERROR",
                "AuthorizedKeysFile " + os.path.join(self.dir, "authorized"), 'SetEnv HOME="%s" XDG_CACHE_HOME=""' % self.home, ""]))
        self.log = os.path.join(self.dir, "log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, "setpriv", "--reuid=%d" % NUMBER, "--regid=%d" % NUMBER, "--clear-groups", "--no-new-privs",
                 SSHD, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for address in self.addresses:
            self.wait_for(address)

    def wait_for(self, address):
        end = time.monotonic() + 20
        while not possible("ip", "netns", "exec", self.name, sys.executable, "-c",
                           "import socket; socket.create_connection((%r, 22), 1)" % address):
            if time.monotonic() > end or self.process.poll() is not None:
                with open(self.log) as file:
                    raise AssertionError("sshd does not start: " + file.read())
            time.sleep(0.02)

    def known(self):
        with open(self.host_key + ".pub") as file:
            key = " ".join(file.read().split()[:2])
        return "".join("%s %s\n" % (address, key) for address in self.addresses)


class World:
    """home (where the test runs) -- home0|jump0 -- jump -- jump1|box0 -- box"""

    def __init__(self):
        os.makedirs("/run/sshd", 0o755, exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix="kolm-nets-")
        os.chmod(self.dir, 0o755)
        self.key = os.path.join(self.dir, "id")
        keygen(self.key)
        self.accounts()
        for name in ("jump", "box"):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        self.cable("home0", None, "10.71.1.1", "fd71:1::1", "jump0", "jump", JUMP, JUMP6)
        self.cable("jump1", "jump", "10.71.2.1", "fd71:2::1", "box0", "box", BOX, BOX6)
        self.jump = Machine("jump", [JUMP, JUMP6], self.key + ".pub")
        self.box = Machine("box", [BOX, BOX6], self.key + ".pub")
        self.machines = [self.jump, self.box]
        for machine in self.machines:
            machine.start()
        self.known = os.path.join(self.dir, "known")
        with open(self.known, "w") as file:
            file.write("".join(machine.known() for machine in self.machines))

    def remove(self):
        """Ends everything that runs here, and removes its files. The namespaces end with the program."""
        if os.getpid() == 1:  # in the PID namespace that enter() made
            os.kill(-1, signal.SIGKILL)
        for path in [self.dir] + [machine.dir for machine in self.machines]:
            shutil.rmtree(path, True)

    def accounts(self):
        """Adds ACCOUNT to the /etc/passwd of this mount namespace."""
        with open("/etc/passwd") as file:
            text = file.read()
        path = os.path.join(self.dir, "passwd")
        with open(path, "w") as file:
            file.write("%s\n%s:x:%d:%d::/nonexistent:/bin/sh\n" % (text.rstrip("\n"), ACCOUNT, NUMBER, NUMBER))
        run("mount", "--bind", path, "/etc/passwd")

    @staticmethod
    def cable(left, left_space, left4, left6, right, right_space, right4, right6):
        at = ["-n", left_space] if left_space else []
        run("ip", *at, "link", "add", left, "type", "veth", "peer", "name", right, "netns", right_space)
        for space, name, four, six in ((left_space, left, left4, left6), (right_space, right, right4, right6)):
            at = ["-n", space] if space else []
            run("ip", *at, "addr", "add", four + "/24", "dev", name)
            run("ip", *at, "-6", "addr", "add", six + "/64", "dev", name, "nodad")
            run("ip", *at, "link", "set", name, "up")
