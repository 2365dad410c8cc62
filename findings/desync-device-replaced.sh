#!/usr/bin/env bash
# `desync extract` to a disk puts a file in the place of the device node, writes nothing to the disk, and reports success.
#
# Version: desync 1.0.4, casync 2+20201210 (Debian forky).
#
# Behavior: `desync extract INDEX /dev/DISK` makes a new file beside the target, `/dev/.DISK` with a number, writes the image
# there and renames it to the target. The node of the device is gone, and the name is a regular file, which is in
# memory, as /dev is. The exit code is 0, and nothing is printed. With --in-place, and with `casync extract`, whose command
# line this is, the image is on the disk. If the target is a symbolic link, as the names in /dev/disk are, the link
# is replaced.
#
# Why it surprises: desync and casync exist to write images to the partitions of devices, desync is the reimplementation with
# the same commands, and extraction knows disks: it takes their size from the device and reads them as seeds. A new file
# and a rename protect a file from being half written, and the guess is that a target which is no file is left out of
# that, as cp, curl, rdiff and xdelta3 do. A check of the written image reads the file and finds all of it; after the next
# boot, the partition is as before. A large image fills the memory of the machine.
#
# Seen on 2026-11-30, an image of 1 MiB and a loop device of zeros:
#   casync extract              exit code 0, the target is a block special file, the disk has the image
#   desync extract --in-place   exit code 0, the target is a block special file, the disk has the image
#   desync extract              exit code 0, the target is a regular file, the disk has zeros, the file has the image
#   desync extract to a link    exit code 0, the target is a regular file, the disk has zeros, the file has the image
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
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
  --include=base-files,dash,coreutils,diffutils,desync=1.0.4-1,casync=2+20201210-2.2 forky root ||
  die "mmdebstrap could not fetch desync and casync"
mkdir -p root/mnt root/proc root/tmp root/var/tmp
truncate --size=1M disk zeros
device=$(losetup --find --show disk)
node=$(stat --format='%Hr %Lr' "$device")

cat >root/run.sh <<'END'
set -eu
cd /mnt
head -c 1048576 /dev/urandom >image
mkdir chunks
desync make --store chunks index.caibx image >log 2>&1 || { cat log; exit 1; }
try() {
  name=$1
  target=$2
  shift 2
  rm -rf dev
  mkdir dev
  mknod dev/disk b $1 $2
  shift 2
  ln -s disk dev/link
  head -c 1048576 /dev/zero >dev/disk
  code=0
  "$@" "dev/$target" >log 2>&1 || code=$?
  [ ! -s log ] || { cat log; exit 1; }
  sync
  line="exit code $code, the target is a $(stat --dereference --format=%F "dev/$target"), the disk has"
  # the node again, under another name
  rm -f node
  mknod node b $node
  if cmp -s image node; then line="$line the image"; fi
  if cmp -s /zeros node; then line="$line zeros"; fi
  if [ -f "dev/$target" ] && cmp -s image "dev/$target"; then line="$line, the file has the image"; fi
  printf '%-27s %s\n' "$name" "$line"
}
END
cat >>root/run.sh <<END
node="$node"
try 'casync extract' disk $node casync extract --store=chunks index.caibx
try 'desync extract --in-place' disk $node desync extract --store chunks --in-place index.caibx
try 'desync extract' disk $node desync extract --store chunks index.caibx
try 'desync extract to a link' link $node desync extract --store chunks index.caibx
END
cp zeros root/zeros
enter='mount --bind root root && mount -t proc proc root/proc && mount -t tmpfs -o dev tmpfs root/mnt && mount --rbind /dev root/dev &&
exec chroot root sh /run.sh'
result=$(unshare --mount sh -c "$enter") || die "the commands failed: $result"
echo "$result"
expected="casync extract              exit code 0, the target is a block special file, the disk has the image
desync extract --in-place   exit code 0, the target is a block special file, the disk has the image
desync extract              exit code 0, the target is a regular file, the disk has zeros, the file has the image
desync extract to a link    exit code 0, the target is a regular file, the disk has zeros, the file has the image"
[ "$result" = "$expected" ] || die "desync writes another target now"
echo "as seen on 2026-11-30"
