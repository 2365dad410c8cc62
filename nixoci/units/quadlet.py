"""Quadlet files (podman-systemd.unit(5)): what podman's own generator turns into services.

What has no key, or only one that old versions lack, is an argument of podman (`PodmanArgs=`). So are all but one of the
keys that the generator keeps in one Go map (those of single values; variables and labels), as in
`nixoci.units.settings`.
"""

import json
from collections.abc import Iterable
from pathlib import PurePosixPath

from nixoci.bundle.defaults import capabilities
from nixoci.container.model import Backend, Deployment, Network, Notify, Pod, Runtime, Volume
from nixoci.container.notation import Mount
from nixoci.container.resolve import Health, Resolved
from nixoci.errors import ContainerError
from nixoci.units.common import (
    add_install,
    add_order,
    add_path,
    add_secrets,
    default_target,
    make_secrets,
    runtime_directory,
    secret_lines,
    secret_source,
    start_timeout,
    stop_timeout,
)
from nixoci.units.settings import add_quadlet_settings
from nixoci.units.text import UnitFile, literal, quadlet_argument, raw, raw_argument
from nixoci.units.tools import Tools

_SECTION = "Container"


def container_file(
    resolved: Resolved, deployment: Deployment, tools: Tools, *, image_id: str | None, user: bool
) -> UnitFile:
    """Return the `.container` file of a container.

    Args:
        resolved: The container; its backend is `podman` or `rootfs`.
        deployment: Where its volumes, networks and pods are looked up.
        tools: Programs of the target.
        image_id: The image's id in the image store; None for the `rootfs` backend.
        user: For a user's own systemd.

    Raises:
        ContainerError: Something that Quadlet or podman cannot express; the message starts with the option.
    """
    name, container = resolved.name, resolved.container
    unit = UnitFile(f"{name}.container")
    image = resolved.tree.image
    unit.comments.append(
        raw(resolved.option("image"), f"{image.document.reference or image.document.name}: {image.path}")
    )
    add_order(unit, resolved)
    # nothing is pulled, so nothing waits for the network
    unit.add("Quadlet", "DefaultDependencies", literal("false"))
    unit.add(_SECTION, "ContainerName", literal(name))
    if image_id is None:
        unit.add(_SECTION, "Rootfs", raw_argument(resolved.option("image"), f"{image.rootfs}:O"))
    else:
        unit.add(_SECTION, "Image", literal(image_id))
        unit.add(_SECTION, "Pull", literal("never"))
    if container.runtime is not None:
        program = tools.runc if container.runtime is Runtime.RUNC else tools.crun
        unit.add(_SECTION, "GlobalArgs", quadlet_argument(resolved.option("runtime"), f"--runtime={program}"))
    _add_command(unit, resolved)
    _add_environment(unit, resolved)
    _add_identity(unit, resolved)
    _add_mounts(unit, resolved, deployment)
    _add_network(unit, resolved, deployment)
    _add_security(unit, resolved)
    _add_health(unit, resolved)
    unit.add(_SECTION, "LogDriver", literal("journald"))
    unit.add(_SECTION, "PodmanArgs", literal(f"--stop-signal={resolved.stop_signal}"))
    unit.add(_SECTION, "PodmanArgs", literal(f"--stop-timeout={container.stop_timeout}"))
    for index, value in enumerate(container.extra_options):
        unit.add(_SECTION, "PodmanArgs", quadlet_argument(resolved.option(f"extraOptions[{index}]"), value))
    _add_service(unit, resolved)
    add_path(unit, user=user)
    _add_secrets(unit, resolved, tools, user=user)
    add_quadlet_settings(unit, f"containers.{name}", _SECTION, container.settings.quadlet)
    unit.add_settings(resolved.option("settings.unit"), container.settings.unit)
    add_install(unit, resolved, user=user)
    return unit


