#!/usr/bin/env bash
# The manifest that `systemd-dissect --mtree` writes lacks set-user-ID bits, and no reader of mtree files takes it.
#
# Version: systemd-container 257, mtree-netbsd 20180822 and libarchive-tools 3.7.4 (Debian 13); systemd 262 and
#          libarchive-tools 3.8.9 (Debian forky) do the same.
#
# Behavior: the manual promises "a BSD mtree(8) compatible file manifest" for comparing images in detail. A file of mode
# 4755 is written as mode=0755, and a directory of 1777 as mode=0777: the list stays the same without these bits. A
# directory ends in a slash and a hash is called `sha256sum`, which mtree(5) does not know. mtree stops in line 1. bsdtar
# wants a first line `#mtree`, and with it does not know the hash.
#
# Why it surprises: mtree files exist to check owners and modes, and set-user-ID bits are the first thing to check in an
# image. The manual lists what is left out, such as capabilities and link counts, and these bits are not in that list. For a
# comparison, `bsdtar --format=mtree` of the mounted image writes them, and mtree reads it.
#
# Seen on 2026-11-29:
#   systemd-dissect   ./shared/ 0777, ./su 0755; without the bits: the same
#   bsdtar            ./shared 1777, ./su 4755; without the bits: another
#   mtree, with the list of systemd-dissect: exit code 1
#   bsdtar, with the list of systemd-dissect: Unrecognized key sha256sum
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=systemd-container,mtree-netbsd=20180822-9,libarchive-tools trixie root ||
  die "mmdebstrap could not fetch systemd-container, mtree-netbsd and libarchive-tools"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { LC_ALL=C "$loader" --library-path "$libraries:$libraries/systemd" "$(ls root/usr/bin/"$1" root/usr/sbin/"$1" 2>/dev/null)" "${@:2}"; }

mkdir -p tree/shared
chmod 1777 tree/shared
echo content >tree/su
chmod 4755 tree/su
list() {
  tool systemd-dissect --mtree "$PWD/tree" >"dissect$1"
  tool bsdtar --create --file="bsdtar$1" --format=mtree --options='sha256,!time' --directory=tree .
}
list ""
{ echo '#mtree'; cat dissect; } >headed
code=0
tool mtree -f dissect -p tree >log 2>&1 || code=$?
tool bsdtar --list --file=headed >log 2>&1 && die "bsdtar reads the list of systemd-dissect now"
unread=$(grep --only-matching 'Unrecognized key [a-z0-9]*' log)
tool mtree -f bsdtar -p tree >log 2>&1 || die "mtree: $(tail -n 1 log)"
chmod 755 tree/su
chmod 777 tree/shared
list .without
modes() { sed -n 's,^\(\./s[a-z/]*\) .*mode=\([0-7]*\).*,\1 \2,p' "$1" | LC_ALL=C sort | paste -sd, | sed 's/,/, /g'; }
compare() { cmp --quiet "$1" "$1.without" && echo the same || echo another; }
result="systemd-dissect   $(modes dissect); without the bits: $(compare dissect)
bsdtar            $(modes bsdtar); without the bits: $(compare bsdtar)
mtree, with the list of systemd-dissect: exit code $code
bsdtar, with the list of systemd-dissect: $unread"
echo "$result"
expected="systemd-dissect   ./shared/ 0777, ./su 0755; without the bits: the same
bsdtar            ./shared 1777, ./su 4755; without the bits: another
mtree, with the list of systemd-dissect: exit code 1
bsdtar, with the list of systemd-dissect: Unrecognized key sha256sum"
[ "$result" = "$expected" ] || die "the manifest is written in another way now"
echo "as seen on 2026-11-29"
