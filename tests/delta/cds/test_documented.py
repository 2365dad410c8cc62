"""Payloads, read by what docs/delta-format.md says of them and nothing else of nixoci."""

from __future__ import annotations

import struct
from collections import defaultdict

import hdiffpatch
import pytest

from nixoci.delta.cds.codec import encode
from tests.delta.cds.samples import archive, names


def numbers(data: bytes) -> tuple[list[int], list[list[int]], bytes]:
    """Return the address and the moves of a payload, its parts that follow from the rest, and its patch."""

    def number() -> int:
        nonlocal data
        value = shift = 0
        while True:
            byte, data = data[0], data[1:]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    found = [number(), number()]
    found += [number() for _ in range(2 * found[1])]
    parts = [[number() for _ in range(count)] if number() else [] for count in (8, 2, 8, 2)]
    return found, parts, data


def apply(payload: bytes, old: bytes) -> bytes:
    (address, count, *rest), (old_table, old_bitmap, table, bitmap), patch = numbers(payload)
    moves, start, shift = [], 0, 0
    for step, turn in zip(rest[:count], rest[count : 2 * count], strict=True):
        start += step
        shift += turn // 2 if turn % 2 == 0 else -(turn + 1) // 2
        moves.append((start, shift))
    moved = bytearray(old)
    if old_bitmap:
        flip(moved, address, *old_bitmap)
    if old_table:
        blank(moved, *old_table)
    for at in range(0, len(old) - 7, 8):
        (value,) = struct.unpack_from("<Q", moved, at)
        if address <= value < address + 64 * 2**20:
            before = [shift for start, shift in moves if start <= value - address]
            struct.pack_into("<Q", moved, at, (value + (before[-1] if before else 0)) % 2**64)
    new = bytearray(hdiffpatch.apply(bytes(moved), b"HDIFF13&\0" + patch))
    if table:
        write_table(new, *table)
    if bitmap:
        flip(new, address, *bitmap)
    return bytes(new)


def flip(content: bytearray, address: int, start: int, offset: int) -> None:
    size = min((offset - start) // 64, len(content) - offset)
    for bit in range(8 * size):
        (value,) = struct.unpack_from("<Q", content, start + 8 * bit)
        if address <= value < address + 64 * 2**20:
            content[offset + bit // 8] ^= 1 << bit % 8


def blank(  # noqa: PLR0917 - the numbers of a payload, in order
    content: bytearray,
    buckets: int,
    count: int,
    entries: int,
    words: int,
    first: int,
    symbols: int,
    _skew: int,
    seed: int,
) -> None:
    at = first
    for _ in range(symbols if seed else 0):
        content[at + 2 : at + 4] = bytes(2)
        (length,) = struct.unpack_from("<H", content, at + 4)
        at += max(8, (6 + length + 7) // 8 * 8)
    content[buckets : buckets + 4 * (count + 1)] = bytes(4 * (count + 1))
    content[entries : entries + 4 * words] = bytes(4 * words)


def write_table(  # noqa: PLR0917 - the numbers of a payload, in order
    new: bytearray, buckets: int, count: int, entries: int, words: int, first: int, symbols: int, skew: int, seed: int
) -> None:
    by_bucket = defaultdict(list)
    at = first
    for _ in range(symbols):
        (length,) = struct.unpack_from("<H", new, at + 4)
        seed = seed * 16807 % (2**31 - 1)
        if seed:
            struct.pack_into("<H", new, at + 2, seed % 2**16)
        value = 0
        for byte in new[at + 6 : at + 6 + length]:
            value = (value * 31 + byte) % 2**32
        by_bucket[value % count].append((value, at - skew))
        at += max(8, (6 + length + 7) // 8 * 8)
    start = entries
    for bucket in range(count):
        found = by_bucket[bucket]
        index = (entries - start) // 4
        struct.pack_into("<I", new, buckets + 4 * bucket, index + (2**30 if len(found) == 1 else 0))
        for value, place in found:
            pair = (place,) if len(found) == 1 else (value, place)
            struct.pack_into(f"<{len(pair)}I", new, entries, *pair)
            entries += 4 * len(pair)
    assert entries - start == 4 * words
    struct.pack_into("<I", new, buckets + 4 * count, words + 3 * 2**30)


@pytest.mark.parametrize(("more", "buckets"), [(0, 97), (9, 97), (30, 128)])
def test_a_payload_is_applied_by_the_text(more: int, buckets: int) -> None:
    old, new = archive(names(400)), archive(names(400, more=more), buckets=buckets)
    payload = encode(old, new)
    assert payload is not None
    assert apply(payload, old) == new
