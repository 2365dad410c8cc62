"""Sets of store paths in little room: a part of each hash, sorted, by its distance from the one before.

The distances are random, so they take the fewest bits in a Rice code: the upper part as that many ones and a zero, then
the lower part of a fixed number of bits.
"""

import base64
import binascii
from collections.abc import Iterable

from nixoci.nix_store.hashes import NIX32

DIGITS = 4
"""Digits of a hash part that stand for the path. A set of 1000 paths takes one in 1000 others for its own."""

_BITS = 5 * DIGITS
"""Bits of a member: a digit has five of them."""

_NUMBERS = {digit: number for number, digit in enumerate(NIX32)}


def member(hash_part: str) -> int:
    """Return the number that stands for the path with this hash part."""
    number = 0
    for digit in hash_part[:DIGITS]:
        number = number << 5 | _NUMBERS[digit]
    return number


def encode(members: Iterable[int]) -> str:
    """Return a set as text: base64 of one byte, the size of the lower parts, and the distances."""
    numbers = sorted(set(members))
    low = _low_bits(len(numbers))
    bits, before = [f"{low:08b}"], -1
    for number in numbers:
        distance = number - before - 1
        bits.append("1" * (distance >> low) + "0")
        if low:
            bits.append(f"{distance & (1 << low) - 1:0{low}b}")
        before = number
    text = "".join(bits)
    text += "1" * (-len(text) % 8)  # a distance that does not end is none
    return base64.b64encode(int(text, 2).to_bytes(len(text) // 8)).decode()


def decode(text: str) -> frozenset[int]:
    """Return the set of a text.

    Raises:
        ValueError: The text is none of a set.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    if not data or data[0] > _BITS:
        raise ValueError("no size of the lower parts")
    low, bits = data[0], "".join(f"{byte:08b}" for byte in data[1:])
    numbers, at, before = [], 0, -1
    while (end := bits.find("0", at)) >= 0:
        lower = bits[end + 1 : end + 1 + low]
        if len(lower) < low:
            raise ValueError("it ends in a lower part")
        before += 1 + (end - at << low) + (int(lower, 2) if low else 0)
        numbers.append(before)
        at = end + 1 + low
    if len(bits) - at >= 8 or before >> _BITS > 0:
        raise ValueError("it has a member that no hash part has")
    return frozenset(numbers)


def _low_bits(count: int) -> int:
    """Return the size of the lower parts with which so many random members take the fewest bits."""
    return max(0, ((1 << _BITS) // max(1, count)).bit_length() - 1)
