"""Rules of names: those of the document's parts, of the units that they become, and of podman's objects."""

import posixpath

from nixoci.container.model import Backend, Deployment, WritableLayer
from nixoci.container.parse import NAME, service_name
from nixoci.container.places import IMAGES, IMAGES_UNIT, VOLUMES, health_unit, layer_directory, register_unit
from nixoci.container.resolve import ResolvedContainer
from nixoci.errors import ContainerError

QUADLET_KINDS = {"kube": "", "image": "-image", "build": "-build", "artifact": "-artifact"}
"""The kinds of files that `quadlets` may have, with the suffix of their units (podman-systemd.unit(5))."""

_VOLUMES = posixpath.basename(VOLUMES)
_IMAGES = posixpath.basename(IMAGES)
_OF_PODMAN = {Backend.PODMAN, Backend.ROOTFS}
_OWN_KINDS = {"container": "containers", "volume": "volumes", "network": "networks", "pod": "pods"}


def check_names(deployment: Deployment) -> None:
    """Refuse names that cannot be used, and two parts with the same unit or the same object of podman.

    Raises:
        ContainerError: The message starts with the part, or its option.
    """
    units: dict[str, str] = {IMAGES_UNIT: "the mounts of images"}
    units |= {register_unit(engine): f"the engine {engine}" for engine in deployment.engines}
    for option, unit in _units(deployment):
        if unit in units:
            raise ContainerError(
                f"{option}: its unit is {unit}.service, like that of {units[unit]}; rename one of them"
            )
        units[unit] = option
    for name in deployment.pods:
        if name in deployment.containers and deployment.containers[name].backend is not Backend.BUNDLE:
            raise ContainerError(f"pods.{name}: podman has a container of that name; rename one of them")
    taken = deployment.containers.get(_IMAGES)
    if taken is not None and (taken.backend not in _OF_PODMAN or taken.secrets):
        raise ContainerError(f"containers.{_IMAGES}: {IMAGES} has the mounts of all images; rename the container")
    kept = deployment.containers.get(_VOLUMES)
    if kept is not None and kept.writable_layer is WritableLayer.PERSISTENT:
        raise ContainerError(
            f"containers.{_VOLUMES}: {layer_directory(_VOLUMES)} has the named volumes and cannot have a persistent"
            " layer too; rename the container"
        )


def check_health_unit(container: ResolvedContainer, deployment: Deployment) -> None:
    """Refuse a part with the name of a unit that a container has besides its own: a bundle's health check.

    Raises:
        ContainerError: The message starts with the part of that name.
    """
    if container.declared.backend is not Backend.BUNDLE or container.health is None:
        return
    checks = health_unit(container.parsed.service)
    for option, unit in _units(deployment):
        if unit == checks:
            raise ContainerError(
                f"{option}: its unit is {unit}.service, like that of {container.option('healthcheck')}; rename one of"
                " them"
            )


def _units(deployment: Deployment) -> list[tuple[str, str]]:
    """Return the units of a deployment by the option that names each, without suffix."""
    units = []
    for kind, names, suffix in (
        ("containers", deployment.containers, ""),
        ("volumes", deployment.volumes, "-volume"),
        ("networks", deployment.networks, "-network"),
        ("pods", deployment.pods, "-pod"),
    ):
        for name in names:
            _check_name(kind, name)
            units.append((f"{kind}.{name}", f"{name}{suffix}"))
    for name, container in deployment.containers.items():
        if container.service_name is not None:
            option = f"containers.{name}.serviceName"
            _check_name(option, container.service_name)
            units[units.index((f"containers.{name}", name))] = (option, service_name(name, container))
    return units + [(f"quadlets.{file}", _quadlet_unit(file)) for file in deployment.quadlets]


def _check_name(option: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise ContainerError(
            f"{option}: {name!r} cannot be a name; use letters, digits, _ . - and begin with a letter or digit"
        )


def _quadlet_unit(file: str) -> str:
    """Return the name of the unit that podman's generator makes of a file of `quadlets`, without suffix."""
    name, _, kind = file.rpartition(".")
    if kind in _OWN_KINDS:
        raise ContainerError(f"quadlets.{file}: a .{kind} file is an item of {_OWN_KINDS[kind]}; declare it there")
    if kind not in QUADLET_KINDS:
        kinds = ", ".join(f"NAME.{each}" for each in QUADLET_KINDS)
        raise ContainerError(f"quadlets: {file!r} is not a Quadlet file; expected one of {kinds}")
    _check_name("quadlets", name)
    return f"{name}{QUADLET_KINDS[kind]}"
