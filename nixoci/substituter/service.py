"""The answers of the substituter, apart from HTTP: narinfos that point to it, and the NARs behind them."""

import logging
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from threading import Lock, Thread, Timer
from time import monotonic

from nixoci.compression import Compression, DecompressError, decompress
from nixoci.delta.format.model import SEGMENT_SIZE
from nixoci.delta.worker import DecodeWorker
from nixoci.errors import DeltaError, NixociError, StoreError
from nixoci.nix_store.commands import real_store_dir
from nixoci.nix_store.narinfo import MAX_NARINFO, NarInfo
from nixoci.nix_store.path import PathInfo, store_path_hash
from nixoci.publish.index import DIRECTORY, INDEX_NAME, MAX_INDEX, VERSION, Index, PublishedDelta, Release, pays
from nixoci.streams import Sink
from nixoci.substituter.body import ClientGoneError, NarBody, Waiting, WrongNarError
from nixoci.substituter.demand import Demand
from nixoci.substituter.memory import Memory
from nixoci.substituter.metrics import Way
from nixoci.substituter.narinfos import ReleaseNarinfos
from nixoci.substituter.shelf import OpenDelta, Shelf
from nixoci.substituter.upstream import ABSENT, UnchangedError, Upstream

log = logging.getLogger(__name__)

REBUILT = "rebuilt"
"""The directory, in the addresses of the substituter, of NARs that it makes."""

MEMORY = 160 << 20
"""Bytes that all requests together use for NARs at a time."""

_ORDINARY = 72 << 20
"""Bytes for the decompression of one ordinary NAR: enough for `xz -9`."""

_LITTLE = 4 << 20
"""Bytes for a NAR that is rebuilt from small files."""

_TIMES = 8
"""Bytes of memory for each byte of a file that is rebuilt: the old and the new one, and the tables of some codecs."""

_AT_ONCE = 2
"""Small NARs that are rebuilt at a time. One thread runs at a time; many take the interpreter's lock from each other at
each file that they read, and need twice the processor time."""

_COMPRESSIONS = {each.value for each in Compression}
_PIECE = 1 << 17

_FRESH = 30.0
"""Seconds for which the index is not asked for again; of a narinfo, while Nix fetches what it describes."""
_NARINFOS = 4096
"""Narinfos that are kept for so long."""
_MAX_REMEMBERED = 1000
"""Characters of what varies in size in one of them."""

_URL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+=?&%-]*")
"""Matches the address of a NAR in the cache itself. Nix fetches those elsewhere without the substituter."""

_PRIORITY = re.compile(r"Priority: *(-?[0-9]{1,8}) *")
_DEFAULT_PRIORITY = 0
"""The priority of a cache that names none; the lowest comes first (Nix, src/libstore/store-api.hh)."""


_IDLE = 1.0
"""Seconds after the start in which Nix may ask, if that is why there was one: it waits for narinfos then."""

_Offers = list[tuple[Release, PublishedDelta]]
"""Deltas that may make a path, with their releases."""


class AbsentError(StoreError):
    """The cache behind the substituter does not have the path."""


@dataclass(slots=True)
class _Cached:
    """The index as it was at a time, and its validator."""

    index: Index
    at: float
    validator: tuple[str, str] | None


class _Loader:
    """Starts the worker and loads what decoding needs, once, before Nix asks for a NAR."""

    def __init__(self, worker: DecodeWorker) -> None:
        self._worker = worker
        self._lock = Lock()
        self._started = False

    def start(self) -> None:
        """Begin on a thread of its own, unless that was done before."""
        with self._lock:
            started, self._started = self._started, True
        if not started:
            with suppress(RuntimeError):  # no more threads; decoding loads it then
                Thread(target=self._load, name="load", daemon=True).start()

    def _load(self) -> None:
        from nixoci.delta.codecs.registry import load  # noqa: PLC0415 - Nix waits for narinfos before that

        try:
            self._worker.start()
            load()
            import_module("nixoci.delta.receive")
        except Exception as error:  # noqa: BLE001 - decoding meets it again, and the ordinary NAR takes its place
            log.debug("not loaded ahead: %r", error)


