"""`nixoci prefetch`: image paths, or the blobs that a Nix build needs for them, fetched with the user's own rights."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
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
from nixoci.errors import LockError, NixociError
from nixoci.image_delta.pull import pull_image_path, usable_deltas
from nixoci.lock.context import LockContext
from nixoci.lock.failures import UNREADABLE, ImageFailure, failed_names
from nixoci.lock.file import exclusive_access, read_lock, write_lock
from nixoci.lock.model import LockedBlob
from nixoci.lock.prefetch import (
    AddedImagePath,
    PrefetchTarget,
    add_image_path,
    added_image_path,
    compute_nar_hash,
    fetch_blobs,
    forget_blobs,
    missing_blobs,
    prefetch_blobs,
    prefetch_targets,
    with_nar_hash,
)
from nixoci.nix_language.names import image_path_names
from nixoci.oci.digest import Digest
from nixoci.oci.model import Platform
from nixoci.oci.registry import RegistryAccess
from nixoci.output import check_file, scratch_directory
from nixoci.progress import Advance, byte_progress


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedHash:
    """The hash of an image path that is locked now; `path` is the image path if it is in the store.

    With `--dry-run`, `nar_hash` is None if only the delta will tell it.
    """

    name: str
    platform: str
    nar_hash: str | None
    path: str | None
    delta_size: int | None = None
    """The bytes of the delta that the image path was made from, or with `--dry-run` would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefetched:
    """The result: digests of the blobs that were fetched, and what became of each image."""

    blobs: list[str]
    nar_hashes: list[PinnedHash]
    failures: list[ImageFailure] = field(default_factory=list)

    def fail(self, target: PrefetchTarget, error: Exception) -> None:
        """Note an image that failed."""
        self.failures.append(ImageFailure.of(target.name, target.platform, error))


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
@click.option("--no-nar-hash", is_flag=True, help="Add the blobs to the Nix store instead; pin no hashes.")
@click.option(
    "--no-image-paths", is_flag=True, help="Pin the hashes only; do not add the image paths to the Nix store."
)
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
    """Fetch all images, or the images NAME, into the Nix store, and pin the hashes of their image paths.

    Images that a Nix build cannot fetch need this: those in registries that want a password, and those in local files.
    An image path with a pinned hash stays the same when nixoci or nixpkgs change. A build of it reads the registry, and
    stores nothing but the image path.

    The paths in the store have no garbage collector root: they stay there until the next `nix-collect-garbage`, and a
    build then makes them again. A layer cache, and builds of images without a pinned hash, need the blobs:
    --no-nar-hash.

    An image path whose hash is pinned is made from an older one in the store if the image's repository has a delta
    between them (nixoci delta push); if the delta is wrong, the layers are fetched.

    An image that fails is a warning, and the command fails after it has done all others.
    """
    with exclusive_access(lock):
        content = read_lock(lock)
        targets = prefetch_targets(content, names, platforms)
        store_names = {} if no_nar_hash or no_image_paths else image_path_names(content)
        result, left = _known(targets, store_names)
        if not (dry_run or no_nar_hash or all(target.nar_hash for target in left)):
            check_file(lock)
        context = LockContext.of(lock, access)
        pulled, left = _from_deltas(left, store_names, context, result, dry_run=dry_run)
        for target, added in pulled:
            content = with_nar_hash(content, target, added.nar_hash)
        missing = missing_blobs(left)
        result.blobs.extend(map(str, missing))
        if not dry_run:
            if no_nar_hash:
                _add_blobs(left, missing, context, result)
            else:
                extract = partial(_extract, store_names=store_names)
                for target, added in _pin(left, missing, context, extract, result):
                    result.nar_hashes.append(_pinned_hash(target, added.nar_hash.hash, added.path))
                    content = with_nar_hash(content, target, added.nar_hash)
                write_lock(lock, content)
    size = sum(blob.size for digest, blob in missing.items() if str(digest) in result.blobs)
    _print(result, size, no_nar_hash=no_nar_hash, dry_run=dry_run, as_json=as_json)
    if result.failures:
        failed = failed_names(result.failures)
        raise LockError(f"{lock}: not prefetched: {failed}; see the warnings, then run again")


def _known(
    targets: Sequence[PrefetchTarget], store_names: Mapping[str, str]
) -> tuple[Prefetched, list[PrefetchTarget]]:
    """Return the images that are in the store with a pinned hash, if these are wanted there, and all others."""
    result, left = Prefetched(blobs=[], nar_hashes=[]), []
    for target in targets:
        added = added_image_path(target, store_names[target.name]) if target.name in store_names else None
        if added is None:
            left.append(target)
        else:
            result.nar_hashes.append(_pinned_hash(target, added.nar_hash.hash, added.path))
    return result, left


