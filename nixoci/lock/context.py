"""The place of a lock file, from which the sources of its images are opened."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from nixoci.errors import LockError
from nixoci.lock.model import LockedImage
from nixoci.oci.image import ImageSource
from nixoci.oci.reference import Reference
from nixoci.oci.registry import RegistryAccess
from nixoci.oci.sources import LocalSource, Source, open_source, parse_source


@dataclass(frozen=True, slots=True, kw_only=True)
class LockContext:
    """The directory of a lock file, and how to reach registries.

    Relative paths of local sources in the lock are relative to `directory`.
    """

    directory: Path
    access: RegistryAccess = field(default_factory=RegistryAccess)

    @classmethod
    def of(cls, lock_file: str | os.PathLike[str], access: RegistryAccess | None = None) -> Self:
        """Return the context of a lock file, which need not exist.

        >>> LockContext.of("/srv/images/nixoci.lock.json").directory
        PosixPath('/srv/images')
        """
        return cls(directory=Path(lock_file).resolve().parent, access=access or RegistryAccess())

    def source(self, reference: str) -> Source:
        """Return the source of an entry's reference, with a path that can be opened from anywhere."""
        source = parse_source(reference)
        return replace(source, path=self.directory / source.path) if isinstance(source, LocalSource) else source

    @contextmanager
    def open_pinned(self, name: str, image: LockedImage) -> Iterator[ImageSource]:
        """Open the image that an entry pins, even if its tag has moved.

        Raises:
            LockError: A local source holds another image now.
            ImageError: The image is gone.
        """
        source = self.source(image.reference)
        if isinstance(source, Reference):
            source = source.at(image.digest)
        with open_source(source, access=self.access) as opened:
            if opened.root.digest != image.digest:
                raise LockError(
                    f"image {name}: {source} is {opened.root.digest} now, the lock has {image.digest}; take the new one"
                    f" with `nixoci update {name}`"
                )
            yield opened
