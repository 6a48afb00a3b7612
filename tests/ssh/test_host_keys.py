# SPDX-License-Identifier: Apache-2.0
"""Which host keys are accepted, and the errors for the others."""
import os
import shutil
import subprocess
import sys
import unittest

from servers import SSHD, keygen, read, write
from ssh_case import Case


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
        # OpenSSH can read the written line.
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

    def test_known_type_is_requested(self):
        ecdsa = keygen(self.mine("ecdsa"), "ecdsa")
        server = self.serve(host_key=[self.host_key, ecdsa])
        self.good("facts", server=server, known=self.know(server, key=ecdsa))
        self.good("facts", server=server, known=self.know(server))

    def test_authority_alone(self):
        known = write(self.mine("authority"), "@cert-authority * " + read(self.key + ".pub"))
        self.assertIn("checks no certificates of hosts", self.bad("FAILED_PRECONDITION", "facts", known=known))

    def test_rsa_host_key(self):
        # libssh2 1.10 cannot; a later version can. Either way it ends, and a refusal names what both sides support.
        server = self.serve(host_key=keygen(self.mine("rsa"), "rsa"))
        code, _, err = self.tool("--trust", "yes", "facts", server=server)
        self.assertTrue(code == 0 or "no algorithms in common" in err or "changed" in err, err)


class Checking(Case):
    """How StrictHostKeyChecking and its files decide about a key; each configuration is for a host "box"."""

    def config(self, *lines, server=None):
        server = server or self.sshd
        return write(self.mine(f"config{len(os.listdir(self.own))}"), "\n".join(["Host box", "HostName 127.0.0.1", f"Port {server.port}", f"IdentityFile {self.key}",
                                                                                *lines, ""]))

    def reach(self, *lines, status=None, server=None, options=(), known=""):
        """Returns the notes, or with a status the expected error."""
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
        """Such a key is not trusted, because a different key next time would not be detected."""
        file = write(self.mine("file"), "")
        os.mkdir(self.mine("directory"))
        self.assertIn("Is a directory", self.reach("StrictHostKeyChecking accept-new", f"UserKnownHostsFile {self.mine('directory')}", status="INVALID_ARGUMENT"))
        for place in (file + "/known", "/dev/null", "/dev/full", "none", "/proc/known", "relative"):
            with self.subTest(place):
                self.assertIn("cannot be saved, so it is not trusted", self.reach("StrictHostKeyChecking accept-new", f"UserKnownHostsFile {place}", status="FAILED_PRECONDITION"))
                if place != "none":
                    self.bad("FAILED_PRECONDITION", "--trust", "yes", "facts", known=place)
                said = self.reach("StrictHostKeyChecking no", f"UserKnownHostsFile {place}")
                self.assertIn("StrictHostKeyChecking no accepts any", said)
                self.assertIn("was not saved", said)

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
        # The option of the caller is stricter than the configuration.
        self.assertIn("has changed", self.reach("StrictHostKeyChecking no", f"UserKnownHostsFile {known}", status="FAILED_PRECONDITION", options=("--trust", "yes")))
        # A jump host whose key changed is not used, whatever the setting for checking.
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
        """libssh2 does not check host certificates: the plain key is checked, and the error says so."""
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
        # Algorithms that only another library has are noted, but do not prevent a connection.
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
        self.assertIn("BindAddress is ignored", said)


if __name__ == "__main__":
    if SSHD is None or shutil.which("ssh-keygen") is None:
        print("OpenSSH's server and client are not installed")
        sys.exit(77)
    unittest.main()
