"""The sender's choice of a codec: the one that is expected to be smallest in the compressed body."""

from nixoci.compression import compress
from nixoci.delta.codecs.hdiff import HDIFF, patch
from nixoci.delta.codecs.model import Codec
from nixoci.delta.codecs.plain import PLAIN
from nixoci.delta.codecs.splice import SPLICE, splice
from nixoci.delta.codecs.zstd import MIN_PREFIX, ZSTD, compress_against
from nixoci.delta.effort import Effort

_INCOMPRESSIBLE = 0.98
"""Smallest ratio of the size after `zstd -1` to the size before for which data count as incompressible."""

_SMALL_SPLICE = 32
"""Largest replacement in bytes for which no other codec is tried, since none makes it smaller."""


def is_incompressible(sample: bytes) -> bool:
    """Return whether data are incompressible, judging by a sample: compressed, encrypted or random."""
    return len(compress(sample, 1)) >= _INCOMPRESSIBLE * len(sample)


def encode(new: bytes, old: bytes | None, effort: Effort, *, incompressible: bool = False) -> tuple[Codec, bytes]:
    """Return a codec and the payload that makes `new` from `old`.

    For an incompressible content, make a patch only if old and new have something in common, which is rare.
    """
    if not new or not old:
        return PLAIN, new
    spliced, inserted = splice(old, new)
    if len(new) <= len(spliced):
        best = PLAIN, new
    else:
        best = SPLICE, spliced
        if inserted <= _SMALL_SPLICE:
            return best
    if len(old) < MIN_PREFIX:
        return best
    if effort is Effort.FAST or incompressible:
        against = compress_against(old, new, level=3 if effort is Effort.FAST else 1)
        if len(against) >= (_INCOMPRESSIBLE if incompressible else 1) * len(best[1]):
            return best
        if effort is Effort.FAST:
            return ZSTD, against
    patched = patch(old, new)
    return (HDIFF, patched) if len(patched) < len(best[1]) else best
