"""The verbs of the lock: add, list, show, remove, update, outdated, verify."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import click
from rich.filesize import decimal

from nixoci.cli.common import (
    access_options,
    context_of,
    counted,
    dry_run_option,
    json_option,
    lock_option,
    names_argument,
    no_images,
    note,
    platform_option,
    print_json,
    read_lock_from,
    readable_lock_option,
    warn,
)
from nixoci.cli.completers import complete_reference, complete_tag
from nixoci.cli.files import Input
from nixoci.cli.table import print_table
from nixoci.cli.verb import verb
from nixoci.errors import LockError
from nixoci.lock.check import outdated_images, verify_lock
from nixoci.lock.context import LockContext
from nixoci.lock.file import exclusive_access, read_lock, write_lock
from nixoci.lock.model import EMPTY_LOCK, Lock, LockedImage
from nixoci.lock.pin import add_image, remove_image, update_images
from nixoci.oci.model import Platform
from nixoci.oci.registry import RegistryAccess
from nixoci.progress import item_progress


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSummary:
    """One platform of an image."""

    platform: str
    layers: int
    """The number of layers."""
    size: int
    """The compressed size of all layers, in bytes."""


Change = Literal["added", "updated", "unchanged", "removed"]
"""The change of an image by a verb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSummary:
    """An image of the lock."""

    name: str
    reference: str
    digest: str
    platforms: list[PlatformSummary]
    change: Change | None = None
    previous_digest: str | None = None
    """The digest before an update to another one."""


