#!/usr/bin/env bash
# objcopy cuts the new content of a section of a unified kernel image to the size of the old one, and reports success.
#
# Version: binutils 2.44, systemd-ukify and systemd-boot-efi 257 (Debian 13); binutils 2.47 (Debian forky) does the same.
#
# Behavior: `objcopy --update-section .cmdline=FILE` writes all of a longer file into the image, and leaves the section's size
# in memory (VirtualSize) as it was. By this size the section is read: by systemd's stub in the firmware, by `ukify
# inspect`, by pefile, and by `objcopy --dump-section`. A longer command line ends where the old one did, and an initrd of
# 30000 bytes has 20000. The rest is in the file, where nobody looks. The exit code is 0, and nothing is printed. A shorter initrd
# gets zeros up to a multiple of 512 bytes. To remove the section and to add it again, at the address that it had, is right.
#
# Why it surprises: of an ELF file, the same command takes content of any size; for years, objcopy has been the documented way to
# make such images. The guess is that it sets both sizes of a section, or refuses a longer one as it refuses what does
# not fit elsewhere. But the two sizes are one number in ELF and two in PE, and only one is of the content. A cut
# command line is valid: the machine boots without what stood at its end, such as the hash of the root file system.
#
# Seen on 2026-11-30, the command line, and the size of the initrd:
#   built by ukify                       root=/dev/vda1 ro, 20000
#   --update-section, shorter            ro, 10240
#   --update-section, longer             root=/dev/vda1 ro, 20000
#   --remove-section and --add-section   root=/dev/vda1 ro console=ttyS0, 30000
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,coreutils,binutils=2.44-3,systemd-ukify=257.*,systemd-boot-efi=257.*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/work root/tmp
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin LC_ALL=C "$@"; }
quiet() {
  tool "$@" >log 2>&1 || die "$1: $(tail -n 1 log)"
  [ ! -s log ] || die "$1: $(tail -n 1 log)"
}

cd root/work
printf 'root=/dev/vda1 ro' >cmdline
printf 'ro' >cmdline.shorter
printf 'root=/dev/vda1 ro console=ttyS0' >cmdline.longer
head --bytes=20000 /dev/zero | tr '\0' a >initrd
head --bytes=10000 initrd >initrd.shorter
head --bytes=30000 /dev/zero | tr '\0' a >initrd.longer
cd "$work"
tool ukify build --linux=initrd --initrd=initrd --cmdline=@cmdline --uname=1 --os-release=ID=x --output=built.efi \
  --stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub >log 2>&1 || die "ukify: $(tail -n 1 log)"
result=""
show() {
  local line text size
  tool ukify inspect "$2" >log 2>&1 || die "ukify: $(tail -n 1 log)"
  text=$(sed -n "/^.cmdline:/,/^[.]/p" log | grep --after-context=1 "text:" | tail -n 1)
  size=$(sed -n "/^.initrd:/,\$ s/.*size: \([0-9]*\) bytes/\1/p" log)
  line=$(printf '%-36s %s, %s' "$1" "${text#    }" "$size")
  echo "$line"
  result+="$line"$'\n'
}
show 'built by ukify' built.efi
for size in shorter longer; do
  quiet objcopy --update-section .cmdline=cmdline.$size --update-section .initrd=initrd.$size built.efi $size.efi
  grep --quiet --text --fixed-strings "$(cat root/work/cmdline.$size)" root/work/$size.efi || die "the text is not in the image"
  show "--update-section, $size" $size.efi
done
quiet objcopy --dump-section .cmdline=dumped longer.efi ignored.efi
cmp --quiet root/work/dumped root/work/cmdline || die "objcopy reads another command line than ukify"
options=()
for section in cmdline initrd; do
  address=$(tool objdump --section-headers built.efi | awk -v name=.$section '$2 == name {print "0x" $4}')
  options+=(--remove-section ".$section" --add-section ".$section=$section.longer" --change-section-vma ".$section=$address")
done
quiet objcopy "${options[@]}" built.efi added.efi
show '--remove-section and --add-section' added.efi
expected="built by ukify                       root=/dev/vda1 ro, 20000
--update-section, shorter            ro, 10240
--update-section, longer             root=/dev/vda1 ro, 20000
--remove-section and --add-section   root=/dev/vda1 ro console=ttyS0, 30000
"
[ "$result" = "$expected" ] || die "objcopy sets other sizes now"
echo "as seen on 2026-11-30"
