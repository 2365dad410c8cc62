"""A self-contained `default.nix` for a lock: its data, and the expressions that build its images."""

from nixoci.container.model import Deployment
from nixoci.document import unstructure
from nixoci.errors import ContainerError
from nixoci.image_path import FORMAT_VERSION
from nixoci.lock.model import Lock
from nixoci.nix_language.declared import check_declared
from nixoci.nix_language.escape import attribute_name, integer, string, value
from nixoci.nix_language.render import render
from nixoci.nix_language.shipped import shipped

DEFAULT_FLAKE = "flake:nixoci"

EXPRESSIONS = {
    "reference": "reference.nix",
    "blob": "blob.nix",
    "image": "image.nix",
    "imageStore": "image-store.nix",
    "fromLock": "lock.nix",
}
"""The names that a generated file binds, and the files of their expressions."""

UNITS = {"makeUnits": "units.nix"}
"""Likewise, for a file with containers."""


def render_default_nix(lock: Lock, *, deployment: Deployment | None = None, flake: str = DEFAULT_FLAKE) -> str:
    """Return the text of a `default.nix` that needs no other file.

    It is a function of the tools that returns `{ images.NAME; imageStore; }`, with a deployment also `units`, the store
    path of the deployment's units.

    >>> text = render_default_nix(Lock(version=1))
    >>> print(text[: text.index(chr(10))])
    # Made by `nixoci generate` from a lock file; it is overwritten when made again.

    Args:
        lock: The lock whose images it builds.
        deployment: Containers of these images; its own `images` are empty.
        flake: The flake whose packages are the default tools.

    Raises:
        ContainerError: A rule of the deployment is broken, or it has `images`; the message starts with the option.
        EscapeError: Nix has no literal for a value in the lock or the deployment.
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
