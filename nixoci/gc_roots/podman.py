"""The containers that podman knows, read from the records of containers/storage.

`podman ps --external` and `podman container inspect` fail for a container whose image left the image store, and that is
exactly the one that needs a root. The records name the image of every container: podman's, buildah's, and those that
podman removes when they stop (containers/storage, `containers.go`).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nixoci.document import load, structure
from nixoci.errors import DocumentError, ProcessError, StoreError
from nixoci.process import run

_RECORDS = ("containers.json", "volatile-containers.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRecord:
    """An entry of `containers.json`: `image` is an image id, empty for a container that runs from a directory.

    `layer` is the id of the layer that it writes to.
    """

    id: str
    layer: str = ""
    names: list[str] = field(default_factory=list)
    image: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOptions:
    """The part of `podman info` that names image stores, and that of podman before 5.8."""

    additional_image_stores: list[str] | None = field(default=None, metadata={"key": "additionalImageStores"})
    overlay_image_stores: list[str] | None = field(default=None, metadata={"key": "overlay.additionalImageStores"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """The part of `podman info` with podman's storage directories.

    `run_root` holds the records of containers under `transient_store` (containers-storage.conf(5)).
    """

    graph_driver_name: str
    graph_root: Path
    run_root: Path | None = None
    graph_options: GraphOptions = field(default_factory=GraphOptions)
    graph_status: dict[str, str] | None = None


class Podman:
    """One user's podman.

    Args:
        program: The program.

    Raises:
        ProcessError: The program is missing, or fails: every podman command fails where storage.conf names an image
            store that does not exist.
        StoreError: A record of containers/storage cannot be read.
    """

    def __init__(self, program: str | Path = "podman") -> None:
        self._program = program
        text = run([program, "info", "--format", "{{json .Store}}"], package="podman")
        self._store = structure(StoreInfo, load(text, what="podman info"), what="podman info")

    @property
    def image_stores(self) -> list[Path]:
        """The image stores that storage.conf names."""
        options = self._store.graph_options
        return [Path(store) for store in options.additional_image_stores or options.overlay_image_stores or ()]

    @property
    def driver(self) -> str:
        """The storage driver."""
        return self._store.graph_driver_name

    @property
    def native_diff(self) -> bool:
        """It commits the upper directory of a container as it is, and does not compare trees."""
        return (self._store.graph_status or {}).get("Native Overlay Diff") == "true"

    @property
    def storage(self) -> Path:
        """The directory of podman's own images and containers."""
        return self._store.graph_root

    def containers(self) -> list[ContainerRecord]:
        """Return all containers, buildah's working containers among them."""
        store = self._store
        places = [store.graph_root / name for name in _RECORDS]
        if store.run_root is not None:
            places.append(store.run_root / _RECORDS[1])
        folder = f"{store.graph_driver_name}-containers"
        return [record for place in places for record in self._read(place.parent / folder / place.name)]

    def rootfs(self, container: str) -> Path | None:
        """Return the directory that a container without an image runs from; None if podman knows none."""
        try:
            found = run([self._program, "container", "inspect", "--format", "{{.Rootfs}}", container])
        except ProcessError:  # a container of buildah's, or one that was removed meanwhile
            return None
        text = os.fsdecode(found).removesuffix("\n")
        return Path(text) if text else None

    @staticmethod
    def _read(file: Path) -> Iterator[ContainerRecord]:
        try:
            records = load(file.read_bytes(), what=str(file))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"{file}: cannot be read: {error.strerror}; run this as the user of podman") from error
        if not isinstance(records, list):
            raise DocumentError(f"{file}: not a list of containers; this podman keeps its records in another way")
        for record in records or ():
            yield structure(ContainerRecord, record, what=str(file))