def volume_file(name: str, volume: Volume, *, user: bool) -> UnitFile:
    """Return the `.volume` file of a volume; podman knows it by the same name."""
    unit = UnitFile(f"{name}.volume")
    unit.add("Quadlet", "DefaultDependencies", literal("false"))
    unit.add("Volume", "VolumeName", literal(name))
    _add_labels(unit, "Volume", f"volumes.{name}.labels", volume.labels)
    add_path(unit, user=user)
    add_quadlet_settings(unit, f"volumes.{name}", "Volume", volume.settings.quadlet)
    unit.add_settings(f"volumes.{name}.settings.unit", volume.settings.unit)
    return unit


def network_file(name: str, network: Network, *, user: bool) -> UnitFile:
    """Return the `.network` file of a network; podman knows it by the same name."""
    unit = UnitFile(f"{name}.network")
    unit.add("Quadlet", "DefaultDependencies", literal("false"))
    unit.add("Network", "NetworkName", literal(name))
    if network.internal:
        unit.add("Network", "Internal", literal("true"))
    for index, subnet in enumerate(network.subnets):
        unit.add("Network", "Subnet", raw_argument(f"networks.{name}.subnets[{index}]", subnet))
    _add_labels(unit, "Network", f"networks.{name}.labels", network.labels)
    add_path(unit, user=user)
    add_quadlet_settings(unit, f"networks.{name}", "Network", network.settings.quadlet)
    unit.add_settings(f"networks.{name}.settings.unit", network.settings.unit)
    return unit


def pod_file(name: str, pod: Pod, deployment: Deployment, *, user: bool) -> UnitFile:
    """Return the `.pod` file of a pod; podman knows it by the same name."""
    unit = UnitFile(f"{name}.pod")
    unit.add("Quadlet", "DefaultDependencies", literal("false"))
    unit.add("Pod", "PodName", literal(name))
    for index, port in enumerate(pod.ports):
        unit.add("Pod", "PublishPort", raw_argument(f"pods.{name}.ports[{index}]", port))
    _add_networks(unit, "Pod", f"pods.{name}.networks", pod.networks, deployment)
    _add_labels(unit, "Pod", f"pods.{name}.labels", pod.labels)
    add_path(unit, user=user)
    add_quadlet_settings(unit, f"pods.{name}", "Pod", pod.settings.quadlet)
    unit.add_settings(f"pods.{name}.settings.unit", pod.settings.unit)
    unit.add("Install", "WantedBy", literal(default_target(user=user)))
    return unit


def _add_command(unit: UnitFile, resolved: Resolved) -> None:
    """Say what runs, where it is not what podman itself finds in the image."""
    container = resolved.container
    bare = container.backend is Backend.ROOTFS
    own_entrypoint = bare or container.entrypoint is not None
    if not own_entrypoint and not container.cmd:
        return
    entrypoint, cmd = resolved.entrypoint, resolved.cmd
    try:
        words = [quadlet_argument(resolved.option(f"cmd[{index}]"), value) for index, value in enumerate(cmd)]
    except ContainerError:
        # in JSON, as podman takes an entrypoint, every argument can be written
        entrypoint, words, own_entrypoint = resolved.args, [], True
    if own_entrypoint:
        value = _json(entrypoint) if entrypoint else ""
        option = resolved.option("entrypoint")
        unit.add(_SECTION, "PodmanArgs", quadlet_argument(option, f"--entrypoint={value}"))
    if words:
        unit.add(_SECTION, "Exec", literal(" ".join(words)))


def _add_environment(unit: UnitFile, resolved: Resolved) -> None:
    container = resolved.container
    bare = container.backend is Backend.ROOTFS
    # podman tells so to containers of images only
    environment = {"container": "podman"} | resolved.environment if bare else container.environment
    for name, value in environment.items():
        option = resolved.option(f"environment.{name}")
        unit.add(_SECTION, "Environment", quadlet_argument(option, f"{name}={value}"))
    for index, file in enumerate(container.environment_files):
        option = resolved.option(f"environmentFiles[{index}]")
        if not file.startswith("/"):
            raise ContainerError(f"{option}: {file!r} is not an absolute path; write it from the root of the host")
        unit.add(_SECTION, "EnvironmentFile", quadlet_argument(option, file))
    labels = resolved.labels if bare else container.labels
    for name, value in labels.items():
        option = resolved.option(f"labels.{name}")
        unit.add(_SECTION, "PodmanArgs", quadlet_argument(option, f"--label={name}={value}"))


