"""`nixoci prefetch`: what a Nix build of the lock would fetch, fetched with the user's own rights."""

from pathlib import Path

import click
from rich.filesize import decimal

from nixoci.cli.common import (
    access_options,
    json_option,
    lock_option,
    names_argument,
    platforms_option,
    print_json,
)
from nixoci.lock import prefetch as library
from nixoci.lock.file import exclusive, read_lock, write_lock
from nixoci.lock.model import LockedNarHash
from nixoci.lock.pin import Pinning
from nixoci.lock.prefetch import Wanted
from nixoci.oci.model import Platform
from nixoci.oci.registry import RegistryAccess
from nixoci.progress import byte_progress


@click.command()
@names_argument()
@platforms_option("A platform; may be given again. By default all that are locked.")
@click.option("--no-nar-hash", is_flag=True, help="Only fetch; do not extract to pin the image paths' hashes.")
@lock_option
@access_options
@json_option
def prefetch(
    *,
    names: tuple[str, ...],
    platforms: tuple[Platform, ...],
    no_nar_hash: bool,
    lock: Path,
    access: RegistryAccess,
    as_json: bool,
) -> None:
    """Put the blobs of all images, or of NAMEs, into the Nix store, and pin the hashes of the image paths.

    Needed for images that a Nix build cannot fetch: those of registries that want a password, and those of local files.
    With its hash pinned, an image path stays the same when nixoci or nixpkgs change.
    """
    with exclusive(lock):
        content = read_lock(lock)
        wanted = library.choose(content, names, platforms)
        pinning = Pinning(directory=lock.resolve().parent, access=access)
        missing = library.missing_blobs(wanted)
        with byte_progress("prefetching", sum(blob.size for blob in missing.values())) as advance:
            library.prefetch(wanted, missing, pinning=pinning, advance=advance)
        found = [] if no_nar_hash else [(each, _nar_hash(each)) for each in wanted]
        for each, hashed in found:
            content = library.with_nar_hash(content, each, hashed)
        write_lock(lock, content)
    if as_json:
        hashes = [{"name": each.name, "platform": each.platform, "narHash": hashed.hash} for each, hashed in found]
        print_json({"blobs": list(map(str, missing)), "narHashes": hashes})
        return
    click.echo(f"blobs: {len(missing)} added, {decimal(sum(blob.size for blob in missing.values()))}")
    for each, hashed in found:
        click.echo(f"{each.name}: {each.platform}: {hashed.hash}")


def _nar_hash(each: Wanted) -> LockedNarHash:
    total = 2 * sum(layer.size for layer in each.locked.layers)
    with byte_progress(f"hashing {each.name} {each.platform}", total) as advance:
        return library.nar_hash(each, advance=advance)
