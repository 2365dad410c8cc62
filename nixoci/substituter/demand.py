"""The part of an update that Nix wants: a delta of all of it pays only if that is enough."""

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

    def note(self, delta: PublishedDelta, hash_part: str, size: int) -> None:
        """Count a path that a delta makes; `size` is that of its NAR as the cache has it compressed."""
        now = monotonic()
        with self._lock:
            asked = self._asked.setdefault(delta.file, {})
            asked.pop(hash_part, None)
            asked[hash_part] = now, size
            for each in list(self._asked):  # the latest question is the last of each
                paths = self._asked[each]
                while paths and (len(paths) > _MOST or now - next(iter(paths.values()))[0] > _LATELY):
                    del paths[next(iter(paths))]
                if not paths:
                    del self._asked[each]

    def pays(self, delta: PublishedDelta) -> bool:
        """Return whether the paths that were asked about are worth the delta.

        If Nix asks about one path after another, no more is fetched than the delta before this becomes true.
        """
        with self._lock:
            wanted = sum(size for _, size in self._asked.get(delta.file, {}).values())
        return pays(delta.size, wanted)
