#!/usr/bin/env bash
# mkfs.btrfs writes each device node of a directory as device 0, which is a deleted file to overlayfs.
#
# Version: btrfs-progs 6.14 (Debian 13); 7.1 (Debian forky) does the same.
#
# Behavior: `mkfs.btrfs --rootdir DIRECTORY` makes a file system of a tree, with owners, modes, hard links, holes,
# extended attributes and ACLs as they are. Device nodes keep type and mode and get major and minor number 0. The exit
# code is 0, nothing is printed, and `btrfs check` finds no fault. An open of such a node fails with ENXIO. In a stack
# of overlayfs a character device 0:0 is the mark of a deleted file: a node of the image is not there at all, and
# neither is what a lower layer has under its name. mkfs.erofs and mke2fs keep the numbers.
#
# Why it surprises: all that is hard to copy is right, the inode has a field for the number, and fifos and symbolic
# links are made well. The guess is that a program which does not support devices refuses them, as mkfs.xfs does, or
# that they are right. Few notice, as /dev is a file system of its own on a running system; but trees for containers,
# chroots and machines without devtmpfs have /dev/null and /dev/console, and a tree that holds whiteouts of overlayfs is
# the one that looks right.
#
# Seen on 2026-11-30, for the character device 1:3, the block device 8:0 and a fifo:
#   mke2fs                   null 1:3, disk 8:0, fifo
#   mkfs.erofs               null 1:3, disk 8:0, fifo
#   mkfs.btrfs               null 0:0, disk 0:0, fifo
#   overlay of mkfs.erofs    null 1:3, disk 8:0, fifo
#   overlay of mkfs.btrfs    no null, disk 0:0, fifo
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='btrfs-progs=6.14-*,erofs-utils=1.8.6-1,e2fsprogs=1.47.2-3*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
libraries=$(echo root/{usr/,}lib/*-linux-gnu | tr ' ' :)
loader=$(find root -name 'ld-linux-*.so.?' -path '*-linux-gnu/*' | head -n 1)
tool() {
  "$loader" --library-path "$libraries" "$(find root -path "*bin/$1" | head -n 1)" "${@:2}" >log 2>&1 ||
    die "$1: $(tail -n 1 log)"
}

mkdir tree
mknod tree/null c 1 3
mknod tree/disk b 8 0
mkfifo tree/fifo
truncate --size=8M image.ext4
truncate --size=200M image.btrfs
tool mke2fs -q -t ext4 -d tree image.ext4
tool mkfs.erofs image.erofs tree
tool mkfs.btrfs --quiet --rootdir tree image.btrfs
[ ! -s log ] || die "mkfs.btrfs: $(tail -n 1 log)"
tool btrfs check --readonly image.btrfs
# list the nodes of a mounted image
cat >look.sh <<'END'
set -eu
name() { if [ -e "$1/$2" ]; then stat --format="%n${3:+ $3}" "$1/$2" | sed "s,^$1/,,"; else echo "no $2"; fi; }
mkdir --parents image
mount --options loop,ro "$1" image
directory=image
if [ "$2" = overlay ]; then
  mkdir --parents empty merged
  mount --types overlay --options lowerdir=empty:image overlay merged
  directory=merged
fi
echo "$(name $directory null '%Hr:%Lr'), $(name $directory disk '%Hr:%Lr'), $(name $directory fifo '')"
END
result=""
show() {
  local line
  line=$(unshare --mount sh look.sh "$2" "$3") || die "image $2 cannot be mounted"
  line=$(printf '%-24s %s' "$1" "$line")
  echo "$line"
  result+="$line"$'\n'
}
show mke2fs image.ext4 alone
show mkfs.erofs image.erofs alone
show mkfs.btrfs image.btrfs alone
show 'overlay of mkfs.erofs' image.erofs overlay
show 'overlay of mkfs.btrfs' image.btrfs overlay
expected="mke2fs                   null 1:3, disk 8:0, fifo
mkfs.erofs               null 1:3, disk 8:0, fifo
mkfs.btrfs               null 0:0, disk 0:0, fifo
overlay of mkfs.erofs    null 1:3, disk 8:0, fifo
overlay of mkfs.btrfs    no null, disk 0:0, fifo
"
[ "$result" = "$expected" ] || die "mkfs.btrfs writes other device numbers now"
echo "as seen on 2026-11-30"
