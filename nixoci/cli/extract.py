"""`nixoci extract`: extract an image to an image path."""

from pathlib import Path

import click

from nixoci.cli.common import json_option, parsed_by, platform_option, print_json, warn
from nixoci.cli.files import PATH, STANDARD
from nixoci.cli.local_sources import blobs_option, limit_options, open_local_source, parse_local_source
from nixoci.cli.verb import verb
from nixoci.extraction import extract as extract_image
from nixoci.extraction import total_bytes
from nixoci.lock.names import podman_name
from nixoci.malloc import keep_free_memory
from nixoci.oci.digest import Digest
from nixoci.oci.model import Platform
from nixoci.oci.resolve import resolve_image
from nixoci.oci.sources import BlobsSource, LocalSource
from nixoci.progress import byte_progress
from nixoci.tree.limits import Limits


@verb(
    examples=[
        "nixoci extract oci:layout:1.0 image",
        "podman save app | nixoci extract docker-archive:- image --name app",
        "nixoci extract docker-archive:app.tar image --name app --platform linux/arm64",
    ],
)
@click.argument("source")
@click.argument("dest", type=PATH)
@click.option("--name", metavar="NAME", help="The image's name; by default it follows from SOURCE.")
@click.option(
    "--reference",
    metavar="REF",
    help="The image's reference, the name by which engines find it; a local one is listed as localhost/NAME:TAG.",
)
@click.option(
    "--digest", type=parsed_by(Digest.parse), metavar="DIGEST", help="Digest that the reference has in the registry."
)
@platform_option("The platform to extract, if the image has several; by default this machine's.")
@blobs_option
@limit_options
@json_option
def extract(
    *,
    source: str,
    dest: Path,
    name: str | None,
    reference: str | None,
    digest: Digest | None,
    platform: Platform | None,
    blobs: dict[Digest, Path],
    limits: Limits,
    as_json: bool,
) -> None:
    """Extract the image SOURCE to the new directory DEST.

    SOURCE is oci:DIR[:TAG], oci:DIR@DIGEST, oci-archive:FILE[:TAG], docker-archive:FILE[:REF], or
    blobs:MANIFEST_DIGEST with the files of the blobs given by --blob. A FILE that is - is standard input. DEST gets
    rootfs/, metadata.dump and image.json.
    """
    keep_free_memory()  # of a layer's pieces, of which some are in memory until they are hashed and written
    parsed = parse_local_source(source)
    label = name or _name(parsed)
    with open_local_source(source, parsed, blobs=blobs, limits=limits) as opened:
        image = resolve_image(opened, platform)
        with byte_progress(f"extracting {label}", total_bytes(image)) as advance:
            document = extract_image(
                image,
                opened,
                dest,
                name=label,
                reference=reference and podman_name(label, reference),
                digest=digest,
                limits=limits,
                advance=advance,
            )
    for warning in document.warnings:
        warn(warning)
    if as_json:
        print_json(document)


def _name(source: LocalSource | BlobsSource) -> str:
    """Return the default name of an image: the name of its file or directory."""
    name = source.path.name.partition(".")[0] if isinstance(source, LocalSource) else ""
    return "image" if name in {"", STANDARD} else name
