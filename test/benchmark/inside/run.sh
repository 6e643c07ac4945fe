#!/bin/bash
# shellcheck source-path=SCRIPTDIR
# The measurements, inside the container, as root. The ways alternate in every round, so that other load on the
# machine affects all of them alike.
set -euo pipefail
cd /bench
# shellcheck source=measure.sh
. ./measure.sh
# shellcheck source=counts-full.sh
. ./counts.sh
say() { echo "bench: $*"; }

say "installing the package, starting both services"
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 ./criu-service.deb >"$out/install.log" 2>&1
systemctl enable --quiet --now criu.socket
systemd-run --quiet --unit=criu-c criu service --address "$theirs"
systemd-run --quiet --unit=bare-node node -e 'setInterval(() => {}, 1e6)'
install -m 644 nothing.service nothing.socket /run/systemd/system/
systemctl daemon-reload
systemctl start nothing.socket
# In memory, so that the disk's speed has no part in it.
mkdir "$images"
mount -t tmpfs -o size=4G images "$images"
until [ -S "$theirs" ]; do sleep 0.02; done
for file in samples failures memory; do : >"$out/$file.tsv"; done

{
  printf 'processor\t%s\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
  printf 'cores\t%s\n' "$(nproc)"
  printf 'memory\t%s\n' "$(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)"
  printf 'kernel\t%s\n' "$(uname -r)"
  printf 'system\tDebian %s with systemd %s in a container\n' "$(</etc/debian_version)" "$(systemctl --version | awk 'NR == 1 { print $2 }')"
  printf 'node\t%s\n' "$(node --version)"
  printf 'criu\t%s\n' "$(criu --version | awk '/^Version/ { print $2 }')"
  printf 'load\t%s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
} >"$out/machine.tsv"

# The first request starts the service.
for way in ours c; do ./request "$(address "$way")" version 50 >/dev/null; done
sleep 1

say "memory at rest"
memory idle ours criu.service
memory idle c criu-c.service
memory idle bare bare-node.service

say "small requests"
# V8 compiles functions that are called often, and has done so after these.
for way in ours c; do ./request "$(address "$way")" version "$warm_up" >/dev/null; done
for ((round = 0; round < small_rounds; round++)); do
  for work in version features; do
    for way in ours c; do sample "$work" "$way" ./request "$(address "$way")" "$work" "$small_block"; done
  done
done
for ((round = 0; round < check_count; round++)); do
  for way in ours c cli; do check "$way"; done
done

for megabytes in 1 100 500; do
  count=count_$megabytes
  say "dump and restore of $megabytes MB"
  pid=$(start_target "$megabytes")
  # The first of each size is for warming up, and not kept.
  for way in ours c cli; do samples=/dev/null dump "$way" "$pid" "$megabytes"; done
  for ((round = 0; round < ${!count}; round++)); do
    for way in ours c cli; do dump "$way" "$pid" "$megabytes"; done
  done
  # The images to restore from are made once, by none of the ways that are compared.
  rm -rf "$images/dump"
  mkdir "$images/dump"
  criu dump --tree "$pid" --images-dir "$images/dump" --log-file dump.log
  while [ -e "/proc/$pid" ]; do sleep 0.005; done
  for way in ours c cli; do samples=/dev/null restore "$way" "$pid" "$megabytes" "$images/dump"; done
  for ((round = 0; round < ${!count}; round++)); do
    for way in ours c cli; do restore "$way" "$pid" "$megabytes" "$images/dump"; done
  done
  rm -rf "$images/dump"
done

say "the start of criuctl"
pid=$(start_target 1)
rm -rf "$images/dump"
mkdir "$images/dump"
criu dump --tree "$pid" --images-dir "$images/dump" --log-file dump.log --leave-running
for ((round = 0; round < start_count; round++)); do
  sample 'start --version' ours ./command criuctl --version
  sample 'start --version' cli ./command criu --version
  for verb in check version status; do sample "start $verb" ours ./first "$mute" criuctl "$verb" --service "$mute"; done
  rm -rf "$images/new"
  sample 'start dump' ours ./first "$mute" criuctl dump "$pid" -D "$images/new" --service "$mute"
  rm -rf "$images/new"
  sample 'start pre-dump' ours ./first "$mute" criuctl pre-dump "$pid" -D "$images/new" --track-mem --service "$mute"
  sample 'start restore' ours ./first "$mute" criuctl restore -D "$images/dump" --service "$mute"
  sample 'run look' ours ./command criuctl look "$pid"
  sample 'run jobs' ours ./command criuctl jobs
  for verb in show verify size; do sample "run images $verb" ours ./command criuctl images "$verb" "$images/dump"; done
