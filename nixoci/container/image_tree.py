"""The tree of an image, for lookups by path."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from nixoci.image_path import ImagePath
from nixoci.tree.lookup import lookup
from nixoci.tree.model import Inode, Kind


@dataclass(frozen=True)
class ImageTree:
    """An image path with its tree read from the metadata dump, once."""

    image: ImagePath

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the image path at `path`.

        Raises:
            StoreError: Not an image path.
        """
        return cls(ImagePath.open(path))

    @cached_property
    def root(self) -> Inode:
        """The tree, with owners and modes as in the image."""
        return self.image.tree()

    def find(self, path: str) -> Inode | None:
        """Return the file at an absolute path, symlinks followed inside the tree, or None."""
        found = lookup(self.root, path.encode())
        return None if found is None else found[1]

    def canonical(self, path: str) -> str | None:
        """Return the absolute path without symlinks of the file at `path`, or None."""
        found = lookup(self.root, path.encode())
        return None if found is None else f"/{os.fsdecode(found[0])}"

    def lines(self, path: str) -> list[str]:
        """Return the lines of a text file of the tree, without their line feeds; none if it is not there."""
        found = lookup(self.root, path.encode())
        if found is None or found[1].kind is not Kind.REGULAR:
            return []
        file = self.image.rootfs / found[0].decode()
        return file.read_bytes().decode("utf-8", "replace").removesuffix("\n").split("\n")