@verb(
    examples=[
        "nixoci add docker.io/library/nginx:1.27 --name web",
        "nixoci add quay.io/podman/hello:latest --platform linux/amd64 --platform linux/arm64",
        "nixoci add oci-archive:build/app.tar --name app",
    ],
)
@click.argument("reference", metavar="REF", shell_complete=complete_reference)
@click.option("--name", metavar="NAME", help="The image's name; by default the last part of REF's repository.")
@platform_option("A platform to pin, may be repeated; by default this machine's.", multiple=True)
@lock_option
@access_options
@dry_run_option
@json_option
def add(
    *,
    reference: str,
    name: str | None,
    platforms: tuple[Platform, ...],
    lock: Path,
    access: RegistryAccess,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Pin the image REF, or further platforms of a pinned image.

    REF is a reference as for podman (nginx:1.27, quay.io/org/app@sha256:...), or oci:DIR[:TAG], oci:DIR@DIGEST,
    oci-archive:FILE[:TAG], docker-archive:FILE[:REF]. Only manifests and configs are read; no layer is downloaded.
    """
    with exclusive_access(lock):
        before = read_lock(lock) if lock.exists() else EMPTY_LOCK
        with item_progress(f"reading {reference}", 1) as advance:
            after, named = add_image(
                before, reference, context=LockContext.of(lock, access), name=name, platforms=platforms
            )
            advance(1)
        _finish(lock, before, after, [named], dry_run=dry_run, as_json=as_json)


@verb(
    examples=[
        "nixoci update",
        "nixoci update web --tag 1.28",
        "nixoci update --dry-run --json",
    ],
)
@names_argument()
@click.option(
    "--tag",
    metavar="TAG",
    help="Pin another tag of the one image NAME; see `nixoci outdated`.",
    shell_complete=complete_tag,
)
@lock_option
@access_options
@dry_run_option
@json_option
def update(
    *, names: tuple[str, ...], tag: str | None, lock: Path, access: RegistryAccess, dry_run: bool, as_json: bool
) -> None:
    """Update all images of the lock, or the images NAME: resolve their references again."""
    if tag is not None and len(names) != 1:
        raise click.UsageError("--tag needs exactly one NAME.")
    with exclusive_access(lock):
        before = read_lock(lock)
        with item_progress("updating", len(before.select(names))) as advance:
            after = update_images(before, names, context=LockContext.of(lock, access), tag=tag, advance=advance)
        if not (before.images or as_json):
            note(no_images(lock))
        _finish(lock, before, after, list(before.select(names)), dry_run=dry_run, as_json=as_json)


@verb(
    examples=[
        "nixoci remove web",
        "nixoci remove web database --dry-run",
    ],
)
@names_argument(required=True)
@lock_option
@dry_run_option
@json_option
def remove(*, names: tuple[str, ...], lock: Path, dry_run: bool, as_json: bool) -> None:
    """Remove images from the lock."""
    with exclusive_access(lock):
        before = after = read_lock(lock)
        chosen = before.select(names)
        for name in chosen:
            after = remove_image(after, name)
        _finish(lock, before, after, list(chosen), dry_run=dry_run, as_json=as_json)


@verb(
    "list",
    examples=[
        "nixoci list",
        "nixoci list --lock machines/web/nixoci.lock.json",
        "nixoci list --json | jq '.[].reference'",
    ],
)
@readable_lock_option
@json_option
def list_images(*, lock: Input, as_json: bool) -> None:
    """Show the images of the lock."""
    summaries = [_summary(name, image) for name, image in read_lock_from(lock).images.items()]
    if as_json:
        print_json(summaries)
        return
    rows = [
        [each.name, each.reference, each_platform.platform, decimal(each_platform.size), each.digest]
        for each in summaries
        for each_platform in each.platforms
    ]
    print_table(["name", "reference", "platform", "size", "digest"], rows, empty=no_images(lock))


@verb(
    examples=[
        "nixoci outdated",
        "nixoci outdated web --exit-code",
    ],
)
@names_argument()
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there is such an image.")
@readable_lock_option
@access_options
@json_option
def outdated(*, names: tuple[str, ...], exit_code: bool, lock: Input, access: RegistryAccess, as_json: bool) -> None:
    """Show images that have newer tags of the same kind, or whose tags moved.

    An image whose source cannot be read is a warning, and the command fails after it has looked at all others.

    Newer tags differ in nothing but the version: 1.28-alpine follows 1.27-alpine, 1.28.1-alpine does not.
    """
    locked = read_lock_from(lock)
    with item_progress("looking for newer images", len(locked.select(names))) as advance:
        found = outdated_images(locked, names, context=context_of(lock, access), advance=advance)
    failed = [each for each in found if each.error is not None]
    rows = [
        [each.name, each.reference, "moved" if each.moved else "", each.newer[-1] if each.newer else ""]
        for each in found
        if each.error is None
    ]
    if as_json:
        print_json(found)
    elif rows or not failed:
        none = "no image has a newer tag, and no tag has moved" if locked.images else no_images(lock)
        print_table(["name", "reference", "tag", "newest"], rows, empty=none)
    for each in failed:
        warn(f"image {each.name}: {each.error}")
    if failed:
        names_failed = ", ".join(each.name for each in failed)
        raise LockError(f"{lock}: not compared with their sources: {names_failed}; see the warnings, then run again")
    if found and exit_code:
        raise LockError(f"{lock}: outdated: {', '.join(each.name for each in found)}; run `nixoci update`")


@verb(
    examples=[
        "nixoci verify",
        "nixoci verify --offline",
        "nixoci verify web --authfile auth.json",
    ],
)
@names_argument()
@click.option("--offline", is_flag=True, help="Read only the lock itself.")
@readable_lock_option
@access_options
@json_option
def verify(*, names: tuple[str, ...], offline: bool, lock: Input, access: RegistryAccess, as_json: bool) -> None:
    """Check that the lock is consistent, and agrees with its sources at the pinned digests."""
    locked = read_lock_from(lock)
    context = None if offline else context_of(lock, access)
    total = sum(len(image.platforms) for image in locked.select(names).values())
    with item_progress("verifying", total) as advance:
        problems = verify_lock(locked, names, context=context, advance=advance)
    if as_json:
        print_json(problems)
    else:
        for problem in problems:
            click.echo(str(problem))
        if not locked.images:
            note(no_images(lock))
        elif not problems:
            how = "the lock is consistent" if offline else "the lock is consistent and agrees with the source"
            for name, image in locked.select(names).items():
                click.echo(f"{name}: {how}: {image.reference} {image.digest} ({', '.join(image.platforms)})")
    if problems:
        raise LockError(f"{lock}: {counted(len(problems), 'problem')} found")


def _finish(lock: Path, before: Lock, after: Lock, names: list[str], *, dry_run: bool, as_json: bool) -> None:
    """Write the lock if it changed, and print the changes of these images."""
    if not dry_run and after != before:
        write_lock(lock, after)
    summaries = [_changed(name, before.images.get(name), after.images.get(name)) for name in names]
    if as_json:
        print_json(summaries)
        return
    for each in summaries:
        platforms = ", ".join(platform.platform for platform in each.platforms)
        would = "would be " if dry_run and each.change != "unchanged" else ""
        digests = f"{each.previous_digest} -> {each.digest}" if each.previous_digest else each.digest
        click.echo(f"{each.name}: {would}{each.change}: {each.reference} {digests} ({platforms})")


def _changed(name: str, before: LockedImage | None, after: LockedImage | None) -> ImageSummary:
    if after is not None:
        summary = _summary(name, after, "added" if before is None else "unchanged" if before == after else "updated")
        moved = before is not None and before.digest != after.digest
        return replace(summary, previous_digest=str(before.digest)) if before is not None and moved else summary
    if before is not None:
        return _summary(name, before, "removed")
    raise LockError(f"image {name}: not in the lock")


def _summary(name: str, image: LockedImage, change: Change | None = None) -> ImageSummary:
    return ImageSummary(
        name=name,
        reference=image.reference,
        digest=str(image.digest),
        platforms=[
            PlatformSummary(
                platform=key, layers=len(platform.layers), size=sum(layer.size for layer in platform.layers)
            )
            for key, platform in image.platforms.items()
        ],
        change=change,
    )
