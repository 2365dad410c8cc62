#!/usr/bin/env bash
# `mke2fs -d` cuts a file that ends in a hole to one block, in a file system with inline data.
#
# Version: e2fsprogs 1.47.2 (Debian 13); 1.47.4 (Debian forky) does the same.
#
# Behavior: `mke2fs -O inline_data -d tree` keeps 4096 of the 100000 bytes of a file that has content in its first block and then a
# hole up to its end. The same file with content at its end is whole, and so is one that is a hole altogether. Without inline data all
# are whole. So it is from a tar archive, in which the file is not sparse. The exit code is 0, nothing is printed, and
# `e2fsck -f` finds no fault.
#
# Why it surprises: the feature is for files of up to some hundred bytes, which it keeps in the inode, so that large files
# should not notice it. A fault with them would be expected in the content that is kept inline, or in what fsck compares, but
# the length that the file has fits the block that it has. A test with a sparse file passes too, as such a file is mostly made with
# nothing in it, or with content at its end. Content and then a hole is what programs allocate in advance: disk images,
# databases, journals.
#
# Seen on 2026-11-30, bytes of each file in the file system:
#   of 100000          content first   hole only   content last
#   plain              100000          100000      100000
#   inline             4096            100000      100000
#   inline, archive    4096            100000      100000
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
# the version of a package that Debian built again has a suffix
packages='e2fsprogs=1.47.2-3*,libarchive13t64'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch e2fsprogs and libarchive"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { LC_ALL=C "$loader" --library-path "$libraries" "root/usr/sbin/$1" "${@:2}"; }

mkdir tree
printf content >tree/first
truncate --size=100000 tree/first tree/hole tree/last
printf content | dd of=tree/last bs=1 seek=99993 conv=notrunc status=none
tar --create --file=archive.tar --directory=tree .
bytes() { tool debugfs -R "stat /$1" image 2>/dev/null | sed -n 's/.* Size: \([0-9]\{3,\}\)$/\1/p'; }
result=""
# NAME FEATURES SOURCE
show() {
  local line
  rm -f image
  tool mke2fs -q -t ext4 -b 4096 -O "$2" -d "$3" image 8M >log 2>&1 || die "mke2fs: $(tail -n 1 log)"
  [ ! -s log ] || die "mke2fs: $(cat log)"
  tool e2fsck -f -n image >log 2>&1 || die "e2fsck: $(tail -n 1 log)"
  line=$(printf '%-18s %-15s %-11s %s' "$1" "$(bytes first)" "$(bytes hole)" "$(bytes last)")
  echo "$line"
  result+="$line"$'\n'
}
show plain ^inline_data tree
show inline inline_data tree
show 'inline, archive' inline_data archive.tar
expected="plain              100000          100000      100000
inline             4096            100000      100000
inline, archive    4096            100000      100000
"
[ "$result" = "$expected" ] || die "files have other lengths now"
echo "as seen on 2026-11-30"
