"""One bundle on its own, for runtimes and service managers of the user's choice."""

from pathlib import Path

from nixoci.bundle.config import Bundle, bundle_config
from nixoci.bundle.seccomp import Profile
from nixoci.container.deployment import resolve_containers
from nixoci.container.model import Backend, Container, Deployment
from nixoci.errors import ContainerError


def build_bundle(container: Container, image_path: Path, out: Path, *, name: str, profile: Profile | None) -> Bundle:
    """Write the config.json of a container to the new directory `out` and return it.

    Its root is the mount point of a unit of `build_units`, /run/nixoci/NAME/root, or the image path's own tree if the
    container is read-only and needs nothing that a store path cannot hold.

    Args:
        container: The container; its backend is `bundle`, and its `image` may be any name.
        image_path: The image to run.
        out: The bundle's directory (runtime-spec bundle.md).
        name: The container's name.
        profile: The seccomp profile (`read_profile`), None for no confinement.

    Raises:
        ContainerError: An option cannot be honored, or `out` exists; the message starts with the option.
        StoreError: `image_path` is not an image path.
    """
    if container.backend is not Backend.BUNDLE:
        raise ContainerError(f"containers.{name}.backend: {container.backend} makes no bundle; use bundle")
    (resolved,) = resolve_containers(
        Deployment(images={container.image: str(image_path)}, containers={name: container})
    )
    bundle = bundle_config(resolved, profile, folder=out.absolute())
    try:
        out.mkdir(parents=True)
    except FileExistsError as error:
        raise ContainerError(f"{out}: it exists; remove it or name another directory") from error
    bundle.write(out)
    return bundle
