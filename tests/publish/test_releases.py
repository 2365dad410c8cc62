"""Many releases of a large closure: their index is small, old deltas go, and a killed publisher does no harm."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from nixoci.delta.effort import Effort
from nixoci.nix_store.hashes import NIX32, to_sri
from nixoci.nix_store.path import STORE_DIR, store_path_hash
from nixoci.publish import publish as module
from nixoci.publish.index import VERSION, Index, PublishedDelta, PublishedNarinfos, Release
from nixoci.publish.path_set import encode, member
from nixoci.publish.publish import KEEP, publish_deltas, read_index
from tests.delta.trees import Spec, closure
from tests.publish.cache import make_cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pytest

    from nixoci.delta.closure import Closure

PATHS = 100
RELEASES = 10
MAX_INDEX_SIZE = 20_000
"""Bytes of an index that a machine can afford to ask for at every update."""

LETTERS = str.maketrans("-0123456789", "kabcdefghij")
"""Names that differ in digits only are taken for versions of one package."""


def path_of(number: int, release: int) -> str:
    digest = hashlib.sha256(b"%d %d" % (number, release)).digest()
    name = str(number).translate(LETTERS)
    return f"{STORE_DIR}/{''.join(NIX32[byte & 31] for byte in digest)}-{name}-1.{release}"


def make_release(real: Path, release: int, paths: int) -> Closure:
    """Return a closure in which each path names another one, so that all of them change with the first."""
    specs: dict[str, Spec] = {}
    references = {}
    for number in range(paths):
        path, before = path_of(number, release), path_of(number - 1, release)
        references[path] = (before,) if number else ()
        specs[path] = {b"data": hashlib.sha256(b"%d" % number).digest() * 9, b"needs": before.encode()}
    return replace(closure(real, specs, references), roots=(path_of(paths - 1, release),))


def releases(folder: Path, monkeypatch: pytest.MonkeyPatch, paths: int) -> Iterator[Closure]:
    """Yield one release after another, each in the cache and in a store that has nothing but them."""
    (folder / "store").mkdir()
    made: dict[tuple[str, ...], Closure] = {}

    def find(*groups: Sequence[str], store: str | None) -> list[Closure]:
        assert store is None
        return [made[tuple(group)] for group in groups]

    monkeypatch.setattr(module, "closures_from_store", find)
    monkeypatch.setattr(module, "kept_paths", lambda *_, **__: nullcontext())
    for number in range(RELEASES + 1):
        release = make_release(folder / "store", number, paths)
        made[release.roots] = release
        make_cache(folder / "cache", release)
        yield release


def test_the_index_of_many_releases_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each release has deltas from the two before it, and every path of it is new."""
    each = releases(tmp_path, monkeypatch, PATHS)
    cache, folder = tmp_path / "cache", tmp_path / "cache/deltas"
    made = [next(each)]
    files: list[set[str]] = []
    for release in each:
        old = [closure.roots[0] for closure in made[-2:]]
        done = publish_deltas(cache, old, release.roots, effort=Effort.FAST, keep=RELEASES)
        assert all(delta.published and delta.paths == PATHS for delta in done.deltas)
        made.append(release)
        index = read_index(folder)
        assert all(index.releases[0].makes(store_path_hash(path)) for path in release.paths)
        files.append(set(index.releases[0].files))
    assert len(index.releases) == RELEASES
    assert done.index_size == (folder / "index.json.zst").stat().st_size < MAX_INDEX_SIZE
    others = [store_path_hash(path_of(number, -1)) for number in range(PATHS)]
    taken = sum(release.makes(other) for release in index.releases for other in others)
    assert taken < 0.01 * RELEASES * PATHS, "few paths are taken for others"
    publish_deltas(cache, [made[-2].roots[0]], made[-1].roots, effort=Effort.FAST)
    assert {file.name for file in folder.iterdir()} == {"index.json.zst"}.union(*files[-KEEP:])


def test_the_index_of_a_large_system_is_small() -> None:
    """Five thousand new paths in each of the releases that are kept."""
    delta = PublishedDelta(bases=[path_of(0, 0)[11:]], size=1 << 25, sha256=to_sri(bytes(32)), download=1 << 30)
    parts = [[store_path_hash(path_of(number, release)) for number in range(5000)] for release in range(KEEP)]
    made = [
        Release(
            roots=[path_of(0, number)[11:]],
            paths=encode(map(member, part)),
            deltas=[delta] * 3,
            narinfos=PublishedNarinfos(size=1 << 20, sha256=to_sri(hashlib.sha256(b"%d" % number).digest())),
        )
        for number, part in enumerate(parts)
    ]
    assert len(Index(version=VERSION, releases=made).render()) < MAX_INDEX_SIZE


def killed_at(change: int, cache: Path, old: Sequence[str], new: Sequence[str]) -> bool:
    """Publish in a process that kills itself before its next change of a file; return whether it came to that."""
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    child = os.fork()
    if child == 0:
        left = change

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & writing
            if opened or event in {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            publish_deltas(cache, old, new, keep=1)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_publisher_that_is_killed_anywhere_leaves_a_cache_that_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each change of the file system in turn, and run again after all of them."""
    each = releases(tmp_path, monkeypatch, 5)
    first, second, third = next(each), next(each), next(each)
    cache = tmp_path / "cache"
    publish_deltas(cache, first.roots, second.roots, keep=1)
    narinfos = {file.name: file.read_bytes() for file in cache.glob("*.narinfo")}
    change, served = 0, []
    while killed_at(change, cache, [*first.roots, *second.roots], third.roots):
        change += 1
        (release,) = read_index(cache / "deltas").releases
        served.append(release.roots)
        for published in (*release.deltas, release.narinfos):
            assert published is not None
            data = (cache / "deltas" / published.file).read_bytes()
            assert (len(data), to_sri(hashlib.sha256(data).digest())) == (published.size, published.sha256)
    assert {file.name: file.read_bytes() for file in cache.glob("*.narinfo")} == narinfos
    assert change > 10
    old, new = ([closure.roots[0].removeprefix(f"{STORE_DIR}/")] for closure in (second, third))
    assert served[0] == old
    assert served[-1] == new
    (release,) = read_index(cache / "deltas").releases
    assert {file.name for file in (cache / "deltas").iterdir()} == {
        "index.json.zst",
        *release.files,
    }
