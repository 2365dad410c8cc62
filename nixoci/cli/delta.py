"""`nixoci delta`: deltas between versions of an image in the image's repository."""

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
    no_images,
    note,
    platform_option,
    print_json,
    warn,
)
from nixoci.cli.files import PATH
from nixoci.cli.send import effort_option
from nixoci.cli.table import print_table
from nixoci.cli.verb import verb
from nixoci.delta.effort import Effort
from nixoci.errors import DeltaError, ImageError, LockError
from nixoci.image_delta.find import KINDS, Kind, find_deltas, image_paths_like
from nixoci.image_delta.make import make_contents_delta, make_oci_delta
from nixoci.image_delta.pull import pull_image_path, repository_of, usable_deltas
from nixoci.image_delta.push import push_deltas
from nixoci.image_path import ImagePath
from nixoci.lock.context import LockContext
from nixoci.lock.failures import UNREADABLE, ImageFailure, failed_names
from nixoci.lock.file import exclusive_access, read_lock, write_lock
from nixoci.lock.prefetch import (
    AddedImagePath,
    PrefetchTarget,
    added_image_path,
    fetch_blobs,
    missing_blobs,
    open_blobs,
    prefetch_targets,
    with_nar_hash,
)
from nixoci.nix_language.names import image_path_names
from nixoci.oci.image import Image
from nixoci.oci.model import Platform
from nixoci.oci.reference import Reference
from nixoci.oci.registry import RegistryAccess
from nixoci.oci.resolve import resolve_image
from nixoci.output import check_file, scratch_directory
from nixoci.progress import byte_progress

PUSH, PULL, LIST = "push", "pull", "list"

OWN: Kind = "nixoci"


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """The options of `nixoci delta push`."""

    kind: Kind
    effort: Effort
    key: Path | None
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRow:
    """A delta to an image of the lock."""

    name: str
    platform: str
    kind: str
    base: str
    """The digest of the manifest of the image that it starts from."""
    base_path: str | None
    """The image path of that image, if it is in the store."""
    size: int
    digest: str | None
    """The digest of the artifact; None if the delta does not pay, so that it is not pushed."""
    signed_by: list[str] = field(default_factory=list)
    """The names of the keys that its signatures are said to be of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledRow:
    """An image path that a delta made, or with `--dry-run` would make."""

    name: str
    platform: str
    path: str | None
    base: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """The result of `nixoci delta pull`."""

    present: list[str] = field(default_factory=list)
    """Image paths that were in the store."""
    added: list[PulledRow] = field(default_factory=list)
    failures: list[ImageFailure] = field(default_factory=list)


@verb(
    examples=[
        "nixoci delta push web",
        "nixoci delta push web --key-file /etc/nix/signing-key",
        "nixoci delta push web --from $(readlink old) --dry-run",
        "nixoci delta pull",
        "nixoci delta list web --json",
    ],
)
@click.argument("action", type=click.Choice([PUSH, PULL, LIST]))
@names_argument()
@platform_option("A platform, may be repeated; by default all that are locked.", multiple=True)
@click.option(
    "--from",
    "bases",
    type=PATH,
    multiple=True,
    metavar="PATH",
    help="push: an older image path, may be repeated; by default all of the image's repository in the Nix store.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(list(KINDS.values())),
    default=OWN,
    show_default=True,
    help="push: the format; oci-delta is larger, and podman and bootc read it.",
)
@click.option(
    "--key-file",
    "key",
    type=PATH,
    metavar="FILE",
    help="push: sign what the delta makes with a secret key of Nix, for machines whose lock has no hash.",
)
@effort_option
@lock_option
@access_options
@dry_run_option
@json_option
def delta(
    *,
    action: str,
    names: tuple[str, ...],
    platforms: tuple[Platform, ...],
    bases: tuple[Path, ...],
    kind: Kind,
    key: Path | None,
    effort: Effort,
    lock: Path,
    access: RegistryAccess,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Push, pull or list deltas between versions of an image, which are in the image's repository.

    push makes deltas from older image paths to those of all images, or of the images NAME, and pushes them beside the
    image. The image paths have to be in the Nix store: nixoci prefetch. For --format oci-delta only the older ones have
    to be there. pull makes the image paths of the lock from older ones and such deltas, and fails where there is none;
    nixoci prefetch does the same and fetches the layers instead. list shows the deltas to the images of the lock.

    A delta needs no trust: the image path that it makes has the hash in the lock, or every layer has its diff id. Where
    the lock has no hash, as right after nixoci update, what it makes may be signed instead (--key-file), by one of
    nix.conf's trusted-public-keys.
    """
    for option, given in (("--from", bases), ("--key-file", key)):
        if given and action != PUSH:
            raise click.UsageError(f"{option} is an option of `nixoci delta push`")
    if key and kind != OWN:
        raise click.UsageError(f"--key-file needs --format {OWN}: artifacts of {kind} need no signature")
    context = LockContext.of(lock, access)
    if action == PULL:
        _pull_all(lock, names, platforms, context, dry_run=dry_run, as_json=as_json)
        return
    content = read_lock(lock)
    targets = prefetch_targets(content, names, platforms)
    if bases and len(targets) != 1:
        raise click.UsageError("--from needs exactly one NAME with one platform")
    if not (targets or as_json):
        note(no_images(lock))
        return
    store_names = image_path_names(content)
    if action == PUSH:
        how = _How(kind=kind, effort=effort, key=key, dry_run=dry_run)
        rows = [row for target in targets for row in _push(target, store_names[target.name], bases, how, context)]
        _print_pushed(rows, dry_run=dry_run, as_json=as_json)
    else:
        rows = [row for target in targets for row in _list(target, store_names[target.name], context)]
        images = ", ".join(dict.fromkeys(target.name for target in targets))
        none = f"no deltas in the registry to {images}; `nixoci delta push` makes them"
        _print_list(rows, empty=none, as_json=as_json)


