"""The bytes of a patch by HDiffPatch (`HDIFF13`, not compressed), to join patches of parts.

HDiffPatch, `libHDiffPatch/HDiff/diff.cpp`, `serialize_compressed_diff`, and `libHDiffPatch/HPatch/patch.c`.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MAGIC = b"HDIFF13&\0"
"""The start of every patch that is not compressed."""

_BITS = 64
"""Bits of the largest number."""
_SAME, _EACH = 2, 3
"""Kinds of runs of added bytes: all are the same byte, each is another; 0 and 1 are runs of 0 and of 255."""


class Cover(NamedTuple):
    """A range of the new bytes that is made of old ones: their offsets, and the length of both."""

    old: int
    new: int
    length: int


@dataclass(slots=True, kw_only=True)
class Patch:
    """A patch.

    Attributes:
        new_size: Bytes of the result.
        old_size: Bytes that it is applied to.
        covers: The covers, by their new offsets; they do not overlap there.
        control: Kinds and lengths of the runs of bytes that are added to the covers' old ones.
        runs: The bytes of those runs.
        inserted: The new bytes between covers.
    """

    new_size: int
    old_size: int
    covers: list[Cover] = field(default_factory=list)
    control: bytes = b""
    runs: bytes = b""
    inserted: bytes = b""


def pack_patch(patch: Patch) -> bytes:
    """Return the bytes of a patch."""
    return MAGIC + pack_payload(patch, [patch.control], [patch.runs], [patch.inserted])


def pack_payload(patch: Patch, *streams: Sequence[bytes]) -> bytes:
    """Return the bytes of a patch after `MAGIC`, its other streams than covers each in parts: they are copied once."""
    covers = bytearray()
    old_end = new_end = 0
    for old, new, length in patch.covers:
        covers += _pack_signed(old - old_end)
        covers += _pack(new - new_end)
        covers += _pack(length)
        old_end, new_end = old + length, new + length
    head = [patch.new_size, patch.old_size, len(patch.covers)]
    for size in (len(covers), *(sum(map(len, parts)) for parts in streams)):
        head += [size, 0]  # the size after compression is 0 for none
    return b"".join([*map(_pack, head), covers, *(part for parts in streams for part in parts)])


def read_patch(data: bytes) -> Patch:
    """Return the patch of these bytes, which HDiffPatch made.

    Raises:
        ValueError: They are not an uncompressed patch.
    """
    if not data.startswith(MAGIC):
        raise ValueError(f"a patch that starts with {data[:9]!r}")
    source = io.BytesIO(data)
    source.seek(len(MAGIC))
    new_size, old_size, count = (_read(source) for _ in range(3))
    sizes = [(_read(source), _read(source))[0] for _ in range(4)]
    covers, control, runs, inserted = (source.read(size) for size in sizes)
    return Patch(
        new_size=new_size,
        old_size=old_size,
        covers=list(_read_covers(covers, count)),
        control=control,
        runs=runs,
        inserted=inserted,
    )


def pieces(payload: bytes, size: int, most: int) -> Iterator[Patch] | None:
    """Return patches that make some bytes of a patch's result each, one after another; they need little memory.

    Args:
        payload: The patch, without `MAGIC`.
        size: The bytes that each makes, but for the last.
        most: The bytes up to which covers and control are read; return None if they have more.

    Raises:
        ValueError: The patch contradicts itself, also from the iterator.
        IndexError: It is cut short, likewise.
    """
    source = io.BytesIO(payload)  # which shares the bytes
    new_size, old_size, count = (_read(source) for _ in range(3))
    sizes = [(_read(source), _read(source))[0] for _ in range(4)]
    if sizes[0] + sizes[1] > most:
        return None
    start = source.tell()
    covers = list(_read_covers(source.read(sizes[0]), count))
    control = source.read(sizes[1])
    runs, inserted = memoryview(payload)[start + sum(sizes[:2]) :], memoryview(payload)[start + sum(sizes[:3]) :]
    if len(inserted) != sizes[3] or sum(cover.length for cover in covers) + sizes[3] != new_size:
        raise ValueError("a patch of which the parts do not fit together")
    return _pieces(Patch(new_size=new_size, old_size=old_size, covers=covers), size, control, runs, inserted)


def _pieces(patch: Patch, size: int, control: bytes, runs: memoryview, inserted: memoryview) -> Iterator[Patch]:
    ends = range(size, patch.new_size + size, size)
    sizes = [min(end, patch.new_size) - (end - size) for end in ends]
    first = used = 0
    for end, made, (part_control, part_runs) in zip(ends, sizes, _split_runs(control, runs, sizes), strict=True):
        start, covers, covered = end - size, [], 0
        while first < len(patch.covers) and patch.covers[first].new < end:
            cover = patch.covers[first]
            cut = max(0, start - cover.new)
            length = min(end, cover.new + cover.length) - cover.new - cut
            covers.append(Cover(cover.old + cut, cover.new + cut - start, length))
            covered += length
            if cover.new + cover.length > end:
                break
            first += 1
        part = bytes(inserted[used : used + made - covered])
        if len(part) != made - covered:
            raise ValueError("a patch with covers outside of its result")
        used += len(part)
        yield Patch(
            new_size=made, old_size=patch.old_size, covers=covers, control=part_control, runs=part_runs, inserted=part
        )


def _split_runs(control: bytes, runs: memoryview, sizes: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the control and the runs of as many bytes as each size says."""
    source = io.BytesIO(control)
    tag = left = at = 0
    for size in sizes:
        packed, held = bytearray(), bytearray()
        wanted = size
        while wanted:
            if not left:
                tag, value = _read_tagged(source, 5)
                left = value + 1
            kind, taken = tag >> 6, min(wanted, left)
            packed += _pack_tagged(taken - 1, tag, 5)
            used = taken if kind == _EACH else 1 if kind == _SAME else 0
            held += runs[at : at + used]
            wanted, left = wanted - taken, left - taken
            at += used if kind == _EACH or not left else 0
        yield bytes(packed), bytes(held)


