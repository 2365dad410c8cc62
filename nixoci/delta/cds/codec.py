"""Both directions of the codec."""

from nixoci.delta.cds.payload import Payload, pack_payload, read_payload
from nixoci.delta.cds.pointers import Move, Words, find_address, find_moves
from nixoci.delta.cds.reduced import find_derived, reduce, restore
from nixoci.delta.codecs.hdiff import HDIFF, patch, patch_covers
from nixoci.delta.codecs.model import CorruptPayloadError

CDS_MAGIC = b"\xa2\xab\x0b\xf0"
"""The magic number of an archive of HotSpot, from JDK 9 on (`CDS_ARCHIVE_MAGIC`, least byte first)."""


def encode(old: bytes, new: bytes) -> bytes | None:
    """Return the payload of `new`, or None if the contents are no class data archives at the same address."""
    if not (old.startswith(CDS_MAGIC) and new.startswith(CDS_MAGIC)):
        return None
    address = find_address(new)
    if address is None or address != find_address(old):
        return None
    old_derived, derived = find_derived(old, address), find_derived(new, address)
    old_reduced, reduced = reduce(old, old_derived, address), reduce(new, derived, address)
    del old, new  # each is some megabytes, and no caller needs it
    moves = _moves(old_reduced, reduced, address)
    patched = patch(Words(old_reduced, address).moved(moves), reduced)
    return pack_payload(Payload(address=address, moves=moves, old=old_derived, new=derived, patch=patched))


def _moves(old: bytes, new: bytes, address: int) -> list[Move]:
    """Return the moves of targets from one reduced archive to the other."""
    covers = patch_covers(patch(Words(old, address).blanked(), Words(new, address).blanked()))
    return find_moves(Words(old, address), Words(new, address), covers)


def decode(data: bytes, old: bytes, limit: int) -> bytes:
    """Return the new class data archive.

    Args:
        data: The payload.
        old: The old class data archive.
        limit: The largest size of the new one.

    Raises:
        CorruptPayloadError: The payload is damaged, or does not belong to the old class data archive.
    """
    payload = read_payload(data)
    try:
        moved = Words(reduce(old, payload.old, payload.address), payload.address).moved(payload.moves)
        return restore(HDIFF.decode(payload.patch, moved, limit), payload.new, payload.address)
    except ValueError as error:
        raise CorruptPayloadError(f"a class data archive cannot be made ({error})") from error
