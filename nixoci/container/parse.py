"""Read a deployment's options: everything about its containers and pods that needs no image.

Options whose value needs no reading stay in `ParsedContainer.declared`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from nixoci.container import notation
from nixoci.container.capabilities import Capabilities, parse_capabilities
from nixoci.container.characters import NAME, line
from nixoci.container.health import HealthChanges, parse_health
from nixoci.container.model import Container, Deployment, Pod, Runtime, Secret, option_path
from nixoci.container.notation import Device, Mount, NetworkReference, Port, Source, Tmpfs, Ulimit, UserNamespace
from nixoci.container.resolver import HostEntry, Resolver, host_entry, parse_resolver
from nixoci.errors import ContainerError

_MODE = re.compile(r"0?[0-7]{3}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedSecret:
    """A secret: its source on the host, its absolute path inside, and its permission bits."""

    name: str
    source: str
    target: str
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedContainer:
    """A container whose options are read; `workdir` and `stop_signal` are None if the image decides.

    Sizes are in bytes.

    `after` are the containers that must be ready before this one starts: also the one whose network it shares.
    `service` is the name of its unit without suffix, and `after_services` are those of `after`.

    `runtime` is the OCI runtime of a bundle. podman has a default of its own, so it only gets `declared.runtime`.
    """

    name: str
    service: str
    declared: Container
    runtime: Runtime
    ports: tuple[Port, ...]
    volumes: tuple[Mount, ...]
    tmpfs: tuple[Tmpfs, ...]
    devices: tuple[Device, ...]
    networks: tuple[NetworkReference, ...]
    after: tuple[str, ...]
    after_services: tuple[str, ...]
    resolver: Resolver
    extra_hosts: tuple[HostEntry, ...]
    user_namespace: UserNamespace | None
    secrets: tuple[ParsedSecret, ...]
    capabilities: Capabilities
    health: HealthChanges
    workdir: str | None
    stop_signal: str | None
    shm_size: int | None
    memory: int | None
    ulimits: tuple[Ulimit, ...]
    timezone: str | None

    def option(self, field: str) -> str:
        """Return the path of an option, as errors start with it."""
        return option_path("containers", self.name, field)

    @property
    def host_network(self) -> bool:
        """True if it shares the host's network."""
        return [network.name for network in self.networks] == ["host"]

    @property
    def no_network(self) -> bool:
        """True if it has a network namespace with nothing but loopback."""
        return [network.name for network in self.networks] == ["none"]

    @property
    def named_volumes(self) -> tuple[Mount, ...]:
        """The volumes that have a name."""
        return tuple(mount for mount in self.volumes if mount.kind in {Source.NAMED_VOLUME, Source.DECLARED_VOLUME})

    @property
    def mount_targets(self) -> list[str]:
        """The paths of its volumes, then of its file systems in memory."""
        return [*(mount.target for mount in self.volumes), *(mount.target for mount in self.tmpfs)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedPod:
    """A pod whose options are read."""

    name: str
    declared: Pod
    ports: tuple[Port, ...]
    networks: tuple[NetworkReference, ...]

    def option(self, field: str) -> str:
        """Return the path of an option, as errors start with it."""
        return option_path("pods", self.name, field)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDeployment:
    """A deployment whose options are read."""

    declared: Deployment
    containers: tuple[ParsedContainer, ...]
    pods: tuple[ParsedPod, ...]


def parse_deployment(deployment: Deployment, *, only: str | None = None) -> ParsedDeployment:
    """Read the options of a deployment's containers and pods, or of the one container `only`.

    Raises:
        ContainerError: An option cannot be read; the message starts with it.
    """
    containers = [
        parse_container(name, container, deployment)
        for name, container in deployment.containers.items()
        if only in {None, name}
    ]
    pods = [_parse_pod(name, pod, deployment) for name, pod in deployment.pods.items()] if only is None else []
    return ParsedDeployment(declared=deployment, containers=tuple(containers), pods=tuple(pods))


def parse_container(name: str, container: Container, deployment: Deployment) -> ParsedContainer:
    """Read the options of a container.

    Args:
        name: The container's name.
        container: Its options.
        deployment: The document that may declare its volumes and networks.

    Raises:
        ContainerError: An option cannot be read; the message starts with it.
    """
    option = partial(option_path, "containers", name)
    volumes = _each(option("volumes"), container.volumes, notation.volume)
    networks = _networks(option("networks"), container.networks, deployment)
    shared = [network.container for network in networks if network.container and network.declared]
    after = tuple(sorted({*container.depends_on, *shared}))
    return ParsedContainer(
        name=name,
        service=service_name(name, container),
        declared=container,
        runtime=container.runtime or Runtime.CRUN,
        ports=_each(option("ports"), container.ports, notation.port),
        volumes=tuple(
            replace(mount, kind=Source.DECLARED_VOLUME) if mount.source in deployment.volumes else mount
            for mount in volumes
        ),
        tmpfs=_each(option("tmpfs"), container.tmpfs, notation.tmpfs),
        devices=_each(option("devices"), container.devices, notation.device),
        networks=networks,
        after=after,
        after_services=tuple(
            service_name(other, deployment.containers[other]) if other in deployment.containers else other
            for other in after
        ),
        resolver=parse_resolver(
            (option("dns"), option("dnsSearch"), option("dnsOptions")),
            container.dns,
            container.dns_search,
            container.dns_options,
        ),
        extra_hosts=_each(option("extraHosts"), container.extra_hosts, host_entry),
        user_namespace=notation.user_namespace(option("userNamespace"), container.user_namespace)
        if container.user_namespace is not None
        else None,
        secrets=tuple(_parse_secret(option("secrets"), *secret) for secret in container.secrets.items()),
        capabilities=parse_capabilities(option("capabilities"), container.capabilities),
        health=parse_health(lambda field: option(f"healthcheck.{field}"), container.healthcheck),
        workdir=notation.clean_path(option("workdir"), container.workdir) if container.workdir else None,
        stop_signal=notation.signal_name(option("stopSignal"), container.stop_signal)
        if container.stop_signal
        else None,
        shm_size=notation.size(option("shmSize"), container.shm_size) if container.shm_size is not None else None,
        memory=notation.size(option("memory"), container.memory) if container.memory is not None else None,
        ulimits=tuple(
            notation.ulimit(option(f"ulimits.{key}"), key, value) for key, value in container.ulimits.items()
        ),
        timezone=notation.timezone(option("timezone"), container.timezone) if container.timezone is not None else None,
    )


def service_name(name: str, container: Container) -> str:
    """Return the name of a container's unit, without suffix."""
    return name if container.service_name is None else container.service_name


def _parse_pod(name: str, pod: Pod, deployment: Deployment) -> ParsedPod:
    return ParsedPod(
        name=name,
        declared=pod,
        ports=_each(option_path("pods", name, "ports"), pod.ports, notation.port),
        networks=_networks(option_path("pods", name, "networks"), pod.networks, deployment),
    )


def _parse_secret(option: str, name: str, secret: Secret) -> ParsedSecret:
    if not NAME.fullmatch(name):
        raise ContainerError(f"{option}: {name!r} cannot be a name; use letters, digits, _ . -")
    option = f"{option}.{name}"
    if not _MODE.fullmatch(secret.mode):
        raise ContainerError(f"{option}.mode: {secret.mode!r}; expected three octal digits")
    target = line(f"{option}.target", secret.target or f"/run/secrets/{name}")
    target = notation.clean_path(f"{option}.target", target)
    if ":" in target:
        raise ContainerError(f"{option}.target: a colon, which podman cannot mount at; choose another path")
    source = line(f"{option}.source", secret.source)
    if ":" in source:
        raise ContainerError(f"{option}.source: a colon, which systemd cannot load; rename the file")
    return ParsedSecret(name=name, source=source, target=target, mode=int(secret.mode, 8))


def _networks(option: str, values: list[str], deployment: Deployment) -> tuple[NetworkReference, ...]:
    found = _each(option, values, notation.network)
    return tuple(
        replace(each, declared=each.container in deployment.containers or each.name in deployment.networks)
        for each in found
    )


def _each(option: str, values: list[str], read: Callable[[str, str], T]) -> tuple[T, ...]:
    return tuple(read(f"{option}[{index}]", value) for index, value in enumerate(values))
