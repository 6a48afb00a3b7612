# SPDX-License-Identifier: Apache-2.0
"""How kolm reads ssh_config and known_hosts, compared with OpenSSH: `ssh -G`, `ssh -v` and `ssh-keygen -F` on the same files."""
import getpass
import os
import pwd
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from servers import keygen, read, write

TOOL = os.environ["CONFIG_TOOL"]
COMPARED = ("hostname", "user", "port", "identityfile", "certificatefile", "userknownhostsfile", "globalknownhostsfile", "proxyjump", "stricthostkeychecking",
            "hostkeyalias", "identitiesonly", "identityagent", "hashknownhosts", "addressfamily", "connecttimeout")
ME = getpass.getuser()

# One text per case; (text, target) if the target is not "box". What ssh refuses must be refused.
WRITTEN = [
    "", "# only a remark\n", "   \n\t\n", "User x", "User x\r\nPort 5\r\n", "\tUser\tx\t\n", "user x\nUSER y\n", "User=x\nPort = 5\n", "User =x\n", "Port==5\n", "=User x\n", "= Nonsense x\n", "= = x\n", "=\n",
    '"Port" 5\n', 'Port "5"\n', "Port 5 # remark\n", "Port 5#\n", "User 'a b'\n", "User a\\ b\n", 'User "a\\"b"\n', 'User "open\n', "User 'open\n", "User a b\n",
    'User ""\n', "User\n", "User   \n", "Host\n", 'Host ""\n', "Port x\n", "Port 0\n", "Port 65536\n", "Port -1\n", "Port ssh\n", "Port nosuchservice\n", "Port 22x\n",
    "Host other\n Port x\n", "Host other\n Nonsense x\n", "Nonsense x\n", "HostNam x\n", "IgnoreUnknown Nons*\nNonsense x\nPort 5\n", "IgnoreUnknown a,nonsense\nNonsense x\n",
    "Nonsense x\nIgnoreUnknown Nons*\n", "Host other\n IgnoreUnknown Nons*\nHost box\n Nonsense x\n", "\ufeffUser x\n", "\ufeff# remark\nUser x\n", "User x\n\ufeffPort 5\n",
    # Host
    "Host box\n Port 5\n", "Host BOX\n Port 5\n", ("Host box\n Port 5\n", "BOX"), ("Host BOX\n Port 5\n", "BOX"), "Host b?x\n Port 5\n", "Host *\n Port 5\n", "Host b* !box\n Port 5\n",
    "Host !box *\n Port 5\n", "Host !box\n Port 5\nHost !other\n Port 6\n", "Host a b box c\n Port 5\n", "Host a,box\n Port 5\n", "Host=box\n Port=5\n", 'Host "box" x\n Port 5\n',
    "Host other\n Port 1\nHost box\n Port 2\nHost *\n Port 3\nUser u\n", ("Host 127.0.0.?\n Port 5\n", "127.0.0.1"), ("Host ::1\n Port 5\n", "[::1]"),
    # HostName, User, Port and the target
    "HostName %h.example\n", "HostName %h.%h\n", "HostName %%h\n", "HostName %p\n", "HostName %n\n", "HostName ${HOME}\n", "HostName Real.Example\n", "HostName a\nHostName b\n",
    ("User x\nPort 5\n", "me@box"), ("User x\nPort 5\n", "box:77"), ("Match user me\n HostName %h-of-me\n", "me@box"), ("Match user !me,*\n Port 9\n", "me@box"),
    # Match
    "Match all\n Port 5\n", "Match !all\n Port 5\n", "Match host box\n Port 5\n", "Match host BOX\n Port 5\n", ("Match host box\n Port 5\n", "BOX"), "Match !host box\n Port 5\n",
    "Match !host other\n Port 5\n", "Match host box,other\n Port 5\n", 'Match host "box,other"\n Port 5\n', "Match host !box,*\n Port 5\n", "Match host *,!other\n Port 5\n",
    "Match host=box\n Port 5\n", "Match host = box user = " + ME + "\n Port 5\n", "HostName real\nMatch host box\n Port 5\nMatch host real\n Port 6\n",
    "HostName real\nMatch originalhost box\n Port 5\n", "Match host real\n Port 5\nHost *\n HostName real\n", f"Match user {ME}\n Port 5\n", "User x\nMatch user x\n Port 5\n",
    "Match user X\n Port 5\nMatch user x\n Port 6\nUser x\n", f"Match localuser {ME}\n Port 5\n", "Match localuser nobodyatall\n Port 5\n", f"Match host box originalhost b* localuser {ME}\n Port 5\n",
    "Match host box all\n Port 5\n", "Match all host box\n Port 5\n", "Match\n", "Match host\n", "Match nonsense x\n", "Match host box nonsense\n", "Match host box # remark\n Port 5\n",
    "Match all # remark\n Port 5\n", "Match final\n Port 5\n", "Match final all\n Port 5\n", "Match !final\n Port 5\n", "Match canonical\n Port 5\n", "Match canonical all\n Port 5\n",
    "Match final\n Port 5\nMatch canonical\n User c\n", "HostName real\nMatch final host real\n Port 5\n", "HostName real\nMatch final\n Port 5\nHost real\n User realuser\n",
    "HostName real\nMatch final host box\n Port 5\nMatch final originalhost box\n User u\n", "Match final\n HostName late\n", "Host box\n IdentityFile /a\nMatch final\n IdentityFile /b\n IdentityFile /a\n",
    "Match exec false host other\n Port 5\nUser x\n", "Match host other exec true\n Port 5\n", "Match host other all\n Port 5\n", "Match final all host box\n",
    # Values
    *(f"StrictHostKeyChecking {v}\n" for v in ("yes", "no", "ask", "off", "accept-new", "Accept-New", "true", "false", "maybe", "")),
    "StrictHostKeyChecking no\nStrictHostKeyChecking yes\n", *(f"ConnectTimeout {v}\n" for v in ("5", "5s", "1m30s", "2h", "1w", "none", "5x", "-5", "1.5", "200000000", "99999999999", "m")),
    "ConnectTimeout none\nConnectTimeout 5\n", *(f"IdentitiesOnly {v}\n" for v in ("yes", "no", "true", "False", "YES", "maybe")), "HashKnownHosts yes\n", "HashKnownHosts 1\n",
    "AddressFamily inet\nAddressFamily inet6\n", "AddressFamily inet6\n", "AddressFamily any\n", "AddressFamily ipv4\n", "HostKeyAlias Some-Name\n", "HostKeyAlias a\nHostKeyAlias b\n",
    "Ciphers aes128-ctr\nBatchMode yes\nForwardAgent no\nServerAliveInterval 5\nSendEnv A B C\nLogLevel ERROR\nControlMaster auto\nControlPath none\n",
    # Files
    "IdentityFile none\n", "IdentityFile /a\nIdentityFile none\n", "IdentityFile /a\nIdentityFile /b\nIdentityFile /a\n", "IdentityFile relative\n", "IdentityFile /a /b\n", "CertificateFile /c\nCertificateFile /d\n",
    "UserKnownHostsFile /a /b \"/c d\"\nUserKnownHostsFile /e\n", "UserKnownHostsFile none\n", "UserKnownHostsFile none /a\n", "UserKnownHostsFile /a none\n", "UserKnownHostsFile ~/k ${HOME}/k %d/k\n",
    "UserKnownHostsFile /%h-%n-%p-%r-%u-%k-%i-%L-%l-%C-%%\n", "UserKnownHostsFile ~root/k\n", "UserKnownHostsFile ${KOLM_SET}/k\n", "UserKnownHostsFile ${KOLM_NOT_SET}/k\n",
    "UserKnownHostsFile ${KOLM_EMPTY}/k\n", "UserKnownHostsFile $HOME/k\n", "UserKnownHostsFile ${HOME/k\n", "UserKnownHostsFile /%Z\n", "UserKnownHostsFile ~nobodyatall/k\n",
    "HostName Real\nHostKeyAlias Al\nUser u\nPort 9\nUserKnownHostsFile /%h-%n-%p-%r-%k-%C\n", "GlobalKnownHostsFile /a /b\n", "GlobalKnownHostsFile none\n", "UserKnownHostsFile /dev/null\n",
    "IdentityAgent none\n", "IdentityAgent ~/agent-%h\n", "IdentityAgent ${HOME}/agent\n", "IdentityAgent ${KOLM_NOT_SET}/a\n", "IdentityAgent /a\nIdentityAgent /b\n",
    # The route
    "ProxyJump hop\n", "ProxyJump me@hop:22\n", "ProxyJump one,two:5,me@three\n", "ProxyJump ssh://me@hop:2222\n", "ProxyJump ssh://hop\n", "ProxyJump ssh://hop/\n", "ProxyJump ssh://hop/path\n",
    "ProxyJump ssh://me%40x@hop\n", "ProxyJump [::1]:5\n", "ProxyJump none\n", "ProxyJump a\nProxyJump b\n", "ProxyJump none\nProxyJump b\n", "ProxyJump a,,b\n", "ProxyJump a:x\n", "ProxyJump a:0\n",
    "ProxyJump @a\n", "ProxyJump a # remark\n", "ProxyJump=a\n", "ProxyCommand none\nProxyJump a\n", "ProxyJump none\nProxyCommand none\n", "Host other\n ProxyJump a,,b\n", "ProxyJump a, b\n",
]

