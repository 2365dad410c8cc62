#!/usr/bin/env bash
# GRUB reads from a preallocated part of an ext4 file what was on the disk before.
#
# Version: grub-common 2.12, e2fsprogs 1.47.2 (Debian 13); grub-common 2.14 (Debian forky) does the same.
#
# Behavior: fallocate() gives a file blocks that read as zeros until something is written to them; ext4 marks such an extent
# as unwritten. GRUB does not know the mark. It takes it for a part of the length, and reads the blocks as they are. A file
# of which only the first block is written is that block, and then the old content of the disk. Nothing is printed. The
# kernel, debugfs, and the libraries dissect.extfs 3.15 and ext4 1.4.1 read zeros.
#
# Why it surprises: GRUB reads holes as zeros, checks the features of a file system before it reads it, and has read extents
# for many years. The guess is that it reads what it can boot from. Few files in /boot have such parts, and most disks
# are new and have zeros there, so it does not show. But `fallocate --zero-range` makes them, and so do images of virtual
# disks with preallocation, which GRUB opens by `loopback`. A checksum or a signature then fails in GRUB only.
#
# Seen on 2026-11-30, a file of 64 KiB with 5 bytes and zeros, on a disk image full of the letter x:
#   debugfs          a hole: 0 x; preallocated: 0 x
#   dissect.extfs    a hole: 0 x; preallocated: 0 x
#   GRUB             a hole: 0 x; preallocated: 61440 x
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include='grub-common=2.12-9*,e2fsprogs=1.47.2-3*' trixie root ||
  die "mmdebstrap could not fetch grub-common and e2fsprogs"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { "$loader" --library-path "$libraries" "$(ls root/usr/bin/"$1" root/usr/sbin/"$1" 2>/dev/null)" "${@:2}"; }
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dissect.extfs==3.15

head --bytes=16M /dev/zero | tr '\0' x >image
tool mke2fs -q -F -t ext4 -b 4096 -E nodiscard image
echo data >written
debugfs() { tool debugfs -w -R "$1" image >log 2>&1 || die "debugfs: $(cat log)"; }
for name in hole preallocated; do
  debugfs "write written $name"
  debugfs "set_inode_field $name size 65536"
done
debugfs 'fallocate preallocated 1 15'
tool e2fsck -f -n image >log 2>&1 || die "e2fsck: $(tail -n 1 log)"

with_debugfs() { tool debugfs -R "dump $1 out" image 2>log; }
with_dissect() {
  venv/bin/python -c 'import sys
from dissect.extfs import ExtFS
open("out", "wb").write(ExtFS(open("image", "rb")).get(sys.argv[1]).open().read())' "$1"
}
with_grub() { tool grub-fstest "$PWD/image" cp "(loop0)/$1" out 2>log; }
result=""
show() {
  local name line=""
  for name in hole preallocated; do
    rm -f out
    "$2" $name || die "$1: $(tail -n 1 log)"
    [ "$(stat --format=%s out)" = 65536 ] || die "$1 reads a file of another size"
    line+="; $name: $(tr --delete --complement x <out | wc --bytes) x"
  done
  line=$(printf '%-16s %s' "$1" "${line#; }")
  line=${line/hole/a hole}
  echo "$line"
  result+="$line"$'\n'
}
show debugfs with_debugfs
show dissect.extfs with_dissect
show GRUB with_grub
expected="debugfs          a hole: 0 x; preallocated: 0 x
dissect.extfs    a hole: 0 x; preallocated: 0 x
GRUB             a hole: 0 x; preallocated: 61440 x
"
[ "$result" = "$expected" ] || die "preallocated parts of files are read in another way now"
echo "as seen on 2026-11-30"
