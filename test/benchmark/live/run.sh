#!/bin/bash
# Runs inside a machine of the bench, as root: installs the package as an administrator would, and measures.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")" || exit
# shellcheck source=../../support/install.sh
. ./install.sh
install_package || exit
id alice >/dev/null 2>&1 || useradd --create-home alice
node measure.mjs "$PWD" "$BENCH_OUT"
