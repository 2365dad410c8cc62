"""`nixoci generate` and `nixoci module`: Nix text for a lock and for containers."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import click

from nixoci.cli.common import json_option, lock_option, print_json, read_lock_from, readable_lock_option, warn
from nixoci.cli.files import INPUT, PATH, Input, Output, output_option
from nixoci.cli.verb import verb
from nixoci.container.model import Deployment
from nixoci.document import load, parse, unstructure
from nixoci.errors import LockError
from nixoci.lock.file import read_lock
from nixoci.lock.model import Lock
from nixoci.nix_language.default_nix import render_default_nix
from nixoci.nix_language.module import render_module
from nixoci.nix_language.tools_source import checkout_path, flake_reference, is_pinned, relative_path


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenText:
    """A file of Nix text, whether its content changed, and the names of what it has."""

    output: str
    changed: bool
    images: list[str]
    containers: list[str]


_check_option = click.option(
    "--check", is_flag=True, help="Write nothing; fail if the content of the output FILE would change."
)


@verb(
    examples=[
        "nixoci generate --nixoci nixoci --output default.nix",
        "nixoci generate --flake github:OWNER/REPO/REVISION --containers containers.json --output default.nix",
        "nixoci generate --nixoci nixoci --output default.nix --check",
    ],
)
@readable_lock_option
@click.option(
    "--containers",
    type=INPUT,
    metavar="FILE",
    help="Also build the units of the containers in FILE; - is standard input.",
)
@output_option
@click.option("--flake", metavar="REF", help="The flake of the default tools: a URL with a revision, or a directory.")
@click.option(
    "--nixoci",
    "checkout",
    type=PATH,
    metavar="DIR",
    help="A checkout of nixoci that gives the default tools, for a Nix without flakes.",
)
@_check_option
@json_option
def generate(
    *,
    lock: Input,
    containers: Input | None,
    output: Output,
    flake: str | None,
    checkout: Path | None,
    check: bool,
    as_json: bool,
) -> None:
    """Write a self-contained default.nix that builds the images of the lock, and the units of containers.

    `nix-build -A` builds images.NAME, imageStore, imageStore.rootless, layerCache, and with --containers units. There
    FILE is a deployment as `nixoci units --schema` describes it, without images.

    The tools of the builds come from --flake or --nixoci; without either, nix-build has to be given them (--argstr
    checkout DIR). With --output, Nix refuses to build once the lock file has changed, if it is in the same directory or
    below.
    """
    if flake is not None and checkout is not None:
        raise click.UsageError("--flake and --nixoci are two sources of the same tools; give one of them.")
    _need_output(output, check=check, as_json=as_json)
    deployment = None if containers is None else _read_deployment(containers)
    place = output.path.parent if output.path else Path()
    locked = read_lock_from(lock)
    text = render_default_nix(
        locked,
        deployment=deployment,
        flake=flake_reference(flake) if flake is not None else None,
        checkout=checkout_path(checkout, seen_from=place) if checkout is not None else None,
        lock_file=_lock_beside(lock.path, locked, place) if output.path and lock.path else None,
    )
    if flake is not None and not is_pinned(flake_reference(flake)):
        warn(f"--flake {flake}: names no revision, so builds change when it does; add one (github:OWNER/REPO/REVISION)")
    options = {
        "--lock": lock.argument,
        "--containers": containers.argument if containers is not None else None,
        "--flake": flake,
        "--nixoci": str(checkout) if checkout is not None else None,
    }
    command = [part for name, given in options.items() if given is not None for part in (name, given)]
    _finish(
        text,
        output,
        images=locked.images,
        containers=deployment.containers if deployment else (),
        made_from=containers or lock,
        command=["generate", *command],
        check=check,
        as_json=as_json,
    )


def _lock_beside(lock: Path, locked: Lock, place: Path) -> PurePosixPath | None:
    """Return the path of the lock file as Nix finds it from `place`; None outside of that directory."""
    relative = relative_path(lock, seen_from=place)
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
@click.argument("file", type=INPUT)
@lock_option
@output_option
@_check_option
@json_option
def module(*, file: Input, lock: Path, output: Output, check: bool, as_json: bool) -> None:
    """Write a module that declares the containers of FILE in NixOS or home-manager.

    FILE is a deployment, as `nixoci units --schema` describes it; - is standard input. Its images are store paths; if
    it has none, the module uses those of the lock, by a path relative to the module's file (without --output, to the
    current directory).
    """
    _need_output(output, check=check, as_json=as_json)
    deployment = _read_deployment(file)
    images = list(deployment.images)
    if images:
        text = render_module(deployment)
    else:
        place = output.path.parent if output.path else Path()
        lock_file = relative_path(lock, seen_from=place)
        locked = read_lock(lock)
        images = list(locked.images)
        text = render_module(deployment, lock=locked, lock_file=lock_file)
    _finish(
        text,
        output,
        images=images,
        containers=deployment.containers,
        made_from=file,
        command=["module", file.argument, "--lock", str(lock)],
        check=check,
        as_json=as_json,
    )


def _read_deployment(file: Input) -> Deployment:
    return parse(Deployment, file.read_bytes(), what=str(file), strict=True)


def _need_output(output: Output, *, check: bool, as_json: bool) -> None:
    if output.path is None and check:
        raise click.UsageError("--check needs --output, the file to check.")
    if output.path is None and as_json:
        raise click.UsageError("the text goes to stdout: give --output FILE to print JSON there")


def _finish(
    text: str,
    output: Output,
    *,
    images: Iterable[str],
    containers: Iterable[str],
    made_from: Input,
    command: list[str],
    check: bool,
    as_json: bool,
) -> None:
    """Write the text, or check that the file has it, and print the outcome as JSON."""
    changed = output.differs(text) if check else output.write(text)
    if as_json:
        print_json(WrittenText(output=str(output), changed=changed, images=list(images), containers=list(containers)))
    if check and changed:
        again = shlex.join(["nixoci", *command, "--output", str(output)])
        raise LockError(f"{output}: not up to date with {made_from}; run `{again}`")
