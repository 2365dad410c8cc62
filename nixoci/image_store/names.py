"""Names inside an image store: the file names of containers/storage, and the names that podman lists."""

import base64
import hashlib
import re

from nixoci.oci.digest import Digest
from nixoci.oci.reference import Reference

IMAGES = "overlay-images"
IMAGE_LIST = f"{IMAGES}/images.json"
LAYERS = "overlay-layers"
LAYER_LIST = f"{LAYERS}/layers.json"
TAR_SPLIT = ".tar-split.gz"
"""End of the names in `LAYERS` of the files from which the tars of layers are made again."""
OVERLAY = "overlay"
LINKS = f"{OVERLAY}/l"
"""Symlinks to the trees of layers, by short names (`link_id`)."""
EROFS = "composefs-data/composefs.blob"
"""The metadata of a tree as an EROFS file system, in the folder of its layer."""

_PLAIN = re.compile(r"[a-z0-9.]+")
_LINK_LENGTH = 26

MANIFEST_ITEM = "manifest-"
"""Start of the big-data names of manifests that are found by their digest."""


def big_data_file(name: str) -> str:
    """Return the file that holds a big-data item (containers/storage `makeBigDataBaseName`)."""
    return name if _PLAIN.fullmatch(name) else "=" + base64.b64encode(name.encode()).decode("ascii")


def manifest_item(digest: Digest) -> str:
    """Return the big-data name under which a manifest is found by its digest."""
    return f"{MANIFEST_ITEM}{digest}"


def link_id(layer_id: str) -> str:
    """Return a layer's short name in `overlay/l`: 26 characters of `[A-Z2-7]`.

    podman draws it at random; here a layer always gets the same one.
    """
    return base64.b32encode(hashlib.sha256(layer_id.encode("ascii")).digest()).decode("ascii")[:_LINK_LENGTH]


def listed_name(reference: str) -> str:
    """Return the name that podman lists an image by: `repository:tag`, or `repository@digest` without a tag.

    The reference is parsed, because a single name that podman cannot read makes every `podman images` fail. It is
    written out in full, because podman looks for nothing else.

    Raises:
        InvalidReferenceError: Not a reference.
    """
    parsed = Reference.parse(reference)
    return f"{parsed.repository}:{parsed.tag}" if parsed.tag else f"{parsed.repository}@{parsed.digest}"