# Files for which -G shows only what was written; -v shows what is opened.
OPENED = [
    "IdentityFile ~/k-%h-%n-%p-%r-%u-%k\n", "IdentityFile %d/k%%\n", "IdentityFile ${HOME}/k\n", "IdentityFile ~root/k\n", "IdentityFile relative\n", "IdentityFile /k-%l-%L-%i-%C\n",
    "IdentityFile none\n", "IdentityFile none\nIdentityFile /k\n", "CertificateFile ~/c-%h\nIdentityFile /k\n", "CertificateFile ${HOME}/c\nIdentityFile /k\n", "IdentityFile ${KOLM_NOT_SET}/k\n",
    "IdentityFile /%Z\n", "IdentityFile ${HOME\n", "IdentityFile $HOME/k\n", "HostName Real\nHostKeyAlias Alias%h\nUser u\nPort 9\nIdentityFile /k-%h-%n-%k-%r-%p-%C\n",
    "GlobalKnownHostsFile ~/g ${HOME}/g /%h\nUserKnownHostsFile none\nIdentityFile none\n", "GlobalKnownHostsFile none\nUserKnownHostsFile ~/a %d/b\nIdentityFile none\n",
    "RevokedHostKeys ~/r\nIdentityFile none\n",
]

JUMPS = ["ProxyJump %r-x@127.0.0.1:1\nHost box\n HostName real\n", "User me\nPort 77\nHostName real\nProxyJump one:1,%h-%n-jump\n", "ProxyJump %n.one,two\nHostName real\n",
         "ProxyJump ssh://127.0.0.1:1,me@x%%y\n", "ProxyJump hop%Z\n", "ProxyJump %h\nHostName real\n"]


