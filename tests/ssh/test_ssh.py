# SPDX-License-Identifier: Apache-2.0
"""The SSH transport against OpenSSH's server: jumps, programs, cuts, hangs, garbage."""
import getpass
import os
import shutil
import sys
import unittest

from servers import SSHD, Proxy, Script, has_ipv6, write
from ssh_case import Case, SLOW


class Ways(Case):
    def config(self, text):
        return write(self.mine(f"config{len(os.listdir(self.own))}"), text)

    def test_alias(self):
        config = self.config(f"Host box\n HostName 127.0.0.1\n Port {self.sshd.port}\n IdentityFile {self.key}\n UserKnownHostsFile {self.known}\nMatch exec true\n User nobody\n")
        code, out, err = self.tool("--config", config, "facts", key="", target="box")
        self.assertEqual(code, 0, err)
        self.assertIn("Match exec is skipped", err)

    def test_jump(self):
        jump, second = self.serve(), self.serve()
        known = self.know(self.sshd, jump, second)
        common = f"Host *\n IdentityFile {self.key}\n"
        one = self.config(f"Host box\n HostName 127.0.0.1\n Port {self.sshd.port}\n ProxyJump 127.0.0.1:{jump.port}\n" + common)
        self.good("--config", one, "facts", key="", target="box", known=known)
        two = self.config(f"Host box\n HostName 127.0.0.1\n Port {self.sshd.port}\n ProxyJump 127.0.0.1:{jump.port},127.0.0.1:{second.port}\n" + common)
        self.good("--config", two, "facts", key="", target="box", known=known)
        self.there_and_back(3_000_000, "--config", two, key="", target="box", known=known)
        # Also with the jump's own configuration.
        nested = self.config(f"Host box\n HostName 127.0.0.1\n Port {self.sshd.port}\n ProxyJump first\nHost first\n HostName 127.0.0.1\n Port {second.port}\n"
                             f" ProxyJump 127.0.0.1:{jump.port}\n" + common)
        self.good("--config", nested, "facts", key="", target="box", known=known)
        # The key of each hop is checked.
        self.assertIn(f"[127.0.0.1]:{jump.port} is not known", self.bad("FAILED_PRECONDITION", "--config", one, "facts", key="", target="box"))
        closed = self.config(f"Host box\n HostName 127.0.0.1\n Port 1\n ProxyJump 127.0.0.1:{jump.port}\n" + common)
        self.assertIn("jump host", self.bad("UNAVAILABLE", "--config", closed, "facts", key="", target="box", known=known))

    def test_jump_written_otherwise(self):
        jump = self.serve()
        known = self.know(self.sshd, jump)
        common = f"Host *\n IdentityFile {self.key}\n"
        user = getpass.getuser()
        for hop in (f"ssh://{user}@127.0.0.1:{jump.port}", f"ssh://127.0.0.1:{jump.port}/", f"%r@%h:{jump.port}", f"{user}@%n-jump"):
            with self.subTest(hop):
                config = self.config(f"Host box\n HostName 127.0.0.1\n Port {self.sshd.port}\n User {user}\n ProxyJump {hop}\nHost box-jump\n HostName 127.0.0.1\n Port {jump.port}\n" + common)
                self.good("--config", config, "facts", key="", target="box", known=known)

    def test_jump_that_breaks(self):
        jump, data = self.serve(), bytes(16 << 20)
        for then, status in (("close", "UNAVAILABLE"), ("stall", "DEADLINE_EXCEEDED")):
            proxy = Proxy(jump.port, then, 3 << 20, upward=True)
            self.addCleanup(proxy.stop)
            config = self.config(f"Host box\n HostName 127.0.0.1\n Port {self.sshd.port}\n ProxyJump 127.0.0.1:{proxy.port}\nHost *\n IdentityFile {self.key}\n")
            self.bad(status, "--config", config, "--idle-ms", "1500", "run", "cat", stdin=data, key="", target="box",
                     known=self.know(self.sshd, proxy), within=20)
        # The target's server dies behind a jump host that continues.
        target = self.serve()
        proxy = Proxy(target.port, "close", 3 << 20, upward=True)
        self.addCleanup(proxy.stop)
        config = self.config(f"Host box\n HostName 127.0.0.1\n Port {proxy.port}\n ProxyJump 127.0.0.1:{jump.port}\nHost *\n IdentityFile {self.key}\n")
        self.bad("UNAVAILABLE", "--config", config, "run", "cat", stdin=data, key="", target="box", known=self.know(jump, proxy), within=20)

    def test_jump_that_hangs(self):
        jump = self.serve()
        silent = Script(then="silence")
        self.addCleanup(silent.stop)
        config = self.config(f"Host box\n HostName 127.0.0.1\n Port {silent.port}\n ProxyJump 127.0.0.1:{jump.port}\nHost *\n IdentityFile {self.key}\n")
        self.bad("DEADLINE_EXCEEDED", "--config", config, "--connect-ms", "1500", "facts", key="", target="box", known=self.know(jump), within=20)

    def test_jump_to_itself(self):
        config = self.config("Host box\n ProxyJump box\n")
        self.assertIn("jump", self.bad("INVALID_ARGUMENT", "--config", config, "facts", target="box"))

    def test_ipv6(self):
        if not has_ipv6():
            self.skipTest("no IPv6 here")
        out = self.good("facts", target=f"[::1]:{self.sshd.port}", known=self.know(self.sshd, host="::1"))
        self.assertEqual(out.split("\n")[1], "::1")

    def test_pinned(self):
        known = self.know(self.sshd, host="box.example")
        self.good("--pin", "127.0.0.1", "facts", target=f"box.example:{self.sshd.port}", known=known)
        self.bad("INVALID_ARGUMENT", "--pin", "localhost", "facts", target=f"box.example:{self.sshd.port}", known=known)
        config = self.config("Host box.example\n ProxyJump other\n")
        self.bad("INVALID_ARGUMENT", "--config", config, "--pin", "127.0.0.1", "facts", target="box.example", known=known)

    def test_nothing_listens(self):
        with Closed() as port:
            self.assertIn("refused", self.bad("UNAVAILABLE", "facts", target=f"127.0.0.1:{port}"))
        nowhere = "n" * 64 + ".invalid"  # no resolver asks for so long a label
        code, _, err = self.tool("facts", target=nowhere)
        self.assertEqual(code, 1)
        self.assertRegex(err, "^(NOT_FOUND|UNAVAILABLE): the name %s was not resolved" % nowhere)


