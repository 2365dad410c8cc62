"""Random changes of bytes and of JSON values."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

NUMBERS = (0, 1, 2, 7, 511, 512, 513, 4096, 65_536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 55, 1 << 63)
"""Sizes, ids and times at the ends of their ranges."""

_DEEP = 300
_STRINGS: tuple[str, ...] = (
    *(
        "",
        " ",
        "a",
        "/",
        "..",
        "../x",
        "../../../../x",
        "/etc/passwd",
        ".",
        "a/b",
        "a\nb",
        "a\0b",
        "\x1b[2J",
        "%h",
        "$x",
    ),
    *("é", "\ud800", "\udcff", "a" * 300, "a" * 70_000, "sha256:", "sha256:" + "0" * 64, "sha512:" + "0" * 128),
    *("latest", "docker.io/library/a:1", "oci:layout:t", "linux/amd64", "1:2", "0", "-1", "1e9", "true", "null"),
    *("--help", "-", "a b", "a=b", "a:b:c", "\u2028", "10s", "5m", "CMD", "none", "host", "2024-01-02T03:04:05Z"),
)
_MARKS = "\0\n\udcff\x7f\"'\\%$ "
"""Characters that mean something in one of the languages that a value is written in."""

_SCALARS: tuple[Any, ...] = (
    None,
    True,
    False,
    1.5,
    -1,
    1e300,
    -0.0,
    10**400,
    [],
    {},
    [[]],
    {"": ""},
    [None],
    ["a"],
    {"a": "b"},
)
_TEXTS = (b"", b"null", b"[]", b"{", b"[" * 100_000, b'{"a":1,"a":2}', b"NaN", b"\xff", b"\xef\xbb\xbf{}", b"0" * 5000)


def number(random: Random) -> int:
    """Return a number that tends to be at the end of a range."""
    return random.choice((*NUMBERS, random.randrange(1 << random.randrange(1, 66))))


def changed_bytes(random: Random, data: bytes) -> bytes:
    """Return bytes with a few of them flipped, cut out, repeated or replaced."""
    result = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5))):
        if not result:
            break
        at = random.randrange(len(result))
        end = min(len(result), at + random.choice((1, 2, 8, 100, 512)))
        kind = random.randrange(5)
        if kind == 0:
            result[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            del result[at:end]
        elif kind == 2:
            result[at:at] = result[at:end]
        elif kind == 3:
            result[at:end] = random.randbytes(end - at)
        else:
            del result[at:]
    return bytes(result)


def changed_json(random: Random, value: Any) -> Any:
    """Return a JSON value with a few parts replaced, dropped, added, repeated or swapped."""
    holder = {"": copy.deepcopy(value)}
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        places = list(_places(holder))
        container, key = random.choice(places)
        kind = random.randrange(10)
        if kind > 5:
            container[key] = _like(random, container[key])
        elif kind == 0 and container is not holder:
            del container[key]
        elif kind == 1 and isinstance(container, dict) and container is not holder:
            container[random.choice((*_STRINGS, str(key).upper()))] = odd_value(random)
        elif kind == 2 and isinstance(container, list):
            container.insert(random.randrange(len(container) + 1), copy.deepcopy(container[key]))
        elif kind == 3:
            other, name = random.choice(places)
            container[key] = copy.deepcopy(other[name]) if name in _keys(other) else odd_value(random)
        elif kind == 4 and isinstance(container[key], str):
            container[key] = _changed_text(random, container[key])
        else:
            container[key] = odd_value(random)
    return holder[""]


def json_text(random: Random, value: Any) -> bytes:
    """Return the text of a JSON value, which is now and then not JSON any more."""
    text = json.dumps(value, sort_keys=random.random() < 0.5).encode()
    chance = random.random()
    if chance < 0.03:
        return random.choice(_TEXTS)
    return changed_bytes(random, text) if chance < 0.08 else text


def odd_value(random: Random) -> Any:
    """Return a JSON value that a careless reader would trip over."""
    kind = random.randrange(8)
    if kind < 4:
        return random.choice(_STRINGS)
    if kind < 6:
        return random.choice((1, -1)) * number(random)
    if kind == 6 and random.random() < 0.1:
        value: Any = 1
        for _ in range(_DEEP):
            value = {"a": value} if random.random() < 0.5 else [value]
        return value
    return copy.deepcopy(random.choice(_SCALARS))


def _like(random: Random, value: Any) -> Any:
    """Return another value of the same type, which gets further than one of another type."""
    if isinstance(value, str):
        return random.choice(_STRINGS) if random.random() < 0.5 else _changed_text(random, value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice((1, 1, -1)) * number(random)
    if isinstance(value, dict):
        return {random.choice((*_STRINGS, name)): item for name, item in value.items()}
    return list(reversed(value)) * random.choice((1, 2)) if isinstance(value, list) else odd_value(random)


def _changed_text(random: Random, text: str) -> str:
    at = random.randrange(len(text) + 1)
    added: str = random.choice((*_STRINGS, *_MARKS))
    return text[:at] + added + text[at + random.choice((0, 1, 3)) :]


def _places(value: Any) -> Any:
    for key in _keys(value):
        yield value, key
        yield from _places(value[key])


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, list) else []
