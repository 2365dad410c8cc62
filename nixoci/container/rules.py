"""What a deployment must keep to, and what a backend cannot do: errors that name the option."""

import posixpath
import re
from collections.abc import Iterable, Iterator

from nixoci.container import notation
from nixoci.container.model import Backend, Container, Deployment, Pod, Settings, WritableLayer
from nixoci.container.notation import Port
from nixoci.errors import ContainerError

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?")
_MODE = re.compile(r"0?[0-7]{3}")
_CAPABILITY = re.compile(r"(CAP_)?[A-Z_]+")
_STORE = "/nix/store"
_UNIT_SECTIONS = {"Unit", "Service", "Install"}
_BUNDLE_NETWORKS = (["host"], ["none"])
_MOUNT_OPTIONS = {
    *("ro", "rw", "exec", "noexec", "dev", "nodev", "suid", "nosuid", "bind", "rbind"),
    *("private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"),
}
_MOUNT_OPTIONS_OF_PODMAN = {
    *("z", "Z", "U", "O", "copy", "nocopy", "idmap", "upperdir", "workdir", "cached", "delegated", "no-dereference"),
    "nocreate",
}


def check(deployment: Deployment, *, user: bool = False) -> None:
    """Check a deployment as a whole: each of its parts, and what they have to do with one another.

    Args:
        deployment: What is declared.
        user: Its units run in a user's own systemd.

    Raises:
        ContainerError: The first rule that is broken; the message starts with the option.
    """
    _check_names(deployment)
    for name, container in deployment.containers.items():
        _check_references(name, container, deployment)
        _check_container(name, container, deployment)
        if container.backend is Backend.BUNDLE:
            _check_bundle(name, container, user=user)
        else:
            _check_podman(name, container)
    for name, pod in deployment.pods.items():
        _check_networks(f"pods.{name}", pod)
    _check_settings("volumes", {name: item.settings for name, item in deployment.volumes.items()})
    _check_settings("networks", {name: item.settings for name, item in deployment.networks.items()})
    _check_settings("pods", {name: item.settings for name, item in deployment.pods.items()})
    _check_ports(deployment)
    start_order(deployment)


def check_bundle(name: str, deployment: Deployment) -> None:
    """Check one container of a document, whose backend is `bundle`; the others may be missing.

    Raises:
        ContainerError: It is not there, or breaks a rule; the message starts with the option.
    """
    container = deployment.containers.get(name)
    if container is None or container.backend is not Backend.BUNDLE:
        raise ContainerError(f"containers.{name}: no container with the bundle backend; name one of this document")
    _check_names(deployment)
    _check_container(name, container, deployment)
    _check_bundle(name, container, user=False)


def in_store(path: str, image_paths: Iterable[str]) -> bool:
    """Whether a path of the host lies in the Nix store, or in the directory that holds one of these image paths."""
    stores = {_STORE, *(posixpath.dirname(posixpath.normpath(image)) for image in image_paths)} - {"/"}
    return any(f"{posixpath.normpath(path)}/".startswith(f"{store}/") for store in stores)


def start_order(deployment: Deployment) -> list[str]:
    """Return the names of the containers, each after those it depends on.

    Raises:
        ContainerError: They depend on one another in a circle.
    """
    order: list[str] = []
    path: list[str] = []

    def visit(name: str) -> None:
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            raise ContainerError(f"containers.{name}.dependsOn: a circle, {circle}; take one of these out")
        if name not in order:
            path.append(name)
            for other in sorted(deployment.containers[name].depends_on):
                visit(other)
            path.pop()
            order.append(name)

    for name in sorted(deployment.containers):
        visit(name)
    return order


def _check_names(deployment: Deployment) -> None:
    units: dict[str, str] = {}
    for kind, names, suffix in (
        ("containers", deployment.containers, ""),
        ("volumes", deployment.volumes, "-volume"),
        ("networks", deployment.networks, "-network"),
        ("pods", deployment.pods, "-pod"),
    ):
        for name in names:
            option = f"{kind}.{name}"
            if not _NAME.fullmatch(name):
                raise ContainerError(
                    f"{kind}: {name!r} cannot be a name; use letters, digits, _ . - and begin with a letter or digit"
                )
            unit = f"{name}{suffix}.service"
            if unit in units:
                raise ContainerError(f"{option}: its unit is {unit}, as that of {units[unit]}; rename one of them")
            units[unit] = option