def _add_labels(unit: UnitFile, section: str, option: str, labels: dict[str, str]) -> None:
    for name, value in labels.items():
        unit.add(section, "Label", quadlet_argument(f"{option}.{name}", f"{name}={value}"))


def _add_identity(unit: UnitFile, resolved: Resolved) -> None:
    container = resolved.container
    config = resolved.tree.image.config.config
    bare = container.backend is Backend.ROOTFS
    user = container.user or (config.user if bare and config else None)
    if user:
        unit.add(_SECTION, "User", raw_argument(resolved.option("user"), user))
    if container.workdir and not _is_there(resolved, resolved.workdir):
        raise ContainerError(
            f"{resolved.option('workdir')}: the image has no {resolved.workdir}, and podman makes none; name another or"
            " mount something there"
        )
    if container.workdir or bare:
        unit.add(_SECTION, "PodmanArgs", quadlet_argument(resolved.option("workdir"), f"--workdir={resolved.workdir}"))
    if container.hostname:
        unit.add(_SECTION, "PodmanArgs", literal(f"--hostname={container.hostname}"))


def _is_there(resolved: Resolved, path: str) -> bool:
    """Whether the image has a path, or something mounted may have it."""
    mounted = {mount.target for mount in (*resolved.volumes, *resolved.tmpfs)} | set(resolved.image_volumes)
    return resolved.tree.find(path) is not None or not mounted.isdisjoint(
        (path, *map(str, PurePosixPath(path).parents))
    )


def _add_mounts(unit: UnitFile, resolved: Resolved, deployment: Deployment) -> None:
    for index, mount in enumerate(resolved.volumes):
        option = resolved.option(f"volumes[{index}]")
        unit.add(_SECTION, "Volume", raw_argument(option, _volume(mount, deployment)))
    if resolved.container.backend is Backend.ROOTFS:
        for path in resolved.image_volumes:
            inode = resolved.tree.find(path)
            owned = inode is not None and resolved.user.uid == inode.uid != 0
            # in the store everything is root's; U gives the volume to the container's user
            value = f"--mount=type=volume,destination={path}" + (",U=true" if owned else "")
            if "," in path:
                raise ContainerError(f"{resolved.option('image')}: its volume {path!r} has a comma; mount one there")
            unit.add(_SECTION, "PodmanArgs", quadlet_argument(resolved.option("image"), value))
    for index, mount in enumerate(resolved.tmpfs):
        value = ":".join([mount.target, *([",".join(mount.options)] if mount.options else [])])
        unit.add(_SECTION, "Tmpfs", raw_argument(resolved.option(f"tmpfs[{index}]"), value))


def _volume(mount: Mount, deployment: Deployment) -> str:
    source = f"{mount.source}.volume" if mount.source in deployment.volumes else mount.source
    return ":".join(part for part in (source, mount.target, ",".join(mount.options)) if part)


def _add_network(unit: UnitFile, resolved: Resolved, deployment: Deployment) -> None:
    container = resolved.container
    for index, port in enumerate(container.ports):
        unit.add(_SECTION, "PublishPort", raw_argument(resolved.option(f"ports[{index}]"), port))
    _add_networks(unit, _SECTION, resolved.option("networks"), container.networks, deployment)
    if container.pod:
        unit.add(_SECTION, "Pod", literal(f"{container.pod}.pod"))
        if not container.auto_start:
            unit.add(_SECTION, "StartWithPod", literal("false"))


def _add_networks(unit: UnitFile, section: str, option: str, networks: Iterable[str], deployment: Deployment) -> None:
    for index, network in enumerate(networks):
        name = f"{network}.network" if network in deployment.networks else network
        unit.add(section, "Network", raw_argument(f"{option}[{index}]", name))


