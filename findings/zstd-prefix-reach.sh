#!/usr/bin/env bash
# Zstandard finds only the end of an old file that it is given as a prefix, whatever the window.
#
# Version: backports.zstd 1.8.0 (PyPI), which brings libzstd 1.5.7.
#
# Behavior: `compress(new, zstd_dict=ZstdDict(old, is_raw=True).as_prefix)` puts into the tables of its level only the last
# 8 << max(hash_log, chain_log) bytes of `old`: 1 MiB at level 3, 4 MiB at level 9. Bytes before that are never found, with
# any window. Long distance matching or a larger hash_log reaches all of it; with either, level 3 makes a patch that is
# more than ten times larger than that of level 1.
#
# Why it surprises: a prefix is how `zstd --patch-from` makes deltas, so the first guess is that all of it is searched. The
# second is the window; but the window only decides which matches are allowed, not which are found. The third is a higher
# level: 9 still misses the first half of 8 MiB. The fourth is that with long distance matching the level hardly matters.
# Nothing fails: the patch is valid each time, only as large as the new file. (The command sets long distance matching by
# itself for a large old file; the library does not.)
#
# Seen on 2026-11-28, an old file of 8 MiB of random bytes:
#   bytes of the patch to `old` with one byte inserted
#     level 3                                   8388814
#     level 3, window 16 MiB                    7341291
#     level 9, window 16 MiB                    4063736
#     level 12, window 16 MiB                       789
#     level 3, window 16 MiB, hash_log 23         10777
#     level 1, window 16 MiB, hash_log 23           789
#     level 3, window 16 MiB, long distance       12731
#     level 1, window 16 MiB, long distance         915
#   MiB of `old` that is found, window 16 MiB
#     level 3   .......x
#     level 9   ....xxxx
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check backports.zstd==1.8.0

"$work/venv/bin/python" - <<'PYTHON'
import random
import sys

from backports import zstd

Parameter = zstd.CompressionParameter
MIB = 1 << 20
old = random.Random(1).randbytes(8 * MIB)
prefix = zstd.ZstdDict(old, is_raw=True).as_prefix
WINDOW = {Parameter.window_log: 24}
HASH = WINDOW | {Parameter.hash_log: 23}
LONG = WINDOW | {Parameter.enable_long_distance_matching: 1}


def patch_size(new: bytes, level: int, parameters: dict[int, int]) -> int:
    patch = zstd.compress(new, options=parameters | {Parameter.compression_level: level}, zstd_dict=prefix)
    limit = {zstd.DecompressionParameter.window_log_max: 27}
    if zstd.decompress(patch, options=limit, zstd_dict=prefix) != new:
        sys.exit(f"error: level {level}: the patch does not give the new file")
    return len(patch)


changed = False
inserted = old[:1000] + b"!" + old[1000:]
for name, level, parameters, least, most in [
    ("level 3", 3, {}, 8 * MIB, 9 * MIB),
    ("level 3, window 16 MiB", 3, WINDOW, 6.9 * MIB, 7.1 * MIB),
    ("level 9, window 16 MiB", 9, WINDOW, 3.5 * MIB, 4.5 * MIB),
    ("level 12, window 16 MiB", 12, WINDOW, 0, 2000),
    ("level 3, window 16 MiB, hash_log 23", 3, HASH, 8000, 20000),
    ("level 1, window 16 MiB, hash_log 23", 1, HASH, 0, 1000),
    ("level 3, window 16 MiB, long distance", 3, LONG, 10000, 20000),
    ("level 1, window 16 MiB, long distance", 1, LONG, 0, 1000),
]:
    size = patch_size(inserted, level, parameters)
    print(f"{name:38} {size:9}")
    if not least <= size <= most:
        print(f"error: {name}: {size} bytes, not between {least:.0f} and {most:.0f} as seen before", file=sys.stderr)
        changed = True
for level, seen in [(3, ".......x"), (9, "....xxxx")]:
    parts = (old[start : start + MIB] for start in range(0, len(old), MIB))
    found = "".join("x" if patch_size(part, level, WINDOW) < 2000 else "." for part in parts)
    print(f"level {level}   {found}")
    if found != seen:
        print(f"error: level {level} finds {found}, not {seen} as seen before", file=sys.stderr)
        changed = True
sys.exit(changed)
PYTHON
