"""References to store paths, rewritten: what is old but for the paths that it names becomes what is new."""

import re
from collections.abc import Iterable

from nixoci.delta.model import STORE_DIR, store_path_hash, store_path_name

_REFERENCE = re.compile(rb"/nix/store/([0-9a-df-np-sv-z]{32})((?:-[0-9A-Za-z+\-._?=]*)?)")


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
        return _REFERENCE.sub(self._rewrite, data) if self._after else data

    def changes(self, data: bytes) -> bool:
        """Tell whether the data have a reference that would be rewritten."""
        return any(match[1] in self._after for match in _REFERENCE.finditer(data)) if self._after else False

    def _rewrite(self, match: re.Match[bytes]) -> bytes:
        found = self._after.get(match[1])
        if found is None:
            return match[0]
        hash_part, old_name, new_name = found
        rest = match[2]
        if rest.startswith(old_name):
            rest = new_name + rest[len(old_name) :]
        return STORE_DIR.encode() + b"/" + hash_part + rest
