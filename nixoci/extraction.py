"""Extraction of an image to an image path (`nixoci.image_path`).

Each layer is read once. The entries are merged in memory and the contents put aside; once everything is verified, the
files that are left get their names. The same image gives the same bytes on any machine, as any user, inside and outside
of the Nix sandbox.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from nixoci.document import dump
from nixoci.image_path import DOCUMENT, FORMAT_VERSION, METADATA, ROOTFS, ImageDocument, LayerDocument, TextBlob
from nixoci.oci.digest import Digest
from nixoci.oci.image import Blob, BlobSource, Image
from nixoci.oci.layer_stream import layer_chunks, tar_chunks
from nixoci.oci.model import ExecutionConfig
from nixoci.output import new_directory
from nixoci.progress import Advance, ignore
from nixoci.tree.byte_stream import ChunkStream
from nixoci.tree.contents import Contents
from nixoci.tree.dump import write_dump
from nixoci.tree.limits import Limits, Meter
from nixoci.tree.merge import Merger
from nixoci.tree.model import Inode
from nixoci.tree.mount_points import with_mount_points
from nixoci.tree.tar_reader import SaveContent, TarReader
from nixoci.tree.write import write_rootfs

LayerStreams = Mapping[Digest, Callable[[], Iterator[bytes]]]
"""Functions that give the tar streams of layers, by the digests of their blobs."""

_FILE_MODE = 0o444
_CONTENTS = ".contents"


def extract(
    image: Image,
    source: BlobSource,
    dest: str | os.PathLike[str],
    *,
    name: str,
    reference: str | None = None,
    digest: Digest | None = None,
    limits: Limits | None = None,
    streams: LayerStreams | None = None,
    advance: Advance = ignore,
) -> ImageDocument:
    """Extract an image to the new directory `dest` and return its document.

    Args:
        image: The resolved image.
        source: Where its layers are.
        dest: The image path to make; it must not exist.
        name: The image's name in the lock and in store paths.
        reference: The name that podman lists it by.
        digest: The digest that the reference has in the registry, if it is not the source's (a Nix build has the
            manifest, not the index).
        limits: Guards against decompression bombs.
        streams: The tar streams of layers whose blobs are not read; they must have the diff ids.
        advance: Called with the number of blob bytes that were read (see `total_bytes`).

    Raises:
        ImageError: A blob or a layer does not match its digests, or breaks a rule; nothing is left at `dest`.
        StoreError: `dest` exists.
        OSError: The disk is full; nothing is left at `dest`.
    """
    with new_directory(Path(dest)) as made:
        with Contents(made / _CONTENTS) as contents:
            root, warnings = merge_layers(
                image, source, contents.save, limits=limits or Limits(), streams=streams, advance=advance
            )
            with (made / METADATA).open("wb") as file:
                file.writelines(write_dump(root))
            execution = image.parsed_config.config or ExecutionConfig()
            mount_points = [*(execution.volumes or ()), execution.working_dir or "/"]
            write_rootfs(with_mount_points(root, mount_points), made / ROOTFS, contents=contents)
        shutil.rmtree(made / _CONTENTS)
        document = image_document(image, name=name, reference=reference, digest=digest, warnings=warnings)
        (made / DOCUMENT).write_text(dump(document), encoding="utf-8")
        for part in (METADATA, DOCUMENT):
            (made / part).chmod(_FILE_MODE)
    return document


def image_document(
    image: Image, *, name: str, reference: str | None, digest: Digest | None, warnings: Sequence[str]
) -> ImageDocument:
    """Return the document of an image's path; `warnings` are those of its layers, the others as for `extract`."""
    return ImageDocument(
        version=FORMAT_VERSION,
        name=name,
        reference=reference,
        digest=digest or image.digest,
        platform=image.platform,
        manifest=_text_blob(image.manifest),
        config=_text_blob(image.config),
        layers=[
            LayerDocument(
                media_type=layer.descriptor.media_type,
                digest=layer.descriptor.digest,
                size=layer.descriptor.size,
                diff_id=layer.diff_id,
            )
            for layer in image.layers
        ],
        warnings=list(warnings),
    )


def total_bytes(image: Image) -> int:
    """Return the number of bytes that `extract` reports to `advance` in all."""
    return sum(layer.descriptor.size for layer in image.layers)


def merge_layers(
    image: Image,
    source: BlobSource,
    save: SaveContent,
    *,
    limits: Limits,
    streams: LayerStreams | None = None,
    advance: Advance = ignore,
) -> tuple[Inode, list[str]]:
    """Read and verify all layers; return the merged tree, and warnings about what was dropped on purpose.

    `save` gets the contents of all files before anything is verified.

    Raises:
        ImageError: A blob or a layer does not match its digests, or breaks a rule.
    """
    merger = Merger(limits)
    warnings: list[str] = []
    left = limits.total_size
    for layer in image.layers:
        label = str(layer.descriptor.digest)
        meter = Meter(left, limits, label)
        stream = (streams or {}).get(layer.descriptor.digest)
        verified = layer_chunks(source, layer, advance=advance) if stream is None else tar_chunks(stream(), layer)
        with closing(verified) as chunks:
            reader = TarReader(ChunkStream(meter.count(chunks)), what=f"layer {label}", limits=limits, save=save)
            merger.apply(reader, layer=label)
        left = meter.left
        warnings += reader.warnings
    return merger.root, warnings


def _text_blob(blob: Blob) -> TextBlob:
    return TextBlob(
        media_type=blob.descriptor.media_type, digest=blob.descriptor.digest, text=blob.text.decode("utf-8")
    )