def _push(
    target: PrefetchTarget, store_name: str, bases: tuple[Path, ...], how: _How, context: LockContext
) -> list[DeltaRow]:
    repository = repository_of(target, context)
    new = _new_image_path(target, store_name) if how.kind == OWN else None
    needed = [target.locked.manifest, target.locked.config] if new is not None else target.blobs
    missing = {digest: blob for digest, blob in missing_blobs([target]).items() if blob in needed}
    with scratch_directory("delta") as folder:
        with byte_progress(f"fetching {target.name}", sum(blob.size for blob in missing.values())) as advance:
            fetch_blobs(target, missing, folder, context=context, advance=advance)
        with open_blobs(target, folder) as source:
            image = resolve_image(source, Platform.parse(target.platform))
            older = _older(target, image, store_name, repository, bases)
            make = (
                make_oci_delta(image, source, how.effort)
                if new is None
                else make_contents_delta(new, how.effort, key=how.key)
            )
            pushed = push_deltas(image, older, make, repository, context.access, warn=warn, dry_run=how.dry_run)
    return [
        DeltaRow(
            name=target.name,
            platform=target.platform,
            kind=how.kind,
            base=str(each.base_digest),
            base_path=str(each.base),
            size=each.size,
            digest=str(each.digest) if each.digest is not None else None,
            signed_by=each.signed_by,
        )
        for each in pushed
    ]


def _new_image_path(target: PrefetchTarget, store_name: str) -> ImagePath:
    added = added_image_path(target, store_name)
    if added is None or added.path is None:
        raise DeltaError(
            f"image {target.name}: its image path is not in the Nix store with the hash in the lock; run"
            f" `nixoci prefetch {target.name}` first"
        )
    return ImagePath.open(added.path)


def _older(
    target: PrefetchTarget, image: Image, store_name: str, repository: Reference, bases: tuple[Path, ...]
) -> list[ImagePath]:
    """Return the image paths that are named, or those of other versions of the image in the store.

    The store may have other images that locks give the same name.
    """
    if bases:
        named = [ImagePath.open(base) for base in dict.fromkeys(base.resolve() for base in bases)]
        for path in named:
            if path.document.manifest.digest == image.manifest.descriptor.digest:
                raise DeltaError(f"{path.path}: this is the image {target.name} of the lock itself; name an older one")
        return named
    older = [
        path
        for path in image_paths_like(store_name)
        if path.document.platform == image.platform
        and path.document.manifest.digest != image.manifest.descriptor.digest
        and _is_of(path, repository)
    ]
    if not older:
        raise DeltaError(
            f"image {target.name}: the Nix store has no older image path from {repository.repository}; name one with"
            " --from PATH"
        )
    return older


