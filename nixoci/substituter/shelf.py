"""The deltas that are in use: each is fetched once, checked, and kept while its NARs are asked for."""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Self

from nixoci.delta.spool import spool
from nixoci.delta.worker import DecodeWorker
from nixoci.errors import DeltaError, NixociError
from nixoci.nix_store.commands import real_store_dir
from nixoci.nix_store.hashes import to_sri
from nixoci.nix_store.path import PathInfo
from nixoci.nix_store.serve import Server, serve
from nixoci.process import HungUpError
from nixoci.publish.index import DIRECTORY, PublishedDelta
from nixoci.substituter.ahead import NarsAhead
from nixoci.substituter.body import TooLateError, Waiting
from nixoci.substituter.memory import WORKER_DATA
from nixoci.substituter.upstream import Upstream

if TYPE_CHECKING:
    from nixoci.delta.format.model import Header
    from nixoci.delta.rebuild import Rebuilder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bounds of what is kept.

    Attributes:
        payloads: Bytes of the decompressed deltas on disk, all together.
        deltas: Deltas at a time.
        fetch: Seconds that a delta may take to come.
        idle: Seconds after which a delta goes that nothing asked for.
        retry: Seconds after which a delta that failed is tried again.
    """

    payloads: int = 2 << 30
    deltas: int = 4
    fetch: float = 7200.0
    idle: float = 300.0
    retry: float = 300.0


_BOUNDS = Bounds()

_SWEEP = 10.0
"""Seconds between two looks for deltas that nothing asks for."""
_SMALL = 4 << 20
"""Bytes of a delta that is fetched at most before Nix asks for a NAR, or says that its bases are here."""
_REMEMBERED = 64
"""Deltas that were fetched ahead and not used yet, of which it is remembered."""


class OpenDelta:
    """A delta that was fetched: the paths that it makes, their rebuilder, and bytes that it has on disk."""

    def __init__(
        self, delta: PublishedDelta, infos: dict[str, PathInfo], rebuilder: "Rebuilder", cleanup: ExitStack
    ) -> None:
        self.infos = infos
        self.rebuilder = rebuilder
        self.ahead = NarsAhead(infos, rebuilder)
        self.size = rebuilder.payload_size
        self._delta = delta
        self._made: dict[str, int] = {}
        self._cleanup = cleanup

    def made(self, path: str, download: int) -> None:
        """Note that a path was rebuilt, in place of a download of so many bytes."""
        self._made[path] = download

    def close(self) -> None:
        """Remove its files, let the garbage collector have its bases, and log what it was good for."""
        if made := dict(self._made):
            text = "%s: %d of %d paths were rebuilt, from %d bytes in place of %d"
            log.info(text, self._delta.file, len(made), len(self.infos), self._delta.size, sum(made.values()))
        with self._cleanup:
            self.ahead.close()


@dataclass(slots=True)
class _Place:
    """A delta on the shelf: being fetched, open, or failed; `late` if somebody has waited in vain."""

    future: "Future[OpenDelta]" = field(default_factory=Future)
    users: int = 0
    late: bool = False
    used: float = field(default_factory=monotonic)


class Shelf:
    """Fetches deltas, one at a time, and keeps a few of them.

    Args:
        upstream: The cache that has them.
        store: The store that has the bases; a Nix store URL on this machine.
        bounds: Bounds of what is kept.
        worker: Decodes the contents of all of them that take long, and is closed with the shelf; by default one that
            runs once it is needed.
    """

    def __init__(
        self, upstream: Upstream, *, store: str | None, bounds: Bounds = _BOUNDS, worker: DecodeWorker | None = None
    ) -> None:
        self._upstream = upstream
        self._store = store
        self._real = real_store_dir(store)
        self._bounds = bounds
        self.worker = worker or DecodeWorker(memory=WORKER_DATA)
        self._places: dict[str, _Place] = {}
        self._in_vain: deque[str] = deque(maxlen=_REMEMBERED)
        self._failed: list[_Place] = []
        self._surplus: list[_Place] = []
        self._lock = Lock()
        self._closing = Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="fetch")
        self._sweeper = Thread(target=self._sweep, name="sweep", daemon=True)
        self._sweeper.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the fetching and what waits for it, and remove all files."""
        with self._lock:
            self._closing.set()
        self._pool.shutdown(cancel_futures=True)
        with self._lock:
            for name, place in self._places.items():
                if not place.future.done():
                    place.future.set_exception(DeltaError(f"{name}: the substituter ends"))
        self._sweeper.join()
        _close([*self._places.values(), *self._failed, *self._surplus])
        self.worker.close()

    def fetch_ahead(self, delta: PublishedDelta) -> None:
        """Begin to fetch a small delta that Nix will want if it does more than ask; not again until it was used.

        It takes the place of no other.
        """
        with self._lock:
            full = self._closing.is_set() or len(self._places) >= self._bounds.deltas
            if delta.size <= _SMALL and not full and delta.file not in self._places and delta.file not in self._in_vain:
                self._in_vain.append(delta.file)
                self._begin(delta)

    @contextmanager
    def use(self, delta: PublishedDelta, waiting: Waiting) -> Iterator[OpenDelta]:
        """Give a delta to the block, fetched now or before.

        Raises:
            DeltaError: It cannot be fetched, is damaged, or its bases are not here; now or a while ago.
            TooLateError: It takes too long; the next to ask may find it here.
        """
        with self._lock:
            place = self._places.get(delta.file)
            if place is None:
                self._make_room()
                if self._closing.is_set() or len(self._places) >= self._bounds.deltas:
                    raise DeltaError(f"{delta.file}: too many other deltas are in use")
                place = self._begin(delta)
            if delta.file in self._in_vain:
                self._in_vain.remove(delta.file)
            place.users += 1
        try:
            if place.late and not place.future.done():
                raise TooLateError(f"{delta.file}: still on its way")
            try:
                waiting.until(lambda timeout: bool(wait_for([place.future], timeout).done))
            except TooLateError:
                place.late = True
                raise
            yield place.future.result()
        finally:
            with self._lock:
                place.users -= 1
                place.used = monotonic()

    def has(self, delta: PublishedDelta) -> bool:
        """Return whether a delta was fetched, and can be used."""
        with self._lock:
            place = self._places.get(delta.file)
            return place is not None and _is_open(place)

    def fail(self, delta: PublishedDelta, opened: OpenDelta, reason: str) -> None:
        """Take a delta for a damaged one, because a NAR that it makes came out wrong."""
        with self._lock:
            place = self._places.get(delta.file)
            if place is not None and _is_open(place) and place.future.result() is opened:
                self._upstream.metrics.failed_delta()
                self._failed.append(place)
                self._places[delta.file] = _Place()
                self._places[delta.file].future.set_exception(DeltaError(reason))

    def _begin(self, delta: PublishedDelta) -> _Place:
        place = self._places[delta.file] = _Place()
        self._pool.submit(self._fetch, delta, place)
        return place

    def _fetch(self, delta: PublishedDelta, place: _Place) -> None:
        with self._lock:
            surplus, self._surplus = self._surplus, []
        _close(surplus)
        try:
            opened = self._open(delta)
        except Exception as error:  # noqa: BLE001 - whatever it is, the ordinary NARs come
            text = str(error) or repr(error)
            self._upstream.metrics.failed_delta()
            log.warning("%s: not used: %s", delta.file, text.removeprefix(f"{delta.file}: "))
            place.future.set_exception(DeltaError(text))
        else:
            log.info("%s: fetched %d bytes, for %d paths", delta.file, delta.size, len(opened.infos))
            place.future.set_result(opened)

    def _open(self, delta: PublishedDelta) -> OpenDelta:
        with ExitStack() as cleanup:
            folder = cleanup.enter_context(spool())
            nix = cleanup.enter_context(serve(store=self._store, write=True))
            with self._upstream.open(f"{DIRECTORY}/{delta.file}") as download:
                download.check()
                # loaded while Nix starts and the delta comes, and not before the first narinfo, for which Nix waits
                from nixoci.delta.format.stream import DeltaReader  # noqa: PLC0415
                from nixoci.delta.rebuild import Rebuilder  # noqa: PLC0415

                reader = _Checked(download.read, delta, self._closing, self._bounds.fetch)
                stream = DeltaReader(reader.read, what=delta.file)
                header = stream.header()
                if delta.size > _SMALL:  # it comes longer than Nix starts, and may come in vain
                    _keep_bases(nix, header)
                rebuilder = Rebuilder(
                    stream,
                    header,
                    header.bases_below(self._real),
                    folder,
                    most_payloads=self._room(),
                    worker=self.worker,
                )
                reader.finish()
                if delta.size <= _SMALL:  # Nix took as long to start as all that
                    _keep_bases(nix, header)
            infos = {info.path: info for info in header.paths}
            return OpenDelta(delta, infos, rebuilder, cleanup.pop_all())

    def _room(self) -> int:
        with self._lock:
            places = [*self._places.values(), *self._failed]
            return self._bounds.payloads - sum(place.future.result().size for place in places if _is_open(place))

    def _make_room(self) -> None:
        """Take deltas that are not in use away, so that there is room for one more; they are closed before it comes."""
        unused = sorted(
            (place.used, name) for name, place in self._places.items() if place.future.done() and not place.users
        )
        more = len(self._places) + 1 - self._bounds.deltas
        self._surplus += [self._places.pop(name) for _, name in unused[: max(0, more)]]

    def _sweep(self) -> None:
        """Let deltas go that nothing asks for."""
        while not self._closing.wait(min(self._bounds.idle, self._bounds.retry, _SWEEP)):
            with self._lock:
                gone = [place for place in self._failed if not place.users]
                self._failed = [place for place in self._failed if place.users]
                for name, place in list(self._places.items()):
                    limit = self._bounds.idle if _is_open(place) else self._bounds.retry
                    if place.future.done() and not place.users and monotonic() - place.used > limit:
                        gone.append(self._places.pop(name))
            _close(gone)


