# Host packages: checked first, so that apt is asked only if a package is missing.
# shellcheck shell=bash

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Package lists are fetched at most once a run: a machine made from a container image starts without any.
lists_fetched=""
fetch_lists() {
  [ -n "$lists_fetched" ] && return
  apt-get -q -o DPkg::Lock::Timeout=300 update >&2 || die "apt-get update failed"
  lists_fetched=yes
}

need_packages() {
  local missing=() package
  for package; do installed "$package" || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  fetch_lists
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -qq -o DPkg::Lock::Timeout=300 \
    install -y --no-install-recommends "${missing[@]}" >&2 || die "apt-get could not install ${missing[*]}"
}

# The major version that apt would install, 0 for none.
candidate_major() {
  apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: \([0-9]*:\)\{0,1\}\([0-9]*\).*/\2/p' | grep . || echo 0
}
