"""A published update and a machine that has the old release: everything but Nix itself is real."""

from __future__ import annotations

import random
import shutil
import threading
import time
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING

import pytest

from nixoci.delta.worker import DecodeWorker
from nixoci.publish import publish as publishing
from nixoci.publish.index import Index
from nixoci.substituter.server import Server, listen
from nixoci.substituter.service import Service
from nixoci.substituter.shelf import Bounds, Shelf
from nixoci.substituter.upstream import Patience, Upstream
from tests.delta.trees import closure, nar, store_path
from tests.nix_store.fake import Fake
from tests.publish.cache import make_cache
from tests.substituter.web import Web, serve

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nixoci.delta.closure import Closure

OLD_LIB, NEW_LIB = store_path("lib-1.0", "a"), store_path("lib-1.1", "b")
OLD_APP, NEW_APP = store_path("app-1.0", "f"), store_path("app-1.1", "g")
OTHER = store_path("other-1.0", "x")
"""A path of the cache that no delta makes."""

NOISE = 1_500_000
"""Bytes of the library, which do not compress."""
PATIENT = Patience(connect=60.0, stall=60.0, document=60.0, narinfos=60.0, pause=0.2)
"""For a cache that answers, however busy the machine is."""
QUICK = Patience(connect=60.0, stall=1.0, document=2.0, narinfos=2.0, pause=0.2)
"""For a cache that stalls."""


@dataclass(kw_only=True)
class Site:
    """The cache, the store, and the substituter between them.

    Attributes:
        web: The web server of the cache.
        folder: The cache.
        nars: The NAR of each path of the cache.
        shelf: The deltas in use.
        address: Host and port of the substituter.
        real: The store.
        nix: The stand-in for Nix.
    """

    web: Web
    folder: Path
    nars: dict[str, bytes]
    shelf: Shelf
    address: tuple[str, int]
    real: Path
    nix: Fake
    old: Closure
    new: Closure
    download: int

    @property
    def delta(self) -> str:
        """The delta's file in the cache."""
        (found,) = (self.folder / "deltas").glob("*.nxd")
        return f"deltas/{found.name}"

    def index(self) -> Index:
        return Index.parse((self.folder / "deltas/index.json.zst").read_bytes(), what="index")

    def ask(self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Return the status and the body of an answer; a body that breaks off is an error."""
        connection = HTTPConnection(*self.address, timeout=60)
        try:
            connection.request(method, f"/{path}", headers=headers or {})
            response: HTTPResponse = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def narinfo(self, path: str) -> dict[str, str]:
        status, text = self.ask(f"{path[11:43]}.narinfo")
        assert status == 200, text
        return dict(reversed([line.split(": ", 1) for line in text.decode().splitlines()]))

    def fetch(self, path: str) -> bytes:
        """Fetch the NAR of a path as Nix does, by the URL of its narinfo."""
        status, data = self.ask(self.narinfo(path)["URL"])
        assert status == 200, data
        return data

    def counts(self) -> dict[str, int]:
        """Return the values of its metrics, by their names without the prefix."""
        status, text = self.ask("metrics")
        assert status == 200
        samples = (line.split(" ") for line in text.decode().splitlines() if not line.startswith("#"))
        return {name.removeprefix("nixoci_substituter_"): int(count) for name, count in samples}

    def counts_after(self, nars: int) -> dict[str, int]:
        """Return the counts once so many NARs are counted, which is after Nix has them."""
        deadline = time.monotonic() + 60
        while True:
            found = self.counts()
            if sum(count for name, count in found.items() if name.startswith("nars_total")) == nars:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.01)


@dataclass(frozen=True, kw_only=True)
class Update:
    """An update that is published: trees with the new paths in `elsewhere`, the old ones in `store`, and `cache`."""

    folder: Path
    nars: dict[str, bytes]
    old: Closure
    new: Closure
    download: int


_updates: dict[Path, Update] = {}


def published(folder: Path, noise: int) -> Update:
    """Publish an update in a folder; return it at once if it is there, as no test changes it."""
    if folder in _updates:
        return _updates[folder]
    for name in ("elsewhere", "store"):
        (folder / name).mkdir(parents=True)
    content = random.Random(1).randbytes(noise)
    specs = {
        OLD_LIB: {b"lib.so": content, b"data": b"1" * 1000},
        OLD_APP: {b"run": OLD_LIB.encode()},
        NEW_LIB: {b"lib.so": content[:-1] + b"x", b"data": b"2" * 1000},
        NEW_APP: {b"run": NEW_LIB.encode()},
        OTHER: {b"file": b"other"},
    }
    elsewhere = folder / "elsewhere"
    every = closure(elsewhere, specs, {OLD_APP: (OLD_LIB,), NEW_APP: (NEW_LIB,)})

    def part(root: str, *paths: str) -> Closure:
        return replace(every, roots=(root,), paths={path: every.paths[path] for path in (root, *paths)})

    old, new = part(OLD_APP, OLD_LIB), part(NEW_APP, NEW_LIB)
    closure(folder / "store", {path: specs[path] for path in old.paths}, {OLD_APP: (OLD_LIB,)})
    download = make_cache(folder / "cache", new)
    make_cache(folder / "cache", part(OTHER))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(publishing, "closures_from_store", lambda *_, **__: [new, old])
        patched.setattr(publishing, "kept_paths", lambda *_, **__: nullcontext())
        publishing.publish_deltas(folder / "cache", old.roots, new.roots)
    nars = {path: nar(elsewhere / path[11:])[0] for path in specs}
    _updates[folder] = Update(folder=folder, nars=nars, old=old, new=new, download=download)
    return _updates[folder]


@contextmanager
def site(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    bounds: Bounds | None = None,
    patience: Patience = PATIENT,
    pause: float = 200.0,
    noise: int = NOISE,
    listener: socket.socket | None = None,
    names: Sequence[str] = (),
) -> Iterator[Site]:
    """Publish an update, serve it, and run a substituter on a machine that has the old release."""
    nix = Fake(tmp_path, monkeypatch)
    # beside the tests' folders, in which each has a copy
    update = published(tmp_path.parent / f"update-{noise}", noise)
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "cache"
    for source, copy in (("elsewhere", elsewhere), ("store", nix.real), ("cache", folder)):
        shutil.copytree(update.folder / source, copy, symlinks=True, dirs_exist_ok=True)
    nix.know(*update.old.paths.values())
    monkeypatch.setenv("TMPDIR", str(tmp_path / "spool"))
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    # it would take longer to start than a test, and the delta has nothing for it
    monkeypatch.setattr(DecodeWorker, "start", lambda _: None)
    with ExitStack() as stack:
        web = stack.enter_context(serve(folder))
        upstream = Upstream(web.url, patience=patience)
        shelf = stack.enter_context(Shelf(upstream, store=nix.store, bounds=bounds or Bounds()))
        service = Service(upstream, shelf, store=nix.store)
        bound = listener or stack.enter_context(listen("127.0.0.1:0"))
        server = stack.enter_context(Server(bound, service, upstream, pause=pause, names=names))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield Site(
            web=web,
            folder=folder,
            nars=dict(update.nars),
            shelf=shelf,
            address=bound.getsockname(),
            real=nix.real,
            nix=nix,
            old=replace(update.old, real=elsewhere),
            new=replace(update.new, real=elsewhere),
            download=update.download,
        )
