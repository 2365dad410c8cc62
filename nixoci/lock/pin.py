"""What changes a lock: each verb takes one and returns another, and reads manifests and configs only.

An entry's local paths are kept as the user gave them: a relative one is relative to the lock file's directory, so that
a checkout can be moved; an absolute one stays absolute.
"""

import os
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from nixoci.document import load
from nixoci.errors import LockError
from nixoci.lock.file import NAME
from nixoci.lock.model import Lock, LockedBlob, LockedConfig, LockedImage, LockedLayer, LockedPlatform
from nixoci.oci.image import Image, ImageSource
from nixoci.oci.model import Descriptor, Platform
from nixoci.oci.platform import machine_platform
from nixoci.oci.reference import Reference
from nixoci.oci.registry import Registry, RegistryAccess
from nixoci.oci.resolve import resolve_image_platforms
from nixoci.oci.sources import BlobsSource, LocalSource, Source, open_source, parse_source

_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinning:
    """Where a lock file is, and how registries are reached from there."""

    directory: Path
    access: RegistryAccess

    def source(self, reference: str) -> Source:
        """Return the source of an entry's reference, with a path that can be opened from anywhere."""
        source = parse_source(reference)
        return replace(source, path=self.directory / source.path) if isinstance(source, LocalSource) else source

    @contextmanager
    def open_pinned(self, name: str, image: LockedImage) -> Iterator[ImageSource]:
        """Open exactly what an entry pins, wherever its tag points by now.

        Raises:
            LockError: A local source holds another image by now.
            ImageError: It is not there any more.
        """
        source = self.source(image.reference)
        if isinstance(source, Reference):
            source = source.at(image.digest)
        with open_source(source, access=self.access) as opened:
            if opened.root.digest != image.digest:
                raise LockError(
                    f"image {name}: {source} is {opened.root.digest} by now, the lock has {image.digest}; take the new"
                    f" one with `nixoci update {name}`"
                )
            yield opened


def add(
    lock: Lock,
    source: str,
    *,
    pinning: Pinning,
    name: str | None = None,
    platforms: Collection[Platform] = (),
    working_directory: Path | None = None,
) -> tuple[Lock, str]:
    """Pin an image, or more platforms of one that is pinned; return the new lock and the image's name in it.

    Args:
        lock: The lock so far.
        source: What to pin.
        pinning: The lock's place.
        name: The image's name; by default the last part of its repository or path.
        platforms: The platforms to pin; by default this machine's.
        working_directory: What a relative path in `source` is relative to; by default the process's.

    Raises:
        LockError: The name is not valid, or is another image's.
        ImageError: The image cannot be read, or has nothing for a platform.
    """
    parsed = _recorded(parse_source(source), pinning.directory, working_directory or Path.cwd())
    name = name or _default_name(parsed)
    if not NAME.fullmatch(name):
        raise LockError(f"name {name!r}: not a valid name, expected {NAME.pattern}; choose one with --name")
    wanted = [platform.normalized for platform in platforms or [machine_platform()]]
    before = lock.images.get(name)
    if before is not None and before.reference != str(parsed):
        raise LockError(
            f"image {name}: is {before.reference} already, so it cannot be {parsed}; choose another name with --name,"
            f" or remove it first with `nixoci remove {name}`"
        )
    if before is None:
        image = _resolve(str(parsed), wanted, pinning)
    else:
        missing = [platform for platform in wanted if str(platform) not in before.platforms]
        if not missing:
            return lock, name
        with pinning.open_pinned(name, before) as opened:
            more = _locked_platforms(opened, missing)
        image = replace(before, platforms={**before.platforms, **more})
    return replace(lock, images={**lock.images, name: image}), name


def update(lock: Lock, names: Collection[str], *, pinning: Pinning, tag: str | None = None) -> Lock:
    """Resolve references again, for the platforms that they are pinned for; all images if no names are given.

    Args:
        lock: The lock so far.
        names: The images.
        pinning: The lock's place.
        tag: Another tag to take, instead of each one's own.

    Raises:
        LockError: No such image, or one without tags.
        ImageError: An image cannot be read, or has no longer anything for a platform.
    """
    chosen = select(lock, names)

    def again(name: str) -> LockedImage:
        before = chosen[name]
        reference = before.reference if tag is None else _retagged(name, before.reference, tag)
        after = _resolve(reference, map(Platform.parse, before.platforms), pinning)
        return _with_nar_hashes(after, before)

    with ThreadPoolExecutor(max_workers=_THREADS) as threads:
        updated = dict(zip(chosen, threads.map(again, chosen), strict=True))
    return replace(lock, images={**lock.images, **updated})


