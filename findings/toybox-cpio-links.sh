#!/usr/bin/env bash
# toybox cpio makes empty files of hard links in archives of others, and reports success.
#
# Version: toybox 0.8.9, busybox 1.37.0, cpio 2.15 (Debian 13).
#
# Behavior: `toybox cpio -i` makes a file of its own for each name of a file with hard links. In an archive of GNU cpio the last
# name has the content and the others are empty; in one of busybox the first name has it. An archive of toybox has the content with
# each name, and cpio and busybox extract that as well. The exit code is 0 each time and nothing is printed.
#
# Why it surprises: the program reads back what it writes, and others read that, so a test of it with itself finds nothing. It writes
# the same inode number and the count of links, by which newc states a link, and cpio makes links of them. So the guess is that it
# reads links too, or refuses them, or copies the content to each name. The size of 0 that it takes for that of an empty
# file is how all but one name of a file are stored. An initramfs comes from GNU cpio as a rule, and a program with several names
# can be one file with hard links in it.
#
# Seen on 2026-11-30, a file of 5 bytes with names a, b and c, with the size and the count of links of each:
#   written by  read by    a      b      c
#   cpio        cpio       5 3    5 3    5 3
#   cpio        busybox    5 3    5 3    5 3
#   cpio        toybox     0 1    0 1    5 1
#   busybox     cpio       5 3    5 3    5 3
#   busybox     busybox    5 3    5 3    5 3
#   busybox     toybox     5 1    0 1    0 1
#   toybox      cpio       5 3    5 3    5 3
#   toybox      busybox    5 1    5 1    5 1
#   toybox      toybox     5 1    5 1    5 1
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,coreutils,busybox=1:1.37.0-6*,toybox=0.8.9*,cpio=2.15*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/work/tree root/proc
# PROGRAM ARGUMENT...
run_cpio() {
  local command=(cpio "${@:3}")
  [ "$1" = cpio ] || command=("$1" cpio "${@:3}")
  chroot root /usr/bin/env -i -C "/work/$2" PATH=/usr/bin LC_ALL=C "${command[@]}"
}

echo data >root/work/tree/a
ln root/work/tree/a root/work/tree/b
ln root/work/tree/a root/work/tree/c
result=""
# WRITER READER
show() {
  local line directory=$1-$2
  mkdir "root/work/$directory"
  run_cpio "$2" "$directory" -i <"$1.cpio" 2>log || die "$2: $(tail -n 1 log)"
  ! grep --quiet --invert-match --regexp='^[0-9]* blocks\?$' log || die "$2: $(tail -n 1 log)"
  # shellcheck disable=SC2046,SC2183
  line=$(printf '%-11s %-10s %s %s    %s %s    %s %s' "$1" "$2" $(cd "root/work/$directory" && stat --format='%s %h' a b c))
  echo "$line"
  result+="$line"$'\n'
}
for writer in cpio busybox toybox; do
  printf '%s\n' a b c | run_cpio $writer tree -o -H newc >$writer.cpio 2>log || die "$writer: $(tail -n 1 log)"
  for reader in cpio busybox toybox; do show $writer $reader; done
done
expected="cpio        cpio       5 3    5 3    5 3
cpio        busybox    5 3    5 3    5 3
cpio        toybox     0 1    0 1    5 1
busybox     cpio       5 3    5 3    5 3
busybox     busybox    5 3    5 3    5 3
busybox     toybox     5 1    0 1    0 1
toybox      cpio       5 3    5 3    5 3
toybox      busybox    5 1    5 1    5 1
toybox      toybox     5 1    5 1    5 1
"
[ "$result" = "$expected" ] || die "other files are extracted now"
echo "as seen on 2026-11-30"
