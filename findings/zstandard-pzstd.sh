#!/usr/bin/env bash
# zstandard's iterator and decompressobj read nothing from a file that pzstd wrote, without an error.
#
# Version: zstd 1.5.7 (Debian 13), zstandard 0.25.0 and backports.zstd 1.8.0 (PyPI).
#
# Behavior: pzstd, the parallel compressor that comes with zstd, starts each file with a skippable frame that has the size of
# the next one. zstandard's read_to_iter() and decompressobj() end with the first frame, whether it has content or not: the
# iterator has no item, and the object returns b"". decompress() raises an error about 0 bytes. stream_reader(), copy_stream() and
# open() of the same library read the whole file, as zstd and other libraries do. `zstd -T0` writes one frame and no such start.
#
# Why it surprises: that the functions read one frame only is written in the manual, and the guess of those who know is the
# first part of a file: it is the known fault with files that were appended to. The manual says the same of stream_reader(),
# which has an option for it, and that one reads on. A skippable frame is what a reader has to step over, and a file which
# starts with one has all its content in frames that are never reached. A loop over an iterator without items is a valid
# program: a layer that is hashed or unpacked in this way is an empty one. `zstd -t` and `zstd -l` find no fault in the file.
#
# Seen on 2026-11-30, bytes that are read from a compressed file of 1988895:
#                    zstd -T0            pzstd
#   zstd             1988895             1988895
#   backports.zstd   1988895             1988895
#   stream_reader    1988895             1988895
#   copy_stream      1988895             1988895
#   open             1988895             1988895
#   read_to_iter     1988895             0
#   decompressobj    1988895             0
#   decompress       1988895             decompression error: decompressed 0 bytes; expected 4
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include='base-files,coreutils,zstd=1.5.7+dfsg-1*' trixie root || die "mmdebstrap could not fetch zstd"
mkdir -p root/work
python3 -m venv venv
venv/bin/pip install --quiet zstandard==0.25.0 backports.zstd==1.8.0 >pip.log 2>&1 || die "pip: $(tail -n 1 pip.log)"
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin "$@" 2>log || die "$1: $(tail -n 1 log)"; }

seq 1 300000 >root/work/file
tool zstd -q -T0 file -o zstd
tool pzstd -q -p 2 file -o pzstd
result=""
line() {
  local line
  printf -v line '%-16s %-19s %s' "$@"
  echo "$line"
  result+="$line"$'\n'
}
read_by() {
  venv/bin/python - "$1" "$2" <<'PYTHON'
import io
import sys

import backports.zstd
import zstandard

name, path = sys.argv[1:]
with open(path, "rb") as file:
    data = file.read()
reader = zstandard.ZstdDecompressor()


def copied():
    target = io.BytesIO()
    reader.copy_stream(io.BytesIO(data), target)
    return target.getvalue()


functions = {
    "backports.zstd": lambda: backports.zstd.decompress(data),
    "stream_reader": lambda: reader.stream_reader(io.BytesIO(data)).read(),
    "copy_stream": copied,
    "open": lambda: zstandard.open(path, "rb").read(),
    "read_to_iter": lambda: b"".join(reader.read_to_iter(io.BytesIO(data))),
    "decompressobj": lambda: reader.decompressobj().decompress(data),
    "decompress": lambda: reader.decompress(data),
}
try:
    print(len(functions[name]()))
except zstandard.ZstdError as error:
    print(error)
PYTHON
}
line '' 'zstd -T0' pzstd
line zstd "$(tool zstd -q -d -c zstd | wc --bytes)" "$(tool zstd -q -d -c pzstd | wc --bytes)"
for name in backports.zstd stream_reader copy_stream open read_to_iter decompressobj decompress; do
  line $name "$(read_by $name root/work/zstd)" "$(read_by $name root/work/pzstd)"
done
expected="                 zstd -T0            pzstd
zstd             1988895             1988895
backports.zstd   1988895             1988895
stream_reader    1988895             1988895
copy_stream      1988895             1988895
open             1988895             1988895
read_to_iter     1988895             0
decompressobj    1988895             0
decompress       1988895             decompression error: decompressed 0 bytes; expected 4
"
[ "$result" = "$expected" ] || die "the functions read other frames now"
echo "as seen on 2026-11-30"
