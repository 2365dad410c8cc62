"""The verb: ask an engine for its containers, find their images in the Nix store, and update the roots."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nixoci.container.places import GC_ROOTS, USER_LINKS, user_roots
from nixoci.engines.containerd import register as containerd
from nixoci.engines.docker import register as docker
from nixoci.errors import ProcessError
from nixoci.gc_roots.image_stores import LocatedImage, built_stores, find_images, is_kept_by_root
from nixoci.gc_roots.kept_store import remove_dangling_drop_in, update_kept_store
from nixoci.gc_roots.links import Change, Link, read_links, update_links
from nixoci.gc_roots.podman import ContainerRecord, Podman
from nixoci.gc_roots.units import UnitRoots, update_unit_roots
from nixoci.image_store.mount_options import DropIns, update_mount_options
from nixoci.nix_store.path import store_path_of
from nixoci.output import exclusive_directory
from nixoci.progress import item_progress
from nixoci.user import user_account, user_state

_PREFIX = "podman-"
_ENGINES: Mapping[str, Callable[..., list[Path]]] = {
    "docker": docker.release_roots,
    containerd.ENGINE: containerd.release_roots,
}

KEPT_STORE = Path("/nix/var/nixoci/kept-images")
"""Root's kept store: on the file system of the Nix store, because the kernel mounts EROFS files from there."""

PODMAN_DATA = Path("/var/lib/containers")
"""The directory of root's images and containers by default."""

