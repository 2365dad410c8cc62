#!/usr/bin/env bash
# abootimg takes the device tree and the recovery overlay out of an Android boot image when it replaces the kernel.
#
# Version: abootimg 0.6, mkbootimg 34.0.5 (Debian 13); Debian forky has the same of both.
#
# Behavior: a boot image of version 2 has kernel, ramdisk, second stage, recovery overlay and device tree. `abootimg -u IMAGE -k KERNEL`
# writes the first three anew, and zeros for the sizes and addresses of the other two. The header still has version 2, and the
# file its old length. The exit code is 0, and what is printed is the file that is read and that the
# image is written. The same happens to the overlay of version 1. An image of version 0 keeps all that it has.
#
# Why it surprises: abootimg is older than these parts, and checks what it opens: it refuses an image of version 3. So the guess is a
# refusal, or that it changes the fields that it knows and leaves the rest of the header as it is, since it works in place. It
# writes a whole header of version 0 instead, with the version number of the old one, by which unpackers and boot loaders
# look for a device tree. abootimg lists the image before and after alike, but for the size of the kernel.
#
# Seen on 2026-11-30, sizes of the parts before and after `abootimg -u` with a kernel of 2500 bytes:
#   version 0    kernel 9000, ramdisk 5000, second 1200
#     after      kernel 2500, ramdisk 5000, second 1200
#   version 1    kernel 9000, ramdisk 5000, second 1200, recovery_dtbo 700
#     after      kernel 2500, ramdisk 5000, second 1200
#   version 2    kernel 9000, ramdisk 5000, second 1200, recovery_dtbo 700, dtb 3000
#     after      kernel 2500, ramdisk 5000, second 1200
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,coreutils,abootimg=0.6-*,mkbootimg=1:34.0.5-12*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/work root/tmp
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin LC_ALL=C "$@" >log 2>&1 || die "$1: $(tail -n 1 log)"; }

# NAME BYTES
part() { head --bytes="$2" /dev/zero | tr '\0' "${1:0:1}" >"root/work/$1"; }
part kernel 9000
part new-kernel 2500
part ramdisk 5000
part second 1200
part recovery_dtbo 700
part dtb 3000
result=""
show() {
  local line name text=""
  rm -rf root/work/out
  tool unpack_bootimg --boot_img image --out out
  grep --quiet "^boot image header version: $version\$" log || die "the image has another version"
  for name in kernel ramdisk second recovery_dtbo dtb; do
    [ ! -e "root/work/out/$name" ] || text+=", $name $(stat --format=%s "root/work/out/$name")"
  done
  line=$(printf '%-12s %s' "$1" "${text#, }")
  echo "$line"
  result+="$line"$'\n'
}
for version in 0 1 2; do
  parts=(--kernel kernel --ramdisk ramdisk --second second)
  if [ $version -ge 1 ]; then parts+=(--recovery_dtbo recovery_dtbo); fi
  if [ $version -ge 2 ]; then parts+=(--dtb dtb); fi
  tool mkbootimg "${parts[@]}" --header_version $version --pagesize 2048 --output image
  show "version $version"
  tool abootimg -u image -k new-kernel
  grep --quiet '^Writing Boot Image' log || die "abootimg: $(tail -n 1 log)"
  show '  after'
done
expected="version 0    kernel 9000, ramdisk 5000, second 1200
  after      kernel 2500, ramdisk 5000, second 1200
version 1    kernel 9000, ramdisk 5000, second 1200, recovery_dtbo 700
  after      kernel 2500, ramdisk 5000, second 1200
version 2    kernel 9000, ramdisk 5000, second 1200, recovery_dtbo 700, dtb 3000
  after      kernel 2500, ramdisk 5000, second 1200
"
[ "$result" = "$expected" ] || die "abootimg writes other parts now"
echo "as seen on 2026-11-30"
