"""`nixoci units` and `nixoci bundle`: write containers as systemd units, or as one runtime-spec bundle."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from nixoci.bundle.build import build_bundle
from nixoci.bundle.seccomp import DEFAULT_PROFILE, UNCONFINED
from nixoci.cli.common import json_option, print_json, warn
from nixoci.cli.files import INPUT, PATH, Input
from nixoci.cli.verb import verb
from nixoci.container.model import Container, Deployment
from nixoci.container.schema import deployment_schema
from nixoci.document import json_key, load, parse, structure
from nixoci.errors import ContainerError
from nixoci.nix_language.attributes import with_members
from nixoci.units.build import build_units
from nixoci.units.directories import UnitsOutput
from nixoci.units.tools import Tools

_FIELDS = {json_key(field): field.name for field in fields(Deployment)}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenUnits:
    """The names of the files in an output, and the warnings about it."""

    out: str
    units: list[str]
    quadlets: list[str]
    bundles: list[str]
    warnings: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenBundle:
    """A bundle, the path of its root, and the names of its files."""

    name: str
    out: str
    root: str
    files: list[str]


def _tool_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for field in reversed(fields(Tools)):
        name = field.name.replace("_", "-")
        command = click.option(f"--{name}", metavar="FILE", help=f"Path of {name}.")(command)
    return command


_seccomp_option = click.option(
    "--seccomp",
    default=str(DEFAULT_PROFILE),
    show_default=True,
    metavar="FILE",
    help=f"Seccomp profile without podman, in the format of containers-common's seccomp.json, or `{UNCONFINED}`.",
)


@verb(
    examples=[
        "nixoci units deployment.json out",
        "nixoci units --user deployment.json out",
        "nixoci units --schema",
    ],
)
@click.argument("file", type=INPUT, required=False)
@click.argument("out", type=PATH, required=False)
@click.option("--user", is_flag=True, help="Write units for a user's own systemd.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of FILE and exit.")
@click.option("--attribute", metavar="NAME", help="Read the document at key NAME of FILE (`.attrs.json`).")
@click.option(
    "--only",
    metavar="NAME",
    help="Write the units of this container alone, whose backend is `bundle` or `systemd`; FILE may lack others.",
)
@click.option(
    "--bundle",
    "prebuilt",
    type=(str, PATH),
    metavar="NAME PATH",
    multiple=True,
    help="Link this bundle from PATH, an output of --only.",
)
@click.option("--option-prefix", default="", metavar="TEXT", help="Prefix of options of FILE in errors.")
@_seccomp_option
@_tool_options
@json_option
def units(
    *,
    file: Input | None,
    out: Path | None,
    user: bool,
    schema: bool,
    attribute: str | None,
    only: str | None,
    prebuilt: tuple[tuple[str, Path], ...],
    option_prefix: str,
    seccomp: str,
    as_json: bool,
    **tools: str | None,
) -> None:
    """Write the systemd units of the containers that FILE declares to the new directory OUT.

    FILE, where - is standard input, is {"images": {NAME: IMAGE_PATH}, "imageStore": PATH, "containers": {NAME: {...}}}.
    Units name OUT by its absolute path. podman's own generator checks every Quadlet file.
    """
    if schema:
        print_json(deployment_schema())
        return
    if file is None or out is None:
        raise click.UsageError("FILE and OUT are needed")
    if attribute is None:
        deployment = parse(Deployment, file.read_bytes(), what=str(file), strict=True)
    else:
        deployment = _read_attribute(file, attribute)
    bundles = any(not container.backend.uses_podman for container in deployment.containers.values())
    try:
        warnings = build_units(
            deployment,
            out.absolute(),
            tools=Tools.find(**tools),
            profile=_profile(seccomp) if bundles else None,
            user=user,
            only=only,
            prebuilt=dict(prebuilt),
        )
    except ContainerError as error:
        raise ContainerError(with_prefix(option_prefix, str(error), deployment)) from error
    shown = [with_prefix(option_prefix, warning, deployment) for warning in warnings]
    for warning in shown:
        warn(warning)
    if as_json:
        output = UnitsOutput(out=out, tools=Tools.find(**tools), user=user)
        print_json(
            WrittenUnits(
                out=str(out.absolute()),
                units=sorted(each.name for each in output.units.iterdir() if not each.is_dir()),
                quadlets=sorted(each.name for each in output.quadlets.iterdir()),
                bundles=sorted(each.name for each in output.bundles.iterdir()),
                warnings=shown,
            )
        )


@verb(
    examples=[
        "nixoci bundle image out",
        "nixoci bundle image out --container web.json --name web",
        "nixoci bundle image out --nspawn store",
    ],
)
@click.argument("image_path", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--container",
    "file",
    type=INPUT,
    metavar="FILE",
    help="JSON file with the container's options, without `image`; - is standard input.",
)
@click.option("--name", default="container", show_default=True, metavar="NAME", help="Name of the container.")
@click.option(
    "--nspawn",
    type=PATH,
    metavar="STORE",
    help="Write it as `systemd-nspawn --oci-bundle=` takes it, with the mounted image of this image store as its root.",
)
@_seccomp_option
@json_option
def bundle(
    *, image_path: Path, out: Path, file: Input | None, name: str, nspawn: Path | None, seccomp: str, as_json: bool
) -> None:
    """Write the bundle of a container of the image at IMAGE_PATH to the new directory OUT.

    Its root is the mount point of a unit of `nixoci units`, /run/nixoci/NAME/root, or the image path's own tree if the
    container is read-only and needs nothing that a store path cannot hold.
    """
    options = load(file.read_bytes(), what=str(file)) if file else {}
    defaults = {"image": name, "backend": "bundle", "networks": ["none"]}
    given = defaults | options if isinstance(options, dict) else options
    container = structure(Container, given, what=str(file or name), strict=True)
    made = build_bundle(container, image_path, out, name=name, profile=_profile(seccomp), nspawn=nspawn)
    if as_json:
        files = sorted(["config.json", *made.etc_files])
        root = made.config["root"]["path"]
        print_json(WrittenBundle(name=name, out=str(out.absolute()), root=root, files=files))


def _read_attribute(file: Input, attribute: str) -> Deployment:
    """Read a document from the structured attributes of a derivation."""
    attributes = load(file.read_bytes(), what=str(file))
    if not isinstance(attributes, dict) or attribute not in attributes:
        raise ContainerError(f"{file}: no attribute {attribute!r}; name the one that holds the document")
    return structure(Deployment, with_members(attributes[attribute]), what=attribute, strict=True)


def with_prefix(prefix: str, message: str, deployment: Deployment) -> str:
    """Add a prefix to the options in a message: the one that it starts with, and others that it names.

    Text that merely looks like an option, such as a quoted value, is left as it is.
    """
    groups = {key: getattr(deployment, name) for key, name in _FIELDS.items()}
    named = [f"{key}.{name}" for key, group in groups.items() if isinstance(group, dict) for name in group]
    first = rf"\A(?:{'|'.join(_FIELDS)})(?=[.:])"
    others = rf"(?<![\w.'\"/-])(?:{'|'.join(map(re.escape, named))})(?=[].:,;) [-]|\Z)"
    return re.sub(f"{first}|{others}" if named else first, lambda found: prefix + found[0], message)


def _profile(seccomp: str) -> Path | None:
    return None if seccomp == UNCONFINED else Path(seccomp)
