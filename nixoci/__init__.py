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

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nixoci.errors import NixociError
    from nixoci.extraction import extract
    from nixoci.image_path import FORMAT_VERSION, ImageDocument, ImagePath
    from nixoci.image_store.build import StoredImage, build_image_store
    from nixoci.image_store.storage_conf import storage_conf
    from nixoci.lock.check import Outdated, Problem, outdated, verify
    from nixoci.lock.file import read_lock, write_lock
    from nixoci.lock.model import EMPTY_LOCK, Lock, LockedImage, LockedPlatform
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

_HOMES = {
    "EMPTY_LOCK": "nixoci.lock.model",
    "Digest": "nixoci.oci.digest",
    "FORMAT_VERSION": "nixoci.image_path",
    "Image": "nixoci.oci.image",
    "ImageConfig": "nixoci.oci.model",
    "ImageDocument": "nixoci.image_path",
    "ImagePath": "nixoci.image_path",
    "Limits": "nixoci.tree.limits",
    "Lock": "nixoci.lock.model",
    "LockedImage": "nixoci.lock.model",
    "LockedPlatform": "nixoci.lock.model",
    "NixociError": "nixoci.errors",
    "Outdated": "nixoci.lock.check",
    "Pinning": "nixoci.lock.pin",
    "Platform": "nixoci.oci.model",
    "Problem": "nixoci.lock.check",
    "Reference": "nixoci.oci.reference",
    "RegistryAccess": "nixoci.oci.registry",
    "StoredImage": "nixoci.image_store.build",
    "add": "nixoci.lock.pin",
    "build_image_store": "nixoci.image_store.build",
    "extract": "nixoci.extraction",
    "generate": "nixoci.nix.generate",
    "list_platforms": "nixoci.oci.resolve",
    "open_source": "nixoci.oci.sources",
    "outdated": "nixoci.lock.check",
    "read_lock": "nixoci.lock.file",
    "remove": "nixoci.lock.pin",
    "resolve": "nixoci.oci.resolve",
    "resolve_platforms": "nixoci.oci.resolve",
    "storage_conf": "nixoci.image_store.storage_conf",
    "update": "nixoci.lock.pin",
    "verify": "nixoci.lock.check",
    "write_lock": "nixoci.lock.file",
}
"""Where each name lives. A name is imported when it is first asked for: the command and every build import this
package, and need little of it."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
