"""Reading from registries in fixed-output derivations (`nix_language/expressions/blob.nix`, `image.nix`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nixoci.errors import BlobError
from nixoci.oci.digest import Digest, Hasher
from nixoci.oci.reference import Reference
from nixoci.oci.remote import Remote

_COPY = 1 << 20


@contextmanager
def registry_of_build(
    repository: str | None, *, image: str, way_out: str, certificates: Path | None = None
) -> Iterator[Remote]:
    """Yield the repository of an image; an error of it names the image and what to do instead.

    Args:
        repository: `host/path`; None for an image that was pinned from local files.
        image: The image's name in the lock, for messages.
        way_out: The command that gets the image from outside of builds.
        certificates: A file of trusted certificates, by default those of OpenSSL.

    Raises:
        BlobError: The block raised one, or there is no repository.
    """
    if repository is None:
        raise BlobError(
            f"image {image}: pinned from local files, which a Nix build cannot read; run `{way_out}` where they are"
        )
    try:
        yield Remote(Reference.parse(repository), certificates=certificates)
    except BlobError as error:
        raise BlobError(
            f"image {image}: cannot be fetched from {repository}: {error}; if the registry wants a login or is not"
            f" reached from Nix builds, run `{way_out}`"
        ) from error


def fetch_blob(remote: Remote, digest: Digest, dest: Path, *, manifest: bool) -> None:
    """Fetch a blob to the new file `dest`.

    Args:
        remote: The repository.
        digest: The blob's digest.
        dest: The file to write.
        manifest: Set for a manifest, which registries serve from another path.

    Raises:
        BlobError: It cannot be fetched, or has another digest; nothing is left at `dest`.
    """
    try:
        with dest.open("xb") as file, (remote.open_manifest if manifest else remote.open_blob)(digest) as blob:
            found = _copy(blob, file, digest.hasher())
    except BaseException:
        dest.unlink(missing_ok=True)
        raise
    if found != digest.hex:
        dest.unlink()
        raise BlobError(f"blob {digest} has the digest {digest.algorithm}:{found} there; do not use it")


def _copy(blob: BinaryIO, file: BinaryIO, hasher: Hasher) -> str:
    """Copy a blob to a file and return its digest in hexadecimal."""
    while data := blob.read(_COPY):
        hasher.update(data)
        file.write(data)
    return hasher.hexdigest()