class Closed:
    """A port that is bound, so that no other program gets it, and refuses connections."""

    def __enter__(self):
        import socket
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        return self.socket.getsockname()[1]

    def __exit__(self, *_):
        self.socket.close()


class Programs(Case):
    def test_status(self):
        for name, expected in (("true", 0), ("false", 3), ("stdin-closed", 7)):
            code, _, err = self.tool("run", name)
            self.assertEqual((code, err.strip()), (0, f"status {expected}"))
        self.assertIn("SIGKILL", self.bad("ABORTED", "run", "kill"))

    def test_streams(self):
        for size in (0, 1, 32767, 32768, 32769, 5_000_000):
            self.there_and_back(size)

    def test_new_keys_on_the_way(self):
        server = self.serve("RekeyLimit 4M")
        self.there_and_back(24 << 20, server=server, known=self.know(server))

    def test_noisy(self):
        # Four megabytes of standard error, twice the window, while standard output is read; afterwards the tail is available.
        code, out, err = self.tool("run", "noise")
        self.assertEqual((code, len(out)), (0, 6_553_600))
        self.assertIn("last words", err)

    def test_refused(self):
        server = self.serve("MaxSessions 0")
        self.bad("RESOURCE_EXHAUSTED", "run", "true", server=server, known=self.know(server))

    def test_cancel(self):
        self.bad("CANCELLED", "--cancel-ms", "700", "run", "sleep", within=10)

    def test_cancel_while_it_writes(self):
        slow = Proxy(self.sshd.port, "slow", 100_000, upward=True)
        self.addCleanup(slow.stop)
        self.bad("CANCELLED", "--cancel-ms", "1500", "run", "cat", stdin=bytes(8 << 20), server=slow, known=self.know(slow), within=15)


