# Steps that make-deb and make-rpm share: a tree of the sources, built in the image of the benches, unless the last
# package was made of the same files. Sourced in the top folder, never run.
# shellcheck shell=bash
bench=$PWD/test/bench
# A package is built on the stable Debian, even if it is tested on another.
BENCH_SUITE=trixie
# shellcheck source=../test/bench/lib/common.sh
. "$bench/lib/common.sh"
need_root

version=$(node -p 'require("./package.json").version')
work=build/package
# /mnt/criu-service in the image, for both packages, so that files that the image's compiler made for one package
# are up to date for the other.
tree=$work/criu-service
sources=(LICENSE README.md docs examples man native packaging proto scripts src units package.json package-lock.json tsconfig.client.json tsconfig.json)

list_sources() {
  find "${sources[@]}" \( -path native/build -o -path src/protocol/generated \) -prune -o \( -type f -o -type l \) -print0 | LC_ALL=C sort -z
}

# end_if_made PACKAGE: prints its name and ends the script if it exists, made of these files in this image. Only one
# run at a time has the tree: a second run waits here, and finds everything made.
end_if_made() {
  mkdir -p "$work"
  exec 5>"$work/lock"
  flock 5
  made_of=$({ list_sources | xargs -0 sha256sum; basename "$image"; } | sha256sum | cut -c 1-32)
  made_of_file=$work/$(basename "$1").made-of
  if [ -e "$1" ] && [ "$(cat "$made_of_file" 2>/dev/null)" = "$made_of" ]; then
    echo "$1"
    exit
  fi
}

# The tree is laid anew each time. Only the compiler's output stays, so that a change to TypeScript costs no
# compiler run.
lay_tree() {
  bash scripts/setup
  "$bench/setup" container
  local fresh=$work/fresh compiled_in compiled
  compiled_in="$(basename "$image") $(sha256sum <package-lock.json)"
  rm -rf "$fresh"
  mkdir -p "$fresh"
  list_sources | tar --null --files-from=- -cf - | tar -C "$fresh" -xf -
  if [ "$(cat "$work/compiled-in" 2>/dev/null)" = "$compiled_in" ]; then
    mkdir "$fresh/build"
    for compiled in native/build build/sd-notify; do
      [ ! -d "$tree/$compiled" ] || mv "$tree/$compiled" "$fresh/$compiled"
    done
  fi
  rm -rf "$tree"
  mv "$fresh" "$tree"
  echo "$compiled_in" >"$work/compiled-in"
}

# in_tree COMMAND...: runs it in the image, in the tree, with node_modules there. If it fails, its output is shown.
in_tree() {
  if ! test/bench/in-image --lend node_modules criu-service/node_modules "$work" env --chdir=criu-service "$@" >"$work/log" 2>&1; then
    cat "$work/log" >&2
    return 1
  fi
}

# finished BUILT PACKAGE: a completely built package gets its name, which is printed.
finished() {
  mv "$1" "$2"
  echo "$made_of" >"$made_of_file"
  echo "$2"
}
