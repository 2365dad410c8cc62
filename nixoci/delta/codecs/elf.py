"""Patches of ELF files in which references are predicted (`nixoci.delta.elf`)."""

import threading
from contextlib import nullcontext

from nixoci.delta.codecs.hdiff import patch, patch_covers
from nixoci.delta.codecs.model import Codec, CorruptPayloadError
from nixoci.delta.format.numbers import MAX_VARINT, read_varint

ELF_MAGIC = b"\x7fELF"
_SMALL = 256
"""Bytes of the largest patch by HDiffPatch that is not worth the work."""
_LARGE = 8 << 20
"""Bytes of both files together from which on no two are worked on at the same time, to bound memory."""
_large = threading.Lock()


def refine(old: bytes, new: bytes, patched: bytes) -> bytes | None:
    """Return the payload of `new`, or None if it suits no ELF codec; `patched` is the payload by HDiffPatch."""
    if len(patched) <= _SMALL or not (old.startswith(ELF_MAGIC) and new.startswith(ELF_MAGIC)):
        return None
    from nixoci.delta.elf.codec import encode  # noqa: PLC0415 - numpy takes longer to load than all of the rest

    with _large if len(old) + len(new) > _LARGE else nullcontext():
        return encode(old, new, patch_covers(patched), lambda one, other: patch_covers(patch(one, other)))


def _decode(payload: bytes, old: bytes, limit: int) -> bytes:
    from nixoci.delta.elf.codec import decode  # noqa: PLC0415 - as in refine

    try:
        return decode(payload, old, limit)
    except (IndexError, OverflowError) as error:
        raise CorruptPayloadError(f"a patch of an ELF file does not apply ({error})") from error


def _declared(payload: bytes) -> int:
    try:
        return read_varint(iter(payload[:MAX_VARINT]).__next__)
    except (StopIteration, OverflowError):
        return 0  # decoding refuses it


ELF = Codec(number=4, name="elf", version=2, declared=_declared, decode=_decode)
