"""`nixoci import`: Compose files as containers of the model, and their images in the lock."""

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import click

from nixoci.cli.common import access_options, dry_run_option, json_option, lock_option, print_json, warn
from nixoci.cli.files import INPUT, PATH, Input, Output, output_option
from nixoci.cli.verb import verb
from nixoci.compose.images import NeededImage
from nixoci.compose.load import DEFAULT_FILES, OVERRIDE_FILES, ComposeFile, load_project, project_variables
from nixoci.compose.project import Imported, import_project
from nixoci.compose.report import Omission, located
from nixoci.container.model import Deployment
from nixoci.document import dump
from nixoci.errors import ComposeError, ContainerError, LockError
from nixoci.lock.context import LockContext
from nixoci.lock.file import exclusive_access, read_lock, write_lock
from nixoci.lock.model import EMPTY_LOCK, Lock
from nixoci.lock.pin import add_image
from nixoci.nix_language.declared import check_declared
from nixoci.nix_language.module import render_module
from nixoci.nix_language.tools_source import relative_path
from nixoci.oci.model import Platform
from nixoci.oci.registry import RegistryAccess
from nixoci.output import check_file
from nixoci.progress import item_progress
from nixoci.user import home_directory


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary:
    """The result of an import; `commands` are those that pin the missing images."""

    project: str
    images: list[NeededImage]
    deployment: Deployment
    commands: list[str] = field(default_factory=list)
    left_out: list[Omission] = field(default_factory=list)


