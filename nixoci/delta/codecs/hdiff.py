"""Patches by HDiffPatch (`HDIFF13`), not compressed: the body is."""

import io

from nixoci.delta.codecs.hdiff13 import MAGIC, Cover, Patch, pack_patch, pack_payload, pieces, read_patch, without_start
from nixoci.delta.codecs.model import Codec, CorruptPayloadError
from nixoci.delta.codecs.source import Held, Source
from nixoci.delta.codecs.windows import WINDOW, Range, windows

SUFFIX_SIZE = 9
"""Bytes of memory that HDiffPatch takes for each old byte, to find it in a sorted array of all suffixes."""

_CONTEXT = 1 << 19
"""Bytes before a piece that are matched with it, and bytes at its end that may be left to the next one.

A match begins in bytes that are the same, and goes on in bytes that are not: addresses that differ by the same number.
"""
_MIN_UNLIKE = 1 << 12
"""Smallest number of bytes that are left to the next piece."""

_LARGE_PAYLOAD = 16 << 20
"""Bytes of a payload from which on it is applied in pieces. HDiffPatch takes twice the memory of its result, and a
payload of these bytes is mostly new bytes, with few others that have to be divided."""
_PIECE = 1 << 20
"""Bytes that a piece makes."""
_MOST_DIVIDED = 1 << 17
"""Most bytes that tell of covers and added bytes in a payload that is applied in pieces: each takes some time."""


def patch(old: bytes, new: bytes) -> bytes:
    """Return the payload of `new`."""
    return patch_source(Held(old), Held(new))


def patch_source(old: Source, new: Source) -> bytes:
    """Return the payload of `new`: by windows if `old` is larger than one, else with both in memory."""
    if old.size > WINDOW:
        return patch_by_windows(old, new)
    return _diff(old.read(0, old.size), new.read(0, new.size)).removeprefix(MAGIC)


def patch_by_windows(old: Source, new: Source) -> bytes:
    """Return a payload of `new`, with a window of `old` and a piece of `new` in memory at a time.

    It takes no more time than a patch of the whole, and is about as large: what is alike is mostly near. `old` has at
    least one byte.
    """
    joined = Patch(new_size=new.size, old_size=old.size)
    control, runs, inserted = [], [], []
    start = 0
    for end, ranges in windows(old, new):
        window = b"".join(old.read(*each) for each in ranges)
        lead = min(start, _CONTEXT)
        part = read_patch(_diff(window, new.read(start - lead, end)))
        left = _unlike_end(part) if end < new.size else 0
        left = left if left < end - start else 0
        if left:
            part = read_patch(_diff(window, new.read(start - lead, end - left)))
        part = without_start(part, lead)
        for cover in part.covers:
            _add(joined.covers, cover, start, ranges)
        control.append(part.control)
        runs.append(part.runs)
        inserted.append(part.inserted)
        start = end - left
    return pack_payload(joined, control, runs, inserted)


def _unlike_end(part: Patch) -> int:
    """Return the bytes at the end of a piece that are unlike the old file, if most others are like it.

    They may be like it together with those after them.
    """
    last = part.covers[-1] if part.covers else Cover(0, 0, 0)
    size = part.new_size - last.new - last.length
    return size if _MIN_UNLIKE <= size <= _CONTEXT and len(part.inserted) * 8 < part.new_size else 0


def _add(covers: list[Cover], cover: Cover, start: int, ranges: list[Range]) -> None:
    """Append a cover of a piece at `start` and of the window of these ranges, as covers of the whole files."""
    at, new, left = cover.old, start + cover.new, cover.length
    for begin, end in ranges:
        length = min(left, end - begin - at)
        if length > 0:
            last = covers[-1] if covers else Cover(0, 0, 0)
            if covers and (last.old + last.length, last.new + last.length) == (begin + at, new):
                covers[-1] = Cover(last.old, last.new, last.length + length)
            else:
                covers.append(Cover(begin + at, new, length))
            new, left, at = new + length, left - length, end - begin
        at -= end - begin


def patch_covers(payload: bytes) -> list[Cover]:
    """Return what a payload by `patch` copies."""
    return read_patch(MAGIC + payload).covers


def _diff(old: bytes, new: bytes) -> bytes:
    import hdiffpatch  # noqa: PLC0415 - takes longer to load than a delta without patches takes to apply

    return hdiffpatch.diff(old, new, validate=False, big_cache_match=True)


def _decode(payload: bytes, old: bytes, limit: int) -> bytes:
    import hdiffpatch  # noqa: PLC0415 - as in patch

    if declared_size(payload) > limit:
        raise CorruptPayloadError(f"a patch makes more than {limit} bytes")
    try:
        if len(payload) > _LARGE_PAYLOAD and (parts := pieces(payload, _PIECE, _MOST_DIVIDED)) is not None:
            made = io.BytesIO()
            for part in parts:
                made.write(hdiffpatch.apply(old, pack_patch(part)))
            return made.getvalue()  # without a copy
        return hdiffpatch.apply(old, MAGIC + payload)
    except (IndexError, hdiffpatch.HDiffPatchError) as error:
        raise CorruptPayloadError(f"a patch does not apply ({error})") from error


def declared_size(payload: bytes) -> int:
    """Return the size that a patch declares for its result (HDiffPatch, `serializeCompressedDiff`)."""
    value = 0
    for byte in payload[:10]:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value
    raise CorruptPayloadError("a patch is cut short")


HDIFF = Codec(number=1, name="hdiff", decode=_decode)
