#!/usr/bin/env bash
# mkcomposefs and casync make a file of its own for each hard link of a directory that they read.
#
# Version: composefs 1.0.8-3, casync 2+20201210-2.2 (Debian forky).
#
# Behavior: `mkcomposefs DIRECTORY IMAGE` and `casync make ARCHIVE DIRECTORY` write an inode with its own attributes for each
# name of a file. The image, and what casync extracts, have files of one link each; nothing is said. For
# mkcomposefs it is the reader of directories alone: from a dump (`--from-file`) whose second name is a link (`@`), it
# makes one inode with two names.
#
# Why it surprises: both tools are made for images of operating systems, and keep owners, times, devices and extended
# attributes. Both store equal content once, so the space that is taken does not show it. What is written through one name
# no longer shows in the other. The two ways into mkcomposefs make two images of one tree, with two digests.
#
# Seen on 2026-11-29, links of a file with two names:
#   mkcomposefs, directory     1 1
#   mkcomposefs, from a dump   2 2
#   casync                     1 1
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
  --include=casync=2+20201210-2.2,composefs=1.0.8-3 forky root || die "mmdebstrap could not fetch casync and composefs"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { "$loader" --library-path "$libraries:$libraries/systemd" "root/usr/bin/$1" "${@:2}"; }
# the fourth column of a dump is the number of links of a file
links() { awk '$1 == "/one" || $1 == "/two" { printf "%s ", $4 } END { print "" }' "$1"; }

mkdir tree
echo content >tree/one
ln tree/one tree/two

tool mkcomposefs tree directory.cfs
tool composefs-info dump directory.cfs >directory.dump
sed 's,^/one .*,/one 8 100644 2 0 0 0 1.0 - content\\n -,; s,^/two .*,/two 8 @100644 2 0 0 0 1.0 /one - -,' directory.dump >linked.dump
tool mkcomposefs --from-file linked.dump dump.cfs
tool composefs-info dump dump.cfs >dump.dump
tool casync make tree.catar tree >/dev/null
tool casync extract tree.catar extracted
result="mkcomposefs, directory     $(links directory.dump)
mkcomposefs, from a dump   $(links dump.dump)
casync                     $(stat --format=%h extracted/one extracted/two | tr '\n' ' ')"
echo "$result"
expected="mkcomposefs, directory     1 1 
mkcomposefs, from a dump   2 2 
casync                     1 1 "
[ "$result" = "$expected" ] || die "hard links are kept in another way now"
echo "as seen on 2026-11-29"
