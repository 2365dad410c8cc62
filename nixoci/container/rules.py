"""The rules of a deployment, checked on options that are already read; every error starts with the option."""

import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from nixoci.container.backends import RESTRICTIONS
from nixoci.container.backends.bundle import PODMAN_MOUNT_OPTIONS
from nixoci.container.backends.podman import check_networks
from nixoci.container.characters import line, text
from nixoci.container.model import (
    Deployment,
    Engine,
    LogDriver,
    Network,
    Notify,
    Pod,
    Quadlet,
    Restart,
    Volume,
    WritableLayer,
    option_path,
)
from nixoci.container.name_rules import check_names
from nixoci.container.notation import LONGEST, MOST, Port
from nixoci.container.parse import ParsedContainer, ParsedDeployment, ParsedPod, parse_deployment
from nixoci.container.places import in_store
from nixoci.container.resolve import ResolvedContainer
from nixoci.container.shared_rules import check_pod, check_shared_network
from nixoci.errors import ContainerError

_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?")
_SYSCTL = re.compile(r"[a-z0-9_]+(\.[A-Za-z0-9_*/-]+)+")
_ACCOUNTS = {"User", "Group", "DynamicUser"}
_UNIT_SECTIONS = {"Unit", "Service", "Install"}
_LOG_FILES = (LogDriver.JSON_FILE, LogDriver.K8S_FILE)
LOG_OPTIONS = {"path": _LOG_FILES, "max-size": _LOG_FILES, "tag": (LogDriver.JOURNALD,)}
"""The options of log drivers that podman-run(1) lists under `--log-opt`, with the drivers that have them."""
_MOUNT_OPTIONS = PODMAN_MOUNT_OPTIONS | {
    *("ro", "rw", "exec", "noexec", "dev", "nodev", "suid", "nosuid", "bind", "rbind"),
    *("private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"),
}


def check(deployment: Deployment, *, user: bool = False) -> ParsedDeployment:
    """Read a deployment and check each of its parts, and the parts against one another.

    Args:
        deployment: The document; its images need not exist.
        user: Its units run in a user's own systemd.

    Returns:
        The deployment with its options read.

    Raises:
        ContainerError: The first rule that is broken; the message starts with the option.
    """
    check_names(deployment)
    _check_paths(deployment)
    _check_engines(deployment, user=user)
    parsed = parse_deployment(deployment)
    for container in parsed.containers:
        _check_references(container, deployment)
        _check_container(container, deployment, user=user)
    for pod in parsed.pods:
        check_networks(pod)
    _check_objects("volumes", deployment.volumes)
    _check_objects("networks", deployment.networks)
    _check_objects("pods", deployment.pods)
    _check_objects("quadlets", deployment.quadlets)
    _check_ports(parsed)
    _check_order(parsed.containers)
    return parsed


def check_bundle(name: str, deployment: Deployment, *, user: bool = False) -> ParsedDeployment:
    """Read and check one container of a document, whose backend is `bundle` or `systemd`; the others may be missing.

    Args:
        name: The container.
        deployment: The document; its images need not exist.
        user: Its unit runs in a user's own systemd.

    Returns:
        The deployment with the options of that container alone.

    Raises:
        ContainerError: It is not there, or breaks a rule; the message starts with the option.
    """
    container = deployment.containers.get(name)
    if container is None or container.backend.uses_podman:
        raise ContainerError(
            f"containers.{name}: no container with the bundle or systemd backend; name one of this document"
        )
    check_names(deployment)
    _check_paths(deployment)
    parsed = parse_deployment(deployment, only=name)
    for each in parsed.containers:
        _check_container(each, deployment, user=user)
    return parsed


def check_resolved(container: ResolvedContainer) -> None:
    """Check a container against its image.

    Raises:
        ContainerError: The first rule that is broken; the message starts with the option.
    """
    if container.declared.notify is Notify.HEALTHY and container.health is None:
        raise ContainerError(
            f"{container.option('notify')}: neither the image nor the container has a health check; set"
            " healthcheck.test"
        )
    RESTRICTIONS[container.declared.backend].check_resolved(container)


def _check_paths(deployment: Deployment) -> None:
    for name, path in deployment.images.items():
        text(f"images.{name}", path)
        if not path:
            raise ContainerError(f"images.{name}: the path is empty; name an image path, made by `nixoci extract`")
    if deployment.image_store is not None:
        text("imageStore", deployment.image_store)
        if not deployment.image_store:
            raise ContainerError("imageStore: the path is empty; name an image store, or leave the key out")


def _check_engines(deployment: Deployment, *, user: bool) -> None:
    if deployment.engines and user:
        raise ContainerError("engines: these are the host's engines, and the units are a user's; declare it for root")
    for engine in Engine:
        if deployment.engines.count(engine) > 1:
            raise ContainerError(f"engines: {engine} is named twice; name it once")
    if {Engine.DOCKER, Engine.DOCKER_CONTAINERD} <= {*deployment.engines}:
        raise ContainerError(
            f"engines: {Engine.DOCKER} and {Engine.DOCKER_CONTAINERD}, but dockerd keeps its images in one way;"
            " name the one of its configuration (features.containerd-snapshotter)"
        )


