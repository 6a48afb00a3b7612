# SPDX-License-Identifier: Apache-2.0
"""The SSH transport against OpenSSH's server: host keys, keys, jumps, programs, files, cuts, hangs, garbage."""
import getpass
import glob
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from servers import SSHD, Agent, Proxy, Script, Sshd, has_ipv6, keygen, read, write

TOOL = os.environ["SSH_TOOL"]
SLOW = 10 if os.environ.get("KOLM_UNDER_VALGRIND") else 1


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="kolm-ssh.")
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        cls.host_key = keygen(cls.at("host"), comment="host")
        cls.key = keygen(cls.at("id"))
        cls.authorized = write(cls.at("authorized"), read(cls.key + ".pub"))
        cls.sshd = Sshd(cls.root, cls.host_key, cls.authorized)
        cls.addClassCleanup(cls.sshd.stop)

    @classmethod
    def at(cls, name):
        return os.path.join(cls.root, name)

    def setUp(self):
        self.own = tempfile.mkdtemp(dir=self.root)
        self.known = self.know(self.sshd)

    def mine(self, name):
        return os.path.join(self.own, name)

    def serve(self, *lines, host_key=None, authorized=None, **more):
        server = Sshd(self.own, host_key or self.host_key, authorized or self.authorized, *lines, **more)
        self.addCleanup(server.stop)
        return server

    def know(self, *servers, key=None, host="127.0.0.1"):
        text = "".join(f"[{host}]:{s.port} {' '.join(read((key or self.host_key) + '.pub').split()[:2])}\n" for s in servers)
        return write(self.mine(f"known{len(os.listdir(self.own))}"), text)

    def tool(self, *arguments, server=None, known=None, key=None, stdin=b"", target=None, timeout=60 * SLOW, environment=None,
             binary=False):
        """Options first, then the verb: a target is put between them. Returns (code, stdout, stderr)."""
        arguments = list(arguments)
        options = []
        while arguments and arguments[0].startswith("--"):
            options += arguments[:2]
            del arguments[:2]
        command = [TOOL] + (["--known", known or self.known] if known != "" else [])
        if key != "":
            command += ["--identity", key or self.key]
        command += options + [target or f"127.0.0.1:{(server or self.sshd).port}"] + arguments
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, check=False,
                              env={**os.environ, "HOME": self.own, "SSH_AUTH_SOCK": "", **(environment or {})})
        return done.returncode, done.stdout.decode("latin-1" if binary else "utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    def good(self, *arguments, **more):
        code, out, err = self.tool(*arguments, **more)
        self.assertEqual(code, 0, err)
        return out

    def there_and_back(self, size, *options, **more):
        """That many bytes through a program of the box that gives back what it gets."""
        data = random.Random(size).randbytes(size)
        out = self.good(*options, "run", "cat", stdin=data, binary=True, **more)
        self.assertEqual(hashlib.sha256(out.encode("latin-1")).digest(), hashlib.sha256(data).digest())

    def bad(self, status, *arguments, within=None, **more):
        start = time.monotonic()
        code, out, err = self.tool(*arguments, **more)
        took = time.monotonic() - start
        self.assertEqual(code, 1, out + err)
        self.assertTrue(err.split("\n")[-2].startswith(status + ": "), err)
        self.assertNotIn("the record says", err)
        if within is not None:
            self.assertLess(took, within * SLOW, err)
        return err


class HostKeys(Case):
    def fingerprint(self):
        return subprocess.run(["ssh-keygen", "-lf", self.host_key + ".pub"], capture_output=True, text=True, check=True).stdout.split()[1]

    def test_first_use(self):
        fresh = self.mine("new/known_hosts")
        self.assertIn("is not known: ssh-ed25519 " + self.fingerprint(), self.bad("FAILED_PRECONDITION", "facts", known=fresh))
        self.bad("FAILED_PRECONDITION", "--trust", "no", "facts", known=fresh)
        self.assertFalse(os.path.exists(fresh))
        out = self.good("--trust", "yes", "facts", known=fresh)
        self.assertEqual(out.split("\n")[0], f"trust? [127.0.0.1]:{self.sshd.port} ssh-ed25519 {self.fingerprint()}")
        self.assertEqual(out.split("\n")[1:3], [self.fingerprint(), "127.0.0.1"])
        self.assertEqual(os.stat(fresh).st_mode & 0o777, 0o600)
        self.assertNotIn("trust?", self.good("--trust", "no", "facts", known=fresh))
        # OpenSSH reads what was written.
        found = subprocess.run(["ssh-keygen", "-F", f"[127.0.0.1]:{self.sshd.port}", "-f", fresh], capture_output=True, text=True, check=False)
        self.assertIn("found", found.stdout)

    def test_appends_behind_a_line_without_end(self):
        known = write(self.mine("open"), "# a remark without an end")
        self.good("--trust", "yes", "facts", known=known)
        self.assertEqual(len(read(known).strip().split("\n")), 2)
        self.good("facts", known=known)

    def test_changed(self):
        other = keygen(self.mine("other"))
        known = write(self.mine("changed"), "# first line\n" + read(self.know(self.sshd, key=other)))
        err = self.bad("FAILED_PRECONDITION", "--trust", "yes", "facts", known=known)
        self.assertIn(f"{known} line 2", err)
        self.assertIn("has changed", err)
        self.assertIn(f"ssh-keygen -R '[127.0.0.1]:{self.sshd.port}'", err)
        # Any line with the right key is enough, as for ssh.
        self.good("facts", known=write(self.mine("both"), read(known) + read(self.known)))

    def test_revoked(self):
        known = write(self.mine("revoked"), read(self.known) + "@revoked * " + read(self.host_key + ".pub"))
        err = self.bad("FAILED_PRECONDITION", "--trust", "yes", "facts", known=known)
        self.assertIn(f"is revoked by {known} line 2", err)

    def test_hashed_names(self):
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", self.known], check=True, capture_output=True)
        self.assertTrue(read(self.known).startswith("|1|"))
        self.good("facts")

    def test_patterns(self):
        key = " ".join(read(self.host_key + ".pub").split()[:2])
        self.good("facts", known=write(self.mine("star"), f"[127.0.0.?]:* {key}\n"))
        self.bad("FAILED_PRECONDITION", "facts", known=write(self.mine("not"), f"!*127.0.0.1*,* {key}\n"))

    def test_other_type(self):
        other = keygen(self.mine("other"), "rsa")
        err = self.bad("FAILED_PRECONDITION", "--trust", "yes", "facts", known=self.know(self.sshd, key=other))
        self.assertIn("only its ssh-rsa key is known", err)

    def test_known_type_is_asked_for(self):
        ecdsa = keygen(self.mine("ecdsa"), "ecdsa")
        server = self.serve(host_key=[self.host_key, ecdsa])
        self.good("facts", server=server, known=self.know(server, key=ecdsa))
        self.good("facts", server=server, known=self.know(server))

    def test_authority_alone(self):
        known = write(self.mine("authority"), "@cert-authority * " + read(self.key + ".pub"))
        self.assertIn("checks no certificates of hosts", self.bad("FAILED_PRECONDITION", "facts", known=known))

    def test_rsa_host_key(self):
        # libssh2 1.10 cannot; a later one can. Either way it ends, and a refusal says what the two sides have.
        server = self.serve(host_key=keygen(self.mine("rsa"), "rsa"))
        code, _, err = self.tool("--trust", "yes", "facts", server=server)
        self.assertTrue(code == 0 or "share no way" in err or "changed" in err, err)


class Checking(Case):
    """What StrictHostKeyChecking and its files make of a key; each configuration for a host "box"."""

    def config(self, *lines, server=None):
        server = server or self.sshd
        return write(self.mine(f"config{len(os.listdir(self.own))}"), "\n".join(["Host box", "HostName 127.0.0.1", f"Port {server.port}", f"IdentityFile {self.key}",
                                                                                *lines, ""]))

    def reach(self, *lines, status=None, server=None, options=(), known=""):
        """The notes, or with a status the error that is expected."""
        more = {"key": "", "known": known, "target": "box"}
        config = self.config("GlobalKnownHostsFile none", *lines, server=server) if not any("GlobalKnown" in line for line in lines) else self.config(*lines, server=server)
        if status is not None:
            return self.bad(status, "--config", config, *options, "facts", **more)
        code, _, err = self.tool("--config", config, *options, "facts", **more)
        self.assertEqual(code, 0, err)
        return err

    def line(self, *names, mark="", key=None, port=None):
        return f"{mark}{','.join(names) or f'[127.0.0.1]:{port or self.sshd.port}'} {' '.join(read((key or self.host_key) + '.pub').split()[:2])}\n"

    def test_unknown(self):
        new = self.mine("new/known")
        for word in ("yes", "ask"):
            self.assertIn("is not known", self.reach(f"StrictHostKeyChecking {word}", f"UserKnownHostsFile {new}", status="FAILED_PRECONDITION"))
        self.assertIn("is not known", self.reach(f"UserKnownHostsFile {new}", status="FAILED_PRECONDITION"))
        self.assertFalse(os.path.exists(new))
        self.assertIn("is now trusted, in " + new, self.reach("StrictHostKeyChecking accept-new", f"UserKnownHostsFile {new}"))
        self.assertNotIn("note", self.reach("StrictHostKeyChecking yes", f"UserKnownHostsFile {new}"))

    def test_what_cannot_be_stored(self):
        """It is not trusted, so that the next key is not, either."""
        file = write(self.mine("file"), "")
        os.mkdir(self.mine("directory"))
        self.assertIn("Is a directory", self.reach("StrictHostKeyChecking accept-new", f"UserKnownHostsFile {self.mine('directory')}", status="INVALID_ARGUMENT"))
        for place in (file + "/known", "/dev/null", "/dev/full", "none", "/proc/known", "relative"):
            with self.subTest(place):
                self.assertIn("cannot be, so it is not trusted", self.reach("StrictHostKeyChecking accept-new", f"UserKnownHostsFile {place}", status="FAILED_PRECONDITION"))
                if place != "none":
                    self.bad("FAILED_PRECONDITION", "--trust", "yes", "facts", known=place)
                said = self.reach("StrictHostKeyChecking no", f"UserKnownHostsFile {place}")
                self.assertIn("StrictHostKeyChecking no takes any", said)
                self.assertIn("was not written down", said)

    def test_variables(self):
        self.reach("StrictHostKeyChecking accept-new", "UserKnownHostsFile ${HOME}/of-%h-%p")
        self.assertTrue(os.path.exists(self.mine(f"of-127.0.0.1-{self.sshd.port}")))
        self.assertEqual([name for name in os.listdir(self.own) if "$" in name], [])
        self.reach("StrictHostKeyChecking accept-new", "UserKnownHostsFile ~/tilde")
        self.assertTrue(os.path.exists(self.mine("tilde")))
        self.assertIn("KOLM_NO_SUCH", self.reach("StrictHostKeyChecking accept-new", "UserKnownHostsFile ${KOLM_NO_SUCH}/x", status="INVALID_ARGUMENT"))

    def test_changed(self):
        other = keygen(self.mine("other"))
        known = write(self.mine("known"), self.line(key=other))
        for word in ("yes", "ask", "accept-new"):
            self.assertIn("has changed", self.reach(f"StrictHostKeyChecking {word}", f"UserKnownHostsFile {known}", status="FAILED_PRECONDITION"))
        self.assertIn("has CHANGED", self.reach("StrictHostKeyChecking off", f"UserKnownHostsFile {known}"))
        # What the caller says is stricter than the configuration.
        self.assertIn("has changed", self.reach("StrictHostKeyChecking no", f"UserKnownHostsFile {known}", status="FAILED_PRECONDITION", options=("--trust", "yes")))
        # A jump host whose key changed is not gone through, whatever is said of checking.
        jump = self.serve()
        write(known, self.line() + self.line(key=other, port=jump.port))
        self.assertIn("has changed", self.reach("StrictHostKeyChecking no", f"UserKnownHostsFile {known}", f"ProxyJump 127.0.0.1:{jump.port}", "Host 127.0.0.1", "StrictHostKeyChecking no",
                                                f"UserKnownHostsFile {known}", f"IdentityFile {self.key}", status="FAILED_PRECONDITION"))

    def test_without_port(self):
        other = keygen(self.mine("other"))
        known = write(self.mine("known"), self.line("127.0.0.1"))
        self.reach("StrictHostKeyChecking yes", f"UserKnownHostsFile {known}")
        write(known, self.line("127.0.0.1", key=other))
        self.assertIn("is not known", self.reach("StrictHostKeyChecking yes", f"UserKnownHostsFile {known}", status="FAILED_PRECONDITION"))
        self.reach("StrictHostKeyChecking accept-new", f"UserKnownHostsFile {known}")
        write(known, self.line("127.0.0.1", mark="@revoked "))
        self.assertIn("revoked", self.reach("StrictHostKeyChecking no", f"UserKnownHostsFile {known}", status="FAILED_PRECONDITION"))

    def test_alias(self):
        known = write(self.mine("known"), self.line("some-name"))
        self.reach("HostKeyAlias Some-Name", f"UserKnownHostsFile {known}")
        self.assertIn("is not known", self.reach(f"UserKnownHostsFile {known}", status="FAILED_PRECONDITION"))
        fresh = self.mine("fresh")
        self.reach("HostKeyAlias Other", "StrictHostKeyChecking accept-new", f"UserKnownHostsFile {fresh}")
        self.assertTrue(read(fresh).startswith("other ssh-ed25519 "))

    def test_files(self):
        known = write(self.mine("known"), self.line())
        empty = write(self.mine("empty"), "")
        self.reach("UserKnownHostsFile none", f"GlobalKnownHostsFile {empty} {known}")
        self.reach(f"UserKnownHostsFile {empty} {known}")
        self.assertIn("is not known", self.reach("UserKnownHostsFile none", "GlobalKnownHostsFile none", status="FAILED_PRECONDITION"))
        self.assertIn("revoked", self.reach(f"UserKnownHostsFile {known}", f"GlobalKnownHostsFile {write(self.mine('revoked'), self.line('*', mark='@revoked '))}",
                                            status="FAILED_PRECONDITION"))

    def test_hashed(self):
        fresh = self.mine("fresh")
        self.reach("HashKnownHosts yes", "StrictHostKeyChecking accept-new", f"UserKnownHostsFile {fresh}")
        self.assertTrue(read(fresh).startswith("|1|"))
        self.reach("StrictHostKeyChecking yes", f"UserKnownHostsFile {fresh}")
        found = subprocess.run(["ssh-keygen", "-F", f"[127.0.0.1]:{self.sshd.port}", "-f", fresh], capture_output=True, text=True, check=False)
        self.assertIn("found: line 1", found.stdout)

    def test_revoked_keys(self):
        known = write(self.mine("known"), self.line())
        keys = write(self.mine("keys"), "# revoked\n" + read(self.key + ".pub"))
        self.reach(f"UserKnownHostsFile {known}", f"RevokedHostKeys {keys}")
        write(keys, read(self.key + ".pub") + read(self.host_key + ".pub"))
        self.assertIn("is revoked by " + keys, self.reach(f"UserKnownHostsFile {known}", f"RevokedHostKeys {keys}", status="FAILED_PRECONDITION"))
        self.bad("NOT_FOUND", "--config", self.config(f"RevokedHostKeys {self.mine('absent')}"), "facts", key="", known=known, target="box")
        subprocess.run(["ssh-keygen", "-q", "-k", "-f", self.mine("krl"), self.key + ".pub"], check=True, capture_output=True)
        self.assertIn("revocation list", self.reach(f"UserKnownHostsFile {known}", f"RevokedHostKeys {self.mine('krl')}", status="FAILED_PRECONDITION"))

    def test_named_key(self):
        finger = subprocess.run(["ssh-keygen", "-lf", self.host_key + ".pub"], capture_output=True, text=True, check=True).stdout.split()[1]
        fresh = self.mine("fresh")
        self.reach(f"UserKnownHostsFile {fresh}", options=("--host-key", finger))
        self.assertFalse(os.path.exists(fresh))
        self.assertIn("the settings say", self.reach("StrictHostKeyChecking no", f"UserKnownHostsFile {fresh}", options=("--host-key", "SHA256:" + "x" * 43), status="FAILED_PRECONDITION"))
        write(fresh, self.line(key=keygen(self.mine("other"))))
        self.assertIn("has changed", self.reach("StrictHostKeyChecking no", f"UserKnownHostsFile {fresh}", options=("--host-key", finger), status="FAILED_PRECONDITION"))

    def test_authority(self):
        """libssh2 checks no certificates of hosts: the plain key counts, and the error says so."""
        authority = keygen(self.mine("ca"))
        shutil.copy(self.host_key, self.mine("hk"))
        shutil.copy(self.host_key + ".pub", self.mine("hk.pub"))
        subprocess.run(["ssh-keygen", "-q", "-s", authority, "-I", "host", "-h", "-n", "127.0.0.1", self.mine("hk.pub")], check=True, capture_output=True)
        server = self.serve("HostCertificate " + self.mine("hk-cert.pub"))
        known = write(self.mine("known"), self.line("*", mark="@cert-authority ", key=authority))
        self.assertIn("checks no certificates of hosts", self.reach(f"UserKnownHostsFile {known}", status="FAILED_PRECONDITION", server=server))
        self.reach("StrictHostKeyChecking accept-new", f"UserKnownHostsFile {known}", server=server)
        self.reach(f"UserKnownHostsFile {known}", server=server)

    def test_algorithms(self):
        known = write(self.mine("known"), self.line())
        good = f"UserKnownHostsFile {known}"
        for lines in (["Ciphers aes256-ctr"], ["Ciphers ^aes256-ctr"], ["Ciphers -aes128*"], ["Ciphers +nonsense"], ["MACs hmac-sha2-512"], ["KexAlgorithms ecdh-sha2-nistp256"],
                      ["HostKeyAlgorithms ssh-ed25519"], ["PubkeyAcceptedAlgorithms ssh-ed25519"], ["PubkeyAcceptedAlgorithms -rsa*"], ["RequiredRSASize 4096"]):
            with self.subTest(lines):
                self.assertNotIn("note", self.reach(good, *lines))
        # What only another library has is said, and locks nobody out.
        for word in ("Ciphers", "MACs", "KexAlgorithms", "HostKeyAlgorithms"):
            self.assertIn(word + " of the SSH configuration for", self.reach(good, word + " nonsense"))
        self.assertIn("PubkeyAcceptedAlgorithms", self.reach(good, "PubkeyAcceptedAlgorithms rsa-sha2-512", status="UNAUTHENTICATED"))
        strict = self.serve("Ciphers aes256-ctr")
        write(known, self.line() + self.line(port=strict.port))
        self.reach(good, "Ciphers aes256-ctr", server=strict)
        self.reach(good, "Ciphers aes128-ctr", server=strict, status="FAILED_PRECONDITION")

    def test_family(self):
        known = write(self.mine("known"), self.line())
        self.reach(f"UserKnownHostsFile {known}", "AddressFamily inet")
        self.bad("NOT_FOUND", "--config", self.config("AddressFamily inet6"), "facts", key="", known=known, target="box")

    def test_notes_of_failures(self):
        said = self.reach("UserKnownHostsFile none", "BindAddress 127.0.0.1", "ProxyCommand none", status="FAILED_PRECONDITION")
        self.assertIn("note: ", said)
        self.assertIn("BindAddress is not followed", said)


class Factors(Case):
    def second(self, *lines, **more):
        server = self.serve(*lines)
        return self.bad("UNAUTHENTICATED", "facts", server=server, known=self.know(server), **more)

    def test_password(self):
        err = self.second("AuthenticationMethods publickey,password", "PasswordAuthentication yes")
        self.assertIn(f"took the key {self.key} and wants a second factor that needs a person: password", err)
        self.assertIn("AuthenticationMethods publickey", err)

    def test_agent(self):
        agent = Agent(self.own)
        self.addCleanup(agent.stop)
        agent.add(self.key)
        server = self.serve("AuthenticationMethods publickey,password", "PasswordAuthentication yes")
        err = self.bad("UNAUTHENTICATED", "--agent", agent.socket, "facts", key="", server=server, known=self.know(server))
        self.assertIn("of ssh-agent and wants a second factor", err)

    def test_questions(self):
        """PAM asks; nothing is answered, as an empty answer would count as a wrong one."""
        server = self.serve("AuthenticationMethods publickey,keyboard-interactive", "KbdInteractiveAuthentication yes", "UsePAM yes")
        err = self.bad("UNAUTHENTICATED", "facts", server=server, known=self.know(server), within=15)
        self.assertRegex(err, "second factor that needs a person: keyboard-interactive(; it says: \".+\")?")
        self.assertNotIn("maximum authentication attempts", read(server.log))

    def test_first_factor_is_no_key(self):
        self.assertIn("takes no keys, only: password", self.second("AuthenticationMethods password,publickey", "PasswordAuthentication yes"))

    def test_two_keys(self):
        other = keygen(self.mine("other"))
        server = self.serve("AuthenticationMethods publickey,publickey", authorized=write(self.mine("both"), read(self.key + ".pub") + read(other + ".pub")))
        known = self.know(server)
        self.good("--identity", other, "facts", server=server, known=known)
        self.assertIn("refused, though the key is known there", self.bad("UNAUTHENTICATED", "facts", server=server, known=known))

    def test_wrong_key(self):
        server = self.serve("AuthenticationMethods publickey,password", "PasswordAuthentication yes")
        err = self.bad("UNAUTHENTICATED", "facts", server=server, known=self.know(server), key=keygen(self.mine("stranger")))
        self.assertNotIn("second factor", err)


class Keys(Case):
    def test_wrong_key(self):
        stranger = keygen(self.mine("stranger"))
        err = self.bad("UNAUTHENTICATED", "facts", key=stranger)
        self.assertIn(f"tried: {stranger} (refused)", err)

    def test_no_key(self):
        self.assertIn("there is no such file", self.bad("UNAUTHENTICATED", "facts", key=self.mine("absent")))
        self.assertIn("no key file in ~/.ssh", self.bad("UNAUTHENTICATED", "facts", key=""))

    def test_default_names(self):
        os.mkdir(self.mine(".ssh"), 0o700)
        shutil.copy(self.key, self.mine(".ssh/id_ed25519"))
        self.good("facts", key="")

    def test_exposed_key(self):
        shutil.copy(self.key, self.mine("open"))
        os.chmod(self.mine("open"), 0o644)
        self.assertIn("chmod 600", self.bad("UNAUTHENTICATED", "facts", key=self.mine("open")))

    def test_damaged_key(self):
        for text in ("", "no key", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"):
            self.bad("UNAUTHENTICATED", "facts", key=write(self.mine("damaged"), text))

    def test_encrypted(self):
        key = keygen(self.mine("locked"), "ed25519", "correct horse")
        server = self.serve(authorized=write(self.mine("keys"), read(key + ".pub")))
        known = self.know(server)
        self.assertIn("passphrase? " + key, self.good("--passphrase", "correct horse", "facts", key=key, server=server, known=known))
        self.assertIn("passphrase is wrong", self.bad("UNAUTHENTICATED", "--passphrase", "wrong", "facts", key=key, server=server, known=known))
        self.assertIn("ssh-add", self.bad("UNAUTHENTICATED", "facts", key=key, server=server, known=known))
        os.remove(key + ".pub")
        self.good("--passphrase", "correct horse", "facts", key=key, server=server, known=known)

    def test_passphrase_only_for_keys_that_the_server_takes(self):
        key = keygen(self.mine("locked"), "ed25519", "correct horse")
        _, out, _ = self.tool("--passphrase", "correct horse", "--identity", self.key, "facts", key=key)
        self.assertNotIn("passphrase?", out)

    def test_kinds_of_files(self):
        for kind in ("ecdsa", "ed25519"):
            key = keygen(self.mine(kind), kind)
            server = self.serve(authorized=write(self.mine(kind + ".keys"), read(key + ".pub")))
            self.good("facts", key=key, server=server, known=self.know(server))
        key = keygen(self.mine("pem"), "ecdsa", "", "", "-m", "PEM")
        server = self.serve(authorized=write(self.mine("pem.keys"), read(key + ".pub")))
        self.good("facts", key=key, server=server, known=self.know(server))

    def test_rsa_file(self):
        for name, more in (("openssh", ()), ("pem", ("-m", "PEM"))):
            key = keygen(self.mine(name), "rsa", "", "", *more)
            server = self.serve(authorized=write(self.mine(name + ".keys"), read(key + ".pub")))
            self.good("facts", key=key, server=server, known=self.know(server))
            self.bad("UNAUTHENTICATED", "facts", key=key)
        subprocess.run(["ssh-keygen", "-q", "-p", "-N", "x" * 8, "-f", key], check=True, capture_output=True)
        code, _, err = self.tool("--passphrase", "x" * 8, "facts", key=key, server=server, known=self.know(server))
        self.assertTrue(code == 0 or "ssh-add" in err, err)

    def test_only_passwords(self):
        server = self.serve("PubkeyAuthentication no", "PasswordAuthentication yes")
        self.assertIn("takes no keys, only: password", self.bad("UNAUTHENTICATED", "facts", server=server, known=self.know(server)))


class Agents(Case):
    def setUp(self):
        super().setUp()
        self.agent = Agent(self.own)
        self.addCleanup(self.agent.stop)

    def test_kinds(self):
        for kind in ("ed25519", "ecdsa", "rsa"):
            with self.subTest(kind):
                key = keygen(self.mine(kind), kind)
                self.agent.add("-D")
                self.agent.add(key)
                server = self.serve(authorized=write(self.mine(kind + ".keys"), read(key + ".pub")))
                self.good("--agent", self.agent.socket, "facts", key="", server=server, known=self.know(server))

    def test_encrypted_file_that_the_agent_holds(self):
        key = keygen(self.mine("locked"), "ed25519", "x" * 8)
        shutil.copy(key, self.mine("open"))
        subprocess.run(["ssh-keygen", "-q", "-p", "-P", "x" * 8, "-N", "", "-f", self.mine("open")], check=True, capture_output=True)
        self.agent.add(self.mine("open"))
        server = self.serve(authorized=write(self.mine("keys"), read(key + ".pub")))
        self.assertNotIn("passphrase?", self.good("--passphrase", "wrong", "--agent", self.agent.socket, "facts", key=key, server=server, known=self.know(server)))

    def test_identities_only(self):
        self.agent.add(self.key)
        config = write(self.mine("config"), "Host *\n IdentitiesOnly yes\n IdentityFile " + keygen(self.mine("stranger")) + "\n")
        err = self.bad("UNAUTHENTICATED", "--config", config, "--agent", self.agent.socket, "facts", key="")
        self.assertNotIn("ssh-agent", err)

    def test_public_file(self):
        """IdentityFile may name the public half of a key that only the agent holds."""
        self.agent.add(self.key)
        public = shutil.copy(self.key + ".pub", self.mine("named.pub"))
        os.chmod(public, 0o644)
        for lines in (f"IdentityFile {public}\n", f"IdentityFile {public}\nIdentitiesOnly yes\n"):
            config = write(self.mine("config"), lines)
            self.good("--config", config, "--agent", self.agent.socket, "facts", key="")
            self.assertIn("no ssh-agent holds the private one", self.bad("UNAUTHENTICATED", "--config", config, "facts", key=""))
        for i in range(8):
            self.agent.add(keygen(self.mine(f"k{i}")))
        self.agent.add("-d", self.key)
        self.agent.add(self.key)  # the last of nine
        self.good("--config", config, "--agent", self.agent.socket, "facts", key="")

    def test_no_files(self):
        """IdentityFile none: the default names are not tried, the agent is."""
        os.mkdir(self.mine(".ssh"), 0o700)
        shutil.copy(self.key, self.mine(".ssh/id_ed25519"))
        none = write(self.mine("config"), "IdentityFile none\n")
        self.bad("UNAUTHENTICATED", "--config", none, "facts", key="")
        self.agent.add(self.key)
        self.good("--config", none, "--agent", self.agent.socket, "facts", key="")
        only = write(self.mine("only"), "IdentityFile none\nIdentitiesOnly yes\n")
        self.bad("UNAUTHENTICATED", "--config", only, "--agent", self.agent.socket, "facts", key="")
        self.good("--config", write(self.mine("empty"), ""), "facts", key="")

    def test_too_many_keys(self):
        for i in range(8):
            self.agent.add(keygen(self.mine(f"k{i}")))
        err = self.bad("UNAUTHENTICATED", "--agent", self.agent.socket, "facts", key="")
        self.assertIn("IdentitiesOnly", err)

    def test_named_key_first(self):
        for i in range(8):
            self.agent.add(keygen(self.mine(f"k{i}")))
        self.agent.add(self.key)
        self.good("--agent", self.agent.socket, "facts")

    def test_agent_of_the_configuration(self):
        self.agent.add(self.key)
        config = write(self.mine("config"), f"IdentityAgent {self.agent.socket}\n")
        self.good("--config", config, "--agent", "default", "facts", key="")
        self.good("--agent", "default", "facts", key="", environment={"SSH_AUTH_SOCK": self.agent.socket})
        none = write(self.mine("none"), "IdentityAgent none\n")
        self.bad("UNAUTHENTICATED", "--config", none, "--agent", "default", "facts", key="", environment={"SSH_AUTH_SOCK": self.agent.socket})

    def test_dead_agent(self):
        self.assertIn("no agent listens", self.bad("UNAUTHENTICATED", "--agent", self.mine("nobody"), "facts", key=""))
        self.good("--agent", self.mine("nobody"), "facts")


class Certificates(Case):
    def setUp(self):
        super().setUp()
        self.authority = keygen(self.mine("ca"))
        self.user_key = keygen(self.mine("user"), "ecdsa")
        self.server = self.serve("TrustedUserCAKeys " + self.authority + ".pub", authorized="none")
        self.server_known = self.know(self.server)

    def certify(self, key, validity):
        subprocess.run(["ssh-keygen", "-q", "-s", self.authority, "-I", "test", "-n", getpass.getuser(), "-V", validity, key + ".pub"],
                       check=True, capture_output=True)

    def test_good(self):
        self.certify(self.user_key, "-5m:+1h")
        self.good("facts", key=self.user_key, server=self.server, known=self.server_known)

    def test_only_certificates_allowed(self):
        self.certify(self.user_key, "-5m:+1h")
        config = write(self.mine("config"), f"PubkeyAcceptedAlgorithms *-cert-v01@openssh.com\nIdentityFile {self.user_key}\n")
        self.good("--config", config, "facts", key="", server=self.server, known=self.server_known)
        plain = self.serve(authorized=write(self.mine("plain"), read(self.user_key + ".pub")))
        self.assertIn("PubkeyAcceptedAlgorithms", self.bad("UNAUTHENTICATED", "--config", config, "facts", key="", server=plain, known=self.know(plain)))

    def test_named_in_config(self):
        self.certify(self.user_key, "-5m:+1h")
        os.rename(self.user_key + "-cert.pub", self.mine("elsewhere.pub"))
        config = write(self.mine("config"), f"IdentityFile {self.user_key}\nCertificateFile {self.mine('elsewhere.pub')}\n")
        self.good("--config", config, "facts", key="", server=self.server, known=self.server_known)

    def test_expired(self):
        self.certify(self.user_key, "20200101:20200102")
        err = self.bad("UNAUTHENTICATED", "facts", key=self.user_key, server=self.server, known=self.server_known)
        self.assertIn("expired on 2020-01-0", err)

    def test_clock_of_this_side(self):
        """Whether a certificate is good now is for the server to say: this machine's clock may be wrong."""
        library = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None)
        with open(TOOL, "rb") as file:
            if library is None or SLOW > 1 or b"__asan_init" in file.read():
                self.skipTest("needs faketime, and no sanitizer or valgrind")
        self.certify(self.user_key, "-5m:+1h")
        for offset in ("-3y", "+3y"):
            self.good("facts", key=self.user_key, server=self.server, known=self.server_known, environment={"LD_PRELOAD": library, "FAKETIME": offset})
        self.certify(self.user_key, "20200101:20200102")
        self.bad("UNAUTHENTICATED", "facts", key=self.user_key, server=self.server, known=self.server_known,
                 environment={"LD_PRELOAD": library, "FAKETIME": "2020-01-01 12:00:00"})

    def test_revoked_by_the_server(self):
        revoked = write(self.mine("revoked"), read(self.user_key + ".pub") + read(self.key + ".pub"))
        server = self.serve("TrustedUserCAKeys " + self.authority + ".pub", "RevokedKeys " + revoked)
        known = self.know(server)
        self.certify(self.user_key, "-5m:+1h")
        self.assertIn("refused", self.bad("UNAUTHENTICATED", "facts", key=self.user_key, server=server, known=known))
        self.assertIn("refused", self.bad("UNAUTHENTICATED", "facts", server=server, known=known))

    def test_ed25519(self):
        key = keygen(self.mine("ed"))
        self.certify(key, "-5m:+1h")
        code, _, err = self.tool("facts", key=key, server=self.server, known=self.server_known)
        self.assertTrue(code == 0 or "certificates of ECDSA keys only" in err, err)
        # The plain key is tried nevertheless, where the certificate cannot be used.
        server = self.serve("TrustedUserCAKeys " + self.authority + ".pub", authorized=write(self.mine("plain"), read(key + ".pub")))
        self.good("facts", key=key, server=server, known=self.know(server))

    def test_rsa(self):
        key = keygen(self.mine("rsa"), "rsa")
        self.certify(key, "-5m:+1h")
        code, _, err = self.tool("facts", key=key, server=self.server, known=self.server_known)
        self.assertTrue(code == 0 or "certificates of ECDSA keys only" in err, err)
        server = self.serve("TrustedUserCAKeys " + self.authority + ".pub", authorized=write(self.mine("plain"), read(key + ".pub")))
        self.good("facts", key=key, server=server, known=self.know(server))

    def test_key_in_the_agent(self):
        """The certificate is a file, and the agent holds its plain key."""
        agent = Agent(self.own)
        self.addCleanup(agent.stop)
        agent.add(self.user_key)
        self.certify(self.user_key, "-5m:+1h")
        os.rename(self.user_key + "-cert.pub", self.mine("elsewhere.pub"))
        config = write(self.mine("config"), f"IdentityFile {self.user_key}.pub\nCertificateFile {self.mine('elsewhere.pub')}\n")
        self.good("--config", config, "--agent", agent.socket, "facts", key="", server=self.server, known=self.server_known)

    def test_beside_the_key(self):
        """FILE-cert.pub counts only where CertificateFile says nothing."""
        self.certify(self.user_key, "-5m:+1h")
        config = write(self.mine("config"), f"IdentityFile {self.user_key}\nCertificateFile /absent\n")
        self.bad("UNAUTHENTICATED", "--config", config, "facts", key="", server=self.server, known=self.server_known)

    def test_agent(self):
        agent = Agent(self.own)
        self.addCleanup(agent.stop)
        self.certify(self.user_key, "-5m:+1h")
        agent.add(self.user_key)
        self.good("--agent", agent.socket, "facts", key="", server=self.server, known=self.server_known)


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
        # Through the jump's own configuration, too.
        nested = self.config(f"Host box\n HostName 127.0.0.1\n Port {self.sshd.port}\n ProxyJump first\nHost first\n HostName 127.0.0.1\n Port {second.port}\n"
                             f" ProxyJump 127.0.0.1:{jump.port}\n" + common)
        self.good("--config", nested, "facts", key="", target="box", known=known)
        # Each hop's key is checked.
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
        # The target's server dies behind a jump that lives.
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

    def test_nobody_there(self):
        with Closed() as port:
            self.assertIn("refused", self.bad("UNAVAILABLE", "facts", target=f"127.0.0.1:{port}"))
        code, _, err = self.tool("facts", target="no-such-host.invalid")
        self.assertEqual(code, 1)
        self.assertRegex(err, "^((NOT_FOUND|UNAVAILABLE): the name no-such-host.invalid was not resolved|DEADLINE_EXCEEDED: )")


class Closed:
    """A port that is taken, so that nobody else gets it, and refuses."""

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
        # Four megabytes of standard error, twice the window, while standard output is read; then the tail is there.
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
        """The handshake and the authentication, cut, stalled and spoiled after each so many bytes from the server."""
        whole = self.proxy("close", 1 << 40)
        self.good("facts", server=whole, known=self.know(whole))
        for after in sorted({0, 5, 21, 30, 45, 200, 600, whole.counted // 2, whole.counted - 500, whole.counted - 100, whole.counted - 30}):
            for then in ("close", "spoil"):
                with self.subTest(after=after, then=then):
                    proxy = self.proxy(then, after)
                    code, _, err = self.tool("--connect-ms", "2000", "facts", server=proxy, known=self.know(proxy), timeout=20 * SLOW)
                    if after < whole.counted // 2 + 1:  # the server says more after the authentication, sooner or later
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
        # Longer than the idle timeout without a byte of output, but keepalives are answered.
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
