"""Names of images as Docker writes and finds them (distribution/reference, `FamiliarString`)."""

from collections.abc import Iterable

from nixoci.errors import StoreError
from nixoci.image_store.contents import StoreImage
from nixoci.image_store.names import manifest_item
from nixoci.oci.digest import Digest
from nixoci.oci.reference import Reference

_HUB = "docker.io/"
_OFFICIAL = "library/"


def docker_names(image: StoreImage) -> list[str]:
    """Return the names of an image in Docker: those of its record, and its repositories by the registry's digests.

    Raises:
        StoreError: Docker refuses a name.
    """
    digests = image.record.big_data_digests
    own = digests.get("manifest")
    registry = [digest for item, digest in digests.items() if item == manifest_item(digest) and digest != own]
    return familiar_names(image.record.names, registry)


def familiar_names(references: Iterable[str], digests: Iterable[Digest]) -> list[str]:
    """Return Docker's names of an image with these references, and manifests and indexes of these digests.

    >>> familiar_names(["docker.io/library/nginx:1.27"], [])
    ['nginx:1.27']

    Raises:
        StoreError: Docker refuses a name.
    """
    parsed = [Reference.parse(reference) for reference in references]
    found = [reference.exact for reference in parsed]
    found += [f"{reference.repository}@{digest}" for reference in parsed for digest in digests]
    return list(dict.fromkeys(map(_familiar, found)))


def _familiar(name: str) -> str:
    """Return a full name without Docker Hub's domain, and without `library/` in front of an official image."""
    path = name.removeprefix(_HUB)
    if path == name:
        return name
    rest = path.removeprefix(_OFFICIAL)
    if "/" in rest:
        return path
    if rest.startswith(("sha256:", "sha256@")):
        raise StoreError(f"{name}: Docker takes sha256 for a digest and refuses it as a name; rename the image")
    return rest
