"""Prefetching: image paths, or the blobs that they are made from, go into the Nix store, where derivations find them.

This process reads blobs with the user's own rights, so that it can also read registries that want a password, and local
sources, which no build can read. Nix's own tools add to the store and check what they add.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from nixoci.errors import BlobError, PlatformError, ProcessError
from nixoci.extraction import LayerStreams, extract
from nixoci.image_path import FORMAT_VERSION
from nixoci.lock.context import LockContext
from nixoci.lock.model import Lock, LockedBlob, LockedImage, LockedNarHash, LockedPlatform
from nixoci.lock.names import blob_name, podman_name
from nixoci.nix_store import commands as nix
from nixoci.nix_store.content_address import addressed_path, file_address, nar_address
from nixoci.oci.digest import Digest
from nixoci.oci.image import ImageSource
from nixoci.oci.model import Descriptor, Platform
from nixoci.oci.reference import Reference
from nixoci.oci.registry import copy_layers
from nixoci.oci.resolve import resolve_image
from nixoci.oci.sources import BlobsSource, open_source
from nixoci.output import full_disk_names, scratch_directory
from nixoci.progress import Advance, folder_growth, ignore

_COPY = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefetchTarget:
    """One platform of one image to prefetch."""

    name: str
    image: LockedImage
    platform: str

    @property
    def locked(self) -> LockedPlatform:
        """The platform's entry in the lock."""
        return self.image.platforms[self.platform]

    @property
    def nar_hash(self) -> LockedNarHash | None:
        """The hash that is locked, if it is one of the image path that this nixoci makes."""
        locked = self.locked.nar_hash
        return locked if locked is not None and locked.format == FORMAT_VERSION else None

    @property
    def blobs(self) -> list[LockedBlob]:
        """The manifest, the config and the layers."""
        return [self.locked.manifest, self.locked.config, *self.locked.layers]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedImagePath:
    """The hash of an image path, and its path in the Nix store; None if Nix could not add it."""

    nar_hash: LockedNarHash
    path: str | None


def prefetch_targets(
    lock: Lock, names: Collection[str] = (), platforms: Collection[Platform] = ()
) -> list[PrefetchTarget]:
    """Return the targets for these images (all by default) and these platforms (all by default).

    Raises:
        LockError: No such image.
        PlatformError: None of the images is locked for one of the platforms.
    """
    keys = {str(platform.normalized) for platform in platforms}
    targets = [
        PrefetchTarget(name=name, image=image, platform=key)
        for name, image in lock.select(names).items()
        for key in image.platforms
        if not keys or key in keys
    ]
    missing = sorted(keys - {target.platform for target in targets})
    if missing:
        raise PlatformError(
            f"platform {missing[0]}: no image is locked for it; add it with `nixoci add REF --platform {missing[0]}`"
        )
    return targets


def missing_blobs(targets: Iterable[PrefetchTarget]) -> dict[Digest, LockedBlob]:
    """Return the blobs that are not in the Nix store, each once.

    Raises:
        ProcessError: Nix is missing or fails.
    """
    blobs = {str(blob_path(blob.digest)): blob for target in targets for blob in target.blobs}
    return {blobs[path].digest: blobs[path] for path in nix.invalid_paths(blobs)}


def prefetch_blobs(
    targets: Iterable[PrefetchTarget],
    missing: Mapping[Digest, LockedBlob],
    *,
    context: LockContext,
    advance: Advance = ignore,
) -> None:
    """Add blobs to the Nix store.

    Args:
        targets: The images that the blobs belong to.
        missing: The blobs, from `missing_blobs`.
        context: The lock's place.
        advance: Called with the bytes of blobs: of a registry's layers as they arrive, of others as they are added.

    Raises:
        ImageError: A blob cannot be read, or does not match the lock.
        ProcessError: Nix or skopeo is missing or fails.
    """
    left = dict(missing)
    with scratch_directory("prefetch") as folder:
        for target in targets:
            needed = {blob.digest: blob for blob in target.blobs if blob.digest in left}
            if not needed:
                continue
            with _open_blobs(target, needed, context, folder / "layout", advance) as (open_blob, downloaded):
                for blob in needed.values():
                    _add_blob(target, blob, open_blob, folder, ignore if blob.digest in downloaded else advance)
                    del left[blob.digest]


