"""A module file for NixOS or home-manager that declares a deployment: options of `virtualisation.nixoci`."""

import re
from dataclasses import replace
from pathlib import PurePosixPath

from nixoci.container.model import Deployment
from nixoci.document import unstructure
from nixoci.errors import ContainerError
from nixoci.lock.model import Lock
from nixoci.nix_language.declared import check_declared
from nixoci.nix_language.escape import attribute_name, path, string, value
from nixoci.nix_language.render import render

_BESIDE = PurePosixPath("nixoci.lock.json")
_STORE_PATH = re.compile(r"/nix/store/[0-9a-df-np-sv-z]{32}-[a-zA-Z0-9+._?=-]+")


def generate_module(deployment: Deployment, *, lock: Lock | None = None, lock_file: PurePosixPath = _BESIDE) -> str:
    """Return the text of a module file that declares a deployment, for a machine that imports nixoci's own module.

    Args:
        deployment: What is declared; images that it names are store paths.
        lock: The lock that has the other images; None if there are none.
        lock_file: Where the lock is, from the directory of the module file.

    Raises:
        ContainerError: A rule of the deployment is broken, or an image is not a store path; the message starts with the
            option.
        EscapeError: The deployment holds a value that Nix has no literal for.
    """
    for name, image in deployment.images.items():
        if not _STORE_PATH.fullmatch(image):
            raise ContainerError(f"images.{name}: {image!r} is not a store path; pin the image with `nixoci add`")
    check_declared(deployment, lock)
    options = unstructure(replace(deployment, images={}))
    return render(
        "module.nix.j2",
        lock_file=None if lock is None else path(lock_file),
        images=[(attribute_name(name), string(image)) for name, image in sorted(deployment.images.items())],
        options=[(attribute_name(name), value(options[name])) for name in sorted(options)],
    )
