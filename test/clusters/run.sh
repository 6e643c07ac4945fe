#!/bin/bash
# Runs inside a container, as root: installs the package as an administrator would, and tries jobs of batch systems with it.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")" || exit
export BENCH_OUT=${BENCH_OUT:-/bench/out}
if ! DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ./criu-service_*.deb >"$BENCH_OUT/install.log" 2>&1; then
  cat "$BENCH_OUT/install.log"
  exit 1
fi
systemctl enable --now criu.socket || exit 1
MOCHA_RESULTS=$BENCH_OUT/results-1 node run.mjs ./clusters.cjs
code=$?
if [ "$code" != 0 ]; then
  echo "The last of the journal:"
  journalctl --boot --lines=80 --no-pager --output=short-monotonic
fi
exit "$code"
