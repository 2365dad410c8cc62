#!/usr/bin/env bash
# toybox cuts link targets at 100 characters in PAX archives.
#
# Version: toybox 0.8.9, busybox 1.37.0, tar 1.35 (Debian 13).
#
# Behavior: `toybox tar -x` makes a symbolic link whose target has 131 characters with the first 100 of them, if the
# archive has the PAX format. It looks for the file of a hard link at the first 100 as well, and fails if there is none.
# The long names of the same archive are right, and so is all with the GNU format. For a symbolic link nothing is printed,
# and the exit code is 0. busybox reads all of it.
#
# Why it surprises: a reader of tar either knows PAX records or does not. toybox takes the name of a file from them and
# leaves the target of a link, which has a record of its own for the same reason, and the help says nothing of either.
# That long names arrive, which is what a test tries, says that the format is read. Links to store paths of Nix have more
# than 100 characters once there is a directory or two below them. Go and Python write such records, so layers of images
# have them.
#
# Seen on 2026-11-30, with the length of what arrived:
#   archive    program    name  symbolic link  hard link
#   gnu        busybox    120   131            made
#   gnu        toybox     120   131            made
#   posix      busybox    120   131            made
#   posix      toybox     120   100            exit code 1
#   python     busybox    120   131            made
#   python     toybox     120   100            exit code 1
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,coreutils,busybox=1:1.37.0-6*,toybox=0.8.9*,tar=1.35*,python3'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/work/links root/work/files root/proc
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin LC_ALL=C "$@"; }

# repeat LETTER COUNT
repeat() { head --bytes="$2" /dev/zero | tr '\0' "$1"; }
name=$(repeat n 120)
echo data >"root/work/files/$name"
ln -s "/nix/store/$(repeat t 120)" root/work/files/symbolic
echo data >"root/work/links/$name"
ln "root/work/links/$name" root/work/links/z
for format in gnu posix; do
  for tree in files links; do
    # the name before the link
    tool tar --format=$format --sort=name -C "$tree" -cf "$format-$tree.tar" . || die "tar failed"
  done
done
tool python3 -c 'import tarfile
for tree in "files", "links":
    with tarfile.open(f"python-{tree}.tar", "w") as archive:
        archive.add(tree, ".")' || die "python failed"
result=""
# ARCHIVE PROGRAM
show() {
  local line hard=made files=$1-$2-files links=$1-$2-links target
  mkdir "root/work/$files" "root/work/$links"
  tool "$2" tar -x -f "$1-files.tar" -C "$files" >log 2>&1 || die "$2: $(tail -n 1 log)"
  [ ! -s log ] || die "$2: $(tail -n 1 log)"
  tool "$2" tar -x -f "$1-links.tar" -C "$links" >log 2>&1 || hard="exit code $?"
  if [ "$hard" = made ]; then
    [ "$(stat --format=%h "root/work/$links/z")" = 2 ] || hard='another file'
  fi
  cmp --quiet "root/work/$files/$name" "root/work/files/$name" || die "$2 writes another name or file"
  target=$(readlink --no-newline "root/work/$files/symbolic" | wc --bytes)
  line=$(printf '%-10s %-10s %-5s %-14s %s' "$1" "$2" "${#name}" "$target" "$hard")
  echo "$line"
  result+="$line"$'\n'
}
for archive in gnu posix python; do
  show $archive busybox
  show $archive toybox
done
expected="gnu        busybox    120   131            made
gnu        toybox     120   131            made
posix      busybox    120   131            made
posix      toybox     120   100            exit code 1
python     busybox    120   131            made
python     toybox     120   100            exit code 1
"
[ "$result" = "$expected" ] || die "links arrive in another way now"
echo "as seen on 2026-11-30"