def generated(count, seed):
    """Blocks and lines combined at random, but always the same ones."""
    dice = random.Random(seed)
    heads = ["Host box", "Host *", "Host other", "Host b* !bo?", "Host !other *", "Host real", "Match all", "Match host box", "Match host real", "Match !host real",
             "Match originalhost box", "Match user u,v", f"Match !user {ME}", f"Match localuser {ME} host *", "Match final", "Match final host real", "Match !final", "Match canonical",
             "Match host other exec false", "Match final all"]
    lines = ["HostName real", "HostName %h.example", "User u", "User v", "Port 7", "Port 8", "IdentityFile /a", "IdentityFile /b", "IdentityFile none", "CertificateFile /c", "IdentitiesOnly yes",
             "UserKnownHostsFile /k-%h-%r", "UserKnownHostsFile none", "GlobalKnownHostsFile /g", "ProxyJump one,two:3", "ProxyJump none", "ProxyJump ssh://w@x:4", "StrictHostKeyChecking no",
             "StrictHostKeyChecking accept-new", "HostKeyAlias Alias", "HashKnownHosts yes", "ConnectTimeout 1m", "AddressFamily inet", "Compression yes", "IdentityAgent none"]
    for _ in range(count):
        text = []
        for _ in range(dice.randint(1, 5)):
            if dice.random() < 0.85:
                text.append(dice.choice(heads))
            for _ in range(dice.randint(1, 4)):
                text.append(dice.choice([" ", "\t", ""]) + dice.choice(lines) + dice.choice(["", "", "", " ", "  # remark" if dice.random() < 0.3 else ""]))
        yield "\n".join(text) + "\n"


