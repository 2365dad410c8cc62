#!/usr/bin/env bash
# ostree's --tar-autocreate-parents changes directories that the archive does hold.
#
# Version: ostree 2022.7 (Debian 12), 2025.2 (Debian 13).
#
# Behavior: where an archive lacks one directory of an entry's path, `ostree commit --tar-autocreate-parents --tree=tar=`
# makes the whole path anew, from `/` down: every directory on it gets mode 0755 and the owner of that entry, also one
# whose own entry was read before. An entry that comes later still counts.
#
# Why it surprises: the manual says "create parent directories as needed". So the guess is that a missing directory gets
# root's ownership (as GNU tar run by root and umoci do) or its child's, and that a directory with an entry keeps that.
# But one file below a missing directory is enough, and /tmp is 0755 and the file's owner's, and so is `/`. The same
# entries in another order are right. A layer of an image may leave out directories that a lower layer has.
#
# Seen on 2026-11-28, on Debian 12 and on Debian 13, with the entries ./ (0755, 0), tmp/ (1777, 0), tmp/a/f (0644, 7):
#   without tmp/a/f    / d00755 0   /tmp d01777 0
#   with tmp/a/f       / d00755 7   /tmp d00755 7   /tmp/a d00755 7   /tmp/a/f -00644 7
#   tmp/a/f first      / d00755 0   /tmp d01777 0   /tmp/a d00755 7   /tmp/a/f -00644 7
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
  debian-12) package=ostree=2022.7-2+deb12u1 ;;
  debian-13) package=ostree=2025.2-1 ;;
  *) die "no version is pinned for $ID $VERSION_ID; run it on Debian 12 or 13" ;;
esac

# unpack the package, and what it needs that this machine does not have, beside the system
mkdir -p archives/partial root
fetch() {
  apt-get install --yes --quiet=2 --download-only --no-install-recommends --allow-downgrades \
    --option "Dir::Cache::archives=$work/archives" "$package" >apt.log 2>&1
}
fetch || { apt-get update --quiet=2 && fetch; } || die "apt-get could not fetch $package: $(tail -n 1 apt.log)"
for archive in archives/*.deb; do
  [ ! -e "$archive" ] || dpkg-deb --extract "$archive" root
done
libraries=$(uname -m)-linux-gnu
export PATH=$work/root/usr/bin:$PATH LD_LIBRARY_PATH=$work/root/usr/lib/$libraries:$work/root/lib/$libraries

mkdir -p source/tmp/a && cd source
echo content >tmp/a/f
chmod 755 . && chmod 1777 tmp && chmod 644 tmp/a/f
add() { tar --append --file="../$1.tar" --no-recursion --owner=":$2" --group=":$2" "$3"; }
add without 0 . && add without 0 tmp
add with 0 . && add with 0 tmp && add with 7 tmp/a/f
add first 7 tmp/a/f && add first 0 . && add first 0 tmp
cd ..

ostree --repo=repo init --mode=bare-user
changed=0
expect() {
  ostree --repo=repo commit --branch="$1" --tar-autocreate-parents --tree=tar="$1.tar" >commit.log
  ostree --repo=repo ls --recursive "$1" >ls.log
  local tree
  tree=$(awk '{ printf "%s%s %s %s", separator, $NF, $1, $2; separator = "   " }' ls.log)
  printf '%-10s %s\n' "$1" "$tree"
  [ "$tree" = "$2" ] && return
  echo "error: the archive '$1' gives $tree; $2 was seen before" >&2
  changed=1
}
expect without "/ d00755 0   /tmp d01777 0"
expect with "/ d00755 7   /tmp d00755 7   /tmp/a d00755 7   /tmp/a/f -00644 7"
expect first "/ d00755 0   /tmp d01777 0   /tmp/a d00755 7   /tmp/a/f -00644 7"
exit "$changed"
