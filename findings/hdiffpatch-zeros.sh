#!/usr/bin/env bash
# A file of zeros is the worst case of HDiffPatch, not the best.
#
# Version: hdiffpatch 2.6.0 (PyPI).
#
# Behavior: `hdiffpatch.diff(old, new)` finds no match in content that is nearly all zero bytes. The patch carries such a
# file whole, even if old and new are equal. The same file of another byte, or 16 random bytes in front of the zeros, and
# the patch is a few dozen bytes again.
#
# Why it surprises: every other pair of equal files gives a patch of 33 to 42 bytes, and a run of 0xFF is as regular as a
# run of zeros. So the guesses are "equal files cost a header", "runs are cheap", and "if it refuses runs, it refuses all
# runs". But the library keeps a match only where it estimates that the difference to the old bytes compresses better than
# the new bytes do. The difference of zeros to zeros is the same zeros: by that estimate the match saves nothing, also
# where no compressor follows. A delta of preallocated files or blank disk images needs an equality check before it and a
# compressor after it.
#
# Seen on 2026-11-28:
#   zeros, equal                    1000000 -> 1000030
#   zeros, one zero appended        1000000 -> 1000031
#   zeros, equal, with zlib         1000000 -> 1022
#   4 random bytes, zeros, equal    1000004 -> 1000034
#   16 random bytes, zeros, equal   1000016 -> 33
#   0xff, equal                     1000000 -> 42
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check hdiffpatch==2.6.0

"$work/venv/bin/python" - <<'PYTHON'
import random
import sys

import hdiffpatch

zeros = bytes(1_000_000)
some = random.Random(1).randbytes(16)
cases = [
    ("zeros, equal", zeros, zeros, None, 1_000_030),
    ("zeros, one zero appended", zeros, zeros + b"\0", None, 1_000_031),
    ("zeros, equal, with zlib", zeros, zeros, "zlib", 1_022),
    ("4 random bytes, zeros, equal", some[:4] + zeros, some[:4] + zeros, None, 1_000_034),
    ("16 random bytes, zeros, equal", some + zeros, some + zeros, None, 33),
    ("0xff, equal", b"\xff" * 1_000_000, b"\xff" * 1_000_000, None, 42),
]
changed = False
for name, old, new, compression, seen in cases:
    patch = hdiffpatch.diff(old, new, compression)
    if hdiffpatch.apply(old, patch) != new:
        sys.exit(f"error: {name}: the patch does not give the new file")
    print(f"{name:31} {len(old)} -> {len(patch)}")
    if len(patch) != seen:
        print(f"error: {name}: the patch has {len(patch)} bytes, {seen} were seen before", file=sys.stderr)
        changed = True
sys.exit(changed)
PYTHON
