#!/usr/bin/env bash
# bsdtar ignores --uid, --gid, --uname and --owner for what it takes from another archive, and applies them everywhere else.
#
# Version: libarchive-tools 3.7.4 (Debian 13); 3.8.9 (Debian forky) does the same.
#
# Behavior: `bsdtar --create --file NEW --uid 0 --gid 0 DIRECTORY` makes an archive of root's files. With `@OLD` in place of
# DIRECTORY, which copies the entries of an archive, all have the owners that they had. It makes no difference whether OLD is a
# tar or cpio archive or an mtree list, and --numeric-owner, --uname and --owner have no effect either. Other options of the same
# command apply to these entries: --exclude, --include, -s and --strip-components. On extraction the owner is set. The
# exit code is 0, and nothing is printed.
#
# Why it surprises: the manual says of --uid that it ignores "the user name from the archive", and tells what it does on creation. A
# change of owners without an extraction, which needs no root, is the best use for `@`: layers of images have to be root's,
# and what a build makes is not. The guess is that options which rename and select entries and those which change
# them work on the same entries. A look at the names of the new archive shows that the command did its work. In the container the
# files belong to the user of the build machine with that number, or to nobody that it knows.
#
# Seen on 2026-11-30, for a file `f` of 1000:1000, with `--uid 0 --gid 0 --uname root --gname root -s ,^,usr/,`:
#   a directory            0/0 usr/f
#   @ a tar archive        1000/1000 usr/f
#   @ a cpio archive       1000/1000 usr/f
#   @ an mtree list        1000/1000 usr/f
#   extraction             0/0 usr/f
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include='libarchive-tools=3.7.4-4*' trixie root ||
  die "mmdebstrap could not fetch libarchive-tools"
libraries=$work/root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { LC_ALL=C "$loader" --library-path "$libraries" "$work/root/usr/bin/bsdtar" "$@"; }

mkdir tree
echo content >tree/f
chown 1000:1000 tree/f
result=""
line() {
  local line
  line=$(printf '%-22s %s' "$1" "$2")
  echo "$line"
  result+="$line"$'\n'
}
options=(--uid 0 --gid 0 --uname root --gname root -s ',^,usr/,')
show() {
  tool --create --format=ustar --file=new "${options[@]}" --directory=tree "$2" >log 2>&1 || die "bsdtar: $(tail -n 1 log)"
  [ ! -s log ] || die "bsdtar: $(tail -n 1 log)"
  line "$1" "$(tar --list --verbose --numeric-owner --file=new | awk '{print $2, $NF}')"
}
tool --create --format=ustar --file=archive.tar --directory=tree f
tool --create --format=newc --file=archive.cpio --directory=tree f
tool --create --format=mtree --file=list.mtree --directory=tree f
sed --in-place 's,^\./,,' list.mtree
show 'a directory' f
show '@ a tar archive' "@$work/archive.tar"
show '@ a cpio archive' "@$work/archive.cpio"
show '@ an mtree list' "@$work/list.mtree"
mkdir out
tool --extract --file=archive.tar --directory=out "${options[@]}"
line 'extraction' "$(stat --format='%u/%g' out/usr/f) usr/f"
expected="a directory            0/0 usr/f
@ a tar archive        1000/1000 usr/f
@ a cpio archive       1000/1000 usr/f
@ an mtree list        1000/1000 usr/f
extraction             0/0 usr/f
"
[ "$result" = "$expected" ] || die "bsdtar sets owners of other entries now"
echo "as seen on 2026-11-30"
