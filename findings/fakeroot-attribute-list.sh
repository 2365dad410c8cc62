#!/usr/bin/env bash
# fakeroot 2 keeps capabilities and shows them to getcap, and lists none, so that what packs a tree in it leaves them out.
#
# Version: fakeroot 2.1.4, libcap2-bin 2.78, erofs-utils 1.9.4, squashfs-tools 4.7.5, e2fsprogs 1.47.4 (Debian forky); fakeroot 1.37.1 (Debian 13)
#          with libcap2-bin 2.75, erofs-utils 1.8.6, squashfs-tools 4.6.1 and e2fsprogs 1.47.2 lists them.
#
# Behavior: in `fakeroot`, a user runs `setcap` and `getcap`, and the latter prints the capability. It is not on the disk, and fakeroot
# remembers it, as it does owners and modes. Version 2 answers listxattr() with the names on the disk alone.
# mkfs.erofs, mksquashfs, mke2fs and `cp -a` ask for the names first, and get no `security.capability` and no
# `trusted` name. `user` attributes, which are on the disk, are in all of them, as are owners and set-user-ID bits. The exit codes are
# 0. Version 1.37.1 lists all names.
#
# Why it surprises: the guess is that fakeroot either knows capabilities or does not, and that getcap in the same session tells which.
# It prints what was set, as it asks for the attribute by its name. The image has the right owner and mode for each
# file, and a newer fakeroot takes away what an older one kept: a program that binds a low port or opens a raw socket
# fails on the machine that runs the image.
#
# Seen on 2026-11-30, for a file with cap_net_raw, user.name and trusted.name, of user 5 with mode 4755:
#   1.37.1   getcap        cap_net_raw=ep
#   1.37.1   mkfs.erofs    5 4755 security.capability trusted.name user.name
#   1.37.1   mksquashfs    5 4755 security.capability trusted.name user.name
#   1.37.1   mke2fs        5 4755 security.capability trusted.name user.name
#   1.37.1   cp -a         cap_net_raw=ep
#   2.1.4    getcap        cap_net_raw=ep
#   2.1.4    mkfs.erofs    5 4755 user.name
#   2.1.4    mksquashfs    5 4755 user.name
#   2.1.4    mke2fs        5 4755 user.name
#   2.1.4    cp -a         nothing
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
tools=base-files,coreutils,dash,sed,util-linux
packages="$tools,fakeroot=1.37.1.1-1,libcap2-bin=1:2.75-*,attr=1:2.5.2-3,erofs-utils=1.8.6-1,squashfs-tools=1:4.6.1-1,e2fsprogs=1.47.2-3*"
mmdebstrap --quiet --variant=extract --include="$packages" trixie 1.37.1 || die "mmdebstrap could not fetch fakeroot 1.37.1"
packages="$tools,fakeroot=2.1.4-1,libcap2-bin=1:2.78-1*,attr=1:2.6.0-1,erofs-utils=1.9.4-1,squashfs-tools=1:4.7.5-1,e2fsprogs=1.47.4-1*"
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky 2.1.4 ||
  die "mmdebstrap could not fetch fakeroot 2.1.4"

cat >pack.sh <<'END'
set -eu
mkdir tree
echo content >tree/file
chown 5:6 tree/file
chmod 4755 tree/file
setcap cap_net_raw+ep tree/file
setfattr -n user.name -v value tree/file
setfattr -n trusted.name -v value tree/file
mkfs.erofs --quiet erofs tree
mksquashfs tree squashfs -quiet -no-progress
truncate --size=8M ext2
mke2fs -q -t ext2 -d tree ext2
cp -a tree copy
for directory in tree copy; do getcap $directory/file | sed 's/^[^ ]* //' >$directory.capability; done
END
cat >look.py <<'PYTHON'
import os
import sys

path = sys.argv[1] + "/file"
status = os.stat(path)
print(status.st_uid, f"{status.st_mode & 0o7777:o}", *sorted(os.listxattr(path)))
PYTHON
result=""
show() {
  local line
  line=$(printf '%-8s %-13s %s' "$1" "$2" "$3")
  echo "$line"
  result+="$line"$'\n'
}
of_image() {
  mkdir --parents image
  # shellcheck disable=SC2016
  unshare --mount sh -ec 'mount --options loop,ro "$1" image; exec python3 look.py image' sh "$1/work/$2" || die "$2 cannot be mounted"
}
capability() {
  if [ -s "$1" ]; then cat "$1"; else echo nothing; fi
}
for version in 1.37.1 2.1.4; do
  mkdir -p $version/work $version/tmp
  chmod 1777 $version/work $version/tmp
  cp pack.sh $version/work
  # "sysv" is the library that the package's alternative points to
  link=$(find $version/usr/bin -name 'fakeroot-sysv')
  chroot --userspec=1000:1000 $version /usr/bin/env -i -C /work PATH=/usr/sbin:/usr/bin HOME=/work \
    "${link#"$version"}" sh -e pack.sh >log 2>&1 || die "fakeroot $version: $(tail -n 1 log)"
  show $version getcap "$(capability $version/work/tree.capability)"
  show $version mkfs.erofs "$(of_image $version erofs)"
  show $version mksquashfs "$(of_image $version squashfs)"
  show $version mke2fs "$(of_image $version ext2)"
  show $version 'cp -a' "$(capability $version/work/copy.capability)"
done
expected="1.37.1   getcap        cap_net_raw=ep
1.37.1   mkfs.erofs    5 4755 security.capability trusted.name user.name
1.37.1   mksquashfs    5 4755 security.capability trusted.name user.name
1.37.1   mke2fs        5 4755 security.capability trusted.name user.name
1.37.1   cp -a         cap_net_raw=ep
2.1.4    getcap        cap_net_raw=ep
2.1.4    mkfs.erofs    5 4755 user.name
2.1.4    mksquashfs    5 4755 user.name
2.1.4    mke2fs        5 4755 user.name
2.1.4    cp -a         nothing
"
[ "$result" = "$expected" ] || die "other attributes are kept now"
echo "as seen on 2026-11-30"
