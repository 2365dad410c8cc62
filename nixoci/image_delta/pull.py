"""Pulling: an image path from an older one and a delta of the image's repository.

Nothing in a repository is trusted: the path has the hash that is locked, or its parts have those that a key signed
which Nix trusts, or each of its layers has its diff id.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nixoci.delta.format.stream import DeltaReader
from nixoci.delta.spool import spool
from nixoci.delta.worker import DecodeWorker
from nixoci.document import dump
from nixoci.errors import DeltaError, StoreError
from nixoci.extraction import image_document
from nixoci.image_delta.artifact import DeltaConfig
from nixoci.image_delta.bounds import plausible_size
from nixoci.image_delta.contents import Part, image_nar_size, rebuilt_parts, write_image_nar
from nixoci.image_delta.find import FoundDelta, find_deltas, image_paths_like
from nixoci.image_delta.layout import ArtifactLayout
from nixoci.image_delta.oci_delta import OldFiles, described_layers, layer_streams
from nixoci.image_delta.signature import SignedContents, trusted_contents
from nixoci.image_path import FORMAT_VERSION, ImagePath
from nixoci.lock.context import LockContext
from nixoci.lock.failures import UNREADABLE, failure_reason
from nixoci.lock.model import LockedNarHash
from nixoci.lock.names import podman_name
from nixoci.lock.prefetch import AddedImagePath, PrefetchTarget, add_image_path, fetch_blobs, missing_blobs
from nixoci.nix_store.content_address import addressed_path, nar_address
from nixoci.nix_store.path import PathInfo
from nixoci.nix_store.registration import Registration, registration
from nixoci.oci.digest import Digest
from nixoci.oci.model import Platform
from nixoci.oci.reference import Reference
from nixoci.oci.registry import fetch_artifact
from nixoci.oci.resolve import resolve_image
from nixoci.oci.sources import BlobsSource, open_source
from nixoci.output import scratch_directory
from nixoci.progress import Advance, folder_growth, ignore


@dataclass(frozen=True, slots=True, kw_only=True)
class UsableDelta:
    """A delta to an image, the image path on this machine that it starts from, and the bytes to download for it.

    `contents` are what it must make, by a signature that Nix trusts, where no hash is locked.
    """

    delta: FoundDelta
    base: ImagePath
    size: int
    contents: SignedContents | None = None


def repository_of(target: PrefetchTarget, context: LockContext) -> Reference:
    """Return the repository of an image, which has its deltas.

    Raises:
        DeltaError: The image is pinned from local files.
    """
    source = context.source(target.image.reference)
    if not isinstance(source, Reference):
        raise DeltaError(f"image {target.name}: pinned from local files, and deltas are in registries")
    return source


def usable_deltas(
    target: PrefetchTarget, store_name: str, context: LockContext, warn: Callable[[str], object]
) -> list[UsableDelta]:
    """Return the deltas by which this machine can make the image path of an image, the smallest first.

    Args:
        target: The image.
        store_name: The name of its derivation, from `image_path_names`.
        context: The lock's place.
        warn: Called with a message if the list of artifacts has damaged entries.

    Raises:
        DeltaError: There is none; the message says why.
        ImageError: The registry cannot be reached, or does not let the user in.
        ProcessError: Nix or skopeo is missing or fails.
    """
    source = repository_of(target, context)
    images = image_paths_like(store_name)
    if not images:
        raise DeltaError(f"image {target.name}: the Nix store has no older image path of it, from which a delta starts")
    missing = missing_blobs([target])
    layers = sum(layer.size for layer in target.locked.layers if layer.digest in missing)
    subject = target.locked.manifest.digest
    found = [
        UsableDelta(delta=delta, base=base, size=download_size(target, delta, missing))
        for delta in find_deltas(source, subject, context.access, images, others=False, warn=warn)
        if (base := next((image for image in images if delta.starts_from(image)), None)) is not None
    ]
    checkable = found if target.nar_hash is not None else _checkable(found)
    smaller = [one for one in checkable if one.size < layers]
    if not smaller:
        if checkable:
            why = "has no delta to it that is smaller than the layers which are not here"
        elif found:
            why = (
                "has a delta to it that needs the hash in the lock, or a signature by one of nix.conf's"
                " trusted-public-keys; take the lock of the machine that pushed it"
            )
        else:
            why = f"has no delta to it from an image path that is here; `nixoci delta list {target.name}` shows all"
        raise DeltaError(f"image {target.name}: {source.repository} {why}")
    return sorted(smaller, key=lambda one: one.size)


def _checkable(found: Sequence[UsableDelta]) -> list[UsableDelta]:
    """Return the deltas that can be checked without a hash in the lock: by diff ids, or a signature that Nix trusts."""
    claims = [_claim(one.delta) for one in found]
    with scratch_directory("delta") as folder:
        signed = trusted_contents([claim for claim in claims if claim is not None], folder=folder)
    return [
        replace(one, contents=claim) if claim in signed else one
        for one, claim in zip(found, claims, strict=True)
        if claim in signed or one.delta.kind != "nixoci"
    ]


def _claim(delta: FoundDelta) -> SignedContents | None:
    return delta.manifest.contents if delta.kind == "nixoci" else None


def download_size(target: PrefetchTarget, delta: FoundDelta, missing: Collection[Digest]) -> int:
    """Return the bytes of a delta's artifact, and of the layers that have to be fetched besides."""
    if delta.kind == "nixoci":
        return delta.manifest.size
    described = described_layers(delta.manifest)
    besides = {layer.digest: layer.size for layer in target.locked.layers if layer.digest not in described}
    return delta.manifest.size + sum(size for digest, size in besides.items() if digest in missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledImage:
    """An image path that a delta made."""

    added: AddedImagePath
    by: UsableDelta


def pull_image_path(
    target: PrefetchTarget,
    store_name: str,
    deltas: Sequence[UsableDelta],
    *,
    context: LockContext,
    warn: Callable[[str], None],
    advance: Advance = ignore,
) -> PulledImage | None:
    """Pull the first of several deltas that makes the image path; None if none of them does.

    Args:
        target: The image.
        store_name: The name of its derivation, from `image_path_names`.
        deltas: The deltas, from `usable_deltas`.
        context: The lock's place.
        warn: Called with a message for each delta that does not make it.
        advance: Called with the bytes of artifacts as they arrive.
    """
    for usable in deltas:
        try:
            added = _pull(target, store_name, usable, context=context, warn=warn, advance=advance)
        except UNREADABLE as error:
            reason = failure_reason(target.name, error).removeprefix(f"{usable.delta.reference}: ")
            warn(f"image {target.name}: the delta {usable.delta.reference} is not used: {reason}")
        else:
            return PulledImage(added=added, by=usable)
    return None


def _pull(
    target: PrefetchTarget,
    store_name: str,
    usable: UsableDelta,
    *,
    context: LockContext,
    warn: Callable[[str], None],
    advance: Advance,
) -> AddedImagePath:
    """Fetch a delta, make the image path from it, and add that to the Nix store without a garbage collector root."""
    delta = usable.delta
    # one that needs another nixoci is not worth its download
    version = delta.manifest.stream_version(what=str(delta.reference)) if delta.kind == "nixoci" else 0
    parts = (delta.manifest.config, *delta.manifest.layers)
    with (
        _held(usable.base.path) as nix,
        scratch_directory("delta") as folder,
        DecodeWorker() as worker,
    ):
        worker.start_for(version)  # it gets ready during the download
        nix.get_ready()
        layout = ArtifactLayout(folder / "artifact")
        with folder_growth(layout.folder, delta.manifest.size, advance):
            fetch_artifact(delta.reference, context.access, layout.folder, parts)
        # skopeo leaves out blobs that have addresses of their own, and believes no size
        layout.check(parts, what=str(delta.reference))
        if delta.kind == "nixoci":
            return _from_contents(target, store_name, usable, layout, nix=nix, worker=worker)
        described = described_layers(delta.manifest)
        blobs = {digest: blob for digest, blob in missing_blobs([target]).items() if digest not in described}
        fetch_blobs(target, blobs, folder, context=context, advance=advance)
        with OldFiles(usable.base.rootfs) as old:
            sizes = {layer.digest: layer.size for layer in target.locked.layers}
            streams = layer_streams(delta.manifest, layout, old, sizes, what=str(delta.reference))
            return add_image_path(target, store_name, folder=folder, streams=streams, warn=warn)


@contextmanager
def _held(base: Path) -> Iterator[Registration]:
    """Keep an image path from the garbage collector while the block uses it, and register what the block adds.

    Raises:
        StoreError: It is gone already.
    """
    with registration(store=None) as nix:
        if str(base) not in nix.valid([str(base)]):
            raise StoreError(f"{base}: not in the Nix store any more")
        yield nix


def _from_contents(
    target: PrefetchTarget,
    store_name: str,
    usable: UsableDelta,
    layout: ArtifactLayout,
    *,
    nix: Registration,
    worker: DecodeWorker,
) -> AddedImagePath:
    """Make an image path from a delta of nixoci: it is added only if it has the hash that is locked, or signed."""
    what = str(usable.delta.reference)
    manifest = usable.delta.manifest
    stream = layout.blob(manifest.stream(what=what).digest)
    text = layout.read(manifest.config, what=what)
    if Digest.of(text, manifest.config.digest.algorithm) != manifest.config.digest:
        raise DeltaError(f"{what}: its config has another digest than its manifest says; push the delta again")
    config = DeltaConfig.parse(text, what=what)
    document = _image_document(target, config, layout.folder)
    largest = plausible_size(layer.size for layer in target.locked.layers)
    with spool() as folder, stream.open("rb") as opened:
        reader = DeltaReader(opened.read, what=what)
        parts = rebuilt_parts(reader, usable.base.path, folder, largest=largest, worker=worker)
        if target.nar_hash is None:
            return _add_signed(store_name, usable, document, parts, nix=nix)
        address = nar_address(target.nar_hash.hash)
        info = PathInfo(
            path=addressed_path(address, name=store_name, references=(), to_itself=False),
            nar_hash=target.nar_hash.hash,
            nar_size=image_nar_size(document, parts),
            content_address=address,
        )
        nix.add(info, lambda out: write_image_nar(out, document, parts, what=what))
    return AddedImagePath(nar_hash=target.nar_hash, path=info.path)


def _add_signed(
    store_name: str, usable: UsableDelta, document: bytes, parts: Sequence[Part], *, nix: Registration
) -> AddedImagePath:
    """Add an image path whose parts have the hashes that are signed."""
    what = str(usable.delta.reference)
    if usable.contents is None:
        raise DeltaError(f"{what}: neither locked nor signed is what it makes, so it cannot be checked")
    write = partial(write_image_nar, document=document, parts=parts, nar_hashes=usable.contents.nar_hashes, what=what)
    added = nix.add_content(store_name, write)
    return AddedImagePath(nar_hash=LockedNarHash(format=FORMAT_VERSION, hash=added.nar_hash), path=added.path)


def _image_document(target: PrefetchTarget, config: DeltaConfig, folder: Path) -> bytes:
    """Return the image.json of an image, whose manifest and config are checked against the lock."""
    files = {}
    for blob, text in ((target.locked.manifest, config.manifest), (target.locked.config, config.config)):
        files[blob.digest] = folder / blob.digest.hex
        files[blob.digest].write_text(text, encoding="utf-8")
    with open_source(BlobsSource(target.locked.manifest.digest), blobs=files) as source:
        image = resolve_image(source, Platform.parse(target.platform))
    document = image_document(
        image,
        name=target.name,
        reference=podman_name(target.name, target.image.reference),
        digest=target.image.digest,
        warnings=config.warnings,
    )
    return dump(document).encode()