def _check_references(name: str, container: Container, deployment: Deployment) -> None:
    option = f"containers.{name}"
    for other in container.depends_on:
        if other not in deployment.containers:
            raise ContainerError(f"{option}.dependsOn: no container {other!r}; name one of this document")
    if container.pod is not None and container.pod not in deployment.pods:
        raise ContainerError(f"{option}.pod: no pod {container.pod!r}; declare it under pods")
    for index, value in enumerate(container.volumes if container.backend is Backend.BUNDLE else []):
        own = f"{option}.volumes[{index}]"
        if (source := notation.volume(own, value).source) in deployment.volumes:
            raise ContainerError(
                f"{own}: volumes.{source} is one of podman's, which a bundle runs without; use another name or a path"
            )
    if container.pod is not None and container.ports:
        raise ContainerError(f"{option}.ports: a pod publishes the ports; move them to pods.{container.pod}.ports")
    if container.pod is not None and container.hostname is not None:
        raise ContainerError(f"{option}.hostname: containers of a pod share the pod's; drop it")
    if container.pod is not None and container.networks:
        raise ContainerError(f"{option}.networks: a pod has the networks; move them to pods.{container.pod}.networks")


def _check_container(name: str, container: Container, deployment: Deployment) -> None:
    option = f"containers.{name}"
    if container.image not in deployment.images:
        known = ", ".join(sorted(deployment.images)) or "none"
        raise ContainerError(f"{option}.image: no image {container.image!r}; this document has {known}")
    _check_values(option, container)
    _check_secrets(f"{option}.secrets", container)
    _check_volumes(option, container, deployment)
    _check_sections(option, container.settings.unit)


def _check_values(option: str, container: Container) -> None:
    if container.hostname is not None and not _HOSTNAME.fullmatch(container.hostname):
        raise ContainerError(f"{option}.hostname: {container.hostname!r} is not a host name; use letters, digits, . -")
    for capability in container.capabilities:
        if not _CAPABILITY.fullmatch(capability):
            raise ContainerError(f"{option}.capabilities: {capability!r} is none; expected for example NET_ADMIN")
    if container.read_only and container.writable_layer is WritableLayer.PERSISTENT:
        raise ContainerError(f"{option}.writableLayer: nothing is written where readOnly is true; drop one of the two")


def _check_secrets(option: str, container: Container) -> None:
    for name, secret in container.secrets.items():
        if not _NAME.fullmatch(name):
            raise ContainerError(f"{option}: {name!r} cannot be a name; use letters, digits, _ . -")
        if not _MODE.fullmatch(secret.mode):
            raise ContainerError(f"{option}.{name}.mode: {secret.mode!r}; expected three octal digits")
        target = notation.line(f"{option}.{name}.target", secret.target or "/run/secrets")
        if ":" in notation.clean_path(f"{option}.{name}.target", target):
            raise ContainerError(f"{option}.{name}.target: a colon, which podman cannot mount at; choose another path")
        if ":" in notation.line(f"{option}.{name}.source", secret.source):
            raise ContainerError(f"{option}.{name}.source: a colon, which systemd cannot load; rename the file")


def _check_volumes(option: str, container: Container, deployment: Deployment) -> None:
    """Refuse unknown options, and to mount what is in a store where it could be written: runtimes remount binds."""
    for index, value in enumerate(container.volumes):
        own = f"{option}.volumes[{index}]"
        mount = notation.volume(own, value)
        names = {given.partition("=")[0] for given in mount.options}
        if unknown := sorted(names - _MOUNT_OPTIONS - _MOUNT_OPTIONS_OF_PODMAN):
            raise ContainerError(f"{own}: no mount option {unknown[0]!r}; podman-run(1) has them under --volume")
        if in_store(mount.source, deployment.images.values()) and not {"ro", "O"} & set(mount.options):
            raise ContainerError(f"{own}: {mount.source} is in the store and would be writable; add the option ro")


