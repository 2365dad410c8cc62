#!/usr/bin/env bash
# `mke2fs -d` drops extended attributes of an archive, but for capabilities; of a directory it keeps all.
#
# Version: e2fsprogs 1.47.2 and libarchive 3.7.4 (Debian 13); 1.47.4 and 3.8.9 (Debian forky) do the same.
#
# Behavior: `mke2fs -d archive.tar` makes a file system without the extended attributes that the archive has for a file,
# such as user.*, trusted.* and the label security.selinux; security.capability alone arrives. From the directory that was
# packed, `mke2fs -d tree` writes all. The exit code is 0 each time, and nothing is printed.
#
# Why it surprises: to the manual, directory and archive are two forms of one source. The archive is read by libarchive,
# which gives the attributes out: bsdtar restores them all. A test of attributes takes a program with a capability, such
# as ping, and finds it. The root file system that a build makes from a directory, as root, then differs from the one that
# it makes from an archive, as a user: it has labels of SELinux, signatures of IMA and marks of overlayfs.
#
# Seen on 2026-11-29, attributes of a file:
#   in the archive      security.capability security.ima security.selinux trusted.x user.x
#   mke2fs, archive     security.capability
#   mke2fs, directory   security.capability security.ima security.selinux trusted.x user.x
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
# the version of a package that Debian built again has a suffix
packages='e2fsprogs=1.47.2-3*,libarchive13t64,libarchive-tools'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch e2fsprogs and libarchive"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { LC_ALL=C "$loader" --library-path "$libraries" "$(ls root/usr/bin/"$1" root/usr/sbin/"$1" 2>/dev/null)" "${@:2}"; }

mkdir tree
echo content >tree/file
python3 - <<'PYTHON'
import os

for name in ("user.x", "trusted.x", "security.selinux", "security.ima"):
    os.setxattr("tree/file", name, b"value")
# cap_net_raw+ep, in the kernel's version 2
os.setxattr("tree/file", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
PYTHON
tool bsdtar --create --file=archive.tar --format=pax --directory=tree .
mkdir restored
tool bsdtar --extract --file=archive.tar --directory=restored
in_file() { python3 -c "import os; print(*sorted(os.listxattr('$1')))"; }
in_image() {
  rm -f image
  tool mke2fs -q -t ext4 -d "$1" image 8M >log 2>&1 || die "mke2fs: $(tail -n 1 log)"
  [ ! -s log ] || die "mke2fs: $(cat log)"
  tool debugfs -R 'ea_list /file' image 2>/dev/null | sed -n 's/^ *\([a-z.]*\) (.*/\1/p' | LC_ALL=C sort | paste -sd ' '
}
result="in the archive      $(in_file restored/file)
mke2fs, archive     $(in_image archive.tar)
mke2fs, directory   $(in_image tree)"
echo "$result"
expected="in the archive      security.capability security.ima security.selinux trusted.x user.x
mke2fs, archive     security.capability
mke2fs, directory   security.capability security.ima security.selinux trusted.x user.x"
[ "$result" = "$expected" ] || die "mke2fs takes other attributes now"
echo "as seen on 2026-11-29"
