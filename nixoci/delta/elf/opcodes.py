"""The opcodes of x86-64 that a reference follows."""

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

CALL, JUMP, OPERAND, ADDRESS = range(1, 5)
"""Kinds of references. The numbers of those that label form changes are odd."""
RIP, MODRM_MASK = 0x05, 0xC7
"""A ModRM byte, under the mask, whose operand is relative to RIP."""

_OPCODES = {
    0: bytes.fromhex(
        "00010203 08090a0b 10111213 18191a1b 20212223 28292a2b 30313233 38393a3b 63 84858687 88898a8b 8d"
        "d0d1d2d3 d8d9dadbdcdddedf f6f7 fe ff"
    ),
    1: bytes.fromhex("6b 80 83 c0 c1 c6"),
    4: bytes.fromhex("69 81 c7"),
}
"""Opcodes before a ModRM byte, by the bytes of the number that follows a reference."""
_TESTS = {0xF6: 1, 0xF7: 4}
"""Opcodes of which the first two operations are followed by a number, and its bytes."""
_WITH_NUMBER = bytes.fromhex("70717273 a4ac ba c2c4c5c6")
"""Second bytes after 0F of opcodes that end in a number of one byte."""
_IMMEDIATE = bytes.fromhex("05 0d 15 1d 25 2d 35 3d 68 a9 b8b9babbbcbdbebf")
"""Opcodes that an absolute address may follow at once."""
_ABSOLUTE = bytes.fromhex(
    "010203 090a0b 11 13 19 1b 21 23 29 2b 31 33 38393a3b 63 6b 69 8081 83848586 88898a8b 8d c6c7 f6f7 ff"
)
"""Opcodes before a ModRM byte in whose operand an absolute address is likely."""
_SIB_MASK = 0x07


class _Table:
    """Instructions with a reference, by their first two bytes: `first | second << 8`.

    Attributes:
        shapes: For each pair of bytes a number; 0 if no instruction with a reference begins with it. Its bits 0 to 3
            are the kind of the reference, 4 to 7 its offset, 8 to 15 that of its base, from 16 on the offset of a byte
            that is checked and from 20 on the mask under which that byte is `RIP`; 0 if none is checked.
    """

    def __init__(self) -> None:
        self.shapes = np.zeros(1 << 16, np.int32)

    def add(self, first: int, seconds: Iterable[int], kind: int, at: int, *, after: int = 0, sib: bool = False) -> None:
        """Add the instructions that begin with these bytes. If the reference is not after them, a byte is checked."""
        shape = kind | at << 4 | (at + 4 + after) << 8
        if sib or (kind == OPERAND and at > 2):
            shape |= at - 1 << 16 | (_SIB_MASK if sib else MODRM_MASK) << 20
        self.shapes[[first | second << 8 for second in seconds]] = shape


@cache
def shapes(*, absolute: bool) -> NDArray[np.int32]:
    """Return the instructions with a reference; those with absolute addresses too, if asked for.

    They are in a table over `first | second << 8`, their first two bytes; see `_Table.shapes`.
    """
    table = _Table()
    every = range(256)
    by_rip = [modrm for modrm in every if modrm & MODRM_MASK == RIP]
    for after, opcodes in _OPCODES.items():
        for opcode in opcodes:
            table.add(opcode, by_rip, OPERAND, 2, after=after)
    for opcode, after in _TESTS.items():
        table.add(opcode, by_rip[:2], OPERAND, 2, after=after)
    table.add(0xE8, every, CALL, 1)
    table.add(0xE9, every, JUMP, 1)
    table.add(0x0F, every, OPERAND, 3)
    table.add(0x0F, _WITH_NUMBER, OPERAND, 3, after=1)
    table.add(0x0F, range(0x80, 0x90), JUMP, 2)
    table.add(0x0F, [0x38], OPERAND, 4)
    table.add(0x0F, [0x3A], OPERAND, 4, after=1)
    for prefix, at in ((0xC5, 4), (0xC4, 5), (0x62, 6)):  # VEX and EVEX
        table.add(prefix, every, OPERAND, at)
    if absolute:
        for opcode in _IMMEDIATE:
            table.add(opcode, every, ADDRESS, 1)
        for opcode in _ABSOLUTE:
            table.add(opcode, [modrm for modrm in every if modrm & 0xC7 == 0x04], ADDRESS, 3, sib=True)
            table.add(opcode, [modrm for modrm in every if modrm & 0xC7 == 0x84], ADDRESS, 3)
            table.add(opcode, [modrm for modrm in every if modrm >> 6 == 2 and modrm & 7 != 4], ADDRESS, 2)
        for opcode in (0x81, 0xC7):
            table.add(opcode, range(0xC0, 0x100), ADDRESS, 2)
    return table.shapes