def values(text):
    """Parses lines "key value" into {key: [values]}."""
    out = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        out.setdefault(key, []).append(value)
    return out


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="kolm-oracle.")
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        # ssh uses the home of the passwd entry for ~ and %d; kolm uses HOME.
        cls.home = pwd.getpwuid(os.getuid()).pw_dir
        cls.environment = {**os.environ, "HOME": cls.home, "KOLM_SET": "/set", "KOLM_EMPTY": ""}
        cls.environment.pop("KOLM_NOT_SET", None)
        cls.environment.pop("SSH_AUTH_SOCK", None)

    def ssh(self, *arguments, environment=None):
        return subprocess.run(["ssh", *arguments], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL, env=environment or self.environment)

    def kolm(self, rows, environment=None):
        """Returns (ok, values, error) for each (file, target)."""
        done = subprocess.run([TOOL, "config"], input="".join(f"{file}\t{target}\n" for file, target in rows), capture_output=True, text=True, timeout=120, check=True,
                              env=environment or self.environment)
        answers, block = [], []
        for line in done.stdout.splitlines():
            if line.startswith("== "):
                answers.append((line.startswith("== OK"), values("\n".join(block)), line))
                block = []
            else:
                block.append(line)
        self.assertEqual(len(answers), len(rows))
        return answers

    def files(self, cases):
        rows = []
        for i, case in enumerate(cases):
            text, target = case if isinstance(case, tuple) else (case, "box")
            rows.append((write(os.path.join(self.root, f"config{i}"), text), target, text))
        return rows