def _check_references(container: ParsedContainer, deployment: Deployment) -> None:
    declared, option = container.declared, container.option
    for other in declared.depends_on:
        if other not in deployment.containers:
            raise ContainerError(f"{option('dependsOn')}: no container {other!r}; name one of this document")
    check_pod(container, deployment)


def _check_container(container: ParsedContainer, deployment: Deployment, *, user: bool) -> None:
    declared, option = container.declared, container.option
    if declared.image not in deployment.images:
        known = ", ".join(sorted(deployment.images)) or "none"
        raise ContainerError(f"{option('image')}: no image {declared.image!r}; this document has {known}")
    _check_values(container)
    _check_mounts(container, deployment)
    _check_sections(option("settings.unit"), declared.settings.unit)
    _check_service(container)
    restrictions = RESTRICTIONS[declared.backend]
    for refusal in restrictions.refusals:
        if refusal.applies(declared, user=user):
            raise ContainerError(f"{option(refusal.option)}: {refusal.reason}")
    check_shared_network(container, deployment)
    restrictions.check(container, user=user)
    _check_runtime_mounts(container, deployment)


def _check_values(container: ParsedContainer) -> None:
    declared, option = container.declared, container.option
    if declared.hostname is not None and not _HOSTNAME.fullmatch(declared.hostname):
        raise ContainerError(
            f"{option('hostname')}: {declared.hostname!r} is not a host name; use letters, digits, . -"
        )
    for field, words in (("entrypoint", declared.entrypoint or []), ("cmd", declared.cmd)):
        for index, word in enumerate(words):
            text(option(f"{field}[{index}]"), word)
    for field, kind, values in (
        ("environment", "variable", declared.environment),
        ("labels", "label", declared.labels),
    ):
        _check_pairs(option(field), kind, values)
    _check_files(container)
    _check_limits(container)
    _check_log(container)
    if not 0 <= declared.stop_timeout <= LONGEST:
        raise ContainerError(f"{option('stopTimeout')}: {declared.stop_timeout} seconds; give 0 to {LONGEST}")
    if declared.read_only and declared.writable_layer is WritableLayer.PERSISTENT:
        raise ContainerError(
            f"{option('writableLayer')}: nothing is written in a container with readOnly; drop one of the two"
        )


def _check_pairs(option: str, kind: str, values: Mapping[str, str]) -> None:
    """Check variables or labels, which podman takes as `NAME=value`."""
    for name, value in values.items():
        if not name or "=" in name or not name.isprintable() or name != name.strip():
            raise ContainerError(f"{option}: {name!r} cannot be the name of a {kind}; choose another")
        text(f"{option}.{name}", value)


def _check_files(container: ParsedContainer) -> None:
    for index, file in enumerate(container.declared.environment_files):
        option = container.option(f"environmentFiles[{index}]")
        if not line(option, file).startswith("/"):
            raise ContainerError(f"{option}: {file!r} is not an absolute path; write it from the root of the host")


def _check_limits(container: ParsedContainer) -> None:
    declared, option = container.declared, container.option
    if declared.pids_limit is not None and declared.pids_limit != -1 and not 1 <= declared.pids_limit <= MOST:
        raise ContainerError(f"{option('pidsLimit')}: {declared.pids_limit}; give 1 to {MOST}, or -1 for no limit")
    for name, value in declared.sysctls.items():
        if not _SYSCTL.fullmatch(name):
            raise ContainerError(f"{option('sysctls')}: {name!r} is not a kernel parameter; expected a.b.c")
        text(option(f"sysctls.{name}"), value)
        if name.startswith("net.") and container.host_network:
            raise ContainerError(
                f"{option(f'sysctls.{name}')}: the host's network has the host's parameters; use another network"
            )


def _check_log(container: ParsedContainer) -> None:
    """Refuse options of the log that podman does not know, or that its driver ignores."""
    driver = container.declared.log_driver or LogDriver.JOURNALD
    for name, value in container.declared.log_options.items():
        option = container.option(f"logOptions.{name}")
        if name not in LOG_OPTIONS:
            raise ContainerError(f"{option}: no option {name!r}; expected one of {', '.join(LOG_OPTIONS)}")
        if driver not in LOG_OPTIONS[name]:
            raise ContainerError(
                f"{option}: the log driver {driver} has no {name}; use {' or '.join(map(str, LOG_OPTIONS[name]))}"
            )
        text(option, value)


