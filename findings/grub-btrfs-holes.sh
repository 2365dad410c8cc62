#!/usr/bin/env bash
# GRUB reads a hole in the middle of a file from btrfs, and fails with one at the start or the end, since mkfs.btrfs has another default.
#
# Version: grub-common 2.12, btrfs-progs 6.14 (Debian 13); grub-common 2.14, btrfs-progs 7.1 (Debian forky) do the same; Linux 6.18.
#
# Behavior: `mkfs.btrfs` sets the feature no-holes by default since its version 5.15, with which a hole has no entry in the tree of a file.
# GRUB's driver gives zeros for a hole between two extents. If a file begins with a hole it fails with "extent not
# found", and if it ends with one, with "unexpected end of file". With `-O ^no-holes` all three are read. A file with a part that is
# preallocated fails with either ("unsupported extent type 0x2"). Linux and `btrfs restore` read all of them.
#
# Why it surprises: GRUB is known to read btrfs, and a feature that it did not know would be a flag that it refuses for
# the whole file system. A test with a sparse file has its hole in the middle, and passes. Images of disks and file systems, which GRUB
# opens by its command loopback, have holes elsewhere: `truncate` makes one at the end. Such a file is right for
# every other reader. A copy without holes is right for GRUB too, and so is the same file on a file system that was made some
# years ago.
#
# Seen on 2026-11-30, what GRUB reads:
#                      default                        ^no-holes
#   no hole            content                        content
#   in the middle      content                        content
#   at the start       extent not found               content
#   at the end         unexpected end of file         content
#   preallocated       unsupported extent type        unsupported extent type
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include='grub-common=2.12-9*,btrfs-progs=6.14-1*' trixie root ||
  die "mmdebstrap could not fetch grub-common and btrfs-progs"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { "$loader" --library-path "$libraries" "$(find root -path "*bin/$1" -not -type d | head -n 1)" "${@:2}"; }

mkdir files mounted
cat >make.py <<'PYTHON'
import os
import random
import sys

content = random.Random(1).randbytes(8192)
os.chdir(sys.argv[1])
for name in "none", "middle", "start", "end", "preallocated":
    with open(name, "wb") as file:
        if name == "preallocated":
            os.posix_fallocate(file.fileno(), 0, 100000)
        file.seek(65536 if name == "start" else 0)
        file.write(content)
        if name == "middle":
            file.seek(65536)
            file.write(content)
        if name == "end":
            file.truncate(100000)
PYTHON
python3 make.py files
# FEATURES COLUMN
read_all() {
  local file
  truncate --size=200M "$2.image"
  # shellcheck disable=SC2086 # no features are no argument
  tool mkfs.btrfs --quiet $1 "$2.image" >log 2>&1 || die "mkfs.btrfs: $(tail -n 1 log)"
  unshare --mount sh -ec "mount -o loop $2.image mounted; python3 make.py mounted" || die "the file system cannot be filled"
  mkdir "$2.restored"
  tool btrfs restore "$2.image" "$2.restored" >log 2>&1 || die "btrfs restore: $(tail -n 1 log)"
  for file in none middle start end preallocated; do
    cmp "$2.restored/$file" files/$file || die "btrfs restore reads another file"
    tool grub-fstest "$PWD/$2.image" cmp "(loop0)/$file" "$PWD/files/$file" >log 2>&1 || true
    if [ -s log ]; then
      grep --only-matching 'extent not found\|unexpected end of file\|unsupported extent type' log || die "grub-fstest: $(tail -n 1 log)"
    else
      echo content
    fi
  done >"$2"
}
read_all '' default
read_all '-O ^no-holes' without
printf '%s\n' 'no hole' 'in the middle' 'at the start' 'at the end' preallocated >names
result=$(
  printf '%-18s %-30s %s\n' '' default '^no-holes'
  paste names default without | while IFS=$'\t' read -r name default without; do
    printf '%-18s %-30s %s\n' "$name" "$default" "$without"
  done
)
echo "$result"
expected="                   default                        ^no-holes
no hole            content                        content
in the middle      content                        content
at the start       extent not found               content
at the end         unexpected end of file         content
preallocated       unsupported extent type        unsupported extent type"
[ "$result" = "$expected" ] || die "GRUB reads holes in another way now"
echo "as seen on 2026-11-30"
