"""`nixoci switch`: put an output in place, and go from one to the next."""

import os
from pathlib import Path

import click

from nixoci.cli.common import counted, dry_run_option, json_option, print_json, warn
from nixoci.cli.files import PATH
from nixoci.cli.table import print_table
from nixoci.cli.verb import verb
from nixoci.doctor.facts import version_of
from nixoci.doctor.tools import reads_drop_ins
from nixoci.errors import ContainerError, NixociError, ProcessError
from nixoci.gc_roots.moves import containers_with_moves
from nixoci.gc_roots.podman import Podman
from nixoci.image_store.mount_options import drop_in_stores
from nixoci.image_store.storage_conf import MOUNT_OPTIONS
from nixoci.image_store.storage_conf_files import named_stores, read_config
from nixoci.process import run
from nixoci.switch.perform import Switched, roll_back, uninstall
from nixoci.switch.perform import switch as switch_to
from nixoci.switch.places import Places
from nixoci.switch.plan import Action, Change
from nixoci.user import user_account


@verb(
    "switch",
    examples=[
        "nixoci switch out",
        "nixoci switch --user out --dry-run",
        "nixoci switch --rollback",
        "nixoci switch --uninstall --dry-run",
    ],
)
@click.argument("out", type=PATH, required=False)
@click.option("--rollback", is_flag=True, help="Switch to the output of the profile's previous generation.")
@click.option(
    "--uninstall",
    "removing",
    is_flag=True,
    help="Stop and remove what switches have installed, and the profile with its generations.",
)
@click.option("--user", is_flag=True, help="Switch the units of your own systemd and your own podman.")
@dry_run_option
@json_option
def switch(*, out: Path | None, rollback: bool, removing: bool, user: bool, dry_run: bool, as_json: bool) -> None:
    """Install OUT, the output of `nixoci units` or an image store, in place of the one before.

    Its units become links in /etc/systemd/system, or ~/.config/systemd/user with --user, also those that start them at
    the boot. Units that changed restart, new ones start if they have autoStart, and those that are gone stop. If OUT
    has a drop-in of storage.conf, podman uses its image store; root's podman also gets redirect_dir=on in mountopt, if
    it needs that to commit containers with all content. An OUT in the Nix store becomes a generation of the profile
    /nix/var/nix/profiles/nixoci, or ~/.local/state/nix/profiles/nixoci, which keeps it from the garbage collector.

    Files and links that no switch has made are left alone. A second run changes nothing. Volumes, and what containers
    have written to persistent layers, stay after --uninstall.
    """
    if [out is not None, rollback, removing].count(True) != 1:
        raise click.UsageError("give one of OUT, --rollback and --uninstall")
    places = Places.default(user=user)
    if out is not None:
        done = switch_to(out, places, dry_run=dry_run)
    else:
        done = (uninstall if removing else roll_back)(places, dry_run=dry_run)
    if as_json:
        print_json(done)
    else:
        _print(done, places)
    if (changed := done.mount_options) is not None and changed.mountopt is None:
        _warn_of_moves(changed.path)
    if not dry_run:
        _warn_of_an_old_podman(places)
    if done.profile is None and done.out is not None:
        warn(f"{done.out}: not in the Nix store, so it must stay where it is, and --rollback cannot return to it")
    if done.failed:
        journal = f"journalctl {'--user ' if user else ''}--unit={done.failed[0]}"
        way = ", then run this again, or with --rollback" if done.out is not None else ""
        raise ContainerError(f"{', '.join(done.failed)}: not started; see `{journal}`{way}")


def _warn_of_an_old_podman(places: Places) -> None:
    """Warn that podman does not read the drop-in, unless its main file names the image stores too."""
    stores = drop_in_stores(places.drop_in)
    if not stores:
        return
    try:
        text = run(["podman", "--version"], package="podman").decode("utf-8", "replace")
    except ProcessError:  # the images may be for other engines
        return
    version = version_of(text)
    if version is None or reads_drop_ins(version):
        return
    named = named_stores(read_config(uid=os.geteuid(), home=user_account()[1], env=os.environ), drop_ins=False)
    if not {store for store, _ in named}.issuperset(stores):
        main = places.drop_in.parent.parent / "storage.conf"
        warn(
            f"{places.drop_in}: podman {'.'.join(map(str, version))} does not read it, as 5.8 does; run"
            f" `ln --symbolic {places.profile}/storage.conf {main}`, or name the image store in that file"
        )


def _warn_of_moves(drop_in: Path) -> None:
    """Warn of containers that need the option which podman has no longer. A host without podman has none."""
    try:
        names = containers_with_moves(Podman())
    except (NixociError, OSError):
        return
    if names:
        warn(
            f"{', '.join(names)}: without {drop_in}, `podman commit` writes directories empty that they have moved;"
            f" remove these containers, or add {MOUNT_OPTIONS} to mountopt in storage.conf"
        )


def _print(done: Switched, places: Places) -> None:
    rows = [
        [each.action.value if each.action is not Action.NONE else "-", each.unit, each.change.value]
        for each in done.units
        if each.action is not Action.NONE or each.change is not Change.KEPT
    ]
    rows += [
        ["unlink" if each.target is None else "link", str(each.path), each.change.value]
        for each in done.links
        if each.path == places.drop_in
    ]
    if (changed := done.mount_options) is not None:
        rows.append(["remove" if changed.mountopt is None else "write", str(changed.path), changed.change.value])
    if done.out is None:
        empty = "no switch has put anything in place" if not done.links else "no unit changes"
    else:
        moved = f"{counted(len(done.links), 'link')} to its files" if done.links else "in place"
        empty = f"{done.out}: {moved}; no unit changes"
    print_table(["action", "unit", "change"], rows, empty=empty)