def _check_settings(kind: str, settings: dict[str, Settings]) -> None:
    """Check the settings of what podman makes beside containers."""
    for name, item in settings.items():
        _check_sections(f"{kind}.{name}", item.unit)
        if item.runtime:
            raise ContainerError(f"{kind}.{name}.settings.runtime: only a container has it; use settings.quadlet")


def _check_sections(option: str, sections: Iterable[str]) -> None:
    for section in sections:
        if section not in _UNIT_SECTIONS:
            known = ", ".join(sorted(_UNIT_SECTIONS))
            raise ContainerError(f"{option}.settings.unit: no section {section!r}; expected one of {known}")


def _check_bundle(name: str, container: Container, *, user: bool) -> None:
    option = f"containers.{name}"
    if user:
        raise ContainerError(
            f"{option}.backend: a bundle's tree is mounted by the system's own systemd, not by a user's; use podman"
        )
    without = "the bundle backend runs without podman"
    for field, given, instead in (
        ("ports", container.ports, 'use networks = ["host"] and let the program listen where it shall'),
        ("environmentFiles", container.environment_files, "use environment, or secrets"),
        ("extraOptions", container.extra_options, "use settings.runtime"),
        ("pod", container.pod, "use another backend"),
        ("privileged", container.privileged, "use capabilities and devices"),
        ("settings.quadlet", container.settings.quadlet, "use settings.unit or settings.runtime"),
    ):
        if given:
            raise ContainerError(f"{option}.{field}: {without} and cannot honour it; {instead}")
    if container.networks not in _BUNDLE_NETWORKS:
        raise ContainerError(
            f'{option}.networks: {without} and makes no networks; say ["host"] to share the host\'s or ["none"]'
        )
    for index, value in enumerate(container.volumes):
        own = f"{option}.volumes[{index}]"
        mount = notation.volume(own, value)
        names = {given.partition("=")[0] for given in mount.options}
        if foreign := sorted(_MOUNT_OPTIONS_OF_PODMAN & names):
            raise ContainerError(f"{own}: {without}, which alone knows the option {foreign[0]!r}; leave it out")
        if not mount.source:
            raise ContainerError(f"{own}: {without}, which names nameless volumes; give it a name or a path")


def _check_podman(name: str, container: Container) -> None:
    option = f"containers.{name}"
    if container.settings.runtime:
        raise ContainerError(
            f"{option}.settings.runtime: podman writes its own config.json; use extraOptions, or the bundle backend"
        )
    if container.writable_layer is WritableLayer.PERSISTENT:
        raise ContainerError(
            f"{option}.writableLayer: podman's containers start afresh; use volumes, or the bundle backend"
        )
    _check_networks(option, container)


def _check_networks(option: str, item: Container | Pod) -> None:
    """Refuse what podman fails at when it starts, and the ports that it would leave out."""
    for network in ("host", "none"):
        if network in item.networks and len(item.networks) > 1:
            raise ContainerError(
                f"{option}.networks: {network!r} is not to be had with other networks; drop one of them"
            )
        if network in item.networks and item.ports:
            raise ContainerError(
                f"{option}.ports: the network {network!r} has no ports to publish; drop one of the two"
            )


def _check_ports(deployment: Deployment) -> None:
    taken: list[tuple[str, Port]] = []
    for option, port in _ports(deployment):
        for other, theirs in taken:
            if port.clashes(theirs):
                raise ContainerError(f"{option}: {_host(port)} is taken by {other}; publish another port")
        taken.append((option, port))


def _ports(deployment: Deployment) -> Iterator[tuple[str, Port]]:
    groups: tuple[tuple[str, dict[str, Container] | dict[str, Pod]], ...] = (
        ("containers", deployment.containers),
        ("pods", deployment.pods),
    )
    for kind, group in groups:
        for name, item in group.items():
            for index, text in enumerate(item.ports):
                option = f"{kind}.{name}.ports[{index}]"
                yield option, notation.port(option, text)


def _host(port: Port) -> str:
    if port.host is None:
        return "port"
    last = port.host.stop - 1
    return f"port {port.host.start}{f'-{last}' if last != port.host.start else ''}/{port.protocol} of the host"
