"""The limits of the format, and the header: the store paths that a delta makes and needs (docs/delta-format.md)."""

from dataclasses import dataclass
from pathlib import Path

from nixoci.errors import DeltaError, StoreError
from nixoci.nix_store.content_address import addressed_path, nar_address
from nixoci.nix_store.hashes import is_sri
from nixoci.nix_store.path import PathInfo, check_store_path, store_path_basename, store_path_name

VERSIONS = {1: "0.1.0", 2: "0.2.0"}
"""The versions of the format, and the first release of nixoci that reads each."""

NEWEST = max(VERSIONS)
"""The newest version that this nixoci reads."""

SEGMENT_SIZE = 64 << 20
"""Bytes of a segment of a file; bounds the memory of both ends."""

MAX_DEPTH = 256
"""Directories inside each other."""

MAX_CONTENTS = 1 << 21
"""Contents of a delta; each takes some hundred bytes of memory."""

MAX_RECIPES = 128 << 20
"""Bytes of the recipes of all paths together; a file takes some tens of them."""

_MAX_NAR_SIZE = (1 << 63) - 1
"""The largest size that Nix can represent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A store path that the receiver must already have, with exactly this content."""

    path: str
    nar_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The paths that a delta makes, in dependency order, and the bases that they are made from.

    `roots` are the paths that were asked for; each is among `paths` or `bases`. `predecessors` has, for each of
    `paths`, the index of the base that is its old version, or None.
    """

    roots: tuple[str, ...]
    bases: tuple[Base, ...]
    paths: tuple[PathInfo, ...]
    predecessors: tuple[int | None, ...]

    def successions(self) -> list[tuple[str, str]]:
        """Return the pairs of a predecessor and its path."""
        pairs = zip(self.predecessors, self.paths, strict=True)
        return [(self.bases[number].path, info.path) for number, info in pairs if number is not None]

    def bases_below(self, real: Path) -> list[Path]:
        """Return the bases on this machine, where the directory `real` holds the paths of the store."""
        return [real / store_path_basename(base.path) for base in self.bases]


def check_header(header: Header) -> None:
    """Refuse a header that contradicts itself, or that could write anything but the paths it declares.

    Raises:
        DeltaError: A malformed hash, signature or content address; a reference to a path that is neither a base
            nor an earlier path; the same path twice.
        StoreError: A malformed path.
    """
    known: set[str] = set()
    for base in header.bases:
        _check_new(base.path, known)
        _check_hash(base.path, base.nar_hash)
    for info in header.paths:
        check_store_path(info.path)
        for reference in info.references:
            if reference != info.path and reference not in known:
                raise DeltaError(
                    f"{info.path}: refers to {reference}, which is neither a base nor an earlier path of the delta; "
                    "make the delta again"
                )
        _check_new(info.path, known)
        _check_info(info)
    for root in header.roots:
        if root not in known:
            raise DeltaError(f"{root}: asked for, but neither a base nor a path of the delta; make the delta again")


def _check_info(info: PathInfo) -> None:
    _check_hash(info.path, info.nar_hash)
    if not 0 < info.nar_size <= _MAX_NAR_SIZE:
        raise DeltaError(f"{info.path}: narSize is {info.nar_size}; make the delta again")
    if info.deriver is not None:
        check_store_path(info.deriver)
    for line in info.signatures:
        if not line.isprintable() or " " in line or ":" not in line:
            raise DeltaError(f"{info.path}: {line!r} is not a signature; make the delta again")
    if info.content_address is not None:
        _check_content_address(info, info.content_address)


def _check_content_address(info: PathInfo, address: str) -> None:
    others = [reference for reference in info.references if reference != info.path]
    try:
        path = addressed_path(
            address,
            name=store_path_name(info.path),
            references=others,
            to_itself=len(others) < len(info.references),
        )
    except StoreError as error:
        raise DeltaError(f"{info.path}: {error}; make the delta again") from error
    if path != info.path:
        raise DeltaError(f"{info.path}: its content address {address} is that of {path}; make the delta again")
    whole = address.startswith("fixed:r:sha256:") and info.path not in info.references
    if whole and address != nar_address(info.nar_hash):
        raise DeltaError(f"{info.path}: its content address {address} is not of its narHash; make the delta again")


def _check_new(path: str, known: set[str]) -> None:
    check_store_path(path)
    if path in known:
        raise DeltaError(f"{path}: named twice in the delta; make it again")
    known.add(path)


def _check_hash(path: str, nar_hash: str) -> None:
    if not is_sri(nar_hash):
        raise DeltaError(f"{path}: narHash {nar_hash!r} is not sha256-<base64>; make the delta again")
