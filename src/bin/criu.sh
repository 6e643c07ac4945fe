#!/bin/sh
# In the place of criu, for programs that start `criu swrk` themselves: with this directory in front of their PATH they are served by
# criu-service. Everything else is the real criu's.
own=$0
[ ! -L "$own" ] || own=$(/usr/bin/readlink -f "$own")
if [ "${1-}" = swrk ]; then
  # These are meant for the program that has started this, if that is of Node's, too; as root's they would decide what root runs.
  unset NODE_OPTIONS NODE_PATH NODE_V8_COVERAGE NODE_REDIRECT_WARNINGS NODE_EXTRA_CA_CERTS NODE_REPL_EXTERNAL_MODULE
  exec "${own%/*}/../criu-swrk.cjs" "$@"
fi
# An exec keeps the pid: a criu that executes this script again is not the real criu.
if [ "${CRIU_DROP_IN-}" != "$$ $own" ]; then
  export CRIU_DROP_IN="$$ $own"
  # Directories may have any name. The PATH of a user may lack the last.
  set -f
  IFS=:
  # Directories behind that of this script, so that two copies of it do not execute each other.
  behind='' found=''
  for directory in $PATH; do
    if [ "${directory:-.}/criu" -ef "$own" ]; then
      found=yes behind=''
    else
      behind=$behind:${directory:-.}
    fi
  done
  [ -n "$found" ] || behind=$PATH
  for directory in $behind /usr/local/sbin /usr/sbin; do
    real=$directory/criu
    if [ -n "$directory" ] && [ -f "$real" ] && [ -x "$real" ] && ! [ "$real" -ef "$own" ]; then
      exec "$real" "$@"
    fi
  done
fi
echo 'criu: only the drop-in of criu-service is installed here, and no criu' >&2
exit 127
