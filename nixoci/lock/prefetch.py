"""Prefetching: a lock's blobs into the Nix store, where its derivations look for them, and the trees' hashes.

Nix's own tools put the blobs there and check them. A registry that wants a password, or a local source, which no build
can read, is read here with the user's own rights.
"""

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import BinaryIO

from nixoci.errors import BlobError, PlatformError
from nixoci.extraction import extract
from nixoci.image_path import FORMAT_VERSION
from nixoci.lock.model import Lock, LockedBlob, LockedImage, LockedNarHash, LockedPlatform
from nixoci.lock.names import blob_name, podman_name, store_name
from nixoci.lock.pin import Pinning, select
from nixoci.oci.digest import Digest
from nixoci.oci.model import Descriptor, Platform
from nixoci.oci.reference import Reference
from nixoci.oci.registry import copy_layers
from nixoci.oci.resolve import resolve_image
from nixoci.oci.sources import BlobsSource, open_source
from nixoci.process import run
from nixoci.progress import Advance, ignore

_COPY = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One platform of one image to prefetch."""

    name: str
    image: LockedImage
    platform: str

    @property
    def locked(self) -> LockedPlatform:
        """What the lock has of it."""
        return self.image.platforms[self.platform]

    @property
    def blobs(self) -> list[LockedBlob]:
        """Its manifest, its config and its layers."""
        return [self.locked.manifest, self.locked.config, *self.locked.layers]


def choose(lock: Lock, names: Collection[str] = (), platforms: Collection[Platform] = ()) -> list[Wanted]:
    """Return what to prefetch: of the images of these names (all by default), these platforms (all by default).

    Raises:
        LockError: No such image.
        PlatformError: None of the images is locked for one of the platforms.
    """
    keys = {str(platform.normalized) for platform in platforms}
    wanted = [
        Wanted(name=name, image=image, platform=key)
        for name, image in select(lock, names).items()
        for key in image.platforms
        if not keys or key in keys
    ]
    missing = sorted(keys - {each.platform for each in wanted})
    if missing:
        raise PlatformError(
            f"platform {missing[0]}: no image is locked for it; add it with `nixoci add REF --platform {missing[0]}`"
        )
    return wanted


def missing_blobs(wanted: Iterable[Wanted]) -> dict[Digest, LockedBlob]:
    """Return the blobs that are not in the Nix store, each once.

    Raises:
        ProcessError: Nix is missing or fails.
    """
    blobs = {blob.digest: blob for each in wanted for blob in each.blobs}
    paths = {str(store_path(digest)): digest for digest in blobs}
    invalid = run(["nix-store", "--check-validity", "--print-invalid", *paths], package="nix").decode().split()
    return {paths[path]: blobs[paths[path]] for path in invalid}


def prefetch(
    wanted: Iterable[Wanted], missing: Mapping[Digest, LockedBlob], *, pinning: Pinning, advance: Advance = ignore
) -> None:
    """Put blobs into the Nix store.

    Args:
        wanted: The images they are of.
        missing: The blobs, as `missing_blobs` finds them.
        pinning: Where the lock's sources are.
        advance: Called with the bytes of each blob that has been put.

    Raises:
        ImageError: A blob cannot be had, or is not what the lock says.
        ProcessError: Nix or skopeo is missing or fails.
    """
    left = dict(missing)
    with tempfile.TemporaryDirectory(prefix="nixoci-") as folder:
        for each in wanted:
            needed = {blob.digest: blob for blob in each.blobs if blob.digest in left}
            if not needed:
                continue
            with _opened(each, needed, pinning, Path(folder) / "layout") as open_blob:
                for blob in needed.values():
                    _put(each, blob, open_blob, Path(folder))
                    advance(blob.size)
                    del left[blob.digest]


def nar_hash(each: Wanted, *, advance: Advance = ignore) -> LockedNarHash:
    """Extract an image from blobs in the Nix store, as its derivation does, and return the image path's hash.

    Args:
        each: The image, whose blobs must have been prefetched.
        advance: Called with the layers' bytes that were read, each counted twice.

    Raises:
        ImageError: The image cannot be extracted.
        ProcessError: Nix is missing or fails.
    """
    manifest = each.locked.manifest.digest
    files = {blob.digest: store_path(blob.digest) for blob in each.blobs}
    with (
        tempfile.TemporaryDirectory(prefix="nixoci-") as folder,
        open_source(BlobsSource(manifest), blobs=files) as source,
    ):
        made = Path(folder) / store_name(each.name, each.image.reference)
        extract(
            resolve_image(source, Platform.parse(each.platform)),
            source,
            made,
            name=each.name,
            reference=podman_name(each.name, each.image.reference),
            digest=each.image.digest,
            advance=advance,
        )
        found = run(["nix-hash", "--type", "sha256", made], package="nix").decode().strip()
    return LockedNarHash(format=FORMAT_VERSION, hash=Digest("sha256", found).sri)


def with_nar_hash(lock: Lock, each: Wanted, found: LockedNarHash | None) -> Lock:
    """Return the lock with the hash of one image path, or without."""
    image = lock.images[each.name]
    platform = replace(image.platforms[each.platform], nar_hash=found)
    changed = replace(image, platforms={**image.platforms, each.platform: platform})
    return replace(lock, images={**lock.images, each.name: changed})


@cache
def store_path(digest: Digest) -> Path:
    """Return where a blob is in the Nix store, or would be.

    Raises:
        ProcessError: Nix is missing or fails.
    """
    command = ["nix-store", "--print-fixed-path", digest.algorithm, digest.hex, blob_name(digest)]
    return Path(run(command, package="nix").decode().strip())


@contextmanager
def _opened(
    each: Wanted, needed: Mapping[Digest, LockedBlob], pinning: Pinning, layout: Path
) -> Iterator[Callable[[LockedBlob], BinaryIO]]:
    """Open what the needed blobs of an image are read from; `layout` collects the layers of registries."""
    source = pinning.source(each.image.reference)
    if not isinstance(source, Reference):
        with pinning.open_pinned(each.name, each.image) as local:
            yield lambda blob: local.open_blob(_descriptor(blob))
        return
    manifest = source.at(each.locked.manifest.digest)
    layers = {layer.digest for layer in each.locked.layers}
    if layers & set(needed):
        folders = {digest: layout / "blobs" / digest.algorithm for digest in layers}
        for digest, folder in folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            if digest not in needed and not (folder / digest.hex).exists():
                (folder / digest.hex).symlink_to(store_path(digest))
        copy_layers(manifest, pinning.access, layout)
    with open_source(manifest, access=pinning.access) as registry:

        def open_blob(blob: LockedBlob) -> BinaryIO:
            if blob.digest not in layers:
                return registry.open_blob(_descriptor(blob))
            return (layout / "blobs" / blob.digest.algorithm / blob.digest.hex).open("rb")

        yield open_blob


def _put(each: Wanted, blob: LockedBlob, open_blob: Callable[[LockedBlob], BinaryIO], folder: Path) -> None:
    """Verify a blob and let Nix put it into its store."""
    what = f"image {each.name}: blob {blob.digest}"
    file = folder / blob_name(blob.digest)
    hasher, size = blob.digest.hasher(), 0
    try:
        with closing(open_blob(blob)) as source, file.open("wb") as copy:
            while data := source.read(_COPY):
                size += len(data)
                hasher.update(data)
                copy.write(data)
    except FileNotFoundError as error:
        raise BlobError(f"{what}: the registry does not serve it; the image cannot be built from there") from error
    if (size, hasher.hexdigest()) != (blob.size, blob.digest.hex):
        raise BlobError(
            f"{what}: its source has {size} bytes of digest {blob.digest.algorithm}:{hasher.hexdigest()}, the lock has"
            f" {blob.size} bytes; the source is damaged, or run `nixoci verify {each.name}`"
        )
    kind = ["--type", blob.digest.algorithm, "--name", blob_name(blob.digest)]
    run(["nix-prefetch-url", *kind, file.as_uri(), blob.digest.hex], package="nix")
    file.unlink()


def _descriptor(blob: LockedBlob) -> Descriptor:
    return Descriptor(media_type=blob.media_type, digest=blob.digest, size=blob.size)