class Service:
    """Answers requests; several threads may ask.

    Args:
        upstream: The cache behind it.
        shelf: The deltas that are in use.
        store: The store that has the bases; a Nix store URL on this machine.
        memory: The bound of the memory that all requests use.
    """

    def __init__(self, upstream: Upstream, shelf: Shelf, *, store: str | None, memory: Memory | None = None) -> None:
        self._upstream = upstream
        self._shelf = shelf
        self._real = os.fspath(real_store_dir(store))
        self._memory = memory or Memory(MEMORY)
        self._turns = Memory(_AT_ONCE)
        self._index_lock = Lock()
        self._index: _Cached | None = None
        self._narinfos: OrderedDict[str, tuple[float, NarInfo]] = OrderedDict()
        self._narinfos_lock = Lock()
        self._release_narinfos = ReleaseNarinfos(upstream)
        self._demand = Demand()
        self._metrics = upstream.metrics
        self._loader = _Loader(shelf.worker)

    def get_ready(self) -> None:
        """Load what the first update needs, once Nix has not asked for anything for a moment."""
        idle = Timer(_IDLE, self._loader.start)
        idle.daemon = True
        with suppress(RuntimeError):  # no more threads; the first update loads it then
            idle.start()

    def cache_info(self) -> bytes:
        """Return the description of the cache, with a priority over the one behind it.

        Raises:
            AbsentError: It has none.
            UpstreamError: It cannot be reached.
        """
        document = self._upstream.document("nix-cache-info", MAX_NARINFO)
        if document is None:
            raise AbsentError(f"{self._upstream.url}nix-cache-info: does not exist")
        return raise_priority(document.data)

    def narinfo(self, hash_part: str) -> bytes:
        """Return the narinfo of a path: that of the cache, with another address if a delta can make its NAR.

        Raises:
            AbsentError: The cache does not have the path.
            UpstreamError: It cannot be reached.
        """
        releases = self._releases_of(hash_part)
        offers = self._offers(releases)
        data = self._any_narinfo(hash_part, offers)
        try:
            info = NarInfo.parse(data, what=f"{hash_part}.narinfo")
        except StoreError as error:
            log.info("%s", error)
            return data  # Nix says better what is wrong with it
        delta = _smallest(info, offers)
        if delta is None:
            if not offers:
                _explain(info, hash_part, releases)
            return data
        self._loader.start()
        self._demand.note(delta, hash_part, info.file_size)
        if self._demand.pays(delta) or self._will_pay(delta, hash_part, releases):
            self._shelf.fetch_ahead(delta)
        self._remember(hash_part, info)
        return info.from_url(f"{REBUILT}/{hash_part}.nar")

    def _will_pay(self, delta: PublishedDelta, hash_part: str, releases: Iterable[Release]) -> bool:
        """Return whether Nix, which asks about a root of a release, lacks enough of that for a delta of it to pay."""
        for release in releases:
            if release.is_root(hash_part) and delta in release.deltas:
                wanted = 0
                for name, size in self._release_narinfos.sizes(release):
                    if not os.path.lexists(f"{self._real}/{name}"):
                        wanted += size
                        if pays(delta.size, wanted):
                            return True
        return False

    def delta_for(self, info: NarInfo) -> PublishedDelta | None:
        """Return the smallest delta that makes a path from paths that are here, or None."""
        return _smallest(info, self._offers(self._releases_of(store_path_hash(info.path))))

    def _releases_of(self, hash_part: str) -> list[Release]:
        """Return the releases whose deltas may make a path."""
        return [release for release in self._releases() if release.makes(hash_part)]

    def _offers(self, releases: Iterable[Release]) -> _Offers:
        """Return the deltas to releases from paths that are here."""
        return [
            (release, delta)
            for release in releases
            for delta in release.deltas
            if delta.pays and all(os.path.lexists(f"{self._real}/{name}") for name in delta.bases)
        ]

    def nar(self, hash_part: str, begin: Callable[[NarInfo], Sink], pause: float) -> None:
        """Send the NAR of a path: rebuilt, or else the ordinary one.

        Args:
            hash_part: The hash part of the path.
            begin: Sends the head of the answer and returns the sink for its body.
            pause: Seconds between signs of life to Nix.

        Raises:
            AbsentError: The cache does not have the path.
            NixociError: The NAR cannot be had, or not to its end.
        """
        info = self._known(hash_part)
        body = NarBody(info.nar_hash, info.nar_size, lambda: begin(info))
        waiting = Waiting(body, pause=pause)
        delta = self.delta_for(info)
        if delta is not None and self._pays(delta, info):
            try:
                self._rebuild(info, delta, body, waiting)
            except ClientGoneError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the ordinary NAR can take its place
                log.warning("%s: fetched whole: %s", info.path, str(error) or repr(error))
                body.restart()
            else:
                return
        self._send_ordinary(info, body, waiting)

    def _pays(self, delta: PublishedDelta, info: NarInfo) -> bool:
        self._demand.note(delta, store_path_hash(info.path), info.file_size)
        return self._shelf.has(delta) or self._demand.pays(delta)

    def _rebuild(self, info: NarInfo, delta: PublishedDelta, body: NarBody, waiting: Waiting) -> None:
        with self._shelf.use(delta, waiting) as opened:
            made = opened.infos.get(info.path)
            if made is None:
                raise DeltaError(f"{delta.file}: does not make it")
            if (made.nar_hash, made.nar_size) != (info.nar_hash, info.nar_size):
                raise DeltaError(f"{delta.file}: makes it with narHash {made.nar_hash}, not {info.nar_hash}")
            ahead = opened.ahead.take(info.path, waiting)
            if ahead is not None:
                body.send_checked(ahead)
            else:
                self._rebuild_now(made, delta, opened, body, waiting)
            opened.made(info.path, info.file_size)
            opened.ahead.go_on_after(info.path, self._is_wanted, lambda: self._memory.is_used)
        self._metrics.nar(Way.REBUILT, replaced=info.file_size)
        log.info("%s: rebuilt, %d bytes", info.path, info.nar_size)

    def _rebuild_now(
        self, info: PathInfo, delta: PublishedDelta, opened: OpenDelta, body: NarBody, waiting: Waiting
    ) -> None:
        size = _LITTLE + _TIMES * min(info.nar_size, SEGMENT_SIZE)
        with self._memory.reserve(size, waiting), ExitStack() as turn:
            if body.is_small:
                turn.enter_context(self._turns.reserve(1, waiting))
            try:
                opened.rebuilder.write(info, body, go_on=waiting.go_on, explained=True)
                turn.close()  # whoever does not read the NAR keeps no other waiting
                try:
                    body.finish()
                except WrongNarError:
                    opened.rebuilder.explain(info)
                    raise
            except ClientGoneError:
                raise
            except Exception as error:
                self._shelf.fail(delta, opened, str(error))
                raise

    def _send_ordinary(self, info: NarInfo, body: NarBody, waiting: Waiting) -> None:
        with self._memory.reserve(_ORDINARY, waiting), self._upstream.open(info.url) as download:
            if download.status in ABSENT:
                raise AbsentError(f"{info.url}: the cache does not have it")
            download.check()
            try:
                for piece in decompress(download.pieces(_PIECE), memory=_ORDINARY):
                    body.write(piece)
            except DecompressError as error:
                raise StoreError(f"{info.url}: {error}") from error
            body.finish()
        self._metrics.nar(Way.WHOLE)

    def _releases(self) -> list[Release]:
        with self._index_lock:  # one asks, the others wait
            cached = self._index
            if cached is not None and monotonic() - cached.at < _FRESH:
                return cached.index.releases
            validator = None if cached is None else cached.validator
            what = f"{DIRECTORY}/{INDEX_NAME}"
            index, found = Index(version=VERSION), None
            try:
                document = self._upstream.document(what, MAX_INDEX, unless=validator)
                if document is None:
                    if cached is None or cached.validator is not None:
                        log.warning("%s%s: does not exist; nixoci publish makes it", self._upstream.url, what)
                else:
                    index, found = Index.parse(document.data, what=f"{self._upstream.url}{what}"), document.validator
            except UnchangedError:
                if cached is not None:
                    index, found = cached.index, cached.validator
            except NixociError as error:
                log.warning("%s", error)
                if cached is not None:  # what was there is there still, or its delta turns out to be missing
                    index, found = cached.index, cached.validator
            self._index = _Cached(index, monotonic(), found)
            return index.releases

    def _known(self, hash_part: str) -> NarInfo:
        with self._narinfos_lock:
            at, info = self._narinfos.get(hash_part, (0.0, None))
        if info is None or monotonic() - at > _FRESH:
            info = NarInfo.parse(
                self._any_narinfo(hash_part, self._offers(self._releases_of(hash_part))), what=f"{hash_part}.narinfo"
            )
            self._remember(hash_part, info)
        return info

    def _is_wanted(self, path: str) -> bool:
        """Return whether Nix asked about a path."""
        with self._narinfos_lock:
            return store_path_hash(path) in self._narinfos

    def _remember(self, hash_part: str, info: NarInfo) -> None:
        if len(info.url) + len(info.compression) > _MAX_REMEMBERED:
            return
        info = replace(info, others=())
        with self._narinfos_lock:
            self._narinfos[hash_part] = monotonic(), info
            self._narinfos.move_to_end(hash_part)
            while len(self._narinfos) > _NARINFOS:
                self._narinfos.popitem(last=False)

    def _any_narinfo(self, hash_part: str, offers: _Offers) -> bytes:
        """Return the narinfo of a path: of the file with those of its release, if Nix wants that, or its own."""
        for release, delta in offers:
            whole = release.is_root(hash_part) or self._demand.pays(delta)
            if data := self._release_narinfos.get(release, hash_part, fetch=whole):
                return data
        return self._fetch_narinfo(hash_part)

    def _fetch_narinfo(self, hash_part: str) -> bytes:
        document = self._upstream.document(f"{hash_part}.narinfo", MAX_NARINFO)
        if document is None:
            raise AbsentError(f"{self._upstream.url}{hash_part}.narinfo: does not exist")
        return document.data


