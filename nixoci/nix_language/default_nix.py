"""A self-contained `default.nix` for a lock: its data, and the expressions that build its images."""

from pathlib import PurePosixPath

from nixoci.container.declared import as_declared
from nixoci.container.model import Deployment
from nixoci.document import unstructure
from nixoci.errors import ContainerError
from nixoci.image_path import FORMAT_VERSION
from nixoci.lock.model import Lock
from nixoci.nix_language.declared import check_declared
from nixoci.nix_language.escape import NixExpr, attribute_name, integer, string, trusted, value
from nixoci.nix_language.render import render
from nixoci.nix_language.shipped import shipped

EXPRESSIONS = {
    "reference": "reference.nix",
    "blob": "blob.nix",
    "image": "image.nix",
    "imageStore": "image-store.nix",
    "layerCache": "layer-cache.nix",
    "fromLock": "lock.nix",
}
"""The names that a generated file binds, and the files of their expressions."""

UNITS = {"makeUnits": "units.nix"}
"""Likewise, for a file with containers."""


def render_default_nix(
    lock: Lock,
    *,
    deployment: Deployment | None = None,
    flake: str | None = None,
    checkout: PurePosixPath | None = None,
    lock_file: PurePosixPath | None = None,
) -> str:
    """Return the text of a `default.nix` that needs no other file.

    It is a function of the tools that returns `{ images.NAME; imageStore; layerCache; }`, with a deployment also
    `units`, the store path of the deployment's units.

    >>> text = render_default_nix(Lock(version=1))
    >>> print(text[: text.index(chr(10))])
    # Made by `nixoci generate` from a lock file; it is overwritten when made again.

    Args:
        lock: The lock whose images it builds.
        deployment: Containers of these images; its own `images` are empty.
        flake: The flake whose packages are the default tools.
        checkout: A checkout of nixoci that gives the default tools to a Nix without flakes; a relative path starts
            at the file. Without a flake and a checkout the tools have to be passed when it is built.
        lock_file: The lock file, relative to the file; Nix then refuses to build once it has changed.

    Raises:
        ContainerError: A rule of the deployment is broken, or it has `images`; the message starts with the option.
        EscapeError: Nix has no literal for a value in the lock or the deployment.
    """
    if deployment is not None:
        deployment = as_declared(deployment)
        if deployment.images:
            raise ContainerError("images: they come from the lock here; take them out, and pin them with `nixoci add`")
        check_declared(deployment, lock)
    expressions = EXPRESSIONS if deployment is None else EXPRESSIONS | UNITS
    return render(
        "default.nix.j2",
        flake=string(flake) if flake is not None else None,
        checkout=_place(checkout) if checkout is not None else trusted("null"),
        lock_file=_place(lock_file) if lock_file is not None else None,
        lock=value(unstructure(lock)),
        deployment=None if deployment is None else value(unstructure(deployment)),
        expressions=[(attribute_name(name), shipped(file)) for name, file in expressions.items()],
        format_version=integer(FORMAT_VERSION),
    )


def _place(path: PurePosixPath) -> NixExpr:
    """Return an absolute path as a string, and a relative one as a path that starts at the file."""
    if path.is_absolute():
        return string(str(path))
    return trusted(f"./. + {string(f'/{path}')}")
