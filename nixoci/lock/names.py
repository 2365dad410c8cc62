"""Names that follow from the lock: a blob's in the Nix store, an image's in podman."""

import re

from nixoci.oci.digest import Digest

_TAG = re.compile(r"(?:.*/|[a-z-]+:)[^:/@]*:([a-zA-Z0-9_][a-zA-Z0-9_.-]*)(?:@.*)?")
_LOCAL = re.compile(r"(?:oci|oci-archive|docker-archive):")


def blob_name(digest: Digest) -> str:
    """Return the name of a blob's store path, as in `blob.nix`: `sha256-<hex>`."""
    return f"{digest.algorithm}-{digest.hex}"


def podman_name(name: str, reference: str) -> str:
    """Return the reference that podman lists an image by.

    A local source gets the host that podman gives to an image without one.

    >>> podman_name("web", "oci:layouts/web:1.0")
    'localhost/web:1.0'

    Args:
        name: The image's name in the lock.
        reference: The reference or local source that the image was pinned by.
    """
    if not _LOCAL.match(reference):
        return reference
    found = _TAG.fullmatch(reference)
    return f"localhost/{name}:{found[1] if found else 'latest'}"
