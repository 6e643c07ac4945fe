#!/bin/bash
# Runs inside a container, as root: installs the package as an administrator would, and tries programs with it.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")" || exit
# shellcheck source=../support/install.sh
. ./install.sh
install_package || exit
node "$(cat run)"
