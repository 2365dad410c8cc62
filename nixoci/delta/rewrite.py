"""References to store paths, rewritten: what is old but for the paths that it names becomes what is new."""

from collections.abc import Iterable

from nixoci.nix_store.path import STORE_DIR, store_path_hash, store_path_name

_START = f"{STORE_DIR}/".encode()
_HASH_PART = 32


class Rewriter:
    """Replaces references to old store paths by those to the paths that come after them; no length changes.

    Args:
        pairs: Old paths, and the path that comes after each; where one is named twice, the first counts.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._after: dict[bytes, tuple[bytes, bytes, bytes]] = {}
        for old, new in pairs:
            names = b"-" + store_path_name(old).encode(), b"-" + store_path_name(new).encode()
            if len(names[0]) != len(names[1]):
                names = b"", b""
            self._after.setdefault(store_path_hash(old).encode(), (store_path_hash(new).encode(), *names))

    def __call__(self, data: bytes) -> bytes:
        """Return the data with each reference rewritten: its hash part, and its name if the new one is as long."""
        first = self._first(data)
        if first < 0:
            return data
        block = bytearray(data)
        self.settle(block, len(block), last=True, start=first)
        return bytes(block)

    def changes(self, data: bytes) -> bool:
        """Tell whether the data have a reference that would be rewritten."""
        return self._first(data) >= 0

    def settle(self, block: bytearray, end: int, *, last: bool, start: int = 0) -> int:
        """Rewrite the references in the first `end` bytes of a block; return how many of those bytes are final.

        The few that are not may begin a reference that goes on in what follows; with `last`, nothing does.
        """
        at = block.find(_START, start, end) if self._after else -1
        while at >= 0:
            hash_at = at + len(_START)
            name_at = hash_at + _HASH_PART
            if name_at > end and not last:
                return at
            found = self._after.get(bytes(block[hash_at : min(name_at, end)]))
            if found is not None:
                hash_part, old_name, new_name = found
                name_end = name_at + len(old_name)
                if name_end > end and not last:
                    return at
                block[hash_at:name_at] = hash_part
                if block.startswith(old_name, name_at, end):
                    block[name_at:name_end] = new_name
            at = block.find(_START, at + 1, end)
        return end if last or not self._after else max(0, end - len(_START) + 1)

    def _first(self, data: bytes) -> int:
        at = data.find(_START) if self._after else -1
        while at >= 0 and data[at + len(_START) : at + len(_START) + _HASH_PART] not in self._after:
            at = data.find(_START, at + 1)
        return at
