# Needed by every script here: speaking, failing, and finding the image. Sourced, never run. The sourcing script has
# set "bench" to this folder's parent. Its arguments are visible here: a leading `--suite NAME` is removed from
# them, and so is `--packages FILE`.
# shellcheck shell=bash disable=SC2154

say() { printf 'bench: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

need_root() {
  [ "$(id -u)" = 0 ] || die "must run as root: it mounts, boots systemd and makes a root file system"
}

# The Debian release, and a file with the names of packages that a machine has besides. A script of the bench that another script
# starts learns them from the environment.
while :; do
  case ${1:-} in
    --suite)
      [ $# -ge 2 ] || die "--suite needs the name of a Debian"
      BENCH_SUITE=$2
      ;;
    --packages)
      BENCH_PACKAGES=$(readlink -e "${2:-}") || die "--packages needs a file"
      ;;
    *) break ;;
  esac
  shift 2
done
export BENCH_SUITE=${BENCH_SUITE:-trixie} BENCH_PACKAGES=${BENCH_PACKAGES:-}
case $BENCH_SUITE in
  trixie | forky) ;;
  *) die "$BENCH_SUITE: the benches are made of Debian trixie or forky" ;;
esac

# The name of the image has a hash of its recipe, so a changed recipe can never meet an old image.
recipe_hash() {
  (cd "$bench/recipe" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | sha256sum | cut -c1-16
}

cache=${CRIU_SERVICE_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or CRIU_SERVICE_CACHE}/.cache}/criu-service}
image=$cache/bench-$BENCH_SUITE-$(recipe_hash)
# The root of a machine: that of the image, or a copy with more packages, whose name has a hash of their list; and the disk of a VM
# that is made of it.
machine_root=$image/root machine_disk=$image/vm
if [ -n "$BENCH_PACKAGES" ]; then
  machine_root=$image/packages-$(sha256sum <"$BENCH_PACKAGES" | cut -c1-16)
  machine_disk=$machine_root-vm
fi

# A shared lock, held while this shell and its children live: `setup` never removes an image that is in use.
hold_image() {
  exec 8<"$image"
  flock --shared 8
}

# Copies with other packages go, unless a machine is running. The disk of this copy stays: it takes long to make, and has the same packages.
remove_other_packages() {
  (
    flock --exclusive --nonblock 7 || exit 0
    for copy in "$image"/packages-*; do
      [ "$copy" = "$machine_disk" ] || rm -rf --one-file-system "$copy"
    done
  ) 7<"$image"
}
