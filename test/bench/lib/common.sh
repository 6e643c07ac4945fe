# What every script here needs: speaking, failing, and knowing where the image is.
# Sourced, never run. The sourcing script has set "bench" to this folder's parent.
# shellcheck shell=bash disable=SC2154

say() { printf 'bench: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

need_root() {
  [ "$(id -u)" = 0 ] || die "must run as root: it mounts, boots systemd and makes a root file system"
}

# The name of the image is a hash of its recipe, so a changed recipe can never meet an old image.
recipe_hash() {
  (cd "$bench/recipe" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | sha256sum | cut -c1-16
}

cache=${CRIU_SERVICE_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or CRIU_SERVICE_CACHE}/.cache}/criu-service}
image=$cache/bench-$(recipe_hash)

# A shared lock for as long as this shell and what it starts live: `setup` never removes an image that is in use.
hold_image() {
  exec 8<"$image"
  flock --shared 8
}
