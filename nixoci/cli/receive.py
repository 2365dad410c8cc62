"""`nixoci receive`: store paths from a delta."""

import os
import sys
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

import click

from nixoci.cli.common import delta_format_option, dry_run_option, json_option, print_json, store_option
from nixoci.cli.completers import complete_profile
from nixoci.cli.files import INPUT, STANDARD, Input
from nixoci.cli.verb import verb
from nixoci.delta.closure import Received
from nixoci.delta.receive import receive_delta
from nixoci.errors import DeltaError
from nixoci.nix_store.commands import add_gc_root, set_profile


@verb(
    examples=[
        "nixoci receive update.delta",
        "nixoci receive --profile /nix/var/nix/profiles/nixoci update.delta",
        "ssh build cat update.delta | nixoci receive --gc-root result",
    ],
)
@click.argument("file", default=STANDARD, type=INPUT)
@store_option
@click.option(
    "--gc-root",
    type=click.Path(path_type=Path),
    help="Protect the received path from garbage collection by this new symlink.",
)
@delta_format_option
@click.option(
    "--profile",
    type=click.Path(path_type=Path),
    shell_complete=complete_profile,
    help="Make the received path the current generation of this profile.",
)
@dry_run_option
@json_option
def receive(  # noqa: PLR0917 - click passes options by name
    file: Input,
    store: str | None,
    gc_root: Path | None,
    profile: Path | None,
    kind: str,
    dry_run: bool,  # noqa: FBT001 - click passes options by name
    as_json: bool,  # noqa: FBT001
) -> None:
    """Rebuild the paths of a delta, verify and register them. Without FILE, or if it is -, read standard input."""
    if file.path is None and sys.stdin.isatty():
        raise click.UsageError("stdin is a terminal: give FILE, or pipe a delta to this command")
    with file.open() as source:
        what = "the delta on stdin" if file.path is None else str(file)
        done = _receive(source, what, store, kind, dry_run=dry_run)
    if dry_run:
        _show_received(done, as_json=as_json)
        return
    if gc_root is not None or profile is not None:
        if len(done.roots) != 1:
            raise DeltaError(f"the delta has {len(done.roots)} roots; --gc-root and --profile need one")
        if gc_root is not None:
            add_gc_root(gc_root, done.roots[0], store=store)
        if profile is not None:
            set_profile(profile, done.roots[0], store=store)
    if as_json:
        print_json(done)
    else:
        for root in done.roots:
            click.echo(root)


def _receive(source: BinaryIO, what: str, store: str | None, kind: str, *, dry_run: bool) -> Received:
    if kind == "reupnix-v1":
        from nixoci.delta import reupnix  # noqa: PLC0415 - few need it

        return reupnix.receive(source.read, what=what, store=store, dry_run=dry_run)
    status = os.fstat(source.fileno())
    size = status.st_size if S_ISREG(status.st_mode) else None
    return receive_delta(source.read, what=what, size=size, store=store, dry_run=dry_run)


def _show_received(done: Received, *, as_json: bool) -> None:
    """Print the paths that a delta would make."""
    if as_json:
        print_json(done)
        return
    from rich.filesize import decimal  # noqa: PLC0415 - as above

    for path in done.added:
        click.echo(f"would add {path}")
    for path in done.present:
        click.echo(f"already there {path}")
    click.echo(f"{len(done.added)} paths, {decimal(done.nar_size)}, of a delta of {decimal(done.delta_size)}", err=True)
