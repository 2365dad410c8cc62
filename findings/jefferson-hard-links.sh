#!/usr/bin/env bash
# jefferson extracts one name of each file with hard links from a JFFS2 image, and leaves the others out.
#
# Version: jefferson 0.4.8, dissect.jffs 1.6, mtd-utils 2.3.0 (Debian 13).
#
# Behavior: a file with three names in two directories comes out under one of them, the last that the image lists. The other two do
# not exist. A symbolic link to one of these leads nowhere. The exit code is 0, and each written file is printed, as are the
# fifos that it skips by design; nothing is said of the names. dissect.jffs reads all names from the same image.
#
# Why it surprises: the known faults of extractors with hard links are copies in the place of links, or empty files, and the guess
# is one of these: an archive has the content once and the names later, so a reader has to remember. In JFFS2 there is
# nothing to remember, since each name is an entry of its own with the number of its inode, so that all names are alike. But
# jefferson sorts the entries into a table by that number, and the log of a flash has the newer entry for a number
# later. A busybox with its commands as hard links becomes one command. The tools that unpack
# firmware to list its software, unblob and binwalk, leave JFFS2 to this program.
#
# Seen on 2026-11-30, with the content of each file:
#   packed          bin/busybox=program bin/ls=program bin/sh -> busybox etc/hosts=hosts sbin/init=program
#   dissect.jffs    bin/busybox=program bin/ls=program bin/sh -> busybox etc/hosts=hosts sbin/init=program
#   jefferson       bin/sh -> busybox etc/hosts=hosts sbin/init=program
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=base-files,coreutils,mtd-utils=1:2.3.0-1 trixie root ||
  die "mmdebstrap could not fetch mtd-utils"
python3 -m venv venv
venv/bin/pip install --quiet jefferson==0.4.8 dissect.jffs==1.6 >pip.log 2>&1 || die "pip: $(tail -n 1 pip.log)"

mkdir -p root/work/tree/{bin,etc,sbin}
cd root/work/tree
echo program >bin/busybox
ln bin/busybox bin/ls
ln bin/busybox sbin/init
ln -s busybox bin/sh
echo hosts >etc/hosts
cd "$work"
chroot root /usr/bin/env -i /usr/sbin/mkfs.jffs2 --root=/work/tree --eraseblock=128KiB --output=/work/image >log 2>&1 ||
  die "mkfs.jffs2: $(tail -n 1 log)"
venv/bin/jefferson --dest out root/work/image >log 2>&1 || die "jefferson: $(tail -n 1 log)"
result=""
show() {
  local line
  line=$(printf '%-15s %s' "$1" "$("${@:2}" | paste --serial --delimiters=' ')")
  echo "$line"
  result+="$line"$'\n'
}
of_directory() {
  (cd "$1" && find . ! -type d | LC_ALL=C sort | while read -r name; do
    if [ -L "$name" ]; then echo "${name#./} -> $(readlink "$name")"; else echo "${name#./}=$(cat "$name")"; fi
  done)
}
with_dissect() {
  venv/bin/python - <<'PYTHON'
from dissect.jffs import jffs2


def show(directory, path):
    for name, inode in sorted(directory.iterdir()):
        if inode.is_dir():
            show(inode, f"{path}{name}/")
        elif inode.is_symlink():
            print(f"{path}{name} -> {inode.link}")
        else:
            print(f"{path}{name}={inode.open().read().decode().strip()}")


show(jffs2.JFFS2(open("root/work/image", "rb")).get("/"), "")
PYTHON
}
show packed of_directory root/work/tree
show dissect.jffs with_dissect
show jefferson of_directory out
expected="packed          bin/busybox=program bin/ls=program bin/sh -> busybox etc/hosts=hosts sbin/init=program
dissect.jffs    bin/busybox=program bin/ls=program bin/sh -> busybox etc/hosts=hosts sbin/init=program
jefferson       bin/sh -> busybox etc/hosts=hosts sbin/init=program
"
[ "$result" = "$expected" ] || die "other names are extracted now"
echo "as seen on 2026-11-30"