def fetch_blobs(
    target: PrefetchTarget,
    missing: Mapping[Digest, LockedBlob],
    folder: Path,
    *,
    context: LockContext,
    advance: Advance = ignore,
) -> None:
    """Fetch the blobs of an image that the Nix store lacks to a folder, from which its image path can be made.

    Args:
        target: The image.
        missing: The blobs that the store lacks, from `missing_blobs`, without those that nobody needs.
        folder: A folder, in which earlier calls may have left blobs of other images.
        context: The lock's place.
        advance: Called with the bytes of blobs as they arrive.

    Raises:
        ImageError: A blob cannot be read.
        ProcessError: skopeo is missing or fails.
    """
    files = {blob.digest: _fetched(folder, blob.digest) for blob in target.blobs if blob.digest in missing}
    needed = {blob.digest: blob for blob in target.blobs if blob.digest in files and not files[blob.digest].exists()}
    if not needed:
        return
    with _open_blobs(target, needed, context, folder, advance) as (open_blob, downloaded):
        for digest, blob in needed.items():
            if files[digest].exists():
                continue
            if digest in downloaded:
                raise _unserved(target, blob)
            with full_disk_names(folder), closing(open_blob(blob)) as source:
                files[digest].parent.mkdir(parents=True, exist_ok=True)
                with files[digest].open("wb") as copy:
                    while data := source.read(_COPY):
                        copy.write(data)
                        advance(len(data))


def forget_blobs(target: PrefetchTarget, folder: Path, *, but: Iterable[PrefetchTarget] = ()) -> None:
    """Remove the blobs of an image that `fetch_blobs` has left in a folder, except those of further images."""
    kept = {blob.digest for other in but for blob in other.blobs}
    for blob in target.blobs:
        if blob.digest not in kept:
            _fetched(folder, blob.digest).unlink(missing_ok=True)


def compute_nar_hash(target: PrefetchTarget, *, folder: Path | None = None, advance: Advance = ignore) -> LockedNarHash:
    """Extract an image from its blobs, as its derivation does, and return the image path's hash.

    Args:
        target: The image.
        folder: The folder that `fetch_blobs` has filled; by default all blobs are in the Nix store.
        advance: Called with the layers' bytes that were read.

    Raises:
        ImageError: The image cannot be extracted.
        ProcessError: Nix is missing or fails.
    """
    with _extracted(target, "image", folder, advance) as image_path:
        return _hash_of(image_path)


def add_image_path(
    target: PrefetchTarget,
    store_name: str,
    *,
    folder: Path | None = None,
    streams: LayerStreams | None = None,
    warn: Callable[[str], None],
    advance: Advance = ignore,
) -> AddedImagePath:
    """Extract an image as `compute_nar_hash` does, and add the image path to the Nix store.

    Its derivation with that hash then has nothing to build. The path has no garbage collector root.

    Args:
        target: The image.
        store_name: The name of its derivation, from `image_path_names`.
        folder: The folder that `fetch_blobs` has filled; by default all blobs are in the Nix store.
        streams: The tar streams of layers whose blobs are neither there nor in the store.
        warn: Called with a message if Nix cannot add the path.
        advance: Called with the layers' bytes that were read.

    Raises:
        ImageError: The image cannot be extracted.
        ProcessError: Nix is missing, or cannot hash the path.
    """
    with _extracted(target, store_name, folder, advance, streams) as image_path:
        try:
            path = nix.add_tree(image_path)
        except ProcessError as error:
            warn(
                f"image {target.name}: Nix cannot add its image path: {nix.failure_reason(error)}; the next build"
                " fetches it again"
            )
            return AddedImagePath(nar_hash=_hash_of(image_path), path=None)
        return AddedImagePath(nar_hash=LockedNarHash(format=FORMAT_VERSION, hash=nix.nar_hash(path)), path=path)


def added_image_path(target: PrefetchTarget, store_name: str) -> AddedImagePath | None:
    """Return the image path if its hash is locked and it is in the Nix store.

    Args:
        target: The image.
        store_name: The name of its derivation, from `image_path_names`.

    Raises:
        ProcessError: Nix is missing or fails.
    """
    nar_hash = target.nar_hash
    if nar_hash is None:
        return None
    path = addressed_path(nar_address(nar_hash.hash), name=store_name, references=(), to_itself=False)
    return None if nix.invalid_paths([path]) else AddedImagePath(nar_hash=nar_hash, path=path)


def with_nar_hash(lock: Lock, target: PrefetchTarget, nar_hash: LockedNarHash | None) -> Lock:
    """Return the lock with the NAR hash of one image path, or without it."""
    image = lock.images[target.name]
    platform = replace(image.platforms[target.platform], nar_hash=nar_hash)
    changed = replace(image, platforms={**image.platforms, target.platform: platform})
    return replace(lock, images={**lock.images, target.name: changed})


def blob_path(digest: Digest) -> Path:
    """Return the path of a blob in the Nix store, which need not be there."""
    address = file_address(digest.algorithm, bytes.fromhex(digest.hex))
    return Path(addressed_path(address, name=blob_name(digest), references=(), to_itself=False))


