"""One bundle on its own, for runtimes and service managers of the user's choice."""

import os
from dataclasses import replace
from pathlib import Path

from nixoci.bundle.config import Bundle, bundle_config
from nixoci.bundle.nspawn import nspawn_config
from nixoci.bundle.seccomp import Profile, as_profile
from nixoci.container.declared import as_declared
from nixoci.container.deployment import resolve_containers
from nixoci.container.model import Backend, Container, Deployment
from nixoci.container.places import mounted_image
from nixoci.container.resolve import ResolvedContainer
from nixoci.errors import ContainerError
from nixoci.image_store.contents import ImageStore, require_erofs
from nixoci.output import missing_directories, new_directory


def build_bundle(
    container: Container,
    image_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str,
    profile: Profile | str | os.PathLike[str] | None,
    nspawn: str | os.PathLike[str] | None = None,
) -> Bundle:
    """Write the config.json of a container to the new directory `out` and return it.

    Its root is the mount point of a unit of `build_units`, /run/nixoci/NAME/root, or the image path's own tree if the
    container is read-only and needs nothing that a store path cannot hold.

    Args:
        container: The container; its backend is `bundle`, and its `image` may be any name.
        image_path: The image to run.
        out: The bundle's directory (runtime-spec bundle.md).
        name: The container's name.
        profile: The seccomp profile (`read_profile`) or its file, None for no confinement.
        nspawn: The image store of the image, for a bundle that `systemd-nspawn --oci-bundle=` takes; its root is the
            image where nixoci-images.service mounts it.

    Raises:
        ContainerError: An option cannot be honored, or `out` exists; the message starts with the option.
        StoreError: `image_path` is not an image path, or `nspawn` has no EROFS files.
        OSError: The disk is full; it names `out`, and nothing is left there.
    """
    deployment = as_declared(Deployment(containers={name: container}))
    declared = deployment.containers[name]
    if declared.backend is not Backend.BUNDLE:
        raise ContainerError(f"containers.{name}.backend: {declared.backend} makes no bundle; use bundle")
    (resolved,) = resolve_containers(replace(deployment, images={declared.image: str(image_path)}))
    out = Path(out)
    if declared.environment_files:
        raise ContainerError(
            f"containers.{name}.environmentFiles: the start of a unit reads them; use `nixoci units`, or environment"
        )
    if os.path.lexists(out):
        raise ContainerError(f"{out}: it exists; remove it or name another directory")
    point = _mount_point(resolved, Path(nspawn)) if nspawn is not None else None
    bundle = bundle_config(resolved, as_profile(profile), folder=out.absolute())
    if point is not None:
        bundle = replace(bundle, config=nspawn_config(resolved, bundle, image=point), etc_files={})
    with missing_directories(out.parent), new_directory(out) as made:
        bundle.write(made)
    return bundle


def _mount_point(container: ResolvedContainer, store: Path) -> str:
    """Return where nixoci-images.service mounts a container's image, which an image store has."""
    found = ImageStore(store).find(container.option("image"), container.tree.image)
    require_erofs(found)
    return mounted_image(found.entry, found.layer.id)
