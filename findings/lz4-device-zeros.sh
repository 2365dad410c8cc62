#!/usr/bin/env bash
# lz4 leaves the old content of a disk where the image that it decompresses has zeros, and reports success.
#
# Version: lz4 1.10.0 (Debian 13 and forky), zstd 1.5.4 (Debian 12), e2fsprogs 1.47.2 (Debian 13); lz4 1.9.4 (Debian 12)
# does the same, zstd 1.5.7 (Debian 13) does not.
#
# Behavior: `lz4 -d image.lz4 /dev/DISK` seeks over runs of zeros instead of writing them. What was on the disk before is
# there afterwards. The exit code is 0, nothing is printed, and the checksum in the frame is right, as it is computed of
# the decompressed data. The same goes for `zstd -d -o` of Debian 12. With --no-sparse, and through a pipe to `dd` or a
# redirection, all bytes are written.
#
# Why it surprises: holes are for new files, which read as zeros where nothing was written. The manual says that sparse
# mode is on for files and off for the standard output, and the guess is that a disk counts as the latter: cp, qemu-img
# and newer versions of zstd write zeros to it. On a new disk or card, which reads as zeros, a test finds nothing; the
# second installation on the same disk is damaged. An image with dm-verity does not verify then, and one without has
# old blocks in its inode tables and files.
#
# Seen on 2026-11-30, an ext2 image of 8 MiB on a loop device full of the letter x:
#   cat                      exit code 0, same as the image, e2fsck: exit code 0
#   lz4 -d                   exit code 0, not the image, e2fsck: exit code 4
#   lz4 -d --no-sparse       exit code 0, same as the image, e2fsck: exit code 0
#   lz4 -d -c >              exit code 0, same as the image, e2fsck: exit code 0
#   zstd -d -o, 1.5.4        exit code 0, not the image, e2fsck: exit code 4
#   zstd -d -o, 1.5.7        exit code 0, same as the image, e2fsck: exit code 0
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
device=""
cleanup() {
  [ -z "$device" ] || losetup --detach "$device"
  rm -rf "$work"
}
trap cleanup EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='lz4=1.10.0-4,zstd=1.5.7+dfsg-1,e2fsprogs=1.47.2-3*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie new || die "mmdebstrap could not fetch the tools"
mmdebstrap --quiet --variant=extract --include=zstd=1.5.4+dfsg2-5 bookworm old || die "mmdebstrap could not fetch zstd"
tool() {
  local libraries loader
  libraries=$(echo "$1"/{usr/,}lib/*-linux-gnu | tr ' ' :)
  loader=$(find "$1" -name 'ld-linux-*.so.?' -path '*-linux-gnu/*' | head -n 1)
  "$loader" --library-path "$libraries" "$(find "$1" -path "*bin/$2" | head -n 1)" "${@:3}"
}

truncate --size=8M image disk
tool new mke2fs -q -F -t ext2 image
tool new lz4 -q image image.lz4
tool new zstd -q image -o image.zst
device=$(losetup --find --show disk)

result=""
# fill the disk, run a command that writes the image to it, and compare
show() {
  local name=$1 code=0 same='not the image' check=0 line
  head --bytes=8M /dev/zero | tr '\0' x >"$device"
  "${@:2}" >log 2>&1 || code=$?
  [ ! -s log ] || die "$name: $(tail -n 1 log)"
  ! cmp --quiet image "$device" || same='same as the image'
  tool new e2fsck -f -n "$device" >log 2>&1 || check=$?
  line=$(printf '%-24s exit code %s, %s, e2fsck: exit code %s' "$name" "$code" "$same" "$check")
  echo "$line"
  result+="$line"$'\n'
}
to_device() { "$@" >"$device"; }
show cat to_device cat image
show 'lz4 -d' tool new lz4 -q -d -f image.lz4 "$device"
show 'lz4 -d --no-sparse' tool new lz4 -q -d -f --no-sparse image.lz4 "$device"
show 'lz4 -d -c >' to_device tool new lz4 -q -d -c image.lz4
show 'zstd -d -o, 1.5.4' tool old zstd -q -d -f image.zst -o "$device"
show 'zstd -d -o, 1.5.7' tool new zstd -q -d -f image.zst -o "$device"
expected="cat                      exit code 0, same as the image, e2fsck: exit code 0
lz4 -d                   exit code 0, not the image, e2fsck: exit code 4
lz4 -d --no-sparse       exit code 0, same as the image, e2fsck: exit code 0
lz4 -d -c >              exit code 0, same as the image, e2fsck: exit code 0
zstd -d -o, 1.5.4        exit code 0, not the image, e2fsck: exit code 4
zstd -d -o, 1.5.7        exit code 0, same as the image, e2fsck: exit code 0
"
[ "$result" = "$expected" ] || die "the disk has other content now"
echo "as seen on 2026-11-30"
