"""Pushing deltas: from older image paths of this machine to a newer one, into the repository of its image."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nixoci.delta.effort import Effort
from nixoci.delta.format.stream import MAGIC
from nixoci.delta.send import send_shown
from nixoci.image_delta.artifact import (
    CONFIG_TYPE,
    STREAM_TYPE,
    ArtifactManifest,
    DeltaConfig,
    descriptor_json,
    render_json,
    render_manifest,
)
from nixoci.image_delta.contents import ImageContents
from nixoci.image_delta.layout import TAG, ArtifactLayout, HashedFile
from nixoci.image_path import ImagePath
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_INDEX, OCI_MANIFEST
from nixoci.oci.model import Descriptor
from nixoci.oci.reference import Reference
from nixoci.oci.referrers import merged_referrers, referrers_tag, served_referrers, tagged_referrers
from nixoci.oci.registry import RegistryAccess, push_artifact
from nixoci.publish.index import pays


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedDelta:
    """A delta that was made.

    Attributes:
        base: The image path that it starts from.
        base_digest: The manifest's digest of that image.
        size: Bytes of the artifact, without its manifest.
        download: Bytes of the image's layers, which it takes the place of.
        digest: The digest of the artifact; None if it was not pushed, because it saves less than a tenth.
    """

    base: Path
    base_digest: Digest
    size: int
    download: int
    digest: Digest | None


def push_deltas(
    new: ImagePath,
    bases: Sequence[ImagePath],
    repository: Reference,
    access: RegistryAccess,
    *,
    effort: Effort = Effort.DEFAULT,
    dry_run: bool = False,
) -> list[PushedDelta]:
    """Make a delta from each base to an image path, and push those that pay into the image's repository.

    Each artifact is complete in the registry before a list of referrers has it.

    Args:
        new: The image path.
        bases: Older image paths.
        repository: An image in the repository, which must have the image of `new`.
        access: How to reach the registry.
        effort: Time spent for fewer bytes.
        dry_run: Make the deltas for their sizes, and push nothing.

    Raises:
        DeltaError: A delta cannot be made.
        ImageError: The registry cannot be reached, or does not let the user write.
        ProcessError: skopeo is missing.
    """
    document = new.document
    subject = Descriptor(
        media_type=document.manifest.media_type,
        digest=document.manifest.digest,
        size=len(document.manifest.text.encode()),
    )
    download = sum(layer.size for layer in document.layers)
    config = DeltaConfig.of(
        manifest=document.manifest.text, config=document.config.text, warnings=document.warnings
    ).render()
    after = ImageContents.of(new)
    pushed: list[PushedDelta] = []
    entries: list[Descriptor] = []
    for base in bases:
        with tempfile.TemporaryDirectory(prefix="nixoci-") as folder:
            layout = ArtifactLayout(Path(folder) / "layout")
            stream, stream_format = _stream(layout, ImageContents.of(base), after, effort)
            artifact = layout.add(
                render_manifest(
                    subject=subject,
                    base=base.document.manifest.digest,
                    config=layout.add(config, CONFIG_TYPE),
                    stream=stream,
                    stream_format=stream_format,
                ),
                OCI_MANIFEST,
            )
            layout.choose(artifact)
            manifest = ArtifactManifest.parse(layout.read(artifact, what="the delta"), what="the delta")
            push = pays(manifest.size, download)
            if push and not dry_run:
                push_artifact(layout.folder, TAG, repository.at(artifact.digest), access)
                entries.append(listed(artifact, manifest))
        pushed.append(
            PushedDelta(
                base=base.path,
                base_digest=base.document.manifest.digest,
                size=manifest.size,
                download=download,
                digest=artifact.digest if push else None,
            )
        )
    list_artifacts(repository, subject.digest, entries, access)
    return pushed


def list_artifacts(
    repository: Reference, subject: Digest, entries: Sequence[Descriptor], access: RegistryAccess
) -> None:
    """Let the tag of referrers list artifacts that were pushed, unless the registry's API lists them itself."""
    served = {entry.digest for entry in served_referrers(repository, subject, access) or ()} if entries else set()
    if all(entry.digest in served for entry in entries):
        return
    merged = merged_referrers(tagged_referrers(repository, subject, access), entries)
    with tempfile.TemporaryDirectory(prefix="nixoci-") as folder:
        layout = ArtifactLayout(Path(folder))
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(map(descriptor_json, merged))}
        layout.choose(layout.add(render_json(index), OCI_INDEX))
        tag = Reference(domain=repository.domain, path=repository.path, tag=referrers_tag(subject))
        push_artifact(layout.folder, TAG, tag, access)


def listed(artifact: Descriptor, manifest: ArtifactManifest) -> Descriptor:
    """Return the descriptor by which lists of referrers name an artifact (distribution-spec, Listing Referrers)."""
    return Descriptor(
        media_type=OCI_MANIFEST,
        digest=artifact.digest,
        size=artifact.size,
        artifact_type=manifest.artifact_type,
        annotations=manifest.annotations,
    )


def _stream(
    layout: ArtifactLayout, before: ImageContents, after: ImageContents, effort: Effort
) -> tuple[Descriptor, int]:
    """Make a delta in a layout; return its descriptor and the version of its format."""
    file = HashedFile(layout.folder.parent / "stream")
    send_shown(before, after, file, effort=effort, label=f"making the delta from {before.image.name}")
    digest = file.close()
    with file.path.open("rb") as opened:
        version = opened.read(len(MAGIC) + 1)[-1]
    return layout.add_file(file.path, digest, STREAM_TYPE), version
