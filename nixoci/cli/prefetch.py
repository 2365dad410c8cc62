"""`nixoci prefetch`: the blobs that a Nix build of the lock needs, fetched with the user's own rights."""

from pathlib import Path

import click
from rich.filesize import decimal

from nixoci.cli.common import (
    access_options,
    json_option,
    lock_option,
    names_argument,
    platform_option,
    print_json,
    warn,
)
from nixoci.cli.verb import verb
from nixoci.lock.context import LockContext
from nixoci.lock.file import exclusive_access, read_lock, write_lock
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
from nixoci.oci.model import Platform
from nixoci.oci.registry import RegistryAccess
from nixoci.progress import byte_progress


@verb(
    examples=[
        "nixoci prefetch",
        "nixoci prefetch web --platform linux/amd64",
        "nixoci prefetch --authfile auth.json --no-nar-hash",
    ],
)
@names_argument()
@platform_option("A platform, may be repeated; by default all that are locked.", multiple=True)
@click.option("--no-nar-hash", is_flag=True, help="Only fetch; do not extract images to pin the hashes of their paths.")
@click.option("--no-image-paths", is_flag=True, help="Do not add the extracted image paths to the Nix store.")
@lock_option
@access_options
@json_option
def prefetch(
    *,
    names: tuple[str, ...],
    platforms: tuple[Platform, ...],
    no_nar_hash: bool,
    no_image_paths: bool,
    lock: Path,
    access: RegistryAccess,
    as_json: bool,
) -> None:
    """Add the blobs of all images, or of the images NAME, to the Nix store, and pin the hashes of the image paths.

    Images that a Nix build cannot fetch need this: those in registries that want a password, and those in local files.
    An image path with a pinned hash stays the same when nixoci or nixpkgs change.

    The image paths are added to the Nix store too, so that a build of them has nothing to do. Without a garbage
    collector root they stay there until the next `nix-collect-garbage`; a build then makes them again.
    """
    with exclusive_access(lock):
        content = read_lock(lock)
        targets = prefetch_targets(content, names, platforms)
        missing = missing_blobs(targets)
        with byte_progress("downloading", sum(blob.size for blob in missing.values())) as advance:
            prefetch_blobs(targets, missing, context=LockContext.of(lock, access), advance=advance)
        store_names = {} if no_nar_hash or no_image_paths else image_path_names(content)
        found = [] if no_nar_hash else [(target, _pin(target, store_names.get(target.name))) for target in targets]
        for target, added in found:
            content = with_nar_hash(content, target, added.nar_hash)
        write_lock(lock, content)
    if as_json:
        hashes = [
            {"name": target.name, "platform": target.platform, "narHash": added.nar_hash.hash, "path": added.path}
            for target, added in found
        ]
        print_json({"blobs": list(map(str, missing)), "narHashes": hashes})
        return
    click.echo(f"blobs: {len(missing)} added, {decimal(sum(blob.size for blob in missing.values()))}")
    for target, added in found:
        click.echo(f"{target.name}: {target.platform}: {added.nar_hash.hash} {added.path or ''}".rstrip())


def _pin(target: PrefetchTarget, store_name: str | None) -> AddedImagePath:
    """Compute the hash of an image path; with its name, also add it to the Nix store."""
    total = sum(layer.size for layer in target.locked.layers)
    with byte_progress(f"extracting {target.name} {target.platform}", total) as advance:
        if store_name is None:
            return AddedImagePath(nar_hash=compute_nar_hash(target, advance=advance), path=None)
        return add_image_path(target, store_name, warn=warn, advance=advance)
