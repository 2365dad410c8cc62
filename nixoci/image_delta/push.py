"""Pushing deltas: from image paths of older versions of an image, into the repository of the image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nixoci.image_delta.artifact import ArtifactManifest, descriptor_json, render_json
from nixoci.image_delta.layout import TAG, ArtifactLayout
from nixoci.image_path import ImagePath
from nixoci.oci.digest import Digest
from nixoci.oci.image import Image
from nixoci.oci.media_types import OCI_INDEX, OCI_MANIFEST
from nixoci.oci.model import Descriptor
from nixoci.oci.reference import Reference
from nixoci.oci.referrers import Warn, referrers_tag, served_referrers, tagged_index, with_referrers
from nixoci.oci.registry import RegistryAccess, push_artifact
from nixoci.output import scratch_directory
from nixoci.publish.index import pays

Make = Callable[[ArtifactLayout, ImagePath], Descriptor]
"""Makes the artifact of a delta from an image path, in a layout; returns the descriptor of its manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedDelta:
    """A delta that was made.

    Attributes:
        base: The image path that it starts from.
        base_digest: The manifest's digest of that image.
        size: Bytes of the artifact, without its manifest.
        download: Bytes of the image's layers, which it takes the place of.
        digest: The digest of the artifact; None if it was not pushed, because it saves less than a tenth.
        signed_by: The names of the keys that signed what it makes.
    """

    base: Path
    base_digest: Digest
    size: int
    download: int
    digest: Digest | None
    signed_by: list[str]


def push_deltas(
    image: Image,
    bases: Sequence[ImagePath],
    make: Make,
    repository: Reference,
    access: RegistryAccess,
    *,
    warn: Warn,
    dry_run: bool = False,
) -> list[PushedDelta]:
    """Make a delta from each base to an image, and push those that pay into the image's repository.

    Each artifact is complete in the registry before a list of referrers has it.

    Args:
        image: The image.
        bases: Image paths of older versions.
        make: Makes the artifact of a delta; from `make_contents_delta` or `make_oci_delta`.
        repository: An image in the repository, which must have the image.
        access: How to reach the registry.
        warn: Called with a message if the list of artifacts has damaged entries.
        dry_run: Make the deltas for their sizes, and push nothing.

    Raises:
        DeltaError: A delta cannot be made.
        ImageError: The registry cannot be reached, or does not let the user write.
        ProcessError: skopeo is missing.
    """
    download = sum(layer.descriptor.size for layer in image.layers)
    pushed: list[PushedDelta] = []
    entries: list[Descriptor] = []
    for base in bases:
        with scratch_directory("delta") as folder:
            layout = ArtifactLayout(folder / "layout")
            artifact = make(layout, base)
            layout.choose(artifact)
            manifest = ArtifactManifest.parse(layout.read(artifact, what="the delta"), what="the delta")
            push = pays(manifest.size, download)
            if push and not dry_run:
                push_artifact(layout.folder, TAG, repository.at(artifact.digest), access)
                entries.append(_listed(artifact, manifest))
        pushed.append(
            PushedDelta(
                base=base.path,
                base_digest=base.document.manifest.digest,
                size=manifest.size,
                download=download,
                digest=artifact.digest if push else None,
                signed_by=manifest.signed_by,
            )
        )
    _list_artifacts(repository, image.manifest.descriptor.digest, entries, access, warn)
    return pushed


def _list_artifacts(
    repository: Reference, subject: Digest, entries: Sequence[Descriptor], access: RegistryAccess, warn: Warn
) -> None:
    """Let the tag of referrers list artifacts that were pushed, unless the registry's API lists them itself."""
    served = {entry.digest for entry in served_referrers(repository, subject, access) or ()} if entries else set()
    if all(entry.digest in served for entry in entries):
        return
    tag = Reference(domain=repository.domain, path=repository.path, tag=referrers_tag(subject))
    listed = tagged_index(repository, subject, access)
    index = with_referrers(listed, map(descriptor_json, entries), what=str(tag), warn=warn)
    with scratch_directory("delta") as folder:
        layout = ArtifactLayout(folder)
        layout.choose(layout.add(render_json(index), OCI_INDEX))
        push_artifact(layout.folder, TAG, tag, access)


def _listed(artifact: Descriptor, manifest: ArtifactManifest) -> Descriptor:
    """Return the descriptor by which lists of referrers name an artifact (distribution-spec, Listing Referrers)."""
    return Descriptor(
        media_type=OCI_MANIFEST,
        digest=artifact.digest,
        size=artifact.size,
        artifact_type=manifest.artifact_type,
        annotations=manifest.annotations,
    )
