"""The random numbers in an archive's symbols, and the hash table of these, which follow from the symbols.

A symbol has a random number (`os::random` of HotSpot), its text and the length of that. A JVM that writes an archive
draws these numbers from a fixed seed, in the order of the symbols. The table is a `CompactHashtable`.

It has two arrays of words of four bytes: for each bucket the index of its first entry, and the entries. The symbols of
a bucket are in the order of their addresses. The entry of a symbol is its hash and its offset, or the offset alone in
a bucket of one. Two bits in the word of a bucket tell these forms apart, and end the array.
"""

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace

WORD = 4
_SEED = 0x12345678
_MULTIPLIER, _MODULUS = 16807, (1 << 31) - 1
_RANDOM = slice(2, 4)
"""The random number in a symbol."""

_HEADER = struct.Struct("<4xH")
"""The start of a symbol: its references and random number, and the length of its text."""
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
        seed: The seed of the random numbers, 0 if they do not follow.
    """

    buckets: int
    count: int
    entries: int
    words: int
    first: int
    symbols: int
    skew: int
    seed: int


def find_table(content: bytes) -> SymbolTable | None:
    """Return the table of an archive, if there is one that `fill_table` makes again."""
    words = array("I", content[: len(content) // WORD * WORD])
    if sys.byteorder == "big":
        words.byteswap()
    for candidate in _candidates(content, words):
        for table in (replace(candidate, seed=_SEED), candidate):
            filled = bytearray(content)
            try:
                blank_table(filled, table)
                fill_table(filled, table)
            except ValueError:
                continue
            if filled == content:
                return table
    return None


def blank_table(content: bytearray, table: SymbolTable) -> None:
    """Fill the arrays of a table, and the random numbers of its symbols, with zeros.

    Raises:
        ValueError: They are not in the archive.
    """
    _check(table)
    if table.seed:
        for at, _ in _symbols(content, table):
            content[at + _RANDOM.start : at + _RANDOM.stop] = bytes(2)
    _write(content, table.buckets, bytes((table.count + 1) * WORD))
    _write(content, table.entries, bytes(table.words * WORD))


def fill_table(content: bytearray, table: SymbolTable) -> None:
    """Write the arrays of a table from its symbols, and their random numbers.

    Raises:
        ValueError: They are not in the archive, or do not fit each other.
    """
    _check(table)
    by_bucket: list[list[tuple[int, int]]] = [[] for _ in range(table.count)]
    state = table.seed
    for at, text in _symbols(content, table):
        place = at - table.skew
        if not 0 <= place < 1 << 32:
            raise ValueError(f"a symbol at byte {at}, before the dump")
        value = hash_code(text)
        by_bucket[value % table.count].append((value, place))
        if table.seed:
            state = state * _MULTIPLIER % _MODULUS
            content[at + _RANDOM.start : at + _RANDOM.stop] = (state & 0xFFFF).to_bytes(2, "little")
    buckets, entries = array("I"), array("I")
    for bucket in by_bucket:
        single = len(bucket) == 1
        buckets.append(len(entries) | (_SINGLE if single else _REGULAR) << _TYPE)
        entries.extend([bucket[0][1]] if single else [number for entry in bucket for number in entry])
    buckets.append(len(entries) | _END << _TYPE)
    if len(entries) != table.words:
        raise ValueError(f"a table of symbols with {len(entries)} words, expected {table.words}")
    for start, words in ((table.buckets, buckets), (table.entries, entries)):
        if sys.byteorder == "big":
            words.byteswap()
        _write(content, start, words.tobytes())


def _check(table: SymbolTable) -> None:
    if not 0 < table.count <= _MAX_BUCKETS or max(table.symbols, table.words // 2) > _MAX_SYMBOLS:
        raise ValueError(f"a table of {table.symbols} symbols in {table.count} buckets with {table.words} words")


def _write(content: bytearray, start: int, data: bytes) -> None:
    if start + len(data) > len(content):
        raise ValueError(f"a table of symbols ends at byte {start + len(data)} of {len(content)}")
    content[start : start + len(data)] = data


def hash_code(text: bytes) -> int:
    """Return the hash of a symbol (`java_lang_String::hash_code` of HotSpot)."""
    value = 0
    for byte in text:
        value = 31 * value + byte & 0xFFFF_FFFF
    return value


def _symbols(content: bytes | bytearray, table: SymbolTable) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the text of each symbol."""
    at = table.first
    for _ in range(table.symbols):
        end, text = _symbol(content, at)
        yield at, text
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
                if end - buckets < _MIN_BUCKETS:
                    continue
                found = _offsets(words[buckets:end], count, words[entries : entries + count])
                if (skew := _skew(content, found)) is not None:
                    yield SymbolTable(
                        buckets=buckets * WORD,
                        count=end - buckets,
                        entries=entries * WORD,
                        words=count,
                        first=min(found) + skew,
                        symbols=len(found),
                        skew=skew,
                        seed=0,
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
