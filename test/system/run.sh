#!/bin/bash
# Runs inside a bench, as root: installs the package as an administrator would, and tests it with real CRIU; after a reboot it
# runs the tests of the state that must be left.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")" || exit
# shellcheck source=../support/install.sh
. ./install.sh

# run_tests BUNDLE: its status is the script's; what became of each test is in a file of this boot.
run_tests() {
  MOCHA_RESULTS=$BENCH_OUT/results-${BENCH_BOOT:-1} node run.mjs "$1"
  code=$?
  if [ "$code" != 0 ]; then
    echo "The last of the journal:"
    journalctl --boot --unit=criu.service --unit=criu.socket --lines=40 --no-pager --output=short-monotonic
    if [ "${BENCH_BOOT:-1}" -gt 1 ]; then
      echo "The last of the journal before the reboot:"
      journalctl --boot=-1 --lines=200 --no-pager --output=short-monotonic
    fi
  fi
}

if [ "${BENCH_BOOT:-1}" -gt 1 ]; then
  run_tests ./after-reboot.cjs
  exit "$code"
fi

install_package || exit
# What happened at a shutdown is known after the reboot.
mkdir -p /var/log/journal
systemd-tmpfiles --create --prefix /var/log/journal
journalctl --flush

if [ -e soak ]; then
  run_tests ./soak.cjs
  exit "$code"
fi

run_tests ./system-tests.cjs
# The last of the tests leaves this file for the run after the reboot, unless TESTS excludes it. A run with a failure ends at once: no
# shutdown has suspended the jobs then.
[ "$code" != 0 ] || [ ! -e /var/lib/bench/other-boot.json ] || touch /bench/reboot
exit "$code"
