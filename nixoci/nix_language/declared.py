"""What Nix text may be written for: a deployment whose images are known by name before they are built."""

from dataclasses import replace

from nixoci.container.model import Deployment
from nixoci.container.rules import check
from nixoci.errors import ContainerError
from nixoci.lock.model import Lock

_NOT_BUILT = "/nix/store/not-built"


def check_declared(deployment: Deployment, lock: Lock | None) -> None:
    """Check a deployment as far as that needs no image, so that the text is refused and not its build.

    Raises:
        ContainerError: A rule is broken; the message starts with the option.
    """
    if deployment.image_store is not None:
        raise ContainerError("imageStore: it is built from the images; take it out")
    locked = dict.fromkeys(lock.images if lock is not None else (), _NOT_BUILT)
    check(replace(deployment, images=locked | deployment.images))
