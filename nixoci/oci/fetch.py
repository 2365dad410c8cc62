"""Fetching a blob in its fixed-output derivation (`nix_language/expressions/blob.nix`)."""

import re
from pathlib import Path

from nixoci.errors import BlobError, ProcessError
from nixoci.oci.digest import Digest
from nixoci.process import run

_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?/.*")


def fetch_blob(
    digest: Digest, dest: Path, *, image: str, repository: str | None, manifest: bool, oras: str = "oras"
) -> None:
    """Fetch a blob to the new file `dest`; oras verifies its digest and gets a token if the registry wants one.

    Args:
        digest: The blob's digest.
        dest: The file to write.
        image: The image's name in the lock, for messages.
        repository: `host/path`; None for an image that was pinned from local files.
        manifest: Set for a manifest, which registries serve from another path.
        oras: The program.

    Raises:
        BlobError: It cannot be fetched here; the message names another way.
    """
    prefetch = f"run `nixoci prefetch {image}`"
    if repository is None:
        raise BlobError(
            f"image {image}: blob {digest}: pinned from local files, which a Nix build cannot read; {prefetch} where"
            " they are"
        )
    kind = "manifest" if manifest else "blob"
    # as in Docker, a registry on this machine speaks plain HTTP; oras assumes that for localhost only
    options = ["--plain-http"] if _LOOPBACK.fullmatch(repository) else []
    try:
        run([oras, kind, "fetch", "--output", dest, *options, f"{repository}@{digest}"], package="oras")
    except ProcessError as error:
        raise BlobError(
            f"image {image}: {kind} {repository}@{digest} cannot be fetched: {error}; if the registry wants a login or"
            f" is not reached from Nix builds, {prefetch}"
        ) from error
