"""OCI container images as Nix store paths that unmodified podman, crun and systemd run in place.

The library behind the command `nixoci`. Pin an image and write the Nix that builds it:

    from pathlib import Path
    import nixoci

    lock_file = Path("nixoci.lock.json")
    pinning = nixoci.Pinning(directory=lock_file.parent.absolute(), access=nixoci.RegistryAccess())
    lock, name = nixoci.add(nixoci.EMPTY_LOCK, "docker.io/library/nginx:1.27", pinning=pinning)
    nixoci.write_lock(lock_file, lock)
    Path("default.nix").write_text(nixoci.generate(lock))

Everything raises `NixociError`, whose text is one line that names the thing and the way out.
"""

from nixoci.errors import NixociError
from nixoci.extraction import extract
from nixoci.image_path import FORMAT_VERSION, ImageDocument, ImagePath
from nixoci.image_store.build import StoredImage, build_image_store
from nixoci.image_store.storage_conf import storage_conf
from nixoci.lock.check import Outdated, Problem, outdated, verify
from nixoci.lock.file import read_lock, write_lock
from nixoci.lock.model import LOCK_VERSION, Lock, LockedImage, LockedPlatform
from nixoci.lock.pin import Pinning, add, remove, update
from nixoci.nix.generate import generate
from nixoci.oci.digest import Digest
from nixoci.oci.image import Image
from nixoci.oci.model import ImageConfig, Platform
from nixoci.oci.reference import Reference
from nixoci.oci.registry import RegistryAccess
from nixoci.oci.resolve import list_platforms, resolve, resolve_platforms
from nixoci.oci.sources import open_source
from nixoci.tree.limits import Limits

EMPTY_LOCK = Lock(version=LOCK_VERSION)
"""A lock with no images, to start from."""

__all__ = [
    "EMPTY_LOCK",
    "FORMAT_VERSION",
    "Digest",
    "Image",
    "ImageConfig",
    "ImageDocument",
    "ImagePath",
    "Limits",
    "Lock",
    "LockedImage",
    "LockedPlatform",
    "NixociError",
    "Outdated",
    "Pinning",
    "Platform",
    "Problem",
    "Reference",
    "RegistryAccess",
    "StoredImage",
    "add",
    "build_image_store",
    "extract",
    "generate",
    "list_platforms",
    "open_source",
    "outdated",
    "read_lock",
    "remove",
    "resolve",
    "resolve_platforms",
    "storage_conf",
    "update",
    "verify",
    "write_lock",
]
