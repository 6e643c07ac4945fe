#!/bin/bash
# The demonstration, inside the bench: a Debian with systemd as pid 1, where nothing of ours was before.
set -euo pipefail
cd /bench
export DEBIAN_FRONTEND=noninteractive

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '   $ %s\n' "$*"; "$@" 2>&1 | sed 's/^/   /'; }

step "A fresh Debian $(cat /etc/debian_version). The service is installed as a package"
show apt-get install -y -qq -o Dpkg::Use-Pty=0 ./criu-service.deb
step "One command, and every program of this machine has a checkpoint service: systemd listens, nothing runs yet"
show systemctl enable --now criu.socket
show systemctl is-active criu.socket criu.service || true

step "A process that counts"
show systemd-run --quiet --unit=counter -p StandardOutput=null -p StandardError=null python3 /bench/counter.py /tmp/count
sleep 1
pid=$(systemctl show --property=MainPID --value counter.service)
show cat /tmp/count

step "It is dumped through the socket, which starts the service"
mkdir -p /var/lib/images
show python3 checkpoint.py dump "$pid" /var/lib/images
show ls /var/lib/images

step "It is gone, and counts no more"
show cat /tmp/count
sleep 1
show cat /tmp/count
if kill -0 "$pid" 2>/dev/null; then
  echo "process $pid still runs" >&2
  exit 1
fi
before=$(grep -o '[0-9]*$' /tmp/count)

step "It is restored, under the same pid, and counts on where it was"
show python3 checkpoint.py restore /var/lib/images
sleep 1
show cat /tmp/count
after=$(grep -o '[0-9]*$' /tmp/count)
if [ "$after" -le "$before" ] || [ "$after" -gt $((before + 60)) ]; then
  echo "it does not count on: $before, then $after" >&2
  exit 1
fi

step "Now without root: alice dumps and restores a process of hers, and the service becomes alice for it"
# On this kernel a task without no_new_privs could be restored only by root; a virtual machine with Debian's own kernel can do both.
show systemd-run --quiet --unit=alices --uid=alice -p NoNewPrivileges=yes -p StandardInput=null -p StandardOutput=null \
  -p StandardError=null python3 /bench/counter.py /tmp/alices-count
sleep 1
hers=$(systemctl show --property=MainPID --value alices.service)
install -d -o alice /home/alice/images
show runuser -u alice -- python3 /bench/checkpoint.py dump "$hers" /home/alice/images
show cat /tmp/alices-count
show runuser -u alice -- python3 /bench/checkpoint.py restore /home/alice/images
sleep 1
show cat /tmp/alices-count
show systemctl list-units --no-legend --no-pager 'criu-restore-*.scope'

step "What she cannot do: dump a process of root's"
show runuser -u alice -- python3 /bench/checkpoint.py dump "$pid" /home/alice/images || true

step "What systemd and the journal know"
show systemctl status --no-pager --lines=0 criu.service
show journalctl --no-pager --quiet -u criu.service -o cat
printf '\n\033[1m== Done: %s before the dump, %s after the restore\033[0m\n' "$before" "$after"
