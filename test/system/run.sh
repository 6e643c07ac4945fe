#!/bin/bash
# Runs inside a bench, as root: installs the package as an administrator would, and tests it with real CRIU.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")" || exit
out=${BENCH_OUT:-/bench/out}
mkdir -p "$out"

if ! DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ./criu-service_*.deb >"$out/install.log" 2>&1; then
  cat "$out/install.log"
  exit 1
fi
systemctl enable --now criu.socket || exit 1

MOCHA_COUNTS=$out/counts node run.mjs
code=$?
if [ "$code" != 0 ]; then
  echo "The last of the journal:"
  journalctl --unit=criu.service --unit=criu.socket --lines=40 --no-pager --output=short-monotonic
fi
exit "$code"
