"""Build a layer cache, from layers or from other layer caches.

An entry is a whole file system with the layer's files in it: containerd mounts it without the layer's blob. It is made
from what the layer means, not from its bytes: the rules are those of extraction, and mkfs.erofs gets a canonical tar.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from nixoci.layer_cache.changes import read_changes
from nixoci.layer_cache.erofs import MKFS_EROFS, Mkfs, find_mkfs, write_erofs
from nixoci.layer_cache.layout import entry_path, read_entries
from nixoci.oci.digest import Digest
from nixoci.oci.image import BlobSource, Image, Layer
from nixoci.oci.layer_stream import layer_chunks
from nixoci.output import new_directory
from nixoci.progress import Advance, ignore
from nixoci.tree.byte_stream import ChunkStream
from nixoci.tree.contents import Contents
from nixoci.tree.limits import Limits, Meter
from nixoci.tree.tar_format import show
from nixoci.tree.tar_reader import TarReader

_FILE_MODE = 0o444
_DIRECTORY_MODE = 0o755
_CONTENTS = ".contents"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLayer:
    """A layer and the place that has its blob; `lowest` says that it is known to lie on nothing."""

    source: BlobSource
    layer: Layer
    lowest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedLayer:
    """A layer of a cache: its diff id, the path of its EROFS file in the cache, and that file's size in bytes."""

    diff_id: Digest
    path: str
    size: int
    warnings: list[str] = field(default_factory=list)
    """Messages about what an overlay mount shows in another way than an unpacked image."""


def distinct_layers(images: Iterable[tuple[BlobSource, Image]]) -> list[SourceLayer]:
    """Return the layers of images, of those with the same diff id the first."""
    layers: dict[Digest, SourceLayer] = {}
    for source, image in images:
        for number, layer in enumerate(image.layers):
            layers.setdefault(layer.diff_id, SourceLayer(source=source, layer=layer, lowest=number == 0))
    return list(layers.values())


def build_layer_cache(
    out: str | os.PathLike[str],
    layers: Sequence[SourceLayer],
    *,
    mkfs_erofs: str | os.PathLike[str] = MKFS_EROFS,
    limits: Limits | None = None,
    advance: Advance = ignore,
) -> list[CachedLayer]:
    """Build a layer cache for containerd's EROFS snapshotter in the new directory `out`.

    The same layers give the same bytes with the same mkfs.erofs, in any order and for any user.

    Args:
        out: The layer cache to build; it must not exist.
        layers: Its layers, each diff id once.
        mkfs_erofs: The program that writes EROFS files, of erofs-utils 1.8.3 or newer.
        limits: Guards against decompression bombs, for each layer.
        advance: Called with the number of blob bytes that were read.

    Raises:
        StoreError: `out` exists.
        ImageError: A blob or a layer does not match its digests, or breaks a rule; nothing is left at `out`.
        ProcessError: `mkfs_erofs` is missing, too old for a layer, or failed; nothing is left at `out`.
        OSError: The disk is full; nothing is left at `out`.
    """
    program = os.fspath(mkfs_erofs)
    with new_directory(Path(out)) as made:
        if not layers:
            return []
        mkfs = find_mkfs(program)
        return [_add(made, layer, mkfs, limits or Limits(), advance) for layer in layers]


def join_layer_caches(out: str | os.PathLike[str], caches: Sequence[str | os.PathLike[str]]) -> list[CachedLayer]:
    """Make a layer cache of the layers of others in the new directory `out`; its files are symlinks to theirs.

    Args:
        out: The layer cache to make; it must not exist.
        caches: Layer caches; of two with the same layer, the first one's file is used.

    Raises:
        StoreError: `out` exists, or a directory is no layer cache; nothing is left at `out`.
        OSError: A directory cannot be read; nothing is left at `out`.
    """
    entries: dict[Digest, Path] = {}
    for cache in caches:
        entries = read_entries(Path(cache)) | entries
    with new_directory(Path(out)) as made:
        return [_link(made, diff_id, file) for diff_id, file in sorted(entries.items())]


def _add(out: Path, given: SourceLayer, mkfs: Mkfs, limits: Limits, advance: Advance) -> CachedLayer:
    layer = given.layer
    label = str(layer.descriptor.digest)
    contents = out / _CONTENTS
    meter = Meter(limits.total_size, limits, label)
    with Contents(contents) as aside, closing(layer_chunks(given.source, layer, advance=advance)) as chunks:
        reader = TarReader(ChunkStream(meter.count(chunks)), what=f"layer {label}", limits=limits, save=aside.save)
        changes = read_changes(reader, layer=label, limits=limits)
    file = _make_place(out, layer.diff_id)
    write_erofs(changes.root, file, diff_id=layer.diff_id, contents=contents, mkfs=mkfs)
    file.chmod(_FILE_MODE)
    shutil.rmtree(contents)
    warnings = reader.warnings if given.lowest else [*reader.warnings, *_warn_of_implied(label, changes.implied)]
    return _describe(layer.diff_id, file, warnings)


def _make_place(out: Path, diff_id: Digest) -> Path:
    """Return the path of a layer's file; its directories are made, whatever the umask."""
    file = out / entry_path(diff_id)
    for folder in (file.parent.parent, file.parent):
        folder.mkdir(exist_ok=True)
        folder.chmod(_DIRECTORY_MODE)
    return file


def _warn_of_implied(label: str, implied: list[bytes]) -> list[str]:
    if not implied:
        return []
    return [
        f"layer {label}: no entry for its directory {show(implied[0])}"
        + (f" and {len(implied) - 1} more" if len(implied) > 1 else "")
        + "; containers of containerd see it as root's, with mode 0755, whatever a lower layer has there"
    ]


def _link(out: Path, diff_id: Digest, target: Path) -> CachedLayer:
    _make_place(out, diff_id).symlink_to(target)
    return _describe(diff_id, target, [])


def _describe(diff_id: Digest, file: Path, warnings: list[str]) -> CachedLayer:
    return CachedLayer(diff_id=diff_id, path=str(entry_path(diff_id)), size=file.stat().st_size, warnings=warnings)
