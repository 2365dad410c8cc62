#!/usr/bin/env bash
# mkfs.xfs turns access control lists of a directory into attributes of another name, by which a group gets access.
#
# Version: xfsprogs 7.2.0, e2fsprogs 1.47.4, erofs-utils 1.9.4 (Debian forky).
#
# Behavior: `mkfs.xfs -p DIRECTORY` makes a file system of a tree, with owners, modes, hard links, holes, file
# capabilities and attributes of `user`, `trusted` and `security`. An access control list becomes the attribute
# `user.system.posix_acl_access`, which nothing reads. The mode stays, and its bits of the group, which are the mask of
# a list, are now the permissions of the group. A list that lets in one more user and not the group thus lets in the
# group and not the user. The exit code is 0, nothing is printed, and xfs_repair finds no fault.
#
# Why it surprises: xfs has had these lists for as long as Linux has xfs, and the option copies all else that is hard,
# and refuses a device. Of an attribute whose prefix it does not know, the guess is that it is left out or refused too.
# A list that is lost is expected to take access away: it was there to give more than the mode does. But the mode of a
# file with a list says what the list may give at most, so that without the list it gives more to those whom the list
# kept out.
#
# Seen on 2026-11-30, for a file of 0:50 with mode 660 that user 7 can read and write, and its group cannot:
#   the directory   mode 660, system.posix_acl_access; user 7: reads, group 50: refused
#   mke2fs          mode 660, system.posix_acl_access; user 7: reads, group 50: refused
#   mkfs.erofs      mode 660, system.posix_acl_access; user 7: reads, group 50: refused
#   mkfs.xfs        mode 660, user.system.posix_acl_access; user 7: refused, group 50: reads
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
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
  --include='xfsprogs=7.2.0-*,e2fsprogs=1.47.4-*,erofs-utils=1.9.4-*' forky root || die "mmdebstrap could not fetch the tools"
libraries=$(echo root/{usr/,}lib/*-linux-gnu | tr ' ' :)
loader=$(find root -name 'ld-linux-*.so.?' -path '*-linux-gnu/*' | head -n 1)
tool() {
  "$loader" --library-path "$libraries" "$(find root -path "*bin/$1" | head -n 1)" "${@:2}" >log 2>&1 ||
    die "$1: $(tail -n 1 log)"
}

mkdir tree
echo content >tree/file
chown 0:50 tree/file
# user::rw-, user:7:rw-, group::---, mask::rw-, other::---
python3 - <<'PYTHON'
import os
import struct

entries = (1, 6, 2**32 - 1), (2, 6, 7), (4, 0, 2**32 - 1), (16, 6, 2**32 - 1), (32, 0, 2**32 - 1)
value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
os.setxattr("tree/file", "system.posix_acl_access", value)
PYTHON
truncate --size=8M image.ext4
truncate --size=400M image.xfs
tool mke2fs -q -t ext4 -d tree image.ext4
tool mkfs.erofs image.erofs tree
tool mkfs.xfs -q -p tree image.xfs
[ ! -s log ] || die "mkfs.xfs: $(tail -n 1 log)"
tool xfs_repair -n image.xfs
cat >look.py <<'PYTHON'
import os
import sys


def reads(user, group):
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
        os._exit(0 if os.access(path, os.R_OK) else 1)
    return "refused" if os.waitpid(child, 0)[1] else "reads"


path = sys.argv[1] + "/file"
names = ", ".join(os.listxattr(path))
print(f"mode {os.stat(path).st_mode & 0o7777:o}, {names}; user 7: {reads(7, 7)}, group 50: {reads(8, 50)}")
PYTHON
result=""
show() {
  local line directory=tree
  if [ $# = 2 ]; then
    mkdir --parents image
    directory=image
  fi
  # shellcheck disable=SC2016
  line=$(unshare --mount sh -ec 'if [ -n "$2" ]; then mount --options loop,ro "$2" "$1"; fi; exec python3 look.py "$1"' sh $directory "${2-}") ||
    die "the image of $1 cannot be mounted"
  line=$(printf '%-15s %s' "$1" "$line")
  echo "$line"
  result+="$line"$'\n'
}
show 'the directory'
show mke2fs image.ext4
show mkfs.erofs image.erofs
show mkfs.xfs image.xfs
expected="the directory   mode 660, system.posix_acl_access; user 7: reads, group 50: refused
mke2fs          mode 660, system.posix_acl_access; user 7: reads, group 50: refused
mkfs.erofs      mode 660, system.posix_acl_access; user 7: reads, group 50: refused
mkfs.xfs        mode 660, user.system.posix_acl_access; user 7: refused, group 50: reads
"
[ "$result" = "$expected" ] || die "mkfs.xfs writes other attributes now"
echo "as seen on 2026-11-30"
