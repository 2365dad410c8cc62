"""A self-contained `default.nix` for a lock: its data, and the expressions of `nix/` that build it."""

from nixoci.container.model import Deployment
from nixoci.document import unstructure
from nixoci.errors import ContainerError
from nixoci.image_path import FORMAT_VERSION
from nixoci.lock.model import Lock
from nixoci.nix_language.declared import check_declared
from nixoci.nix_language.escape import attribute_name, integer, shipped, string, value
from nixoci.nix_language.render import render

DEFAULT_FLAKE = "flake:nixoci"

EXPRESSIONS = {
    "reference": "reference.nix",
    "blob": "blob.nix",
    "image": "image.nix",
    "imageStore": "image-store.nix",
    "fromLock": "lock.nix",
}
"""What a generated file binds, and the file under `nix/` that holds it."""

UNITS = {"makeUnits": "units.nix"}
"""The same, for one that has containers."""


def generate(lock: Lock, *, deployment: Deployment | None = None, flake: str = DEFAULT_FLAKE) -> str:
    """Return the text of a `default.nix` that needs no other file.

    It is a function of the tools and gives `{ images.NAME; imageStore; }`, with a deployment also `units`: what
    `build_units` writes, as a store path.

    Args:
        lock: What it builds.
        deployment: What runs of these images; it names no image path itself.
        flake: The reference of the flake whose packages are the default tools.

    Raises:
        ContainerError: A rule of the deployment is broken, or it names images itself; the message starts with the
            option.
        EscapeError: The lock or the deployment holds a value that Nix has no literal for.
    """
    if deployment is not None:
        if deployment.images:
            raise ContainerError("images: they come from the lock here; take them out, and pin them with `nixoci add`")
        check_declared(deployment, lock)
    expressions = EXPRESSIONS if deployment is None else EXPRESSIONS | UNITS
    return render(
        "default.nix.j2",
        flake=string(flake),
        lock=value(unstructure(lock)),
        deployment=None if deployment is None else value(unstructure(deployment)),
        expressions=[(attribute_name(name), shipped(file)) for name, file in expressions.items()],
        format_version=integer(FORMAT_VERSION),
    )
