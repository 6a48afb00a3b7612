#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# OpenSSH 9.2p1 (Debian 12), 2026-11-29: "Match canonical" applies without any canonicalization once another line says "Match final".
#
# One would guess: a block of "Match canonical" counts only when the configuration is read again after the host name was canonicalized, as
# ssh_config(5) says; with CanonicalizeHostname no, which is the default, it never does.
# What happens: any "Match final" in any file, even one that matches no host, has the configuration read a second time, and in that pass
# canonical holds, too. A snippet in /etc/ssh/ssh_config.d so switches on blocks that have nothing to do with it.
#
# The output seen:
#   OpenSSH_9.2p1 Debian-2+deb12u10
#   Match canonical alone:              port 22
#   with a Match final of another host: port 2222
#
# Needs apt-get and the network; installs nothing.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -q openssh-client=1:9.2p1-2+deb12u10 >/dev/null 2>&1
dpkg-deb -x openssh-client_*.deb .
ssh=$dir/usr/bin/ssh
printf 'CanonicalizeHostname no\nMatch canonical\n  Port 2222\n' > alone
{ cat alone; printf 'Match final host another.example\n  User nobody\n'; } > beside
port() { "$ssh" -G -F "$dir/$1" box 2>/dev/null | grep '^port '; }
"$ssh" -V 2>&1 | cut -d, -f1
echo "Match canonical alone:              $(port alone)"
echo "with a Match final of another host: $(port beside)"
[ "$(port alone)" = "port 22" ] && [ "$(port beside)" = "port 2222" ]