def remove(lock: Lock, names: Collection[str]) -> Lock:
    """Drop images.

    Raises:
        LockError: No such image.
    """
    gone = select(lock, names) if names else {}
    return replace(lock, images={name: image for name, image in lock.images.items() if name not in gone})


def select(lock: Lock, names: Collection[str]) -> dict[str, LockedImage]:
    """Return the images of these names, all if there are no names.

    Raises:
        LockError: No such image.
    """
    for name in names:
        if name not in lock.images:
            there = ", ".join(sorted(lock.images)) or "none"
            raise LockError(f"image {name}: not in the lock; there is {there}")
    return {name: lock.images[name] for name in names or lock.images}


def locked_platform(image: Image) -> LockedPlatform:
    """Return what the lock holds of an image for one platform."""
    return LockedPlatform(
        manifest=_locked(image.manifest.descriptor),
        config=LockedConfig(
            media_type=image.config.descriptor.media_type,
            digest=image.config.descriptor.digest,
            size=image.config.descriptor.size,
            value=load(image.config.text, what=f"config {image.config.descriptor.digest}"),
        ),
        layers=[
            LockedLayer(
                media_type=layer.descriptor.media_type,
                digest=layer.descriptor.digest,
                size=layer.descriptor.size,
                diff_id=layer.diff_id,
            )
            for layer in image.layers
        ],
    )


def _resolve(reference: str, platforms: Iterable[Platform], pinning: Pinning) -> LockedImage:
    with open_source(pinning.source(reference), access=pinning.access) as opened:
        return LockedImage(
            reference=reference, digest=opened.root.digest, platforms=_locked_platforms(opened, platforms)
        )


def _locked_platforms(opened: ImageSource, platforms: Iterable[Platform]) -> dict[str, LockedPlatform]:
    images = resolve_image_platforms(opened, platforms)
    if isinstance(opened, Registry):
        for image in images.values():
            opened.check_policy(image)
    # keyed by what was asked for: an update shall again take the best for that, not for what was the best once
    return {str(platform): locked_platform(image) for platform, image in images.items()}


def _with_nar_hashes(after: LockedImage, before: LockedImage) -> LockedImage:
    """Keep the hashes of image paths that have not changed: they hold the reference and the digest too."""
    if (after.reference, after.digest) != (before.reference, before.digest):
        return after
    kept = {
        key: replace(platform, nar_hash=before.platforms[key].nar_hash)
        if platform == replace(before.platforms[key], nar_hash=None)
        else platform
        for key, platform in after.platforms.items()
    }
    return replace(after, platforms=kept)


def _recorded(source: Source, directory: Path, working_directory: Path) -> Source:
    """Return a source as the lock has it: a relative path is relative to the lock's directory."""
    match source:
        case BlobsSource():
            raise LockError(f"source {source}: files that are given one by one cannot be pinned; use a layout")
        case LocalSource(path=path) if not path.is_absolute():
            return replace(source, path=Path(os.path.relpath(working_directory / path, directory.absolute())))
    return source


def _default_name(source: Source) -> str:
    match source:
        case Reference():
            return source.short_name
        case LocalSource(transport="docker-archive", tag=str(reference)):
            return Reference.parse(reference).short_name
        case LocalSource(path=path):
            return path.name.removesuffix(".tar")
    raise LockError(f"source {source}: it has no name; choose one with --name")


def _retagged(name: str, reference: str, tag: str) -> str:
    source = parse_source(reference)
    if isinstance(source, BlobsSource):
        raise LockError(f"image {name}: {reference} has no tag to change")
    changed = replace(source, tag=tag, digest=None) if isinstance(source, Reference) else replace(source, tag=tag)
    # a tag comes from the user: the text is checked as a whole
    parse_source(str(changed))
    return str(changed)


def _locked(descriptor: Descriptor) -> LockedBlob:
    return LockedBlob(media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size)
