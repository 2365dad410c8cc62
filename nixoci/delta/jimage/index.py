"""The index of a file of modules (`jdk.internal.jimage`), and the short form that it is made from again.

The file begins with seven words of four bytes, the least byte first: a magic number, the version, flags, the number of
resources, that of slots, the bytes of the locations, and those of the strings. Then there are

- the *redirects*, a word for each slot: the hash of a name leads to one of them, and this to a slot,
- a word for each slot, the offset of its location,
- the *locations*, in the order of the slots: attributes, each a kind and a number, such as the offset of a string,
- the strings, and the resources, one after another.

The short form has the seven words, the redirects, the strings, a word with the bytes of the names, the names, and the
sizes: for each resource, in the order of the resources, four names and two words.
"""

import struct
import sys
from array import array
from collections.abc import Container, Iterator
from dataclasses import dataclass

_HEADER = struct.Struct("<7I")
HEAD = _HEADER.size
"""Bytes at the start of a file that tell the size of its index."""
_MAGIC = 0xCAFEDADA
_WORD = 4
_MAX_RESOURCES = 1 << 18

MAX_SHORT = 32 << 20
"""Bytes of the largest short form."""

_MODULE, _PARENT, _BASE, _EXTENSION, _OFFSET, _COMPRESSED, _SIZE = range(1, 8)
_KINDS = 8
_NAMES = slice(_MODULE, _OFFSET)
_SIZES = slice(_COMPRESSED, _KINDS)

_SEED = 0x01000193
"""The seed of the hash of a name, and what it is multiplied by."""


@dataclass(frozen=True, slots=True)
class _Header:
    """The start of a file: its bytes, the number of slots, and the bytes of the locations and of the strings."""

    raw: bytes
    slots: int
    locations: int
    strings: int

    @property
    def redirects(self) -> slice:
        """The redirects."""
        return slice(_HEADER.size, _HEADER.size + _WORD * self.slots)

    @property
    def first(self) -> int:
        """The offset of the locations."""
        return _HEADER.size + 2 * _WORD * self.slots

    @property
    def end(self) -> int:
        """The offset of the resources."""
        return self.first + self.locations + self.strings


def index_size(head: bytes) -> int:
    """Return the bytes of the index of a file of modules that starts with `HEAD` bytes; 0 of other files."""
    if len(head) < HEAD or not head.startswith(_MAGIC.to_bytes(_WORD, "little")):
        return 0
    _, _, _, _, slots, locations, strings = _HEADER.unpack_from(head)
    size: int = HEAD + 2 * _WORD * slots + locations + strings
    return size if slots <= _MAX_RESOURCES and size <= 2 * MAX_SHORT else 0


def shorten(content: bytes) -> bytes:
    """Return the short form of the index at the start of a content.

    Raises:
        ValueError: There is none.
    """
    header = _read_header(content)
    if header.end > len(content):
        raise ValueError(f"an index of {header.end} bytes in {len(content)}")
    strings = content[header.end - header.strings : header.end]
    resources = []
    total = 0
    for values in _locations(content, header):
        names = b"".join(_string(strings, at) + b"\0" for at in values[_NAMES])
        total += len(names) + 2 * _WORD
        if total > MAX_SHORT:
            raise ValueError(f"an index whose names have more than {MAX_SHORT} bytes")
        resources.append((values[_OFFSET], values[_COMPRESSED] or values[_SIZE], names, values[_SIZES]))
    resources.sort()
    names = b"".join(names for _, _, names, _ in resources)
    sizes = array("I", [size for *_, sizes in resources for size in sizes])
    parts = (content[: header.redirects.stop], strings, len(names).to_bytes(_WORD, "little"), names, _bytes(sizes))
    return b"".join(parts)