@verb(
    "import",
    examples=[
        "nixoci import --add --output containers.json",
        "nixoci import compose.yaml compose.prod.yaml --profile debug --format nix --output containers.nix --add",
        "nixoci import --dry-run --json",
    ],
)
@click.argument("files", metavar="[FILE]...", nargs=-1, type=INPUT)
@click.option(
    "--profile", "profiles", metavar="NAME", multiple=True, help="Also the services of this profile; * is all."
)
@click.option(
    "--env-file",
    "env_files",
    metavar="FILE",
    multiple=True,
    type=PATH,
    help="Variables of the Compose files, in place of .env; may be repeated.",
)
@click.option("--project-name", metavar="NAME", help="The prefix of all names; by default that of Compose.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(("json", "nix")),
    default="json",
    show_default=True,
    help="A deployment in JSON, or a module for NixOS and home-manager.",
)
@output_option
@click.option("--add", is_flag=True, help="Pin the images in the lock; without it, print the commands that do.")
@click.option("--strict", is_flag=True, help="Fail, and write nothing, if something is left out.")
@lock_option
@access_options
@dry_run_option
@json_option
def import_compose(
    *,
    files: tuple[Input, ...],
    profiles: tuple[str, ...],
    env_files: tuple[Path, ...],
    project_name: str | None,
    kind: str,
    output: Output,
    add: bool,
    strict: bool,
    lock: Path,
    access: RegistryAccess,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the services of Compose files as containers.

    Several FILEs merge, as with `docker compose -f`; - is standard input. Without FILE they are those of $COMPOSE_FILE,
    or compose.yaml of the current directory, with compose.override.yaml if that is there. The document goes to `nixoci
    module` or `nixoci generate --containers`. A line on stderr names each thing that is left out, with its file and
    line.
    """
    env_files = env_files or tuple(map(Path, filter(None, os.environ.get("COMPOSE_ENV_FILES", "").split(","))))
    project = load_project(
        [_read(file) for file in files or _default_files(env_files)],
        environment=os.environ,
        name=project_name,
        profiles=profiles,
        env_files=env_files,
    )
    known = f"choose one of {', '.join(project.profiles)}" if project.profiles else "drop it, for none has a profile"
    for profile in project.unknown_profiles:
        warn(f"profile {profile!r}: no service has it; {known}")
    with exclusive_access(lock):
        before = read_lock(lock) if lock.exists() else EMPTY_LOCK
        imported = import_project(project, before, home=str(home_directory() or ""))
        _print_omissions(imported)
        if strict and imported.omissions:
            if as_json:
                _print_summary(imported, added=False)
            count = len(imported.omissions)
            raise ComposeError(
                f"{project.document.place.file}: {count} {'part is' if count == 1 else 'parts are'} left out; change"
                " them, or drop --strict"
            )
        after = _with_images(before, imported, LockContext.of(lock, access)) if add else before
        text = _text(imported, kind, lock, after, output)
        if not dry_run and after != before:
            check_file(lock)
        # first what can fail for more reasons: then the lock is as it was
        if not dry_run and output.path is not None:
            output.write(text)
        if not dry_run and after != before:
            write_lock(lock, after)
    if as_json:
        _print_summary(imported, added=add)
    else:
        _print_images(imported, added=add, dry_run=dry_run)
    if (dry_run or output.path is None) and not as_json:
        Output(path=None).write(text)


def _default_files(env_files: tuple[Path, ...]) -> list[Input]:
    """Return the files that $COMPOSE_FILE names, or that of the current directory and the one that overrides it."""
    variables = project_variables(Path(), environment=os.environ, env_files=env_files)
    if named := variables.get("COMPOSE_FILE"):
        return [Input(path=Path(name)) for name in named.split(variables.get("COMPOSE_PATH_SEPARATOR") or os.pathsep)]
    base = _first(DEFAULT_FILES)
    if base is None:
        raise ComposeError(
            f"{DEFAULT_FILES[0]}: no such file here, and no {' or '.join(DEFAULT_FILES[1:])}; name a FILE"
        )
    override = _first(OVERRIDE_FILES)
    return [Input(path=path) for path in (base, override) if path is not None]


def _first(names: Iterable[str]) -> Path | None:
    return next((Path(name) for name in names if Path(name).is_file()), None)


def _read(file: Input) -> ComposeFile:
    directory = file.path.parent if file.path is not None else Path()
    return ComposeFile(name=str(file), text=file.read_bytes(), directory=directory.absolute())


def _with_images(lock: Lock, imported: Imported, context: LockContext) -> Lock:
    missing = [image for image in imported.images if not image.locked]
    with item_progress("reading images", len(missing)) as advance:
        for image in missing:
            platforms = [Platform.parse(platform) for platform in image.platforms]
            lock, _ = add_image(lock, image.reference, context=context, name=image.name, platforms=platforms)
            advance(1)
    return lock


def _text(imported: Imported, kind: str, lock: Path, locked: Lock, output: Output) -> str:
    """Return the document, which follows the rules of containers."""
    missing = [image.name for image in imported.images if image.name not in locked.images]
    try:
        check_declared(imported.deployment, locked, later=missing)
    except ContainerError as error:
        raise located(error, imported.origins) from error
    if kind == "json":
        return dump(imported.deployment)
    if missing:
        raise LockError(f"{lock}: has no image {missing[0]}, which the module needs; run again with --add")
    place = output.path.parent if output.path else Path()
    lock_file = relative_path(lock, seen_from=place)
    return render_module(imported.deployment, lock=locked, lock_file=lock_file)


def _print_omissions(imported: Imported) -> None:
    for omission in imported.omissions:
        warn(str(omission))


def _print_images(imported: Imported, *, added: bool, dry_run: bool) -> None:
    for image in imported.images:
        if not image.locked:
            would = "would be " if dry_run else ""
            line = f"{image.name}: {would}added: {image.reference}" if added else f"run: {shlex.join(image.command)}"
            click.echo(line, err=True)


def _print_summary(imported: Imported, *, added: bool) -> None:
    missing = [] if added else [image for image in imported.images if not image.locked]
    print_json(
        ImportSummary(
            project=imported.project,
            images=imported.images,
            deployment=imported.deployment,
            commands=[shlex.join(image.command) for image in missing],
            left_out=imported.omissions,
        )
    )
