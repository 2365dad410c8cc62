#!/usr/bin/env bash
# bsdtar keeps the fraction of a time if the file has a long name, a large owner or an attribute, and else drops it.
#
# Version: libarchive-tools 3.7.4, tar 1.35, make 4.4.1 (Debian 13); libarchive-tools 3.8.9 (Debian forky) does the same.
#
# Behavior: the default format of `bsdtar -c`, restricted PAX, writes an extended header only for an entry that needs one,
# and a fraction of a second is no need. Once there is one, for a name or target over 100 bytes, an id over 2097151 or an
# extended attribute, it has the time in full. So one archive holds times in whole seconds and times in nanoseconds,
# file by file. With --format=pax all are in full, with ustar, gnutar and GNU tar's default none.
#
# Why it surprises: the manual says that this format suppresses extended headers where it can. The guess is that times are
# either kept or cut off in an archive, as every other format does; both keep the order of files, within a second. Here
# files of one second change their order: a target of make that was newer than its source is older after extraction,
# because the source has the longer path. A comparison of a restored tree with the original finds other times in most
# files, but not in all.
#
# Seen on 2026-11-29, for files with the time 1000000000.987654321:
#   short name            1000000000.000000000
#   name of 110 bytes     1000000000.987654321
#   owner 3000000         1000000000.987654321
#   extended attribute    1000000000.987654321
#   short name, pax       1000000000.987654321
#   short name, gnutar    1000000000.000000000
#   make, before: up to date; after: remade
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include='libarchive-tools=3.7.4-4*,tar=1.35+dfsg-3.1,make=4.4.1-2' trixie root ||
  die "mmdebstrap could not fetch libarchive-tools, tar and make"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { LC_ALL=C "$loader" --library-path "$work/$libraries" "$work/root/usr/bin/$1" "${@:2}"; }
loader=$work/$loader

long=$(printf 'x%.0s' {1..110})
mkdir tree
touch tree/short "tree/$long" tree/owner tree/attribute
chown 3000000 tree/owner
python3 -c 'import os; os.setxattr("tree/attribute", "user.x", b"value")'
touch --date=@1000000000.987654321 tree/*
# archive the tree with options of bsdtar, and extract it
restore() {
  rm -rf out
  mkdir out
  tool bsdtar --create --file=a.tar --directory="$1" "${@:2}" .
  tool tar --extract --file=a.tar --directory=out 2>log || die "tar: $(tail -n 1 log)"
}
result=""
show() {
  local line
  line=$(printf '%-22s%s' "$1" "$(stat --format=%.9Y "out/$2")")
  echo "$line"
  result+="$line"$'\n'
}
restore tree
show 'short name' short
show 'name of 110 bytes' "$long"
show 'owner 3000000' owner
show 'extended attribute' attribute
restore tree --format=pax
show 'short name, pax' short
restore tree --format=gnutar
show 'short name, gnutar' short

mkdir build
printf 'target: %s\n\ttouch target\n' "$long" >build/Makefile
touch --date=@1000000000.1 "build/$long"
touch --date=@1000000000.9 build/target
remade() { tool make --silent --question --directory="$1" && echo up to date || echo remade; }
restore build
line="make, before: $(remade build); after: $(remade out)"
echo "$line"
result+=$line
expected="short name            1000000000.000000000
name of 110 bytes     1000000000.987654321
owner 3000000         1000000000.987654321
extended attribute    1000000000.987654321
short name, pax       1000000000.987654321
short name, gnutar    1000000000.000000000
make, before: up to date; after: remade"
[ "$result" = "$expected" ] || die "bsdtar writes other times now"
echo "as seen on 2026-11-29"
