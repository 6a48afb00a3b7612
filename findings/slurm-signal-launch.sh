#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Slurm 22.05.8 (Debian 12), 2026-11-29: a batch script that dies of a signal is told as a launch that failed.
#
# One would guess: the reason of a job whose script ran, worked and was then killed by SIGKILL (as by the kernel, out of memory) says that a
# signal was raised; "JobLaunchFailure" is for jobs that could not be started, and a reason to try another node.
# What happens: Reason=JobLaunchFailure beside ExitCode=0:9, though the script had written its output. A script that ends with an exit code
# gets NonZeroExitCode. The exit code's second half tells the two apart, the reason does not.
#
# The output seen:
#   slurm-wlm 22.05.8
#   exit 3:  JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0
#   kill -9: JobState=FAILED Reason=JobLaunchFailure ExitCode=0:9, after it wrote: worked
#
# Needs root and installed packages: see slurm-cluster.bash.
source "$(dirname "$(realpath "$0")")/slurm-cluster.bash"

has_failed() { [ "$(field "$1" JobState)" = JobState=FAILED ]; }
told() { echo "$(field "$1" JobState) $(field "$1" Reason) $(field "$1" ExitCode)"; }

printf '#!/bin/sh\nexit 3\n' > exits.sh
printf '#!/bin/sh\necho worked\nkill -9 $$\n' > dies.sh
exits=$(sbatch --parsable --output=/dev/null exits.sh)
until_true 60 has_failed "$exits"
dies=$(sbatch --parsable --output="$dir/out.txt" dies.sh)
until_true 60 has_failed "$dies"
echo "exit 3:  $(told "$exits")"
echo "kill -9: $(told "$dies"), after it wrote: $(cat out.txt)"
[ "$(told "$exits")" = "JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0" ]
[ "$(told "$dies")" = "JobState=FAILED Reason=JobLaunchFailure ExitCode=0:9" ]
[ "$(cat out.txt)" = worked ]
