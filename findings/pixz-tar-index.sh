#!/usr/bin/env bash
# What pixz compressed, xz decompresses to another file, if it is a tar archive.
#
# Version: pixz 1.0.7, xz-utils 5.8.1, tar 1.35 and libarchive-tools 3.7.4 (Debian 13).
#
# Behavior: pixz recognizes a tar archive by its content and appends a list of its files, as one more block of the xz
# stream. To xz, this block is data: `xz -d` writes the archive and the list behind it, exit code 0. Only `pixz -d` leaves
# it out. `xz --list` counts the block, and `xz --test` finds no fault. Any other file, and an archive with `pixz -t`,
# comes back as it was. tar and bsdtar see nothing, as the list is behind the end of the archive.
#
# Why it surprises: pixz presents itself as a parallel xz, the guess is that a compressor is lossless through every
# decompressor of its format, and that an index is where xz has room for one: in the index of blocks, or outside the
# data. A test with a text file or a disk image finds nothing. All that names data by the hash of what was compressed
# fails: an image's diff id, a checksum list of .tar files, `cmp` after a transfer.
#
# Seen on 2026-11-29:
#   file, pixz             xz -d: the same, pixz -d: the same
#   archive, pixz -t       xz -d: the same, pixz -d: the same
#   archive, pixz          xz -d: 30 bytes more, pixz -d: the same
#   tar, bsdtar            file, file
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=pixz=1.0.7-4,xz-utils,tar=1.35+dfsg-3.1,libarchive-tools trixie root ||
  die "mmdebstrap could not fetch pixz, xz-utils, tar and libarchive-tools"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { LC_ALL=C "$loader" --library-path "$libraries" "root/usr/bin/$1" "${@:2}"; }

head --bytes=100000 /dev/zero | tr '\0' a >file
tool tar --create --file=archive --owner=:0 --group=:0 file
compare() {
  local more=$(($(stat --format=%s "$2") - $(stat --format=%s "$1")))
  cmp --quiet "$1" "$2" && echo the same && return
  head --bytes="$(stat --format=%s "$1")" "$2" | cmp --quiet - "$1" || die "$2 does not start with $1"
  echo "$more bytes more"
}
result=""
try() {
  tool pixz "${@:2}" "$1" compressed.xz
  tool xz --test compressed.xz || die "xz finds a fault"
  tool xz --decompress --stdout compressed.xz >by-xz
  tool pixz -d compressed.xz by-pixz
  local line
  line=$(printf '%-22s xz -d: %s, pixz -d: %s' "$1, pixz${2:+ $2}" "$(compare "$1" by-xz)" "$(compare "$1" by-pixz)")
  echo "$line"
  result+="$line"$'\n'
}
try file
try archive -t
try archive
line="tar, bsdtar            $(tool tar --list --file=by-xz), $(tool bsdtar --list --file=compressed.xz)"
echo "$line"
result+=$line
expected="file, pixz             xz -d: the same, pixz -d: the same
archive, pixz -t       xz -d: the same, pixz -d: the same
archive, pixz          xz -d: 30 bytes more, pixz -d: the same
tar, bsdtar            file, file"
[ "$result" = "$expected" ] || die "pixz writes something else now"
echo "as seen on 2026-11-29"
