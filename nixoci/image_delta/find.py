"""The deltas to an image that its repository has, and the images on this machine that they may start from."""

import os
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nixoci.delta.pairing import package_name
from nixoci.errors import DeltaError, ImageError, StoreError
from nixoci.image_delta import oci_delta
from nixoci.image_delta.artifact import ARTIFACT_TYPE, ArtifactManifest, base_of
from nixoci.image_path import DOCUMENT, ImagePath
from nixoci.nix_store import commands as nix
from nixoci.nix_store.path import HASH_PART_DIGITS, STORE_DIR, STORE_PATH
from nixoci.oci.digest import Digest
from nixoci.oci.model import Descriptor
from nixoci.oci.reference import Reference
from nixoci.oci.referrers import Warn, list_referrers
from nixoci.oci.registry import RegistryAccess, read_tagged

_MOST = 64
"""Deltas to one image whose manifests are read."""
_AT_ONCE = 4
"""Manifests that are read at a time."""
_FAILURES = 3
"""Deltas whose manifests cannot be read, after which the registry is asked no further."""

Kind = Literal["nixoci", "oci-delta"]
"""The kind of a delta: of nixoci, or of containers/oci-delta."""

KINDS: Mapping[str, Kind] = {ARTIFACT_TYPE: "nixoci", oci_delta.ARTIFACT_TYPE: "oci-delta"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDelta:
    """A delta in a repository.

    Attributes:
        kind: Its kind.
        reference: The artifact.
        manifest: Its manifest.
        base: The manifest's digest of the image that it starts from.
        base_config: The config's digest of that image, if the delta tells it.
    """

    kind: Kind
    reference: Reference
    manifest: ArtifactManifest
    base: Digest
    base_config: Digest | None = None

    def starts_from(self, image: ImagePath) -> bool:
        """Return whether the delta starts from an image."""
        return _starts_from(image, self.base, self.base_config)


def image_paths_like(store_name: str) -> list[ImagePath]:
    """Return the valid image paths in the Nix store whose name differs from `store_name` at most in the version.

    Raises:
        ProcessError: Nix is missing or fails.
    """
    wanted = package_name(f"{STORE_DIR}/{'0' * HASH_PART_DIGITS}-{store_name}")
    root = Path(STORE_DIR)
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if STORE_PATH.fullmatch(f"{STORE_DIR}/{entry.name}")]
    like = [f"{STORE_DIR}/{name}" for name in sorted(names) if package_name(f"{STORE_DIR}/{name}") == wanted]
    candidates = [path for path in like if Path(path, DOCUMENT).is_file()]
    invalid = set(nix.invalid_paths(candidates))
    found = []
    for path in candidates:
        with suppress(StoreError):  # another version of the format, or no image path at all
            if path not in invalid:
                found.append(ImagePath.open(path))
    return found


def find_deltas(
    reference: Reference,
    subject: Digest,
    access: RegistryAccess,
    here: Collection[ImagePath],
    *,
    others: bool = True,
    warn: Warn,
) -> list[FoundDelta]:
    """Return the deltas to an image that its repository lists, those that start from an image which is here first.

    Args:
        reference: An image in the repository.
        subject: The image's manifest.
        access: How to reach the registry.
        here: Image paths on this machine.
        others: Return those too which start from other images.
        warn: Called with a message if the list has damaged entries, or more than are read.

    Raises:
        ImageError: The registry cannot be reached, or does not let the user in; or it lists deltas, and none can be
            read.
        ProcessError: skopeo is missing.
    """
    found: list[FoundDelta] = []
    failures: list[ImageError] = []
    newest = _chosen(list_referrers(reference, subject, access, warn), here, others=others)
    if len(newest) > _MOST:
        warn(f"{reference.repository}: lists {len(newest)} deltas to {subject}; {_MOST} of them are read")
    newest = newest[:_MOST]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for start in range(0, len(newest), _AT_ONCE):
            for result in threads.map(
                lambda entry: _found(reference, subject, entry, access), newest[start : start + _AT_ONCE]
            ):
                if isinstance(result, ImageError):
                    failures.append(result)
                elif result is not None:
                    found.append(result)
            if len(failures) >= _FAILURES:
                break
    if failures and not found:
        raise failures[0]
    return found


def _chosen(entries: Iterable[Descriptor], here: Collection[ImagePath], *, others: bool) -> list[Descriptor]:
    """Return the deltas of a list of artifacts, in the order in which they are worth reading.

    First come those that start from an image which is here, then those without a base in the list, then the others; of
    each the newest first, where a tag lists them.
    """
    groups: tuple[list[Descriptor], ...] = ([], [], [])
    for entry in entries:
        kind = KINDS.get(entry.artifact_type or "")
        if kind is None:
            continue
        base, base_config = _bases(kind, entry.annotations)
        if any(_starts_from(image, base, base_config) for image in here):
            groups[0].append(entry)
        else:
            groups[1 if base is None else 2].append(entry)
    return [entry for group in (groups if others else groups[:2]) for entry in reversed(group)]


def _bases(kind: Kind, annotations: Mapping[str, str]) -> tuple[Digest | None, Digest | None]:
    """Return the digests of the manifest and of the config that a delta starts from, as annotations tell them."""
    if kind == "nixoci":
        return base_of(annotations), None
    return oci_delta.digest_in(annotations, oci_delta.SOURCE), oci_delta.digest_in(annotations, oci_delta.SOURCE_CONFIG)


def _starts_from(image: ImagePath, base: Digest | None, base_config: Digest | None) -> bool:
    """Return whether a delta starts from an image; tools may have rewritten its manifest, but not its config."""
    document = image.document
    return document.manifest.digest == base or document.config.digest == base_config


def _found(
    reference: Reference, subject: Digest, entry: Descriptor, access: RegistryAccess
) -> FoundDelta | ImageError | None:
    """Return the delta that an entry lists, or why the registry does not give it; None if it is no sound delta."""
    try:
        return _read(reference, subject, entry, access)
    except DeltaError:
        return None
    except ImageError as error:  # damaged, or the registry fails
        return error


def _read(reference: Reference, subject: Digest, entry: Descriptor, access: RegistryAccess) -> FoundDelta | None:
    kind = KINDS.get(entry.artifact_type or "")
    if kind is None:
        return None
    at = reference.at(entry.digest)
    text = read_tagged(at, access)
    if text is None:
        return None
    manifest = ArtifactManifest.parse(text, what=str(at))
    base, base_config = _bases(kind, manifest.annotations)
    if base is None or manifest.subject.digest != subject or KINDS.get(manifest.artifact_type) != kind:
        return None
    return FoundDelta(kind=kind, reference=at, manifest=manifest, base=base, base_config=base_config)
