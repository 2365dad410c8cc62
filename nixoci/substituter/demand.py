"""The part of an update that Nix wants: a delta of all of it pays only if that is enough."""

from collections import Counter
from threading import Lock
from time import monotonic

from nixoci.publish.index import PublishedDelta, pays

_LATELY = 3600.0
"""Seconds for which a question counts: Nix asks about all paths before it fetches the first one."""
_MOST = 20_000
"""Paths that are counted."""


class Demand:
    """Paths that Nix asked about lately, by the delta that makes them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._asked: dict[str, dict[str, tuple[float, int]]] = {}
        self._sizes: Counter[str] = Counter()

    def note(self, delta: PublishedDelta, hash_part: str, size: int) -> None:
        """Count a path that a delta makes; `size` is that of its NAR as the cache has it compressed."""
        now = monotonic()
        with self._lock:
            self._asked.setdefault(delta.file, {})
            self._forget(delta.file, hash_part)
            self._asked[delta.file][hash_part] = now, size
            self._sizes[delta.file] += size
            for each in list(self._asked):  # the latest question is the last of each
                paths = self._asked[each]
                while paths and (len(paths) > _MOST or now - next(iter(paths.values()))[0] > _LATELY):
                    self._forget(each, next(iter(paths)))
                if not paths:
                    del self._asked[each], self._sizes[each]

    def pays(self, delta: PublishedDelta) -> bool:
        """Return whether the paths that were asked about are worth the delta.

        If Nix asks about one path after another, no more is fetched than the delta before this becomes true.
        """
        with self._lock:
            wanted = self._sizes[delta.file]
        return pays(delta.size, wanted)

    def _forget(self, file: str, hash_part: str) -> None:
        _, size = self._asked[file].pop(hash_part, (0.0, 0))
        self._sizes[file] -= size
