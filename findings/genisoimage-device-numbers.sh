#!/usr/bin/env bash
# genisoimage writes device numbers that bsdtar and xorriso read as others, so that 1:3 becomes 0:1048579.
#
# Version: genisoimage 1.1.11, xorriso 1.5.6, makefs 20190105, libarchive-tools 3.7.4 (Debian 13); genisoimage 1.1.11, xorriso 1.5.8,
#          makefs 20190105 and libarchive-tools 3.8.9 of Debian forky do the same.
#
# Behavior: the Rock Ridge extension of ISO 9660 has two fields of 32 bits for the number of a device node. genisoimage puts the
# major number in the first and the minor number in the second. xorrisofs and makefs put 0 in the first and the whole number as
# Linux has it in the second. bsdtar and xorriso read both as one number of 64 bits, so that 1:3 is 0:1048579 in an image of
# genisoimage. They list it without a message. bsdtar fails to extract it, as Linux has no such minor number, and so
# does xorriso if it is told to extract devices.
#
# Why it surprises: this is one format with one standard, and the numbers are those of the most common nodes, not those over 255
# that older formats have no room for. The guess is that writers and readers have agreed since long ago.
# genisoimage is what Debian calls mkisofs, and isoinfo of the same package lists devices without their numbers,
# so that it shows no fault. An image with a /dev looks whole in each listing that one does not compare.
#
# Seen on 2026-11-30, devices of three images as bsdtar and xorriso list them, and what bsdtar extracts:
#   device                     1:3          8:17         259:300
#   genisoimage   bsdtar       0:1048579    0:8388625    1:271581228
#   genisoimage   xorriso      0:1048579    0:8388625    1:271581228
#   genisoimage   extracted    -            -            -
#   xorrisofs     bsdtar       1:3          8:17         259:300
#   xorrisofs     xorriso      1:3          8:17         259:300
#   xorrisofs     extracted    1:3          8:17         259:300
#   makefs        bsdtar       1:3          8:17         259:300
#   makefs        xorriso      1:3          8:17         259:300
#   makefs        extracted    1:3          8:17         259:300
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,coreutils,genisoimage=9:1.1.11-4*,xorriso=1.5.6-1*,makefs=20190105-3*,libarchive-tools=3.7.4-4*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/work/tree root/proc
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin:/usr/sbin LC_ALL=C TZ=UTC "$@"; }

mknod root/work/tree/a c 1 3
mknod root/work/tree/b b 8 17
mknod root/work/tree/c b 259 300
result=""
show() {
  local line
  line=$(printf '%-13s %-12s %-12s %-12s %s' "$@")
  echo "$line"
  result+="$line"$'\n'
}
# the device numbers of a listing
numbers() { sed -n 's/^[bc][-rwx]\{9\} *[0-9]* *0 *0 *\([0-9]*\), *\([0-9]*\) .*/\1:\2/p'; }
show device "" 1:3 8:17 259:300
for writer in genisoimage xorrisofs makefs; do
  case $writer in
    makefs) tool makefs -t cd9660 -o rockridge image tree >log 2>&1 || die "makefs: $(tail -n 1 log)" ;;
    *) tool $writer -quiet -R -o image tree >log 2>&1 || die "$writer: $(tail -n 1 log)" ;;
  esac
  # shellcheck disable=SC2046
  {
    tool bsdtar -tvf image >list || die "bsdtar failed"
    show $writer bsdtar $(numbers <list)
    tool xorriso -indev image -lsl /a /b /c -- >list 2>log || die "xorriso: $(tail -n 1 log)"
    show $writer xorriso $(numbers <list)
  }
  rm -rf root/work/extracted
  mkdir root/work/extracted
  tool bsdtar -xf image -C extracted 2>log || grep --quiet "^a: Can't create 'a': Invalid argument$" log || die "bsdtar: $(head -n 1 log)"
  extracted=()
  for name in a b c; do
    if [ -e "root/work/extracted/$name" ]; then
      extracted+=("$(stat --format=%Hr:%Lr "root/work/extracted/$name")")
    else
      extracted+=(-)
    fi
  done
  show $writer extracted "${extracted[@]}"
  rm root/work/image
done
expected="device                     1:3          8:17         259:300
genisoimage   bsdtar       0:1048579    0:8388625    1:271581228
genisoimage   xorriso      0:1048579    0:8388625    1:271581228
genisoimage   extracted    -            -            -
xorrisofs     bsdtar       1:3          8:17         259:300
xorrisofs     xorriso      1:3          8:17         259:300
xorrisofs     extracted    1:3          8:17         259:300
makefs        bsdtar       1:3          8:17         259:300
makefs        xorriso      1:3          8:17         259:300
makefs        extracted    1:3          8:17         259:300
"
[ "$result" = "$expected" ] || die "other numbers are read now"
echo "as seen on 2026-11-30"
