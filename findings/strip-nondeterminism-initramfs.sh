#!/usr/bin/env bash
# strip-nondeterminism cuts an initramfs of several archives off behind the first, which is the processor's microcode.
#
# Version: strip-nondeterminism 1.14.1, libarchive-cpio-perl 0.10, cpio 2.15 (Debian 13); strip-nondeterminism 1.15.1 (Debian forky) does
#          the same.
#
# Behavior: the file is a cpio archive with microcode and behind it a second one, compressed or not, as the kernel reads
# them. `strip-nondeterminism FILE.cpio` sets the times in the first archive and writes it over the file. What was
# behind it is gone. The exit code is 0, and `--verbose` says that the file was normalized. A file of one archive keeps its
# content.
#
# Why it surprises: that `cpio -i` reads the first archive only is known, and leaves the file as it is. A tool whose one purpose is
# to take times out of build results is expected to refuse a file that it does not understand, or to change the headers in place,
# as it does for ar, or to copy the rest, as it does for files of several gzip members. Here it writes again what its library has
# found, and the library stops at the first trailer. What is left is a valid archive with equal bytes in each build, so that the test of
# reproducibility, for which the tool is run, passes.
#
# Seen on 2026-11-30, the files of all archives before and after:
#   one archive                  init, after: init
#   microcode, archive           microcode init, after: microcode
#   microcode, gzip              microcode init, after: microcode
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,coreutils,strip-nondeterminism=1.14.1-2,libarchive-cpio-perl=0.10-3,cpio=2.15+dfsg-2'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/work root/tmp
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin LC_ALL=C "$@"; }

# CONTENT, the name of the file too
archive() {
  rm -rf root/work/tree
  mkdir root/work/tree
  echo "$1" >"root/work/tree/$1"
  tool env -C tree cpio --create --quiet --format=newc <<<"$1"
}
archive microcode >first
archive init >second
# the files of each archive in a file, by its own reader: names at the headers, in gzip too
cat >list.py <<'PYTHON'
import sys
import zlib

data = open(sys.argv[1], "rb").read()
names = []
while data:
    if data[:2] == b"\x1f\x8b":
        data = zlib.decompressobj(31).decompress(data)
    if data[:6] != b"070701":
        data = data[1:]
        continue
    size, name_size = (int(data[offset : offset + 8], 16) for offset in (54, 94))
    name = data[110 : 110 + name_size - 1].decode()
    end = (110 + name_size + 3) // 4 * 4
    if data[end : end + size].decode().strip() == name:
        names.append(name)
    data = data[(end + size + 3) // 4 * 4 :]
print(*names)
PYTHON
result=""
show() {
  local before line
  before=$(python3 list.py root/work/initramfs.cpio)
  tool strip-nondeterminism --verbose --timestamp 1 initramfs.cpio >log 2>&1 || die "strip-nondeterminism: $(tail -n 1 log)"
  grep --quiet '^Normalized' log || die "strip-nondeterminism: $(tail -n 1 log)"
  line=$(printf '%-28s %s, after: %s' "$1" "$before" "$(python3 list.py root/work/initramfs.cpio)")
  echo "$line"
  result+="$line"$'\n'
}
cp second root/work/initramfs.cpio
show 'one archive'
cat first second >root/work/initramfs.cpio
show 'microcode, archive'
gzip --no-name <second | cat first - >root/work/initramfs.cpio
show 'microcode, gzip'
expected="one archive                  init, after: init
microcode, archive           microcode init, after: microcode
microcode, gzip              microcode init, after: microcode
"
[ "$result" = "$expected" ] || die "other archives are kept now"
echo "as seen on 2026-11-30"