def _keep_bases(nix: Server, header: "Header") -> None:
    """Check that the bases of a delta are here; from now on, they stay valid until the server ends."""
    from nixoci.delta.receive import check_bases  # noqa: PLC0415 - as the rest of decoding

    check_bases(header.bases, nix.path_infos(nix.valid_paths([base.path for base in header.bases])))


def _is_open(place: _Place) -> bool:
    return place.future.done() and place.future.exception() is None


def _close(places: Iterable[_Place]) -> None:
    for place in places:
        if _is_open(place):
            try:
                place.future.result().close()
            except (NixociError, HungUpError) as error:
                log.warning("%s", error)


class _Checked:
    """Reads a delta, of which the size and the hash are known."""

    def __init__(self, read: Callable[[int], bytes], delta: PublishedDelta, closing: Event, seconds: float) -> None:
        self._read = read
        self._seconds = seconds
        self._end = monotonic() + seconds
        self._delta = delta
        self._closing = closing
        self._hash = hashlib.sha256()
        self._size = 0

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes.

        Raises:
            DeltaError: It is larger than the index says, takes too long, or nothing wants it any more.
        """
        if self._closing.is_set():
            raise DeltaError(f"{self._delta.file}: the substituter ends")
        if monotonic() > self._end:
            raise DeltaError(f"{self._delta.file}: not complete after {self._seconds:g} seconds; use a faster cache")
        data = self._read(count)
        self._hash.update(data)
        self._size += len(data)
        if self._size > self._delta.size:
            raise DeltaError(
                f"{self._delta.file}: larger than the {self._delta.size} bytes of the index; publish again"
            )
        return data

    def finish(self) -> None:
        """Check that this is the delta which the index names.

        Raises:
            DeltaError: It is another one.
        """
        found = to_sri(self._hash.digest())
        if found != self._delta.sha256:
            raise DeltaError(f"{self._delta.file}: its SHA-256 is {found}, not that of its name; publish again")
