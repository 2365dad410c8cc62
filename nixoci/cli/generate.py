"""`nixoci generate`: Nix for a lock."""

from pathlib import Path

import click

from nixoci.cli.common import lock_option
from nixoci.errors import LockError
from nixoci.files import write_if_changed
from nixoci.lock.file import read_lock
from nixoci.nix import generate as nix


@click.command()
@lock_option
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Not to stdout.")
@click.option("--flake", default=nix.DEFAULT_FLAKE, show_default=True, metavar="REF", help="The tools' flake.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if FILE is not what would be written.")
def generate(lock: Path, output: Path | None, flake: str, check: bool) -> None:  # noqa: FBT001 - click's way
    """Write a self-contained default.nix that builds the images of the lock."""
    text = nix.generate(read_lock(lock), flake=flake)
    if output is None:
        if check:
            raise click.UsageError("--check needs --output, the file to check.")
        click.echo(text, nl=False)
    elif not check:
        write_if_changed(output, text)
    elif not output.exists() or output.read_bytes() != text.encode():
        raise LockError(f"{output}: not what {lock} gives; run `nixoci generate --lock {lock} --output {output}`")
