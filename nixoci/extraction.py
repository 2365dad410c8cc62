"""Extraction: an image becomes an image path (`nixoci.image_path`).

The layers are read once: their entries are merged in memory and their files' contents put aside; when all is verified,
the files that won get their names. The same image gives the same bytes on any machine, as any user, inside and outside
of the Nix sandbox.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from nixoci.document import dump
from nixoci.errors import LimitError
from nixoci.image_path import DOCUMENT, FORMAT_VERSION, METADATA, ROOTFS, ImageDocument, LayerDocument, TextBlob
from nixoci.oci.digest import Digest
from nixoci.oci.image import Blob, BlobSource, Image
from nixoci.oci.layer_stream import layer_chunks
from nixoci.oci.model import ExecutionConfig
from nixoci.output import new_directory
from nixoci.progress import Advance, ignore
from nixoci.tree.contents import Contents
from nixoci.tree.dump import write_dump
from nixoci.tree.limits import Limits
from nixoci.tree.merge import Merger
from nixoci.tree.model import Inode
from nixoci.tree.mount_points import add_mount_points
from nixoci.tree.tar_reader import Keep, TarReader
from nixoci.tree.write import write_rootfs

_FILE_MODE = 0o444
_CONTENTS = ".contents"


def extract(
    image: Image,
    source: BlobSource,
    dest: Path,
    *,
    name: str,
    reference: str | None = None,
    digest: Digest | None = None,
    limits: Limits | None = None,
    advance: Advance = ignore,
) -> ImageDocument:
    """Extract an image to the new directory `dest` and return its document.

    Args:
        image: The resolved image.
        source: Where its layers are.
        dest: The image path to make; it must not exist.
        name: What the image is called in the lock and in store paths.
        reference: What podman shall list it as.
        digest: What the reference resolved to in the registry, where that is not what the source has (a Nix build
            has the manifest, not the index).
        limits: Guards against decompression bombs.
        advance: Called with the blob bytes that were read (see `total_bytes`).

    Raises:
        ImageError: A blob or a layer is not what it promises, or breaks a rule; nothing is left at `dest`.
        StoreError: `dest` exists.
        OSError: The disk is full; nothing is left at `dest`.
    """
    with new_directory(dest) as made:
        contents = made / _CONTENTS
        keep = Contents(contents).keep
        root, warnings = merge_layers(image, source, keep, limits=limits or Limits(), advance=advance)
        document = ImageDocument(
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
            warnings=warnings,
        )
        with (made / METADATA).open("wb") as file:
            file.writelines(write_dump(root))
        execution = image.parsed_config.config or ExecutionConfig()
        add_mount_points(root, [*(execution.volumes or ()), execution.working_dir or "/"])
        write_rootfs(root, made / ROOTFS)
        shutil.rmtree(contents)
        (made / DOCUMENT).write_text(dump(document), encoding="utf-8")
        for part in (METADATA, DOCUMENT):
            (made / part).chmod(_FILE_MODE)
    return document


def total_bytes(image: Image) -> int:
    """Return how many bytes `extract` reports to `advance` in all."""
    return sum(layer.descriptor.size for layer in image.layers)


def merge_layers(
    image: Image, source: BlobSource, keep: Keep, *, limits: Limits, advance: Advance = ignore
) -> tuple[Inode, list[str]]:
    """Read and verify all layers, and return the tree they collapse to and what was dropped on purpose.

    `keep` gets the contents of all files before anything is verified.

    Raises:
        ImageError: A blob or a layer is not what it promises, or breaks a rule.
    """
    merger = Merger(limits)
    warnings: list[str] = []
    left = limits.total_size
    for layer in image.layers:
        label = str(layer.descriptor.digest)
        meter = _Meter(left, limits, label)
        with closing(layer_chunks(source, layer, advance=advance)) as chunks:
            reader = TarReader(meter.count(chunks), layer=label, limits=limits, keep=keep)
            merger.apply(reader, layer=label)
        left = meter.left
        warnings += reader.warnings
    return merger.root, warnings


class _Meter:
    """Bounds the uncompressed bytes of all layers together."""

    def __init__(self, left: int, limits: Limits, layer: str) -> None:
        self.left = left
        self._limits = limits
        self._layer = layer

    def count(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.left -= len(chunk)
            if self.left < 0:
                raise LimitError(
                    f"layer {self._layer}: more than {self._limits.total_size} uncompressed bytes in the image, the"
                    " limit; raise it with --max-size if you trust the image"
                )
            yield chunk


def _text_blob(blob: Blob) -> TextBlob:
    return TextBlob(
        media_type=blob.descriptor.media_type, digest=blob.descriptor.digest, text=blob.text.decode("utf-8")
    )
