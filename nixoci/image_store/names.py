"""Names inside an image store: what containers/storage derives file names from, and what podman lists."""

import base64
import hashlib
import re

from nixoci.errors import ReferenceError  # noqa: A004 - the field's name
from nixoci.oci.digest import Digest

_PLAIN = re.compile(r"[a-z0-9.]+")
_LINK_LENGTH = 26

# distribution/reference, regexp.go: a domain that is told from a path by a dot, a port or `localhost`
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:localhost|{_LABEL}(?:\.{_LABEL})+|\[[a-fA-F0-9:]+\]|{_LABEL}(?=:))(?::[0-9]+)?"
_REFERENCE = re.compile(rf"({_DOMAIN}(?:/{_COMPONENT})+)(?::(\w[\w.-]{{0,127}}))?(?:@([a-z0-9]+:[a-f0-9]+))?", re.ASCII)


def big_data_file(name: str) -> str:
    """Return the file that holds a big-data item (containers/storage `makeBigDataBaseName`)."""
    return name if _PLAIN.fullmatch(name) else "=" + base64.b64encode(name.encode()).decode("ascii")


def manifest_item(digest: Digest) -> str:
    """Return the big-data name under which a manifest is found by its digest."""
    return f"manifest-{digest}"


def link_id(layer_id: str) -> str:
    """Return a layer's short name in `overlay/l`: 26 characters of `[A-Z2-7]`.

    podman draws it at random; here the same layer always gets the same.
    """
    return base64.b32encode(hashlib.sha256(layer_id.encode("ascii")).digest()).decode("ascii")[:_LINK_LENGTH]


def listed_name(reference: str) -> str:
    """Return the name that podman shall list an image by: `repository:tag`, or `repository@digest` without a tag.

    One name in the store that podman cannot read makes every `podman images` fail, so it is checked here.

    Raises:
        ReferenceError: Not a full reference with a domain and a tag or digest.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None or not (match[2] or match[3]):
        raise ReferenceError(
            f"image name {reference!r}: podman does not list it; expected domain/path:tag, for example"
            " docker.io/library/nginx:1.27"
        )
    repository, tag, digest = match.groups()
    return f"{repository}:{tag}" if tag else f"{repository}@{digest}"
