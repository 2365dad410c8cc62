"""`nixoci prefetch`: the blobs that a Nix build of the lock needs, fetched with the user's own rights."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.filesize import decimal

from nixoci.cli.common import (
    access_options,
    dry_run_option,
    json_option,
    lock_option,
    names_argument,
    platform_option,
    print_json,
    warn,
)
from nixoci.cli.verb import verb
from nixoci.errors import LockError
from nixoci.lock.context import LockContext
from nixoci.lock.failures import UNREADABLE, failure_reason
from nixoci.lock.file import exclusive_access, read_lock, write_lock
from nixoci.lock.model import Lock, LockedBlob
from nixoci.lock.prefetch import (
    AddedImagePath,
    PrefetchTarget,
    add_image_path,
    compute_nar_hash,
    missing_blobs,
    prefetch_blobs,
    prefetch_targets,
    with_nar_hash,
)
from nixoci.nix_language.names import image_path_names
from nixoci.oci.digest import Digest
from nixoci.oci.model import Platform
from nixoci.oci.registry import RegistryAccess
from nixoci.progress import byte_progress


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedHash:
    """The hash of an image path that is locked now; `path` is the image path if it was added to the store."""

    name: str
    platform: str
    nar_hash: str
    path: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An image that could not be fetched or extracted."""

    name: str
    platform: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefetched:
    """The result: digests of the blobs that were added, and what became of each image."""

    blobs: list[str]
    nar_hashes: list[PinnedHash]
    failures: list[Failure] = field(default_factory=list)


@verb(
    examples=[
        "nixoci prefetch",
        "nixoci prefetch web --platform linux/amd64",
        "nixoci prefetch --authfile auth.json --no-nar-hash",
        "nixoci prefetch --dry-run",
    ],
)
@names_argument()
@platform_option("A platform, may be repeated; by default all that are locked.", multiple=True)
@click.option("--no-nar-hash", is_flag=True, help="Only fetch; do not extract images to pin the hashes of their paths.")
@click.option("--no-image-paths", is_flag=True, help="Do not add the extracted image paths to the Nix store.")
@lock_option
@access_options
@dry_run_option
@json_option
def prefetch(
    *,
    names: tuple[str, ...],
    platforms: tuple[Platform, ...],
    no_nar_hash: bool,
    no_image_paths: bool,
    lock: Path,
    access: RegistryAccess,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Add the blobs of all images, or of the images NAME, to the Nix store, and pin the hashes of the image paths.

    Images that a Nix build cannot fetch need this: those in registries that want a password, and those in local files.
    An image path with a pinned hash stays the same when nixoci or nixpkgs change.

    The image paths are added to the Nix store too, so that a build of them has nothing to do. Without a garbage
    collector root they stay there until the next `nix-collect-garbage`; a build then makes them again.

    An image that fails is a warning, and the command fails after it has done all others.
    """
    with exclusive_access(lock):
        content = read_lock(lock)
        targets = prefetch_targets(content, names, platforms)
        missing = missing_blobs(targets)
        result = Prefetched(blobs=list(map(str, missing)), nar_hashes=[])
        if not dry_run:
            store_names = {} if no_nar_hash or no_image_paths else image_path_names(content)
            result.failures.extend(_fetch(targets, missing, LockContext.of(lock, access)))
            if result.failures:
                left = missing_blobs(targets)
                result.blobs[:] = [str(digest) for digest in missing if digest not in left]
            failed = {(each.name, each.platform) for each in result.failures}
            for target in () if no_nar_hash else targets:
                if (target.name, target.platform) not in failed:
                    content = _pin(target, store_names.get(target.name), content, result)
            write_lock(lock, content)
    size = sum(blob.size for digest, blob in missing.items() if str(digest) in result.blobs)
    _print(result, size, dry_run=dry_run, as_json=as_json)
    if result.failures:
        failed_names = ", ".join(dict.fromkeys(each.name for each in result.failures))
        raise LockError(f"{lock}: not prefetched: {failed_names}; see the warnings, then run again")


def _fetch(
    targets: list[PrefetchTarget], missing: Mapping[Digest, LockedBlob], context: LockContext
) -> Iterator[Failure]:
    """Add the missing blobs of each image; yield the failures."""
    left = dict(missing)
    with byte_progress("downloading", sum(blob.size for blob in missing.values())) as advance:
        for target in targets:
            needed = {blob.digest: blob for blob in target.blobs if blob.digest in left}
            try:
                prefetch_blobs([target], needed, context=context, advance=advance)
            except UNREADABLE as error:
                yield _failure(target, error)
            else:
                left = {digest: blob for digest, blob in left.items() if digest not in needed}


def _pin(target: PrefetchTarget, store_name: str | None, lock: Lock, result: Prefetched) -> Lock:
    """Compute the hash of an image path; with its name, also add it to the Nix store. Return the lock with the hash."""
    total = sum(layer.size for layer in target.locked.layers)
    try:
        with byte_progress(f"extracting {target.name} {target.platform}", total) as advance:
            if store_name is None:
                added = AddedImagePath(nar_hash=compute_nar_hash(target, advance=advance), path=None)
            else:
                added = add_image_path(target, store_name, warn=warn, advance=advance)
    except UNREADABLE as error:
        result.failures.append(_failure(target, error))
        return lock
    found = PinnedHash(name=target.name, platform=target.platform, nar_hash=added.nar_hash.hash, path=added.path)
    result.nar_hashes.append(found)
    return with_nar_hash(lock, target, added.nar_hash)


def _failure(target: PrefetchTarget, error: Exception) -> Failure:
    return Failure(name=target.name, platform=target.platform, message=failure_reason(target.name, error))


def _print(result: Prefetched, size: int, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        click.echo(f"blobs: {len(result.blobs)} {'would be ' if dry_run else ''}added, {decimal(size)}")
        for each in result.nar_hashes:
            click.echo(f"{each.name}: {each.platform}: {each.nar_hash} {each.path or ''}".rstrip())
    for failure in result.failures:
        warn(f"image {failure.name}, {failure.platform}: {failure.message}")
