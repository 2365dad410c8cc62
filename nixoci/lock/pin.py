"""Changes of a lock. Each function takes a lock and returns another; only manifests and configs are read.

An entry keeps a local path as the user gave it. A relative path is relative to the lock file's directory, so that a
checkout can be moved; an absolute path stays absolute.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from nixoci.document import load, show
from nixoci.errors import ImageError, LockError
from nixoci.lock.context import LockContext
from nixoci.lock.failures import UNREADABLE, failure_reason
from nixoci.lock.file import NAME
from nixoci.lock.model import Lock, LockedBlob, LockedConfig, LockedImage, LockedLayer, LockedPlatform
from nixoci.oci.image import Image, ImageSource
from nixoci.oci.model import Descriptor, Platform
from nixoci.oci.platform import machine_platform
from nixoci.oci.reference import Reference
from nixoci.oci.registry import Registry
from nixoci.oci.resolve import resolve_image_platforms
from nixoci.oci.sources import BlobsSource, LocalSource, Source, open_source, parse_source
from nixoci.progress import Advance, ignore

_THREADS = 4


def add_image(
    lock: Lock,
    source: str,
    *,
    context: LockContext,
    name: str | None = None,
    platforms: Collection[Platform] = (),
    working_directory: str | os.PathLike[str] | None = None,
) -> tuple[Lock, str]:
    """Pin an image, or further platforms of a pinned one; return the new lock and the image's name in it.

    Args:
        lock: The lock to start from.
        source: The reference or the local source to pin.
        context: The lock's place.
        name: The image's name; by default the last part of its repository or path.
        platforms: The platforms to pin; by default this machine's.
        working_directory: The base of a relative path in `source`; by default the process's.

    Raises:
        LockError: The name is not valid, or belongs to another image.
        ImageError: The image cannot be read, or has nothing for a platform.
    """
    parsed = _recorded(parse_source(source), context.directory, Path(working_directory or Path.cwd()))
    name = _default_name(parsed) if name is None else name
    if not NAME.fullmatch(name):
        raise LockError(f"name {name!r}: not a valid name, expected {NAME.pattern}; choose one with --name")
    wanted = [platform.normalized for platform in platforms or [machine_platform()]]
    before = lock.images.get(name)
    if before is not None and before.reference != str(parsed):
        raise LockError(
            f"image {name}: is {before.reference} already, so it cannot be {parsed}; {_way_to(parsed, name, before)}"
        )
    if before is None:
        image = _resolve(str(parsed), wanted, context)
    else:
        missing = [platform for platform in wanted if str(platform) not in before.platforms]
        if not missing:
            return lock, name
        with context.open_pinned(name, before) as opened:
            more = _locked_platforms(opened, missing)
        image = replace(before, platforms={**before.platforms, **more})
    return replace(lock, images={**lock.images, name: image}), name


def update_images(
    lock: Lock,
    names: Collection[str] = (),
    *,
    context: LockContext,
    tag: str | None = None,
    advance: Advance = ignore,
) -> Lock:
    """Resolve the references of images again, for the platforms that they are pinned for.

    Args:
        lock: The lock to start from.
        names: The images; all if there are no names.
        context: The lock's place.
        tag: A tag to pin in place of each image's own.
        advance: Called with 1 for each image.

    Raises:
        LockError: No such image, or an image without tags.
        ImageError: An image cannot be read, or has nothing for a platform any more. If several are so, it is a
            `LockError` that names each of them.
    """
    chosen = lock.select(names)

    def again(name: str) -> LockedImage | Exception:
        before = chosen[name]
        try:
            reference = before.reference if tag is None else _retagged(name, before.reference, tag)
            return _with_nar_hashes(_resolve(reference, map(Platform.parse, before.platforms), context), before)
        except UNREADABLE as error:
            return error
        finally:
            advance(1)

    with ThreadPoolExecutor(max_workers=_THREADS) as threads:
        found = dict(zip(chosen, threads.map(again, chosen), strict=True))
    failures = {name: error for name, error in found.items() if isinstance(error, Exception)}
    if failures:
        raise _not_updated(failures)
    updated = {name: image for name, image in found.items() if isinstance(image, LockedImage)}
    return replace(lock, images={**lock.images, **updated})


def _not_updated(failures: Mapping[str, Exception]) -> Exception:
    """Return the error of an update in which some images failed."""
    if len(failures) == 1:
        return next(iter(failures.values()))
    reasons = "; ".join(f"image {name}: {failure_reason(name, error)}" for name, error in failures.items())
    return LockError(f"images {', '.join(failures)}: cannot be updated, so nothing was; name the others: {reasons}")


def remove_image(lock: Lock, name: str) -> Lock:
    """Return the lock without an image.

    >>> remove_image(Lock(version=1), "web")
    Traceback (most recent call last):
    nixoci.errors.LockError: image web: not in the lock; add one with `nixoci add REF`

    Raises:
        LockError: No such image.
    """
    gone = lock.select([name])
    return replace(lock, images={name: image for name, image in lock.images.items() if name not in gone})


def locked_platform(image: Image) -> LockedPlatform:
    """Return an image's entry in the lock, for one platform.

    Raises:
        ImageError: The config has the character NUL, with which Nix could read nothing of the lock.
    """
    what = f"config {image.config.descriptor.digest}"
    value = load(image.config.text, what=what)
    if b"\\u0000" in image.config.text:
        _refuse_nul(value, f"{what}: value")
    return LockedPlatform(
        manifest=_locked(image.manifest.descriptor),
        config=LockedConfig(
            media_type=image.config.descriptor.media_type,
            digest=image.config.descriptor.digest,
            size=image.config.descriptor.size,
            value=value,
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


def _refuse_nul(value: Any, path: str) -> None:
    match value:
        case str() if "\0" in value:
            raise ImageError(f"{path}: has the character NUL, which Nix cannot read; rebuild the image without it")
        case dict():
            for name, item in value.items():
                _refuse_nul(name, f"{path}: the key {show(name)}")
                _refuse_nul(item, f"{path}.{name}")
        case list():
            for number, item in enumerate(value):
                _refuse_nul(item, f"{path}[{number}]")


def _resolve(reference: str, platforms: Iterable[Platform], context: LockContext) -> LockedImage:
    with open_source(context.source(reference), access=context.access) as opened:
        return LockedImage(
            reference=reference, digest=opened.root.digest, platforms=_locked_platforms(opened, platforms)
        )


def _locked_platforms(opened: ImageSource, platforms: Iterable[Platform]) -> dict[str, LockedPlatform]:
    images = resolve_image_platforms(opened, platforms)
    if isinstance(opened, Registry):
        for image in images.values():
            opened.check_policy(image)
    # the keys are the platforms that were asked for, so that an update looks for the best match again
    return {str(platform): locked_platform(image) for platform, image in images.items()}


def _with_nar_hashes(after: LockedImage, before: LockedImage) -> LockedImage:
    """Keep the hashes of unchanged image paths, which hold the reference and the digest too."""
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
    """Return a source as the lock records it: with a relative path relative to the lock's directory."""
    match source:
        case BlobsSource():
            raise LockError(f"source {source}: single blob files cannot be pinned; use a layout")
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


def _way_to(wanted: Source, name: str, before: LockedImage) -> str:
    """Return the way to pin `wanted` in spite of the image that has its name."""
    tag = getattr(wanted, "tag", None)
    if tag is not None and _retagged(name, before.reference, tag) == str(wanted):
        return f"run `nixoci update {name} --tag {tag}` to pin that tag, or choose another name with --name"
    return f"choose another name with --name, or remove it first with `nixoci remove {name}`"


def _retagged(name: str, reference: str, tag: str) -> str:
    source = parse_source(reference)
    if isinstance(source, BlobsSource):
        raise LockError(f"image {name}: {reference} has no tag to change")
    if not tag:
        raise LockError(f"image {name}: the tag is empty; give one, or update without --tag")
    changed = replace(source, tag=tag, digest=None)
    parse_source(str(changed))  # the tag comes from the user: check the text as a whole
    return str(changed)


def _locked(descriptor: Descriptor) -> LockedBlob:
    return LockedBlob(media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size)
