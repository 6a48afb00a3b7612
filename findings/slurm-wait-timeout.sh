#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Slurm 22.05.8 (Debian 12), 2026-11-29: sbatch --wait ends with 0 for a job that ran into its time limit.
#
# One would guess: sbatch --wait, whose exit code "will be the same as the exit code of the submitted job", ends with something else than 0
# for a job that was killed: its state is TIMEOUT, as it should be.
# What happens: a script that does what it is told to (tidies up on SIGTERM, and exits 0) is a success to sbatch --wait, with half of the work
# done. Only the state tells. Workflow programs that believe the exit code go on with what the killed job left.
#
# The output seen:
#   slurm-wlm 22.05.8
#   sbatch --wait: 0
#   JobState=TIMEOUT Reason=TimeLimit ExitCode=0:0
#
# Needs root and installed packages: see slurm-cluster.bash. Takes two minutes: a limit is a minute at least.
source "$(dirname "$(realpath "$0")")/slurm-cluster.bash"

cat > job.sh <<'JOB'
#!/bin/bash
trap 'echo "tidied up, half done"; exit 0' TERM
while :; do sleep 1 & wait $!; done
JOB
code=0
id=$(sbatch --parsable --wait --time=1 --output="$dir/out.txt" job.sh) || code=$?
grep -q "half done" out.txt
state="$(field "$id" JobState) $(field "$id" Reason) $(field "$id" ExitCode)"
echo "sbatch --wait: $code"
echo "$state"
[ "$code" = 0 ] && [ "$state" = "JobState=TIMEOUT Reason=TimeLimit ExitCode=0:0" ]
