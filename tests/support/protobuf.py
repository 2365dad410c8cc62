"""Messages in the wire format of Protocol Buffers, by field numbers and without schemas.

A field's value is a text or bytes, a number that is not negative, another message, or a list of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value: TypeAlias = "str | bytes | int | Mapping[int, Value] | Sequence[str] | Sequence[Mapping[int, Value]]"
Message: TypeAlias = "Mapping[int, Value]"

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    return b"".join(
        _field(number, value)
        for number, values in message.items()
        for value in (values if isinstance(values, list) else [values])
    )


def decode(data: bytes) -> dict[int, list[int | bytes]]:
    """Return the values of each field; a text or a message is bytes there."""
    fields: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        value: int | bytes
        match tag & 7:
            case 0:
                value, at = _read_varint(data, at)
            case 2:
                size, at = _read_varint(data, at)
                value, at = data[at : at + size], at + size
            case kind:
                size = {FIXED64: 8, FIXED32: 4}[kind]
                value, at = data[at : at + size], at + size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | VARINT) + _varint(value)
    if isinstance(value, str):
        data = value.encode()
    elif isinstance(value, bytes):
        data = value
    else:
        assert isinstance(value, dict)
        data = encode(value)
    return _varint(number << 3 | LENGTH) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
