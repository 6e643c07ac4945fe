# The life of a machine of either kind: arguments, payload in, output live, status and results out.
# Sourced after common.sh. The machine's files are in a directory of their own, which goes with it:
#   status  "up", then "exit N", written from inside      output  of run.sh
# shellcheck shell=bash disable=SC2154

# read_arguments ARGUMENT...: sets payload and out.
read_arguments() {
  local usage="usage: ${0##*/} [--suite SUITE] [--out DIR] PAYLOAD_DIR"
  payload='' out=''
  while [ $# -gt 0 ]; do
    case $1 in
      --out) [ $# -ge 2 ] || die "--out needs a directory"; out=$2; shift 2 ;;
      -*) die "$usage" ;;
      *) payload=$1; shift ;;
    esac
  done
  [ -f "$payload/run.sh" ] || die "$usage (with a run.sh in it)"
  out=${out:-$payload/../out}
  mkdir -p "$out"
}

# Makes the machine's directory, and removes those of runs that were killed.
make_life() {
  local stale
  # shellcheck disable=SC2094 # the directory is opened to be locked
  for stale in "$image"/life.*/; do
    [ -d "$stale" ] || continue
    (flock --exclusive --nonblock 7 && rm -rf --one-file-system "$stale") 7<"$stale" || true
  done
  life=$(mktemp -d "$image/life.XXXXXX")
  exec 6<"$life"
  flock --exclusive 6
}

# Inside, the checkout belongs to root, independent of its owner here.
pack_payload() { tar -C "$payload" --owner=0 --group=0 --numeric-owner -cf - .; }

since() { printf '%d.%01d' $((($(now) - $1) / 1000)) $((($(now) - $1) % 1000 / 100)); }
now() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# live STATUS OUTPUT TIMEOUT COMMAND...: runs the machine to its end, with its output on ours. Both kills on a
# parent's death make a chain, so that nothing stays behind after any end of this shell, even SIGKILL.
live() {
  local status=$1 output=$2 limit=$3 began
  shift 3
  began=$(now)
  "${scope[@]}" setpriv --pdeathsig KILL timeout --signal=KILL "$limit" setpriv --pdeathsig KILL "$@" \
    </dev/null >>"$out/console.log" 2>&1 6<&- 8<&- &
  machine=$!
  setpriv --pdeathsig KILL tail ---disable-inotify --sleep-interval=0.1 --lines=+1 --follow --pid="$machine" "$output" 2>/dev/null 6<&- 8<&- &
  local reader=$!
  while kill -0 "$machine" 2>/dev/null && [ ! -s "$status" ]; do sleep 0.1; done 2>/dev/null
  [ ! -s "$status" ] || say "${0##*/} is up after $(since "$began") s"
  # The shell would report a killed machine with its whole command line.
  wait "$machine" 2>/dev/null || true
  machine=""
  wait "$reader" || true
  say "${0##*/} ran for $(since "$began") s"
  if [ $((($(now) - began) / 1000)) -ge "$limit" ]; then say "that is its time limit (BENCH_TIMEOUT)"; fi
}

# With SIGKILL: its files are thrown away anyway, and an orderly shutdown may be the part that hangs.
end_machine() {
  [ -z "${machine:-}" ] || kill -KILL "$machine" 2>/dev/null || true
  wait 2>/dev/null
}

# verdict STATUS: exits as run.sh did.
verdict() {
  local code
  code=$(sed -n 's/^exit \([0-9]*\)\r\{0,1\}$/\1/p' "$1" 2>/dev/null | tail -n 1)
  if [ -z "$code" ]; then
    say "the machine gave no status; the end of $out/console.log:"
    tail -n 30 "$out/console.log" >&2 || true
    code=97
  fi
  exit "$code"
}
