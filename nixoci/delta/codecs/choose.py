"""The sender's choice of a codec: the one whose payload is expected to be smallest in the compressed body."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from nixoci.compression import ZSTD_MIN_PREFIX, ZstdCompressor, compress
from nixoci.delta.cds.codec import CDS_MAGIC
from nixoci.delta.cds.codec import encode as patch_archive
from nixoci.delta.codecs.elf import ELF, ELF_MAGIC, decoding_cost, is_promising, refine
from nixoci.delta.codecs.formats import CDS, JIMAGE
from nixoci.delta.codecs.hdiff import HDIFF, SUFFIX_SIZE, patch, patch_by_windows
from nixoci.delta.codecs.model import Codec
from nixoci.delta.codecs.plain import PLAIN
from nixoci.delta.codecs.source import Held, Source
from nixoci.delta.codecs.splice import SPLICE, splice
from nixoci.delta.codecs.windows import WINDOW
from nixoci.delta.codecs.zstd import ZSTD, compress_against, compress_source
from nixoci.delta.effort import Effort
from nixoci.delta.format.model import SEGMENT_SIZE
from nixoci.delta.jimage.codec import encode as patch_modules
from nixoci.delta.recompress.codec import DEFLATE
from nixoci.delta.recompress.codec import encode as patch_inflated
from nixoci.delta.recompress.streams import GZIP_MEMBER, ZIP_MEMBER
from nixoci.malloc import return_free_memory

_INCOMPRESSIBLE = 0.98
"""Smallest ratio of the size after `zstd -1` to the size before for which data count as incompressible."""

_SMALL_SPLICE = 32
"""Largest replacement in bytes for which no other codec is tried, since none makes it smaller."""

_NOISE = 64
"""Difference of two estimates in bytes that tells nothing, because the body compresses a payload after others."""

_MIDDLE = 4 << 20
"""Bytes in the middle of large contents that tell whether they have something in common."""

_READ = 1 << 20


class Encoded(NamedTuple):
    """A payload and its codec."""

    codec: Codec
    payload: bytes


class Patcher(NamedTuple):
    """A codec that the sender tries on contents with an old segment.

    Attributes:
        codec: The codec.
        make: Takes an old segment of at least `ZSTD_MIN_PREFIX` bytes and the content; returns the payload, or None if
            the codec does not suit them.
        by_parts: Whether it reads large contents by parts; others are tried on contents of at most `_WHOLE` bytes.
        last: Whether no further codec is tried on contents that this one suits: its payload has a patch of more alike
            contents in it than they are.
        starts: The first bytes of the large contents that it is tried on.
        memory: Bytes of memory that it takes for each byte of both, besides those of HDiffPatch.
    """

    codec: Codec
    make: Callable[[Source, Source], bytes | None]
    by_parts: bool = False
    last: bool = False
    starts: tuple[bytes, ...] = ()
    memory: int = 1


def _in_memory(make: Callable[[bytes, bytes], bytes | None]) -> Callable[[Source, Source], bytes | None]:
    """Return `Patcher.make` of a function that takes both as a whole."""
    return lambda old, new: make(old.read(0, old.size), new.read(0, new.size))


_OF_FORMATS = (
    Patcher(CDS, _in_memory(patch_archive), last=True, starts=(CDS_MAGIC,), memory=5),
    Patcher(JIMAGE, patch_modules, by_parts=True, last=True),
    Patcher(DEFLATE, _in_memory(patch_inflated), last=True, starts=(ZIP_MEMBER, GZIP_MEMBER), memory=4),
)
_LARGE = 16 << 20
"""Bytes of a content and its old segment up to which both are in memory as a whole."""
_WHOLE = 48 << 20
"""Bytes of a large content and its old segment up to which both are in memory for a codec of their format."""
START = 4
"""Bytes at the start of a content that tell its format."""


class Refiner(NamedTuple):
    """A codec that the sender tries on contents after HDiffPatch.

    Attributes:
        codec: The codec.
        make: Takes an old segment, the content and the payload by HDiffPatch; returns the payload, or None if the codec
            does not suit them.
        tries: Takes the same, and returns whether the codec is tried.
        cost: Returns the bytes that it has to save to be worth its time, from the size of both.
        starts: The first bytes of the contents that it is tried on.
        memory: Bytes of memory that it takes for each byte of both, besides those of HDiffPatch.
    """

    codec: Codec
    make: Callable[[Source, Source, bytes], bytes | None]
    tries: Callable[[Source, Source, bytes], bool]
    cost: Callable[[int], int]
    starts: tuple[bytes, ...] = ()
    memory: int = 1


_FAST = Patcher(ZSTD, partial(compress_source, level=3), by_parts=True)
_PATCHERS = {Effort.FAST: (_FAST,), Effort.DEFAULT: (*_OF_FORMATS, Patcher(HDIFF, _in_memory(patch)))}
"""The codecs that are tried besides plain and splice."""
_LARGE_PATCHERS = {
    Effort.FAST: (_FAST,),
    Effort.DEFAULT: (*_OF_FORMATS, Patcher(HDIFF, patch_by_windows, by_parts=True)),
}
"""The codecs that are tried on large contents besides plain, until one suits."""

_REFINERS = (Refiner(ELF, refine, is_promising, decoding_cost, starts=(ELF_MAGIC,), memory=3),)
"""The codecs that are tried where HDiffPatch is."""


def newest_version(effort: Effort) -> int:
    """Return the newest version of the format that a payload of this effort may need."""
    codecs = [patcher.codec for patcher in _PATCHERS[effort]]
    if HDIFF in codecs:
        codecs += [refiner.codec for refiner in _REFINERS]
    return max(codec.version for codec in codecs)


def is_large(old_size: int, size: int) -> bool:
    """Return whether a content is encoded by `encode_large`, and not by `encode`."""
    return old_size + size > _LARGE


def needed_memory(start: bytes, old_size: int, size: int, effort: Effort) -> int:
    """Return the bytes of memory that encoding a content takes, about.

    Args:
        start: The first `START` bytes of the content.
        old_size: The size of its old segment.
        size: The size of the content.
        effort: The sender's effort.
    """
    both = old_size + size
    if not old_size or effort is Effort.FAST:
        return both
    times = max(one.memory if start.startswith(one.starts) else 1 for one in (*_OF_FORMATS, *_REFINERS))
    by_windows = is_large(old_size, size) and (times == 1 or both > _WHOLE)
    return (2 * WINDOW if by_windows else times * both) + SUFFIX_SIZE * min(old_size, WINDOW)


def is_incompressible(sample: bytes) -> bool:
    """Return whether data are incompressible, judging by a sample: compressed, encrypted or random."""
    return estimated_size(sample) >= _INCOMPRESSIBLE * len(sample)


def estimated_size(payload: bytes) -> int:
    """Return the bytes of a payload after `zstd -1`.

    They rank payloads as the body's compression does, LZMA2 too, and take a hundredth of the time to make a patch.
    """
    return len(compress(payload, 1))


def encode(
    new: bytes, old: bytes | None, effort: Effort, *, incompressible: bool = False, limit: int = SEGMENT_SIZE
) -> Encoded:
    """Return the payload that makes `new` from `old` and has the smallest estimated size.

    For an incompressible content, make a patch only if old and new have something in common, which is rare.

    Args:
        new: The content.
        old: Its old segment, if it has one.
        effort: The sender's effort.
        incompressible: Whether the content is.
        limit: The largest size of a payload.
    """
    if not new or not old:
        return Encoded(PLAIN, new)
    candidates = [Encoded(PLAIN, new)]
    spliced, inserted = splice(old, new)
    if len(spliced) < len(new):
        if inserted <= _SMALL_SPLICE:
            return Encoded(SPLICE, spliced)
        candidates.append(Encoded(SPLICE, spliced))
    if len(old) >= ZSTD_MIN_PREFIX and not (incompressible and _are_unrelated(old, new, candidates)):
        candidates += _patches(Held(old), Held(new), effort, limit)
    return _smallest(candidates)


def _patches(old: Source, new: Source, effort: Effort, limit: int) -> Iterator[Encoded]:
    """Yield the payloads of at most `limit` bytes by the codecs that an effort tries."""
    for patcher in _PATCHERS[effort]:
        payload = patcher.make(old, new)
        if payload is None:
            continue
        made = Encoded(patcher.codec, payload)
        if patcher.codec is HDIFF:
            made = _refined(made, old, new)
        if len(made.payload) <= limit:
            yield made
            if patcher.last:
                return


def _refined(patched: Encoded, old: Source, new: Source) -> Encoded:
    """Return a payload by HDiffPatch, or the one that another codec makes of it if that saves enough."""
    for refiner in _REFINERS:
        if not refiner.tries(old, new, patched.payload):
            continue
        payload = refiner.make(old, new, patched.payload)
        least = refiner.cost(old.size + new.size)
        if payload is not None and estimated_size(payload) + least <= estimated_size(patched.payload):
            return Encoded(refiner.codec, payload)
    return patched


def encode_large(
    new: Source, old: Source, effort: Effort, *, incompressible: bool, limit: int = SEGMENT_SIZE
) -> Encoded:
    """Return the payload that makes a large content, as `encode` does, with few of both bytes in memory.

    Besides a patch by windows, the codecs that know the content's format are tried: what others gain is little.
    """
    if old.size >= ZSTD_MIN_PREFIX and not (incompressible and _middles_are_unrelated(old, new)):
        made = _patch_large(old, new, effort)
        if made is not None and len(made.payload) <= limit and estimated_size(made.payload) < _estimated_size(new):
            return made
    return Encoded(PLAIN, new.read(0, new.size))


def _patch_large(old: Source, new: Source, effort: Effort) -> Encoded | None:
    """Return the payload by the first codec that suits a large content."""
    whole = old.size + new.size <= _WHOLE
    start = new.read(0, START)
    for patcher in _LARGE_PATCHERS[effort]:
        if not patcher.by_parts and not (whole and start.startswith(patcher.starts)):
            continue
        payload = patcher.make(old, new)
        if payload is None:
            continue
        made = Encoded(patcher.codec, payload)
        if patcher.codec is HDIFF and whole:
            return_free_memory()  # of HDiffPatch
            made = _refined(made, old, new)
        return made
    return None


def _middles_are_unrelated(old: Source, new: Source) -> bool:
    starts = [max(0, source.size - _MIDDLE) // 2 for source in (old, new)]
    one, other = (source.read(start, start + _MIDDLE) for source, start in zip((old, new), starts, strict=True))
    return len(one) < ZSTD_MIN_PREFIX or _are_unrelated(one, other, [Encoded(PLAIN, other)])


def _estimated_size(source: Source) -> int:
    compressor = ZstdCompressor(level=1)
    blocks = (source.read(start, start + _READ) for start in range(0, source.size, _READ))
    return sum(len(compressor.compress(block)) for block in blocks) + len(compressor.flush())


def _are_unrelated(old: bytes, new: bytes, candidates: Iterable[Encoded]) -> bool:
    """Return whether a quick patch hardly gains anything."""
    smallest = min(len(candidate.payload) for candidate in candidates)
    return len(compress_against(old, new, level=1)) >= _INCOMPRESSIBLE * smallest


def _smallest(candidates: list[Encoded]) -> Encoded:
    """Return the candidate of the smallest estimate; of those that are about equal, the shortest."""
    if len(candidates) == 1:
        return candidates[0]
    sizes = [estimated_size(candidate.payload) for candidate in candidates]
    least = min(sizes)
    equal = [one for one, size in zip(candidates, sizes, strict=True) if size <= least + _NOISE]
    return min(equal, key=lambda candidate: len(candidate.payload))
