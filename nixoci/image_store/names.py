"""Names inside an image store: what containers/storage derives file names from, and what podman lists."""

import base64
import hashlib
import re

from nixoci.oci.digest import Digest
from nixoci.oci.reference import Reference

_PLAIN = re.compile(r"[a-z0-9.]+")
_LINK_LENGTH = 26


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

    It is parsed, since one name in the store that podman cannot read makes every `podman images` fail, and written
    out in full, since podman looks for nothing else.

    Raises:
        ReferenceError: Not a reference.
    """
    parsed = Reference.parse(reference)
    return f"{parsed.repository}:{parsed.tag}" if parsed.tag else f"{parsed.repository}@{parsed.digest}"
