#!/usr/bin/env bash
# desync makes empty files of the hard links of a tar archive, and loses what is not in the order of a walk.
#
# Version: desync 1.0.4 (Debian forky).
#
# Behavior: `desync tar --input-format=tar OUTPUT ARCHIVE` turns an archive into the format of casync. A hard link becomes
# an empty file. The first entry becomes the root: an archive of `etc` and `usr` becomes what is in `etc`. A file
# that does not follow its directory at once is left out, and so is one whose directory has no entry. The exit code is
# 0 each time, and nothing is printed.
#
# Why it surprises: the format has no hard links, but casync, and desync where it reads a directory, write such a file
# in full under each name. The format needs the order of a walk through the tree, and tar has no rule of order, so the
# guess is that desync sorts, or refuses what it cannot place. Layers of images often lack entries of directories, and
# `tar` starts with `etc` if that is what it is told to pack. The option --tar-add-root puts a root on top and mends
# that case alone.
#
# Seen on 2026-11-29, with the size of each file:
#   hard link: etc etc/hosts=5 etc/link=0 usr usr/ls=3
#   hard link, from the directory: etc etc/hosts=5 etc/link=5 usr usr/ls=3
#   no entry of the root: hosts=5
#   no entry of usr: etc etc/hosts=5
#   directories first: etc usr
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
  --include=desync=1.0.4-1 forky root || die "mmdebstrap could not fetch desync"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
desync() { "$loader" --library-path "$libraries" root/usr/bin/desync "$@"; }

mkdir -p tree/etc tree/usr
echo host >tree/etc/hosts
echo ls >tree/usr/ls
result=""
try() {
  local name=$1
  shift
  rm -rf out a.catar
  desync tar "$@" >log 2>&1 || die "$name: desync tar: $(tail -n 1 log)"
  [ ! -s log ] || die "$name: desync tar: $(cat log)"
  mkdir out
  desync untar a.catar out >log 2>&1 || die "$name: desync untar: $(tail -n 1 log)"
  local line
  line="$name: $(find out -mindepth 1 \( -type f -printf '%P=%s\n' -o -printf '%P\n' \) | LC_ALL=C sort | paste -sd' ')"
  echo "$line"
  result+="$line"$'\n'
}
archive() {
  local name=$1
  shift
  tar --create --file=a.tar --directory=tree --no-recursion "$@"
  try "$name" --input-format=tar a.catar a.tar
}
archive 'no entry of the root' etc etc/hosts usr usr/ls
archive 'no entry of usr' . etc etc/hosts usr/ls
archive 'directories first' . etc usr etc/hosts usr/ls
ln tree/etc/hosts tree/etc/link
archive 'hard link' . etc etc/hosts etc/link usr usr/ls
try 'hard link, from the directory' a.catar tree
expected="no entry of the root: hosts=5
no entry of usr: etc etc/hosts=5
directories first: etc usr
hard link: etc etc/hosts=5 etc/link=0 usr usr/ls=3
hard link, from the directory: etc etc/hosts=5 etc/link=5 usr usr/ls=3
"
[ "$result" = "$expected" ] || die "desync reads archives in another way now"
echo "as seen on 2026-11-29"
