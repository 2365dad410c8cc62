"""`nixoci image-store`: image paths become one image store that podman reads."""

from pathlib import Path

import click

from nixoci.cli.common import json_option, print_json
from nixoci.image_path import ImagePath
from nixoci.image_store.build import MKCOMPOSEFS, build_image_store
from nixoci.image_store.rootless import MOUNT_PROGRAM
from nixoci.image_store.storage_conf import FUSE_OVERLAYFS, storage_conf


@click.command("image-store")
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("image_path", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--rootless",
    is_flag=True,
    help="Make a store for rootless podman, with a program that mounts, which storage.conf has to name.",
)
@click.option(
    "--no-erofs",
    is_flag=True,
    help="Leave out what older kernels and podmans do not mount; files then lose owners, suid bits and capabilities.",
)
@click.option(
    "--mkcomposefs",
    default=MKCOMPOSEFS,
    show_default=True,
    metavar="PROGRAM",
    help="The program that writes the EROFS files.",
)
@click.option(
    "--storage-conf",
    "conf",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a storage.conf that makes podman use the store.",
)
@click.option(
    "--fuse-overlayfs",
    type=click.Path(path_type=Path, dir_okay=False),
    default=FUSE_OVERLAYFS,
    show_default=True,
    metavar="PROGRAM",
    help="What mounts for a rootless user, for --storage-conf with --no-erofs.",
)
@json_option
def image_store(
    *,
    out: Path,
    image_path: tuple[Path, ...],
    rootless: bool,
    no_erofs: bool,
    mkcomposefs: str,
    conf: Path | None,
    fuse_overlayfs: Path,
    as_json: bool,
) -> None:
    """Make OUT, podman's read-only image store over the image paths that `nixoci extract` made.

    Nothing is copied: the store refers to the image paths, which must stay where they are. With a later store
    over the same images, their containers go on.
    """
    if rootless and no_erofs:
        raise click.UsageError("--rootless and --no-erofs are two kinds of store; give one of them")
    paths = dict.fromkeys(path.resolve() for path in image_path)
    stored = build_image_store(
        out.absolute(),
        [ImagePath.open(path) for path in paths],
        mkcomposefs=None if no_erofs else mkcomposefs,
        rootless=rootless,
    )
    if conf is not None:
        program = out.resolve() / MOUNT_PROGRAM if rootless else fuse_overlayfs if no_erofs else None
        text = storage_conf(out.resolve(), mount_program=program)
        conf.write_text(text, encoding="utf-8")
    if as_json:
        print_json(stored)
