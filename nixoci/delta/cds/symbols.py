"""The hash table of an archive's symbols (`CompactHashtable` of HotSpot), which follows from the symbols.

It has two arrays of words of four bytes: for each bucket the index of its first entry, and the entries. The symbols of
a bucket are in the order of their addresses. The entry of a symbol is its hash and its offset, or the offset alone in
a bucket of one. Two bits in the word of a bucket tell these forms apart, and end the array.
"""

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

WORD = 4
_HEADER = struct.Struct("<4xH")
"""The start of a symbol: its hash and references, and the length of its text."""
_SHORTEST = 2
"""Bytes of text that each symbol has room for."""
_ALIGNED = 8

_TYPE = 30
"""Bits of a bucket's word before its type."""
_INDEX = (1 << _TYPE) - 1
_REGULAR, _SINGLE, _END = 0, 1, 3

_MIN_BUCKETS = 64
"""Buckets of the smallest table that is worth its description."""
_MAX_BUCKETS = 1 << 18
_MAX_SYMBOLS = 1 << 19
_PADDING = 4
"""Words between both arrays, with the length of the second one in the last of them."""
_TRIED = 16
"""Symbols of a table that are hashed to find out where its symbols are."""
_PAGE = 1 << 12
_MAX_SKEW = 1 << 16


@dataclass(frozen=True, slots=True)
class SymbolTable:
    """A table, and the symbols that it is of, which follow each other.

    Attributes:
        buckets: The offset of the first array in the archive.
        count: The number of buckets, one less than the words of that array.
        entries: The offset of the second array.
        words: The words of that array.
        first: The offset of the first symbol.
        symbols: The number of symbols.
        skew: The difference of a symbol's offset in the archive from the one in its entry.
    """

    buckets: int
    count: int
    entries: int
    words: int
    first: int
    symbols: int
    skew: int


def find_table(content: bytes) -> SymbolTable | None:
    """Return the table of an archive, if there is one that `fill_table` makes again."""
    words = array("I", content[: len(content) // WORD * WORD])
    if sys.byteorder == "big":
        words.byteswap()
    for table in _candidates(content, words):
        filled = bytearray(content)
        blank_table(filled, table)
        try:
            fill_table(filled, table)
        except ValueError:
            continue
        if filled == content:
            return table
    return None


def blank_table(content: bytearray, table: SymbolTable) -> None:
    """Fill the arrays of a table with zeros."""
    content[table.buckets : table.buckets + (table.count + 1) * WORD] = bytes((table.count + 1) * WORD)
    content[table.entries : table.entries + table.words * WORD] = bytes(table.words * WORD)


def fill_table(content: bytearray, table: SymbolTable) -> None:
    """Write the arrays of a table from its symbols.

    Raises:
        ValueError: They are not in the archive, or do not fit each other.
    """
    if not 0 < table.count <= _MAX_BUCKETS or table.symbols > _MAX_SYMBOLS:
        raise ValueError(f"a table of {table.symbols} symbols in {table.count} buckets")
    by_bucket: list[list[tuple[int, int]]] = [[] for _ in range(table.count)]
    for value, at in _symbols(content, table):
        by_bucket[value % table.count].append((value, at - table.skew))
    buckets, entries = array("I"), array("I")
    for bucket in by_bucket:
        single = len(bucket) == 1
        buckets.append(len(entries) | (_SINGLE if single else _REGULAR) << _TYPE)
        entries.extend([bucket[0][1]] if single else [number for entry in bucket for number in entry])
    buckets.append(len(entries) | _END << _TYPE)
    if len(entries) != table.words:
        raise ValueError(f"a table of symbols with {len(entries)} words, expected {table.words}")
    for start, words in ((table.buckets, buckets), (table.entries, entries)):
        end = start + len(words) * WORD
        if end > len(content):
            raise ValueError(f"a table of symbols ends at byte {end} of {len(content)}")
        if sys.byteorder == "big":
            words.byteswap()
        content[start:end] = words.tobytes()


def hash_code(text: bytes) -> int:
    """Return the hash of a symbol (`java_lang_String::hash_code` of HotSpot)."""
    value = 0
    for byte in text:
        value = 31 * value + byte & 0xFFFF_FFFF
    return value


def _symbols(content: bytes | bytearray, table: SymbolTable) -> Iterator[tuple[int, int]]:
    """Yield the hash and the offset of each symbol."""
    at = table.first
    for _ in range(table.symbols):
        end, text = _symbol(content, at)
        if not 0 <= at - table.skew < 1 << 32:
            raise ValueError(f"a symbol at byte {at}, before the dump")
        yield hash_code(text), at
        at = end


def _symbol(content: bytes | bytearray, at: int) -> tuple[int, bytes]:
    """Return the offset after the symbol at an offset, and its text."""
    try:
        (length,) = _HEADER.unpack_from(content, at)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"a symbol at byte {at} of {len(content)}") from error
    start = at + _HEADER.size
    size = _HEADER.size + max(length, _SHORTEST)
    return at + -(-size // _ALIGNED) * _ALIGNED, bytes(content[start : start + length])


def _candidates(content: bytes, words: "array[int]") -> Iterator[SymbolTable]:
    """Yield what looks like a table of symbols."""
    for end, word in enumerate(words):
        if word >> _TYPE != _END:
            continue
        count = word & _INDEX
        for entries in range(end + 2, end + 2 + _PADDING):
            if count and words[entries - 1 : entries] == array("I", [count]) and entries + count <= len(words):
                buckets = _buckets(words, end)
                found = _offsets(words[buckets:end], count, words[entries : entries + count])
                skew = _skew(content, found)
                if end - buckets >= _MIN_BUCKETS and skew is not None:
                    yield SymbolTable(
                        buckets=buckets * WORD,
                        count=end - buckets,
                        entries=entries * WORD,
                        words=count,
                        first=min(found) + skew,
                        symbols=len(found),
                        skew=skew,
                    )


def _buckets(words: "array[int]", end: int) -> int:
    """Return the index of the first word of the buckets that end at an index."""
    start, after = end, words[end] & _INDEX
    while start and words[start - 1] >> _TYPE in (_REGULAR, _SINGLE) and words[start - 1] & _INDEX <= after:
        start -= 1
        after = words[start] & _INDEX
    return start


def _offsets(buckets: "array[int]", count: int, entries: "array[int]") -> dict[int, int | None]:
    """Return the offsets in entries, and their hashes where they are there."""
    ends = [*(word & _INDEX for word in buckets[1:]), count]
    found: dict[int, int | None] = {}
    for word, end in zip(buckets, ends, strict=True):
        start = word & _INDEX
        if word >> _TYPE == _SINGLE:
            found |= dict.fromkeys(entries[start:end])
        else:
            found |= zip(entries[start + 1 : end : 2], entries[start:end:2], strict=False)
    return found


def _skew(content: bytes, found: dict[int, int | None]) -> int | None:
    """Return the difference of offsets in the archive and in entries, for which the hashes are those of the symbols."""
    known = [(at, value) for at, value in found.items() if value is not None][:_TRIED]

    def fits(skew: int) -> bool:
        try:
            return all(hash_code(_symbol(content, at + skew)[1]) == value for at, value in known)
        except ValueError:
            return False

    return next((skew for skew in range(0, _MAX_SKEW, _PAGE) if fits(skew)), None) if len(known) == _TRIED else None
