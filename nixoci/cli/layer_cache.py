"""`nixoci layer-cache`: build a cache of layers for containerd's EROFS snapshotter."""

from contextlib import ExitStack
from pathlib import Path

import click

from nixoci.cli.common import assignment, json_option, parsed_by, platform_option, print_json, warn
from nixoci.cli.files import PATH
from nixoci.cli.local_sources import blobs_option, limit_options, open_local_source, parse_local_source
from nixoci.cli.verb import verb
from nixoci.errors import StoreError
from nixoci.layer_cache.build import (
    CachedLayer,
    SourceLayer,
    build_layer_cache,
    distinct_layers,
    join_layer_caches,
)
from nixoci.layer_cache.erofs import MKFS_EROFS
from nixoci.oci.blobs import BlobFiles
from nixoci.oci.digest import Digest
from nixoci.oci.image import Layer
from nixoci.oci.model import Platform
from nixoci.oci.resolve import resolve_image
from nixoci.progress import byte_progress
from nixoci.tree.limits import Limits


def _layer(text: str) -> tuple[Digest, Digest]:
    diff_id, digest = assignment(text, "DIFF_ID=DIGEST")
    return Digest.parse(diff_id), Digest.parse(digest)


@verb(
    "layer-cache",
    examples=[
        "nixoci layer-cache cache oci:layout:1.0",
        "nixoci layer-cache cache oci-archive:web.tar docker-archive:database.tar --platform linux/arm64",
        "nixoci layer-cache everything cache other-cache",
    ],
)
@click.argument("out", type=PATH)
@click.argument("source", nargs=-1)
@click.option(
    "--layer",
    "layers",
    type=parsed_by(_layer),
    multiple=True,
    metavar="DIFF_ID=DIGEST",
    help="Add a single layer, whose blob --blob gives.",
)
@blobs_option
@platform_option("The platform of the images; by default this machine's.")
@click.option(
    "--mkfs-erofs",
    default=MKFS_EROFS,
    show_default=True,
    metavar="PROGRAM",
    help="Program that writes the EROFS files.",
)
@limit_options
@json_option
def layer_cache(
    *,
    out: Path,
    source: tuple[str, ...],
    layers: tuple[tuple[Digest, Digest], ...],
    blobs: dict[Digest, Path],
    platform: Platform | None,
    mkfs_erofs: str,
    limits: Limits,
    as_json: bool,
) -> None:
    """Build OUT, a layer cache for containerd 2.4: each layer of the images as an EROFS file, named by its diff id.

    A containerd whose layer_content_caches lists OUT mounts these files, and neither fetches nor unpacks the layers.

    Each SOURCE is oci:DIR[:TAG], oci:DIR@DIGEST, oci-archive:FILE[:TAG], docker-archive:FILE[:REF], or
    blobs:MANIFEST_DIGEST with the files of the blobs given by --blob. A FILE that is - is standard input. Or each
    SOURCE is the directory of another layer cache, whose files OUT then links. Without a SOURCE, as for a lock without
    images, OUT has no layer.
    """
    caches = [Path(text) for text in source if text and ":" not in text and Path(text).is_dir()]
    if caches:
        if layers or len(caches) < len(source):
            other = next((text for text in source if Path(text) not in caches), "--layer")
            raise StoreError(f"{caches[0]} is a layer cache and {other} is none; give sources of one kind")
        made = join_layer_caches(out.absolute(), [cache.absolute() for cache in caches])
    else:
        made = _build(out.absolute(), source, layers, blobs, platform, mkfs_erofs=mkfs_erofs, limits=limits)
    for warning in (warning for layer in made for warning in layer.warnings):
        warn(warning)
    if as_json:
        print_json(made)


def _build(
    out: Path,
    sources: tuple[str, ...],
    layers: tuple[tuple[Digest, Digest], ...],
    blobs: dict[Digest, Path],
    platform: Platform | None,
    *,
    mkfs_erofs: str,
    limits: Limits,
) -> list[CachedLayer]:
    """Build a cache of the layers of images, and of single layers."""
    with ExitStack() as stack:
        images = []
        for text, parsed in [(text, parse_local_source(text)) for text in sources]:
            opened = stack.enter_context(open_local_source(text, parsed, blobs=blobs, limits=limits))
            images.append((opened, resolve_image(opened, platform)))
        found = {given.layer.diff_id: given for given in distinct_layers(images)}
        for diff_id, digest in layers:
            blob = BlobFiles.open_layer(digest, blobs, name=f"--layer {diff_id}")
            layer = Layer(descriptor=blob.root, diff_id=diff_id)
            found.setdefault(diff_id, SourceLayer(source=blob, layer=layer))
        total = sum(given.layer.descriptor.size for given in found.values())
        with byte_progress("converting layers", total) as advance:
            return build_layer_cache(out, list(found.values()), mkfs_erofs=mkfs_erofs, limits=limits, advance=advance)
