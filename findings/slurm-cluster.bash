#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A private Slurm on this machine for the scripts beside this file: munged, slurmctld and one slurmd in a temporary directory, on free ports.
# Sourced. Needs root on Debian 12, and once before (they are daemons, and look for their parts where they were built to be):
#   apt-get install --no-install-recommends slurmctld=22.05.8-4+deb12u3 slurmd=22.05.8-4+deb12u3 slurm-client=22.05.8-4+deb12u3 munge
# The packages start no service by that; nothing outside of the temporary directory is read or written.
set -euo pipefail
export LC_ALL=C

WANTED=22.05.8-4+deb12u3
for package in slurmctld slurmd slurm-client; do
  found=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null || true)
  [ "$found" = "$WANTED" ] || { echo "needs $package $WANTED (found: ${found:-none}); see the head of ${BASH_SOURCE[0]}"; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "needs root"; exit 2; }

dir=$(mktemp -d)
pids=()
finish() {
  [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap finish EXIT

# Waits for the condition (a command), with a bound in seconds.
until_true() {
  local bound=$1; shift
  for ((i = 0; i < bound * 5; i++)); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.2
  done
  echo "waited $bound s in vain for: $*"; tail -n 5 "$dir"/*.log; exit 3
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

host=$(hostname -s)
chmod 755 "$dir"
mkdir "$dir/state" "$dir/spool"
head -c 1024 /dev/urandom > "$dir/munge.key"; chmod 400 "$dir/munge.key"
echo "CgroupPlugin=cgroup/v1" > "$dir/cgroup.conf"
export SLURM_CONF="$dir/slurm.conf"
cat > "$SLURM_CONF" <<CONF
ClusterName=finding
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.sock
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(free_port) CPUs=1 RealMemory=100 State=UNKNOWN
PartitionName=main Nodes=n1 Default=YES MaxTime=INFINITE State=UP
CONF
munged --foreground --force --key-file="$dir/munge.key" --socket="$dir/munge.sock" --pid-file="$dir/munged.pid" \
  --log-file="$dir/munged.log" --seed-file="$dir/munge.seed" > "$dir/munged.out.log" 2>&1 & pids+=($!)
until_true 20 test -S "$dir/munge.sock"
slurmctld -D -c -f "$SLURM_CONF" > "$dir/slurmctld.out.log" 2>&1 & pids+=($!)
slurmd -D -c -N n1 -f "$SLURM_CONF" > "$dir/slurmd.out.log" 2>&1 & pids+=($!)
until_true 60 sh -c 'sinfo -h -o %t | grep -qx idle'
cd "$dir"
sbatch --version

# FIELD=value of job $1, as scontrol prints it.
field() { scontrol --oneliner show job "$1" | grep -oE "(^| )$2=[^ ]*" | head -n 1 | sed 's/^ //'; }
