"""`nixoci generate` and `nixoci module`: Nix text for a lock and for containers."""

import os
import shlex
from pathlib import Path, PurePosixPath

import click

from nixoci.cli.common import lock_option, warn
from nixoci.cli.verb import verb
from nixoci.container.model import Deployment
from nixoci.document import load, unstructure
from nixoci.errors import LockError
from nixoci.lock.file import read_lock
from nixoci.lock.model import Lock
from nixoci.nix_language.default_nix import render_default_nix
from nixoci.nix_language.module import render_module
from nixoci.nix_language.tools_source import checkout_path, flake_reference, is_pinned
from nixoci.output import write_if_changed

_FILE = click.Path(path_type=Path, dir_okay=False)
_output_option = click.option("-o", "--output", type=_FILE, metavar="FILE", help="Write to FILE instead of stdout.")
_check_option = click.option(
    "--check", is_flag=True, help="Write nothing; fail if the content of the output FILE would change."
)


@verb(
    examples=[
        "nixoci generate --nixoci nixoci --output default.nix",
        "nixoci generate --flake github:OWNER/REPO/REVISION --containers containers.json --output default.nix",
        "nixoci generate --output default.nix --check",
    ],
)
@lock_option
@click.option("--containers", type=_FILE, metavar="FILE", help="Also build the units of the containers in FILE.")
@_output_option
@click.option("--flake", metavar="REF", help="The flake of the default tools: a URL with a revision, or a directory.")
@click.option(
    "--nixoci",
    "checkout",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A checkout of nixoci that gives the default tools, for a Nix without flakes.",
)
@_check_option
def generate(
    *, lock: Path, containers: Path | None, output: Path | None, flake: str | None, checkout: Path | None, check: bool
) -> None:
    """Write a self-contained default.nix that builds the images of the lock, and the units of containers.

    With --containers, FILE is a deployment as `nixoci units --schema` describes it, without images. The tools of the
    builds come from --flake or --nixoci; without either, nix-build has to be given them (--argstr checkout DIR). With
    --output, Nix refuses to build once the lock file has changed, if it is in the same directory or below.
    """
    if flake is not None and checkout is not None:
        raise click.UsageError("--flake and --nixoci are two sources of the same tools; give one of them.")
    deployment = None if containers is None else Deployment.read(containers)
    place = output.parent if output else Path()
    locked = read_lock(lock)
    text = render_default_nix(
        locked,
        deployment=deployment,
        flake=flake_reference(flake) if flake is not None else None,
        checkout=checkout_path(checkout, seen_from=place) if checkout is not None else None,
        lock_file=_lock_beside(lock, locked, place) if output else None,
    )
    if flake is not None and not is_pinned(flake_reference(flake)):
        warn(f"--flake {flake}: names no revision, so builds change when it does; add one (github:OWNER/REPO/REVISION)")
    options = {"--lock": lock, "--containers": containers, "--flake": flake, "--nixoci": checkout}
    command = [part for name, given in options.items() if given is not None for part in (name, str(given))]
    _put(text, output, made_from=containers or lock, command=["generate", *command], check=check)


def _lock_beside(lock: Path, locked: Lock, place: Path) -> PurePosixPath | None:
    """Return the path of the lock file as Nix finds it from `place`; None outside of that directory."""
    relative = PurePosixPath(os.path.relpath(lock.resolve(), place.resolve()))
    if ".." in relative.parts:
        return None
    # Nix compares values: defaults that were written out by hand would look like a change
    return relative if load(lock.read_bytes(), what=str(lock)) == unstructure(locked) else None


@verb(
    examples=[
        "nixoci module containers.json",
        "nixoci module containers.json --output containers.nix",
    ],
)
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
