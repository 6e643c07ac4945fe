# The Debian mirror is whichever of this machine's apt sources carries the suite; no host name stands in the project.
# shellcheck shell=bash

# Every base address that apt knows. apt itself reads its sources here, so both of their formats, and only enabled ones, count.
apt_bases() {
  local uri list
  apt-get --print-uris update 2>/dev/null | sed -n "s|^'\([^']*\)/dists/.*|\1|p" | awk '!seen[$0]++' |
    while read -r uri; do
      case $uri in
        # Cloud images name a file with mirrors in it instead of a mirror.
        mirror+file:*) list=${uri#mirror+file:}; sed -n 's/^[[:space:]]*\([a-z+]*:[^[:space:]#]*\).*/\1/p' "/${list##/}" ;;
        *) echo "$uri" ;;
      esac
    done
}

# carries BASE SUITE: apt's own downloader asks, so its proxy and credentials are used.
carries() {
  local answer
  answer=$(mktemp)
  /usr/lib/apt/apt-helper -o APT::Sandbox::User=root download-file "${1%/}/dists/$2/InRelease" "$answer" >/dev/null 2>&1 &&
    grep -Eqax 'Origin: Debian( Backports)?' "$answer" && grep -Eqax 'Label: Debian( Backports)?' "$answer"
  local found=$?
  rm -f "$answer"
  return "$found"
}

# mirror_of SUITE
mirror_of() {
  local base
  while read -r base; do
    if carries "$base" "$1"; then echo "${base%/}"; return; fi
  done < <(if [ -n "${CRIU_SERVICE_DEBIAN_MIRROR:-}" ]; then echo "$CRIU_SERVICE_DEBIAN_MIRROR"; else apt_bases; fi)
  return 1
}
