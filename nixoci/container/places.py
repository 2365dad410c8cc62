"""The directories of running containers on the host."""

import posixpath
from collections.abc import Iterable
from pathlib import Path

from nixoci.container.model import Engine
from nixoci.container.notation import Mount, Source
from nixoci.nix_store.path import STORE_DIR

RUN = "/run/nixoci"
"""Mounts, secrets and PID files of running containers, one directory each."""

STATE = "/var/lib/nixoci"
"""Data that outlives a container: `NAME/upper` and `NAME/work`, and `volumes/NAME`."""

VOLUMES = f"{STATE}/volumes"
"""The named volumes of bundles."""

GC_ROOTS = "/nix/var/nix/gcroots"
"""The roots of Nix's garbage collector: an empty file there with the basename of a store path keeps that path."""

USER_LINKS = "nixoci/gc-roots"
"""The directory of a user's roots that Nix's daemon registers, relative to $XDG_STATE_HOME."""

UNIT_LINK_PREFIX = "unit-"
"""Start of the names of those that units make."""

IMAGES = f"{RUN}/images"
"""The mount points of images, which all that runs an image on the host shares."""

IMAGES_UNIT = "nixoci-images"
"""The name, without suffix, of the service that mounts them."""

_RUNTIMES = f"{RUN}/.runtime"


def runtime_directory(container: str) -> str:
    """Return the directory of a container relative to /run, /var/lib or a user's $XDG_RUNTIME_DIR."""
    return f"nixoci/{container}"


def run_directory(container: str) -> str:
    """Return the directory of a running container.

    Only root may enter it, so that users of the host cannot run setuid programs of the image.
    """
    return f"{RUN}/{container}"


def root_directory(container: str) -> str:
    """Return the mount point of a running bundle's root."""
    return f"{run_directory(container)}/root"


def mounted_image(entry: Path, layer: str) -> str:
    """Return the mount point of an image's tree, which is read-only.

    The name tells the store path that has to stay as long as something runs from there.

    Args:
        entry: The image store that has the image's files.
        layer: The id of the image's layer there.
    """
    return f"{IMAGES}/{entry.name}-{layer}"


def bound_runtime(program: str) -> str:
    """Return the mount point of the directory of an OCI runtime, which is read-only there."""
    return f"{_RUNTIMES}/{posixpath.dirname(program).strip('/').replace('/', '-')}"


def mount_source(mount: Mount) -> str:
    """Return the path on the host that a bundle mounts: the source itself, or the directory of the named volume."""
    return mount.source if mount.kind is Source.HOST_PATH else named_volume(mount.source)


def named_volume(name: str) -> str:
    """Return the directory of a bundle's named volume."""
    return f"{VOLUMES}/{name}"


def layer_directory(container: str) -> str:
    """Return the directory of a bundle's persistent layer."""
    return f"{STATE}/{container}"


def in_store(path: str, image_paths: Iterable[str]) -> bool:
    """Return whether a path of the host is in the Nix store, or in a directory that holds one of these image paths."""
    stores = {STORE_DIR, *(posixpath.dirname(posixpath.normpath(image)) for image in image_paths)} - {"/"}
    return any(f"{posixpath.normpath(path)}/".startswith(f"{store}/") for store in stores)


def layer_workdir(container: str) -> str:
    """Return the directory beside a bundle's persistent layer that is the working directory, if the image has none."""
    return f"{layer_directory(container)}/workdir"


def pid_file(container: str) -> str:
    """Return the file with the process id of a running bundle."""
    return f"{run_directory(container)}/pid"


def secret_file(container: str, secret: str) -> str:
    """Return the file of a bundle's secret on the host."""
    return f"{run_directory(container)}/secrets/{secret}"


def unit_secrets(container: str) -> str:
    """Return the directory of a container's secrets for root or a user, as systemd and systemd-tmpfiles write it."""
    return f"%t/{runtime_directory(container)}/secrets"


def localtime_file(container: str) -> str:
    """Return the copy of the host's file of a time zone that a bundle has as its /etc/localtime."""
    return f"{run_directory(container)}/localtime"


def health_unit(service: str) -> str:
    """Return the name, without suffix, of the service and timer that check the health of a bundle with this unit."""
    return f"{service}-health"


def register_unit(engine: Engine) -> str:
    """Return the name, without suffix, of the service that registers images with an engine."""
    return f"nixoci-register-{engine}"


def log_unit(service: str) -> str:
    """Return the name, without suffix, of the socket and service that log the output of a container of systemd."""
    return f"{service}-log"


def keep_unit(service: str) -> str:
    """Return the name, without suffix, of the service that keeps what a container of systemd needs while it runs."""
    return f"{service}-keep"


def log_pipe(container: str) -> str:
    """Return the pipe that takes the output of a container of systemd."""
    return f"{run_directory(container)}/log"


def gc_root_directory(service: str) -> str:
    """Return the directory of the roots that a container's unit makes while the container runs."""
    return f"{GC_ROOTS}/nixoci/{service}"


def user_roots(user: str) -> str:
    """Return the directory of the roots that a user's units make, relative to `GC_ROOTS`; one directory for each."""
    return f"per-user/{user}/nixoci"


def user_link(container: str) -> str:
    """Return the name of the root of a user's unit in `USER_LINKS`, where Nix gives the user no directory."""
    return f"{UNIT_LINK_PREFIX}{container}"
