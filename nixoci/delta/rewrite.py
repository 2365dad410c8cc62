"""Rewriting references: an old file becomes the new one if they differ only in the store paths that they name."""

from collections.abc import Iterable

from nixoci.delta.format.model import SEGMENT_SIZE
from nixoci.nix_store.path import HASH_PART_DIGITS, MAX_NAME, STORE_DIR, store_path_hash, store_path_name

_START = f"{STORE_DIR}/".encode()
MAX_REFERENCE = len(_START) + HASH_PART_DIGITS + 1 + MAX_NAME
"""Bytes of the longest reference."""


class Rewriter:
    """Replaces references to predecessors by references to their new versions; no length changes.

    Args:
        pairs: Predecessors and their new versions; of several for one predecessor, the first counts.
        segment_size: Bytes of a segment; references across the border of two are not replaced.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], *, segment_size: int = SEGMENT_SIZE) -> None:
        self.segment_size = segment_size
        self._new: dict[bytes, tuple[bytes, bytes, bytes]] = {}
        for old, new in pairs:
            names = b"-" + store_path_name(old).encode(), b"-" + store_path_name(new).encode()
            if len(names[0]) != len(names[1]):
                names = b"", b""
            self._new.setdefault(store_path_hash(old).encode(), (store_path_hash(new).encode(), *names))

    def __call__(self, data: bytes) -> bytes:
        """Return the data with each reference rewritten: its hash part, and its name if the new one is as long."""
        first = self._first(data)
        if first < 0:
            return data
        block = bytearray(data)
        self.edit_block(block, len(block), last=True, start=first)
        return bytes(block)

    def changes(self, data: bytes) -> bool:
        """Return whether the data have a reference that would be rewritten."""
        return self._first(data) >= 0

    def edit_block(self, block: bytearray, end: int, *, last: bool, start: int = 0) -> int:
        """Rewrite the references in the first `end` bytes of a block; return how many of those bytes are final.

        The rest may be the start of a reference that continues in the next block; with `last`, there is no rest.
        """
        at = block.find(_START, start, end) if self._new else -1
        while at >= 0:
            hash_at = at + len(_START)
            name_at = hash_at + HASH_PART_DIGITS
            if name_at > end and not last:
                return at
            found = self._new.get(bytes(block[hash_at : min(name_at, end)]))
            if found is not None:
                hash_part, old_name, new_name = found
                name_end = name_at + len(old_name)
                if name_end > end and not last:
                    return at
                block[hash_at:name_at] = hash_part
                if block.startswith(old_name, name_at, end):
                    block[name_at:name_end] = new_name
            at = block.find(_START, at + 1, end)
        return end if last or not self._new else max(0, end - len(_START) + 1)

    def _first(self, data: bytes) -> int:
        at = data.find(_START) if self._new else -1
        while at >= 0 and data[at + len(_START) : at + len(_START) + HASH_PART_DIGITS] not in self._new:
            at = data.find(_START, at + 1)
        return at