@contextmanager
def open_blobs(target: PrefetchTarget, folder: Path | None = None) -> Iterator[ImageSource]:
    """Open an image whose blobs are in the Nix store, or in the folder that `fetch_blobs` has filled.

    Raises:
        ImageError: Its manifest is in neither.
        ProcessError: Nix is missing or fails.
    """
    files = {blob.digest: blob_path(blob.digest) for blob in target.blobs}
    if folder is not None:
        fetched = {digest: _fetched(folder, digest) for digest in files}
        files |= {digest: file for digest, file in fetched.items() if file.exists()}
    with open_source(BlobsSource(target.locked.manifest.digest), blobs=files) as source:
        yield source


@contextmanager
def _extracted(
    target: PrefetchTarget,
    directory: str,
    blobs: Path | None,
    advance: Advance,
    streams: LayerStreams | None = None,
) -> Iterator[Path]:
    """Extract an image to a temporary directory of this name."""
    with scratch_directory("prefetch") as folder, open_blobs(target, blobs) as source:
        image_path = folder / directory
        extract(
            resolve_image(source, Platform.parse(target.platform)),
            source,
            image_path,
            name=target.name,
            reference=podman_name(target.name, target.image.reference),
            digest=target.image.digest,
            streams=streams,
            advance=advance,
        )
        yield image_path


def _hash_of(image_path: Path) -> LockedNarHash:
    return LockedNarHash(format=FORMAT_VERSION, hash=Digest("sha256", nix.nar_digest(image_path)).sri)


@contextmanager
def _open_blobs(
    target: PrefetchTarget, needed: Mapping[Digest, LockedBlob], context: LockContext, layout: Path, advance: Advance
) -> Iterator[tuple[Callable[[LockedBlob], BinaryIO], Collection[Digest]]]:
    """Yield a function that opens the needed blobs of an image, and those that were downloaded to `layout` for it."""
    source = context.source(target.image.reference)
    if not isinstance(source, Reference):
        with context.open_pinned(target.name, target.image) as local:
            yield (lambda blob: local.open_blob(_descriptor(blob))), ()
        return
    manifest = source.at(target.locked.manifest.digest)
    layers = {layer.digest for layer in target.locked.layers}
    downloaded = {digest: blob for digest, blob in needed.items() if digest in layers}
    if downloaded:
        for file in (_fetched(layout, digest) for digest in layers):
            file.parent.mkdir(parents=True, exist_ok=True)
        for digest in layers - needed.keys():
            _let_appear(_fetched(layout, digest), blob_path(digest))
        with folder_growth(layout, sum(blob.size for blob in downloaded.values()), advance):
            copy_layers(manifest, context.access, layout, map(_descriptor, target.blobs))
    with open_source(manifest, access=context.access) as registry:

        def open_blob(blob: LockedBlob) -> BinaryIO:
            if blob.digest not in layers:
                return registry.open_blob(_descriptor(blob))
            return _fetched(layout, blob.digest).open("rb")

        yield open_blob, downloaded


def _add_blob(
    target: PrefetchTarget,
    blob: LockedBlob,
    open_blob: Callable[[LockedBlob], BinaryIO],
    folder: Path,
    advance: Advance,
) -> None:
    """Verify a blob and add it to the Nix store."""
    what = f"image {target.name}: blob {blob.digest}"
    file = folder / blob_name(blob.digest)
    hasher, size = blob.digest.hasher(), 0
    try:
        with full_disk_names(folder.parent), closing(open_blob(blob)) as source, file.open("wb") as copy:
            while data := source.read(_COPY):
                size += len(data)
                hasher.update(data)
                copy.write(data)
                advance(len(data))
    except FileNotFoundError as error:
        raise _unserved(target, blob) from error
    if (size, hasher.hexdigest()) != (blob.size, blob.digest.hex):
        raise BlobError(
            f"{what}: its source has {size} bytes of digest {blob.digest.algorithm}:{hasher.hexdigest()}, the lock has"
            f" {blob.size} bytes; the source is damaged, or run `nixoci verify {target.name}`"
        )
    nix.add_fixed_file(file, blob.digest.algorithm, blob.digest.hex, file.name)
    file.unlink()


def _let_appear(file: Path, blob: Path) -> None:
    """Let a layout have a blob that skopeo need not fetch: as it is in the store, or empty."""
    if not file.exists():
        if blob.exists():
            file.symlink_to(blob)
        else:
            file.touch()


def _fetched(folder: Path, digest: Digest) -> Path:
    """Return the place of a blob in a folder, which is that in an OCI layout."""
    return folder / "blobs" / digest.algorithm / digest.hex


def _unserved(target: PrefetchTarget, blob: LockedBlob) -> BlobError:
    return BlobError(
        f"image {target.name}: blob {blob.digest}: the registry does not serve it; the image cannot be built from there"
    )


def _descriptor(blob: LockedBlob) -> Descriptor:
    return Descriptor(media_type=blob.media_type, digest=blob.digest, size=blob.size)
