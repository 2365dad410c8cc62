#!/usr/bin/env bash
# mkfs.erofs leaves sparse files of a tar archive out, and reports success.
#
# Version: erofs-utils 1.8.6 (Debian 13); 1.9.4 (Debian forky) does the same.
#
# Behavior: `mkfs.erofs --tar=f` reads an archive that GNU tar wrote with --sparse. In the GNU format, a file with a hole
# (type `S`) is missing in the image. In the PAX format (GNU.sparse.major=1), it becomes a file of the name that is meant
# for readers that do not know sparse files, in a directory GNUSparseFile.PID, with a map of the holes before its data. The
# exit code is 0, nothing is printed, and fsck.erofs finds no fault. A V7 archive is refused.
#
# Why it surprises: GNU tar itself, bsdtar, and Go's archive/tar, by which podman and containerd unpack layers, read both
# formats. A layer of an image may have sparse files, such as /var/log/lastlog or a database. containerd's EROFS differ
# pipes layers into this command, and a container then lacks the files, or has others.
#
# Seen on 2026-11-29, for a file `full` and a file `holes` of 1 MiB with 1 byte:
#   tar --format=gnu --sparse   exit code 0: full
#   tar --format=pax --sparse   exit code 0: GNUSparseFile.0 GNUSparseFile.0/holes full
#   tar --format=pax            exit code 0: full holes
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=erofs-utils=1.8.6-1 trixie root || die "mmdebstrap could not fetch erofs-utils"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
erofs() { "$loader" --library-path "$libraries" "root/usr/bin/$1.erofs" "${@:2}"; }

mkdir tree
echo content >tree/full
truncate --size=1M tree/holes
printf x | dd of=tree/holes bs=1 seek=500000 conv=notrunc status=none
result=""
for way in "gnu --sparse" "pax --sparse" "pax --no-recursion"; do
  # shellcheck disable=SC2086
  tar --create --file=a.tar --format=$way --owner=:0 --group=:0 --directory=tree full holes
  code=0
  erofs mkfs --quiet --tar=f a.erofs a.tar >log 2>&1 || code=$?
  erofs fsck --extract=out a.erofs >>log 2>&1 || die "fsck.erofs: $(cat log)"
  names=$(cd out && find . -mindepth 1 | sed 's,^\./,,; s,GNUSparseFile\.[0-9]*,GNUSparseFile.0,' | LC_ALL=C sort | paste -sd' ')
  line="tar --format=$way  exit code $code: $names"
  echo "$line"
  result+="$line"$'\n'
  rm -rf out a.*
done
expected="tar --format=gnu --sparse  exit code 0: full
tar --format=pax --sparse  exit code 0: GNUSparseFile.0 GNUSparseFile.0/holes full
tar --format=pax --no-recursion  exit code 0: full holes
"
[ "$result" = "$expected" ] || die "mkfs.erofs behaves differently now"
echo "as seen on 2026-11-29"