class Links(Case):
    def proxy(self, *arguments, **more):
        proxy = Proxy(self.sshd.port, *arguments, **more)
        self.addCleanup(proxy.stop)
        return proxy

    def script(self, *chunks, **more):
        script = Script(*chunks, **more)
        self.addCleanup(script.stop)
        return script

    def test_scripts(self):
        kex = b"\0\0\0\x0c\x0a\x14" + b"k" * 10
        for chunks, then, statuses in (
                ((), "close", ("UNAVAILABLE",)),
                ((), "silence", ("DEADLINE_EXCEEDED",)),
                ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "close", ("UNAVAILABLE", "DATA_LOSS")),
                ((b"SSH-2.0-Test\r\n",), "silence", ("DEADLINE_EXCEEDED",)),
                ((b"SSH-2.0-Test\r\n",), "close", ("UNAVAILABLE",)),
                ((b"SSH-1.0-Old\r\n",), "silence", ("DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION")),
                ((b"SSH-2.0-Test\r\n", os.urandom(4096)), "close", ("DATA_LOSS", "UNAVAILABLE", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED")),
                ((b"SSH-2.0-Test\r\n", kex), "close", ("DATA_LOSS", "UNAVAILABLE", "FAILED_PRECONDITION")),
                ((b"SSH-2.0-Test\r\n", b"\xff" * 64), "silence", ("DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED")),
                ((b"no banner, only lines\r\n" * 100,), "repeat", ("DEADLINE_EXCEEDED", "DATA_LOSS")),
                ((b"x" * 65536,), "repeat", ("DEADLINE_EXCEEDED", "DATA_LOSS"))):
            with self.subTest(chunks=chunks[-1][:30] if chunks else b"", then=then):
                server = self.script(*chunks, then=then)
                code, _, err = self.tool("--connect-ms", "1000", "facts", server=server, timeout=20 * SLOW)
                self.assertEqual(code, 1)
                self.assertIn(err.split(":")[0], statuses, err)

    def test_each_stage(self):
        """The handshake and the authentication, cut, stalled and corrupted after each number of bytes from the server."""
        whole = self.proxy("close", 1 << 40)
        self.good("facts", server=whole, known=self.know(whole))
        for after in sorted({0, 5, 21, 30, 45, 200, 600, whole.counted // 2, whole.counted - 500, whole.counted - 100, whole.counted - 30}):
            for then in ("close", "spoil"):
                with self.subTest(after=after, then=then):
                    proxy = self.proxy(then, after)
                    code, _, err = self.tool("--connect-ms", "2000", "facts", server=proxy, known=self.know(proxy), timeout=20 * SLOW)
                    if after < whole.counted // 2 + 1:  # the server always sends more after the authentication
                        self.assertEqual(code, 1)
                        self.assertRegex(err, "^(UNAVAILABLE|DATA_LOSS|FAILED_PRECONDITION|UNAUTHENTICATED|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED): ")
        for after in (0, 30, 600, whole.counted // 2):
            with self.subTest(after=after, then="stall"):
                proxy = self.proxy("stall", after)
                self.assertIn("in time", self.bad("DEADLINE_EXCEEDED", "--connect-ms", "700", "facts", server=proxy, known=self.know(proxy), within=10))

    def test_cancel_in_the_handshake(self):
        silent = self.script(then="silence")
        self.bad("CANCELLED", "--cancel-ms", "400", "facts", server=silent, within=10)

    def test_half_open(self):
        whole = self.proxy("close", 1 << 40)
        self.tool("run", "true", server=whole, known=self.know(whole))
        proxy = self.proxy("stall", whole.counted)
        self.bad("DEADLINE_EXCEEDED", "--idle-ms", "1500", "--keepalive-s", "1", "run", "sleep", server=proxy, known=self.know(proxy), within=30)

    def test_quiet_link_lives(self):
        # Longer than the idle timeout without output, but keepalives are answered.
        self.bad("CANCELLED", "--idle-ms", "1000", "--keepalive-s", "1", "--cancel-ms", "4500", "run", "sleep", within=20)

    def test_server_dies(self):
        server = self.serve()
        proxy = Proxy(server.port, "close", 3 << 20, upward=True)
        self.addCleanup(proxy.stop)
        self.assertIn("broke", self.bad("UNAVAILABLE", "run", "cat", stdin=bytes(64 << 20), server=proxy, known=self.know(proxy)))


if __name__ == "__main__":
    if SSHD is None or shutil.which("ssh-keygen") is None:
        print("OpenSSH's server and client are not installed")
        sys.exit(77)
    unittest.main()
