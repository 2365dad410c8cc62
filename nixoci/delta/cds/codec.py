"""Both directions of the codec."""

from nixoci.delta.cds.payload import Payload, pack_payload, read_payload
from nixoci.delta.cds.pointers import Words, find_address, find_moves
from nixoci.delta.cds.symbols import blank_table, fill_table, find_table
from nixoci.delta.codecs.hdiff import HDIFF, patch, patch_covers
from nixoci.delta.codecs.model import Codec, CorruptPayloadError

_MAGIC = b"\xa2\xab\x0b\xf0"
"""The magic number of an archive of HotSpot, from JDK 9 on (`CDS_ARCHIVE_MAGIC`, least byte first)."""


def encode(old: bytes, new: bytes) -> bytes | None:
    """Return the payload of `new`, or None if the contents are no class data archives at the same address."""
    if not (old.startswith(_MAGIC) and new.startswith(_MAGIC)):
        return None
    address = find_address(new)
    if address is None or address != find_address(old):
        return None
    table = find_table(new)
    blank = bytearray(new)
    if table is not None:
        blank_table(blank, table)
    new_words, old_words = Words(bytes(blank), address), Words(old, address)
    covers = patch_covers(patch(old_words.blanked(), new_words.blanked()))
    moves = find_moves(old_words, new_words, covers)
    patched = patch(old_words.moved(moves), bytes(blank))
    return pack_payload(Payload(address=address, moves=moves, table=table, patch=patched))


def _decode(data: bytes, old: bytes, limit: int) -> bytes:
    payload = read_payload(data)
    new = HDIFF.decode(payload.patch, Words(old, payload.address).moved(payload.moves), limit)
    if payload.table is None:
        return new
    filled = bytearray(new)
    try:
        fill_table(filled, payload.table)
    except (ValueError, OverflowError) as error:
        raise CorruptPayloadError(f"a table of symbols cannot be made ({error})") from error
    return bytes(filled)


CDS = Codec(number=6, name="cds", version=2, decode=_decode)
