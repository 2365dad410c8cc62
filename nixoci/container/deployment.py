"""Decide a whole deployment: read, check, and resolve against the images."""

from dataclasses import dataclass
from pathlib import Path

from nixoci.container.declared import as_declared
from nixoci.container.image_tree import ImageTree
from nixoci.container.model import Deployment
from nixoci.container.name_rules import check_more_units
from nixoci.container.parse import ParsedDeployment
from nixoci.container.resolve import ResolvedContainer, resolve
from nixoci.container.rules import check, check_bundle, check_resolved
from nixoci.document import sorted_mappings


@dataclass(frozen=True, slots=True)
class ResolvedDeployment:
    """A deployment with everything decided; `containers` are in the order of their names."""

    parsed: ParsedDeployment
    containers: tuple[ResolvedContainer, ...]

    @property
    def declared(self) -> Deployment:
        """The document, with its mappings sorted."""
        return self.parsed.declared


def resolve_deployment(deployment: Deployment, *, user: bool = False, only: str | None = None) -> ResolvedDeployment:
    """Check a deployment and resolve its containers; each image's tree is read once.

    Args:
        deployment: The document.
        user: Its units run in a user's own systemd.
        only: The one container to resolve, a bundle; the others may be missing.

    Raises:
        ContainerError: An option cannot be honored; the message starts with it.
        StoreError: An image is not an image path.
    """
    deployment = sorted_mappings(as_declared(deployment))
    parsed = check(deployment, user=user) if only is None else check_bundle(only, deployment, user=user)
    trees: dict[str, ImageTree] = {}
    containers = []
    for container in parsed.containers:
        path = deployment.images[container.declared.image]
        if path not in trees:
            trees[path] = ImageTree.open(Path(path))
        containers.append(resolve(container, trees[path]))
        check_resolved(containers[-1])
        check_more_units(containers[-1], deployment)
    return ResolvedDeployment(parsed, tuple(containers))


def resolve_containers(deployment: Deployment, *, user: bool = False) -> list[ResolvedContainer]:
    """Check a deployment and return its containers with everything decided, by name.

    Args:
        deployment: The document.
        user: Its units run in a user's own systemd.

    Raises:
        ContainerError: An option cannot be honored; the message starts with it.
        StoreError: An image is not an image path.
    """
    return list(resolve_deployment(deployment, user=user).containers)
