"""Checks of a deployment whose images are not built yet."""

from dataclasses import replace

from nixoci.container.model import Deployment
from nixoci.container.rules import check
from nixoci.errors import ContainerError
from nixoci.lock.model import Lock
from nixoci.nix_store.path import STORE_DIR

_NOT_BUILT = f"{STORE_DIR}/not-built"


def check_declared(deployment: Deployment, lock: Lock | None) -> None:
    """Check all that needs no image, so that a wrong deployment fails when Nix text is written, not when it is built.

    Raises:
        ContainerError: A rule is broken; the message starts with the option.
    """
    if deployment.image_store is not None:
        raise ContainerError("imageStore: it is built from the images; take it out")
    locked = dict.fromkeys(lock.images if lock is not None else (), _NOT_BUILT)
    check(replace(deployment, images=locked | deployment.images))
