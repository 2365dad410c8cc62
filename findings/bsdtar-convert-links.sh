#!/usr/bin/env bash
# bsdtar converts hard links between tar and cpio to empty files, in both directions, and reports success.
#
# Version: libarchive-tools 3.7.4, tar 1.35, cpio 2.15 (Debian 13); libarchive-tools 3.8.9 (Debian forky) does the same.
#
# Behavior: `bsdtar --create --file NEW @OLD` copies the entries of an archive into one of another format. Of a cpio archive
# of the format newc, it makes a tar archive in which files with hard links are empty, under each of their names. Of a
# tar archive, it makes an archive of cpio, ISO 9660 or 7-Zip in which the first name has the content and the others are
# empty; for GNU cpio these are of "unknown file type", and left out. The exit codes of bsdtar are 0, and nothing is
# printed. An archive of the format odc keeps its content. Zip is refused in a message, with exit code 0 too.
#
# Why it surprises: bsdtar extracts each of these archives well, links included, and writes each of them well from a
# directory. So the guess is that a conversion is the same without the way over the disk. But formats have the content
# at another link: tar with the first, newc with the last. The reader marks every name after the first as a link, and the
# writer of tar drops the content of links. The code that moves the content to its place works on files from
# the disk only. An RPM package and an initramfs are of newc, and `rpm2cpio PACKAGE | bsdtar --create --file a.tar @-` is
# how a layer is made of one: programs with two names, such as perl, git or busybox, become empty.
#
# Seen on 2026-11-30, for the names `a` and `b` of one file with the content `text`, extracted by bsdtar, and by cpio:
#   directory to newc      a=text b=text, cpio: a=text b=text
#   directory to pax       a=text b=text
#   newc to pax            exit code 0: a= b=
#   newc to gnutar         exit code 0: a= b=
#   odc to pax             exit code 0: a=text b=text
#   pax to newc            exit code 0: a=text b=, cpio: a=text
#   pax to odc             exit code 0: a=text b=, cpio: a=text
#   pax to iso9660         exit code 0: a=text b=
#   pax to 7zip            exit code 0: a=text b=
#   pax to gnutar          exit code 0: a=text b=text
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include='libarchive-tools=3.7.4-4*,cpio=2.15+dfsg-2' trixie root ||
  die "mmdebstrap could not fetch libarchive-tools and cpio"
libraries=$work/root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { LC_ALL=C "$loader" --library-path "$libraries" "$work/root/usr/bin/$1" "${@:2}"; }

mkdir tree
echo text >tree/a
ln tree/a tree/b
names() {
  local name result=""
  for name in a b; do
    [ ! -e "out/$name" ] || result+=" $name=$(cat "out/$name")"
  done
  echo "${result# }"
}
# extract an archive into a new directory, and print what is there
contents() {
  local format=$1 file=$2 result
  rm -rf out
  mkdir out
  tool bsdtar --extract --file="$file" --directory=out || die "bsdtar cannot extract the archive"
  result=$(names)
  if [ "$format" = newc ] || [ "$format" = odc ]; then
    rm -rf out
    mkdir out
    (cd out && tool cpio --extract --quiet <"../$file" 2>../log) || grep --quiet 'unknown file type' log ||
      die "cpio: $(tail -n 1 log)"
    result+=", cpio: $(names)"
  fi
  echo "$result"
}
result=""
show() {
  local line
  line=$(printf '%-22s %s' "$1" "$2")
  echo "$line"
  result+="$line"$'\n'
}
for format in newc odc; do
  (cd tree && printf 'a\nb\n' | tool cpio --create --quiet --format=$format) >$format
done
tool bsdtar --create --format=pax --file=pax --directory=tree a b
show 'directory to newc' "$(contents newc newc)"
show 'directory to pax' "$(contents pax pax)"
convert() {
  local code=0
  tool bsdtar --create --format="$2" --file=new "@$1" >log 2>&1 || code=$?
  [ ! -s log ] || die "bsdtar: $(tail -n 1 log)"
  show "$1 to $2" "exit code $code: $(contents "$2" new)"
}
convert newc pax
convert newc gnutar
convert odc pax
convert pax newc
convert pax odc
convert pax iso9660
convert pax 7zip
convert pax gnutar
expected="directory to newc      a=text b=text, cpio: a=text b=text
directory to pax       a=text b=text
newc to pax            exit code 0: a= b=
newc to gnutar         exit code 0: a= b=
odc to pax             exit code 0: a=text b=text
pax to newc            exit code 0: a=text b=, cpio: a=text
pax to odc             exit code 0: a=text b=, cpio: a=text
pax to iso9660         exit code 0: a=text b=
pax to 7zip            exit code 0: a=text b=
pax to gnutar          exit code 0: a=text b=text
"
[ "$result" = "$expected" ] || die "bsdtar converts links in another way now"
echo "as seen on 2026-11-30"
