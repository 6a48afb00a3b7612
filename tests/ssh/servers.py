# SPDX-License-Identifier: Apache-2.0
"""OpenSSH's server as the user who runs the tests, an agent, and a proxy that cuts, stalls or corrupts the connection."""
import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))


def wait_for(condition, seconds=20):
    """Tests every 10 ms until condition() is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def keygen(path, kind="ed25519", passphrase="", comment="test", *more):
    bits = ["-b", "2048"] if kind == "rsa" else []
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *bits, "-N", passphrase, "-C", comment, "-f", path, *more], check=True)
    return path


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text, mode=0o600):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def is_open(port, host="127.0.0.1"):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        return s.connect_ex((host, port)) == 0


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def account_is_locked():
    """Without PAM sshd rejects an account whose password begins with "!", even with a key; only root can read that."""
    try:
        with open("/etc/shadow", encoding="utf-8") as file:
            entries = dict(line.split(":")[:2] for line in file)
    except OSError:
        return False
    return entries.get(getpass.getuser(), "").startswith("!")


class Sshd:
    """A server with its own host keys and authorized_keys in directory."""

    def __init__(self, directory, host_key, authorized, *lines):
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        self.directory = directory
        self.log = os.path.join(directory, "sshd.log")
        for _ in range(5):  # another program may take the port in the meantime
            self.port = free_port()
            listen = ["ListenAddress 127.0.0.1"] + (["ListenAddress ::1"] if has_ipv6() else [])
            keys = host_key if isinstance(host_key, list) else [host_key]
            config = write(os.path.join(directory, f"sshd_config.{self.port}"), "\n".join([
                *lines, f"Port {self.port}", *listen, *(f"HostKey {key}" for key in keys), f"AuthorizedKeysFile {authorized}", "PidFile none", "UsePAM " + ("yes" if account_is_locked() else "no"),
                "StrictModes no", "PermitRootLogin yes", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "MaxStartups 100", ""]))
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            if wait_for(lambda: self.process.poll() is not None or is_open(self.port)) and self.process.poll() is None:
                return
            self.stop()
        raise RuntimeError("sshd does not start: " + read(self.log))

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()


class Agent:
    def __init__(self, directory):
        self.socket = os.path.join(directory, "agent.sock")
        self.process = subprocess.Popen(["ssh-agent", "-D", "-a", self.socket], stdout=subprocess.DEVNULL)
        if not wait_for(self.listens):  # the socket has a name before it listens
            raise RuntimeError("ssh-agent does not start")

    def listens(self):
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.socket) == 0

    def add(self, *arguments):
        subprocess.run(["ssh-add", "-q", *arguments], check=True, env={**os.environ, "SSH_AUTH_SOCK": self.socket}, stderr=subprocess.DEVNULL)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Proxy:
    """Forwards its port to another. After `after` bytes from the server it does `then`: "close", "stall", "spoil" (flips bits) or "slow"
    (64 KiB, then a trickle in both directions). With upward=True it counts bytes to the server."""

    def __init__(self, target, then="close", after=0, upward=False):
        self.target, self.then, self.after, self.upward = target, then, after, upward
        self.counted = 0
        self.sockets = []
        self.open = True
        self.tripped = threading.Event()
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(16)
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self.sockets += [client, server]
            for source, sink, up in ((client, server, True), (server, client, False)):
                thread = threading.Thread(target=self.copy, args=(source, sink, up), daemon=True)
                self.threads.append(thread)
                thread.start()

    def copy(self, source, sink, up):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if self.then == "slow" and self.tripped.is_set():
                    for i in range(0, len(data), 256):
                        if not self.open:
                            return
                        sink.sendall(data[i:i + 256])
                        time.sleep(0.02)
                    continue
                if up == self.upward:
                    left = self.after - self.counted
                    self.counted += len(data)
                    if len(data) > left:
                        self.tripped.set()
                        if self.then == "spoil":
                            data = data[:max(left, 0)] + bytes(b ^ 0x55 for b in data[max(left, 0):])
                        elif self.then != "slow":
                            sink.sendall(data[:max(left, 0)])
                            if self.then == "close":
                                break
                            self.stall()
                            break
                elif self.tripped.is_set() and self.then == "stall":
                    self.stall()
                    break
                sink.sendall(data)
        for s in (source, sink):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def stall(self):
        wait_for(lambda: not self.open, 60)

    def stop(self):
        self.open = False
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(5)
        for s in self.sockets:
            s.close()


class Script:
    """A server that sends `chunks` to each client, then closes, is silent, or repeats the last one forever."""

    def __init__(self, *chunks, then="close"):
        self.chunks, self.then = chunks, then
        self.open = True
        self.sockets = []
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(16)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while self.open:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            self.sockets.append(client)
            with contextlib.suppress(OSError):
                for chunk in self.chunks:
                    client.sendall(chunk)
                while self.then == "repeat" and self.open:
                    client.sendall(self.chunks[-1])
                if self.then == "close":
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65536):
                        pass
                    client.close()

    def stop(self):
        self.open = False
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        for s in self.sockets:
            s.close()
