"""`nixoci gc-roots`: images that containers still use stay in the Nix store."""

from dataclasses import replace
from pathlib import Path

import click

from nixoci.cli.common import dry_run_option, is_given, json_option, print_json, warn
from nixoci.cli.files import PATH
from nixoci.cli.table import print_table
from nixoci.cli.verb import verb
from nixoci.gc_roots.links import Change
from nixoci.gc_roots.podman import Podman
from nixoci.gc_roots.update import (
    ContainerRoot,
    Places,
    is_without_podman,
    mend_configuration,
    remove_stale_engine_roots,
    remove_stale_unit_roots,
    update_podman_roots,
)


@verb(
    "gc-roots",
    examples=[
        "nixoci gc-roots",
        "nixoci gc-roots --dry-run --json",
    ],
)
@click.option("--podman", default="podman", show_default=True, metavar="PROGRAM", help="The podman to ask.")
@click.option(
    "--directory",
    type=PATH,
    metavar="DIR",
    help="Directory of the roots; by default /var/lib/nixoci/gc-roots for root, or one below ~/.local/state.",
)
@dry_run_option
@json_option
@click.pass_context
def gc_roots(context: click.Context, *, podman: str, directory: Path | None, dry_run: bool, as_json: bool) -> None:
    """Keep the images of containers from Nix's garbage collector.

    Each container that podman knows, running or stopped, gets a root on the image path that it runs from. Roots of
    containers that are gone are removed, and so are those of units that ended without their stop, as at a power cut,
    and of images that another engine has dropped.
    Run it after a switch and before `nix-collect-garbage`. NixOS with nixoci's module does that by itself.

    If a container of root uses an image that is no longer in the image store, the image is kept under
    /nix/var/nixoci/kept-images, so that the container can start again. A drop-in of storage.conf names that directory,
    and one has the mount option that podman needs for it, as with `nixoci switch`.
    """
    places = Places.default()
    if directory is not None:
        places = replace(places, roots=directory.absolute())
    if not dry_run and (removed := mend_configuration(places)) is not None:
        warn(f"{removed}: removed, since the images that it named are gone; podman could not start")
    roots: list[ContainerRoot] = []
    if is_given(context, "podman") or not is_without_podman(places):
        roots += update_podman_roots(Podman(podman), places, dry_run=dry_run)
    roots += remove_stale_unit_roots(places, dry_run=dry_run)
    roots += remove_stale_engine_roots(places, dry_run=dry_run)
    if as_json:
        print_json(roots)
    else:
        rows = [[root.change.value, root.container or root.id[:12], str(root.path)] for root in roots]
        none = "no container of podman or a unit runs from the Nix store, and no engine has dropped an image of it"
        print_table(["root", "container", "path"], rows, empty=none)
    _warn_of_old_images(roots)


def _warn_of_old_images(roots: list[ContainerRoot]) -> None:
    for root in roots:
        if root.image_kept and root.change is not Change.REMOVED:
            warn(
                f"container {root.container or root.id[:12]}: its image is no longer in the image store; it is kept"
                " until the container is removed; create the container again to use the present image"
            )
