#!/bin/bash
# Runs inside a container, as root: installs the package as an administrator would, and tries jobs of batch systems with it.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")" || exit
# shellcheck source=../support/install.sh
. ./install.sh
install_package || exit
MOCHA_RESULTS=$BENCH_OUT/results-1 node run.mjs ./clusters.cjs
code=$?
if [ "$code" != 0 ]; then
  echo "The last of the journal:"
  journalctl --boot --lines=80 --no-pager --output=short-monotonic
fi
exit "$code"
