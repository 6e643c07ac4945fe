#!/bin/bash
# A Slurm job that goes on where it was when Slurm took its node away, on the same node or on another:
#
#     sbatch --job-name=sim --time=8:00:00 job.sh ./sim --steps 1000000
#
# A minute before its time is over, or when a job of higher priority needs the node, Slurm signals this script. The computation is
# then suspended in a checkpoint, and the Slurm job goes back into the queue under the same number. If it ends in another way (its
# node fails, it was cancelled), the same sbatch goes on from its last checkpoint.
#
# A job is known by its name: another computation gets another one. `criuctl jobs --dir DIRECTORY` shows them all.
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
#SBATCH --open-mode=append

# On a file system that all nodes share, with room for three checkpoints of the computation's memory.
jobs=${CRIU_JOBS:-$HOME/criu-jobs}
# Checkpoints in between, for nodes that fail: `auto` takes as many as their measured cost is worth, and `10min` is an interval.
every=${CRIU_EVERY:-auto}
name=$SLURM_JOB_NAME${SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}
suspended=85
# A criuctl that has just begun, and has not heard of its signal yet, is ended by it. (SIGUSR1 would start Node's debugger there.)
too_early=$((128 + $(kill -l USR2)))

mkdir -p -m 700 "$jobs"
came='' criuctl=''
trap 'came=yes; [ -z "$criuctl" ] || kill -USR2 "$criuctl"' USR1
criuctl run --foreground --dir "$jobs" --every "$every" --on-signal USR2 --exit-code "$suspended" "$name" -- "$@" &
criuctl=$!
[ -z "$came" ] || kill -USR2 "$criuctl"

# A signal ends wait before criuctl has ended.
while
  came=''
  wait "$criuctl"
  status=$?
  [ -n "$came" ]
do :; done

case $status in
  "$suspended" | "$too_early") exec scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$status"
