#!/usr/bin/env bash
# `mkfs.erofs --tar` writes the files that --exclude-path names, and reports success.
#
# Version: erofs-utils 1.8.6, tar 1.35 (Debian 13); erofs-utils 1.9.4 (Debian forky) does the same.
#
# Behavior: with --exclude-path and --exclude-regex, mkfs.erofs leaves files of a directory out of the image. With --tar, it
# takes these options and writes all files of the archive. The same goes for -x-1, which is to leave out extended
# attributes, and for --hard-dereference, which is to make a file of each hard link. --force-uid and -T are obeyed in both.
# The exit code is 0, and nothing is printed.
#
# Why it surprises: the manual describes the options by what is in the image, and names no source. Other options that do
# not go together are refused with a message, and the guess is that an option which was taken is obeyed. But these
# are checked in the code that walks a directory, and those which work in both are checked where an inode is written. A
# build that changes from a directory to an archive, to do without root, has the same command line and a valid image:
# with keys, caches or whiteouts that were left out before.
#
# Seen on 2026-11-30, what is in the image of `secret`, and of `kept` with a hard link and an attribute:
#   option                       directory                               archive
#   none                         kept (2 links, user.a) secret           kept (2 links, user.a) secret
#   --exclude-path=secret        kept (2 links, user.a)                  kept (2 links, user.a) secret
#   --exclude-regex=^secret$     kept (2 links, user.a)                  kept (2 links, user.a) secret
#   -x-1                         kept (2 links) secret                   kept (2 links, user.a) secret
#   --hard-dereference           kept (1 links, user.a) secret           kept (2 links, user.a) secret
#   --force-uid=7                kept (2 links, user.a, owner 7) secret  kept (2 links, user.a, owner 7) secret
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=erofs-utils=1.8.6-1,tar=1.35+dfsg-3.1 trixie root ||
  die "mmdebstrap could not fetch erofs-utils and tar"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { "$loader" --library-path "$libraries" "root/usr/bin/$1" "${@:2}"; }

mkdir tree
echo content | tee tree/kept >tree/secret
ln tree/kept tree/link
python3 -c 'import os; os.setxattr("tree/kept", "user.a", b"value")'
tool tar --create --file=tree.tar --format=pax --xattrs --sort=name --directory=tree .
contents() {
  local facts="" attributes
  rm -rf out
  tool fsck.erofs --extract=out --xattrs image >log 2>&1 || die "fsck.erofs: $(tail -n 1 log)"
  attributes=$(python3 -c 'import os; print("".join(", " + name for name in os.listxattr("out/kept")))')
  [ "$(stat --format=%u out/kept)" = 0 ] || facts=", owner $(stat --format=%u out/kept)"
  facts="kept ($(stat --format=%h out/kept) links$attributes$facts)"
  [ ! -e out/secret ] || facts+=" secret"
  echo "$facts"
}
result=""
show() {
  local line directory
  rm -f image
  tool mkfs.erofs --quiet "${@:2}" image tree >log 2>&1 || die "mkfs.erofs: $(tail -n 1 log)"
  directory=$(contents)
  rm -f image
  tool mkfs.erofs --quiet --tar=f "${@:2}" image tree.tar >>log 2>&1 || die "mkfs.erofs: $(tail -n 1 log)"
  [ ! -s log ] || die "mkfs.erofs: $(tail -n 1 log)"
  line=$(printf '%-28s %-39s %s' "$1" "$directory" "$(contents)")
  echo "$line"
  result+="$line"$'\n'
}
show none
for option in --exclude-path=secret '--exclude-regex=^secret$' -x-1 --hard-dereference --force-uid=7; do
  show "$option" "$option"
done
expected='none                         kept (2 links, user.a) secret           kept (2 links, user.a) secret
--exclude-path=secret        kept (2 links, user.a)                  kept (2 links, user.a) secret
--exclude-regex=^secret$     kept (2 links, user.a)                  kept (2 links, user.a) secret
-x-1                         kept (2 links) secret                   kept (2 links, user.a) secret
--hard-dereference           kept (1 links, user.a) secret           kept (2 links, user.a) secret
--force-uid=7                kept (2 links, user.a, owner 7) secret  kept (2 links, user.a, owner 7) secret
'
[ "$result" = "$expected" ] || die "the options have another effect now"
echo "as seen on 2026-11-30"
