"""Small files of modules, made as the JDK makes them: with a perfect hash of the names."""

from __future__ import annotations

import random
import struct
from collections import defaultdict

Resource = tuple[str, str, str, str, int, bytes]
"""Module, parent, base, extension, compressed size (0 if it is not) and content of a resource."""


class NoHashError(Exception):
    """Some names have the same hash by every number, modulo how many they are."""


def resources(count: int, *, grown: int = 0) -> list[Resource]:
    """Return resources, every hundredth from number `grown` on longer than otherwise."""
    pick = random.Random(1)
    found: list[Resource] = [
        ("java.base", "", "module-info", "class", 0, b"\xca\xfe"),
        ("", "", "packages", "", 0, b"x"),
    ]
    for number in range(count):
        name = f"Class{pick.getrandbits(40):x}"
        content = pick.randbytes(pick.randrange(0, 300))
        if grown and number % 100 == grown:
            content += b"more"
        compressed = len(content) if number % 7 == 0 else 0
        found.append(
            (f"java.m{number % 3}", f"java/p{number % 11}", name, ("class", "")[number % 5 == 0], compressed, content)
        )
    return found


def full_name(module: str, parent: str, base: str, extension: str) -> bytes:
    start = (f"/{module}/" if module else "") + (f"{parent}/" if parent else "")
    return (start + base + (f".{extension}" if extension else "")).encode()


def hashed(name: bytes, seed: int) -> int:
    for byte in name:
        seed = (seed * 0x01000193) % 2**32 ^ byte
    return seed % 2**31


def perfect_hash(names: list[bytes]) -> tuple[list[int], list[int]]:
    """Return the redirects, and the slot of each name."""
    size = len(names)
    buckets = defaultdict(list)
    for number, name in enumerate(names):
        buckets[hashed(name, 0x01000193) % size].append(number)
    redirects, slots = [0] * size, [0] * size
    taken: set[int] = set()
    for bucket, found in sorted(buckets.items(), key=lambda item: -len(item[1])):
        if len(found) == 1:
            slots[found[0]] = next(slot for slot in range(size) if slot not in taken)
            redirects[bucket] = -1 - slots[found[0]]
        else:
            for seed in range(1, 5000):
                places = [hashed(names[number], seed) % size for number in found]
                if len(set(places)) == len(places) and not taken.intersection(places):
                    break
            else:
                raise NoHashError
            redirects[bucket] = seed
            for number, place in zip(found, places, strict=True):
                slots[number] = place
        taken.update(slots[number] for number in found)
    return redirects, slots


def modules(found: list[Resource]) -> bytes:
    strings = b"\0"
    places = {"": 0}
    redirects, slots = perfect_hash([full_name(*each[:4]) for each in found])
    by_slot = [b""] * len(found)
    contents = b""
    for (*names, compressed, content), slot in zip(found, slots, strict=True):
        for name in names:
            if name not in places:
                places[name] = len(strings)
                strings += name.encode() + b"\0"
        values = [*(places[name] for name in names), len(contents), compressed, len(content) * (2 if compressed else 1)]
        for kind, value in enumerate(values, start=1):
            if value:
                data = value.to_bytes((value.bit_length() + 7) // 8, "big")
                by_slot[slot] += bytes([kind * 8 + len(data) - 1]) + data
        by_slot[slot] += b"\0"
        contents += content
    offsets, locations = [], b"\0"
    for location in by_slot:
        offsets.append(len(locations))
        locations += location
    locations += bytes(-len(locations) % 4 + 3)
    count = len(found)
    head = struct.pack("<7I", 0xCAFEDADA, 1 << 16, 0, count, count, len(locations), len(strings))
    return head + struct.pack(f"<{count}i{count}I", *redirects, *offsets) + locations + strings + contents
