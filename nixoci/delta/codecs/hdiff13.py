"""The bytes of a patch by HDiffPatch (`HDIFF13`, not compressed), to join patches of parts.

HDiffPatch, `libHDiffPatch/HDiff/diff.cpp`, `serialize_compressed_diff`, and `libHDiffPatch/HPatch/patch.c`.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

MAGIC = b"HDIFF13&\0"
"""The start of every patch that is not compressed."""

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
    covers = bytearray()
    old_end = new_end = 0
    for old, new, length in patch.covers:
        covers += _pack_signed(old - old_end)
        covers += _pack(new - new_end)
        covers += _pack(length)
        old_end, new_end = old + length, new + length
    head = [patch.new_size, patch.old_size, len(patch.covers)]
    parts = [bytes(covers), patch.control, patch.runs, patch.inserted]
    for part in parts:
        head += [len(part), 0]  # its size after compression, 0 for none
    return b"".join([MAGIC, *map(_pack, head), *parts])


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
    return first >> bits + 1 << bits + 1, value
