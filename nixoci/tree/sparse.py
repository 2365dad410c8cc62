"""Sparse files in tar: the old GNU map in the header, and GNU's PAX formats 0.0, 0.1 and 1.0 (GNU tar manual, D.2)."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from nixoci.tree.tar_format import BLOCK, show

_OLD_MAP = 386
_OLD_ENTRIES = 4
_OLD_EXTENDED = 482
_OLD_SIZE = 483
_MORE_ENTRIES = 21
_MORE_EXTENDED = 504
_MAX_DIGITS = 20
_VERSIONS_0 = {(b"", b""), (b"0", b"0"), (b"0", b"1")}
_MAP_KEYS = {b"GNU.sparse.map", b"GNU.sparse.offset", b"GNU.sparse.numblocks"}
_OCTAL = re.compile(rb"[0-7]+")


@dataclass(frozen=True, slots=True)
class SparseMap:
    """A file's size, and the `(position, length)` of each run of bytes that the archive carries.

    `in_content` says that the runs are still to be read, from the start of the content (format 1.0).
    """

    size: int
    runs: tuple[tuple[int, int], ...] = ()
    in_content: bool = False

    def check(self, available: int) -> None:
        """Check the runs against the `available` bytes that the archive carries.

        Raises:
            ValueError: The runs are out of order, go past the end, or have another length.
        """
        carried, end = 0, 0
        for position, length in self.runs:
            if position < end or position + length > self.size:
                raise ValueError(f"a run of {length} bytes at {position} in a file of {self.size} bytes")
            carried += length
            end = position + length
        if carried != available:
            raise ValueError(f"its runs have {carried} bytes, the archive carries {available}")


def read_old_gnu_map(block: bytes, more: Callable[[], bytes]) -> SparseMap:
    """Read the map of an entry of type `S`; `more()` returns the next block of the archive.

    Raises:
        ValueError: Not a number, or the archive ends.
    """
    runs = _old_runs(block, _OLD_MAP, _OLD_ENTRIES)
    extended = block[_OLD_EXTENDED]
    while extended:
        extension = _whole(more())
        runs += _old_runs(extension, 0, _MORE_ENTRIES)
        extended = extension[_MORE_EXTENDED]
    return SparseMap(_number(block[_OLD_SIZE : _OLD_SIZE + 12]), tuple(runs))


def pax_sparse(records: list[tuple[bytes, bytes]], carried: int) -> SparseMap | None:
    """Read the map from an entry's PAX records, some of which are `GNU.sparse.*`.

    Args:
        records: The records.
        carried: The entry's size in its header, which is the file's if the records have none.

    Returns:
        The map; None if the records are of no known format, and the entry therefore an ordinary file, as in Go.

    Raises:
        ValueError: The records contradict each other, or are not numbers.
    """
    values = dict(records)
    version = tuple(values.get(b"GNU.sparse." + part, b"") for part in (b"major", b"minor"))
    text = values.get(b"GNU.sparse.size") or values.get(b"GNU.sparse.realsize")
    size = _decimal(text) if text else carried
    if version == (b"1", b"0"):
        return SparseMap(size, in_content=True)
    if version not in _VERSIONS_0 or _MAP_KEYS.isdisjoint(values):
        return None
    if b"GNU.sparse.map" in values:
        text = values[b"GNU.sparse.map"]
        numbers = [_decimal(part) for part in text.split(b",")] if text else []
    else:
        wanted = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        found = [(key, _decimal(value)) for key, value in records if key in wanted]
        if any(key != wanted[index % 2] for index, (key, _) in enumerate(found)):
            raise ValueError("offsets and lengths do not alternate")
        numbers = [number for _, number in found]
    if len(numbers) % 2:
        raise ValueError("an offset without a length")
    return SparseMap(size, tuple(zip(numbers[::2], numbers[1::2], strict=True)))


def read_map_1_0(size: int, more: Callable[[], bytes], blocks: int) -> SparseMap:
    """Read the map that format 1.0 puts before the content; the entry has `blocks` blocks in all.

    Raises:
        ValueError: Not a number, or the map is longer than the content.
    """
    text = b""
    numbers: list[int] = []
    wanted = 1
    while len(numbers) < wanted:
        if not blocks:
            raise ValueError("the map is longer than the content")
        blocks -= 1
        text += _whole(more())
        *lines, text = text.split(b"\n")
        numbers += [_decimal(line) for line in lines[: wanted - len(numbers)]]
        if wanted == 1 and numbers:
            wanted += 2 * numbers[0]
            numbers += [_decimal(line) for line in lines[1:wanted]]
    return SparseMap(size, tuple(zip(numbers[1::2], numbers[2::2], strict=True)))


def _old_runs(block: bytes, at: int, count: int) -> list[tuple[int, int]]:
    runs = []
    for start in range(at, at + 24 * count, 24):
        if not block[start]:
            break
        runs.append((_number(block[start : start + 12]), _number(block[start + 12 : start + 24])))
    return runs


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise ValueError(f"number {show(field)}")
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0").split(b"\0", 1)[0] or b"0"
    if not _OCTAL.fullmatch(digits):  # int() takes signs, underscores and prefixes too
        raise ValueError(f"number {show(field)}")
    return int(digits, 8)


def _decimal(text: bytes) -> int:
    digits = text.removeprefix(b"+")
    if not digits.isdigit() or len(digits.lstrip(b"0")) > _MAX_DIGITS:
        raise ValueError(f"number {show(text[:_MAX_DIGITS])}")
    return int(digits.lstrip(b"0") or b"0")


def _whole(block: bytes) -> bytes:
    if len(block) != BLOCK:
        raise ValueError("the archive ends inside it")
    return block
