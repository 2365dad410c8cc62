"""The plan of a run: what containerd lacks of the declared images, and what of earlier runs goes.

A plan is made from what containerd has at that moment, not from what earlier runs did. So whatever containerd has
dropped comes back, an interrupted run is completed, and an empty plan is the proof that all is there.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from nixoci.engines.containerd.adopt import KEY_PREFIX
from nixoci.engines.containerd.ctr import CONTENT_REFERENCE, SNAPSHOT_REFERENCE, Contents
from nixoci.engines.containerd.registered import Registered
from nixoci.engines.containerd.shape import KUBERNETES, ShapedImage
from nixoci.oci.digest import Digest

KUBERNETES_LABELS = {"io.cri-containerd.image": "managed", "io.cri-containerd.pinned": "pinned"}
"""Labels of images that Kubernetes' plugin lists, and that kubelet's image collection leaves alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps of a run, in their order; a plan without any is false.

    Attributes:
        discard: Keys of snapshots whose adoption was interrupted.
        adopt: Images whose snapshot is to be made, one of each chain id.
        add: Images to import, for their names or their content.
        refer: Chain ids by the digest of the config that is to keep the snapshot.
        label: Names of images that Kubernetes is to see.
        release: Chain ids of snapshots that only their config is to keep from now on.
        remove: Names of images that are not declared any more.
    """

    discard: list[str] = field(default_factory=list)
    adopt: list[ShapedImage] = field(default_factory=list)
    add: list[ShapedImage] = field(default_factory=list)
    refer: dict[str, str] = field(default_factory=dict)
    label: list[str] = field(default_factory=list)
    release: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.discard or self.adopt or self.add or self.refer or self.label or self.release or self.remove)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The images that a namespace is to have."""

    namespace: str
    images: Sequence[ShapedImage]

    @property
    def names(self) -> dict[str, str]:
        """The digests of manifests by name."""
        return {name: image.digest for image in self.images for name in image.names}

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of each image."""
        return KUBERNETES_LABELS if self.namespace == KUBERNETES else {}


def plan(declared: Declared, contents: Contents, registered: Registered, *, used: Collection[str]) -> Plan:
    """Return the plan by which a namespace has the declared images, and nothing else that was registered before.

    Args:
        declared: The images.
        contents: What containerd has; those of its names are right that have the digest and labels that are declared,
            or are registered.
        registered: What earlier runs registered.
        used: Digests that names which are not registered have too.
    """
    names = declared.names
    adopt = {image.chain: image for image in declared.images if contents.snapshots.get(image.chain) != "Committed"}
    unfinished = {chain for chain in registered.unfinished if chain in contents.snapshots} | adopt.keys()
    return Plan(
        discard=[name for name, kind in contents.snapshots.items() if name.startswith(KEY_PREFIX) and kind == "Active"],
        adopt=list(adopt.values()),
        add=[image for image in declared.images if not _is_complete(image, contents)],
        refer={
            image.config_digest: image.chain
            for image in declared.images
            if contents.blobs.get(image.config_digest, {}).get(SNAPSHOT_REFERENCE) != image.chain
        },
        label=[name for name in names if declared.labels and name not in contents.right],
        release=sorted(unfinished),
        # Kubernetes' plugin finds an image by its id too, so that name stays as long as the image has another
        remove=[
            name
            for name, digest in undeclared(declared, registered).items()
            if name in contents.right and not (is_id(name) and digest in used)
        ],
    )


def undeclared(declared: Declared, registered: Registered) -> dict[str, str]:
    """Return the digests of registered names that are not declared any more, by name."""
    names = declared.names
    return {name: digest for name, digest in sorted(registered.images.items()) if name not in names}


def is_id(name: str) -> bool:
    """Return whether the name of an image is its id."""
    return name.startswith("sha256:")


def _is_complete(image: ShapedImage, contents: Contents) -> bool:
    """Return whether containerd has an image under all of its names, and its content, which the manifest keeps."""
    references = contents.blobs.get(image.digest)
    if references is None or image.config_digest not in (
        digest for label, digest in references.items() if label.startswith(CONTENT_REFERENCE)
    ):
        return False
    if any(str(Digest.of(blob)) not in contents.blobs for blob in (image.config, *image.blobs)):
        return False
    return contents.right.issuperset(image.names)
