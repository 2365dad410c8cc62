"""What a blob's fixed-output derivation runs (`nix/blob.nix`): oras, and a way out when it fails."""

import re
from pathlib import Path

from nixoci.errors import BlobError, ProcessError
from nixoci.oci.digest import Digest
from nixoci.process import run

_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?/.*")


def fetch_blob(
    digest: Digest, dest: Path, *, image: str, repository: str | None, manifest: bool, oras: str = "oras"
) -> None:
    """Fetch a blob to the new file `dest`; oras checks it against its digest and gets a token where it needs one.

    Args:
        digest: The blob.
        dest: Where to write it.
        image: The name in the lock, for messages.
        repository: `host/path`; None for an image that was pinned from local files.
        manifest: Whether it is a manifest, which registries serve apart.
        oras: The program.

    Raises:
        BlobError: It cannot be had here; the message says how else.
    """
    prefetch = f"run `nixoci prefetch {image}`"
    if repository is None:
        raise BlobError(
            f"image {image}: blob {digest}: pinned from local files, which a Nix build cannot read; {prefetch} where"
            " they are"
        )
    kind = "manifest" if manifest else "blob"
    # as Docker has it, a registry on this machine speaks plain HTTP; to oras itself only one called localhost does
    options = ["--plain-http"] if _LOOPBACK.fullmatch(repository) else []
    try:
        run([oras, kind, "fetch", "--output", dest, *options, f"{repository}@{digest}"], package="oras")
    except ProcessError as error:
        raise BlobError(
            f"image {image}: {kind} {repository}@{digest} cannot be fetched: {error}; if the registry wants a login or"
            f" is not reached from Nix builds, {prefetch}"
        ) from error
