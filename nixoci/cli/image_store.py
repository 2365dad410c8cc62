"""`nixoci image-store`: build an image store for podman over image paths."""

import shutil
from contextlib import nullcontext
from pathlib import Path

import click

from nixoci.cli.common import json_option, print_json, warn
from nixoci.cli.files import OUTPUT, PATH, Output
from nixoci.cli.verb import verb
from nixoci.errors import NixociError, StoreError
from nixoci.image_path import ImagePath
from nixoci.image_store.build import MKCOMPOSEFS, ListedImage, build_image_store
from nixoci.image_store.contents import is_image_store
from nixoci.image_store.join import join_image_stores
from nixoci.image_store.rootless import MOUNT_PROGRAM
from nixoci.image_store.storage_conf import (
    DROP_IN_MOUNT_OPTIONS,
    FUSE_OVERLAYFS,
    render_storage_conf,
    render_storage_drop_in,
)
from nixoci.output import missing_directories


@verb(
    "image-store",
    examples=[
        "nixoci image-store store image",
        "nixoci image-store store web database --storage-conf storage.conf",
        "nixoci image-store --rootless store image",
        "nixoci image-store store web-store database-store",
        "nixoci image-store --self-contained --prefix /usr/lib/nixoci store image --drop-in 50-nixoci.conf",
        "nixoci image-store store image --drop-in 50-nixoci.conf --mountopt nodev,redirect_dir=on",
    ],
)
@click.argument("out", type=PATH)
@click.argument("path", nargs=-1, type=PATH)
@click.option(
    "--rootless",
    is_flag=True,
    help="Build a store for rootless podman, with a mount program that storage.conf has to name.",
)
@click.option(
    "--no-erofs",
    is_flag=True,
    help="Leave out EROFS files, which old kernels and podmans cannot mount; files lose owners, suid and capabilities.",
)
@click.option(
    "--self-contained",
    is_flag=True,
    help="Copy the images into the store, equal files once, for machines without a Nix store.",
)
@click.option(
    "--prefix",
    type=PATH,
    metavar="DIR",
    help="Place of the store on the machine that uses it, for the files that name it; by default OUT.",
)
@click.option(
    "--mkcomposefs",
    default=MKCOMPOSEFS,
    show_default=True,
    metavar="PROGRAM",
    help="Program that writes the EROFS files.",
)
@click.option(
    "--storage-conf",
    "conf",
    type=OUTPUT,
    metavar="FILE",
    help="Also write a storage.conf that makes podman use the store; - is standard output.",
)
@click.option(
    "--drop-in",
    type=OUTPUT,
    metavar="FILE",
    help="Also write a drop-in of storage.conf that adds the store, for podman 5.8 and newer; - is standard output.",
)
@click.option(
    "--mountopt",
    metavar="OPTIONS",
    help="mountopt in --drop-in, instead of the distribution's; redirect_dir=on or metacopy=on has to be in it. By"
    f" default {DROP_IN_MOUNT_OPTIONS}; none for a drop-in in OUT, as `nixoci switch` sets what the machine needs.",
)
@click.option(
    "--images-service",
    type=OUTPUT,
    metavar="FILE",
    help="Also write a unit that mounts the images in /run/nixoci/images, for other programs; - is standard output.",
)
@click.option(
    "--fuse-overlayfs",
    type=PATH,
    default=FUSE_OVERLAYFS,
    show_default=True,
    metavar="PROGRAM",
    help="Mount program of a rootless user, for --storage-conf and --drop-in with --no-erofs.",
)
@json_option
def image_store(
    *,
    out: Path,
    path: tuple[Path, ...],
    rootless: bool,
    no_erofs: bool,
    self_contained: bool,
    prefix: Path | None,
    mkcomposefs: str,
    conf: Output | None,
    drop_in: Output | None,
    mountopt: str | None,
    images_service: Output | None,
    fuse_overlayfs: Path,
    as_json: bool,
) -> None:
    """Build OUT, a read-only image store for podman over image paths made by `nixoci extract`.

    Nothing is copied: the store refers to the image paths, which must stay where they are. Existing containers keep
    working with a later store over the same images.

    Each PATH is an image path. Or each PATH is another image store, which OUT then links: a store for each image makes
    a change of one image cost that image alone. Without a PATH, as for a lock without images, OUT has no image.

    A store that is --self-contained refers to nothing, and can be copied into the image of an operating system; copy it
    with its hardlinks (`cp --archive`, `rsync --hard-links`, tar).
    """
    outputs = {"--storage-conf": conf, "--drop-in": drop_in, "--images-service": images_service}
    _check_options(
        outputs, prefix, rootless=rootless, no_erofs=no_erofs, self_contained=self_contained, as_json=as_json
    )
    if mountopt is not None and (drop_in is None or rootless or no_erofs):
        raise click.UsageError("--mountopt is for --drop-in, and for root's images with EROFS files")
    place = prefix or out.resolve()
    program = place / MOUNT_PROGRAM if rootless else fuse_overlayfs if no_erofs else None
    files: list[tuple[Output, str]] = []
    if conf is not None:
        files.append((conf, render_storage_conf(place, mount_program=program)))
    if drop_in is not None:
        options = _default_mountopt(drop_in, out) if mountopt is None else mountopt
        files.append((drop_in, render_storage_drop_in(place, mount_program=program, mount_options=options)))
    if images_service is not None:
        files.append((images_service, _images_service(place)))
    for output, text in files:
        output.check(text)
    stored = _make(
        out.absolute(),
        list(dict.fromkeys(each.resolve() for each in path)),
        mkcomposefs=None if no_erofs else mkcomposefs,
        rootless=rootless,
        self_contained=self_contained,
    )
    try:
        for output, text in files:
            with nullcontext() if output.path is None else missing_directories(output.path.parent):
                output.write(text)
    except (NixociError, OSError):  # the next run could not make OUT again
        shutil.rmtree(out, ignore_errors=True)
        raise
    _warn_of(stored)
    if as_json:
        print_json(stored)


