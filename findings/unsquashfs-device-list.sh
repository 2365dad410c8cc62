#!/usr/bin/env bash
# unsquashfs lists a device with a minor number over 255 under another major number, and mksquashfs refuses its list.
#
# Version: squashfs-tools 4.6.1, squashfs-tools-ng 1.3.2 (Debian 13); squashfs-tools 4.7.5 (Debian forky) does the same.
#
# Behavior: the device 259:300 is 4355,44 in the output of `unsquashfs -lln`, and 8:1048575, the last of 8, is -4088,255. The image
# holds the right numbers, and unsquashfs extracts the right device. The list of pseudo files that `unsquashfs -pf` writes for
# mksquashfs has the wrong ones too, and mksquashfs refuses it with "Major 4355 out of range". rdsquashfs lists the right ones.
#
# Why it surprises: one program reads the same number twice, once to make a device and once to print it. So a check of an image
# by its list fails though the image is right, and looks as if mksquashfs had written another device, as mkfs.btrfs does. The
# list of pseudo files is the way to change an image without root, and it ends at the first such device. Minor numbers over 255
# belong to disks and partitions beyond the first few, since 8 has 16 for each disk.
#
# Seen on 2026-11-30:
#   device        259:3     259:300    8:1048575
#   unsquashfs    259:3     4355:44    -4088:255
#   rdsquashfs    259:3     259:300    8:1048575
#   extracted     259:3     259:300    8:1048575
#   mksquashfs, with the list of unsquashfs: Major 4355 out of range
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=base-files,coreutils,squashfs-tools=1:4.6.1-1,squashfs-tools-ng trixie root ||
  die "mmdebstrap could not fetch the tools"
mkdir -p root/work/tree root/proc
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin LC_ALL=C "$@"; }

mknod root/work/tree/a b 259 3
mknod root/work/tree/b b 259 300
mknod root/work/tree/c b 8 1048575
tool mksquashfs tree image -quiet -no-progress >log 2>&1 || die "mksquashfs: $(tail -n 1 log)"
tool unsquashfs -quiet -no-progress -dest extracted image >log 2>&1 || die "unsquashfs: $(tail -n 1 log)"
tool unsquashfs -pf list image >log 2>&1 || die "unsquashfs: $(tail -n 1 log)"
refused="nothing"
tool mksquashfs - again -pf list -quiet -no-progress >log 2>&1 || refused=$(grep --only-matching 'Major [0-9]* out of range' log)
result=""
show() {
  local line
  line=$(printf '%-13s %-9s %-10s %s' "$1" "${@:2}")
  echo "$line"
  result+="$line"$'\n'
}
# shellcheck disable=SC2046
{
  show device $(stat --format=%Hr:%Lr root/work/tree/*)
  show unsquashfs $(tool unsquashfs -lln image | sed -n 's|^b[-rwx]* 0/0 *\([-0-9]*\), *\([0-9]*\) .*|\1:\2|p')
  show rdsquashfs $(tool rdsquashfs --describe image | sed -n 's/^nod .* b \([0-9]*\) \([0-9]*\)$/\1:\2/p')
  show extracted $(stat --format=%Hr:%Lr root/work/extracted/*)
}
result+="mksquashfs, with the list of unsquashfs: $refused"
echo "mksquashfs, with the list of unsquashfs: $refused"
expected="device        259:3     259:300    8:1048575
unsquashfs    259:3     4355:44    -4088:255
rdsquashfs    259:3     259:300    8:1048575
extracted     259:3     259:300    8:1048575
mksquashfs, with the list of unsquashfs: Major 4355 out of range"
[ "$result" = "$expected" ] || die "other numbers are listed now"
echo "as seen on 2026-11-30"
