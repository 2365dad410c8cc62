"""`nixoci show`: the facts in the lock about one image."""

import shlex

import click
from rich.filesize import decimal

from nixoci.cli.common import json_option, print_json, read_lock_from, readable_lock_option, warn
from nixoci.cli.completers import complete_name
from nixoci.cli.files import Input
from nixoci.cli.table import print_fields, print_table
from nixoci.cli.verb import verb
from nixoci.document import structure, unstructure
from nixoci.image_path import FORMAT_VERSION
from nixoci.lock.model import LockedImage, LockedPlatform
from nixoci.oci.model import ExecutionConfig, ImageConfig

_WORLD_READABLE = (
    "every user of the machine can read every file in the Nix store, also files that are private in the image (mode"
    " 0600): do not build images with secrets in them"
)


@verb(
    examples=[
        "nixoci show web",
        "nixoci show web --json | jq .digest",
    ],
)
@click.argument("name", shell_complete=complete_name)
@readable_lock_option
@json_option
def show(*, name: str, lock: Input, as_json: bool) -> None:
    """Show the platforms, layers, sizes and execution config of the image NAME."""
    image = read_lock_from(lock).select([name])[name]
    warnings = _warnings(name, image)
    if as_json:
        print_json({"name": name, **unstructure(image), "warnings": warnings})
        return
    print_fields(name, [("reference", image.reference), ("digest", str(image.digest))])
    for key, platform in image.platforms.items():
        click.echo()
        print_fields(key, _platform(platform))
        if platform.layers:
            rows = [
                [f"  {number}", str(layer.digest), decimal(layer.size), layer.media_type]
                for number, layer in enumerate(platform.layers, 1)
            ]
            print_table(["  layer", "digest", "size", "media type"], rows)
    click.echo()
    for warning in warnings:
        warn(warning)


def _platform(platform: LockedPlatform) -> list[tuple[str, str]]:
    config = structure(ImageConfig, platform.config.value, what=f"config {platform.config.digest}")
    run = config.config or ExecutionConfig()
    return [
        ("manifest", str(platform.manifest.digest)),
        ("config", str(platform.config.digest)),
        ("narHash", platform.nar_hash.hash if platform.nar_hash else ""),
        ("size", f"{decimal(sum(layer.size for layer in platform.layers))}, layers: {len(platform.layers)}"),
        ("created", config.created or ""),
        ("entrypoint", shlex.join(run.entrypoint or ())),
        ("cmd", shlex.join(run.cmd or ())),
        ("user", run.user or ""),
        ("workdir", run.working_dir or ""),
        ("ports", " ".join(sorted(run.exposed_ports or ()))),
        ("volumes", " ".join(sorted(run.volumes or ()))),
    ]


def _warnings(name: str, image: LockedImage) -> list[str]:
    old = [
        f"{key}: narHash is of extraction format {platform.nar_hash.format}, this nixoci writes {FORMAT_VERSION}; run"
        f" `nixoci prefetch {name}`"
        for key, platform in image.platforms.items()
        if platform.nar_hash is not None and platform.nar_hash.format != FORMAT_VERSION
    ]
    return [*old, _WORLD_READABLE]
