"""`nixoci generate` and `nixoci module`: Nix text for a lock and for containers."""

import os
import shlex
from pathlib import Path, PurePosixPath

import click

from nixoci.cli.common import lock_option
from nixoci.container.model import Deployment
from nixoci.errors import LockError
from nixoci.lock.file import read_lock
from nixoci.nix_language.default_nix import DEFAULT_FLAKE, render_default_nix
from nixoci.nix_language.module import render_module
from nixoci.output import write_if_changed

_FILE = click.Path(path_type=Path, dir_okay=False)
_output_option = click.option("-o", "--output", type=_FILE, metavar="FILE", help="Write to FILE instead of stdout.")
_check_option = click.option(
    "--check", is_flag=True, help="Write nothing; fail if the content of the output FILE would change."
)


@click.command()
@lock_option
@click.option("--containers", type=_FILE, metavar="FILE", help="Also build the units of the containers in FILE.")
@_output_option
@click.option(
    "--flake",
    default=DEFAULT_FLAKE,
    show_default=True,
    metavar="REF",
    help="Flake of the default tools.",
)
@_check_option
def generate(*, lock: Path, containers: Path | None, output: Path | None, flake: str, check: bool) -> None:
    """Write a self-contained default.nix that builds the images of the lock, and the units of containers.

    With --containers, FILE is a deployment as `nixoci units --schema` describes it, without images.
    """
    deployment = None if containers is None else Deployment.read(containers)
    text = render_default_nix(read_lock(lock), deployment=deployment, flake=flake)
    sources = ["--lock", str(lock), *(["--containers", str(containers)] if containers else [])]
    _put(text, output, made_from=containers or lock, command=["generate", *sources], check=check)


@click.command()
@click.argument("file", type=_FILE)
@lock_option
@_output_option
@_check_option
def module(*, file: Path, lock: Path, output: Path | None, check: bool) -> None:
    """Write a module that declares the containers of FILE in NixOS or home-manager.

    FILE is a deployment, as `nixoci units --schema` describes it. Its images are store paths; if it has none, the
    module uses those of the lock, by a path relative to the module's file (without --output, to the current directory).
    """
    deployment = Deployment.read(file)
    if deployment.images:
        text = render_module(deployment)
    else:
        place = output.parent if output else Path()
        lock_file = PurePosixPath(os.path.relpath(lock.resolve(), place.resolve()))
        text = render_module(deployment, lock=read_lock(lock), lock_file=lock_file)
    _put(text, output, made_from=file, command=["module", str(file), "--lock", str(lock)], check=check)


def _put(text: str, output: Path | None, *, made_from: Path, command: list[str], check: bool) -> None:
    """Print the text, write it, or check that the file has it."""
    if output is None:
        if check:
            raise click.UsageError("--check needs --output, the file to check.")
        click.echo(text, nl=False)
    elif not check:
        write_if_changed(output, text)
    elif not output.exists() or output.read_bytes() != text.encode():
        again = shlex.join(["nixoci", *command, "--output", str(output)])
        raise LockError(f"{output}: not up to date with {made_from}; run `{again}`")
