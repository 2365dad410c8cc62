"""OCI container images as Nix store paths that unmodified podman, crun and systemd run in place.

The library behind the command `nixoci`. Pin an image and write the Nix that builds it:

    from pathlib import Path
    import nixoci

    lock_file = Path("nixoci.lock.json")
    pinning = nixoci.Pinning(directory=lock_file.parent.absolute(), access=nixoci.RegistryAccess())
    lock, name = nixoci.add(nixoci.EMPTY_LOCK, "docker.io/library/nginx:1.27", pinning=pinning)
    nixoci.write_lock(lock_file, lock)
    Path("default.nix").write_text(nixoci.generate(lock))

Describe what runs, for the units and bundles of image paths that are built, or as Nix that builds it all:

    web = nixoci.Container(image=name, ports=["8080:80"])
    Path("module.nix").write_text(nixoci.generate_module(nixoci.Deployment(containers={"web": web}), lock=lock))

`docs/python.md` has a whole build script. Everything raises `NixociError`, whose text is one line that names the thing
and the way out.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nixoci.bundle.build import build_bundle
    from nixoci.bundle.config import Bundle, bundle_config
    from nixoci.bundle.seccomp import DEFAULT_PROFILE, read_profile
    from nixoci.container.deployment import resolve_containers
    from nixoci.container.model import (
        Backend,
        Container,
        Deployment,
        HealthcheckOptions,
        Network,
        Notify,
        Pod,
        Restart,
        Secret,
        Settings,
        Volume,
        WritableLayer,
    )
    from nixoci.container.schema import json_schema
    from nixoci.errors import ContainerError, NixociError
    from nixoci.extraction import extract
    from nixoci.image_path import FORMAT_VERSION, ImageDocument, ImagePath
    from nixoci.image_store.build import StoredImage, build_image_store
    from nixoci.image_store.storage_conf import storage_conf
    from nixoci.lock.check import Outdated, Problem, outdated, verify
    from nixoci.lock.file import read_lock, write_lock
    from nixoci.lock.model import EMPTY_LOCK, Lock, LockedImage, LockedPlatform
    from nixoci.lock.pin import Pinning, add, remove, update
    from nixoci.nix_language.generate import generate
    from nixoci.nix_language.module import generate_module
    from nixoci.oci.digest import Digest
    from nixoci.oci.image import Image
    from nixoci.oci.model import ImageConfig, Platform
    from nixoci.oci.reference import Reference
    from nixoci.oci.registry import RegistryAccess
    from nixoci.oci.resolve import list_platforms, resolve, resolve_platforms
    from nixoci.oci.sources import open_source
    from nixoci.tree.limits import Limits
    from nixoci.units.build import build_units
    from nixoci.units.tools import Tools

__all__ = [
    "DEFAULT_PROFILE",
    "EMPTY_LOCK",
    "FORMAT_VERSION",
    "Backend",
    "Bundle",
    "Container",
    "ContainerError",
    "Deployment",
    "Digest",
    "HealthcheckOptions",
    "Image",
    "ImageConfig",
    "ImageDocument",
    "ImagePath",
    "Limits",
    "Lock",
    "LockedImage",
    "LockedPlatform",
    "Network",
    "NixociError",
    "Notify",
    "Outdated",
    "Pinning",
    "Platform",
    "Pod",
    "Problem",
    "Reference",
    "RegistryAccess",
    "Restart",
    "Secret",
    "Settings",
    "StoredImage",
    "Tools",
    "Volume",
    "WritableLayer",
    "add",
    "build_bundle",
    "build_image_store",
    "build_units",
    "bundle_config",
    "extract",
    "generate",
    "generate_module",
    "json_schema",
    "list_platforms",
    "open_source",
    "outdated",
    "read_lock",
    "read_profile",
    "remove",
    "resolve",
    "resolve_containers",
    "resolve_platforms",
    "storage_conf",
    "update",
    "verify",
    "write_lock",
]

_HOMES = {
    "DEFAULT_PROFILE": "nixoci.bundle.seccomp",
    "EMPTY_LOCK": "nixoci.lock.model",
    "FORMAT_VERSION": "nixoci.image_path",
    "Backend": "nixoci.container.model",
    "Bundle": "nixoci.bundle.config",
    "Container": "nixoci.container.model",
    "ContainerError": "nixoci.errors",
    "Deployment": "nixoci.container.model",
    "Digest": "nixoci.oci.digest",
    "HealthcheckOptions": "nixoci.container.model",
    "Image": "nixoci.oci.image",
    "ImageConfig": "nixoci.oci.model",
    "ImageDocument": "nixoci.image_path",
    "ImagePath": "nixoci.image_path",
    "Limits": "nixoci.tree.limits",
    "Lock": "nixoci.lock.model",
    "LockedImage": "nixoci.lock.model",
    "LockedPlatform": "nixoci.lock.model",
    "Network": "nixoci.container.model",
    "NixociError": "nixoci.errors",
    "Notify": "nixoci.container.model",
    "Outdated": "nixoci.lock.check",
    "Pinning": "nixoci.lock.pin",
    "Platform": "nixoci.oci.model",
    "Pod": "nixoci.container.model",
    "Problem": "nixoci.lock.check",
    "Reference": "nixoci.oci.reference",
    "RegistryAccess": "nixoci.oci.registry",
    "Restart": "nixoci.container.model",
    "Secret": "nixoci.container.model",
    "Settings": "nixoci.container.model",
    "StoredImage": "nixoci.image_store.build",
    "Tools": "nixoci.units.tools",
    "Volume": "nixoci.container.model",
    "WritableLayer": "nixoci.container.model",
    "add": "nixoci.lock.pin",
    "build_image_store": "nixoci.image_store.build",
    "extract": "nixoci.extraction",
    "generate": "nixoci.nix_language.generate",
    "generate_module": "nixoci.nix_language.module",
    "json_schema": "nixoci.container.schema",
    "list_platforms": "nixoci.oci.resolve",
    "bundle_config": "nixoci.bundle.config",
    "open_source": "nixoci.oci.sources",
    "outdated": "nixoci.lock.check",
    "read_lock": "nixoci.lock.file",
    "read_profile": "nixoci.bundle.seccomp",
    "remove": "nixoci.lock.pin",
    "build_bundle": "nixoci.bundle.build",
    "build_units": "nixoci.units.build",
    "resolve": "nixoci.oci.resolve",
    "resolve_containers": "nixoci.container.deployment",
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
