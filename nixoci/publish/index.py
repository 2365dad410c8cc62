"""The index of the deltas in a binary cache: `deltas/index.json.zst` (docs/substituter.md, Index)."""

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

from nixoci.compression import DecompressError, compress, decompress
from nixoci.document import check_version, dump, key, load, structure
from nixoci.errors import DocumentError, UnsupportedVersionError
from nixoci.nix_store.hashes import NIX32, from_sri, is_sri, to_nix32
from nixoci.nix_store.path import STORE_DIR, STORE_PATH
from nixoci.publish.path_set import decode, member

DIRECTORY = "deltas"
"""The directory of a binary cache that has the index and the deltas."""

INDEX_NAME = "index.json.zst"
VERSION = 1

MAX_INDEX = 1 << 20
"""Bytes of the largest index that is read, compressed and decompressed."""

_LEVEL = 19
_PIECE = 1 << 12

_DELTA, _NARINFOS = ".nxd", ".narinfos.zst"

PUBLISHED_NAME = re.compile(rf"[{NIX32}]{{52}}({re.escape(_DELTA)}|{re.escape(_NARINFOS)})")
"""Matches the name of a file that the index may name: of a delta, or of narinfos."""

_MAX_SIZE = (1 << 63) - 1

_WAY_OUT = f"remove {DIRECTORY}/{INDEX_NAME} from the cache, then publish again"


@dataclass(frozen=True, kw_only=True)
class PublishedDelta:
    """A delta to a release.

    Attributes:
        bases: The names of the paths whose closure it is made from: store paths without the store.
        size: Bytes of the delta.
        sha256: Its SHA-256, as SRI; its file is named after it.
        download: Bytes of the NARs, as the cache has them compressed, that it takes the place of.
    """

    bases: list[str] = field(metadata=key("from"))
    size: int
    sha256: str
    download: int

    @cached_property
    def file(self) -> str:
        """The name of its file, beside the index."""
        return _name(from_sri(self.sha256), _DELTA)

    @property
    def pays(self) -> bool:
        """Say whether it is worth its size, if all that it makes is wanted."""
        return pays(self.size, self.download)


@dataclass(frozen=True, kw_only=True)
class PublishedNarinfos:
    """The narinfos of a release in one file (`narinfos`).

    Attributes:
        size: Bytes of the file.
        sha256: Its SHA-256, as SRI; it is named after it.
    """

    size: int
    sha256: str

    @cached_property
    def file(self) -> str:
        """The name of its file, beside the index."""
        return _name(from_sri(self.sha256), _NARINFOS)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A closure that deltas make.

    Attributes:
        roots: The names of its roots.
        paths: The paths that the deltas make, as a set of `path_set`.
        deltas: The deltas to it.
        narinfos: The narinfos of these paths; None if they are too many for one file.
    """

    roots: list[str] = field(metadata=key("to"))
    paths: str
    deltas: list[PublishedDelta]
    narinfos: PublishedNarinfos | None = None

    @property
    def files(self) -> list[str]:
        """The names of its files, beside the index."""
        return [each.file for each in (*self.deltas, self.narinfos) if each is not None]

    def is_root(self, hash_part: str) -> bool:
        """Return whether a root has this hash part."""
        return any(name.startswith(f"{hash_part}-") for name in self.roots)

    def makes(self, hash_part: str) -> bool:
        """Return whether a delta may make the path with this hash part."""
        return member(hash_part) in self.members

    @cached_property
    def members(self) -> frozenset[int]:
        """The numbers that stand for the paths."""
        return decode(self.paths)


@dataclass(frozen=True, kw_only=True)
class Index:
    """The releases to which a binary cache has deltas, the newest first."""

    version: int
    releases: list[Release] = field(default_factory=list)

    @classmethod
    def parse(cls, data: bytes, *, what: str) -> Self:
        """Read the file of an index; `what` names it in errors.

        Raises:
            DocumentError: It is not one, or declares what no delta can be.
            UnsupportedVersionError: It has another version.
        """
        try:
            value = load(decompressed(data, MAX_INDEX, what=what), what=what)
            check_version(value, VERSION, what=what, way_out="update it")
            index = structure(cls, value, what=what, strict=True)
            for number, release in enumerate(index.releases):
                _check_release(release, f"{what}: releases[{number}]")
        except UnsupportedVersionError:
            raise
        except DocumentError as error:
            raise DocumentError(f"{error}; {_WAY_OUT}") from error
        return index

    def render(self) -> bytes:
        """Return the file of the index, which has to fit into `MAX_INDEX` bytes (`fitting`)."""
        return compress(dump(self).encode(), _LEVEL)

    def fitting(self) -> Self:
        """Return the index without its oldest releases, as many as have to go for `MAX_INDEX` bytes.

        Raises:
            DocumentError: The newest release alone takes more.
        """
        left = MAX_INDEX - len(dump(replace(self, releases=[])).encode())
        for number, release in enumerate(self.releases):
            left -= len(dump(Index(version=self.version, releases=[release])).encode())
            if left < 0:
                if not number:
                    raise DocumentError(
                        f"{INDEX_NAME}: the release of {release.roots[0]} alone takes more than the {MAX_INDEX} bytes"
                        " of an index; publish fewer roots at a time"
                    )
                return replace(self, releases=self.releases[:number])
        return self


def pays(size: int, download: int) -> bool:
    """Return whether a delta saves a tenth of the NARs that it takes the place of; less is not worth the rebuilding."""
    return size * 10 <= download * 9


def decompressed(data: bytes, limit: int, *, what: str) -> bytes:
    """Return the content of a file beside the deltas.

    Raises:
        DocumentError: It cannot be decompressed, or has more than `limit` bytes.
    """
    text = bytearray()
    try:
        for piece in decompress((data[at : at + _PIECE] for at in range(0, len(data), _PIECE)), memory=limit):
            text += piece
            if len(text) > limit:
                raise DocumentError(f"{what}: larger than {limit} bytes")
    except DecompressError as error:
        raise DocumentError(f"{what}: {error}") from error
    return bytes(text)


def _name(digest: bytes, suffix: str) -> str:
    return f"{to_nix32(digest).decode()}{suffix}"


def _check_release(release: Release, where: str) -> None:
    _check_names(release.roots, f"{where}.to")
    try:
        decode(release.paths)
    except ValueError as error:
        raise _wrong(f"{where}.paths", f"a set of paths ({error})", release.paths) from error
    for place, delta in enumerate(release.deltas):
        at = f"{where}.deltas[{place}]"
        _check_names(delta.bases, f"{at}.from")
        _check_file(delta, at)
        _check_size(delta.download, f"{at}.download")
    if release.narinfos is not None:
        _check_file(release.narinfos, f"{where}.narinfos")


def _check_file(file: PublishedDelta | PublishedNarinfos, where: str) -> None:
    if not is_sri(file.sha256):
        raise _wrong(f"{where}.sha256", "sha256-<base64>", file.sha256)
    _check_size(file.size, f"{where}.size")


def _check_size(size: int, where: str) -> None:
    if not 0 <= size <= _MAX_SIZE:
        raise _wrong(where, "a number of bytes", size)


def _check_names(names: list[str], where: str) -> None:
    if not names:
        raise _wrong(where, "names of store paths", [])
    for name in names:
        if not STORE_PATH.fullmatch(f"{STORE_DIR}/{name}"):
            raise _wrong(where, "<hash>-<name>", name)


def _wrong(where: str, expected: str, found: Any) -> DocumentError:
    return DocumentError(f"{where}: expected {expected}, got {str(found)[:60]!r}; {_WAY_OUT}")
