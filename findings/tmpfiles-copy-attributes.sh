#!/usr/bin/env bash
# systemd-tmpfiles copies owners, set-user-ID bits, hard links and user attributes, but no capabilities and no ACLs.
#
# Version: systemd 257 (Debian 13); 262 (Debian forky) does the same.
#
# Behavior: a line of type `C` copies a file or a directory. Of extended attributes, those of `user` are copied. File capabilities,
# access control lists and attributes of `security` and `trusted` are left out. Mode, owner, time, fifos and hard links are
# copied, set-user-ID bits as well. The mode of a file with a list has the mask of the list in the bits of its group, and it is
# copied as it is: the group of the copy has what the list gave to somebody else. The exit code is 0, and nothing is printed.
#
# Why it surprises: the manual says that `C` copies recursively, and names no exception. A copy by a program that runs as root
# at each boot, and takes set-user-ID bits along, is a full one to everybody who looks at it. The guess is `cp -a`: that attributes
# are kept or not, as one option. systemd has the other kind of copy too: systemd-repart copies all attributes from the same
# directory. /var and /etc are filled by such lines, from an image whose own copy of the file is right.
#
# Seen on 2026-11-30, for `capable` with a capability and user.name, `su` with mode 4755, and `list` of 0:50 with mode 660
# and a list that lets user 7 read and write, and not the group:
#   source             capability, user.name; su 4755; list 660 with a list, group 50: refused
#   cp --archive       capability, user.name; su 4755; list 660 with a list, group 50: refused
#   systemd-tmpfiles   no capability, user.name; su 4755; list 660 without a list, group 50: reads
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
mmdebstrap --quiet --variant=extract --include='base-files,coreutils,systemd=257.*' trixie root || die "mmdebstrap could not fetch systemd"
mkdir -p root/srv/source root/etc root/proc
echo 'root:x:0:0:root:/:/bin/sh' >root/etc/passwd
echo 'root:x:0:' >root/etc/group

cd root/srv/source
for file in capable su list; do echo content >$file; done
chmod 755 capable
chmod 4755 su
chown 0:50 list
# cap_net_raw+ep, and user::rw-, user:7:rw-, group::---, mask::rw-, other::---
python3 - <<'PYTHON'
import os
import struct

os.setxattr("capable", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
os.setxattr("capable", "user.name", b"value")
entries = (1, 6, 2**32 - 1), (2, 6, 7), (4, 0, 2**32 - 1), (16, 6, 2**32 - 1), (32, 0, 2**32 - 1)
value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
os.setxattr("list", "system.posix_acl_access", value)
PYTHON
cd "$work"
cp --archive root/srv/source root/srv/by-cp
echo 'C /srv/by-tmpfiles - - - - /srv/source' >root/srv/copy.conf
unshare --mount sh -c 'mount --bind /proc root/proc && exec chroot root /usr/bin/systemd-tmpfiles --create /srv/copy.conf' >log 2>&1 ||
  die "systemd-tmpfiles: $(tail -n 1 log)"
[ ! -s log ] || die "systemd-tmpfiles: $(tail -n 1 log)"
result=""
show() {
  local line
  line=$(
    python3 - "$1" "root/srv/$2" <<'PYTHON'
import os
import sys

name, root = sys.argv[1:]
found = os.listxattr(f"{root}/capable")
capability = "capability" if "security.capability" in found else "no capability"
attribute = "user.name" if "user.name" in found else "no user.name"
modes = {file: f"{os.stat(f'{root}/{file}').st_mode & 0o7777:o}" for file in ("su", "list")}
with_list = "with" if "system.posix_acl_access" in os.listxattr(f"{root}/list") else "without"
child = os.fork()
if not child:
    os.setgroups([])
    os.setgid(50)
    os.setuid(8)
    os._exit(0 if os.access(f"{root}/list", os.R_OK) else 1)
group = "refused" if os.waitpid(child, 0)[1] else "reads"
print(f"{name:<18} {capability}, {attribute}; su {modes['su']}; list {modes['list']} {with_list} a list, group 50: {group}")
PYTHON
  )
  echo "$line"
  result+="$line"$'\n'
}
show source source
show 'cp --archive' by-cp
show systemd-tmpfiles by-tmpfiles
expected="source             capability, user.name; su 4755; list 660 with a list, group 50: refused
cp --archive       capability, user.name; su 4755; list 660 with a list, group 50: refused
systemd-tmpfiles   no capability, user.name; su 4755; list 660 without a list, group 50: reads
"
[ "$result" = "$expected" ] || die "systemd-tmpfiles copies other attributes now"
echo "as seen on 2026-11-30"
