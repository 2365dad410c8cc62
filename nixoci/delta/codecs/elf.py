"""Patches of ELF files in which references are predicted (`nixoci.delta.elf`)."""

from nixoci.delta.codecs.hdiff import patch_covers, patch_source
from nixoci.delta.codecs.model import Codec, CorruptPayloadError
from nixoci.delta.codecs.source import Source
from nixoci.delta.format.numbers import MAX_VARINT, read_varint

ELF_MAGIC = b"\x7fELF"
_TYPE = 16
"""The offset of a file's type (`e_type`)."""
_COST, _COST_OF_KIB = 128, 1
"""Bytes that a payload has to save to be worth its decoding: for each file, and for each KiB of both files."""
_SAVED = 4
"""One in so many bytes of a patch by HDiffPatch is saved at least, where it is worth the work to try."""
_RELOCATABLE = 1
_RELOCATABLE_PATCH = 12 << 10
"""Bytes of the smallest patch of a relocatable file, such as a kernel module, for which it is worth the work to try."""


def decoding_cost(size: int) -> int:
    """Return the bytes that a payload has to save to be worth its decoding; `size` is that of both files."""
    return _COST + _COST_OF_KIB * size // 1024


def is_promising(old: Source, new: Source, patched: bytes) -> bool:
    """Return whether a payload may be worth its decoding, judging by the one by HDiffPatch."""
    relocatable = new.read(_TYPE, _TYPE + 2) == _RELOCATABLE.to_bytes(2, "little")
    return len(patched) > max(_SAVED * decoding_cost(old.size + new.size), _RELOCATABLE_PATCH if relocatable else 0)


def refine(old: Source, new: Source, patched: bytes) -> bytes | None:
    """Return the payload of `new`, or None if it suits no ELF codec; `patched` is the payload by HDiffPatch."""
    if not old.read(0, len(ELF_MAGIC)) == new.read(0, len(ELF_MAGIC)) == ELF_MAGIC:
        return None
    from nixoci.delta.elf.codec import encode  # noqa: PLC0415 - numpy takes longer to load than all of the rest

    return encode(old, new, patch_covers(patched), lambda one, other: patch_covers(patch_source(one, other)))


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
