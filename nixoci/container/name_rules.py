"""Rules of names: those of the document's parts, of the units that they become, and of podman's objects."""

import posixpath

from nixoci.container.characters import NAME
from nixoci.container.model import Backend, Deployment, WritableLayer
from nixoci.container.parse import service_name
from nixoci.container.places import (
    IMAGES,
    IMAGES_UNIT,
    VOLUMES,
    health_unit,
    keep_unit,
    layer_directory,
    log_unit,
    register_unit,
)
from nixoci.container.resolve import ResolvedContainer
from nixoci.errors import ContainerError

QUADLET_KINDS = {"kube": "", "image": "-image", "build": "-build", "artifact": "-artifact"}
"""The kinds of files that `quadlets` may have, with the suffix of their units (podman-systemd.unit(5))."""

_LONGEST = 200
"""Characters of a name: those of a unit's file name are 255 at most, with suffixes such as `-health.timer`."""

_VOLUMES = posixpath.basename(VOLUMES)
_IMAGES = posixpath.basename(IMAGES)
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
        if name in deployment.containers and deployment.containers[name].backend.uses_podman:
            raise ContainerError(f"pods.{name}: podman has a container of that name; rename one of them")
    taken = deployment.containers.get(_IMAGES)
    if taken is not None and (not taken.backend.uses_podman or taken.secrets):
        raise ContainerError(f"containers.{_IMAGES}: {IMAGES} has the mounts of all images; rename the container")
    kept = deployment.containers.get(_VOLUMES)
    if kept is not None and kept.writable_layer is WritableLayer.PERSISTENT:
        raise ContainerError(
            f"containers.{_VOLUMES}: {layer_directory(_VOLUMES)} has the named volumes and cannot have a persistent"
            " layer too; rename the container"
        )


def check_more_units(container: ResolvedContainer, deployment: Deployment) -> None:
    """Refuse a part with the name of a unit that a container has besides its own: its health check, its log.

    Raises:
        ContainerError: The message starts with the part of that name.
    """
    for field, unit in _more_units(container):
        for option, other in _units(deployment):
            if unit == other:
                raise ContainerError(
                    f"{option}: its unit is {unit}.service, like that of {container.option(field)}; rename one of them"
                )


def _more_units(container: ResolvedContainer) -> list[tuple[str, str]]:
    """Return the units that a container has besides its own, by the option that makes each."""
    backend, service = container.declared.backend, container.parsed.service
    units = []
    if not backend.uses_podman and container.health is not None:
        units.append(("healthcheck", health_unit(service)))
    if backend is Backend.SYSTEMD:
        units += [("backend", log_unit(service)), ("backend", keep_unit(service))]
    return units


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
    if len(name) > _LONGEST:
        raise ContainerError(f"{option}: {name!r} has {len(name)} characters; choose a name of {_LONGEST} at most")


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