def _from_deltas(
    targets: Sequence[PrefetchTarget],
    store_names: Mapping[str, str],
    context: LockContext,
    result: Prefetched,
    *,
    dry_run: bool,
) -> tuple[list[tuple[PrefetchTarget, AddedImagePath]], list[PrefetchTarget]]:
    """Make image paths by deltas from image paths in the store; return those that were made, and the images left."""
    done, left = [], []
    for target in targets:
        try:
            name = store_names.get(target.name)
            usable = usable_deltas(target, name, context, warn) if name is not None else []
        except NixociError:  # no delta, or a registry that the download of layers will complain about
            usable = []
        if not usable:
            left.append(target)
        elif dry_run:
            pinned = target.nar_hash.hash if target.nar_hash is not None else None
            result.nar_hashes.append(_pinned_hash(target, pinned, None, delta_size=usable[0].size))
        else:
            with byte_progress(f"fetching a delta of {target.name}", usable[0].size) as advance:
                pulled = pull_image_path(
                    target, store_names[target.name], usable, context=context, warn=warn, advance=advance
                )
            if pulled is None:
                left.append(target)
                continue
            added = pulled.added
            result.nar_hashes.append(_pinned_hash(target, added.nar_hash.hash, added.path, delta_size=pulled.by.size))
            done.append((target, added))
    return done, left


def _add_blobs(
    targets: Sequence[PrefetchTarget], missing: Mapping[Digest, LockedBlob], context: LockContext, result: Prefetched
) -> None:
    """Add the missing blobs to the store."""
    left = dict(missing)
    with byte_progress("downloading", sum(blob.size for blob in missing.values())) as advance:
        for target in targets:
            needed = {blob.digest: blob for blob in target.blobs if blob.digest in left}
            try:
                prefetch_blobs([target], needed, context=context, advance=advance)
            except UNREADABLE as error:
                result.fail(target, error)
            else:
                left = {digest: blob for digest, blob in left.items() if digest not in needed}
    if result.failures:
        left = missing_blobs(targets)
        result.blobs[:] = [str(digest) for digest in missing if digest not in left]


def _pin(
    targets: Sequence[PrefetchTarget],
    missing: Mapping[Digest, LockedBlob],
    context: LockContext,
    extract: Callable[[PrefetchTarget, Path, Advance], AddedImagePath],
    result: Prefetched,
) -> list[tuple[PrefetchTarget, AddedImagePath]]:
    """Extract images, each while the blobs of the next one arrive; return those that did not fail."""
    done = []
    total = sum(blob.size for blob in missing.values())
    total += sum(layer.size for target in targets for layer in target.locked.layers)
    with (
        scratch_directory("prefetch") as folder,
        byte_progress("fetching and extracting", total) as advance,
        ThreadPoolExecutor(1) as thread,
    ):
        fetch = partial(fetch_blobs, missing=missing, folder=folder, context=context, advance=advance)
        arriving = [thread.submit(fetch, target) for target in targets[:1]]
        for number, target in enumerate(targets):
            wait([arriving[number]])
            arriving += [thread.submit(fetch, following) for following in targets[number + 1 : number + 2]]
            try:
                arriving[number].result()
                done.append((target, extract(target, folder, advance)))
            except UNREADABLE as error:
                result.fail(target, error)
            forget_blobs(target, folder, but=targets[number + 1 :])
    read = {blob.digest for target, _ in done for blob in target.blobs}
    result.blobs[:] = [str(digest) for digest in missing if digest in read]
    return done


def _extract(
    target: PrefetchTarget, folder: Path, advance: Advance, *, store_names: Mapping[str, str]
) -> AddedImagePath:
    """Extract an image; with its name, also add it to the Nix store."""
    if target.name not in store_names:
        return AddedImagePath(nar_hash=compute_nar_hash(target, folder=folder, advance=advance), path=None)
    return add_image_path(target, store_names[target.name], folder=folder, warn=warn, advance=advance)


def _pinned_hash(
    target: PrefetchTarget, nar_hash: str | None, path: str | None, *, delta_size: int | None = None
) -> PinnedHash:
    return PinnedHash(name=target.name, platform=target.platform, nar_hash=nar_hash, path=path, delta_size=delta_size)


def _print(result: Prefetched, size: int, *, no_nar_hash: bool, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        done = "added" if no_nar_hash else "fetched"
        click.echo(f"blobs: {len(result.blobs)} {'would be ' if dry_run else ''}{done}, {decimal(size)}")
        for each in result.nar_hashes:
            by = f" by a delta of {decimal(each.delta_size)}" if each.delta_size is not None else ""
            what = " ".join(filter(None, (each.nar_hash, each.path))) or "would be made"
            click.echo(f"{each.name}: {each.platform}: {what}{by}")
    for failure in result.failures:
        warn(str(failure))
