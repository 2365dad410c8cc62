"""Rules of what a container shares with others: a pod's namespaces, another container's network, the host's."""

from nixoci.container.model import Deployment
from nixoci.container.parse import ParsedContainer
from nixoci.container.resolver import HOST_GATEWAY
from nixoci.errors import ContainerError


def check_pod(container: ParsedContainer, deployment: Deployment) -> None:
    """Refuse a pod that is not there, and options that the pod has instead of its containers.

    Raises:
        ContainerError: The message starts with the option.
    """
    declared, option = container.declared, container.option
    if (pod := declared.pod) is None:
        return
    if pod not in deployment.pods:
        raise ContainerError(f"{option('pod')}: no pod {pod!r}; declare it under pods")
    if declared.ports:
        raise ContainerError(f"{option('ports')}: a pod publishes the ports; move them to pods.{pod}.ports")
    if declared.hostname is not None:
        raise ContainerError(f"{option('hostname')}: the containers of a pod share its host name; drop this one")
    if declared.networks:
        raise ContainerError(f"{option('networks')}: a pod has the networks; move them to pods.{pod}.networks")
    for field, key in (*_resolver_fields(container), *((("extraHosts", "AddHost"),) if declared.extra_hosts else ())):
        raise ContainerError(
            f"{option(field)}: the containers of a pod share its files; use pods.{pod}.settings.quadlet.{key}"
        )
    if container.user_namespace is not None and container.user_namespace.mode != "host":
        raise ContainerError(
            f"{option('userNamespace')}: the containers of a pod share its own; use pods.{pod}.settings.quadlet.UserNS"
        )


def check_shared_network(container: ParsedContainer, deployment: Deployment) -> None:
    """Refuse options that a container without a network of its own cannot have.

    Raises:
        ContainerError: The message starts with the option.
    """
    declared, option = container.declared, container.option
    for index, network in enumerate(container.networks):
        other = deployment.containers.get(network.container or "")
        if other is not None and not other.backend.uses_podman:
            raise ContainerError(
                f"{option(f'networks[{index}]')}: podman knows no container of the {other.backend} backend; name"
                " another"
            )
        if network.container is None:
            continue
        owner = f"container:{network.container}"
        if declared.hostname is not None:
            raise ContainerError(f"{option('hostname')}: it has that of {owner}; drop this one")
        for field in (
            *(field for field, _ in _resolver_fields(container)),
            *["extraHosts"] * bool(declared.extra_hosts),
        ):
            raise ContainerError(f"{option(field)}: it has the file of {owner}; set the option there")
    if not container.no_network:
        return
    for field, _ in _resolver_fields(container):
        raise ContainerError(f"{option(field)}: no name server can be reached without a network; drop it")
    for index, entry in enumerate(container.extra_hosts):
        if entry.address == HOST_GATEWAY:
            raise ContainerError(f"{option(f'extraHosts[{index}]')}: the host cannot be reached without a network")


def _resolver_fields(container: ParsedContainer) -> list[tuple[str, str]]:
    """Return the options of /etc/resolv.conf that are set, with Quadlet's keys."""
    declared = container.declared
    fields = (
        ("dns", "DNS", declared.dns),
        ("dnsSearch", "DNSSearch", declared.dns_search),
        ("dnsOptions", "DNSOption", declared.dns_options),
    )
    return [(field, key) for field, key, values in fields if values]