KEPT_DROP_IN = DropIns().kept_images
"""The file that names root's kept store in podman's configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The paths of roots and kept images: on the machine for root, in the home directory for another user.

    `kept_store` and `drop_ins`, those of the host, are None for a user, whose podman mounts images in another way, and
    who has no `engines`: the engines of the host besides podman, which have roots of their own.
    """

    roots: Path
    unit_roots: UnitRoots
    kept_store: Path | None
    drop_ins: DropIns | None
    engines: bool = False

    @classmethod
    def default(cls) -> "Places":
        """Return the places of the user who runs this process.

        Raises:
            StoreError: The user has no home directory.
        """
        if os.geteuid() == 0:
            return cls(
                roots=Path("/var/lib/nixoci/gc-roots"),
                unit_roots=UnitRoots(files=Path(GC_ROOTS) / "nixoci", links=None, user=False),
                kept_store=KEPT_STORE,
                drop_ins=DropIns(),
                engines=True,
            )
        roots = user_state() / USER_LINKS
        name, _ = user_account()
        files = Path(GC_ROOTS) / user_roots(name)
        own = UnitRoots(files=files, links=roots, user=True)
        return cls(roots=roots, unit_roots=own, kept_store=None, drop_ins=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRoot:
    """A root of a container.

    `container` is empty if only the id is known. `image_kept` is True if no image store of the present generation has
    the image and it was put into the kept store, so that the container can start again.
    """

    engine: str
    id: str
    container: str
    path: Path
    change: Change
    image_kept: bool


def mend_configuration(places: Places) -> Path | None:
    """Remove the drop-in of a kept store that is gone, which makes every podman command fail; return it then."""
    if places.kept_store is None or places.drop_ins is None:
        return None
    drop_in = places.drop_ins.kept_images
    return drop_in if remove_dangling_drop_in(places.kept_store, drop_in) else None


def is_without_podman(places: Places) -> bool:
    """Return whether this is a host of other engines alone: it has no podman, no data of one, and no root for it."""
    return (
        places.engines
        and shutil.which("podman") is None
        and not PODMAN_DATA.exists()
        and not read_links(places.roots, prefix=_PREFIX)
    )


def update_podman_roots(podman: Podman, places: Places, *, dry_run: bool = False) -> list[ContainerRoot]:
    """Make one root for each of podman's containers that runs from the Nix store; remove the roots of other containers.

    A second run changes nothing; two runs at once wait for one another.

    Raises:
        ProcessError: Nix fails; the roots that there were are left, and those of other containers made.
        StoreError: podman's records cannot be read.
    """
    if dry_run:
        return _update(podman, places, dry_run=True)
    with exclusive_directory(places.roots):
        return _update(podman, places, dry_run=False)


def _update(podman: Podman, places: Places, *, dry_run: bool) -> list[ContainerRoot]:
    containers = podman.containers()
    declared = [store for store in podman.image_stores if store != places.kept_store]
    own = [*declared, *([places.kept_store] if places.kept_store else [])]
    needed = {container.image for container in containers if container.image}
    # podman mounts what the kept store gets, as root
    images = find_images(
        needed, [*own, *built_stores()], is_trusted=lambda store: store in own or is_kept_by_root(store)
    )
    # a root on a path does no harm, whoever made the store that names it
    located = images | find_images(needed - images.keys(), built_stores())
    present = read_links(places.roots, prefix=_PREFIX)
    wanted: dict[str, Path] = {}
    with item_progress("finding the images of containers", len(containers)) as advance:
        for container in containers:
            name = f"{_PREFIX}{container.id}"
            # the image store may be gone, or podman may not answer: a container that still exists keeps its root
            path = _path(podman, container, located) or present.get(name)
            if path is not None and path.exists():
                wanted[name] = path
            advance(1)
    names = {container.id: container.names[0] if container.names else "" for container in containers}
    image_of = {container.id: container.image for container in containers}
    old = {
        key: image
        for key, image in images.items()
        if image.store not in declared and image.path.exists() and image.whole
    }
    links: list[Link] = []
    failure: ProcessError | None = None
    try:
        links = update_links(places.roots, wanted, prefix=_PREFIX, dry_run=dry_run)
    except ProcessError as error:
        failure = error
    if not dry_run:
        _keep_images(places, old)
    if failure is not None:
        raise failure
    return [
        ContainerRoot(
            engine="podman",
            id=(identifier := link.name.removeprefix(_PREFIX)),
            container=names.get(identifier, ""),
            path=link.path,
            change=link.change,
            image_kept=places.kept_store is not None and image_of.get(identifier) in old,
        )
        for link in links
    ]


def _keep_images(places: Places, images: Mapping[str, LocatedImage]) -> None:
    """Keep these images in the kept store, and let podman commit their containers with all content."""
    if places.kept_store is None or places.drop_ins is None:
        return
    update_mount_options(places.drop_ins, coming={image.store for image in images.values()})
    update_kept_store(places.kept_store, images, places.drop_ins.kept_images)
    update_mount_options(places.drop_ins)


def _path(podman: Podman, container: ContainerRecord, images: dict[str, LocatedImage]) -> Path | None:
    if container.image:
        found = images.get(container.image)
        return found.path if found is not None else None
    rootfs = podman.rootfs(container.id)
    if rootfs is None:
        return None
    return store_path_of(rootfs) or store_path_of(Path(os.path.realpath(rootfs)))


def remove_stale_unit_roots(places: Places, *, dry_run: bool = False) -> list[ContainerRoot]:
    """Remove the roots of units that ended without their stop, as at a power cut; return all that there were."""
    return [
        ContainerRoot(
            engine="systemd", id=link.name, container=link.name, path=link.path, change=link.change, image_kept=False
        )
        for link in update_unit_roots(places.unit_roots, dry_run=dry_run)
    ]


def remove_stale_engine_roots(places: Places, *, dry_run: bool = False) -> list[ContainerRoot]:
    """Remove the roots of images that engines besides podman have dropped, and return them.

    Raises:
        DocumentError: The list of what is registered with an engine is damaged.
    """
    return [
        ContainerRoot(engine=engine, id=entry.name, container="", path=entry, change=Change.REMOVED, image_kept=False)
        for engine, release in _ENGINES.items()
        if places.engines
        for entry in release(dry_run=dry_run)
    ]
