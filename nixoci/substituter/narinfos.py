"""The narinfos of releases, each release's in one file, which is fetched once."""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from time import monotonic

from nixoci.background import CallAhead
from nixoci.errors import DeltaError, NixociError, StoreError
from nixoci.nix_store.hashes import to_sri
from nixoci.nix_store.narinfo import MAX_NARINFO, NarInfo
from nixoci.nix_store.path import HASH_PART_DIGITS, store_path_basename
from nixoci.publish.index import DIRECTORY, PublishedNarinfos, Release
from nixoci.publish.narinfos import MAX_NARINFOS, unpack
from nixoci.substituter.upstream import Document, Upstream

log = logging.getLogger(__name__)

_FILES = 4
"""Files that are kept; one of a system of 5000 paths takes some 3 MB."""

_RETRY = 300.0
"""Seconds after which a file that failed is asked for again, and one that is kept is compared with the cache again."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """The narinfos of a file by hash parts, none if it failed; and the time until which that holds."""

    narinfos: dict[str, bytes] | None
    until: float


class ReleaseNarinfos:
    """Fetches the narinfos of releases, and keeps a few of them; several threads may ask.

    Args:
        upstream: The cache that has them.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = Lock()
        self._fetching = Lock()

    def get(self, release: Release, hash_part: str, *, fetch: bool) -> bytes | None:
        """Return the narinfo of a path, None if the file cannot be had, lacks it, or is older than those in the cache.

        Args:
            release: The release of the path.
            hash_part: The hash part of the path.
            fetch: Whether the file is fetched if it is not here.
        """
        published = release.narinfos
        if published is None:
            return None
        kept = self._find(published)
        if kept is None and fetch:
            with self._fetching:  # one asks, the others wait
                kept = self._find(published) or self._fetch(published, release)
        return None if kept is None or kept.narinfos is None else kept.narinfos.get(hash_part)

    def sizes(self, release: Release) -> Iterator[tuple[str, int]]:
        """Yield the name of each path of a release, and the bytes of its NAR as the cache has it compressed.

        A path is left out if its narinfo cannot be read, all are if the file is not here.
        """
        kept = None if release.narinfos is None else self._find(release.narinfos)
        for hash_part, narinfo in (kept.narinfos or {}).items() if kept is not None else ():
            with suppress(StoreError):
                info = NarInfo.parse(narinfo, what=hash_part)
                yield store_path_basename(info.path), info.file_size

    def _find(self, published: PublishedNarinfos) -> _Kept | None:
        with self._lock:
            kept = self._kept.get(published.file)
            if kept is None or monotonic() > kept.until:
                return None
            self._kept.move_to_end(published.file)
            return kept

    def _fetch(self, published: PublishedNarinfos, release: Release) -> _Kept:
        with self._lock:
            kept = self._kept.get(published.file)
        narinfos = None if kept is None else kept.narinfos
        root = _root(release)
        # both at a time: Nix waits for a round trip
        asked = CallAhead(lambda: self._upstream.document(f"{root}.narinfo", MAX_NARINFO), drop=lambda _: None)
        try:
            if narinfos is None:
                narinfos = self._read(published)
                text = "%s: fetched %d bytes, the narinfos of %d paths"
                log.info(text, published.file, published.size, len(narinfos))
            self._compare(narinfos, root, asked.take(), published)
        except NixociError as error:
            asked.drop()
            narinfos = None
            log.warning("%s: not used: %s", published.file, error)
        kept = _Kept(narinfos, monotonic() + _RETRY)
        with self._lock:
            self._kept[published.file] = kept
            self._kept.move_to_end(published.file)
            while len(self._kept) > _FILES:
                self._kept.popitem(last=False)
        return kept

    def _compare(
        self, narinfos: Mapping[str, bytes], root: str, found: Document | None, published: PublishedNarinfos
    ) -> None:
        """Refuse narinfos that are not those of the cache, judging by a root: signing takes in all that it needs."""
        if root not in narinfos:
            return
        if found is None or found.data.removesuffix(b"\n") != narinfos[root].removesuffix(b"\n"):
            what = f"{self._upstream.url}{root}.narinfo"
            raise DeltaError(f"{what}: not as in {published.file}, since the cache has changed; publish again")

    def _read(self, published: PublishedNarinfos) -> dict[str, bytes]:
        what = f"{DIRECTORY}/{published.file}"
        limit, seconds = min(published.size, MAX_NARINFOS), self._upstream.patience.narinfos
        document = self._upstream.document(what, limit, seconds=seconds)
        if document is None:
            raise DeltaError(f"{self._upstream.url}{what}: does not exist; publish again")
        found = to_sri(hashlib.sha256(document.data).digest())
        if found != published.sha256:
            raise DeltaError(f"{self._upstream.url}{what}: its SHA-256 is {found}, not that of its name; publish again")
        return unpack(document.data, what=what)


def _root(release: Release) -> str:
    """Return the hash part of a root that a delta makes."""
    hash_parts = [name[:HASH_PART_DIGITS] for name in release.roots]
    return next((each for each in hash_parts if release.makes(each)), hash_parts[0])
