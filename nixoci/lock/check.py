"""Consistency checks of a lock, and the search for newer tags."""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from nixoci.document import structure
from nixoci.errors import NixociError
from nixoci.image_path import FORMAT_VERSION
from nixoci.lock.context import LockContext
from nixoci.lock.failures import UNREADABLE, failure_reason
from nixoci.lock.model import Lock, LockedImage, LockedPlatform
from nixoci.lock.pin import locked_platform
from nixoci.lock.versions import newer_tags
from nixoci.oci.model import ImageConfig, Platform
from nixoci.oci.reference import Reference
from nixoci.oci.registry import list_tags
from nixoci.oci.resolve import resolve_image
from nixoci.oci.sources import open_source
from nixoci.progress import Advance, ignore

_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An inconsistency of an image in the lock; `message` describes it and the way out."""

    name: str
    message: str
    platform: str | None = None

    def __str__(self) -> str:
        where = f"image {self.name}" + (f", {self.platform}" if self.platform else "")
        return f"{where}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outdated:
    """An image that could be newer.

    If `moved`, its reference has another digest now. `newer` has the newer tags of the same kind, oldest first. With an
    `error`, its source cannot be read, and neither is known.
    """

    name: str
    reference: str
    moved: bool
    newer: list[str]
    error: str | None = None


def verify_lock(
    lock: Lock, names: Collection[str] = (), *, context: LockContext | None = None, advance: Advance = ignore
) -> list[Problem]:
    """Return the problems of images.

    Args:
        lock: The lock.
        names: The images to check; all if there are no names.
        context: The lock's place, to compare images with their sources; without it, only the lock is read.
        advance: Called with 1 for each platform of each image.

    Raises:
        LockError: No such image.
    """
    problems: list[Problem] = []
    for name, image in lock.select(names).items():
        for platform, locked in image.platforms.items():
            found = [*_inconsistencies(name, locked)]
            if context is not None:
                found += _differences_from_source(name, image, platform, context)
            problems += [Problem(name=name, platform=platform, message=message) for message in found]
            advance(1)
    return problems


def outdated_images(
    lock: Lock, names: Collection[str] = (), *, context: LockContext, advance: Advance = ignore
) -> list[Outdated]:
    """Return the images of these names, all by default, that could be newer, and those whose source cannot be read.

    `advance` is called with 1 for each image.

    Raises:
        LockError: No such image.
    """
    chosen = lock.select(names)

    def look(name: str) -> Outdated:
        try:
            return _compared(name, chosen[name], context)
        except UNREADABLE as error:
            reason = failure_reason(name, error)
            return Outdated(name=name, reference=chosen[name].reference, moved=False, newer=[], error=reason)
        finally:
            advance(1)

    with ThreadPoolExecutor(max_workers=_THREADS) as threads:
        return [found for found in threads.map(look, chosen) if found.moved or found.newer or found.error]


def _compared(name: str, image: LockedImage, context: LockContext) -> Outdated:
    """Compare an image with its source."""
    source = context.source(image.reference)
    with open_source(source, access=context.access) as opened:
        moved = opened.root.digest != image.digest
    newer: list[str] = []
    if isinstance(source, Reference) and source.tag:
        newer = newer_tags(source.tag, list_tags(source, context.access))
    return Outdated(name=name, reference=image.reference, moved=moved, newer=newer)


def _inconsistencies(name: str, locked: LockedPlatform) -> Iterator[str]:
    """Yield the contradictions within one platform's entry."""
    try:
        config = structure(ImageConfig, locked.config.value, what="config.value")
    except NixociError as error:
        yield f"{error}; {_again(name)}"
        return
    if config.rootfs.diff_ids != [layer.diff_id for layer in locked.layers]:
        yield f"the diff ids of the config are not those of the {len(locked.layers)} layers; {_again(name)}"
    if locked.nar_hash is not None and locked.nar_hash.format != FORMAT_VERSION:
        yield (
            f"narHash is of extraction format {locked.nar_hash.format}, this nixoci writes {FORMAT_VERSION};"
            f" `nixoci prefetch {name}` computes it again"
        )


def _differences_from_source(name: str, image: LockedImage, platform: str, context: LockContext) -> Iterator[str]:
    """Yield the differences between one platform's entry and its source."""
    try:
        with context.open_pinned(name, image) as opened:
            there = locked_platform(resolve_image(opened, Platform.parse(platform)))
    except UNREADABLE as error:
        yield failure_reason(name, error)
        return
    here = replace(image.platforms[platform], nar_hash=None)
    for part in ("manifest", "config", "layers"):
        if getattr(here, part) != getattr(there, part):
            yield f"{part} differs from that of {image.reference} at {image.digest}; {_again(name)}"


def _again(name: str) -> str:
    return f"`nixoci update {name}` writes it again"
