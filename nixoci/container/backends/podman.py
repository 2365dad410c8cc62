"""Restrictions of the backends that podman runs, from the image store or from the bare tree."""

from nixoci.container.backends.model import Refusal, Restrictions
from nixoci.container.model import WritableLayer
from nixoci.container.parse import ParsedContainer, ParsedPod
from nixoci.container.resolve import ResolvedContainer
from nixoci.errors import ContainerError

_KEYWORDS = {"CMD", "NONE", "CMD-SHELL"}


def check_networks(item: ParsedContainer | ParsedPod) -> None:
    """Refuse networks that podman fails at when it starts, and ports that it would ignore.

    Raises:
        ContainerError: The message starts with the option.
    """
    for network in item.networks:
        name = network.name if network.container is None else f"container:{network.container}"
        if name not in {"host", "none"} and network.container is None:
            continue
        if len(item.networks) > 1:
            raise ContainerError(
                f"{item.option('networks')}: {name!r} cannot be combined with other networks; drop one of them"
            )
        if item.ports:
            raise ContainerError(
                f"{item.option('ports')}: the network {name!r} has no ports to publish; drop one of the two"
            )


def _check_health(container: ResolvedContainer) -> None:
    if container.health is None or container.health.test.shell:
        return
    option = container.option("healthcheck.test")
    program, *arguments = container.health.test.command
    # podman turns a list of one word into a line for a shell; the form without a list is split at spaces
    if not arguments and (not program or len(program.split()) > 1 or program != program.strip()):
        raise ContainerError(
            f'{option}: podman cannot run {program!r} without arguments; give it one, or use ["CMD-SHELL", command]'
        )
    if arguments and program.upper() in _KEYWORDS:
        raise ContainerError(f"{option}: podman takes the program {program!r} for a keyword; use its path")


class PodmanRestrictions(Restrictions):
    """The restrictions of podman with an image of the image store."""

    refusals = (
        Refusal(
            option="settings.runtime",
            allowed=({},),
            reason="podman writes its own config.json; use extraOptions, or the bundle backend",
        ),
        Refusal(
            option="writableLayer",
            allowed=(str(WritableLayer.VOLATILE),),
            reason="podman's containers start afresh; use volumes, or the bundle backend",
        ),
        Refusal(
            option="settings.quadlet.AutoUpdate",
            reason="podman cannot update an image of the store; update the lock with `nixoci update`",
        ),
    )

    def check(self, container: ParsedContainer, *, user: bool) -> None:
        """Refuse networks that podman does not combine, and user namespaces that only a user's podman has."""
        check_networks(container)
        namespace = container.user_namespace
        if namespace is None or user:
            return
        if namespace.mode == "nomap" or (namespace.mode == "keep-id" and "size" in namespace.options):
            raise ContainerError(
                f"{container.option('userNamespace')}: podman has {namespace.text!r} only for ordinary users, and this"
                " unit is root's; use auto"
            )

    def check_resolved(self, container: ResolvedContainer) -> None:
        """Refuse a working directory and a health check that podman fails at."""
        if container.declared.workdir and not container.has_path(container.workdir):
            raise ContainerError(
                f"{container.option('workdir')}: the image has no {container.workdir}, and podman makes none; name"
                " another or mount something there"
            )
        _check_health(container)


class RootfsRestrictions(PodmanRestrictions):
    """The restrictions of podman with the bare tree."""

    def check(self, container: ParsedContainer, *, user: bool) -> None:
        """Also refuse user namespaces to which the tree's owner, root, does not belong."""
        super().check(container, user=user)
        if not user and container.user_namespace is not None and container.user_namespace.mode == "auto":
            raise ContainerError(
                f"{container.option('userNamespace')}: the bare tree belongs to the host's root, who has no id there;"
                " use the podman backend"
            )

    def check_resolved(self, container: ResolvedContainer) -> None:
        """Also refuse volumes of the image that no podman option can express."""
        super().check_resolved(container)
        for path in container.image_volumes:
            if "," in path:
                raise ContainerError(f"{container.option('image')}: its volume {path!r} has a comma; mount one there")