def without_start(patch: Patch, size: int) -> Patch:
    """Return the patch that makes the same bytes but for the first `size`."""
    covers = [
        Cover(cover.old + cut, cover.new + cut - size, cover.length - cut)
        for cover in patch.covers
        if (cut := max(0, size - cover.new)) < cover.length
    ]
    covered = sum(min(cover.length, size - cover.new) for cover in patch.covers if cover.new < size)
    control, runs = _without_start(patch.control, patch.runs, size)
    return Patch(
        new_size=patch.new_size - size,
        old_size=patch.old_size,
        covers=covers,
        control=control,
        runs=runs,
        inserted=patch.inserted[size - covered :],
    )


def _without_start(control: bytes, runs: bytes, size: int) -> tuple[bytes, bytes]:
    """Return the runs after the first `size` bytes that they make."""
    source = io.BytesIO(control)
    at = 0
    while size:
        tag, value = _read_tagged(source, 5)
        kind, length = tag >> 6, value + 1
        taken = min(size, length)
        size -= taken
        at += taken if kind == _EACH else 0
        if taken < length:
            return _pack_tagged(length - taken - 1, tag, 5) + source.read(), runs[at:]
        at += 1 if kind == _SAME else 0
    return source.read(), runs[at:]


def _read_covers(data: bytes, count: int) -> Iterable[Cover]:
    source = io.BytesIO(data)
    old_end = new_end = 0
    for _ in range(count):
        old = old_end + _read_signed(source)
        new = new_end + _read(source)
        length = _read(source)
        yield Cover(old, new, length)
        old_end, new_end = old + length, new + length


def _pack(value: int) -> bytes:
    """Pack a number: seven bits a byte, the highest first, the top bit set on all but the last."""
    return _pack_tagged(value, 0, 7)


def _pack_signed(value: int) -> bytes:
    """Pack a number whose sign is the top bit of its first byte."""
    return _pack_tagged(abs(value), 0x80 if value < 0 else 0, 6)


def _pack_tagged(value: int, tag: int, bits: int) -> bytes:
    """Pack a number of which the first byte has `bits` bits, below one that tells of more; `tag` is above that."""
    low: list[int] = []
    while value >> bits:
        low.append(value & 0x7F | (0x80 if low else 0))
        value >>= 7
    more = 1 << bits if low else 0
    return bytes([tag | more | value, *reversed(low)])


def _read(source: io.BytesIO) -> int:
    return _read_tagged(source, 7)[1]


def _read_signed(source: io.BytesIO) -> int:
    tag, value = _read_tagged(source, 6)
    return -value if tag else value


def _read_tagged(source: io.BytesIO, bits: int) -> tuple[int, int]:
    """Read a tag and a number, as `_pack_tagged` packs them."""
    first = source.read(1)[0]
    value, more = first & (1 << bits) - 1, first >> bits & 1
    while more:
        byte = source.read(1)[0]
        value, more = value << 7 | byte & 0x7F, byte >> 7
        if value >> _BITS:
            raise ValueError(f"a number of more than {_BITS} bits in a patch")
    return first >> bits + 1 << bits + 1, value
