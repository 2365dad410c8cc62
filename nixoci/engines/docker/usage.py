"""Uses of images in a data root that keep one although it is no longer declared, as `docker rmi` would."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from nixoci.engines.docker.data_root import SHA256, DataRoot, entries, read_json
from nixoci.engines.docker.images import first_layer

_DEEPEST = 128
"""The number of layers that the storage driver allows."""


def container_layers(root: DataRoot) -> dict[str, str]:
    """Return the lowest layers of all containers, each with a container in words; it need not run."""
    users = {}
    for mount in entries(root.mounts):
        name = read_json(root.containers / mount.name / "config.v2.json").get("Name")
        shown = name.removeprefix("/") if isinstance(name, str) and name else mount.name[:12]
        users[_lowest(root, _digest(mount / "parent"))] = f"container {shown}"
    return users


def image_users(
    root: DataRoot, images: Mapping[str, str], *, own: Collection[str], tags: Mapping[str, str]
) -> dict[str, str]:
    """Return a use of each of the images that has one, in words.

    Args:
        root: The data root.
        images: The layers of the images, by image id.
        own: The ids of all images that nixoci has written there, or will.
        tags: The image ids of all names but those that nixoci gives.
    """
    users: dict[str, str] = {}
    if not images:
        return users
    by_layer = _child_layers(root) | container_layers(root) | _child_images(root, own)
    tagged = {image: name for name, image in sorted(tags.items(), reverse=True)}
    for image, layer in images.items():
        if layer in by_layer:
            users[image] = by_layer[layer]
        elif image in tagged:
            users[image] = f"tag {tagged[image]}"
    return users


def _child_layers(root: DataRoot) -> dict[str, str]:
    found = {}
    for record in root.layer_records():
        if parent := _digest(record / "parent"):
            found[parent] = f"layer {record.name[:12]}"
    return found


def _child_images(root: DataRoot, own: Collection[str]) -> dict[str, str]:
    """Return the lowest layers of Docker's own images."""
    others = (path.name for path in entries(root.contents) if path.name not in own)
    return {first_layer(root, image): f"image {image[:12]}" for image in others}


def _lowest(root: DataRoot, layer: str) -> str:
    for _ in range(_DEEPEST):
        parent = _digest(root.layers / layer / "parent")
        if not layer or not parent:
            break
        layer = parent
    return layer


def _digest(file: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="ascii").strip().removeprefix(SHA256)
    return ""
