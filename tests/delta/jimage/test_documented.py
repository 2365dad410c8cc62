"""A payload, read by what docs/delta-format.md says of it and nothing else of nixoci."""

from __future__ import annotations

import struct

import hdiffpatch

from nixoci.delta.codecs.source import Held
from nixoci.delta.jimage.codec import encode
from tests.delta.jimage.samples import modules, resources


def hashed(name: bytes, number: int) -> int:
    for byte in name:
        number = (number * 16777619) % 2**32 ^ byte
    return number % 2**31


def split(content: bytes) -> tuple[int, int, int]:
    """Return the number of slots, and the bytes of locations and strings."""
    return struct.unpack_from("<3I", content, 16)


def shorten(content: bytes) -> bytes:
    slots, locations, strings = split(content)
    first = 28 + 8 * slots
    texts = content[first + locations : first + locations + strings]
    found = []
    for offset in struct.unpack_from(f"<{slots}I", content, 28 + 4 * slots):
        at, values = first + offset, [0] * 8
        while content[at]:
            kind, length = content[at] // 8, content[at] % 8 + 1
            values[kind] = int.from_bytes(content[at + 1 : at + 1 + length], "big")
            at += 1 + length
        names = b"".join(texts[place:].partition(b"\0")[0] + b"\0" for place in values[1:5])
        found.append((values[5], values[6] or values[7], names, values[6:]))
    found.sort()
    names = b"".join(each[2] for each in found)
    sizes = b"".join(struct.pack("<2I", *each[3]) for each in found)
    return content[: 28 + 4 * slots] + texts + struct.pack("<I", len(names)) + names + sizes


def restore(short: bytes) -> bytes:
    slots, length, strings = split(short)
    head, texts, rest = short[: 28 + 4 * slots], short[28 + 4 * slots :][:strings], short[28 + 4 * slots + strings :]
    names = rest[4 : 4 + struct.unpack_from("<I", rest)[0]]
    sizes = rest[4 + len(names) :]
    redirects = struct.unpack_from(f"<{slots}I", head, 28)
    by_slot = [b""] * slots
    offset = 0
    for number, name in enumerate(zip(*[iter(names.split(b"\0")[:-1])] * 4, strict=True)):
        module, parent, base, extension = name
        compressed, size = struct.unpack_from("<2I", sizes, 8 * number)
        full = (b"/" + module + b"/" if module else b"") + (parent + b"/" if parent else b"") + base
        full += b"." + extension if extension else b""
        redirect = redirects[hashed(full, 16777619) % slots]
        slot = 2**32 - 1 - redirect if redirect >= 2**31 else hashed(full, redirect) % slots
        places = [(b"\0" + texts).index(b"\0" + text + b"\0") for text in name]
        for kind, value in enumerate([*places, offset, compressed, size], start=1):
            if value:
                data = value.to_bytes(8, "big").lstrip(b"\0")
                by_slot[slot] += bytes([kind * 8 + len(data) - 1]) + data
        by_slot[slot] += b"\0"
        offset += compressed or size
    offsets, locations = b"", b"\0"
    for location in by_slot:
        offsets += struct.pack("<I", len(locations))
        locations += location
    return head + offsets + locations.ljust(length, b"\0") + texts


def apply(payload: bytes, old: bytes) -> bytes:
    size = shift = 0
    while True:
        byte, payload = payload[0], payload[1:]
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    index = restore(hdiffpatch.apply(shorten(old), b"HDIFF13&\0" + payload[:size]))
    return index + hdiffpatch.apply(old, b"HDIFF13&\0" + payload[size:])


def test_a_payload_is_applied_by_the_text() -> None:
    old, new = modules(resources(300)), modules(resources(310, grown=2))
    payload = encode(Held(old), Held(new))
    assert payload is not None
    assert apply(payload, old) == new
