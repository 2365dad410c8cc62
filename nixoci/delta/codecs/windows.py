"""Windows of an old file that hold what the pieces of a new file are made of, to bound the memory of a patch.

HDiffPatch builds a suffix array of the old bytes, which takes nine bytes of memory for each of them.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from nixoci.delta.codecs.source import Source

PIECE = 7 << 19
"""Largest size of a piece of the new file in bytes."""
WINDOW = 11 << 19
"""Largest size of a piece's window in bytes."""

_BLOCK = 1 << 16
_BESIDE = 16
"""Blocks of a window besides those where its piece is expected, half of them on each side."""
_MORE = (WINDOW - PIECE) // _BLOCK - _BESIDE - 1
"""Blocks of a window from elsewhere."""

_RARITY = 1024
"""Bytes in which an anchor occurs once, about."""
_KEY = 24
"""Bytes from an anchor on that are looked up."""
_MOST = 1 << 17
"""Largest number of anchors of the old file that are kept in memory."""
_SAMPLES = 16
_SAMPLE = 1 << 12
_READ = 1 << 20

_AROUND = 8
"""Blocks on each side of a block that also tell how far it has moved."""
_ENOUGH = 8
"""Anchors of a block that count for those around it."""
_FEW = 3
"""Anchors that have to agree that a part of a block has moved elsewhere."""
_NOWHERE = -1

Range = tuple[int, int]
"""The offsets at which a range of bytes starts and ends."""


def windows(old: Source, new: Source) -> Iterator[tuple[int, list[Range]]]:
    """Yield the end of each piece of the new file, and the ranges of the old file that are its window, in order.

    An anchor is two bytes that are not frequent. The bytes at an anchor, if the old file has them once, tell how far
    they have moved; most anchors around a block tell where in the old file its content is expected.

    Args:
        old: The old file, at least one byte.
        new: The new file.
    """
    blocks = _moves(old, new)
    shifts = _shifts(blocks)
    count = -(-old.size // _BLOCK)
    pieces = -(-new.size // PIECE)
    for piece in range(pieces):
        numbers = range(piece * len(blocks) // pieces, (piece + 1) * len(blocks) // pieces)
        near = {number + shifts[number] + half for number in numbers for half in (0, 1)}
        moved: Counter[int] = Counter()
        for number in numbers:
            for shift, times in blocks[number].items():
                if times >= _FEW:
                    moved.update({number + shift: times, number + shift + 1: times})
        window = _window(near, moved, len(numbers) + 1 + _BESIDE, count)
        yield min(new.size, numbers.stop * _BLOCK), _ranges(window, old.size)


def _moves(old: Source, new: Source) -> list[Counter[int]]:
    """Return, for each block of the new file, how many of its anchors have moved by how many blocks."""
    anchor = _anchor(new)
    known: dict[bytes, int] = {}
    for key, at in islice(_keys(old, anchor), _MOST):
        known[key] = _NOWHERE if key in known else at
    blocks: list[Counter[int]] = [Counter() for _ in range(-(-new.size // _BLOCK))]
    for key, at in _keys(new, anchor):
        there = known.get(key, _NOWHERE)
        if there != _NOWHERE:
            blocks[at // _BLOCK][(there - at) // _BLOCK] += 1
    return blocks


def _anchor(new: Source) -> bytes:
    """Return the two bytes whose frequency in samples of a file is nearest to once in `_RARITY` bytes."""
    counted: Counter[bytes] = Counter()
    for number in range(_SAMPLES):
        at = number * new.size // _SAMPLES
        sample = new.read(at, at + _SAMPLE)
        counted.update(sample[place : place + 2] for place in range(len(sample) - 1))
    wanted = _SAMPLES * _SAMPLE // _RARITY
    return min(counted, key=lambda pair: (abs(counted[pair] - wanted), pair), default=bytes(2))


def _keys(source: Source, anchor: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the bytes at each anchor, and its offset."""
    for begin in range(0, source.size, _READ):
        block = source.read(begin, begin + _READ + _KEY - 1)
        at = block.find(anchor)
        while 0 <= at < _READ:
            yield block[at : at + _KEY], begin + at
            at = block.find(anchor, at + _KEY)


def _shifts(blocks: Sequence[Counter[int]]) -> list[int]:
    """Return by how many blocks each block has moved; one that tells nothing has moved as far as the one before it."""
    shift, shifts = 0, []
    for number in range(len(blocks)):
        around: Counter[int] = Counter()
        for block in blocks[max(0, number - _AROUND) : number + _AROUND + 1]:
            around.update({where: min(times, _ENOUGH) for where, times in block.items()})
        shift = max(around, key=lambda where: (around[where], -abs(where - shift), where), default=shift)
        shifts.append(shift)
    return shifts


def _window(near: set[int], moved: Counter[int], room: int, count: int) -> list[int]:
    """Return the blocks of a window, in order.

    Args:
        near: The blocks where the piece is expected.
        moved: Blocks that a part of the piece may have moved to, and how many anchors tell so.
        room: The number of blocks that are taken of `near`, and from around them.
        count: The number of blocks of the file.
    """
    chosen = {block for block in sorted(near)[:room] if 0 <= block < count} or {0 if max(near) < 0 else count - 1}
    while len(chosen) < min(room, count):
        beside = {block + side for block in chosen for side in (-1, 1)} - chosen
        chosen.update(sorted(block for block in beside if 0 <= block < count)[: room - len(chosen)])
    others = [(-times, block) for block, times in moved.items() if 0 <= block < count and block not in chosen]
    chosen.update(block for _, block in sorted(others)[:_MORE])
    return sorted(chosen)


def _ranges(blocks: Sequence[int], size: int) -> list[Range]:
    """Return the ranges of bytes that blocks cover."""
    ranges: list[Range] = []
    for block in blocks:
        begin, end = block * _BLOCK, min(size, (block + 1) * _BLOCK)
        if ranges and ranges[-1][1] == begin:
            ranges[-1] = ranges[-1][0], end
        else:
            ranges.append((begin, end))
    return ranges
