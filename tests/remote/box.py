# SPDX-License-Identifier: Apache-2.0
"""A real sshd of this user on loopback, with its own home directory, whose connections can be cut, stopped and altered."""
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

SSHD = next((p for p in ("/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/lib/ssh/sshd") if os.path.exists(p)), None)
USER = pwd.getpwuid(os.geteuid()).pw_name


def keygen(path, kind="ed25519"):
    subprocess.check_call(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], stdin=subprocess.DEVNULL)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def processes():
    """Returns {pid: (parent, name)}."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as file:
                text = file.read()
        except OSError:
            continue
        name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
        if rest[0] not in "ZX":
            found[int(pid)] = (int(rest[1]), name)
    return found


def kill_all(process):
    """Kills a process and its descendants as in a power failure: all are stopped first, so that none notices the death of another."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        table, found, grew = processes(), {process.pid}, True
        while grew:
            more = {pid for pid in table if table[pid][0] in found} - found
            grew = bool(more)
            found |= more
        for pid in found:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass  # it ended by itself, or with its PID namespace, whose first process was killed before it
    remove_clocks(found)


def remove_clocks(pids):
    """Removes what faketime 0.9.10 leaves of killed processes: a semaphore and shared memory, named after their process numbers. Without
    this, faketime would fail for the next process that gets such a number."""
    for pid in pids:
        for name in ("sem.faketime_sem_%d", "faketime_shm_%d"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink("/dev/shm/" + name % pid)


class Box:
    """shell: a program that runs the command with -c; "" for the login shell. before: lines of sh that run first."""

    def __init__(self, port=None, shell="", before="", lines=(), address="127.0.0.1"):
        self.dir = tempfile.mkdtemp(prefix="kolm-box-")
        os.chmod(self.dir, 0o755)
        self.home = os.path.join(self.dir, "home")
        os.mkdir(self.home)
        self.port, self.address = port or free_port(), address
        self.user_key, self.host_key = os.path.join(self.dir, "id"), os.path.join(self.dir, "host")
        keygen(self.user_key)
        keygen(self.host_key)
        shutil.copy(self.user_key + ".pub", os.path.join(self.dir, "authorized"))
        self.known = os.path.join(self.dir, "known")
        self.know(self.host_key)
        self.process = None
        self.configure(shell, before, lines)
        self.start()

    def know(self, key, *ports):
        with open(key + ".pub") as file, open(self.known, "w") as out:
            words = " ".join(file.read().split()[:2])
            out.write("".join("[127.0.0.1]:%d %s\n" % (port, words) for port in ports or [self.port]))

    def configure(self, shell="", before="", lines=(), home=None):
        home = home or self.home
        script = os.path.join(self.dir, "login")
        with open(script, "w") as file:
            file.write("%s\n%s\n" % (before, 'exec %s -c "$SSH_ORIGINAL_COMMAND"' % (shell or "/bin/sh")))
        text = ["Port %d" % self.port, "ListenAddress " + self.address, "HostKey " + self.host_key, "StrictModes no", "UsePAM no",
                "PermitRootLogin yes", "PidFile none", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
                "LogLevel ERROR", "MaxStartups 100", "AuthorizedKeysFile " + os.path.join(self.dir, "authorized"),
                'SetEnv HOME="%s" XDG_CACHE_HOME=""' % home]
        if shell or before:
            text.append("ForceCommand exec /bin/sh " + script)
        with open(os.path.join(self.dir, "sshd_config"), "w") as file:
            file.write("\n".join(text + list(lines)) + "\n")

    def start(self):
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        self.log = open(os.path.join(self.dir, "log"), "ab")
        self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", os.path.join(self.dir, "sshd_config")], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection((self.address, self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    with open(os.path.join(self.dir, "log")) as file:
                        raise AssertionError("sshd does not start: " + file.read())
                time.sleep(0.02)

    def sessions(self):
        """Returns the processes of sshd below the listening one."""
        table, found, grew = processes(), {self.process.pid}, True
        while grew:
            more = {pid for pid in table if table[pid][0] in found and table[pid][1].startswith("sshd")} - found
            grew = bool(more)
            found |= more
        return found - {self.process.pid}

    def cut(self):
        """Ends all current connections, like a network failure; detached processes continue."""
        cut = self.sessions()
        for pid in cut:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        return len(cut)

    def freeze(self):
        """Stops all current connections without closing them: a half-open link."""
        for pid in self.sessions():
            os.kill(pid, signal.SIGSTOP)

    def stop(self):
        # Stopped first: a session forked between the cut and the end of its parent would survive and not be found.
        self.process.send_signal(signal.SIGSTOP)
        while self.cut():
            pass
        self.process.kill()
        self.process.wait()
        self.log.close()

    def restart(self):
        self.stop()
        self.start()

    @property
    def base(self):
        return os.path.join(self.home, ".cache", "kolm")

    def running(self):
        """Returns the processes that run below this box's directory."""
        found = []
        for pid in processes():
            try:
                with open("/proc/%d/cmdline" % pid, "rb") as file:
                    words = file.read()
                if self.base.encode() in words:
                    found.append(pid)
            except OSError:
                pass
        return found

    def remove(self):
        self.stop()
        for pid in self.running():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        end = time.monotonic() + 10  # a keeper may still be writing its last files
        while os.path.exists(self.dir) and time.monotonic() < end:
            shutil.rmtree(self.dir, True)
            time.sleep(0.01)


def usable():
    """Returns the reason why the tests cannot run here, or ""."""
    if SSHD is None or shutil.which("ssh-keygen") is None:
        return "no sshd here"
    if pwd.getpwuid(os.geteuid()).pw_shell.endswith(("nologin", "false")):
        return "this account may not log in"
    try:
        box = Box()
    except AssertionError as error:
        return str(error)
    try:
        done = subprocess.run(["ssh", "-F", "none", "-i", box.user_key, "-p", str(box.port), "-oUserKnownHostsFile=" + box.known,
                               "-oBatchMode=yes", USER + "@127.0.0.1", "echo $HOME"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, timeout=30)
        return "" if done.stdout.decode().strip() == box.home else "nobody can log in here: " + done.stderr.decode()[:200]
    finally:
        box.remove()
