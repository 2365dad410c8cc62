"""A module file for NixOS or home-manager that declares a deployment: options of `virtualisation.nixoci`."""

from dataclasses import replace
from pathlib import PurePosixPath

from nixoci.container.declared import as_declared
from nixoci.container.model import Deployment
from nixoci.document import unstructure
from nixoci.errors import ContainerError, NixociError
from nixoci.lock.model import FILE_NAME, Lock
from nixoci.nix_language.declared import check_declared
from nixoci.nix_language.escape import attribute_name, path, string, value
from nixoci.nix_language.render import render
from nixoci.nix_store.path import check_store_path

_BESIDE = PurePosixPath(FILE_NAME)


def render_module(deployment: Deployment, *, lock: Lock | None = None, lock_file: PurePosixPath = _BESIDE) -> str:
    """Return the text of a module file that declares a deployment, to import beside nixoci's own module.

    >>> print(render_module(Deployment()))
    # Made by `nixoci module` from a deployment; it is overwritten when made again.
    # Import it in NixOS or home-manager, beside the module of nixoci.
    {
      virtualisation.nixoci = {
        enable = true;
      };
    }
    <BLANKLINE>

    Args:
        deployment: The deployment; its `images` are store paths.
        lock: The lock with all other images; None if there are none.
        lock_file: The path of the lock file, relative to the directory of the module file.

    Raises:
        ContainerError: A rule of the deployment is broken, or an image is not a store path; the message starts with the
            option.
        EscapeError: Nix has no literal for a value in the deployment.
    """
    deployment = as_declared(deployment)
    for name, image in deployment.images.items():
        try:
            check_store_path(image)
        except NixociError as error:
            what = f"images.{name}: {image!r} is not a store path; pin the image with `nixoci add`"
            raise ContainerError(what) from error
    check_declared(deployment, lock)
    options = unstructure(replace(deployment, images={}))
    return render(
        "module.nix.j2",
        lock_file=None if lock is None else path(lock_file),
        images=[(attribute_name(name), string(image)) for name, image in sorted(deployment.images.items())],
        options=[(attribute_name(name), value(options[name])) for name in sorted(options)],
    )
