"""Deltas are published beside a binary cache, which serves at any time."""

from __future__ import annotations

import hashlib
import random
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixoci.compression import compress
from nixoci.delta.effort import Effort
from nixoci.errors import DocumentError, StoreError, UnsupportedVersionError
from nixoci.nix_store.hashes import to_sri
from nixoci.publish import publish as module
from nixoci.publish.cache import check_cache
from nixoci.publish.index import VERSION, Index
from nixoci.publish.narinfos import unpack
from nixoci.publish.path_set import encode
from nixoci.publish.publish import Published, publish_deltas, read_index
from tests.delta.forgery import OTHER_HASH
from tests.delta.trees import closure, rebuild, store_path
from tests.publish.cache import make_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nixoci.delta.closure import Closure

LIB = [store_path(f"lib-{version}", letter) for version, letter in enumerate("abcd")]
APP = [store_path(f"app-{version}", letter) for version, letter in enumerate("fghi")]
RANDOM = random.Random(1).randbytes(50_000)


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Closure]:
    """Four versions of an application and its library, in a store that has nothing but them."""
    real = tmp_path / "store"
    real.mkdir()
    made = []
    for version, (lib, app) in enumerate(zip(LIB, APP, strict=True)):
        specs = {lib: {b"lib.so": RANDOM + b"%d" % version}, app: {b"run": b"%s %d" % (lib.encode(), version)}}
        made.append(replace(closure(real, specs, {app: (lib,)}), roots=(app,)))

    def find(*groups: Sequence[str], store: str | None) -> list[Closure]:
        assert store is None
        return [next(release for release in made if release.roots == tuple(group)) for group in groups]

    monkeypatch.setattr(module, "closures_from_store", find)
    monkeypatch.setattr(module, "kept_paths", lambda *_, **__: nullcontext())
    return made


@pytest.fixture
def cache(tmp_path: Path, releases: list[Closure]) -> Path:
    for release in releases:
        make_cache(tmp_path / "cache", release)
    return tmp_path / "cache"


def files(cache: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (cache / "deltas").iterdir()}


def test_a_published_delta_makes_the_release(cache: Path, releases: list[Closure], tmp_path: Path) -> None:
    done = publish_deltas(cache, [APP[0]], [APP[1]])
    (release,) = read_index(cache / "deltas").releases
    (delta,) = release.deltas
    stream = files(cache)[delta.file]
    assert (len(stream), to_sri(hashlib.sha256(stream).digest())) == (delta.size, delta.sha256)
    assert (release.roots, delta.bases) == ([APP[1][11:]], [APP[0][11:]])
    assert sorted(rebuild(stream, releases[0].real, tmp_path)) == sorted([LIB[1], APP[1]])
    assert [release.makes(path[11:43]) for path in (LIB[1], APP[1], LIB[0])] == [True, True, False]
    (made,) = done.deltas
    assert (made.base, made.paths, made.published, made.delta_size) == (APP[0], 2, True, delta.size)
    assert (
        made.download
        == delta.download
        == sum(
            int(line.split()[1])
            for path in (LIB[1], APP[1])
            for line in (cache / f"{path[11:43]}.narinfo").read_text().splitlines()
            if line.startswith("FileSize")
        )
    )
    assert done.index_size == (cache / "deltas/index.json.zst").stat().st_size


def test_each_old_release_has_its_delta(cache: Path) -> None:
    publish_deltas(cache, APP[:2], [APP[2]])
    (release,) = read_index(cache / "deltas").releases
    assert [delta.bases for delta in release.deltas] == [[APP[0][11:]], [APP[1][11:]]]
    publish_deltas(cache, [APP[3]], [APP[2]])
    (release,) = read_index(cache / "deltas").releases
    assert sorted(delta.bases for delta in release.deltas) == sorted([APP[old][11:]] for old in (0, 1, 3))
    assert len(files(cache)) == 5


def test_the_narinfos_of_a_release_are_in_one_file(cache: Path) -> None:
    """Of the paths that its deltas make, whichever publisher made them; and nothing else of the cache."""
    publish_deltas(cache, [APP[0]], [APP[1]])
    first = read_index(cache / "deltas").releases[0].narinfos
    publish_deltas(cache, [APP[2]], [APP[1]])
    (release,) = read_index(cache / "deltas").releases
    assert release.narinfos is not None
    assert release.narinfos == first, "the same paths"
    data = files(cache)[release.narinfos.file]
    assert (len(data), to_sri(hashlib.sha256(data).digest())) == (release.narinfos.size, release.narinfos.sha256)
    wanted = {path[11:43]: (cache / f"{path[11:43]}.narinfo").read_bytes() for path in (LIB[1], APP[1])}
    assert unpack(data, what="it") == wanted


