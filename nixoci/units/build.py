"""Write everything that a deployment needs on its host, below one directory that is linked, copied or installed.

lib/systemd/system/           services, with `.wants` links (lib/systemd/user/ for a user)
share/containers/systemd/     the Quadlet files that some of them were made from
share/nixoci/bundles/NAME/    config.json and the files it mounts, the mount table, start and stop scripts
share/nixoci/images/NAME      the layer of a mounted image; share/nixoci/image-stores/NAME without another image store
share/nixoci/services/NAME/   the files that a service of the systemd backend reads: launchers, layers of its root
share/nixoci/tmpfiles/        the files that bundles and these services have systemd-tmpfiles make
storage.conf, storage.conf.d/ those of the image store, if it has them; `nixoci switch` links the drop-in
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from nixoci.bundle.seccomp import Profile, as_profile
from nixoci.container.declared import as_declared
from nixoci.container.deployment import ResolvedDeployment, resolve_deployment
from nixoci.container.model import Backend, Deployment
from nixoci.container.resolve import ResolvedContainer
from nixoci.container.rules import check_bundle
from nixoci.errors import ContainerError
from nixoci.image_store.contents import ImageStore, is_image_store
from nixoci.output import missing_directories
from nixoci.units.bundle import write_bundle
from nixoci.units.directories import UnitsOutput, make_directories
from nixoci.units.engines import write_engine_services
from nixoci.units.images import write_images_service
from nixoci.units.podman import generate_services, write_image_container, write_object_files, write_rootfs_container
from nixoci.units.systemd_container import write_systemd
from nixoci.units.tools import Tools

_WRITERS: dict[Backend, Callable[[UnitsOutput, ResolvedContainer], list[str]]] = {
    Backend.PODMAN: write_image_container,
    Backend.ROOTFS: write_rootfs_container,
    Backend.BUNDLE: write_bundle,
    Backend.SYSTEMD: write_systemd,
}
"""The writer of each backend's containers; it returns warnings."""

_CONFIGURATION = ("storage.conf", "storage.conf.d/50-nixoci.conf")


def build_units(
    deployment: Deployment,
    out: str | os.PathLike[str],
    *,
    tools: Tools,
    profile: Profile | str | os.PathLike[str] | None = None,
    user: bool = False,
    only: str | None = None,
    prebuilt: Mapping[str, str | os.PathLike[str]] | None = None,
) -> list[str]:
    """Write a deployment's units and all that they read; return warnings, one line each.

    Equal deployments give equal bytes, whatever the order of their mappings.

    Args:
        deployment: The deployment.
        out: The directory to make; its path is that on the target (a store path, for example).
        tools: The programs that units run, and that make them.
        profile: The seccomp profile of bundles (`read_profile`) or its file, None for no confinement.
        user: Make units for a user's own systemd.
        only: The one container without podman to write, for an output of its own; the other containers may be missing.
        prebuilt: Outputs of `only` by name, which are linked instead of written again.

    Raises:
        ContainerError: An option cannot be honored, or the output exists; the message starts with the option.
        StoreError: An image is not an image path.
        ProcessError: A tool failed.
        OSError: The disk is full; it names `out`, and nothing is left there.
    """
    outputs = {name: Path(path) for name, path in (prebuilt or {}).items()}
    deployment, out = as_declared(deployment), Path(out)
    resolved = resolve_deployment(deployment, user=user, only=only)
    for name in outputs:
        check_bundle(name, deployment, user=user)
    if only is None and deployment.image_store is not None and not is_image_store(Path(deployment.image_store)):
        raise ContainerError(
            f"imageStore: {deployment.image_store} is not an image store; name one that `nixoci image-store` has made,"
            " or leave the key out where the images of a lock are built"
        )
    if not out.is_absolute():
        raise ContainerError(f"{out}: units name this directory by its absolute path; give that")
    store = ImageStore(Path(deployment.image_store)) if deployment.image_store is not None else None
    if os.path.lexists(out):
        raise ContainerError(f"{out}: it exists; remove it or name another directory")
    output = UnitsOutput(out=out, tools=tools, profile=as_profile(profile), image_store=store, user=user)
    with missing_directories(out):  # where the units have to be for podman's generator
        return _write(output, resolved, outputs, only=only)


def _write(
    output: UnitsOutput, deployment: ResolvedDeployment, prebuilt: Mapping[str, Path], *, only: str | None
) -> list[str]:
    make_directories(output)
    warnings: list[str] = []
    for container in deployment.containers:
        if container.name in prebuilt:
            _link(output.out, prebuilt[container.name])
        else:
            warnings += _WRITERS[container.declared.backend](output, container)
    if only is None:
        write_images_service(output, every=bool(deployment.declared.engines))
        write_engine_services(output, deployment.declared.engines)
        write_object_files(output, deployment)
        _link_configuration(output)
    generate_services(output, deployment)
    return warnings


def _link_configuration(output: UnitsOutput) -> None:
    """Link podman's configuration for the image store, as the store itself has it."""
    if (store := output.image_store) is None:
        return
    for name in _CONFIGURATION:
        if (file := store.path / name).exists():
            (output.out / name).parent.mkdir(exist_ok=True)
            (output.out / name).symlink_to(file)


def _link(out: Path, prebuilt: Path) -> None:
    """Link the files of a bundle's own output. Its units name that output, so they do not change when `out` does."""
    for file in sorted(prebuilt.rglob("*")):
        target = out / file.relative_to(prebuilt)
        if file.is_dir() and not file.is_symlink():
            target.mkdir(exist_ok=True)
        elif prebuilt / "lib" in file.parents:  # systemd looks for unit files, wanted by relative links
            shutil.copy(file, target, follow_symlinks=False)
        else:
            target.symlink_to(file)
