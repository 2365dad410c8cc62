"""The difference between an image store and a data root: changes to show, and the work that makes them."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Self

from nixoci.container.places import mounted_image
from nixoci.engines.change import Change
from nixoci.engines.docker.data_root import DataRoot, has_old_scratch, read_names
from nixoci.engines.docker.images import has_image
from nixoci.engines.docker.layers import LayerState, is_foreign, layer_state, linked_entry, unnamed_folders
from nixoci.engines.docker.names import docker_names
from nixoci.engines.docker.registered import Registered
from nixoci.engines.docker.usage import container_layers, image_users
from nixoci.errors import StoreError
from nixoci.image_store.contents import StoreImage, require_erofs


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChange:
    """An image, and its fate; `entry` is the image store that has its files, `used_by` why an old one stays."""

    id: str
    layer: str
    change: Change
    names: list[str] = field(default_factory=list)
    entry: str | None = None
    used_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NameChange:
    """A name, the id of its image, and its fate; `previous` is the id of the image that a moved one meant."""

    name: str
    image: str
    change: Change
    previous: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The changes of a data root, and the work in the order of the fields.

    `before` and `after` are the lists of what is written there, while the work is done and once it is.
    """

    images: list[ImageChange]
    names: list[NameChange]
    mount_points: dict[str, Path]
    """The entries of the declared images whose layers are links, by mount point."""
    before: Registered
    moved: list[StoreImage]
    add_layers: list[StoreImage]
    add_images: list[StoreImage]
    set_names: dict[str, str | None]
    remove_images: list[str]
    remove_layers: list[str]
    leftovers: bool
    """A run that was killed has left something, or Docker a folder that no layer names."""
    after: Registered

    @property
    def needs_restart(self) -> bool:
        """Something is to change that dockerd reads when it starts, and writes from its memory."""
        work = (self.add_layers, self.add_images, self.set_names, self.remove_images, self.remove_layers)
        return any(work)


def plan_images(root: DataRoot, images: Sequence[StoreImage], known: Registered) -> Plan:
    """Compare the images of a store with a data root.

    Args:
        root: The data root.
        images: The images that are to be there.
        known: The images that nixoci has written there.

    Raises:
        StoreError: An image cannot be mounted, or two of them have the same name.
        DocumentError: Docker's list of names is damaged.
    """
    containers = cache(lambda: container_layers(root))
    declared = [_Declared.compare(root, image, containers) for image in images]
    linked = [one for one in declared if one.state is not LayerState.FOREIGN]
    names = _declared_names(images)
    present = read_names(root)
    name_changes = _name_changes(names, present, known)
    tags = {name: image for name, image in present.items() if name not in names and not known.gave(name, image)}
    declared_ids = {image.record.id for image in images}
    old = {
        identifier: layer
        for identifier, layer in known.images.items()
        if identifier not in declared_ids and not is_foreign(root, layer)
    }
    users = image_users(root, old, own={*known.images, *declared_ids}, tags=tags)
    removed = {identifier: layer for identifier, layer in old.items() if identifier not in users}
    kept_layers = {image.layer.id for image in images} | {old[identifier] for identifier in users}

    images_after = {one.image.record.id: one.image.layer.id for one in linked}
    names_after = {
        name: image for name, image in names.items() if known.names.get(name) == image or present.get(name) != image
    }
    return Plan(
        images=[
            *(one.change(known) for one in declared),
            *(
                ImageChange(
                    id=identifier,
                    layer=layer,
                    change=Change.USED if identifier in users else Change.REMOVED,
                    used_by=users.get(identifier),
                )
                for identifier, layer in sorted(old.items())
                if identifier in users or _is_there(root, identifier, layer)
            ),
        ],
        names=name_changes,
        mount_points={mounted_image(one.entry, one.image.layer.id): one.entry for one in linked},
        before=Registered(
            data_root=known.data_root, images=known.images | images_after, names=known.names | names_after
        ),
        moved=[one.image for one in linked if one.state is LayerState.MOVED],
        add_layers=list({one.image.layer.id: one.image for one in linked if one.is_incomplete}.values()),
        add_images=[one.image for one in declared if not one.has_config],
        set_names={
            change.name: None if change.change is Change.REMOVED else change.image
            for change in name_changes
            if change.change is not Change.KEPT
        },
        remove_images=sorted(identifier for identifier in removed if (root.contents / identifier).exists()),
        remove_layers=sorted(layer for layer in {*removed.values()} - kept_layers if (root.layers / layer).exists()),
        leftovers=has_old_scratch(root) or bool(unnamed_folders(root)),
        after=Registered(
            data_root=known.data_root,
            images=images_after | {identifier: old[identifier] for identifier in users},
            names=names_after,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """A declared image and what there is of it; `entry` is the one that its layer links to, or will."""

    image: StoreImage
    state: LayerState
    entry: Path
    has_config: bool

    @classmethod
    def compare(cls, root: DataRoot, image: StoreImage, containers: Callable[[], Container[str]]) -> Self:
        """Compare an image with a data root; a layer with containers stays at the tree that they were made with."""
        state, entry = layer_state(root, image), image.entry
        linked = linked_entry(root, image.layer.id)
        if state is LayerState.MOVED and linked is not None and image.layer.id in containers():
            state, entry = LayerState.LINKED, entry.with_name(linked)
        return cls(image=image, state=state, entry=entry, has_config=has_image(root, image))

    @property
    def is_incomplete(self) -> bool:
        """The layer is to be written."""
        return self.state in {LayerState.ABSENT, LayerState.BROKEN}

    def change(self, known: Registered) -> ImageChange:
        """Return the change to show."""
        if self.state is LayerState.FOREIGN:
            change = Change.FOREIGN
        elif self.has_config and not self.is_incomplete:
            change = Change.KEPT
        else:
            change = Change.REPAIRED if self.image.record.id in known.images else Change.ADDED
        return ImageChange(
            id=self.image.record.id,
            layer=self.image.layer.id,
            change=change,
            names=docker_names(self.image),
            entry=str(self.entry),
        )


def _declared_names(images: Sequence[StoreImage]) -> dict[str, str]:
    names: dict[str, str] = {}
    for image in images:
        require_erofs(image)
        for name in docker_names(image):
            if names.setdefault(name, image.record.id) != image.record.id:
                raise StoreError(f"{name}: two images of {image.store} have this name in Docker; rename one of them")
    return names


def _name_changes(names: dict[str, str], present: dict[str, str], known: Registered) -> list[NameChange]:
    changes = []
    for name, image in names.items():
        previous = present.get(name)
        if previous in {None, image}:
            change = Change.KEPT if previous else Change.ADDED
            changes.append(NameChange(name=name, image=image, change=change))
        else:
            changes.append(NameChange(name=name, image=image, change=Change.MOVED, previous=previous))
    for name, image in present.items():
        if name not in names and known.gave(name, image):
            changes.append(NameChange(name=name, image=image, change=Change.REMOVED))
    return changes


def _is_there(root: DataRoot, identifier: str, layer: str) -> bool:
    return (root.contents / identifier).exists() or (root.layers / layer).exists()
