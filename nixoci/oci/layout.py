"""OCI layouts, as a directory or packed in a tar file (image-spec image-layout.md)."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Self

from nixoci.errors import BlobError, ImageError
from nixoci.oci.archive import Archive
from nixoci.oci.digest import Digest
from nixoci.oci.index import parse_index
from nixoci.oci.media_types import OCI_INDEX
from nixoci.oci.model import Descriptor, Index
from nixoci.oci.resolve import document_type
from nixoci.oci.verify import MAX_DOCUMENT

REF_NAME = "org.opencontainers.image.ref.name"
_MARKER = "oci-layout"
_INDEX = "index.json"

OpenFile = Callable[[str], BinaryIO]
"""Opens a file by its path inside the layout, or raises FileNotFoundError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """An image in an OCI layout."""

    name: str
    root: Descriptor
    _open: OpenFile
    _index: bytes

    @classmethod
    def open(cls, directory: Path, chosen: Digest | str | None, *, name: str) -> Self:
        """Find an image in the layout `directory`.

        Args:
            directory: The layout.
            chosen: The image's digest in the layout's index, or its `org.opencontainers.image.ref.name`; None for
                the only image.
            name: The layout's name in messages.

        Raises:
            ImageError: Not a layout, or no such image in it.
        """
        way_out = "name the directory that has them"
        return cls._find(lambda path: _open_regular(directory / path), chosen, name=name, way_out=way_out)

    @classmethod
    def open_archive(cls, archive: Archive, chosen: Digest | str | None, *, name: str) -> Self:
        """Find an image in a packed layout; arguments and errors as for `open`."""
        way_out = "an archive of `docker save` or `podman save` is docker-archive:FILE"
        return cls._find(archive.open, chosen, name=name, way_out=way_out)

    @classmethod
    def _find(cls, open_file: OpenFile, chosen: Digest | str | None, *, name: str, way_out: str) -> Self:
        try:
            with open_file(_MARKER), open_file(_INDEX) as file:
                text = file.read(MAX_DOCUMENT + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ImageError(f"{name}: not an OCI layout: it has no {_MARKER} and {_INDEX}; {way_out}") from error
        if len(text) > MAX_DOCUMENT:
            raise ImageError(f"{name}: {_INDEX} has more than {MAX_DOCUMENT} bytes, the limit")
        root = _choose(parse_index(text, what=f"{name}: {_INDEX}"), text, chosen, name)
        layout = cls(name=name, root=root, _open=open_file, _index=text)
        if root.media_type:
            return layout
        with layout.open_blob(root) as blob:
            media_type = document_type(blob.read(MAX_DOCUMENT + 1), what=f"{name}: {root.digest}")
        return replace(layout, root=replace(root, media_type=media_type))

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob of the layout."""
        digest = descriptor.digest
        if digest == Digest.of(self._index):
            return io.BytesIO(self._index)
        path = f"blobs/{digest.algorithm}/{digest.hex}"
        try:
            return self._open(path)
        except FileNotFoundError as error:
            raise BlobError(
                f"{self.name}: blob {digest} is missing: there is no {path}; copy the image again"
            ) from error


def _choose(index: Index, text: bytes, chosen: Digest | str | None, name: str) -> Descriptor:
    entries = index.manifests
    if isinstance(chosen, Digest):
        entry = next((entry for entry in entries if entry.digest == chosen), None)
        if entry is None:
            there = ", ".join(dict.fromkeys(str(entry.digest) for entry in entries)) or "none"
            raise ImageError(f"{name}: no image has this digest in {_INDEX}; there is {there}")
        return entry
    tags = sorted({entry.annotations[REF_NAME] for entry in entries if REF_NAME in entry.annotations})
    if chosen is not None:
        found = {entry.digest: entry for entry in entries if entry.annotations.get(REF_NAME) == chosen}
        if len(found) > 1:
            there = ", ".join(map(str, found))
            raise ImageError(
                f"{name}: the tag {chosen!r} names {len(found)} images in {_INDEX}; add @DIGEST in its place, there is"
                f" {there}"
            )
        if not found:
            raise ImageError(f"{name}: no image has the tag {chosen!r}; there is {_list(tags)}")
        return next(iter(found.values()))
    if len({entry.digest for entry in entries}) == 1:
        return entries[0]
    # index.json may itself be the index of one image for several platforms
    platforms = [str(entry.platform) for entry in entries if entry.platform is not None]
    if entries and len(platforms) == len(set(platforms)) == len(entries):
        return Descriptor(media_type=OCI_INDEX, digest=Digest.of(text), size=len(text))
    if not entries:
        raise ImageError(f"{name}: the layout has no image")
    raise ImageError(f"{name}: the layout has {len(entries)} images; add :TAG or @DIGEST, there is {_list(tags)}")


def _list(tags: list[str]) -> str:
    return ", ".join(tags) or "none"


def _open_regular(path: Path) -> BinaryIO:
    """Open a regular file; anything else counts as missing (a FIFO would block)."""
    if not S_ISREG(path.stat().st_mode):
        raise FileNotFoundError(path)
    return path.open("rb")
