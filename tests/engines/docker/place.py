"""A machine in a directory: a Nix store with entries of images, roots, a data root, a list of what is registered."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nixoci.engines.docker.data_root import DataRoot
from nixoci.engines.docker.register import Outcome, register_in_docker
from nixoci.engines.roots import EngineRoots
from nixoci.image_store.build import build_image_store, make_directories, write_records
from nixoci.image_store.contents import StoreImage, read_image_store
from nixoci.image_store.join import join_image_stores
from nixoci.image_store.names import big_data_file
from nixoci.image_store.records import EPOCH, ImageRecord, LayerRecord
from nixoci.oci.digest import Digest
from tests.engines.docker.dockerd import Dockerd
from tests.image_store.trees import image_path, small_tree
from tests.units.samples import MKCOMPOSEFS, executable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TREES = {"a": b"one", "b": b"two", "c": b"one", "d": b"three"}
"""The images: `a` and `c` have the same tree, and thus the same layer."""


@dataclass(frozen=True)
class Place:
    """Paths below a directory; `store` may be shared by several."""

    folder: Path
    store: Path

    @property
    def root(self) -> DataRoot:
        return DataRoot(path=self.folder / "docker")

    @property
    def roots(self) -> EngineRoots:
        return EngineRoots(engine="docker", gc_roots=self.folder / "gcroots", store_dir=self.store)

    @property
    def registered(self) -> Path:
        return self.folder / "engines/docker.json"

    def make(self) -> None:
        (self.folder / "gcroots").mkdir(parents=True)

    def make_docker(self) -> None:
        """Make the data root, as the first start of dockerd does."""
        self.root.path.mkdir()
        self.dockerd()

    def register(self, store: Path, *, running: bool = False, dry_run: bool = False) -> Outcome:
        return register_in_docker(
            store,
            self.root,
            is_running=lambda: running,
            roots=self.roots,
            registered=self.registered,
            dry_run=dry_run,
        )

    def dockerd(self) -> Dockerd:
        return Dockerd(self.root.path)


class Store:
    """Entries of the images, each in two versions that differ in nothing but their path, and stores that join them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        mkcomposefs = executable(folder / "mkcomposefs", MKCOMPOSEFS)
        self.entries: dict[tuple[str, int], Path] = {}
        for name, text in TREES.items():
            config: dict[str, object] = {"config": {"Env": [f"NAME={name}"]}}
            reference = f"docker.io/library/{name}:1"
            image = image_path(folder / f"x-{name}-image", small_tree(text), reference=reference, config=config)
            for version in (1, 2):
                entry = folder / f"x-{name}-{version}"
                build_image_store(entry, [image], mkcomposefs=mkcomposefs)
                self.entries[name, version] = entry
        self._joined: dict[tuple[tuple[str, int], ...], Path] = {}
        self._numbers = itertools.count()

    def join(self, *images: tuple[str, int]) -> Path:
        """Return an image store of some entries."""
        if images not in self._joined:
            joined = self.folder / f"x-joined-{next(self._numbers)}"
            join_image_stores(joined, [self.entries[image] for image in images])
            self._joined[images] = joined
        return self._joined[images]

    def of(self, names: str, version: int = 1) -> Path:
        """Return an image store of the images with these letters."""
        return self.join(*((name, version) for name in names))

    def image(self, name: str, version: int = 1) -> StoreImage:
        (image,) = read_image_store(self.entries[name, version])
        return image


def write_large_store(store: Path, count: int) -> None:
    """Write an image store of small images, of which nothing but the records and the configs is right."""
    images, layers = [], []
    store.mkdir()
    make_directories(store)
    for number in range(count):
        layer = Digest.of(b"%d" % number)
        config = json.dumps({"os": "linux", "rootfs": {"type": "layers", "diff_ids": [str(layer)]}}).encode()
        image = Digest.of(config)
        folder = store / "overlay" / layer.hex
        (folder / "composefs-data").mkdir(parents=True)
        (folder / "composefs-data/composefs.blob").touch()
        (store / "overlay-layers" / f"{layer.hex}.tar-split.gz").touch()
        item, manifest = f"sha256:{image.hex}", Digest.of(b"manifest %d" % number)
        (store / "overlay-images" / image.hex).mkdir()
        (store / "overlay-images" / image.hex / big_data_file(item)).write_bytes(config)
        layers.append(
            LayerRecord(id=layer.hex, created=EPOCH, diff_digest=layer, diff_size=number, uidset=[0], gidset=[0])
        )
        images.append(
            ImageRecord(
                id=image.hex,
                digest=manifest,
                names=[f"docker.io/library/i{number}:1"],
                layer=layer.hex,
                big_data_names=[item],
                big_data_sizes={item: len(config)},
                big_data_digests={item: image, f"manifest-{manifest}": manifest},
                created=EPOCH,
            )
        )
    write_records(store, images, layers, rootless=False)


def files(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Return inode, time and target of everything below a directory."""
    return {
        str(path.relative_to(folder)): (
            (status := path.lstat()).st_ino,
            status.st_mtime_ns,
            str(path.readlink()) if path.is_symlink() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


def declared_names(images: Sequence[StoreImage]) -> dict[str, str]:
    """Return the names that images must have in Docker, and the image ids: tag, and digests of manifest and index."""
    found = {}
    for image in images:
        (name,) = image.record.names
        repository = name.removeprefix("docker.io/library/").rpartition(":")[0]
        found[name.removeprefix("docker.io/library/")] = image.record.id
        for item, digest in image.record.big_data_digests.items():
            if item.startswith("manifest-") and digest != image.record.big_data_digests["manifest"]:
                found[f"{repository}@{digest}"] = image.record.id
    return found
