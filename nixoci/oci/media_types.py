"""Media types of images: those that nixoci reads, and those that it refuses with a message of their own."""

from nixoci.compression import Compression

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})
SCHEMA_1_TYPES = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)

_SUFFIXES = {Compression.NONE: "", Compression.GZIP: "gzip", Compression.ZSTD: "zstd"}
_OCI_LAYERS = (OCI_LAYER, "application/vnd.oci.image.layer.nondistributable.v1.tar")
# Docker defines neither the foreign layer without gzip nor zstd, but containerd writes them
_DOCKER_LAYERS = (DOCKER_LAYER, "application/vnd.docker.image.rootfs.foreign.diff.tar")
LAYER_TYPES = frozenset(
    base + (mark + suffix if suffix else "")
    for bases, mark in ((_OCI_LAYERS, "+"), (_DOCKER_LAYERS, "."))
    for base in bases
    for suffix in _SUFFIXES.values()
)

ENCRYPTED = "+encrypted"
"""The end of an encrypted layer's media type (ocicrypt)."""


def docker_layer(compression: Compression) -> str:
    """Return Docker's media type of a layer; there is none for xz and bzip2, which count as not compressed."""
    suffix = _SUFFIXES.get(compression)
    return f"{DOCKER_LAYER}.{suffix}" if suffix else DOCKER_LAYER
