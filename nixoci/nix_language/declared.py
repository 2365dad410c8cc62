"""Checks of a deployment whose images are not built yet."""

from collections.abc import Collection
from dataclasses import replace

from nixoci.container.model import Deployment
from nixoci.container.rules import check
from nixoci.errors import ContainerError
from nixoci.lock.model import Lock
from nixoci.nix_store.path import STORE_DIR

_NOT_BUILT = f"{STORE_DIR}/not-built"


def check_declared(deployment: Deployment, lock: Lock | None, *, later: Collection[str] = ()) -> None:
    """Check all that needs no image, so that a wrong deployment fails when Nix text is written, not when it is built.

    Args:
        deployment: The deployment.
        lock: The lock with its images.
        later: Names of images that the lock will have.

    Raises:
        ContainerError: A rule is broken; the message starts with the option.
    """
    if deployment.image_store is not None:
        raise ContainerError("imageStore: it is built from the images; take it out")
    locked = dict.fromkeys((*(lock.images if lock is not None else ()), *later), _NOT_BUILT)
    check(replace(deployment, images=locked | deployment.images))
