#!/bin/bash
# The demonstration, inside the bench: a Debian with systemd as pid 1, without any earlier installation.
set -euo pipefail
cd /bench
export DEBIAN_FRONTEND=noninteractive

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '   $ %s\n' "$*"; "$@" 2>&1 | sed 's/^/   /'; }
# alice's view at a terminal; of a progress bar the last frame.
alice() {
  printf '   alice$ %s\n' "$*"
  runuser -u alice -- env -C /home/alice script --quiet --return --command "$*" /dev/null </dev/null 2>&1 |
    sed 's/\r$//; s/.*\x1b\[1G//; s/\x1b\[[0-9;?]*[A-Za-z]//g; s/\x1b[78]//g; s/^/   /'
}
counted() { grep -o '[0-9]*$' "$1"; }
# The dump was at `before`. The process must continue from there: not from zero, and without the time between.
counts_on() {
  local before=$1 after
  after=$(counted "$2")
  if [ "$after" -le "$before" ] || [ "$after" -gt $((before + 100)) ]; then
    echo "it does not count on: $before, then $after" >&2
    exit 1
  fi
}

step "A fresh Debian $(cat /etc/debian_version). The service is installed as a package"
show apt-get install -y -qq -o Dpkg::Use-Pty=0 ./criu-service.deb
step "One command, and every program of this machine has a checkpoint service: systemd listens, nothing runs yet"
show systemctl enable --now criu.socket
show systemctl is-active criu.socket criu.service || true

step "alice, a user without root, has a process that counts"
# On this kernel only root could restore a task without no_new_privs. A virtual machine with Debian's own kernel can
# do both.
show systemd-run --quiet --unit=alices --uid=alice -p NoNewPrivileges=yes -p StandardInput=null -p StandardOutput=null \
  -p StandardError=null python3 /bench/counter.py /tmp/count
sleep 1
pid=$(systemctl show --property=MainPID --value alices.service)
show cat /tmp/count

step "She writes it into images: the service starts, and becomes alice for it"
install -d -o alice /home/alice
alice mkdir images
alice criuctl dump "$pid" -D images

step "It is gone, and counts no more"
show cat /tmp/count
sleep 1
show cat /tmp/count
if kill -0 "$pid" 2>/dev/null; then
  echo "process $pid still runs" >&2
  exit 1
fi
before=$(counted /tmp/count)

step "She brings it back: the same pid, and it counts on where it was"
alice criuctl restore -D images -v4 -o restore.log
sleep 1
show cat /tmp/count
counts_on "$before" /tmp/count
show systemctl list-units --no-legend --no-pager 'criu-restore-*.scope'

step "What she cannot do: dump a process of root's"
show systemd-run --quiet --unit=counter -p StandardOutput=null -p StandardError=null python3 /bench/counter.py /tmp/roots-count
roots=$(systemctl show --property=MainPID --value counter.service)
alice criuctl dump "$roots" -D images || true

step "A job of alice's: whatever ends its processes, it goes on, and what it writes is what an uninterrupted run writes"
# In a virtual machine neither is needed, as above.
mkdir -p /etc/systemd/user/criu-job@.service.d /etc/systemd/system/criu.service.d
printf '[Service]\nNoNewPrivileges=yes\n' >/etc/systemd/user/criu-job@.service.d/demo.conf
printf '[Service]\nExecStart=\nExecStart=/usr/lib/criu-service/criu-service --allow-no-new-privs\n' >/etc/systemd/system/criu.service.d/demo.conf
systemctl daemon-reload
manager=user@$(id -u alice).service
show systemctl restart criu.service "$manager"

out=${BENCH_OUT:-/bench/out} job=/home/alice/.local/state/criu/sums steps=150
mkdir -p "$out"
: >"$out/samples" >"$out/events"
now() { date +%s.%N; }
happens() { echo "$(now) $*" >>"$out/events"; }
last() { tail -n 1 "$job/stdout" 2>/dev/null | grep -o '^[0-9]*'; }
until_step() { until [ "$(last)" -ge "$1" ] 2>/dev/null; do sleep 0.1; done; }
alice_runs() { alice criuctl run sums --every 2s -- python3 /bench/steps.py $steps; }
alice_runs
(while sleep 0.2; do echo "$(now) $(last)"; done >>"$out/samples") &
sampler=$!
trap 'kill $sampler' EXIT

until_step 30
happens 'criu.service is restarted'
show systemctl restart criu.service
until_step 50
happens 'she suspends it'
alice criuctl suspend sums
sleep 2
happens 'and resumes it'
alice criuctl resume sums
until [ -e "$job/checkpoints/2" ]; do sleep 0.1; done
until_step 90
happens 'SIGKILL to all that is hers, as by a power cut'
show systemctl kill --signal=KILL --kill-whom=all "$manager"
sleep 2
happens 'her manager starts, and the job goes on'
show systemctl restart "$manager"
alice criuctl jobs
alice criuctl wait sums
kill $sampler
trap - EXIT
python3 /bench/steps.py $steps >/tmp/uninterrupted
cmp /tmp/uninterrupted "$job/stdout"
echo "   Its output is byte for byte that of an uninterrupted run: $(wc -l <"$job/stdout") lines"
python3 progress.py "$out/samples" "$out/events" >"$out/progress.svg"

step "Root's process, and a program that speaks CRIU's RPC since long before: CRIU's own Python library"
mkdir -p /var/lib/images
show python3 checkpoint.py dump "$roots" /var/lib/images
roots_before=$(counted /tmp/roots-count)
show python3 checkpoint.py restore /var/lib/images
sleep 1
show cat /tmp/roots-count
counts_on "$roots_before" /tmp/roots-count

step "What systemd and the journal know"
show script --quiet --return --command 'criuctl status' /dev/null </dev/null
show journalctl --no-pager --quiet -u criu.service -o cat
printf '\n\033[1m== Done: %s before the dump, %s after the restore\033[0m\n' "$before" "$(counted /tmp/count)"
