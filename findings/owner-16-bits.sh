#!/usr/bin/env bash
# genext2fs, mkfs.jffs2 and cpio keep 16 bits of an owner, so that files of a user namespace become those of the machine.
#
# Version: genext2fs 1.5.0, mtd-utils 2.3.0, cpio 2.15, util-linux 2.41, pax 20240817, e2fsprogs 1.47.2 (Debian 13), dissect.jffs 1.6;
#          mtd-utils 2.3.1 (Debian forky) does the same.
#
# Behavior: a file of user 65536 becomes root's, and one of 524289 becomes that of user 1, in an ext2 image of genext2fs, in a JFFS2
# image, and in the archive that `cpio -o` writes if no format is named. The exit codes are 0, and nothing is printed. Of the
# others, mke2fs, mkfs.ubifs, mksquashfs and the cpio formats newc and odc keep the owner; pax refuses it for the format that
# is cpio's default, and mkfs.cramfs, which cuts too, prints a warning.
#
# Why it surprises: the limit is old, and the guess is that a tool of today has a message for it, as pax and mkfs.cramfs
# have. ext2 itself has 32 bits for owners since Linux 2.4: it is only this tool that leaves the upper half out, and
# mmdebstrap makes its ext2 images by it. Owners above 65535 are those of containers, and their ranges begin at multiples of
# 65536, as systemd-nspawn chooses them. What is cut off is then exactly the distance: a container's tree becomes one
# with the owners from before the shift, set-user-ID bits of root included, which looks like a tree that never was shifted.
#
# Seen on 2026-11-30, for files of 1000, 65536 and 524289:
#   genext2fs          1000 0 1
#   mkfs.jffs2         1000 0 1
#   cpio               1000 0 1
#   cpio -H newc       1000 65536 524289
#   mke2fs             1000 65536 524289
#   mkfs.cramfs        mkfs.cramfs: warning: uids truncated to 16 bits.  (This may be a security concern.)
#   pax -x bcpio       pax: bcpio header field is too small for file b
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,coreutils,genext2fs=1.5.0-3*,mtd-utils=1:2.3.0-1,cpio=2.15+dfsg-2,util-linux-extra=2.41*,pax=1:20240817-*,e2fsprogs=1.47.2-3*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/work/tree root/etc
: >root/etc/mtab
# in a directory of root/work
tool_in() { chroot root /usr/bin/env -i -C "/work/$1" PATH=/usr/sbin:/usr/bin LC_ALL=C "${@:2}"; }
tool() { tool_in . "$@"; }
python3 -m venv venv
venv/bin/pip install --quiet dissect.jffs==1.6 >pip.log 2>&1 || die "pip: $(tail -n 1 pip.log)"

cd root/work/tree
for file in a b c; do echo content >$file; done
chown 1000:1000 a
chown 65536:65536 b
chown 524289:524289 c
cd "$work"
result=""
show() {
  local line
  line=$(printf '%-18s %s' "$1" "$2")
  echo "$line"
  result+="$line"$'\n'
}
quiet() {
  "$@" >out 2>log || die "$2: $(tail -n 1 log)"
  [ ! -s log ] || die "$2: $(tail -n 1 log)"
}
of_ext() {
  for file in a b c; do tool debugfs -R "stat /$file" "$1" 2>log | sed -n 's/^User: *\([0-9]*\).*/\1/p'; done | paste --serial --delimiters=' '
}
of_cpio() { tool cpio --list --verbose --numeric-uid-gid --quiet <out | awk '{print $3}' | paste --serial --delimiters=' '; }
tool genext2fs --size-in-blocks 4096 --root tree image.ext2 >log 2>&1 || die "genext2fs: $(tail -n 1 log)"
! grep --quiet --invert-match copying log || die "genext2fs: $(tail -n 1 log)"
show genext2fs "$(of_ext image.ext2)"
quiet tool mkfs.jffs2 --root=tree --eraseblock=128KiB --output=image.jffs2
show mkfs.jffs2 "$(
  venv/bin/python - <<'PYTHON'
from dissect.jffs import jffs2

print(*(inode.uid for _, inode in sorted(jffs2.JFFS2(open("root/work/image.jffs2", "rb")).get("/").iterdir())))
PYTHON
)"
printf '%s\n' a b c | tool_in tree cpio --create --quiet >out 2>log || die "cpio: $(tail -n 1 log)"
[ ! -s log ] || die "cpio: $(tail -n 1 log)"
show cpio "$(of_cpio)"
printf '%s\n' a b c | tool_in tree cpio --create --quiet --format=newc >out
show 'cpio -H newc' "$(of_cpio)"
truncate --size=4M root/work/image.mke2fs
quiet tool mke2fs -q -d tree image.mke2fs
show mke2fs "$(of_ext image.mke2fs)"
tool mkfs.cramfs tree image.cramfs >log 2>&1 || die "mkfs.cramfs: $(tail -n 1 log)"
show mkfs.cramfs "$(grep uids log)"
printf '%s\n' a b | tool_in tree pax -w -x bcpio >out 2>log || true
show 'pax -x bcpio' "$(tail -n 1 log)"
expected="genext2fs          1000 0 1
mkfs.jffs2         1000 0 1
cpio               1000 0 1
cpio -H newc       1000 65536 524289
mke2fs             1000 65536 524289
mkfs.cramfs        mkfs.cramfs: warning: uids truncated to 16 bits.  (This may be a security concern.)
pax -x bcpio       pax: bcpio header field is too small for file b
"
[ "$result" = "$expected" ] || die "owners are written in another way now"
echo "as seen on 2026-11-30"
