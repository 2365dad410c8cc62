#!/usr/bin/env bash
# debugfs and e2cp make files with inline data longer, and readers of ext4 for Python have only the first 60 bytes of them right.
#
# Version: e2fsprogs 1.47.4, e2tools 0.1.2, 7zip 26.05 (Debian forky); dissect.extfs 3.15, ext4 1.4.1, libfsext-python 20260821
#          (PyPI); Linux 6.18. With e2fsprogs 1.47.2 (Debian 13), debugfs and e2cp give 60 bytes of the file of 40.
#
# Behavior: with the feature inline_data a small file is in its inode: 60 bytes in the place of the block list, and what is more
# in an extended attribute, which has room for less than 70 more. `debugfs -R 'dump FILE'` gives a block of each such file, and
# `e2cp` 4096 bytes, filled up with zeros. The libraries ext4 and libfsext give a file of the right length, with
# other bytes behind the first 60, and dissect.extfs gives 60. The exit codes are 0. Only 7z refuses what is in
# two parts ("Unsupported Method"). A file that is too large for its inode is right everywhere.
#
# Why it surprises: the second part is easy to forget in a reader, and a refusal would be expected, as the feature is a flag in the
# superblock that a reader has to know. But debugfs and mke2fs are one package with one library, which knows both parts, and
# what is wrong there is the length, which `stat` in debugfs shows right. A comparison of an image by
# debugfs passes if the files of the test are large. Those concerned are the names, keys and unit files of a system.
#
# Seen on 2026-11-30, length of a file, and how many bytes are right if not all are that are there:
#                 40 bytes    100 bytes     300 bytes
#   Linux         40          100           300
#   debugfs       1024        1024          300
#   e2cp          4096        4096          300
#   7z            40          refused       300
#   dissect       40          60            300
#   ext4          40          100, 60 right 300
#   libfsext      40          100, 60 right 300
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='e2fsprogs=1.47.4-1*,e2tools=0.1.2-1*,7zip=26.05*'
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch the tools"
libraries=$(echo root/{usr/,}lib/*-linux-gnu root/usr/lib/7zip | tr ' ' :)
loader=$(find root -name 'ld-linux-*.so.?' -path '*-linux-gnu/*' | head -n 1)
tool() {
  local path
  path=$(find root/usr/bin root/usr/sbin root/usr/lib/7zip -name "$1" -not -type d | tail -n 1)
  LC_ALL=C "$loader" --library-path "$libraries" "$path" "${@:2}"
}
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dissect.extfs==3.15 ext4==1.4.1 libfsext-python==20260821 >pip.log 2>&1 ||
  die "pip: $(tail -n 1 pip.log)"

mkdir tree mounted
for length in 40 100 300; do
  seq 100 999 | head --bytes=$length >tree/$length
done
truncate --size=8M image
tool mke2fs -q -t ext4 -b 1024 -O inline_data -d tree image || die "mke2fs failed"
tool e2fsck -f -n image >log 2>&1 || die "e2fsck: $(tail -n 1 log)"
cat >read.py <<'PYTHON'
import sys

library, name = sys.argv[1:]
path = "/" + name
with open("image", "rb") as image:
    if library == "dissect":
        from dissect.extfs import ExtFS

        data = ExtFS(image).get(path).open().read()
    elif library == "ext4":
        import ext4

        data = ext4.Volume(image).inode_at(path).open().read()
    else:
        import pyfsext

        volume = pyfsext.volume()
        volume.open_file_object(image)
        entry = volume.get_file_entry_by_path(path)
        data = entry.read(entry.size)
sys.stdout.buffer.write(data)
PYTHON
# READER FILE
read_by() {
  case $1 in
    Linux) unshare --mount sh -ec "mount -o loop,ro image mounted; cat mounted/$2" ;;
    debugfs) tool debugfs -R "dump $2 out" image 2>log && cat out ;;
    e2cp) tool e2cp "image:/$2" out 2>log && cat out ;;
    7z) tool 7z x -so image "$2" 2>log ;;
    *) venv/bin/python read.py "$1" "$2" 2>log ;;
  esac
}
result=""
show() {
  local file length difference cells=()
  for file in 40 100 300; do
    if read_by "$1" $file >got; then
      length=$(wc --bytes <got)
      difference=$(LC_ALL=C cmp got tree/$file 2>&1 || true)
      case $difference in
        '' | *EOF*) ;;
        *)
          difference=${difference%, line*}
          length+=", $((${difference##* } - 1)) right"
          ;;
      esac
      cells+=("$length")
    else
      grep --quiet 'Unsupported Method' log || die "$1: $(tail -n 1 log)"
      cells+=(refused)
    fi
  done
  local line
  line=$(printf '%-13s %-11s %-13s %s' "$1" "${cells[@]}")
  echo "$line"
  result+="$line"$'\n'
}
for reader in Linux debugfs e2cp 7z dissect ext4 libfsext; do
  show $reader
done
expected="Linux         40          100           300
debugfs       1024        1024          300
e2cp          4096        4096          300
7z            40          refused       300
dissect       40          60            300
ext4          40          100, 60 right 300
libfsext      40          100, 60 right 300
"
[ "$result" = "$expected" ] || die "other bytes are read now"
echo "as seen on 2026-11-30"
