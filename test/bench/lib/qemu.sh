# Finds a QEMU, and its arguments. Sourced after common.sh.
# shellcheck shell=bash disable=SC2154

# Before 9, thread=multi corrupted a Debian 13 guest in one boot of ten (double faults after cmpxchg16b).
qemu_good=9

qemu_major() { { "$@" --version 2>/dev/null || true; } | sed -n '1s/.*version \([0-9]*\).*/\1/p'; }

# The QEMU that was unpacked beside includes the libraries that the host lacked.
unpacked_qemu=(env "LD_LIBRARY_PATH=$image/qemu/usr/lib/x86_64-linux-gnu:$image/qemu/lib/x86_64-linux-gnu"
  "$image/qemu/usr/bin/qemu-system-x86_64")

# Try to run it: a library that the host had at unpacking may have been removed since.
have_unpacked_qemu() { [ -n "$(qemu_major "${unpacked_qemu[@]}")" ]; }

have_qemu() {
  local major
  have_unpacked_qemu && return
  major=$(qemu_major qemu-system-x86_64)
  [ "${major:-0}" -ge "$qemu_good" ]
}

have_any_qemu() { have_unpacked_qemu || [ -n "$(qemu_major qemu-system-x86_64)" ]; }

# Sets qemu: the command with accelerator and processor.
# shellcheck disable=SC2054 # QEMU's own commas
choose_qemu() {
  if have_unpacked_qemu; then
    local data=$image/qemu/usr/share
    qemu=("${unpacked_qemu[@]}" -L "$data/qemu" -L "$data/seabios")
  else
    qemu=(qemu-system-x86_64)
  fi
  # Only on request: a /dev/kvm that opens may still fail at the first odd instruction (seen on a nested KVM).
  if [ "${BENCH_ACCEL:-tcg}" = kvm ]; then
    qemu+=(-accel kvm -cpu host)
  elif [ "$(qemu_major "${qemu[@]}")" -ge "$qemu_good" ]; then
    # la57 costs a fifth level of page tables at every miss, svm is of no use here.
    qemu+=(-accel tcg,thread=multi -cpu max,-svm,-la57)
  else
    qemu+=(-accel tcg,thread=single -cpu max,-cx16,-svm,-la57)
  fi
}
