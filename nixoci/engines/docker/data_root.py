"""Docker's data root: the directories of images and layers, and the list of names (moby, `image/fs.go`, `layer/`)."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nixoci.document import key, parse
from nixoci.output import full_disk_names, temporary_directory

DATA_ROOT = "/var/lib/docker"
"""Docker's data root by default."""

DRIVER = "overlay2"
SHA256 = "sha256:"

_SCRATCH = ".nixoci-"

_PRIVATE = 0o700
_TRAVERSED = 0o710
"""The modes that dockerd gives: users may not even enter most of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRoot:
    """The paths below a data root."""

    path: Path

    @property
    def image_stores(self) -> Path:
        """The directory that has one directory for each storage driver."""
        return self.path / "image"

    @property
    def images(self) -> Path:
        """The directory of images and layers of this storage driver, without the files of layers."""
        return self.image_stores / DRIVER

    @property
    def contents(self) -> Path:
        """The directory of configs, by image id."""
        return self.images / "imagedb/content/sha256"

    @property
    def metadata(self) -> Path:
        """The directory of what Docker notes about an image, by image id."""
        return self.images / "imagedb/metadata/sha256"

    @property
    def layers(self) -> Path:
        """The directory of layers, by chain id."""
        return self.images / "layerdb/sha256"

    @property
    def mounts(self) -> Path:
        """The directory of the layers that containers write to, by container id."""
        return self.images / "layerdb/mounts"

    @property
    def containers(self) -> Path:
        """The directory of containers, by id."""
        return self.path / "containers"

    @property
    def overlay(self) -> Path:
        """The directory of the files of layers, by cache id."""
        return self.path / DRIVER

    @property
    def links(self) -> Path:
        """The directory of the short names of layers."""
        return self.overlay / "l"

    @property
    def repositories(self) -> Path:
        """The list of names."""
        return self.images / "repositories.json"

    def layer_records(self) -> list[Path]:
        """Return the directories of layers, without those that dockerd began to remove and will remove at its end."""
        return [path for path in entries(self.layers) if not path.name.endswith("-removing")]

    def drivers(self) -> list[str]:
        """Return the storage drivers that dockerd has run with."""
        return [path.name for path in entries(self.image_stores)]

    def make_directories(self) -> None:
        """Make the directories that are missing, as dockerd does."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for directory, mode in (
            (self.path, _TRAVERSED),
            (self.overlay, _TRAVERSED),
            (self.links, _PRIVATE),
            (self.contents, _PRIVATE),
            (self.metadata, _PRIVATE),
            (self.layers, _PRIVATE),
        ):
            missing = [each for each in (directory, *directory.parents) if not each.exists()]
            for each in reversed(missing):
                each.mkdir(mode=mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Two empty directories in a data root, for what gets its name by a rename: its two parts may be file systems."""

    images: Path
    overlay: Path

    def write(self, file: Path, data: bytes) -> None:
        """Write a file of the images, as a whole, to the disk."""
        made = self.images / "new"
        with made.open("xb") as new:
            os.fchmod(new.fileno(), 0o600)
            new.write(data)
            new.flush()
            os.fsync(new.fileno())
        made.replace(file)


@contextmanager
def open_scratch(root: DataRoot) -> Iterator[Scratch]:
    """Make the directories, after those of runs that were killed, and remove them when the block ends.

    Raises:
        OSError: A file in the block cannot be written; if the disk is full, it names the data root.
    """
    with (
        full_disk_names(root.path),
        temporary_directory(prefix=_SCRATCH, parent=root.images) as images,
        temporary_directory(prefix=_SCRATCH, parent=root.overlay) as overlay,
    ):
        yield Scratch(images=images, overlay=overlay)


def has_old_scratch(root: DataRoot) -> bool:
    """Return whether a run that was killed has left its directories."""
    return any(path.name.startswith(_SCRATCH) for parent in (root.images, root.overlay) for path in entries(parent))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """The document `repositories.json` (moby, `reference/store.go`)."""

    repositories: dict[str, dict[str, str]] = field(default_factory=dict, metadata=key("Repositories"))


def read_names(root: DataRoot) -> dict[str, str]:
    """Return the image ids by name; a name is as Docker writes it, with its tag or digest.

    Raises:
        DocumentError: The list is damaged.
    """
    try:
        text = root.repositories.read_bytes()
    except FileNotFoundError:
        return {}
    known = parse(_Names, text, what=str(root.repositories)).repositories
    return {name: digest.removeprefix(SHA256) for names in known.values() for name, digest in names.items()}


def write_names(root: DataRoot, scratch: Scratch, changes: Mapping[str, str | None]) -> None:
    """Set names to image ids, and remove those whose id is None; dockerd must not run.

    Raises:
        DocumentError: The list is damaged.
        OSError: It cannot be written; it is as it was.
    """
    known: dict[str, dict[str, str]] = {}
    with suppress(FileNotFoundError):
        known = parse(_Names, root.repositories.read_bytes(), what=str(root.repositories)).repositories
    for name, image in changes.items():
        repository = repository_of(name)
        if image is None:
            known.get(repository, {}).pop(name, None)
        else:
            known.setdefault(repository, {})[name] = SHA256 + image
    text = json.dumps({"Repositories": {name: names for name, names in known.items() if names}}, separators=(",", ":"))
    scratch.write(root.repositories, text.encode())


def repository_of(name: str) -> str:
    """Return the repository of a name that has a tag or a digest.

    >>> repository_of("localhost:5000/web:1"), repository_of("nginx@sha256:00")
    ('localhost:5000/web', 'nginx')
    """
    repository, at, _ = name.partition("@")
    return repository if at else name.rpartition(":")[0]


def read_json(file: Path) -> dict[str, Any]:
    """Return a JSON object of Docker's; an empty one if it cannot be read."""
    with suppress(OSError, ValueError):
        value = json.loads(file.read_bytes())
        return value if isinstance(value, dict) else {}
    return {}


def entries(directory: Path) -> Iterator[Path]:
    """Yield the paths in a directory that may not exist."""
    with suppress(FileNotFoundError):
        yield from sorted(directory.iterdir())


def inside(path: Path, machine: Path | None) -> Path:
    """Return a path of a machine whose root directory is `machine`; None is this machine."""
    return path.absolute() if machine is None else machine.absolute() / path.relative_to(path.anchor)
