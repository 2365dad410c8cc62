"""Which media types are what, and what the ones that nixoci refuses mean."""

from nixoci.oci.model import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)

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

_OCI_LAYERS = (OCI_LAYER, "application/vnd.oci.image.layer.nondistributable.v1.tar")
# Docker defines neither the foreign layer without gzip nor zstd, but containerd writes them
_DOCKER_LAYERS = (DOCKER_LAYER, "application/vnd.docker.image.rootfs.foreign.diff.tar")
LAYER_TYPES = frozenset(
    [base + suffix for base in _OCI_LAYERS for suffix in ("", "+gzip", "+zstd")]
    + [base + suffix for base in _DOCKER_LAYERS for suffix in ("", ".gzip", ".zstd")]
)

ENCRYPTED = "+encrypted"
"""The end of an encrypted layer's media type (ocicrypt)."""
