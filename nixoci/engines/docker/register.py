"""The verb: make the images of an image store those that Docker has of it, and hold their roots."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from nixoci.engines.docker.data_root import DATA_ROOT, DataRoot, Scratch, open_scratch, write_names
from nixoci.engines.docker.images import add_image, remove_image
from nixoci.engines.docker.layers import add_layer, linked_folders, move_layer, remove_layer, remove_unnamed
from nixoci.engines.docker.plan import ImageChange, NameChange, Plan, plan_images
from nixoci.engines.docker.registered import LIST, read_registered, registered_in, write_registered
from nixoci.engines.roots import EngineRoots
from nixoci.errors import StoreError
from nixoci.image_store.contents import read_image_store
from nixoci.output import exclusive_directory

ROOTS = EngineRoots(engine="docker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The changes of a data root, and the mount points of its images where nothing is mounted yet.

    If `restart` is true, dockerd runs and has to be stopped for them: nothing has been written.
    """

    data_root: str
    restart: bool
    images: list[ImageChange]
    names: list[NameChange]
    unmounted: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """The paths of an image store and a data root on a machine that is built, whose files are in a directory here."""

    store: Path
    data_root: Path


def register_in_docker(
    store: Path,
    root: DataRoot,
    *,
    is_running: Callable[[], bool],
    roots: EngineRoots = ROOTS,
    registered: Path = LIST,
    elsewhere: Elsewhere | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Make the images of a store, and no others that this function has written, images of a data root of Docker.

    A run that is cut short at any point leaves a data root that dockerd starts with, and the next one completes it.

    Args:
        store: The image store.
        root: The data root; made if it does not exist.
        is_running: Returns whether dockerd runs with it. It is asked before each step that dockerd must not see.
        roots: The roots of what is linked.
        registered: The list of what has been written.
        elsewhere: The paths on the machine whose data root it is, if that is another one.
        dry_run: Write nothing.

    Raises:
        StoreError: Not an image store, one whose images cannot be mounted, or two images have the same name.
        DocumentError: A list is damaged.
        OSError: A file cannot be written.
    """
    images = read_image_store(store.resolve(), place=elsewhere.store if elsewhere else None)
    with nullcontext() if dry_run else exclusive_directory(registered.parent, what=registered):
        plan = plan_images(
            root, images, registered_in(read_registered(registered), elsewhere.data_root if elsewhere else root.path)
        )
        restart = plan.needs_restart and is_running()
        if not restart and not dry_run:
            roots.hold(plan.mount_points.values())
            _perform(plan, root, registered, is_running)
            _release(roots, registered)
    return Outcome(
        data_root=str(root.path),
        restart=restart,
        images=plan.images,
        names=plan.names,
        unmounted=[] if elsewhere else [point for point in plan.mount_points if not os.path.ismount(point)],
    )


def release_roots(*, roots: EngineRoots = ROOTS, registered: Path = LIST, dry_run: bool = False) -> list[Path]:
    """Remove the roots of images that Docker has dropped, and return the entries that lose theirs.

    Raises:
        DocumentError: The list of what has been written is damaged.
    """
    if not roots.held():
        return []
    with nullcontext() if dry_run else exclusive_directory(registered.parent, what=registered):
        return _release(roots, registered, dry_run=dry_run)


def _perform(plan: Plan, root: DataRoot, registered: Path, is_running: Callable[[], bool]) -> None:
    write_registered(registered, plan.before)
    work = plan.needs_restart or (plan.leftovers and not is_running())
    if work or plan.moved:
        root.make_directories()
        with open_scratch(root) as scratch:
            for image in plan.moved:
                move_layer(root, scratch, image)
            if work:
                _write_images(plan, root, scratch, is_running)
    write_registered(registered, plan.after)


def _write_images(plan: Plan, root: DataRoot, scratch: Scratch, is_running: Callable[[], bool]) -> None:
    for image in plan.add_layers:
        add_layer(root, scratch, image)
    for image in plan.add_images:
        add_image(root, scratch, image)
    # dockerd keeps what it has read, and so far that is nothing but images without names
    if is_running():
        raise StoreError(f"{root.path}: dockerd was started meanwhile; stop it and run again")
    if plan.set_names:
        write_names(root, scratch, plan.set_names)
    for identifier in plan.remove_images:
        remove_image(root, identifier)
    for layer in plan.remove_layers:
        remove_layer(root, scratch, layer)
    remove_unnamed(root, scratch)


def _release(roots: EngineRoots, registered: Path, *, dry_run: bool = False) -> list[Path]:
    known = [DataRoot(path=Path(one.data_root)) for one in read_registered(registered)]
    if not all(root.overlay.is_dir() for root in known):
        return []  # the file system of a data root may not be mounted
    linked = {folder.linked for root in (*known, DataRoot(path=Path(DATA_ROOT))) for folder in linked_folders(root)}
    return roots.release(linked, dry_run=dry_run)
