"""Small NARs that are rebuilt before Nix asks for them: while it writes one path, the next is made.

Nix copies the paths of a closure in an order that follows from their references (`nix copy`), or several at a time
(`nix-store --realise`). In the second case there mostly is one to rebuild that it waits for, and none is made ahead.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING

from nixoci.nix_store.hashes import HashingSink
from nixoci.nix_store.path import PathInfo
from nixoci.streams import Data
from nixoci.substituter.body import Waiting

if TYPE_CHECKING:
    from nixoci.delta.rebuild import Rebuilder

log = logging.getLogger(__name__)

_LARGEST = 2 << 20
"""Bytes of a NAR that is made ahead."""

_BYTES = 8 << 20
"""Bytes of NARs that wait to be asked for."""

_PATHS = 32
"""Paths that are looked at for one that is made ahead."""


class NarsAhead:
    """The NARs of a delta that are made ahead.

    Args:
        infos: The paths that the delta makes.
        rebuilder: Makes their NARs.
    """

    def __init__(self, infos: Mapping[str, PathInfo], rebuilder: "Rebuilder") -> None:
        self._infos = infos
        self._rebuilder = rebuilder
        self._next: dict[str, str] | None = None
        self._made: dict[str, Future[Data | None]] = {}
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._closed = False

    def take(self, path: str, waiting: Waiting) -> Data | None:
        """Return the NAR of a path if it is made, or being made; its hash and size are those of the delta.

        Raises:
            TooLateError: It takes too long.
        """
        with self._lock:
            future = self._made.pop(path, None)
        if future is None or future.cancel():
            return None
        waiting.until(lambda timeout: bool(wait_for([future], timeout).done))
        return future.result()

    def go_on_after(self, path: str, wanted: Callable[[str], bool], busy: Callable[[], bool]) -> None:
        """Make the NARs that Nix asks for after that of a path.

        Args:
            path: The path.
            wanted: Returns whether Nix is about to ask for a path.
            busy: Returns whether something is rebuilt that Nix waits for; nothing is made ahead then.
        """
        with self._lock:
            if self._closed:
                return
            if self._next is None:
                self._next = dict(pairwise(copy_order(self._infos)))
            size = sum(self._infos[each].nar_size for each in self._made)
            for _ in range(_PATHS):
                if (path := self._next.get(path, "")) == "":
                    return
                info = self._infos[path]
                if path not in self._made and info.nar_size <= _LARGEST and wanted(path):
                    size += info.nar_size
                    if size > _BYTES:
                        return
                    self._made[path] = self._pool.submit(self._make, info, busy)

    def close(self) -> None:
        """Make no more, and wait for the one that is being made."""
        with self._lock:
            self._closed = True
            self._made.clear()
        self._pool.shutdown(cancel_futures=True)

    def _make(self, info: PathInfo, busy: Callable[[], bool]) -> Data | None:
        if busy():
            return None
        out = _Buffer()
        hashed = HashingSink(out)
        try:
            self._rebuilder.write(info, hashed, explained=True)  # by who makes it once more
        except Exception as error:  # noqa: BLE001 - whoever asks for it meets it again
            log.debug("not made ahead: %s", error)
            return None
        return memoryview(out.data) if hashed.sri == info.nar_hash else None


class _Buffer:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: Data, /) -> None:
        self.data += data


def copy_order(infos: Mapping[str, PathInfo]) -> list[str]:
    """Return paths in the order in which Nix copies them: what is needed first (Nix, src/libutil/topo-sort.hh)."""
    order: list[str] = []
    seen: set[str] = set()
    for start in sorted(infos):
        stack = [] if start in seen else [(start, iter(infos[start].references))]
        seen.add(start)
        while stack:
            path, references = stack[-1]
            following = next((each for each in references if each in infos and each not in seen), None)
            if following is None:
                order.append(path)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(infos[following].references)))
    return order
