"""`nixoci receive`: store paths from a delta.

What it needs is loaded while the process gets ready that decodes programs, which takes as long.
"""

import os
import select
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, BinaryIO

import click

from nixoci.cli.common import (
    REUPNIX,
    counted,
    delta_format_option,
    dry_run_option,
    json_option,
    modules_loading,
    print_json,
    store_option,
)
from nixoci.cli.completers import complete_profile
from nixoci.cli.files import INPUT, PATH, STANDARD, Input
from nixoci.cli.verb import verb
from nixoci.delta.format.start import version_of
from nixoci.delta.worker import DecodeWorker
from nixoci.errors import DeltaError

if TYPE_CHECKING:
    from nixoci.delta.closure import Received


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
    type=PATH,
    help="Protect the received path from garbage collection by this symlink, which may replace one into the Nix store.",
)
@delta_format_option
@click.option(
    "--profile",
    type=PATH,
    shell_complete=complete_profile,
    help="Make the received path the current generation of this profile.",
)
@click.option("--root", metavar="PATH", help="The path for --gc-root and --profile, if the delta has several roots.")
@dry_run_option
@json_option
def receive(
    *,
    file: Input,
    store: str | None,
    gc_root: Path | None,
    profile: Path | None,
    root: str | None,
    kind: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Rebuild the paths of a delta, verify and register them. Without FILE, or if it is -, read standard input."""
    if root is not None and gc_root is None and profile is None:
        raise click.UsageError("--root names the path for --gc-root or --profile: give one of these too")
    if file.path is None and sys.stdin.isatty():
        raise click.UsageError("stdin is a terminal: give FILE, or pipe a delta to this command")
    what = "the delta on stdin" if file.path is None else str(file)
    links = _Links(what=what, gc_root=gc_root, profile=profile, root=root)
    links.check()
    with file.open() as source, DecodeWorker() as worker:
        if kind != REUPNIX:
            worker.start_for(version_of(_first_bytes(source)))
        done = _receive(source, what, store, kind, dry_run=dry_run, accept=links.choose, worker=worker)
    if dry_run:
        _print_received(done, as_json=as_json)
        return
    links.make(done.roots, store)
    if as_json:
        print_json(done)
    else:
        for each in done.roots:
            click.echo(each)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Links:
    """The links that are made to one root of a delta."""

    what: str
    gc_root: Path | None
    profile: Path | None
    root: str | None

    def check(self) -> None:
        """Refuse links that cannot be made."""
        if self.gc_root is None and self.profile is None:
            return
        from nixoci.nix_store.links import check_gc_root, check_profile  # noqa: PLC0415 - see above

        if self.gc_root is not None:
            check_gc_root(self.gc_root)
        if self.profile is not None:
            check_profile(self.profile)

    def choose(self, roots: tuple[str, ...]) -> str | None:
        """Return the root that they lead to; None if there are none."""
        if self.gc_root is None and self.profile is None:
            return None
        if self.root is not None and self.root not in roots:
            raise DeltaError(f"--root {self.root}: no root of {self.what}; name one of these: {', '.join(roots)}")
        if self.root is None and len(roots) != 1:
            raise DeltaError(
                f"{self.what}: --gc-root and --profile need one root, and it has {len(roots)}: {', '.join(roots)};"
                " choose one with --root PATH"
            )
        return self.root or roots[0]

    def make(self, roots: tuple[str, ...], store: str | None) -> None:
        """Make the links."""
        chosen = self.choose(roots)
        if chosen is None:
            return
        from nixoci.nix_store.commands import add_gc_root, set_profile  # noqa: PLC0415 - see above

        if self.gc_root is not None:
            add_gc_root(self.gc_root, chosen, store=store)
        if self.profile is not None:
            set_profile(self.profile, chosen, store=store)


def _first_bytes(source: BinaryIO) -> bytes:
    """Return the first bytes of a stream, which stay in it; none if they are still to come."""
    if isinstance(source, BufferedReader) and select.select([source], [], [], 0)[0]:
        return source.peek(1)
    return b""


def _receive(
    source: BinaryIO,
    what: str,
    store: str | None,
    kind: str,
    *,
    dry_run: bool,
    accept: Callable[[tuple[str, ...]], object],
    worker: DecodeWorker,
) -> "Received":
    if kind == REUPNIX:
        from nixoci.delta import reupnix  # noqa: PLC0415 - few need it

        return reupnix.receive(source.read, what=what, store=store, dry_run=dry_run, accept=accept)
    with modules_loading():
        from nixoci.delta.receive import receive_delta  # noqa: PLC0415 - see above

    status = os.fstat(source.fileno())
    size = status.st_size if S_ISREG(status.st_mode) else None
    return receive_delta(source.read, what=what, size=size, store=store, dry_run=dry_run, accept=accept, worker=worker)


def _print_received(done: "Received", *, as_json: bool) -> None:
    """Print the paths that a delta would make."""
    if as_json:
        print_json(done)
        return
    from rich.filesize import decimal  # noqa: PLC0415 - as above

    for path in done.added:
        click.echo(f"would add {path}")
    for path in done.present:
        click.echo(f"already there {path}")
    paths = counted(len(done.added), "path")
    click.echo(f"{paths}, {decimal(done.nar_size)}, of a delta of {decimal(done.delta_size)}", err=True)
