"""Image stores of small images for tests of containerd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixoci.image_store.build import build_image_store
from nixoci.image_store.join import join_image_stores
from nixoci.oci.digest import Digest
from tests.image_store.trees import image_path, small_tree
from tests.units.samples import MKCOMPOSEFS, executable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def diff_ids(name: str, *, shared: str = "base") -> list[str]:
    """Return the diff ids of a sample's two layers, of which images may share the lower one."""
    return [str(Digest.of(shared.encode())), str(Digest.of(name.encode()))]


def entry(folder: Path, name: str, reference: str | None, *, text: str | None = None) -> Path:
    """Make an entry of one image, whose tree and upper layer follow from `text`."""
    text = text or name
    executable(folder / "mkcomposefs", MKCOMPOSEFS)
    config: dict[str, object] = {"rootfs": {"type": "layers", "diff_ids": diff_ids(text)}}
    image = image_path(folder / f"{name}-image", small_tree(text.encode()), reference=reference, config=config)
    store = folder / name
    build_image_store(store, [image], mkcomposefs=str(folder / "mkcomposefs"))
    return store


def joined(folder: Path, name: str, entries: Sequence[Path]) -> Path:
    """Join entries."""
    join_image_stores(folder / name, entries)
    return folder / name
