#!/usr/bin/env bash
# bsdtar closes the top directory of an ISO image of makefs to all but root, once the image has a file that is not empty.
#
# Version: makefs 20190105, libarchive-tools 3.7.4, xorriso 1.5.6, genisoimage 1.1.11 (Debian 13); libarchive-tools 3.8.9 and
#          xorriso 1.5.8 of Debian forky do the same.
#
# Behavior: makefs makes an image with Rock Ridge of a directory with mode 755 and owner 9, and xorriso reads these from it.
# bsdtar lists the top directory with mode 700 and owner root, and sets these on the directory that it extracts to. It reads
# the file below with its owner and mode. If the only file in the image is empty, the top directory is right in bsdtar
# too. With genisoimage and xorrisofs it is right in both cases. The exit code is 0 and nothing is printed.
#
# Why it surprises: whether a file is empty should not change the mode of a directory, so a test with some empty
# files passes. The guess is that a reader knows Rock Ridge or does not, and this one takes owners, modes and names of all that is
# below from it. For root, who extracts images with owners, all is there. A service of another user finds nothing, since it cannot
# enter the top directory.
#
# Seen on 2026-11-30, mode and owner of the top directory:
#   written by    file       xorriso        bsdtar         extracted
#   makefs        0 bytes    755, 9         755, 9         755, 9
#   makefs        5 bytes    755, 9         700, 0         700, 0
#   genisoimage   0 bytes    755, 9         755, 9         755, 9
#   genisoimage   5 bytes    755, 9         755, 9         755, 9
#   xorrisofs     0 bytes    755, 9         755, 9         755, 9
#   xorrisofs     5 bytes    755, 9         755, 9         755, 9
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
mkdir -p root/work/0 root/work/5 root/proc
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin:/usr/sbin LC_ALL=C TZ=UTC "$@"; }

touch root/work/0/file
echo data >root/work/5/file
chown 9:0 root/work/0 root/work/5 root/work/?/file
chmod 640 root/work/?/file
chmod 755 root/work/0 root/work/5
# the mode and the owner of the only directory of a listing
directory() {
  sed -n "s/^d\(.\{9\}\) *[0-9]* *\([0-9]*\) .*/\1, \2/p" | sed 's/^rwxr-xr-x/755/; s/^rwx------/700/'
}
result=""
show() {
  local line
  line=$(printf '%-13s %-10s %-14s %-14s %s' "$1" "$2 bytes" "$3" "$4" "$5")
  echo "$line"
  result+="$line"$'\n'
}
for writer in makefs genisoimage xorrisofs; do
  for size in 0 5; do
    case $writer in
      makefs) tool makefs -t cd9660 -o rockridge image $size >log 2>&1 || die "makefs: $(tail -n 1 log)" ;;
      genisoimage) tool genisoimage -quiet -R -o image $size >log 2>&1 || die "genisoimage: $(tail -n 1 log)" ;;
      xorrisofs) tool xorrisofs -quiet -R -o image $size >log 2>&1 || die "xorrisofs: $(tail -n 1 log)" ;;
    esac
    tool xorriso -indev image -lsdl / -- >by-xorriso 2>log || die "xorriso: $(tail -n 1 log)"
    tool bsdtar --numeric-owner -tvf image >by-bsdtar 2>log || die "bsdtar: $(tail -n 1 log)"
    rm -rf root/work/extracted
    mkdir root/work/extracted
    tool bsdtar -xpf image -C extracted 2>log || die "bsdtar: $(tail -n 1 log)"
    [ ! -s log ] || die "bsdtar: $(tail -n 1 log)"
    cmp --quiet root/work/extracted/file root/work/$size/file || die "the file is another one"
    [ "$(stat --format='%a, %u' root/work/extracted/file)" = "640, 9" ] || die "the file has another mode or owner"
    show $writer $size "$(directory <by-xorriso)" "$(directory <by-bsdtar)" "$(stat --format='%a, %u' root/work/extracted)"
    rm root/work/image
  done
done
expected="makefs        0 bytes    755, 9         755, 9         755, 9
makefs        5 bytes    755, 9         700, 0         700, 0
genisoimage   0 bytes    755, 9         755, 9         755, 9
genisoimage   5 bytes    755, 9         755, 9         755, 9
xorrisofs     0 bytes    755, 9         755, 9         755, 9
xorrisofs     5 bytes    755, 9         755, 9         755, 9
"
[ "$result" = "$expected" ] || die "the top directory has another mode or owner now"
echo "as seen on 2026-11-30"