def _is_of(path: ImagePath, repository: Reference) -> bool:
    """Return whether an image path was made from an image of a repository; `nixoci extract` gives it any name."""
    try:
        return Reference.parse(path.document.reference or "").repository == repository.repository
    except ImageError:
        return False


def _list(target: PrefetchTarget, store_name: str, context: LockContext) -> list[DeltaRow]:
    here = image_paths_like(store_name)
    found = find_deltas(repository_of(target, context), target.locked.manifest.digest, context.access, here, warn=warn)
    return [
        DeltaRow(
            name=target.name,
            platform=target.platform,
            kind=each.kind,
            base=str(each.base),
            base_path=next((str(image.path) for image in here if each.starts_from(image)), None),
            size=each.manifest.size,
            digest=str(each.reference.digest),
            signed_by=each.manifest.signed_by,
        )
        for each in found
    ]


def _pull_all(
    lock: Path,
    names: tuple[str, ...],
    platforms: tuple[Platform, ...],
    context: LockContext,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make image paths of the lock by deltas, and pin the hashes that were not in it."""
    done = Pulled()
    with exclusive_access(lock):
        content = read_lock(lock)
        targets = prefetch_targets(content, names, platforms)
        if not (targets or as_json):
            note(no_images(lock))
            return
        if not (dry_run or all(target.nar_hash for target in targets)):
            check_file(lock)
        store_names = image_path_names(content)
        for target in targets:
            added = _pull(target, store_names[target.name], context, done, dry_run=dry_run)
            if added is not None and added.nar_hash != target.nar_hash:
                content = with_nar_hash(content, target, added.nar_hash)
                write_lock(lock, content)
    _print_pulled(done, dry_run=dry_run, as_json=as_json)
    if done.failures:
        failed = failed_names(done.failures)
        raise LockError(f"{lock}: no delta made the image paths of {failed}; run `nixoci prefetch`")


def _pull(
    target: PrefetchTarget, store_name: str, context: LockContext, done: Pulled, *, dry_run: bool
) -> AddedImagePath | None:
    """Make an image path by a delta and note the outcome; return what was added."""
    try:
        there = added_image_path(target, store_name)
        if there is not None:
            done.present.append(str(there.path))
            return None
        usable = usable_deltas(target, store_name, context, warn)
        chosen, added = usable[0], None
        if not dry_run:
            with byte_progress(f"fetching a delta of {target.name}", chosen.size) as advance:
                pulled = pull_image_path(target, store_name, usable, context=context, warn=warn, advance=advance)
            if pulled is None:
                raise DeltaError("no delta of its repository makes it; see the warnings")
            chosen, added = pulled.by, pulled.added
    except UNREADABLE as error:
        done.failures.append(ImageFailure.of(target.name, target.platform, error))
        return None
    done.added.append(
        PulledRow(
            name=target.name,
            platform=target.platform,
            path=added.path if added is not None else None,
            base=str(chosen.delta.base),
            size=chosen.size,
            digest=str(chosen.delta.reference.digest),
        )
    )
    return added


def _print_pushed(rows: list[DeltaRow], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    verb = "would push" if dry_run else "pushed"
    for row in rows:
        if row.digest is None:
            reason = f"it has {decimal(row.size)}, which saves less than a tenth of the layers"
            click.echo(f"{row.name}: {row.platform}: no delta from {row.base_path}: {reason}")
        else:
            click.echo(f"{row.name}: {row.platform}: {verb} a delta of {decimal(row.size)} from {row.base_path}")


def _print_list(rows: list[DeltaRow], *, empty: str, as_json: bool) -> None:
    if as_json:
        print_json(rows)
    else:
        print_table(
            ["name", "platform", "kind", "size", "signed by", "from", "image path"],
            [
                [
                    row.name,
                    row.platform,
                    row.kind,
                    decimal(row.size),
                    ", ".join(row.signed_by),
                    row.base,
                    row.base_path or "not here",
                ]
                for row in rows
            ],
            empty=empty,
        )


def _print_pulled(done: Pulled, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        for path in done.present:
            click.echo(f"already there {path}")
        for row in done.added:
            what = "would be made" if dry_run else f"{row.path}"
            click.echo(f"{row.name}: {row.platform}: {what} by a delta of {decimal(row.size)} from {row.base}")
    for failure in done.failures:
        warn(str(failure))
