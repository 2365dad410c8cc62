"""Making the artifacts of deltas from an image path: nixoci's own, and those of containers/oci-delta."""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from nixoci.compression import HEAD, Compression, detect
from nixoci.delta.effort import Effort
from nixoci.delta.format.start import MAGIC
from nixoci.delta.send import send_shown
from nixoci.image_delta import oci_delta, tar_diff
from nixoci.image_delta.artifact import (
    CONFIG_TYPE,
    STREAM_TYPE,
    DeltaConfig,
    descriptor_json,
    render_json,
    render_manifest,
)
from nixoci.image_delta.contents import ImageContents
from nixoci.image_delta.describe import OldImage, describe_layer
from nixoci.image_delta.layout import ArtifactLayout
from nixoci.image_delta.signature import SignedContents
from nixoci.image_path import ImagePath
from nixoci.nix_store.hashes import HashingSink
from nixoci.nix_store.trust import sign
from nixoci.oci.digest import Digest
from nixoci.oci.image import BlobSource, Image, Layer
from nixoci.oci.layer_stream import layer_chunks
from nixoci.oci.media_types import OCI_LAYER, OCI_MANIFEST
from nixoci.oci.model import Descriptor
from nixoci.output import scratch_directory
from nixoci.progress import byte_progress

_GZIP_LAYER = f"{OCI_LAYER}+gzip"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_COPY = 1 << 20


def make_contents_delta(
    new: ImagePath, effort: Effort, *, key: Path | None = None
) -> Callable[[ArtifactLayout, ImagePath], Descriptor]:
    """Return a function that makes nixoci's artifact of the delta from an image path to `new`.

    Args:
        new: The image path.
        effort: Time spent for fewer bytes.
        key: The file of a secret key of Nix that signs what `new` contains; None for no signature.

    Raises:
        StoreError: The file has no key.
        ProcessError: Nix is missing, to sign.
    """
    document = new.document
    after = ImageContents.of(new)
    config = DeltaConfig.of(
        manifest=document.manifest.text, config=document.config.text, warnings=document.warnings
    ).render()
    contents = None if key is None else _sign(after, document.manifest.digest, config, key)
    subject = Descriptor(
        media_type=document.manifest.media_type,
        digest=document.manifest.digest,
        size=len(document.manifest.text.encode()),
    )

    def make(layout: ArtifactLayout, base: ImagePath) -> Descriptor:
        file, label = layout.new_file(), f"making the delta from {base.path.name}"
        with file.open("xb") as out:
            stream = HashingSink(out)
            send_shown(ImageContents.of(base), after, stream, effort=effort, label=label)
        with file.open("rb") as opened:
            stream_format = opened.read(len(MAGIC) + 1)[-1]
        manifest = render_manifest(
            subject=subject,
            base=base.document.manifest.digest,
            config=layout.add(config, CONFIG_TYPE),
            stream=layout.add_file(file, stream.digest, STREAM_TYPE),
            stream_format=stream_format,
            contents=contents,
        )
        return layout.add(manifest, OCI_MANIFEST)

    return make


def _sign(contents: ImageContents, manifest: Digest, config: bytes, key: Path) -> SignedContents:
    nar_hashes = tuple(contents.paths[path].nar_hash for path in contents.roots)
    claim = SignedContents(manifest=manifest, config=Digest.of(config), nar_hashes=nar_hashes)
    with scratch_directory("delta") as folder:
        return replace(claim, signatures=sign(claim.path_info, key, folder=folder))


def make_oci_delta(
    image: Image, source: BlobSource, effort: Effort
) -> Callable[[ArtifactLayout, ImagePath], Descriptor]:
    """Return a function that makes the artifact of oci-delta from an image path to an image.

    Args:
        image: The image.
        source: Its blobs.
        effort: Time spent for fewer bytes.
    """

    def make(layout: ArtifactLayout, base: ImagePath) -> Descriptor:
        there = {layer.diff_id for layer in base.document.layers}
        changed = [layer for layer in image.layers if layer.diff_id not in there]
        reused = [layer for layer in image.layers if layer.diff_id in there]
        blobs = [
            _with_role(layout.add(image.manifest.text, image.manifest.descriptor.media_type), oci_delta.IMAGE_MANIFEST),
            _with_role(layout.add(image.config.text, image.config.descriptor.media_type), oci_delta.IMAGE_CONFIG),
        ]
        old = OldImage(base.rootfs)
        for layer in {layer.descriptor.digest: layer for layer in changed}.values():
            described = _describe(layout, layer, source, old, effort)
            blobs.append(_with_role(described, oci_delta.IMAGE_LAYER, {oci_delta.TO: str(layer.descriptor.digest)}))
        annotations = {
            oci_delta.TARGET: str(image.manifest.descriptor.digest),
            oci_delta.SOURCE: str(base.document.manifest.digest),
            oci_delta.SOURCE_CONFIG: str(base.document.config.digest),
        }
        if reused:
            annotations[oci_delta.REUSED] = _json_list(layer.descriptor.digest for layer in reused)
            annotations[oci_delta.REUSED_DIFF_ID] = _json_list(layer.diff_id for layer in reused)
        subject = image.manifest.descriptor
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": oci_delta.ARTIFACT_TYPE,
            "config": descriptor_json(layout.add(b"{}", _EMPTY_TYPE)),
            "layers": list(map(descriptor_json, blobs)),
            "subject": descriptor_json(
                Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
            ),
            "annotations": annotations,
        }
        return layout.add(render_json(manifest), OCI_MANIFEST)

    return make


def _describe(layout: ArtifactLayout, layer: Layer, source: BlobSource, old: OldImage, effort: Effort) -> Descriptor:
    """Add a layer to a layout, as a tar-diff or as it is, whichever is smaller; the readers know gzip only."""
    tar = layout.new_file()
    with tar.open("xb") as out, closing(layer_chunks(source, layer)) as chunks:
        out.writelines(chunks)
    file, label = layout.new_file(), f"describing layer {layer.descriptor.digest.hex[:12]}"
    with file.open("xb") as new, byte_progress(label, tar.stat().st_size) as advance:
        diff = HashingSink(new)
        describe_layer(tar, old, diff.write, effort=effort, advance=advance)
    tar.unlink()
    if file.stat().st_size < layer.descriptor.size or not _is_gzip(source, layer):
        return layout.add_file(file, diff.digest, tar_diff.MEDIA_TYPE)
    with file.open("wb") as new, closing(source.open_blob(layer.descriptor)) as blob:
        whole = HashingSink(new)
        while data := blob.read(_COPY):
            whole.write(data)
    return layout.add_file(file, whole.digest, _GZIP_LAYER)


def _is_gzip(source: BlobSource, layer: Layer) -> bool:
    with closing(source.open_blob(layer.descriptor)) as blob:
        return detect(blob.read(HEAD)) is Compression.GZIP


def _with_role(blob: Descriptor, role: str, more: dict[str, str] | None = None) -> Descriptor:
    return replace(blob, annotations={oci_delta.CONTENT: role, **(more or {})})


def _json_list(digests: Iterable[Digest]) -> str:
    return render_json(list(map(str, digests))).decode()