class Config(Case):
    def asked(self, file, target):
        host, _, port = target.partition(":") if not target.startswith("[") else (target.strip("[]"), "", "")
        return self.ssh("-G", "-F", file, *(["-p", port] if port else []), host)

    def normal(self, key, found, ours):
        """Removes differences in format that do not change the meaning."""
        if key == "identityfile" and found[:1] == ["~/.ssh/id_rsa"]:
            return []  # the default names
        if key == "identityfile" and ours != ["none"]:
            found = [v for v in found if v != "none"]
        if key == "proxyjump":
            return [v.replace("ssh://", "").rstrip("/") for v in found if v != "none"]
        if key == "connecttimeout" and found in (["none"], ["0"]):
            return []
        if key == "userknownhostsfile" and found[:1] == [f"{self.home}/.ssh/known_hosts {self.home}/.ssh/known_hosts2"]:
            return []
        if key == "globalknownhostsfile" and found[:1] == ["/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"]:
            return []
        return found

    def compare(self, cases):
        rows = self.files(cases)
        for (file, target, text), (good, ours, line) in zip(rows, self.kolm([r[:2] for r in rows])):
            with self.subTest(text=text, target=target):
                done = self.asked(file, target)
                self.assertEqual(good, done.returncode == 0, line + "\n" + done.stderr)
                if not good:
                    self.assertIn("INVALID_ARGUMENT", line)
                    continue
                theirs = values(done.stdout)
                for key in COMPARED:
                    self.assertEqual(ours.get(key, []), self.normal(key, theirs.get(key, []), ours.get(key)), key)

    def test_written(self):
        self.compare(WRITTEN)

    def test_generated(self):
        self.compare(generated(120, 15))

    def test_count(self):
        self.assertGreaterEqual(len(WRITTEN) + len(OPENED) + len(JUMPS) + 120, 300)

    def test_opened(self):
        rows = self.files(OPENED)
        server = write(os.path.join(self.root, "server"), "printf 'SSH-2.0-x\\r\\n'\nhead -c 100 >/dev/null\n")
        for (file, target, text), (good, ours, line) in zip(rows, self.kolm([r[:2] for r in rows])):
            with self.subTest(text=text):
                done = self.ssh("-vvv", "-F", file, "-o", f"ProxyCommand=sh {server}", target, "true")
                started = "load_hostkeys" in done.stderr or "Local version string" in done.stderr
                self.assertEqual(good, started, line + done.stderr)
                if not good:
                    continue
                keys = re.findall(r"^debug1: identity file (.*) type", done.stderr, re.M)
                self.assertEqual([v for v in ours.get("identityfile", []) if v != "none"], [k for k in keys if not k.endswith("-cert")][:7 if "identityfile" in ours else 0])
                self.assertEqual(ours.get("certificatefile", []), re.findall(r"^debug1: certificate file (.*) type", done.stderr, re.M))
                known = re.findall(r"^debug1: load_hostkeys: fopen (.*): No such file", done.stderr, re.M)
                for key in ("userknownhostsfile", "globalknownhostsfile"):
                    for name in " ".join(ours.get(key, [])).split():
                        if name != "none":
                            self.assertIn(name, known)

    def test_jumps(self):
        rows = self.files(JUMPS)
        fake = os.path.join(self.root, "bin")
        os.makedirs(fake, exist_ok=True)
        said = os.path.join(self.root, "said")
        write(os.path.join(fake, "ssh"), f"#!/bin/sh\necho \"$@\" > {said}\nexit 1\n", 0o700)
        ssh = shutil.which("ssh")
        for (file, target, text), (good, ours, line) in zip(rows, self.kolm([r[:2] for r in rows])):
            with self.subTest(text=text):
                write(said, "")
                # Called by a bare name, so that the ssh for the jump is the one in PATH, which records its arguments.
                subprocess.run(["ssh", "-F", file, target, "true"], executable=ssh, capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
                               env={**self.environment, "PATH": fake + ":" + os.environ["PATH"]})
                told = read(said).split()
                self.assertEqual(good, bool(told), line)
                if not told:
                    continue
                options = dict(zip(told, told[1:]))
                last = (options["-l"] + "@" if "-l" in options else "") + told[-1] + (":" + options["-p"] if "-p" in options else "")
                hops = ([h.replace("ssh://", "") for h in options["-J"].split(",")] if "-J" in options else []) + [last]
                self.assertEqual(ours["proxyjump"], [",".join(hops)])

    def test_include(self):
        """Here HOME applies to ssh as well, because its pattern goes through glob()."""
        home = tempfile.mkdtemp(dir=self.root)
        os.makedirs(os.path.join(home, ".ssh/d"))
        environment = {**self.environment, "HOME": home}
        write(os.path.join(home, ".ssh/one"), "Port 5\nHost nobody\n User never\n")
        write(os.path.join(home, ".ssh/two"), "Host box\n User two\nHost *\n IdentityFile /two\n")
        for name in "ba":
            write(os.path.join(home, f".ssh/d/{name}.conf"), f"IdentityFile /{name}\nMatch host box\n Port 6\n")
        write(os.path.join(home, ".ssh/loop"), "Include loop\n")
        write(os.path.join(home, ".ssh/bad"), "Nonsense\n")
        write(os.path.join(home, ".ssh/final"), "Match final\n User last\n")
        for level in range(18):
            write(os.path.join(home, f".ssh/level{level}"), f"Include level{level + 1}\n" if level < 17 else "Port 99\n")
        cases = ["Include one\nUser after\n", "Include one two\n", "Include nothing\nPort 7\n", "Include d/*\n", "Include d/*.conf one\nIdentityFile /c\n", f"Include {home}/.ssh/two\n", "Include ~/.ssh/two\n",
                 "Host other\n Include one\nHost box\n User u\n", "Host other\n Include bad\n", "Host other\n Include two\n", "Match host other\n Include final\nHost box\n Port 8\n", "Host box\n Include one\n User late\n",
                 "Include loop\n", "Include bad\n", "Include final\nUser first\n", "Include final\n", "Include level1\n", "Include level2\n", "Include level3\n", 'Include ""\n', "Include\n", 'Include "one"\n', "Include o?e\n"]
        rows = self.files(cases)
        for (file, target, text), (good, ours, line) in zip(rows, self.kolm([r[:2] for r in rows], environment)):
            with self.subTest(text=text):
                done = self.ssh("-G", "-F", file, target, environment=environment)
                self.assertEqual(good, done.returncode == 0, line + done.stderr)
                theirs = values(done.stdout)
                for key in ("hostname", "user", "port", "identityfile") if good else ():
                    self.assertEqual(ours.get(key, []), self.normal(key, theirs.get(key, []), ours.get(key)), key)

    def test_every_keyword(self):
        """kolm knows every keyword of this ssh."""
        written = write(os.path.join(self.root, "keywords"), "HostKeyAlias a\nPKCS11Provider none\nBindAddress ::1\nLocalForward 1 a:2\n")
        lines = {line for line in self.ssh("-G", "-F", written, "box").stdout.splitlines() if " " in line and not line.startswith("host ")}
        self.assertGreater(len(lines), 60)
        rows = self.files([line + "\n" for line in sorted(lines)])
        for (_, _, text), (good, _, line) in zip(rows, self.kolm([r[:2] for r in rows])):
            self.assertTrue(good, text + line)

    def test_notes(self):
        """Settings that are not supported and may matter are named; no command is run."""
        trap = os.path.join(self.root, "trap")
        lines = {"BindAddress 127.0.0.1": "BindAddress", "BindInterface lo": "BindInterface", "CanonicalizeHostname yes": "CanonicalizeHostname", "CheckHostIP yes": "CheckHostIP",
                 f"KnownHostsCommand /bin/touch {trap}": "KnownHostsCommand", "NoHostAuthenticationForLocalhost yes": "NoHostAuthentication", "PKCS11Provider /x.so": "PKCS11Provider",
                 f"ProxyCommand touch {trap}": "ProxyCommand", "PubkeyAuthentication no": "PubkeyAuthentication", "VerifyHostKeyDNS yes": "VerifyHostKeyDNS",
                 f'Match exec "touch {trap}"': "Match exec", "Match localnetwork 10.0.0.0/8": "Match localnetwork", "Match tagged x": "Match tagged"}
        quiet = ["CanonicalizeHostname no", "CheckHostIP no", "ProxyCommand none", "PubkeyAuthentication yes", "VerifyHostKeyDNS no", "Host other\n BindAddress x", 'Match host other exec "touch x"',
                 "ProxyJump x\nProxyCommand y", "Compression yes"]
        rows = self.files([line + "\n" for line in [*lines, *quiet]])
        for (file, _, text), (good, ours, line) in zip(rows, self.kolm([r[:2] for r in rows])):
            with self.subTest(text=text):
                self.assertTrue(good, line)
                wanted = lines.get(text.strip())
                self.assertEqual(len(ours.get("note", [])), 1 if wanted else 0, ours)
                if wanted:
                    self.assertIn(f"{file} line 1: {wanted}", ours["note"][0])
        self.assertFalse(os.path.exists(trap))
        (good, ours, _), = self.kolm([(write(os.path.join(self.root, "again"), "Match exec true\n Port 9\nMatch final\n User x\n"), "box")])
        self.assertEqual((good, ours["port"], len(ours["note"])), (True, ["22"], 1))
        (good, _, line), = self.kolm([(write(os.path.join(self.root, "refused"), "Host b*\n RefuseConnection moved away\n"), "box")])
        self.assertFalse(good)
        self.assertIn("moved away", line)


