# The package in a machine of a bench, where run.sh of a payload runs as root. Sourced by it.
# shellcheck shell=bash

# The place for results.
export BENCH_OUT=${BENCH_OUT:-/bench/out}
mkdir -p "$BENCH_OUT"

# install_package: as an administrator would, with its socket.
install_package() {
  if ! DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ./criu-service_*.deb >"$BENCH_OUT/install.log" 2>&1; then
    cat "$BENCH_OUT/install.log"
    return 1
  fi
  systemctl enable --now criu.socket
}
