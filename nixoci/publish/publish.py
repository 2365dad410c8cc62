"""Publishing a release: a delta from each older one, and the index that names them."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from nixoci.delta.closure import Closure, closures_from_store, kept_paths
from nixoci.delta.effort import Effort
from nixoci.delta.pairing import package_name
from nixoci.delta.send import send_shown
from nixoci.nix_store.hashes import HashingSink, to_sri
from nixoci.nix_store.path import STORE_DIR, store_path_basename, store_path_hash
from nixoci.output import differs, exclusive_directory, flush_directory, full_disk_names, temporary_directory
from nixoci.publish.cache import CachedPath, cached_paths, check_cache
from nixoci.publish.index import (
    DIRECTORY,
    INDEX_NAME,
    MAX_INDEX,
    PUBLISHED_NAME,
    VERSION,
    Index,
    PublishedDelta,
    PublishedNarinfos,
    Release,
)
from nixoci.publish.narinfos import pack
from nixoci.publish.path_set import encode, member

KEEP = 3
"""Releases of the same packages whose deltas stay."""

_MODE = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeDelta:
    """A delta that was made.

    Attributes:
        base: The store path whose closure it is made from.
        paths: The number of paths that it makes.
        nar_size: Bytes of their NARs.
        download: Bytes of their NARs, as the cache has them compressed.
        delta_size: Bytes of the delta.
        published: Whether the index names it; one that saves less than a tenth of `download` is left out.
    """

    base: str
    paths: int
    nar_size: int
    download: int
    delta_size: int
    published: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The outcome.

    Attributes:
        deltas: The deltas.
        index_size: Bytes of the index.
        removed: The files of old releases that nothing names any more.
        dropped: The names of the roots of releases for which the index had no room, besides those beyond `keep`.
        unsigned: Paths of the release that no key has signed in the cache, and that have no content address.
    """

    deltas: tuple[MadeDelta, ...]
    index_size: int
    removed: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    unsigned: tuple[str, ...] = ()


def publish_deltas(
    cache: Path,
    old: Sequence[str],
    new: Sequence[str],
    *,
    effort: Effort = Effort.DEFAULT,
    keep: int = KEEP,
    store: str | None = None,
    dry_run: bool = False,
) -> Published:
    """Write a delta from the closure of each old path to that of the new ones into a binary cache, and name it there.

    Each delta is complete before the index names it, and files go after the index no longer names them: a reader finds
    a working cache at any time, also after this process was killed.

    Args:
        cache: The directory of a binary cache that has the new closure.
        old: Paths that machines may have; one delta is made from the closure of each.
        new: The roots of the release.
        effort: Time spent for fewer bytes.
        keep: Releases of the same packages whose deltas stay, this one included.
        store: The store that has all of them; a Nix store URL on this machine.
        dry_run: Make the deltas for their sizes, and write nothing.

    Raises:
        StoreError: A path is not valid, or not in the cache.
        DeltaError: A delta cannot be made.
        DocumentError: The cache has an index that this nixoci cannot read, or the release is too large for one.
    """
    check_cache(cache)
    after, *befores = closures_from_store(new, *([path] for path in old), store=store)
    cached = cached_paths(cache, after.paths.values())
    folder = cache / DIRECTORY
    with (
        _workplace(folder, dry_run=dry_run) as work,
        full_disk_names(folder),
        kept_paths(after, *befores, store=store),
    ):
        index = read_index(folder)
        made: list[MadeDelta] = []
        listed: list[PublishedDelta] = []
        for before in befores:
            new_paths = after.paths.keys() - before.paths.keys()
            delta, described = _make(before, after, work, effort, sum(cached[path].download for path in new_paths))
            made.append(described)
            if described.published:
                listed.append(delta)
        release = _merged(_release(after, befores, listed), index.releases)
        narinfos = _narinfos(release, cached)
        if narinfos is not None:
            release = replace(release, narinfos=_published_narinfos(narinfos))
        others = [other for other in index.releases if not _same_roots(other, release)]
        releases = _kept([release, *others] if release.deltas else others, keep)
        index = Index(version=VERSION, releases=releases).fitting()
        dropped = [name for each in releases[len(index.releases) :] for name in each.roots]
        data = index.render()
        removed = _unnamed(folder, index)
        if work is not None:
            for delta in listed:
                (work / delta.file).replace(folder / delta.file)
            if narinfos is not None and release.narinfos is not None:
                _write(work / release.narinfos.file, narinfos)
                (work / release.narinfos.file).replace(folder / release.narinfos.file)
            flush_directory(folder)
            _replace_index(folder, data, work)
            for name in removed:
                (folder / name).unlink(missing_ok=True)
    return Published(
        deltas=tuple(made),
        index_size=len(data),
        removed=tuple(removed),
        dropped=tuple(dropped),
        unsigned=tuple(path for path, each in cached.items() if not each.trusted),
    )


