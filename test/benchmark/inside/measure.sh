# Taking samples: a line "WORK, WAY, number" for each, in out/samples.tsv or the file that "samples" names. Sourced by run.sh.
# shellcheck shell=bash

out=/bench/out
ours=/run/criu-service.socket
theirs=/run/criu-c.socket
# A socket that hears the first packet, and says nothing.
mute=/run/mute.socket
images=/images

# sample WORK WAY COMMAND...: the command prints numbers, each on a line. A failing command is reported and counted,
# and the run goes on.
sample() {
  local work=$1 way=$2 number
  shift 2
  if ! "$@" >"$out/.numbers" 2>"$out/.errors"; then
    printf '%s\t%s\t%s\n' "$work" "$way" "$(tr '\n\t' '  ' <"$out/.errors")" >>"$out/failures.tsv"
    return 0
  fi
  while read -r number; do printf '%s\t%s\t%s\n' "$work" "$way" "$number"; done <"$out/.numbers" >>"${samples:-$out/samples.tsv}"
}

# address WAY: the socket of a service.
address() { if [ "$1" = ours ]; then echo "$ours"; else echo "$theirs"; fi; }

# start_as USER PROGRAM COUNT: prints its pid once it is ready. Its streams are not the journal's socket, which CRIU cannot dump.
start_as() {
  local unit=$2-$3-$BASHPID-$RANDOM ready user=()
  [ "$1" = root ] || user=("${as_alice[@]}")
  ready=$(mktemp -u "$images/ready.XXXXXX")
  systemd-run --quiet --collect --unit="$unit" -p StandardInput=null -p StandardOutput=null -p StandardError=null \
    "${user[@]}" "/bench/$2" "$3" "$ready"
  until [ -e "$ready" ]; do sleep 0.02; done
  rm "$ready"
  systemctl show --property=MainPID --value "$unit"
}

# start_target MEGABYTES
start_target() { start_as root target "$1"; }

# The rights that a login gives to a user, and the same with CAP_CHECKPOINT_RESTORE, which CRIU's command line
# needs.
as_alice=(setpriv --reuid=alice --regid=alice --init-groups --inh-caps=-all --)
as_capable=(setpriv --reuid=alice --regid=alice --init-groups --inh-caps=-all,+checkpoint_restore --ambient-caps=+checkpoint_restore --)

# end_target PID: returns when the pid is free, after its parent has reaped it.
end_target() {
  kill -KILL "$1" 2>/dev/null || return 0
  while [ -e "/proc/$1" ]; do sleep 0.005; done
}

# dump WAY PID MEGABYTES: into an empty directory, so that no sample pays for the removal of earlier images.
dump() {
  local way=$1 pid=$2 megabytes=$3 directory=$images/dump
  rm -rf "$directory"
  mkdir "$directory"
  case $way in
    cli) sample "dump $megabytes MB" cli ./command criu dump --tree "$pid" --images-dir "$directory" --leave-running --log-file dump.log ;;
    *) sample "dump $megabytes MB" "$way" ./request "$(address "$way")" dump "$pid" "$directory" ;;
  esac
}

# dump_of_alice WAY PID: of 1 MB, by herself. Her own command line has the capability; the service gives it to her
# engine.
dump_of_alice() {
  local way=$1 pid=$2 directory=$images/dump
  rm -rf "$directory"
  install -d -o alice "$directory"
  case $way in
    cli)
      sample 'dump 1 MB, alice' cli "${as_capable[@]}" ./command criu dump --unprivileged --tree "$pid" --images-dir "$directory" \
        --leave-running --log-file dump.log
      ;;
    *) sample 'dump 1 MB, alice' "$way" "${as_alice[@]}" ./request "$(address "$way")" dump "$pid" "$directory" ;;
  esac
}

# dump_at_once WAY PID...: of 50 MB each.
dump_at_once() {
  local way=$1 directory=$images/dump
  shift
  rm -rf "$directory"
  mkdir "$directory" "${@/#/$directory/}"
  case $way in
    cli) sample 'dump 8 x 50 MB at once' cli ./dumps criu "$directory" "$@" ;;
    *) sample 'dump 8 x 50 MB at once' "$way" ./dumps "$(address "$way")" "$directory" "$@" ;;
  esac
}

# restore WAY PID MEGABYTES DIRECTORY: the same images every time; the restored process is ended again.
restore() {
  local way=$1 pid=$2 megabytes=$3 directory=$4
  case $way in
    cli) sample "restore $megabytes MB" cli ./command criu restore --images-dir "$directory" --restore-detached --log-file restore.log ;;
    *) sample "restore $megabytes MB" "$way" ./request "$(address "$way")" restore "$directory" ;;
  esac
  end_target "$pid"
}

check() {
  case $1 in
    cli) sample check cli ./command criu check ;;
    *) sample check "$1" ./request "$(address "$1")" check 1 "$images" ;;
  esac
}

# memory WHAT WAY UNIT: of all processes in the unit, in KiB. PSS divides shared pages among their processes; RSS
# counts them for each. The descriptors are those of all processes, too.
memory() {
  local what=$1 way=$2 pids pid count=0 fds=0
  pids=$(cat "/sys/fs/cgroup/system.slice/$3/cgroup.procs")
  for pid in $pids; do
    count=$((count + 1))
    fds=$((fds + $(find "/proc/$pid/fd" -mindepth 1 2>/dev/null | wc -l)))
    cat "/proc/$pid/smaps_rollup" 2>/dev/null || true
  done >"$out/.memory"
  awk -v what="$what" -v way="$way" -v count="$count" -v fds="$fds" -v OFS='\t' \
    '/^Pss:/ { pss += $2 } /^Rss:/ { rss += $2 } END { print what, way, count, pss, rss, fds }' "$out/.memory" >>"$out/memory.tsv"
}
