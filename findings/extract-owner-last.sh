#!/usr/bin/env bash
# fsck.erofs and rdsquashfs extract files without their capabilities, and debugfs without set-user-ID bits.
#
# Version: erofs-utils 1.8.6, squashfs-tools-ng 1.3.2, squashfs-tools 4.6.1, e2fsprogs 1.47.2 (Debian 13);
#          erofs-utils 1.9.4 and e2fsprogs 1.47.4 (Debian forky) do the same.
#
# Behavior: `fsck.erofs --extract --preserve --xattrs` and `rdsquashfs --set-xattr --chown --chmod`, as root, set the extended
# attributes of a file and then its owner, even if that is root already. The kernel takes a capability away from each file
# whose owner is set. Other attributes stay, and so do set-user-ID bits, as both set the mode after the owner. `debugfs`
# sets mode and then owner in `rdump` and `dump -p`, by which the kernel clears the bit; sticky bits, which it would leave,
# are gone too. unsquashfs sets the owner first. The exit codes are 0, and nothing is printed.
#
# Why it surprises: each program was told to set owners, modes and attributes, or says so in its manual, and its calls
# succeed. The order is known to matter for set-user-ID bits, and two of the three have it right for these. Capabilities
# are attributes to a reader of file systems, and the one kind that a later call for the owner deletes, also by root and
# also without a change. A tree from an image is complete in each comparison that reads no attributes; ping and the
# programs that bind low ports fail for users, and su and sudo from an ext4 image for everybody.
#
# Seen on 2026-11-30, for root's files `capable` with cap_net_raw and user.name, `su` with mode 4755 and `tmp` with 1777:
#   fsck.erofs    no capability, user.name, 4755, 1777
#   rdsquashfs    no capability, user.name, 4755, 1777
#   unsquashfs    capability, user.name, 4755, 1777
#   debugfs       no capability, no user.name, 755, 777
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='erofs-utils=1.8.6-1,squashfs-tools-ng=1.3.2-1,squashfs-tools=1:4.6.1-1,e2fsprogs=1.47.2-3*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
libraries=$(echo root/{usr/,}lib/*-linux-gnu | tr ' ' :)
loader=$(find root -name 'ld-linux-*.so.?' -path '*-linux-gnu/*' | head -n 1)
tool() {
  "$loader" --library-path "$libraries" "$(find root -path "*bin/$1" | head -n 1)" "${@:2}" >log 2>&1 ||
    die "$1: $(tail -n 1 log)"
}

mkdir tree
echo program | tee tree/capable >tree/su
mkdir tree/tmp
chmod 755 tree tree/capable
chmod 4755 tree/su
chmod 1777 tree/tmp
# cap_net_raw+ep, in the kernel's version 2
python3 - <<'PYTHON'
import os

os.setxattr("tree/capable", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
os.setxattr("tree/capable", "user.name", b"value")
PYTHON
tool mkfs.erofs image.erofs tree
tool mksquashfs tree image.squashfs -quiet -no-progress
truncate --size=8M image.ext4
tool mke2fs -q -t ext4 -d tree image.ext4
result=""
show() {
  local line
  line=$(
    python3 - "$1" "$2" <<'PYTHON'
import os
import sys

name, root = sys.argv[1:]
found = os.listxattr(f"{root}/capable")
capability = "capability" if "security.capability" in found else "no capability"
attribute = "user.name" if "user.name" in found else "no user.name"
modes = [f"{os.stat(f'{root}/{file}').st_mode & 0o7777:o}" for file in ("su", "tmp")]
print(f"{name:<13} {', '.join([capability, attribute, *modes])}")
PYTHON
  )
  echo "$line"
  result+="$line"$'\n'
}
tool fsck.erofs --extract=by-erofs --preserve --xattrs image.erofs
show fsck.erofs by-erofs
tool rdsquashfs --quiet --set-xattr --chown --chmod --unpack-path / --unpack-root by-rdsquashfs image.squashfs
show rdsquashfs by-rdsquashfs
tool unsquashfs -quiet -no-progress -dest by-unsquashfs image.squashfs
show unsquashfs by-unsquashfs
mkdir by-debugfs
tool debugfs -R 'rdump / by-debugfs' image.ext4
show debugfs by-debugfs
expected="fsck.erofs    no capability, user.name, 4755, 1777
rdsquashfs    no capability, user.name, 4755, 1777
unsquashfs    capability, user.name, 4755, 1777
debugfs       no capability, no user.name, 755, 777
"
[ "$result" = "$expected" ] || die "other attributes are extracted now"
echo "as seen on 2026-11-30"