class Known(Case):
    def test_lines(self):
        key = " ".join(read(keygen(os.path.join(self.root, "k")) + ".pub").split()[:2])
        rsa = " ".join(read(keygen(os.path.join(self.root, "r"), "rsa") + ".pub").split()[:2])
        lines = [f"box {key}", f"box,other {key} remark", f"other {key}", f"BOX {key}", f"b?x {key}", f"* {key}", f"*,!box {key}", f"!other,* {key}", f"[box]:2222 {key}", f"[box]:* {key}", f"[b*]:22 {key}",
                 f"@cert-authority *.example {key}", f"@cert-authority box,*.example {rsa}", f"@revoked * {key}", f"@revoked box {rsa}", f"@unknown box {key}", "# box", "", f"  box {key}", f"\tbox\t{rsa}",
                 f"box  {key}", "box", "box ssh-ed25519", f"127.0.0.1 {key}", f"[::1]:22 {key}", f"::1 {key}", f"box.example,10.0.0.1 {rsa}", f"box {key}\r",
                 f"[box.example]:2222,[10.0.0.1]:2222 {key}", f"@cert-authority  [box]:2222 {key}"]
        names = ["box", "other", "[box]:2222", "[box]:22", "box.example", "127.0.0.1", "::1", "[10.0.0.1]:2222", "nobody"]
        plain = write(os.path.join(self.root, "plain"), "\n".join(lines) + "\n")
        hashed = write(os.path.join(self.root, "hashed"), "".join(f"{name} {key}\n" for name in names) + f"@cert-authority box {rsa}\n")
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", hashed], check=True, capture_output=True)
        bom = write(os.path.join(self.root, "bom"), f"\ufeffbox {key}\nbox {rsa}\n")
        for file in (plain, hashed, bom):
            for name in names:
                with self.subTest(file=os.path.basename(file), name=name):
                    found = subprocess.run(["ssh-keygen", "-F", name, "-f", file], capture_output=True, text=True, check=False).stdout
                    theirs = [(n, {"REVOKED": "@revoked", "CA": "@cert-authority"}.get(mark.strip(), "")) for n, mark in re.findall(r"^# Host .* found: line (\d+)(.*)$", found, re.M)]
                    ours = subprocess.run([TOOL, "known", file, name], capture_output=True, text=True, check=True).stdout
                    self.assertEqual([tuple((line + " ").split(" ")[:2]) for line in ours.splitlines()], theirs)


if __name__ == "__main__":
    if shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        print("OpenSSH's client is not installed")
        sys.exit(77)
    unittest.main()