def test_narinfos_that_were_signed_anew_are_published_anew(cache: Path) -> None:
    publish_deltas(cache, [APP[0]], [APP[1]])
    before = set(files(cache))
    narinfo = cache / f"{LIB[1][11:43]}.narinfo"
    narinfo.write_bytes(narinfo.read_bytes() + b"Sig: other:c2lnbmF0dXJl\n")
    removed = publish_deltas(cache, [APP[0]], [APP[1]]).removed
    (gone,) = removed
    assert {gone} == before - set(files(cache))
    (release,) = read_index(cache / "deltas").releases
    assert release.narinfos is not None
    assert unpack(files(cache)[release.narinfos.file], what="it")[LIB[1][11:43]] == narinfo.read_bytes()


def test_too_many_narinfos_are_in_no_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixoci.publish.narinfos.MAX_NARINFOS", 100)
    publish_deltas(cache, [APP[0]], [APP[1]])
    (release,) = read_index(cache / "deltas").releases
    assert release.narinfos is None
    assert set(files(cache)) == {"index.json.zst", release.deltas[0].file}


def test_old_releases_go(cache: Path) -> None:
    removed: list[str] = []
    for new in (1, 2, 3):
        before = set(files(cache)) if new > 1 else set()
        removed += publish_deltas(cache, [APP[new - 1]], [APP[new]], keep=2).removed
        assert before - set(files(cache)) == set(removed if new == 3 else [])
    assert len(removed) == 2, "a delta, and the narinfos"
    assert [release.roots for release in read_index(cache / "deltas").releases] == [[APP[3][11:]], [APP[2][11:]]]


def test_releases_of_other_packages_stay(cache: Path, releases: list[Closure], monkeypatch: pytest.MonkeyPatch) -> None:
    publish_deltas(cache, [APP[0]], [APP[1]], keep=1)
    others = [replace(release, roots=(lib,)) for release, lib in zip(releases, LIB, strict=True)]
    monkeypatch.setattr(module, "closures_from_store", lambda *_, **__: [others[1], others[0]])
    publish_deltas(cache, [LIB[0]], [LIB[1]], keep=1)
    assert [release.roots for release in read_index(cache / "deltas").releases] == [[LIB[1][11:]], [APP[1][11:]]]


def test_a_delta_that_saves_little_is_left_out(cache: Path, releases: list[Closure], tmp_path: Path) -> None:
    old, new = (
        closure(tmp_path / "store", {store_path("noise-1", letter): {b"x": random.Random(letter).randbytes(9000)}})
        for letter in "xy"
    )
    releases += [old, new]
    make_cache(cache, new)
    done = publish_deltas(cache, old.roots, new.roots)
    assert [made.published for made in done.deltas] == [False]
    assert done.deltas[0].delta_size > 0.9 * done.deltas[0].download
    assert not read_index(cache / "deltas").releases
    assert set(files(cache)) == {"index.json.zst"}


def test_a_closure_that_has_everything_needs_no_delta(cache: Path) -> None:
    done = publish_deltas(cache, [APP[1]], [APP[1]])
    assert [(made.paths, made.published) for made in done.deltas] == [(0, False)]


def test_content_that_moved_between_paths_does_not_travel(cache: Path, releases: list[Closure], tmp_path: Path) -> None:
    path = store_path("elsewhere-7", "y")
    moved = closure(tmp_path / "store", {path: {b"data": RANDOM + b"0"}})
    make_cache(cache, moved)
    releases.append(moved)
    (made,) = publish_deltas(cache, [APP[0]], [path]).deltas
    assert made.published
    assert made.delta_size < 500


