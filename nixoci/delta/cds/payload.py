"""The bytes of a payload (docs/delta-format.md, CDS)."""

import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from nixoci.delta.cds.bitmap import Bitmap
from nixoci.delta.cds.pointers import Move
from nixoci.delta.cds.reduced import Derived
from nixoci.delta.cds.symbols import SymbolTable
from nixoci.delta.codecs.model import CorruptPayloadError
from nixoci.delta.format.numbers import pack_varint, read_varint

_MAX_MOVES = 1 << 18
_TABLE_NUMBERS = 8
_BITMAP_NUMBERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A payload.

    Attributes:
        address: The address at which both archives were dumped.
        moves: The moves of targets.
        old: The parts of the old archive that follow from the rest.
        new: Those of the new one.
        patch: The patch from the reduced old archive with moved pointers to the reduced new one.
    """

    address: int
    moves: Sequence[Move]
    old: Derived
    new: Derived
    patch: bytes


def pack_payload(payload: Payload) -> bytes:
    """Return the bytes of a payload."""
    packed = bytearray(pack_varint(payload.address) + pack_varint(len(payload.moves)))
    start = shift = 0
    steps, turns = [], []
    for move in payload.moves:
        steps.append(move.start - start)
        turn = move.shift - shift
        turns.append(turn << 1 if turn >= 0 else ~turn << 1 | 1)
        start, shift = move.start, move.shift
    parts = (payload.old.table, payload.old.bitmap, payload.new.table, payload.new.bitmap)
    described = [number for part in parts for number in ((0,) if part is None else (1, *astuple(part)))]
    for number in (*steps, *turns, *described):
        packed += pack_varint(number)
    return bytes(packed) + payload.patch


def read_payload(data: bytes) -> Payload:
    """Parse a payload.

    Raises:
        CorruptPayloadError: It is none.
    """
    source = io.BytesIO(data)

    def number() -> int:
        return read_varint(lambda: source.read(1)[0])

    try:
        address, count = number(), number()
        if count > _MAX_MOVES:
            raise CorruptPayloadError(f"{count} moves of pointers, at most {_MAX_MOVES} are allowed")
        steps = [number() for _ in range(count)]
        turns = [number() for _ in range(count)]
        old, new = (
            Derived(
                SymbolTable(*(number() for _ in range(_TABLE_NUMBERS))) if number() else None,
                Bitmap(*(number() for _ in range(_BITMAP_NUMBERS))) if number() else None,
            )
            for _ in range(2)
        )
    except (IndexError, OverflowError) as error:
        raise CorruptPayloadError("a truncated list of moves of pointers") from error
    moves, start, shift = [], 0, 0
    for step, turn in zip(steps, turns, strict=True):
        start += step
        shift += turn >> 1 ^ -(turn & 1)
        moves.append(Move(start, shift))
    return Payload(address=address, moves=moves, old=old, new=new, patch=source.read())
