"""The verbs of the lock: add, list, show, remove, update, outdated, verify."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
from rich.filesize import decimal

from nixoci.cli.common import (
    access_options,
    dry_run_option,
    json_option,
    lock_option,
    names_argument,
    platforms_option,
    print_json,
)
from nixoci.cli.table import print_table
from nixoci.errors import LockError
from nixoci.lock import check, pin
from nixoci.lock.file import exclusive, read_lock, write_lock
from nixoci.lock.model import EMPTY_LOCK, Lock, LockedImage
from nixoci.lock.pin import Pinning
from nixoci.oci.model import Platform
from nixoci.oci.registry import RegistryAccess

_DIGEST_SHOWN = 19  # sha256: and twelve digits, as podman shows it


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSummary:
    """One platform of an image: how many layers it has, and their bytes as they are stored."""

    platform: str
    layers: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """An image of the lock; `change` is what a verb did to it."""

    name: str
    reference: str
    digest: str
    platforms: list[PlatformSummary]
    change: Literal["added", "updated", "unchanged", "removed"] | None = None


@click.command()
@click.argument("reference", metavar="REF")
@click.option("--name", metavar="NAME", help="The image's name; by default the last part of REF's repository.")
@platforms_option("A platform to pin; may be given again. By default this machine's.")
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
    """Pin the image REF, or further platforms of one that is pinned.

    REF is a reference as podman has it (nginx:1.27, quay.io/org/app@sha256:...), or oci:DIR[:TAG],
    oci-archive:FILE[:TAG], docker-archive:FILE[:REF]. Only manifests and configs are read; no layer is downloaded.
    """
    with exclusive(lock):
        before = read_lock(lock) if lock.exists() else EMPTY_LOCK
        after, named = pin.add(before, reference, pinning=_pinning(lock, access), name=name, platforms=platforms)
        _finish(lock, before, after, [named], dry_run=dry_run, as_json=as_json)


@click.command()
@names_argument()
@click.option("--tag", metavar="TAG", help="Pin another tag of the one image NAME, as `nixoci outdated` shows them.")
@lock_option
@access_options
@dry_run_option
@json_option
def update(
    *, names: tuple[str, ...], tag: str | None, lock: Path, access: RegistryAccess, dry_run: bool, as_json: bool
) -> None:
    """Resolve the references of all images, or of NAMEs, again."""
    if tag is not None and len(names) != 1:
        raise click.UsageError("--tag needs exactly one NAME.")
    with exclusive(lock):
        before = read_lock(lock)
        after = pin.update(before, names, pinning=_pinning(lock, access), tag=tag)
        _finish(lock, before, after, list(names or before.images), dry_run=dry_run, as_json=as_json)


@click.command()
@names_argument(required=True)
@lock_option
@dry_run_option
@json_option
def remove(*, names: tuple[str, ...], lock: Path, dry_run: bool, as_json: bool) -> None:
    """Drop images from the lock."""
    with exclusive(lock):
        before = read_lock(lock)
        _finish(lock, before, pin.remove(before, names), list(names), dry_run=dry_run, as_json=as_json)


@click.command("list")
@lock_option
@json_option
def list_images(*, lock: Path, as_json: bool) -> None:
    """Show the images of the lock."""
    summaries = [_summary(name, image) for name, image in read_lock(lock).images.items()]
    if as_json:
        print_json(summaries)
        return
    rows = [
        [each.name, each.reference, each.digest[:_DIGEST_SHOWN], each_platform.platform, decimal(each_platform.size)]
        for each in summaries
        for each_platform in each.platforms
    ]
    print_table(["name", "reference", "digest", "platform", "size"], rows)


@click.command()
@names_argument()
@lock_option
@access_options
@json_option
def outdated(*, names: tuple[str, ...], lock: Path, access: RegistryAccess, as_json: bool) -> None:
    """Show which images have newer tags of the same kind, or have tags that moved.

    A tag is newer by version if all else is the same: 1.27-alpine is followed by 1.28-alpine, not by 1.28.1-alpine.
    """
    found = check.outdated(read_lock(lock), names, pinning=_pinning(lock, access))
    if as_json:
        print_json(found)
        return
    rows = [
        [each.image, each.reference, "moved" if each.moved else "", each.newer[-1] if each.newer else ""]
        for each in found
    ]
    if rows:
        print_table(["name", "reference", "tag", "newest"], rows)


@click.command()
@names_argument()
@click.option("--offline", is_flag=True, help="Look at nothing but the lock itself.")
@lock_option
@access_options
@json_option
def verify(*, names: tuple[str, ...], offline: bool, lock: Path, access: RegistryAccess, as_json: bool) -> None:
    """Check that the lock agrees with itself and with what its sources have at the pinned digests."""
    problems = check.verify(read_lock(lock), names, pinning=None if offline else _pinning(lock, access))
    if as_json:
        print_json(problems)
    else:
        for problem in problems:
            click.echo(str(problem))
    if problems:
        raise LockError(f"{lock}: {len(problems)} problem{'s' if len(problems) > 1 else ''} found")


def _pinning(lock: Path, access: RegistryAccess) -> Pinning:
    return Pinning(directory=lock.resolve().parent, access=access)


def _finish(lock: Path, before: Lock, after: Lock, names: list[str], *, dry_run: bool, as_json: bool) -> None:
    """Write the lock if it changed, and say what happened to the images of these names."""
    if not dry_run and after != before:
        write_lock(lock, after)
    summaries = [_changed(name, before.images.get(name), after.images.get(name)) for name in names]
    if as_json:
        print_json(summaries)
        return
    for each in summaries:
        platforms = ", ".join(platform.platform for platform in each.platforms)
        would = "would be " if dry_run and each.change != "unchanged" else ""
        click.echo(f"{each.name}: {would}{each.change}: {each.reference} {each.digest} ({platforms})")


def _changed(name: str, before: LockedImage | None, after: LockedImage | None) -> Summary:
    if after is not None:
        return _summary(name, after, "added" if before is None else "unchanged" if before == after else "updated")
    if before is not None:
        return _summary(name, before, "removed")
    raise LockError(f"image {name}: not in the lock")


def _summary(
    name: str, image: LockedImage, change: Literal["added", "updated", "unchanged", "removed"] | None = None
) -> Summary:
    return Summary(
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
