"""Columns of numbers, packed as in the rest of a delta: seven bits a byte, the lowest first."""

import numpy as np

from nixoci.delta.elf.layout import Numbers

_MAX_BYTES = 5
"""Bytes of the largest number: 35 bits, so that no sum of a column exceeds 64."""


def pack_column(numbers: Numbers) -> bytes:
    """Pack numbers from 0 to 2^35 - 1."""
    lengths = np.ones(len(numbers), np.int64)
    for byte in range(1, _MAX_BYTES):
        lengths += numbers >> (7 * byte) > 0
    packed = np.zeros(int(lengths.sum()), np.uint8)
    starts = np.cumsum(lengths) - lengths
    for byte in range(_MAX_BYTES):
        chosen = lengths > byte
        more = (lengths[chosen] > byte + 1).astype(np.int64) << 7
        packed[starts[chosen] + byte] = numbers[chosen] >> (7 * byte) & 0x7F | more
    return packed.tobytes()


def unpack_column(data: bytes, most: int) -> Numbers:
    """Return the numbers of a column.

    Raises:
        ValueError: They are more than `most`, cut short or too large.
    """
    packed = np.frombuffer(data, np.uint8)
    last = packed < 0x80
    count = int(np.count_nonzero(last))
    if count > most or (len(packed) and not last[-1]):  # before there is an array of them
        raise ValueError(f"a column of {len(data)} bytes with {count} numbers")
    if count == len(packed):
        return packed.astype(np.int64)
    ends = np.flatnonzero(last)
    lengths = changes(ends)
    lengths[0] += 1
    longest = int(lengths.max())
    if longest > _MAX_BYTES:
        raise ValueError(f"a number of {longest} bytes in a column")
    starts = ends - lengths + 1
    numbers = packed.take(starts).astype(np.int64) & 0x7F
    for byte in range(1, longest):
        longer = np.flatnonzero(lengths > byte)
        numbers[longer] |= (packed.take(starts.take(longer) + byte).astype(np.int64) & 0x7F) << (7 * byte)
    return numbers


def changes(numbers: Numbers) -> Numbers:
    """Return the first number, and what is between each and the next: numpy's `diff` with 0 before, in less time."""
    between = numbers.copy()
    between[1:] -= numbers[:-1]
    return between


def fold(numbers: Numbers) -> Numbers:
    """Return non-negative numbers for signed ones: 0, -1, 1, -2 and so on become 0, 1, 2, 3."""
    return numbers << 1 ^ numbers >> 63


def unfold(numbers: Numbers) -> Numbers:
    """Undo `fold`."""
    return numbers >> 1 ^ -(numbers & 1)
