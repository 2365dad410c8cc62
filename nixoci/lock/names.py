"""The names of store paths, on which their paths depend (Nix manual, Store Path)."""

import re

from nixoci.oci.digest import Digest

_TAG = re.compile(r"(?:.*/|[a-z-]+:)[^:/@]*:([a-zA-Z0-9_][a-zA-Z0-9_.-]*)(?:@.*)?")
_LOCAL = re.compile(r"(?:oci|oci-archive|docker-archive):")
_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9+._?=-]+")
_LONGEST = 70  # a tag has up to 128 characters; Nix allows 211 in all, `.drv` included


def blob_name(digest: Digest) -> str:
    """Return the name of a blob's store path, as `nix/blob.nix` has it: `sha256-<hex>`."""
    return f"{digest.algorithm}-{digest.hex}"


def podman_name(name: str, reference: str) -> str:
    """Return what podman lists an image as, as `nix/reference.nix` has it.

    A local source gets the host that podman gives to what has none: `localhost/web:1.0`.

    Args:
        name: The image's name in the lock.
        reference: What the image was pinned by.
    """
    if not _LOCAL.match(reference):
        return reference
    found = _TAG.fullmatch(reference)
    return f"localhost/{name}:{found[1] if found else 'latest'}"


def store_name(name: str, reference: str) -> str:
    """Return the name of an image's store path, as `nix/reference.nix` has it: `nginx-1.27`.

    Nix takes for a version what starts with a digit, so the tag `v1.2` becomes `1.2` and `latest` becomes `0-latest`.
    Without a tag there is no version: a digest is not one.

    Args:
        name: The image's name in the lock; what a store name cannot hold becomes `-`.
        reference: What the image was pinned by, with or without a tag.
    """
    clean = _NOT_ALLOWED.sub("-", name)
    safe = (clean if re.match("[a-zA-Z0-9_]", clean) else f"image{clean}")[:_LONGEST]
    found = _TAG.fullmatch(reference)
    if found is None:
        return safe
    tag = found[1]
    if re.match("[0-9]", tag):
        return f"{safe}-{tag}"
    return f"{safe}-{tag[1:]}" if re.match("v[0-9]", tag) else f"{safe}-0-{tag}"