def read_index(folder: Path) -> Index:
    """Return the index in a directory of deltas, an empty one if there is none.

    Raises:
        DocumentError: It is not an index.
    """
    file = folder / INDEX_NAME
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_INDEX + 1)
    except FileNotFoundError:
        return Index(version=VERSION)
    return Index.parse(data, what=str(file))


@contextmanager
def _workplace(folder: Path, *, dry_run: bool) -> Iterator[Path | None]:
    """Keep other publishers out, and give a directory for deltas that no reader sees; None in a dry run."""
    if dry_run:
        yield None
        return
    with exclusive_directory(folder), temporary_directory(prefix=".nixoci-publish-", parent=folder) as work:
        yield work


def _make(
    before: Closure, after: Closure, work: Path | None, effort: Effort, download: int
) -> tuple[PublishedDelta, MadeDelta]:
    """Make one delta, as a file of its final name in `work`."""
    (base,) = before.roots
    label = f"making the delta from {store_path_basename(base)}"
    if work is None:
        out = HashingSink()
        summary = send_shown(before, after, out, effort=effort, label=label)
    else:
        file = work / "new"
        with file.open("wb") as opened:
            out = HashingSink(opened)
            summary = send_shown(before, after, out, effort=effort, label=label)
            _complete(opened)
    delta = PublishedDelta(
        bases=[store_path_basename(base)], size=summary.delta_size, sha256=out.sri, download=download
    )
    if work is not None:
        file.replace(work / delta.file)
    described = MadeDelta(
        base=base,
        paths=summary.paths,
        nar_size=summary.nar_size,
        download=download,
        delta_size=summary.delta_size,
        published=delta.pays,
    )
    return delta, described


def _replace_index(folder: Path, data: bytes, work: Path) -> None:
    """Put an index in the place of the one that is there, unless it is the same: readers ask for changes only.

    It is made in `work`: if this process is killed, the next publisher removes what is left there.
    """
    file = folder / INDEX_NAME
    if not differs(file, data):
        return
    _write(work / INDEX_NAME, data)
    (work / INDEX_NAME).replace(file)
    flush_directory(folder)


def _write(file: Path, data: bytes) -> None:
    with file.open("wb") as opened:
        opened.write(data)
        _complete(opened)


def _complete(file: BinaryIO) -> None:
    """Let everyone read a file, and write it to the disk."""
    os.fchmod(file.fileno(), _MODE)
    file.flush()
    os.fsync(file.fileno())


def _release(after: Closure, befores: Iterable[Closure], listed: Sequence[PublishedDelta]) -> Release:
    names = {name for delta in listed for name in delta.bases}
    paths: set[str] = set()
    for before in befores:
        if names.issuperset(map(store_path_basename, before.roots)):
            paths |= after.paths.keys() - before.paths.keys()
    return Release(
        roots=[*map(store_path_basename, after.roots)],
        paths=encode(member(store_path_hash(path)) for path in paths),
        deltas=list(listed),
    )


def _merged(release: Release, releases: Sequence[Release]) -> Release:
    """Return a release with the other deltas that are published to it."""
    deltas, members = list(release.deltas), release.members
    for same in releases:
        if _same_roots(same, release):
            bases = [delta.bases for delta in deltas]
            deltas += (delta for delta in same.deltas if delta.bases not in bases)
            members |= same.members
    return Release(roots=release.roots, paths=encode(members), deltas=deltas)


def _same_roots(one: Release, other: Release) -> bool:
    return set(one.roots) == set(other.roots)


def _narinfos(release: Release, cached: Mapping[str, CachedPath]) -> bytes | None:
    """Return the file of the narinfos of a release; None if no delta makes it, or they are too many."""
    if not release.deltas:
        return None
    return pack(each.narinfo for path, each in cached.items() if release.makes(store_path_hash(path)))


def _published_narinfos(data: bytes) -> PublishedNarinfos:
    return PublishedNarinfos(size=len(data), sha256=to_sri(hashlib.sha256(data).digest()))


def _kept(releases: Sequence[Release], keep: int) -> list[Release]:
    """Return the newest releases of each set of packages."""
    seen: Counter[tuple[str, ...]] = Counter()
    kept = []
    for release in releases:
        packages = tuple(sorted(package_name(f"{STORE_DIR}/{name}") for name in release.roots))
        seen[packages] += 1
        if seen[packages] <= keep:
            kept.append(release)
    return kept


def _unnamed(folder: Path, index: Index) -> list[str]:
    """Return the files of releases that the index does not name."""
    named = {file for release in index.releases for file in release.files}
    with suppress(FileNotFoundError):
        return sorted(
            file.name for file in folder.iterdir() if PUBLISHED_NAME.fullmatch(file.name) and file.name not in named
        )
    return []
