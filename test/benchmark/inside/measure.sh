# Taking samples: a line "WORK, WAY, number" for each, in out/samples.tsv or the file that "samples" names. Sourced by run.sh.
# shellcheck shell=bash

out=/bench/out
ours=/run/criu-service.socket
theirs=/run/criu-c.socket
images=/images

# sample WORK WAY COMMAND...: what the command prints is numbers, one a line. One that fails is told and counted, and the run goes on.
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

# start_target MEGABYTES: prints its pid once its memory is filled. Its streams are not the journal's socket, which CRIU cannot dump.
start_target() {
  local unit=target-$1-$RANDOM ready
  ready=$(mktemp -u "$images/ready.XXXXXX")
  systemd-run --quiet --collect --unit="$unit" -p StandardInput=null -p StandardOutput=null -p StandardError=null \
    /bench/target "$1" "$ready"
  until [ -e "$ready" ]; do sleep 0.02; done
  rm "$ready"
  systemctl show --property=MainPID --value "$unit"
}

# end_target PID: returns when the pid is free, whoever has to reap it.
end_target() {
  kill -KILL "$1" 2>/dev/null || return 0
  while [ -e "/proc/$1" ]; do sleep 0.005; done
}

# dump WAY PID MEGABYTES: into an empty directory, so that no sample pays for throwing the last one's images away.
dump() {
  local way=$1 pid=$2 megabytes=$3 directory=$images/dump
  rm -rf "$directory"
  mkdir "$directory"
  case $way in
    cli) sample "dump $megabytes MB" cli ./command criu dump --tree "$pid" --images-dir "$directory" --leave-running --log-file dump.log ;;
    *) sample "dump $megabytes MB" "$way" ./request "$(address "$way")" dump "$pid" "$directory" ;;
  esac
}

# restore WAY PID MEGABYTES DIRECTORY: the same images every time; the process is ended again.
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

# memory WHAT WAY UNIT: of all processes in the unit, in KiB. PSS shares out what several of them map; RSS counts it for each.
memory() {
  local what=$1 way=$2 pids pid count=0
  pids=$(cat "/sys/fs/cgroup/system.slice/$3/cgroup.procs")
  for pid in $pids; do
    count=$((count + 1))
    cat "/proc/$pid/smaps_rollup" 2>/dev/null || true
  done >"$out/.memory"
  awk -v what="$what" -v way="$way" -v count="$count" -v OFS='\t' \
    '/^Pss:/ { pss += $2 } /^Rss:/ { rss += $2 } END { print what, way, count, pss, rss }' "$out/.memory" >>"$out/memory.tsv"
}
