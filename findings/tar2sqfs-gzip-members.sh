#!/usr/bin/env bash
# tar2sqfs reads the first member of a gzip file only, and reports success if a file of the archive ends there.
#
# Version: squashfs-tools-ng 1.3.2 (Debian 13); 1.2.0 (Debian 12) does the same.
#
# Behavior: a gzip file may be several compressed streams behind each other; RFC 1952 calls them members. An archive whose
# members start where entries start, as in an eStargz layer, becomes a file system of the first member: exit code
# 0, no message. If the first member ends inside a file, tar2sqfs fails. From xz and Zstandard files, it reads all streams
# and frames.
#
# Why it surprises: gzip, GNU tar, bsdtar and Go's compress/gzip read all members, and the same tool does so for two other
# formats. The guess is that a reader which misses members sees a truncated archive and fails. But the end of input
# counts as the end of an archive, even without the two blocks of zeros that mark it. eStargz compresses each file by
# itself to make it readable over the network, and BuildKit and nerdctl write it. An image built from such a layer is
# valid, mounts, and lacks nearly everything.
#
# Seen on 2026-11-29, for an archive of `one`, `two` and `three`, each compressed by itself, or all in one stream:
#   gzip: exit code 0: one
#   xz: exit code 0: one three two
#   zstd: exit code 0: one three two
#   gzip, one member: exit code 0: one three two
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=squashfs-tools-ng=1.3.2-1,zstd=1.5.7+dfsg-1,xz-utils,gzip trixie root ||
  die "mmdebstrap could not fetch squashfs-tools-ng"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { "$loader" --library-path "$libraries" "root/usr/bin/$1" "${@:2}"; }

for name in one two three; do
  echo "$name" >$name
  # an entry of two blocks, without the end of the archive
  tar --create --owner=:0 --group=:0 $name | head --bytes=1024 >$name.entry
done
head --bytes=1024 /dev/zero >end
result=""
for compressor in gzip xz zstd; do
  for part in one.entry two.entry three.entry end; do
    tool $compressor --stdout <$part
  done >$compressor.tar
  [ "$(tool $compressor --decompress --stdout <$compressor.tar | tar --list | paste -sd' ')" = "one two three" ] || die "$compressor cannot read the archive"
done
cat one.entry two.entry three.entry end | tool gzip >'gzip, one member.tar'
for archive in gzip xz zstd 'gzip, one member'; do
  code=0
  tool tar2sqfs --quiet "$archive.squashfs" <"$archive.tar" 2>log || code=$?
  [ ! -s log ] || die "tar2sqfs: $(cat log)"
  names=$(tool rdsquashfs --list / "$archive.squashfs" | awk '{ print $NF }' | LC_ALL=C sort | paste -sd' ')
  line="$archive: exit code $code: $names"
  echo "$line"
  result+="$line"$'\n'
done
expected="gzip: exit code 0: one
xz: exit code 0: one three two
zstd: exit code 0: one three two
gzip, one member: exit code 0: one three two
"
[ "$result" = "$expected" ] || die "tar2sqfs reads other parts now"
echo "as seen on 2026-11-29"
