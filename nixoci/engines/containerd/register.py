"""The verb: register the images of an image store in a namespace of containerd, and remove those of the one before."""

from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from nixoci.container.places import STATE, mounted_image
from nixoci.engines.change import Change
from nixoci.engines.containerd.adopt import adopt, links, point_to
from nixoci.engines.containerd.archive import write_archive
from nixoci.engines.containerd.ctr import SNAPSHOT_REFERENCE, Contents, Ctr
from nixoci.engines.containerd.plan import Declared, Plan, is_id, plan, undeclared
from nixoci.engines.containerd.registered import Registered, known_directories, read_registered, write_registered
from nixoci.engines.containerd.shape import Shape, shape_image
from nixoci.engines.roots import EngineRoots
from nixoci.errors import EngineError
from nixoci.image_store.contents import read_image_store, require_erofs
from nixoci.output import exclusive_directory
from nixoci.progress import item_progress

ENGINE = "containerd"

_PASSES = 3
"""Times that what containerd has is compared with what is declared: its garbage collector may run between two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineName:
    """A name of an image in containerd, and the digest of the manifest that it stands for."""

    name: str
    digest: str
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The paths on the host: the list of what is registered, and the roots of images."""

    registered: Path = Path(STATE) / "engines/containerd/images.json"
    roots: EngineRoots = field(default_factory=lambda: EngineRoots(engine=ENGINE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a run: names, ids of images that have none, and mount points where nothing is mounted yet."""

    names: list[EngineName]
    nameless: list[str]
    unmounted: list[Path]


def register_in_containerd(
    store: Path, ctr: Ctr, *, shape: Shape, places: Places | None = None, dry_run: bool = False
) -> Outcome:
    """Make containerd's namespace have the images of a store, and remove what earlier runs registered beside them.

    Images that containerd has by itself are left alone, except that a declared name means the declared image. A second
    run changes nothing; two runs at once wait for one another.

    Raises:
        EngineError: containerd does not answer, or is not as nixoci knows it; no snapshot is left half-made.
        StoreError: `store` is not an image store, or without EROFS files.
        DocumentError: A list is damaged.
        ProcessError: containerd refuses.
        OSError: A file cannot be written.
    """
    places = places or Places()
    images = read_image_store(store)
    for image in images:
        require_erofs(image)
    shaped = [shape_image(image, shape, namespace=ctr.namespace) for image in images]
    declared = [image for image in shaped if image.names]
    nameless = [image.record.id for image, made in zip(images, shaped, strict=True) if not made.names]
    run = _Run(
        ctr=ctr,
        declared=Declared(namespace=ctr.namespace, images=declared),
        places=places,
        directory=ctr.snapshots_directory(),
    )
    if dry_run:
        names = run.look()[2]
    else:
        with exclusive_directory(places.registered.parent, what=places.registered):
            names = run.register()
    points = {Path(mounted_image(image.entry, image.layer)) for image in declared}
    return Outcome(names=names, nameless=nameless, unmounted=sorted(point for point in points if not point.is_mount()))


def release_roots(places: Places | None = None, *, dry_run: bool = False) -> list[Path]:
    """Remove the roots of images that containerd has dropped, and return the entries that lose theirs.

    Raises:
        DocumentError: The list of what is registered is damaged.
    """
    places = places or Places()
    if not places.roots.held():
        return []
    with nullcontext() if dry_run else exclusive_directory(places.registered.parent, what=places.registered):
        return _release(places, known_directories(places.registered), dry_run=dry_run)


def _release(places: Places, directories: Collection[Path], *, dry_run: bool = False) -> list[Path]:
    # what is not there may be on a disk that is not mounted, and have links
    if not directories or not all(directory.is_dir() for directory in directories):
        return []
    return places.roots.release(set(links(directories).values()), dry_run=dry_run)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A run in one namespace; `directory` is that of containerd's snapshots."""

    ctr: Ctr
    declared: Declared
    places: Places
    directory: Path

    def look(self) -> tuple[Plan, Registered, list[EngineName]]:
        """Return what is to be done, what was registered, and what becomes of each name."""
        registered = read_registered(self.places.registered).of(self.directory, self.ctr.namespace)
        gone = undeclared(self.declared, registered)
        asked = [(name, digest, self.declared.labels) for name, digest in self.declared.names.items()]
        contents = self.ctr.contents([*asked, *((name, digest, {}) for name, digest in gone.items())])
        ids = {digest for name, digest in gone.items() if is_id(name) and name in contents.right}
        used = {digest for digest in ids if not self.ctr.names_of(digest) <= gone.keys()}
        made = plan(self.declared, contents, registered, used=used)
        return made, registered, self._changes(made, contents, registered)

    def register(self) -> list[EngineName]:
        """Do what is to be done until nothing is; return what became of each name."""
        try:
            made, registered, changes = self.look()
            for _ in range(_PASSES):
                if not made:
                    break
                self._perform(made, registered)
                made, registered, _ = self.look()
        except BaseException:
            _release(self.places, self._directories())
            raise
        if made:
            raise EngineError(
                f"namespace {self.ctr.namespace}: containerd does not keep the images that are registered; see its log"
            )
        self._note(Registered(images=self.declared.names))
        self._mend_links()
        directories = self._directories()
        entries = {self.places.roots.store_dir / layer.entry for layer in links(directories).values()}
        self.places.roots.hold(entry for entry in entries if entry.exists())
        _release(self.places, directories)
        return changes

    def _perform(self, made: Plan, registered: Registered) -> None:
        # whatever a run that ends here leaves in containerd, the next one finds in the list
        unfinished = {*registered.unfinished, *made.release}
        self._note(Registered(images={**registered.images, **self.declared.names}, unfinished=sorted(unfinished)))
        if made.discard:
            self.ctr.remove_snapshots(made.discard)
        self.places.roots.hold({image.entry for image in made.adopt})
        with item_progress("registering images", len(made.adopt)) as advance:
            for image in made.adopt:
                adopt(self.ctr, image, self.directory, target=Path(mounted_image(image.entry, image.layer)))
                advance(1)
        if made.add:
            self.ctr.import_images(write_archive(made.add))
        for digest, chain in made.refer.items():
            self.ctr.label_content(digest, {SNAPSHOT_REFERENCE: chain})
        for name in made.label:
            self.ctr.label_image(name, self.declared.labels)
        for chain in made.release:
            self.ctr.release_snapshot(chain)
        if made.remove:
            self.ctr.remove_images(made.remove)
        # those are done with; the next look says what is left
        self._note(Registered(images={**registered.images, **self.declared.names}))

    def _note(self, registered: Registered) -> None:
        write_registered(self.places.registered, self.directory, self.ctr.namespace, registered)

    def _mend_links(self) -> None:
        """Let snapshots whose entry is gone, with a store that was made anew, be the same layer of a declared image."""
        declared = {image.layer: image for image in self.declared.images}
        for link, linked in links([self.directory]).items():
            image = declared.get(linked.layer)
            gone = not link.is_dir() and not (self.places.roots.store_dir / linked.entry).exists()
            if image is not None and gone and image.entry.name != linked.entry:
                self.places.roots.hold([image.entry])
                point_to(link, Path(mounted_image(image.entry, image.layer)))

    def _directories(self) -> set[Path]:
        return {self.directory, *known_directories(self.places.registered)}

    def _changes(self, made: Plan, contents: Contents, registered: Registered) -> list[EngineName]:
        changed = {name for image in (*made.adopt, *made.add) for name in image.names}
        changes = []
        for name, digest in self.declared.names.items():
            known = Change.CHANGED if name in changed else Change.KEPT
            changes.append(
                EngineName(name=name, digest=digest, change=known if name in contents.names else Change.ADDED)
            )
        removed = [EngineName(name=name, digest=registered.images[name], change=Change.REMOVED) for name in made.remove]
        return changes + removed
