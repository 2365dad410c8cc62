"""`nixoci extract`: extract an image to an image path."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from nixoci.cli.common import F, json_option, parsed_by, platform_option, print_json, warn
from nixoci.cli.files import PATH, STANDARD
from nixoci.cli.verb import verb
from nixoci.errors import InvalidReferenceError
from nixoci.extraction import extract as extract_image
from nixoci.extraction import total_bytes
from nixoci.lock.names import podman_name
from nixoci.oci.digest import Digest
from nixoci.oci.model import Platform
from nixoci.oci.reference import Reference
from nixoci.oci.resolve import resolve_image
from nixoci.oci.sources import LocalSource, Source, open_source, parse_source
from nixoci.progress import byte_progress
from nixoci.tree.limits import HIGHEST, Limits

_DEFAULTS = Limits()


def _blob(text: str) -> tuple[Digest, Path]:
    digest, equals, path = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not DIGEST=FILE")
    return Digest.parse(digest), Path(path)


def _limit_option(name: str, field: str, about: str) -> Callable[[F], F]:
    """Add an option for a field of `Limits`, passed under the name of the field."""
    return click.option(
        name,
        field,
        type=click.IntRange(min=1, max=getattr(HIGHEST, field)),
        default=getattr(_DEFAULTS, field),
        show_default=True,
        help=about,
    )


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
@click.option("--reference", metavar="REF", help="The image's reference; a local one is listed as localhost/NAME:TAG.")
@click.option(
    "--digest", type=parsed_by(Digest.parse), metavar="DIGEST", help="Digest that the reference has in the registry."
)
@platform_option("The platform to extract, if the image has several; by default this machine's.")
@click.option(
    "--blob",
    "blobs",
    type=parsed_by(_blob),
    multiple=True,
    metavar="DIGEST=FILE",
    help="File of a blob, for SOURCE blobs:DIGEST.",
)
@_limit_option("--max-size", "total_size", "Limit of uncompressed bytes.")
@_limit_option("--max-entries", "entries", "Limit of entries in all layers.")
@_limit_option("--max-depth", "depth", "Limit of a path's components.")
@_limit_option("--max-header-size", "header_size", "Limit of bytes of a tar header.")
@json_option
def extract(
    *,
    source: str,
    dest: Path,
    name: str | None,
    reference: str | None,
    digest: Digest | None,
    platform: Platform | None,
    blobs: tuple[tuple[Digest, Path], ...],
    total_size: int,
    entries: int,
    depth: int,
    header_size: int,
    as_json: bool,
) -> None:
    """Extract the image SOURCE to the new directory DEST.

    SOURCE is oci:DIR[:TAG], oci:DIR@DIGEST, oci-archive:FILE[:TAG], docker-archive:FILE[:REF], or
    blobs:MANIFEST_DIGEST with the files of the blobs given by --blob. A FILE that is - is standard input. DEST gets
    rootfs/, metadata.dump and image.json.
    """
    limits = Limits(total_size=total_size, entries=entries, depth=depth, header_size=header_size)
    parsed = parse_source(source)
    if isinstance(parsed, Reference):
        raise InvalidReferenceError(
            f"{source}: extraction reads files, not registries; copy the image first with"
            f" `skopeo copy docker://{parsed} oci:DIR:TAG` and extract oci:DIR:TAG, or pin it with `nixoci add`"
        )
    label = name or _name(parsed)
    with (
        _from_standard_input(source, parsed) as readable,
        open_source(readable, blobs=dict(blobs), limits=limits) as opened,
    ):
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


@contextmanager
def _from_standard_input(text: str, source: Source) -> Iterator[Source]:
    """Copy an archive that comes from standard input to a file, because its members are read out of order."""
    if not isinstance(source, LocalSource) or text.split(":")[1] != STANDARD:
        yield source
        return
    with TemporaryDirectory(prefix="nixoci-") as folder:
        file = Path(folder) / "standard-input"
        with file.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        yield replace(source, path=file)


def _name(source: Source) -> str:
    """Return the default name of an image: the name of its file or directory."""
    name = source.path.name.partition(".")[0] if isinstance(source, LocalSource) else ""
    return "image" if name in {"", STANDARD} else name
