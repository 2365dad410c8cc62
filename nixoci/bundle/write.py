"""One bundle on its own, for runtimes and service managers of the user's choice."""

from pathlib import Path

from nixoci.bundle.config import Bundle, make_bundle
from nixoci.bundle.seccomp import Profile
from nixoci.container.image_tree import ImageTree
from nixoci.container.model import Backend, Container, Deployment, in_order
from nixoci.container.resolve import resolve
from nixoci.container.rules import check
from nixoci.errors import ContainerError


def render_bundle(container: Container, image_path: Path, out: Path, *, name: str, profile: Profile | None) -> Bundle:
    """Write the config.json of a container to the new directory `out` and return it.

    Its root is where a unit of `render_units` mounts it, /run/nixoci/NAME/root, or the image path's own tree if the
    container is read-only and needs nothing that a store path cannot hold.

    Args:
        container: The container; its backend is `bundle`, and its `image` may be any name.
        image_path: The image to run.
        out: The bundle's directory (runtime-spec bundle.md).
        name: The container's name.
        profile: The seccomp profile (`read_profile`), None for no confinement.

    Raises:
        ContainerError: An option cannot be honoured, or `out` exists; the message starts with the option.
        StoreError: `image_path` is not an image path.
    """
    if container.backend is not Backend.BUNDLE:
        raise ContainerError(f"containers.{name}.backend: {container.backend} makes no bundle; say bundle")
    check(Deployment(images={container.image: str(image_path)}, containers={name: container}))
    resolved = resolve(name, in_order(container), ImageTree.open(image_path))
    made = make_bundle(resolved, profile, folder=out.absolute())
    try:
        out.mkdir(parents=True)
    except FileExistsError as error:
        raise ContainerError(f"{out}: it exists; remove it or name another directory") from error
    made.write(out)
    return made
