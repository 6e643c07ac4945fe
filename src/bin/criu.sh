#!/bin/sh
# In the place of criu, for programs that start `criu swrk` themselves: with this directory in front of their PATH they are served by
# criu-service. Everything else is the real criu's.
own=$0
[ ! -L "$own" ] || own=$(/usr/bin/readlink -f "$own")
if [ "${1-}" = swrk ]; then
  exec "${own%/*}/../criu-swrk.cjs" "$@"
fi
# Directories may have any name. The PATH of a user may lack the last.
set -f
IFS=:
for directory in $PATH /usr/local/sbin /usr/sbin; do
  real=${directory:-.}/criu
  if [ -f "$real" ] && [ -x "$real" ] && ! [ "$real" -ef "$own" ]; then
    exec "$real" "$@"
  fi
done
echo 'criu: only the drop-in of criu-service is installed here, and no criu' >&2
exit 127
