"""The lock file on disk: read strictly, written atomically, by one writer at a time."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nixoci.document import check_version, dump, load, show, structure
from nixoci.errors import LockError, NixociError
from nixoci.lock.model import FILE_NAME, LOCK_VERSION, Lock, LockedImage
from nixoci.nix_store.hashes import is_sri
from nixoci.oci.model import Platform
from nixoci.oci.reference import Reference
from nixoci.oci.sources import parse_source
from nixoci.output import exclusive_directory, write_if_changed

NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9+._?=-]*")
"""A valid image name: it becomes an attribute in Nix, and the first part of a store path's name."""


def read_lock(path: str | os.PathLike[str]) -> Lock:
    """Read a lock file.

    Raises:
        UnsupportedVersionError: The file has another version.
        LockError: The file is missing, or a name, reference or platform in it is not valid.
        DocumentError: The file is not a lock; the message has the path inside the document.
    """
    path = Path(path)
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        if path == Path(FILE_NAME):
            way = "change to the directory that has it, or make one here with `nixoci add REF`"
        else:
            way = f"make it with `nixoci add REF --lock {path}`"
        raise LockError(f"{path}: there is no such lock file; {way}") from error
    return parse_lock(text, what=str(path))


def parse_lock(text: bytes, *, what: str) -> Lock:
    """Read the text of a lock file, which `what` names in errors; errors are those of `read_lock`."""
    value = load(text, what=what)
    check_version(value, LOCK_VERSION, what=what, way_out="use the nixoci that wrote it")
    lock = structure(Lock, value, what=what, strict=True)
    for name, image in lock.images.items():
        where = f'{what}: images["{name}"]'
        if not NAME.fullmatch(name):
            raise LockError(f"{where}: not a valid name; expected {NAME.pattern}")
        _check(image, where)
    return lock


def write_lock(path: str | os.PathLike[str], lock: Lock) -> bool:
    """Write a lock file, with images and platforms sorted; return whether its content changed.

    Raises:
        OSError: The file cannot be written; an older one is untouched.
    """
    images = {
        name: replace(image, platforms=dict(sorted(image.platforms.items())))
        for name, image in sorted(lock.images.items())
    }
    return write_if_changed(Path(path), dump(replace(lock, images=images)))


@contextmanager
def exclusive_access(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make other nixoci processes that want to change a lock file wait until the end of the block.

    This locks the directory, so that no other file has to lie beside the lock file. After a second of waiting, a
    warning is logged.

    Raises:
        LockError: The directory does not exist, or the lock file is a pipe or a device, which cannot be replaced.
    """
    file = Path(path)
    directory = file.resolve().parent
    if not directory.is_dir():
        raise LockError(f"{path}: its directory does not exist; make it first")
    if file.exists() and not file.is_file() and not file.is_dir():
        raise LockError(f"{path}: is no regular file, and this command may write the lock; name a file")
    with exclusive_directory(directory, what=file):
        yield


def _check(image: LockedImage, where: str) -> None:
    """Check the references, platforms, sizes and hashes of an entry."""
    if not image.platforms:
        raise LockError(f"{where}.platforms: expected one or more, got none; remove the image and add it again")
    try:
        source = parse_source(image.reference)
        if isinstance(source, Reference) and str(source) != image.reference:
            raise LockError(f"reference {show(image.reference)}: is not written in full; expected {source}")
        for platform in image.platforms:
            if str(Platform.parse(platform)) != platform:
                raise LockError(f"platform {platform!r}: expected os/architecture[/variant]")
    except NixociError as error:
        raise LockError(f"{where}: {error}") from error
    for platform, locked in image.platforms.items():
        blobs = {"manifest": locked.manifest, "config": locked.config}
        blobs |= {f"layers[{number}]": layer for number, layer in enumerate(locked.layers)}
        for name, blob in blobs.items():
            if blob.size < 0:
                raise LockError(f'{where}.platforms["{platform}"].{name}.size: expected 0 or more, got {blob.size}')
        if locked.nar_hash is not None and not is_sri(locked.nar_hash.hash):
            raise LockError(
                f'{where}.platforms["{platform}"].narHash.hash: expected sha256-<base64>, got'
                f" {show(locked.nar_hash.hash)}; remove narHash, and `nixoci prefetch` computes it again"
            )
