"""The difference between an image store and a data root: changes to show, and the work that makes them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from nixoci.engines.docker.data_root import DataRoot, has_old_scratch, read_names
from nixoci.engines.docker.images import has_image
from nixoci.engines.docker.layers import LayerState, is_foreign, layer_state, unnamed_folders
from nixoci.engines.docker.names import docker_names
from nixoci.engines.docker.registered import Registered
from nixoci.engines.docker.usage import container_layers, image_users
from nixoci.errors import StoreError
from nixoci.image_store.contents import StoreImage


class Change(Enum):
    """The fate of an image or a name."""

    ADDED = "added"
    KEPT = "kept"
    REPAIRED = "repaired"
    """Registered before, and incomplete: Docker has dropped it, or a run was cut short."""
    FOREIGN = "foreign"
    """Docker has the image itself, with its files; it only gets names."""
    MOVED = "moved"
    """A name that meant another image."""
    USED = "used"
    """An image that is no longer declared, and stays for what still uses it."""
    REMOVED = "removed"


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
    linked: list[StoreImage]
    """Images whose layers are links: all that need a root."""
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
    declared = {image.record.id: image for image in images}
    names = _declared_names(images)
    present = read_names(root)
    states = _states(root, declared)
    missing = {identifier for identifier, image in declared.items() if not has_image(root, image)}
    linked = {
        identifier: image for identifier, image in declared.items() if states[identifier] is not LayerState.FOREIGN
    }
    incomplete = {identifier for identifier in linked if states[identifier] in {LayerState.ABSENT, LayerState.BROKEN}}

    name_changes = _name_changes(names, present, known)
    tags = {name: image for name, image in present.items() if name not in names and not known.gave(name, image)}
    old = {
        identifier: layer
        for identifier, layer in known.images.items()
        if identifier not in declared and not is_foreign(root, layer)
    }
    users = image_users(root, old, own={*known.images, *declared}, tags=tags)
    removed = {identifier: layer for identifier, layer in old.items() if identifier not in users}
    kept_layers = {image.layer.id for image in images} | {old[identifier] for identifier in users}
    remove_layers = sorted(set(removed.values()) - kept_layers)

    written = {identifier: image.layer.id for identifier, image in linked.items()}
    after = Registered(
        data_root=known.data_root,
        images=written | {identifier: old[identifier] for identifier in users},
        names={
            name: image for name, image in names.items() if known.names.get(name) == image or present.get(name) != image
        },
    )
    add_layers = {declared[identifier].layer.id: declared[identifier] for identifier in sorted(incomplete)}
    return Plan(
        images=[
            *(_declared_change(image, states, missing, known) for image in images),
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
        linked=list(linked.values()),
        before=Registered(data_root=known.data_root, images=known.images | written, names=known.names | after.names),
        moved=[image for identifier, image in linked.items() if states[identifier] is LayerState.MOVED],
        add_layers=list(add_layers.values()),
        add_images=[declared[identifier] for identifier in sorted(missing)],
        set_names={
            change.name: None if change.change is Change.REMOVED else change.image
            for change in name_changes
            if change.change is not Change.KEPT
        },
        remove_images=sorted(identifier for identifier in removed if (root.contents / identifier).exists()),
        remove_layers=[layer for layer in remove_layers if (root.layers / layer).exists()],
        leftovers=has_old_scratch(root) or bool(unnamed_folders(root)),
        after=after,
    )


def _states(root: DataRoot, declared: dict[str, StoreImage]) -> dict[str, LayerState]:
    """Return the states of the images' layers; one with containers stays at the tree that they were made with."""
    states = {identifier: layer_state(root, image) for identifier, image in declared.items()}
    if LayerState.MOVED in states.values():
        used = container_layers(root)
        for identifier, state in states.items():
            if state is LayerState.MOVED and declared[identifier].layer.id in used:
                states[identifier] = LayerState.LINKED
    return states


def _declared_names(images: Sequence[StoreImage]) -> dict[str, str]:
    names: dict[str, str] = {}
    for image in images:
        if image.erofs is None:
            raise StoreError(
                f"{image.store}: has no EROFS files, so its images cannot be mounted for Docker; build it without"
                " --no-erofs and --rootless"
            )
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


def _declared_change(
    image: StoreImage, states: dict[str, LayerState], missing: set[str], known: Registered
) -> ImageChange:
    identifier, state = image.record.id, states[image.record.id]
    if state is LayerState.FOREIGN:
        change = Change.FOREIGN
    elif identifier not in missing and state in {LayerState.LINKED, LayerState.MOVED}:
        change = Change.KEPT
    else:
        change = Change.REPAIRED if identifier in known.images else Change.ADDED
    return ImageChange(
        id=identifier, layer=image.layer.id, change=change, names=docker_names(image), entry=str(image.entry)
    )


def _is_there(root: DataRoot, identifier: str, layer: str) -> bool:
    return (root.contents / identifier).exists() or (root.layers / layer).exists()
