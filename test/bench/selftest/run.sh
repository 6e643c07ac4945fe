#!/bin/bash
# Does the machine itself work? Runs CRIU alone, without our service: a failure here is the bench's trouble, not the
# service's.
set -uo pipefail
failures=0
check() { # check NAME COMMAND...
  local name=$1
  shift
  if "$@"; then echo "ok      $name"; else echo "FAILED  $name"; failures=$((failures + 1)); fi
}
# can NAME COMMAND...: reported, not judged, because the two machines differ here.
can() {
  local name=$1
  shift
  if "$@" >/dev/null 2>&1; then echo "has     $name"; else echo "lacks   $name"; fi
}

settled() { [ "$(systemctl is-system-running --wait)" = running ] || { systemctl --failed --no-pager; false; }; }

target() { # target UNIT [PROPERTY...]: starts a process that counts into /var/tmp/UNIT, prints its pid
  local unit=$1 options=() property
  shift
  for property; do options+=(-p "$property"); done
  # The target's standard streams must not be the journal's socket, whose other end CRIU cannot dump.
  systemd-run --quiet --collect --unit="$unit" -p StandardInput=null -p StandardOutput=null -p StandardError=null "${options[@]}" \
    /bin/bash -c "exec 3>/var/tmp/$unit; n=0; while :; do echo \$((n += 1)) >&3; sleep 0.05; done"
  sleep 1
  systemctl show --property=MainPID --value "$unit"
}
last() { tail -n 1 "/var/tmp/$1"; }
counts() { local before; before=$(last "$1"); sleep 1; [ "$(last "$1")" -gt "$before" ]; }

round_trip() { # round_trip UNIT [PROPERTY...]: dump kills it, restore brings it back with its pid and it goes on
  local unit=$1 pid images=/var/tmp/images-$1
  pid=$(target "$@")
  mkdir "$images"
  { criu dump --tree "$pid" --images-dir "$images" -v4 --log-file dump.log || { grep Error "$images/dump.log"; false; }; } &&
    ! counts "$unit" &&
    { criu restore --restore-detached --images-dir "$images" -v4 --log-file restore.log || { grep Error "$images/restore.log"; false; }; } &&
    counts "$unit" && kill -KILL "$pid"
}

rpc() {
  criu service --address /run/selftest.socket --daemon --pidfile /run/selftest.pid || return
  mkdir -p /var/tmp/rpc
  python3 - <<'P'
import os, socket
from pycriu import rpc
def ask(kind, **options):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect("/run/selftest.socket")
    request = rpc.criu_req(type=kind)
    for name, value in options.items():
        setattr(request.opts, name, value)
    s.send(request.SerializeToString())
    return rpc.criu_resp.FromString(s.recv(65536))
version = ask(rpc.VERSION)
assert version.success, version
check = ask(rpc.CHECK, images_dir_fd=os.open("/var/tmp/rpc", os.O_DIRECTORY))
assert check.success, check
print(f"        criu {version.version.major_number}.{version.version.minor_number} by RPC")
P
  local result=$?
  kill "$(cat /run/selftest.pid)"
  return $result
}

soft_dirty() { criu check --feature mem_dirty_track; }

echo "$BENCH: kernel $(uname -r), $(criu --version | head -n 1), node $(node --version), $(systemctl --version | head -n 1)"
echo "        $(systemd-analyze | head -n 1)"
check "systemd is up, nothing failed" settled
check "systemctl and journalctl answer" sh -c 'systemctl status dbus.service >/dev/null && journalctl -n 1 -q >/dev/null'
check "criu check" criu check
check "the payload's own cgroup is under system.slice" grep -q '^0::/system.slice/' /proc/self/cgroup
check "no seccomp filter on what systemd starts" grep -q '^Seccomp:[[:space:]]*0$' /proc/self/status
# shellcheck disable=SC2016 # the inner shell expands it
check "alice, bob and the group criu-test" sh -c 'id -nG alice | grep -qw criu-test && [ "$(id -u bob)" = 1501 ]'
check "root's process: dump, restore" round_trip selftest-root
check "pycriu asks criu service for VERSION and CHECK" rpc
check "results and the payload's files: writable" sh -c 'echo done >/bench/out/selftest'
can "the rest of criu check --all" sh -c 'criu check --all 2>&1 | grep -x "Looks good."'
can "soft-dirty tracking (track_mem, PRE_DUMP)" soft_dirty
can "Yama" test -e /proc/sys/kernel/yama/ptrace_scope
can "CAP_SYS_RESOURCE" capsh --has-b=cap_sys_resource
can "another user's process: root dumps and restores it" round_trip selftest-alice User=alice
can "an unprivileged engine with CHECKPOINT_RESTORE: criu check --unprivileged" \
  systemd-run --quiet --wait --collect -p User=alice -p AmbientCapabilities=CAP_CHECKPOINT_RESTORE criu check --unprivileged
echo "        $((failures)) failed"
[ "$failures" = 0 ]