def restore(short: bytes) -> bytes:
    """Return the index that a short form is of.

    Raises:
        ValueError: It is none.
    """
    header = _read_header(short)
    at = header.redirects.stop + header.strings
    strings = short[header.redirects.stop : at]
    names_end = at + _WORD + int.from_bytes(short[at : at + _WORD], "little")
    sizes = _words(short[names_end:])
    count = _OFFSET - _MODULE
    ends = short.count(b"\0", at + _WORD, names_end)  # before there is a list of them
    if ends != count * header.slots or len(sizes) != 2 * header.slots:
        raise ValueError(f"an index of {header.slots} resources with {ends} names and {len(sizes)} sizes")
    names = short[at + _WORD : names_end].split(b"\0")
    places = _places(strings, set(names))
    redirects = _words(short[header.redirects])
    slots = [b""] * header.slots
    offset = 0
    for number in range(header.slots):
        four = names[count * number : count * (number + 1)]
        compressed, size = sizes[2 * number : 2 * number + 2]
        slot = _slot(_full_name(*four), redirects)
        if slots[slot]:
            raise ValueError(f"an index with two resources in slot {slot}")
        try:
            slots[slot] = _location(*(places[name] for name in four), offset, compressed, size)
        except KeyError as error:
            raise ValueError(f"an index without the string {error}") from error
        offset += compressed or size
    offsets, locations = array("I"), bytearray(1)
    for location in slots:
        offsets.append(len(locations))
        locations += location
    if len(locations) > header.locations:
        raise ValueError(f"locations of {len(locations)} bytes, expected {header.locations}")
    locations = locations.ljust(header.locations, b"\0")
    return short[: header.redirects.stop] + _bytes(offsets) + bytes(locations) + strings


def _read_header(content: bytes) -> _Header:
    if len(content) < _HEADER.size:
        raise ValueError(f"an index of {len(content)} bytes")
    magic, _, _, resources, slots, locations, strings = _HEADER.unpack_from(content)
    if magic != _MAGIC or resources != slots or not 0 < slots <= _MAX_RESOURCES:
        raise ValueError(f"an index of {resources} resources in {slots} slots")
    header = _Header(content[: _HEADER.size], slots, locations, strings)
    if max(locations, strings) > MAX_SHORT or header.redirects.stop + strings > len(content):
        raise ValueError(f"an index of {header.end} bytes in {len(content)}")
    return header


def _locations(content: bytes, header: _Header) -> Iterator[list[int]]:
    """Yield the numbers of the attributes of each slot's location, by their kinds."""
    end = header.first + header.locations
    for offset in _words(content[header.redirects.stop : header.first]):
        at = header.first + offset
        values = [0] * _KINDS
        for _ in range(_KINDS):
            kind, length = divmod(content[at], 8) if at < end else (_KINDS, 0)
            if not kind:
                break
            if kind >= _KINDS or at + 2 + length > end:
                raise ValueError(f"a location with an attribute of kind {kind} at byte {at}")
            values[kind] = int.from_bytes(content[at + 1 : at + 2 + length], "big")
            at += 2 + length
        if max(values[_SIZES]) >> 8 * _WORD:
            raise ValueError(f"a resource of {values[_SIZE]} bytes")
        yield values


def _location(*values: int) -> bytes:
    location = bytearray()
    for kind, value in enumerate(values, start=_MODULE):
        if value:
            length = (value.bit_length() + 7) // 8
            location.append(kind * 8 + length - 1)
            location += value.to_bytes(length, "big")
    return bytes(location) + b"\0"


def _string(strings: bytes, at: int) -> bytes:
    end = strings.find(b"\0", at)
    if end < 0:
        raise ValueError(f"a string at byte {at} of {len(strings)}")
    return strings[at:end]


def _places(strings: bytes, wanted: Container[bytes]) -> dict[bytes, int]:
    """Return the offset of each string that is wanted; of equal ones that of the first."""
    places: dict[bytes, int] = {}
    at = 0
    while at <= len(strings):
        end = strings.find(b"\0", at)
        end = len(strings) if end < 0 else end
        text = strings[at:end]
        if text in wanted:
            places.setdefault(text, at)
        at = end + 1
    return places


def _full_name(module: bytes, parent: bytes, base: bytes, extension: bytes) -> bytes:
    name = b"/" + module + b"/" if module else b""
    if parent:
        name += parent + b"/"
    return name + base + (b"." + extension if extension else b"")


def _slot(name: bytes, redirects: "array[int]") -> int:
    """Return the slot of a name (`ImageStringsReader.hashCode`)."""
    redirect = redirects[_hash(name, _SEED) % len(redirects)]
    slot = ~redirect & 0xFFFF_FFFF if redirect >> 31 else _hash(name, redirect) % len(redirects)
    if slot >= len(redirects):
        raise ValueError(f"an index with slot {slot} of {len(redirects)}")
    return slot


def _hash(name: bytes, seed: int) -> int:
    for byte in name:
        seed = seed * _SEED & 0xFFFF_FFFF ^ byte
    return seed & 0x7FFF_FFFF


def _words(content: bytes) -> "array[int]":
    words = array("I", content[: len(content) // _WORD * _WORD])
    if sys.byteorder == "big":
        words.byteswap()
    return words


def _bytes(words: "array[int]") -> bytes:
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()