done
rm -rf "$images/dump" "$images/new"
end_target "$pid"

say "a dump without root"
pid=$(start_as alice target 1)
for way in ours cli; do samples=/dev/null dump_of_alice "$way" "$pid"; done
for ((round = 0; round < alice_count; round++)); do
  for way in ours cli; do dump_of_alice "$way" "$pid"; done
done
end_target "$pid"

say "eight dumps at once"
pids=()
for _ in {1..8}; do pids+=("$(start_target 50)"); done
for way in ours c cli; do samples=/dev/null dump_at_once "$way" "${pids[@]}"; done
for ((round = 0; round < at_once_rounds; round++)); do
  for way in ours c cli; do dump_at_once "$way" "${pids[@]}"; done
done
for pid in "${pids[@]}"; do end_target "$pid"; done
rm -rf "$images/dump"

say "the first request after a stop"
for ((round = 0; round < first_count; round++)); do
  systemctl --quiet --no-warn stop criu.service
  sample first ours ./request "$ours" version 1
  systemctl --quiet --no-warn stop nothing.service
  sample first nothing ./request -s /run/nothing.socket version 1
done

# Work that uses up pids comes last: a restored process takes its old pid back, and pids wrap around at 32,768.
say "many clients at once"
for ((round = 0; round < crowd_rounds; round++)); do
  for way in ours c; do sample crowd "$way" ./crowd "$(address "$way")" 32 "$crowd_ms"; done
done

say "500 silent connections"
for way in ours c; do
  unit=criu.service
  [ "$way" = ours ] || unit=criu-c.service
  memory 'before silence' "$way" "$unit"
  systemd-run --quiet --collect --unit="silent-$way" /bench/silent "$(address "$way")" 500
  sleep "$settle"
  memory silent "$way" "$unit"
  systemctl --quiet --no-warn stop "silent-$way"
done

say "trees of ${tree_sizes// /, } tasks"
for size in $tree_sizes; do
  pid=$(start_as alice forest "$size")
  for ((round = 0; round < tree_rounds; round++)); do
    sample "tree $size" ours "${as_alice[@]}" ./request "$ours" tree "$pid"
  done
  # Another client asks meanwhile: work that blocks the event loop delays these answers.
  systemd-run --quiet --collect --unit="beside-$size" -p StandardOutput="truncate:$out/.beside" /bench/request "$ours" version 1000000
  for ((round = 0; round < tree_rounds; round++)); do
    samples=/dev/null sample "tree $size" ours "${as_alice[@]}" ./request "$ours" tree "$pid"
  done
  systemctl --quiet --no-warn stop "beside-$size"
  # The last line may be incomplete.
  sed '$d' "$out/.beside" | awk -v work="beside tree $size" -v OFS='\t' '{ print work, "ours", $1 }' >>"$out/samples.tsv"
  kill -KILL "$pid"
done

say "$((growth_first + growth_rest)) requests in a row"
systemctl --quiet --no-warn stop criu.service
./request "$ours" version "$growth_first" >/dev/null
sleep "$settle"
memory 'growth first' ours criu.service
./request "$ours" version "$growth_rest" >/dev/null
sleep "$settle"
memory 'growth all' ours criu.service

printf 'load at the end\t%s\n' "$(cut -d' ' -f1-3 /proc/loadavg)" >>"$out/machine.tsv"
rm -f "$out"/.numbers "$out"/.errors "$out"/.memory "$out"/.beside
journalctl --no-pager --quiet -u criu.service -p warning -o cat >"$out/warnings.log" || true
