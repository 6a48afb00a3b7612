# SPDX-License-Identifier: Apache-2.0
"""How a user is authenticated: keys, agents, certificates, and more than one factor."""
import getpass
import glob
import os
import shutil
import subprocess
import sys
import unittest

from servers import SSHD, Agent, keygen, read, write
from ssh_case import Case, SLOW, TOOL


class Factors(Case):
    def second(self, *lines, **more):
        server = self.serve(*lines)
        return self.bad("UNAUTHENTICATED", "facts", server=server, known=self.know(server), **more)

    def test_password(self):
        err = self.second("AuthenticationMethods publickey,password", "PasswordAuthentication yes")
        self.assertIn(f"accepted the key {self.key} and requires an interactive second factor: password", err)
        self.assertIn("AuthenticationMethods publickey", err)

    def test_agent(self):
        agent = Agent(self.own)
        self.addCleanup(agent.stop)
        agent.add(self.key)
        server = self.serve("AuthenticationMethods publickey,password", "PasswordAuthentication yes")
        err = self.bad("UNAUTHENTICATED", "--agent", agent.socket, "facts", key="", server=server, known=self.know(server))
        self.assertIn("of ssh-agent and requires an interactive second factor", err)

    def test_questions(self):
        """PAM asks questions; none is answered, because an empty answer would count as a wrong one."""
        server = self.serve("AuthenticationMethods publickey,keyboard-interactive", "KbdInteractiveAuthentication yes", "UsePAM yes")
        err = self.bad("UNAUTHENTICATED", "facts", server=server, known=self.know(server), within=15)
        self.assertRegex(err, "interactive second factor: keyboard-interactive(; it says: \".+\")?")
        self.assertNotIn("maximum authentication attempts", read(server.log))

    def test_first_factor_is_no_key(self):
        self.assertIn("does not accept keys, only: password", self.second("AuthenticationMethods password,publickey", "PasswordAuthentication yes"))

    def test_two_keys(self):
        other = keygen(self.mine("other"))
        server = self.serve("AuthenticationMethods publickey,publickey", authorized=write(self.mine("both"), read(self.key + ".pub") + read(other + ".pub")))
        known = self.know(server)
        self.good("--identity", other, "facts", server=server, known=known)
        self.assertIn("refused, although the key is known there", self.bad("UNAUTHENTICATED", "facts", server=server, known=known))

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
        self.assertIn("does not accept keys, only: password", self.bad("UNAUTHENTICATED", "facts", server=server, known=self.know(server)))


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
        """IdentityFile may name the public half of a key that only the agent has."""
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
        """IdentityFile none: the default names are not tried, but the agent is."""
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
        """Only the server decides whether a certificate is valid now: this machine's clock may be wrong."""
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
        # The plain key is tried nevertheless if the certificate cannot be used.
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
        """The certificate is a file, and the agent has its plain key."""
        agent = Agent(self.own)
        self.addCleanup(agent.stop)
        agent.add(self.user_key)
        self.certify(self.user_key, "-5m:+1h")
        os.rename(self.user_key + "-cert.pub", self.mine("elsewhere.pub"))
        config = write(self.mine("config"), f"IdentityFile {self.user_key}.pub\nCertificateFile {self.mine('elsewhere.pub')}\n")
        self.good("--config", config, "--agent", agent.socket, "facts", key="", server=self.server, known=self.server_known)

    def test_next_to_the_key(self):
        """FILE-cert.pub is used only if there is no CertificateFile."""
        self.certify(self.user_key, "-5m:+1h")
        config = write(self.mine("config"), f"IdentityFile {self.user_key}\nCertificateFile /absent\n")
        self.bad("UNAUTHENTICATED", "--config", config, "facts", key="", server=self.server, known=self.server_known)

    def test_agent(self):
        agent = Agent(self.own)
        self.addCleanup(agent.stop)
        self.certify(self.user_key, "-5m:+1h")
        agent.add(self.user_key)
        self.good("--agent", agent.socket, "facts", key="", server=self.server, known=self.server_known)


if __name__ == "__main__":
    if SSHD is None or shutil.which("ssh-keygen") is None:
        print("OpenSSH's server and client are not installed")
        sys.exit(77)
    unittest.main()