def test_a_dry_run_writes_nothing(cache: Path) -> None:
    would = publish_deltas(cache, [APP[0]], [APP[1]], dry_run=True)
    assert not (cache / "deltas").exists()
    assert publish_deltas(cache, [APP[0]], [APP[1]]) == would
    before = files(cache)
    again = publish_deltas(cache, [APP[1]], [APP[2]], keep=1, dry_run=True)
    assert len(again.removed) == 2
    assert files(cache) == before


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("at", ["send_shown", "flush_directory", "_replace_index"])
def test_a_publisher_that_is_killed_leaves_what_was_there(
    cache: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """It is killed while it makes the second of two deltas, before the index, or in its place."""
    publish_deltas(cache, [APP[0]], [APP[1]], keep=1)
    index = read_index(cache / "deltas")
    real: Callable[..., object] = getattr(module, at)
    calls = 0

    def die(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if at == "send_shown" and calls == 1:
            return real(*arguments, **options)
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(module, at, die)
        with pytest.raises(KilledError):
            publish_deltas(cache, APP[:2], [APP[2]], keep=1)
    assert read_index(cache / "deltas") == index
    left = files(cache)
    assert {file for release in index.releases for file in release.files} <= set(left)
    done: Published = publish_deltas(cache, APP[:2], [APP[2]], keep=1)
    assert len(done.deltas) == 2
    named = {file for release in read_index(cache / "deltas").releases for file in release.files}
    assert set(files(cache)) == {"index.json.zst"} | named


def test_the_release_must_be_in_the_cache(cache: Path) -> None:
    (cache / f"{LIB[1][11:43]}.narinfo").unlink()
    with pytest.raises(StoreError, match=rf"^{LIB[1]}: not in the binary cache .*; run nix copy --to file://"):
        publish_deltas(cache, [APP[0]], [APP[1]])
    assert not (cache / "deltas").exists()


def test_the_cache_must_have_the_same_content(cache: Path, releases: list[Closure]) -> None:
    lib = releases[1].paths[LIB[1]]
    releases[1].paths[LIB[1]] = replace(lib, nar_hash=OTHER_HASH)
    with pytest.raises(
        StoreError, match=rf"^{LIB[1]}: the binary cache .* has .* with narHash {lib.nar_hash}".replace("+", r"\+")
    ):
        publish_deltas(cache, [APP[0]], [APP[1]])


def test_paths_that_machines_would_refuse_are_named(cache: Path) -> None:
    assert publish_deltas(cache, [APP[0]], [APP[1]]).unsigned == ()
    narinfos = [cache / f"{path[11:43]}.narinfo" for path in (LIB[1], APP[1])]
    for narinfo in narinfos:
        lines = [line for line in narinfo.read_text(encoding="ascii").splitlines() if not line.startswith("Sig: ")]
        narinfo.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    assert set(publish_deltas(cache, [APP[0]], [APP[1]]).unsigned) == {LIB[1], APP[1]}
    with narinfos[0].open("a", encoding="ascii") as file:
        file.write("CA: fixed:r:sha256:x\n")
    assert publish_deltas(cache, [APP[0]], [APP[1]]).unsigned == (APP[1],)


def test_a_directory_that_is_no_cache_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no binary cache: it has no nix-cache-info"):
        publish_deltas(tmp_path, ["x"], ["y"])


@pytest.mark.parametrize("address", ["file:///srv/cache", "https://cache.example", "s3://cache"])
def test_an_address_is_no_directory(address: str) -> None:
    with pytest.raises(StoreError, match="the address of a binary cache; give the directory that has its files"):
        check_cache(Path(address))


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-3], lambda _: b"garbage", lambda _: b"", lambda _: compress(b'{"version": 1, "releases": 0}')],
    ids=["cut", "no JSON", "empty", "another shape"],
)
def test_a_damaged_index_is_named_and_removing_it_is_enough(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    publish_deltas(cache, [APP[0]], [APP[1]])
    file = cache / "deltas/index.json.zst"
    file.write_bytes(damage(file.read_bytes()))
    before = files(cache)
    with pytest.raises(
        DocumentError, match=r"remove deltas/index.json.zst from the cache, then publish again$"
    ) as caught:
        publish_deltas(cache, [APP[0]], [APP[1]])
    assert str(caught.value).startswith(f"{file}: ")
    assert files(cache) == before
    file.unlink()
    publish_deltas(cache, [APP[0]], [APP[1]])
    assert [release.roots for release in read_index(cache / "deltas").releases] == [[APP[1][11:]]]


def test_what_the_index_has_no_room_for_goes(cache: Path) -> None:
    """Machines that read it get the newer deltas, instead of none."""
    publish_deltas(cache, [APP[0]], [APP[1]])
    (oldest,) = read_index(cache / "deltas").releases
    large = replace(oldest, roots=[f"{'a' * 32}-large"], paths=encode(range(0, 1 << 20, 8)))
    full = Index(version=VERSION, releases=[oldest])
    for filler in (large, replace(oldest, roots=[f"{'b' * 32}-s"], deltas=[])):
        full = replace(full, releases=[*full.releases, *[filler] * 10_000]).fitting()
    full = replace(full, releases=full.releases[::-1])
    (cache / "deltas/index.json.zst").write_bytes(full.render())
    done = publish_deltas(cache, [APP[1]], [APP[2]], keep=10_000)
    assert done.dropped == (APP[1][11:],)
    assert read_index(cache / "deltas").releases[1:] == full.releases[:-1]


def test_an_index_of_a_later_version_stays(cache: Path) -> None:
    (cache / "deltas").mkdir()
    (cache / "deltas/index.json.zst").write_bytes(compress(b'{"version": 2}'))
    with pytest.raises(UnsupportedVersionError):
        publish_deltas(cache, [APP[0]], [APP[1]])
    assert files(cache) == {"index.json.zst": compress(b'{"version": 2}')}


def test_the_effort_is_the_senders(cache: Path, releases: list[Closure], tmp_path: Path) -> None:
    lines = [[b"%d\n" % (number * factor) for number in range(5000)] for factor in (7, 11)]
    paths = [store_path("lines-1", letter) for letter in "xy"]
    for path, content in zip(paths, lines, strict=True):
        releases.append(closure(tmp_path / "store", {path: {b"x": b"".join(content)}}))
    make_cache(cache, releases[-1])
    efforts = (Effort.FAST, Effort.DEFAULT)
    fast, default = (
        publish_deltas(cache, paths[:1], paths[1:], effort=each, dry_run=True).deltas[0] for each in efforts
    )
    assert fast.delta_size > default.delta_size