def _check_mounts(container: ParsedContainer, deployment: Deployment) -> None:
    """Refuse unknown options, two mounts at one path, and writable mounts of a store: runtimes remount binds."""
    for index, mount in enumerate(container.volumes):
        option = container.option(f"volumes[{index}]")
        if unknown := sorted(mount.option_names - _MOUNT_OPTIONS):
            raise ContainerError(f"{option}: no mount option {unknown[0]!r}; podman-run(1) has them under --volume")
        if in_store(mount.source, deployment.images.values()) and not {"ro", "O"} & set(mount.options):
            raise ContainerError(f"{option}: {mount.source} is in the store and would be writable; add the option ro")
    seen: set[str] = set()
    for field, mounts in (("volumes", container.volumes), ("tmpfs", container.tmpfs)):
        for target in (mount.target for mount in mounts):
            if target in seen:
                raise ContainerError(f"{container.option(field)}: {target} is mounted twice; mount one thing there")
            seen.add(target)


def _check_runtime_mounts(container: ParsedContainer, deployment: Deployment) -> None:
    """Refuse settings that could make the store writable."""
    option = container.option("settings.runtime.mounts")
    mounts = container.declared.settings.runtime.get("mounts", [])
    if not isinstance(mounts, list) or not all(isinstance(mount, dict) for mount in mounts):
        raise ContainerError(f"{option}: expected a list of objects, as in config.json (runtime-spec)")
    for mount in mounts:
        source = str(mount.get("source", ""))
        if in_store(source, deployment.images.values()) and "ro" not in mount.get("options", []):
            raise ContainerError(f"{option}: {source} is in the store and would be writable; add the option ro")


def _check_objects(kind: str, items: Mapping[str, Volume | Network | Pod | Quadlet]) -> None:
    """Check the labels and settings of one kind of podman's objects besides containers."""
    for name, item in items.items():
        if not isinstance(item, Quadlet):
            _check_pairs(option_path(kind, name, "labels"), "label", item.labels)
        _check_sections(option_path(kind, name, "settings.unit"), item.settings.unit)
        if item.settings.runtime:
            raise ContainerError(
                f"{option_path(kind, name, 'settings.runtime')}: only a container has it; use settings.quadlet"
            )


def _check_service(container: ParsedContainer) -> None:
    """Refuse a type of service that the unit cannot have."""
    service = container.declared.settings.unit.get("Service", {})
    option, kind = container.option("settings.unit.Service.Type"), service.get("Type")
    if kind is None:
        return
    if not container.declared.backend.uses_podman:
        raise ContainerError(f"{option}: the container's start decides it; use notify")
    restart = service.get("Restart", str(container.declared.restart))
    if kind == "oneshot" and restart in {str(Restart.ALWAYS), str(Restart.ON_SUCCESS)}:
        raise ContainerError(
            f'{option}: systemd starts no oneshot service again after a success, and restart is {restart}; say "no" or'
            ' "on-failure"'
        )


def _check_sections(option: str, sections: Mapping[str, Mapping[str, object]]) -> None:
    for section, keys in sections.items():
        if section == "Service" and (found := sorted(_ACCOUNTS & set(keys))):
            raise ContainerError(
                f"{option}.Service.{found[0]}: the unit runs as its manager does; use the option user for the"
                " container's process"
            )
        if section not in _UNIT_SECTIONS:
            known = ", ".join(sorted(_UNIT_SECTIONS))
            raise ContainerError(f"{option}: no section {section!r}; expected one of {known}")


def _check_ports(deployment: ParsedDeployment) -> None:
    taken: list[tuple[str, Port]] = []
    for option, port in _ports(deployment):
        for other, theirs in taken:
            if port.clashes(theirs):
                raise ContainerError(f"{option}: {_on_host(port)} is taken by {other}; publish another port")
        taken.append((option, port))


def _ports(deployment: ParsedDeployment) -> Iterator[tuple[str, Port]]:
    items: tuple[ParsedContainer | ParsedPod, ...] = (*deployment.containers, *deployment.pods)
    for item in items:
        for index, port in enumerate(item.ports):
            yield item.option(f"ports[{index}]"), port


def _on_host(port: Port) -> str:
    if port.host is None:
        return "port"
    last = port.host.stop - 1
    return f"port {port.host.start}{f'-{last}' if last != port.host.start else ''}/{port.protocol} of the host"


def _check_order(containers: Sequence[ParsedContainer]) -> None:
    """Refuse containers that depend on one another in a circle."""
    after = {container.name: container.after for container in containers}
    declared = {container.name: container.declared.depends_on for container in containers}
    sorter = TopologicalSorter({name: after[name] for name in sorted(after)})
    try:
        sorter.prepare()
    except CycleError as error:
        # each name is followed by one that depends on it, and the last one is the first
        circle = error.args[1][:0:-1]
        first = circle.index(min(circle))
        names = [*circle[first:], *circle[:first], circle[first]]
        field = "dependsOn" if names[1] in declared[names[0]] else "networks"
        raise ContainerError(
            f"{option_path('containers', names[0], field)}: a circle, {' -> '.join(names)}; remove one of these"
            " dependencies"
        ) from error
