"""What a lock is checked for: that it agrees with itself, that it agrees with its sources, and what is newer."""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from nixoci.document import structure
from nixoci.errors import NixociError
from nixoci.image_path import FORMAT_VERSION
from nixoci.lock.model import Lock, LockedImage, LockedPlatform
from nixoci.lock.pin import Pinning, locked_platform, select
from nixoci.lock.versions import newer_tags
from nixoci.oci.model import ImageConfig, Platform
from nixoci.oci.reference import Reference
from nixoci.oci.registry import list_tags
from nixoci.oci.resolve import resolve_image
from nixoci.oci.sources import open_source

_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something about an image in the lock that is not as it should be; `message` says what and the way out."""

    image: str
    message: str
    platform: str | None = None

    def __str__(self) -> str:
        where = f"image {self.image}" + (f", {self.platform}" if self.platform else "")
        return f"{where}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outdated:
    """An image that could be newer.

    `moved` says that its reference is another image by now; `newer` are newer tags of the same kind, oldest first.
    """

    image: str
    reference: str
    moved: bool
    newer: list[str]


def verify(lock: Lock, names: Collection[str] = (), *, pinning: Pinning | None) -> list[Problem]:
    """Return what is wrong with the images of these names, all by default.

    Args:
        lock: The lock.
        names: The images.
        pinning: Where their sources are; None to look at nothing but the lock.

    Raises:
        LockError: No such image.
    """
    problems: list[Problem] = []
    for name, image in select(lock, names).items():
        for platform, locked in image.platforms.items():
            found = [*_itself(name, locked), *(_source(name, image, platform, locked, pinning) if pinning else ())]
            problems += [Problem(image=name, platform=platform, message=message) for message in found]
    return problems


def outdated(lock: Lock, names: Collection[str] = (), *, pinning: Pinning) -> list[Outdated]:
    """Return which of the images of these names, all by default, could be newer.

    Raises:
        LockError: No such image.
        ImageError: A source cannot be read.
    """
    chosen = select(lock, names)

    def look(name: str) -> Outdated:
        image = chosen[name]
        source = pinning.source(image.reference)
        with open_source(source, access=pinning.access) as opened:
            moved = opened.root.digest != image.digest
        newer: list[str] = []
        if isinstance(source, Reference) and source.tag:
            newer = newer_tags(source.tag, list_tags(source, pinning.access))
        return Outdated(image=name, reference=image.reference, moved=moved, newer=newer)

    with ThreadPoolExecutor(max_workers=_THREADS) as threads:
        return [found for found in threads.map(look, chosen) if found.moved or found.newer]


def _itself(name: str, locked: LockedPlatform) -> Iterator[str]:
    """Yield where a platform's entry contradicts itself."""
    again = f"`nixoci update {name}` writes it again"
    try:
        config = structure(ImageConfig, locked.config.value, what="config.value")
    except NixociError as error:
        yield f"{error}; {again}"
        return
    if config.rootfs.diff_ids != [layer.diff_id for layer in locked.layers]:
        yield f"the diff ids of the config are not those of the {len(locked.layers)} layers; {again}"
    if locked.nar_hash is not None and locked.nar_hash.format != FORMAT_VERSION:
        yield (
            f"narHash is of extraction format {locked.nar_hash.format}, this nixoci writes {FORMAT_VERSION};"
            f" `nixoci prefetch {name}` makes it again"
        )


def _source(name: str, image: LockedImage, platform: str, locked: LockedPlatform, pinning: Pinning) -> Iterator[str]:
    """Yield where a platform's entry is not what its source has."""
    try:
        with pinning.open_pinned(name, image) as opened:
            there = locked_platform(resolve_image(opened, Platform.parse(platform)))
    except NixociError as error:
        yield str(error)
        return
    here = replace(locked, nar_hash=None)
    for part in ("manifest", "config", "layers"):
        if getattr(here, part) != getattr(there, part):
            yield f"{part} is not what {image.reference} has at {image.digest}; `nixoci update {name}` writes it again"
