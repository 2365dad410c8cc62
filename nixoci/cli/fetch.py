"""`nixoci fetch-blob`: the builder of a blob's derivation, hidden from `--help`."""

from pathlib import Path

import click

from nixoci.cli.common import parsed_by
from nixoci.cli.files import PATH
from nixoci.cli.verb import verb
from nixoci.oci import fetch
from nixoci.oci.digest import Digest


@verb(hidden=True)
@click.argument("digest", type=parsed_by(Digest.parse))
@click.argument("dest", type=PATH)
@click.option("--image", required=True, metavar="NAME", help="Name in the lock, for messages.")
@click.option(
    "--repository",
    metavar="HOST/PATH",
    help="Repository; left out for an image that was pinned from local files.",
)
@click.option("--manifest", is_flag=True, help="The blob is a manifest.")
@click.option("--oras", default="oras", metavar="PROGRAM", help="Registry client.")
def fetch_blob(  # noqa: PLR0917 - click passes by name
    digest: Digest,
    dest: Path,
    image: str,
    repository: str | None,
    manifest: bool,  # noqa: FBT001
    oras: str,
) -> None:
    """Fetch the blob DIGEST to the new file DEST."""
    fetch.fetch_blob(digest, dest, image=image, repository=repository, manifest=manifest, oras=oras)