def _add_security(unit: UnitFile, resolved: Resolved) -> None:
    container = resolved.container
    for mount in resolved.devices:
        unit.add(_SECTION, "AddDevice", literal(":".join((mount.source, mount.target, *mount.options))))
    # podman knows of a wrong name only when the container starts
    capabilities(resolved.option("capabilities"), container.capabilities)
    for capability, add in container.capabilities.items():
        unit.add(_SECTION, "AddCapability" if add else "DropCapability", literal(capability.upper()))
    if container.privileged:
        unit.add(_SECTION, "PodmanArgs", literal("--privileged"))
    if container.read_only:
        unit.add(_SECTION, "ReadOnly", literal("true"))


def _add_health(unit: UnitFile, resolved: Resolved) -> None:
    """Say how health is checked in any case: podman does not read it from the config of an OCI image."""
    health = resolved.health
    option = resolved.option("healthcheck.test")
    if health is None:
        unit.add(_SECTION, "HealthCmd", literal("none"))
        return
    unit.add(_SECTION, "HealthCmd", raw_argument(option, _health_command(option, health)))
    unit.add(_SECTION, "HealthInterval", literal(f"{health.interval // 1000}us"))
    unit.add(_SECTION, "HealthTimeout", literal(f"{health.timeout // 1000}us"))
    unit.add(_SECTION, "HealthStartPeriod", literal(f"{health.start_period // 1000}us"))
    unit.add(_SECTION, "HealthRetries", literal(str(health.retries)))


def _health_command(option: str, health: Health) -> str:
    """Return what podman takes: JSON of `CMD-SHELL` and a line, or of several arguments, or `CMD` and one word."""
    if health.shell:
        return _json(["CMD-SHELL", *health.command])
    program, *arguments = health.command
    if not arguments:
        # of a list of one word podman makes a line for a shell; this, no list, it splits at spaces
        if not program or len(program.split()) > 1 or program != program.strip():
            raise ContainerError(
                f'{option}: podman cannot run {program!r} without arguments; give it one, or say ["CMD-SHELL", command]'
            )
        return f"CMD {program}"
    if program.upper() in {"CMD", "NONE", "CMD-SHELL"}:
        raise ContainerError(f"{option}: podman takes the program {program!r} for a keyword; use its path")
    return _json([program, *arguments])


def _json(words: Iterable[str]) -> str:
    """Return a list as podman takes it, in ASCII: what Quadlet does not carry over is written as JSON's escapes."""
    return json.dumps(list(words))


def _add_service(unit: UnitFile, resolved: Resolved) -> None:
    container = resolved.container
    if container.notify is Notify.HEALTHY:
        unit.add(_SECTION, "Notify", literal("healthy"))
        unit.add("Service", "TimeoutStartSec", start_timeout(resolved))
    elif container.notify is Notify.CONTAINER:
        unit.add(_SECTION, "Notify", literal("true"))
    unit.add("Service", "Restart", literal(str(container.restart)))
    unit.add("Service", "TimeoutStopSec", stop_timeout(resolved))


def _add_secrets(unit: UnitFile, resolved: Resolved, tools: Tools, *, user: bool) -> None:
    if not resolved.container.secrets:
        return
    unit.add("Service", "RuntimeDirectory", literal(runtime_directory(resolved.name)))
    unit.add("Service", "RuntimeDirectoryMode", literal("0700"))
    add_secrets(unit, resolved)
    unit.add("Service", "ExecStartPre", make_secrets(tools, secret_lines(resolved, user=user), user=user))
    for name, secret in resolved.container.secrets.items():
        target = secret.target or f"/run/secrets/{name}"
        source = secret_source(resolved, name, user=user)
        path = raw_argument(resolved.option(f"secrets.{name}.target"), target)
        unit.add(_SECTION, "Volume", literal(f"{source}:{path}:ro"))
