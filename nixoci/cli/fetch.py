"""`nixoci fetch-blob` and `nixoci fetch-image`: builders of derivations that read registries, hidden from `--help`."""

import os
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import Any, cast

import click

from nixoci.cli.common import F, parsed_by, warn
from nixoci.cli.files import PATH
from nixoci.cli.verb import verb
from nixoci.extraction import extract, total_bytes
from nixoci.lock.names import podman_name
from nixoci.oci import fetch
from nixoci.oci.digest import Digest
from nixoci.oci.http_client import CERTIFICATES_VARIABLE
from nixoci.oci.model import Platform
from nixoci.oci.remote import RemoteImage, RemoteLayers
from nixoci.oci.resolve import resolve_image
from nixoci.progress import byte_progress


def _registry_options(command: F) -> F:
    """Add the options of reading a registry."""

    @click.option("--image", required=True, metavar="NAME", help="Name in the lock, for messages.")
    @click.option(
        "--repository",
        metavar="HOST/PATH",
        help="Repository; left out for an image that was pinned from local files.",
    )
    @click.option(
        "--certificates",
        type=PATH,
        help=f"File of trusted certificates, by default those of OpenSSL; {CERTIFICATES_VARIABLE} takes precedence.",
    )
    @wraps(command)
    def with_options(*, certificates: Path | None, **options: Any) -> Any:
        return command(certificates=_named_certificates() or certificates, **options)

    return cast("F", with_options)


def _named_certificates() -> Path | None:
    """Return the file of certificates that the environment names, if this build can read it.

    Nix passes the variable on, but shows the file to a build only if the sandbox has it (`extra-sandbox-paths`). Many
    machines set it to a file that no build sees; nixpkgs's cacert falls back too.
    """
    named = os.environ.get(CERTIFICATES_VARIABLE)
    if not named:  # Nix passes on an empty text for a variable that is not set
        return None
    if not os.access(named, os.R_OK):
        warn(f"{CERTIFICATES_VARIABLE} names {named}, which this build cannot read; it trusts the usual certificates")
        return None
    return Path(named)


@verb(hidden=True)
@click.argument("digest", type=parsed_by(Digest.parse))
@click.argument("dest", type=PATH)
@_registry_options
@click.option("--manifest", is_flag=True, help="The blob is a manifest.")
def fetch_blob(
    *, digest: Digest, dest: Path, image: str, repository: str | None, certificates: Path | None, manifest: bool
) -> None:
    """Fetch the blob DIGEST to the new file DEST."""
    way_out = f"nixoci prefetch --no-nar-hash {image}"
    with fetch.registry_of_build(repository, image=image, way_out=way_out, certificates=certificates) as remote:
        fetch.fetch_blob(remote, digest, dest, manifest=manifest)


@verb(hidden=True)
@click.argument("manifest", type=parsed_by(Digest.parse))
@click.argument("dest", type=PATH)
@_registry_options
@click.option("--reference", required=True, metavar="REF", help="The reference that the image was pinned by.")
@click.option("--digest", type=parsed_by(Digest.parse), required=True, help="The digest that the reference has.")
@click.option("--platform", type=parsed_by(Platform.parse), required=True, help="The image's platform.")
def fetch_image(
    *,
    manifest: Digest,
    dest: Path,
    image: str,
    repository: str | None,
    certificates: Path | None,
    reference: str,
    digest: Digest,
    platform: Platform,
) -> None:
    """Fetch the image of the manifest MANIFEST, and extract it meanwhile to the new directory DEST."""
    way_out = f"nixoci prefetch {image}"
    with fetch.registry_of_build(repository, image=image, way_out=way_out, certificates=certificates) as remote:
        source = RemoteImage.open(remote, manifest)
        resolved = resolve_image(source, platform)
        with (
            closing(RemoteLayers(remote, [layer.descriptor for layer in resolved.layers])) as layers,
            byte_progress(f"fetching {image}", total_bytes(resolved)) as advance,
        ):
            document = extract(
                resolved,
                layers,
                dest,
                name=image,
                reference=podman_name(image, reference),
                digest=digest,
                advance=advance,
            )
    for warning in document.warnings:
        warn(warning)
