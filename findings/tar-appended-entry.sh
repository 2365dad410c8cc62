#!/usr/bin/env bash
# One archive that `tar -r` appended to becomes three different trees.
#
# Version: Debian 12: squashfs-tools 4.5.1, squashfs-tools-ng 1.2.0, ostree 2022.7, tar 1.34.
#          Debian 13: squashfs-tools 4.6.1, squashfs-tools-ng 1.3.2, ostree 2025.2, tar 1.35.
#
# Behavior: the archive holds the file `f`, a hard link `l` to it, and a later `f`, which replaces the first. GNU tar gives
# f its new content and leaves the old in `l`. `ostree commit --tree=tar=` gives both the new content: it looks up a hard
# link's target when all is read. `sqfstar` gives both the old content, says "ignoring" and succeeds: its first entry wins.
# `tar2sqfs`, of the other squashfs package, refuses the archive.
#
# Why it surprises: that the last entry of a name wins is what tar was made for (tapes can only be appended to), and OCI
# layers keep to it. The guesses are that every reader of tar does so, that one that does not will fail, and that a reader
# that lets the last entry win has the rest right too. None of the three holds, and the exit status tells of one only.
# A converter of layers has to resolve names before it hands an archive to such a tool.
#
# Seen on 2026-11-28, on Debian 12 and on Debian 13:
#   GNU tar    f=new l=old
#   ostree     f=new l=new
#   sqfstar    f=old l=old, exit status 0
#   tar2sqfs   "f: File exists", exit status 1
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# shellcheck source=/dev/null
. /etc/os-release
case $ID-$VERSION_ID in
  debian-12) packages=(squashfs-tools=1:4.5.1-1 squashfs-tools-ng=1.2.0-1 ostree=2022.7-2+deb12u1) ;;
  debian-13) packages=(squashfs-tools=1:4.6.1-1 squashfs-tools-ng=1.3.2-1 ostree=2025.2-1) ;;
  *) die "no versions are pinned for $ID $VERSION_ID; run it on Debian 12 or 13" ;;
esac

# unpack the packages, and what they need that this machine does not have, beside the system
mkdir -p archives/partial root
fetch() {
  apt-get install --yes --quiet=2 --download-only --no-install-recommends --allow-downgrades \
    --option "Dir::Cache::archives=$work/archives" "${packages[@]}" >apt.log 2>&1
}
fetch || { apt-get update --quiet=2 && fetch; } || die "apt-get could not fetch ${packages[*]}: $(tail -n 1 apt.log)"
for package in archives/*.deb; do
  [ ! -e "$package" ] || dpkg-deb --extract "$package" root
done
libraries=$(uname -m)-linux-gnu
export PATH=$work/root/usr/bin:$PATH LD_LIBRARY_PATH=$work/root/usr/lib/$libraries:$work/root/lib/$libraries

mkdir source && cd source
echo old >f && ln f l
tar -c -f ../a.tar --no-recursion . f l
rm f && echo new >f
tar -r -f ../a.tar f
cd ..

content() { echo "f=$(cat "$1/f") l=$(cat "$1/l")"; }
expect() {
  printf '%-10s %s\n' "$1" "$3"
  [ "$2" = "$3" ] || die "$1 gave $3; $2 was seen before"
}

mkdir gnu && tar -x -f a.tar -C gnu
expect "GNU tar" "f=new l=old" "$(content gnu)"

ostree --repo=repo init --mode=bare-user
ostree --repo=repo commit --branch=a --owner-uid=0 --tree=tar=a.tar >/dev/null
ostree --repo=repo checkout --user-mode a checkout
expect ostree "f=new l=new" "$(content checkout)"

sqfstar -quiet -no-progress first.squashfs <a.tar 2>sqfstar.log || die "sqfstar failed: $(cat sqfstar.log)"
unsquashfs -quiet -no-progress -dest first first.squashfs >/dev/null
expect sqfstar "f=old l=old" "$(content first)"

status=0
tar2sqfs --quiet second.squashfs <a.tar >tar2sqfs.log 2>&1 || status=$?
expect tar2sqfs "f: File exists (1)" "$(tail -n 1 tar2sqfs.log) ($status)"