def _smallest(info: NarInfo, offers: _Offers) -> PublishedDelta | None:
    """Return the smallest delta of a path, None if the ordinary NAR could not take the place of the rebuilt one."""
    if info.compression not in _COMPRESSIONS or not _URL.fullmatch(info.url) or ".." in info.url:
        return None
    return min((delta for _, delta in offers), key=lambda delta: delta.size, default=None)


def _explain(info: NarInfo, hash_part: str, releases: Iterable[Release]) -> None:
    """Log why no delta makes a root of a release: an operator sees which release was expected here."""
    for release in releases:
        if release.is_root(hash_part):
            bases = ", ".join(sorted({name for delta in release.deltas for name in delta.bases}))
            log.info("%s: no delta from a release that is here; there are deltas from %s", info.path, bases)


def raise_priority(cache_info: bytes) -> bytes:
    """Return the nix-cache-info of a cache that Nix prefers to the one with this nix-cache-info."""
    lines = cache_info.decode("utf-8", "replace").removesuffix("\n").split("\n")
    found = [_PRIORITY.fullmatch(line) for line in lines]
    before = next((int(match[1]) for match in found if match), _DEFAULT_PRIORITY)
    lines = [line for line in lines if not line.startswith("Priority:")]
    return "".join(f"{line}\n" for line in [*lines, f"Priority: {before - 1}"]).encode()
