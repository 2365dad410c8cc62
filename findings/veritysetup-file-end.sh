#!/usr/bin/env bash
# `veritysetup format` leaves the end of an EROFS image with small blocks out of the hash tree.
#
# Version: cryptsetup-bin 2.7.5 and erofs-utils 1.8.6 (Debian 13); 2.8.8 and 1.9.4 (Debian forky) do the same.
#
# Behavior: `mkfs.erofs -b512` writes an image that is a multiple of 512 bytes. `veritysetup format` with its default, data
# blocks of 4096 bytes, hashes as many whole blocks as the file has and reports success. The rest, here 2560 bytes of
# 6656, is in no hash: the root hash is that of the file without its end. The device that the hash tree describes is
# as short, and files of the image are missing in it. With --data-block-size=512, all of the image is hashed.
#
# Why it surprises: a disk consists of whole blocks, but a file need not, and the guesses for a file are that the
# last block is padded, as fs-verity does, or that the command refuses. mkfs.erofs pads its images too, so one counts on
# whole blocks; but it pads to its own block size, which --tar=i sets to 512 without being asked. The
# superblock is in the first block, so the short device mounts, and only the use of some files fails.
#
# Seen on 2026-11-29:
#   data blocks of 4096: 4096 of 6656 bytes, the root hash of the shortened image, fsck.erofs: failed
#   data blocks of 512: 6656 of 6656 bytes, fsck.erofs: no fault
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=cryptsetup-bin=2:2.7.5-2,erofs-utils=1.8.6-1 trixie root ||
  die "mmdebstrap could not fetch cryptsetup-bin and erofs-utils"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { "$loader" --library-path "$libraries" "$(ls root/usr/bin/"$1" root/usr/sbin/"$1" 2>/dev/null)" "${@:2}"; }

mkdir tree
head --bytes=2000 /dev/zero | tr '\0' a >tree/first
head --bytes=3000 /dev/zero | tr '\0' z >tree/last
tool mkfs.erofs --quiet -b512 -T0 image tree >log 2>&1 || die "mkfs.erofs: $(tail -n 1 log)"
size=$(stat --format=%s image)

format() { tool veritysetup format --salt=00 --data-block-size="$1" "$2" hash-tree; }
value() { awk -v name="$1" -F ':[ \t]*' '$1 == name { print $2 }' <<<"$2"; }
result=""
for block in 4096 512; do
  whole=$(format $block image) || die "veritysetup format failed"
  hashed=$(($(value 'Data blocks' "$whole") * block))
  head --bytes=$hashed image >part
  line="data blocks of $block: $hashed of $size bytes"
  shortened=$(format $block part) || die "veritysetup format failed"
  if [ $hashed -lt "$size" ] && [ "$(value 'Root hash' "$whole")" = "$(value 'Root hash' "$shortened")" ]; then
    line+=", the root hash of the shortened image"
  fi
  found='no fault'
  tool fsck.erofs --extract part >log 2>&1 || found=failed
  line+=", fsck.erofs: $found"
  echo "$line"
  result+="$line"$'\n'
done
expected="data blocks of 4096: 4096 of 6656 bytes, the root hash of the shortened image, fsck.erofs: failed
data blocks of 512: 6656 of 6656 bytes, fsck.erofs: no fault
"
[ "$result" = "$expected" ] || die "veritysetup hashes another part now"
echo "as seen on 2026-11-29"
