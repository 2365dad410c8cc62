"""`nixoci publish`: deltas beside a binary cache."""

from pathlib import Path

import click
from rich.filesize import decimal

from nixoci.cli.common import counted, dry_run_option, json_option, print_json, store_option, warn
from nixoci.cli.completers import complete_closure
from nixoci.cli.files import PATH
from nixoci.cli.send import effort_option
from nixoci.cli.verb import verb
from nixoci.delta.effort import Effort
from nixoci.publish.publish import KEEP, Published, publish_deltas


@verb(
    examples=[
        "nixoci publish --cache /srv/cache --from $(readlink old) --to $(readlink new)",
        "nixoci publish --cache /srv/cache --from $(readlink v1) --from $(readlink v2) --to $(readlink v3) --keep 2",
    ],
)
@click.option("--cache", type=PATH, required=True, metavar="DIR", help="The binary cache: nix copy --to file://DIR.")
@click.option(
    "--from",
    "old",
    multiple=True,
    required=True,
    metavar="PATH",
    help="A path that machines have; one delta is made from its closure.",
    shell_complete=complete_closure,
)
@click.option(
    "--to",
    "new",
    multiple=True,
    required=True,
    metavar="PATH",
    help="A path that they will fetch; several are one release.",
    shell_complete=complete_closure,
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=KEEP,
    show_default=True,
    metavar="N",
    help="Keep the deltas to the last N releases of the same packages; remove older ones.",
)
@effort_option
@store_option
@dry_run_option
@json_option
def publish(
    *,
    cache: Path,
    old: tuple[str, ...],
    new: tuple[str, ...],
    keep: int,
    effort: Effort,
    store: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write deltas from --from to --to into a binary cache, for machines that run `nixoci substituter`.

    --from and --to take one path each and may be given several times. The cache must have the paths of --to.
    """
    done = publish_deltas(cache, old, new, effort=effort, keep=keep, store=store, dry_run=dry_run)
    if done.unsigned:
        warn(
            f"{counted(len(done.unsigned), 'path')} of the release without a signature in the cache, such as"
            f" {done.unsigned[0]}: machines refuse them; run nix store sign --recursive --store file://{cache.resolve()}"
            f" --key-file KEY {' '.join(new)}, then publish again"
        )
    if as_json:
        print_json(done)
    else:
        _print(done, dry_run=dry_run)


def _print(done: Published, *, dry_run: bool) -> None:
    verb = "would publish" if dry_run else "published"
    for delta in done.deltas:
        size, download = decimal(delta.delta_size), decimal(delta.download)
        if delta.published:
            click.echo(
                f"{verb} a delta of {size} from {delta.base}: {counted(delta.paths, 'path')}, {download} in the cache"
            )
        elif delta.paths == 0:
            click.echo(f"no delta from {delta.base}: it has all paths of the release")
        else:
            click.echo(f"no delta from {delta.base}: it has {size}, and its paths {download} in the cache")
    for name in done.dropped:
        click.echo(f"{'would drop' if dry_run else 'dropped'} the deltas to {name}: the index has no room for them")
    for name in done.removed:
        click.echo(f"{'would remove' if dry_run else 'removed'} the file of an old release {name}")