def _warn_of(images: list[ListedImage]) -> None:
    for image in images:
        for warning in image.warnings:
            warn(warning)
        if not image.names:
            warn(
                f"{image.path}: the image has no name, and podman finds it by its id alone; extract it with --reference"
            )


def _check_options(
    outputs: dict[str, Output | None],
    prefix: Path | None,
    *,
    rootless: bool,
    no_erofs: bool,
    self_contained: bool,
    as_json: bool,
) -> None:
    if rootless and no_erofs:
        raise click.UsageError("--rootless and --no-erofs are two kinds of store; give one of them")
    if as_json and Output(path=None) in outputs.values():
        raise click.UsageError(f"--json prints to standard output too; give {' and '.join(outputs)} a file")
    if outputs["--images-service"] is not None and (rootless or no_erofs):
        raise click.UsageError("--images-service mounts EROFS files; leave out --rootless and --no-erofs")
    if prefix is not None and not self_contained:
        raise click.UsageError("--prefix is the place of a copy; give it with --self-contained")
    if prefix is not None and not prefix.is_absolute():
        raise click.UsageError(f"--prefix {prefix} is not an absolute path")


def _default_mountopt(drop_in: Output, out: Path) -> str:
    is_in_store = drop_in.path is not None and drop_in.path.absolute().is_relative_to(out.absolute())
    return "" if is_in_store else DROP_IN_MOUNT_OPTIONS


def _images_service(place: Path) -> str:
    # imported late: no build of an image store needs it
    from nixoci.units.images import store_service  # noqa: PLC0415

    return store_service(place).render()


def _make(
    out: Path, paths: list[Path], *, mkcomposefs: str | None, rootless: bool, self_contained: bool
) -> list[ListedImage]:
    """Build a store over image paths, or join stores."""
    stores = [path for path in paths if is_image_store(path)]
    if not stores:
        images = [ImagePath.open(path) for path in paths]
        return build_image_store(out, images, mkcomposefs=mkcomposefs, rootless=rootless, self_contained=self_contained)
    if self_contained or mkcomposefs is None:
        raise click.UsageError(f"{stores[0]} is an image store, which is joined as it is; give image paths")
    for path in paths:
        if path not in stores:
            raise StoreError(f"{stores[0]} is an image store and {path} is none; give paths of one kind")
    return join_image_stores(out, stores, rootless=rootless)
