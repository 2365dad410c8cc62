"""The numbers and texts of a delta (docs/delta-format.md)."""

from collections.abc import Callable

from nixoci.errors import DeltaError

MAX_VARINT = 10


class Cursor:
    """Reads a part of a delta; every read is checked against the bytes that are left.

    Args:
        data: The bytes.
        start: Offset of its first byte.
        what: Names the part in errors, as in "PATH: its recipe".

    Raises:
        DeltaError: From every method that reads, if the bytes are not of that form.
    """

    def __init__(self, data: bytes, start: int, what: str) -> None:
        self._data = data
        self._at = start
        self._what = what

    @property
    def _left(self) -> int:
        return len(self._data) - self._at

    def _number(self) -> int:
        if self._at < len(self._data) and (byte := self._data[self._at]) < 0x80:
            self._at += 1
            return byte
        try:
            return read_varint(lambda: self._bytes(1)[0])
        except OverflowError as error:
            raise self._broken("a number of more than ten bytes") from error

    def _bytes(self, count: int) -> bytes:
        data = self._data[self._at : self._at + count]
        if len(data) != count:
            raise self._broken(f"{count} bytes where {len(data)} are left")
        self._at += count
        return data

    def _packed_text(self) -> bytes:
        return self._bytes(self._number())

    def _broken(self, found: str) -> DeltaError:
        return DeltaError(f"{self._what} has {found}; make the delta again")


def read_varint(byte: Callable[[], int]) -> int:
    """Return a number; `byte` returns its bytes one by one.

    Raises:
        OverflowError: It has more than ten bytes.
    """
    value = 0
    for position in range(MAX_VARINT):
        part = byte()
        value |= (part & 0x7F) << (7 * position)
        if part < 0x80:
            return value
    raise OverflowError


def pack_varint(value: int) -> bytes:
    """Pack a number: seven bits a byte, the lowest first, the top bit set on all but the last."""
    packed = bytearray()
    while value >= 0x80:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)


def pack_text(text: bytes) -> bytes:
    """Pack a text: the number of its bytes, and its bytes."""
    return pack_varint(len(text)) + text
