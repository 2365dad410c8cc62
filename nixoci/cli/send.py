"""`nixoci send` and `nixoci copy`: deltas from closures."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import click
from rich.filesize import decimal

from nixoci.cli.common import (
    REUPNIX,
    counted,
    delta_format_option,
    dry_run_option,
    json_option,
    print_json,
    store_option,
    warn,
)
from nixoci.cli.completers import complete_closure
from nixoci.cli.files import PATH, Output, output_option
from nixoci.cli.verb import verb
from nixoci.delta.closure import Closure, closures_from_graphs, closures_from_store, kept_paths
from nixoci.delta.copy import copy_closures
from nixoci.delta.effort import Effort
from nixoci.delta.send import send_shown
from nixoci.delta.summary import SendSummary

effort_option = click.option(
    "--effort",
    type=click.Choice([effort.value for effort in Effort]),
    default=Effort.DEFAULT.value,
    show_default=True,
    callback=lambda _context, _option, value: Effort(value),
    help="Time spent for fewer bytes.",
)
"""`--effort` of a verb that makes deltas, passed as the `Effort` named `effort`."""


@verb(
    examples=[
        "nixoci send --from $(readlink old) --to $(readlink new) --output update.delta",
        "nixoci send --from $(readlink old) --to $(readlink new) | ssh edge nixoci receive",
    ],
)
@click.option(
    "--from",
    "old",
    multiple=True,
    metavar="PATH",
    help="A path that the receiver has, with its closure.",
    shell_complete=complete_closure,
)
@click.option(
    "--to",
    "new",
    multiple=True,
    metavar="PATH",
    help="A path that it receives, with its closure.",
    shell_complete=complete_closure,
)
@click.option(
    "--graphs",
    type=PATH,
    help="Both closures, from a build's .attrs.json (exportReferencesGraph), which has no signatures and no derivers.",
)
@output_option
@delta_format_option
@effort_option
@store_option
@json_option
def send(
    *,
    old: tuple[str, ...],
    new: tuple[str, ...],
    graphs: Path | None,
    output: Output,
    kind: str,
    effort: Effort,
    store: str | None,
    as_json: bool,
) -> None:
    """Write a delta that makes the closure of --to from that of --from.

    --from and --to take one path each and may be given several times. Nothing is asked of the receiver.
    """
    if bool(new) == (graphs is not None):
        raise click.UsageError("give either --to PATH or --graphs FILE")
    if output.path is None and as_json:
        raise click.UsageError("the delta goes to stdout: give -o FILE to print JSON there")
    if output.path is None and sys.stdout.isatty():
        raise click.UsageError("stdout is a terminal: give -o FILE, or pipe the delta")
    with ExitStack() as stack:
        if graphs is not None:
            before, after = closures_from_graphs(graphs)
        else:
            before, after = closures_from_store(old, new, store=store)
            stack.enter_context(kept_paths(before, after, store=store))
        out = stack.enter_context(output.open())
        summary = _send(before, after, out, effort, kind)
    _print_summary(summary, as_json=as_json)


@verb(
    examples=[
        "nixoci copy --to ssh://edge $(readlink result)",
        "nixoci copy --to ssh://root@edge:2222 $(readlink result) --effort fast --dry-run",
    ],
)
@click.option("--to", "target", required=True, metavar="ssh://HOST", help="Machine to copy to.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", shell_complete=complete_closure)
@effort_option
@dry_run_option
@json_option
def copy(*, target: str, paths: tuple[str, ...], effort: Effort, dry_run: bool, as_json: bool) -> None:
    """Copy the closures of PATH... to another machine, as a delta against the paths that it has."""
    summary = copy_closures(target, paths, effort=effort, dry_run=dry_run, warn=warn)
    _print_summary(summary, as_json=as_json)


def _send(old: Closure, new: Closure, out: BinaryIO, effort: Effort, kind: str) -> SendSummary:
    if kind == REUPNIX:
        from nixoci.delta import reupnix  # noqa: PLC0415 - few need it

        return reupnix.write(old, new, out)
    return send_shown(old, new, out, effort=effort)


def _print_summary(summary: SendSummary, *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    if summary.by:
        _print_table(summary)
    click.echo(
        f"{counted(summary.paths, 'path')}, {decimal(summary.nar_size)}, from {counted(summary.bases, 'base')}: "
        f"a delta of {decimal(summary.delta_size)}",
        err=True,
    )


def _print_table(summary: SendSummary) -> None:
    """Print what a delta's segments are, without rich, whose tables take longer to load than a small delta to make."""
    rows = [("", "segments", "size", "before compression")]
    for way, totals in sorted(summary.by.items()):
        rows.append((way, str(totals.count), decimal(totals.size), decimal(totals.payload)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for way, *cells in rows:
        shown = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        click.echo("  ".join([way.ljust(widths[0]), *shown]), err=True)
