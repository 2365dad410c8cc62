"""Quadlet files (podman-systemd.unit(5)), which podman's own generator turns into services.

An option that has no key, or a key that old versions lack, becomes an argument of podman (`PodmanArgs=`). The generator
writes the keys of one Go map in random order. So at most one key of each map is used, and the others become arguments
too. The maps are that of single values, and that of variables and labels (see `nixoci.units.settings`).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from nixoci.container.health import HealthTest
from nixoci.container.model import (
    HealthAction,
    LogDriver,
    Notify,
)
from nixoci.container.notation import Mount, Source
from nixoci.container.places import runtime_directory, unit_secrets
from nixoci.container.resolve import DEFAULT_STOP_SIGNAL, ResolvedContainer
from nixoci.errors import ContainerError
from nixoci.units.common import (
    add_clean_exit,
    add_install,
    add_namespaces,
    add_order,
    add_path,
    add_secrets,
    add_zone_directory,
    make_secrets,
    secret_lines,
    start_timeout,
    stop_signal,
    stop_timeout,
)
from nixoci.units.escape import UnitFile, literal, quadlet_argument, raw, raw_argument
from nixoci.units.networks import add_networks, add_ports, joined
from nixoci.units.roots import add_gc_root
from nixoci.units.runtime import runtime_program
from nixoci.units.settings import add_quadlet_settings
from nixoci.units.tools import Tools

_SECTION = "Container"
_SYSTEMD_STOP_SIGNAL = "SIGRTMIN+3"
"""podman's choice for a container that runs systemd."""


@dataclass(frozen=True, slots=True)
class _ExplicitOptions:
    """The options that a Quadlet file states, because podman does not find them in the image.

    `command` says whether the command is one of them, and `entrypoint` whether the entrypoint is one too.
    """

    command: bool
    entrypoint: bool
    environment: dict[str, str]
    labels: dict[str, str]
    user: str | None
    workdir: str | None
    volumes: tuple[str, ...]


def _explicit_with_image(container: ResolvedContainer) -> _ExplicitOptions:
    declared = container.declared
    own_entrypoint = declared.entrypoint is not None
    return _ExplicitOptions(
        command=own_entrypoint or bool(declared.cmd),
        entrypoint=own_entrypoint,
        environment=declared.environment,
        labels=declared.labels,
        user=declared.user,
        workdir=container.parsed.workdir,
        volumes=(),
    )


def _explicit_with_bare_tree(container: ResolvedContainer) -> _ExplicitOptions:
    return _ExplicitOptions(
        command=True,
        entrypoint=True,
        # podman sets this variable for containers of images only
        environment={"container": "podman"} | container.environment,
        labels=container.labels,
        user=container.user_notation,
        workdir=container.workdir,
        volumes=container.image_volumes,
    )


def container_file(container: ResolvedContainer, tools: Tools, *, image_id: str | None, user: bool) -> UnitFile:
    """Return the `.container` file of a container.

    Args:
        container: The container; its backend is `podman` or `rootfs`.
        tools: Programs of the target.
        image_id: The image's id in the image store; None for the `rootfs` backend.
        user: For a user's own systemd.

    Raises:
        ContainerError: Quadlet cannot express a value; the message starts with the option.
    """
    name, declared = container.name, container.declared
    explicit = _explicit_with_bare_tree(container) if image_id is None else _explicit_with_image(container)
    # the generator names the service like the file; old versions have no ServiceName=
    unit = UnitFile(f"{container.parsed.service}.container")
    image = container.tree.image
    unit.comments.append(
        raw(container.option("image"), f"{image.document.reference or image.document.name}: {image.path}")
    )
    add_order(unit, container)
    # nothing is pulled, so nothing waits for the network
    unit.add("Quadlet", "DefaultDependencies", literal("false"))
    unit.add(_SECTION, "ContainerName", literal(name))
    if image_id is None:
        unit.add(_SECTION, "Rootfs", raw_argument(container.option("image"), f"{image.rootfs}:O"))
    else:
        unit.add(_SECTION, "Image", literal(image_id))
        unit.add(_SECTION, "Pull", literal("never"))
    if declared.runtime is not None:
        program = runtime_program(declared.runtime, tools)
        unit.add(_SECTION, "GlobalArgs", quadlet_argument(container.option("runtime"), f"--runtime={program}"))
    _add_command(unit, container, explicit)
    _add_environment(unit, container, explicit)
    _add_identity(unit, container, explicit)
    _add_mounts(unit, container, explicit)
    _add_network(unit, container)
    _add_security(unit, container)
    _add_health(unit, container)
    _add_log(unit, container)
    # without one podman chooses: systemd takes another signal than other programs
    if container.stop_signal is not None:
        unit.add(_SECTION, "PodmanArgs", literal(f"--stop-signal={container.stop_signal}"))
    unit.add(_SECTION, "PodmanArgs", literal(f"--stop-timeout={declared.stop_timeout}"))
    for index, value in enumerate(declared.extra_options):
        unit.add(_SECTION, "PodmanArgs", quadlet_argument(container.option(f"extraOptions[{index}]"), value))
    _add_service(unit, container)
    add_gc_root(unit, container, tools, user=user)
    add_namespaces(unit, tools, user=user)
    add_path(unit, user=user)
    add_zone_directory(unit, container)
    _add_secrets(unit, container, tools, user=user)
    add_quadlet_settings(unit, container.option("settings.quadlet"), _SECTION, declared.settings.quadlet)
    unit.add_settings(container.option("settings.unit"), declared.settings.unit)
    add_install(unit, container, user=user)
    return unit


def _add_command(unit: UnitFile, container: ResolvedContainer, explicit: _ExplicitOptions) -> None:
    if not explicit.command:
        return
    entrypoint, cmd, own_entrypoint = container.entrypoint, container.cmd, explicit.entrypoint
    try:
        words = [quadlet_argument(container.option(f"cmd[{index}]"), value) for index, value in enumerate(cmd)]
    except ContainerError:
        # JSON, which podman takes as an entrypoint, can express every argument
        entrypoint, words, own_entrypoint = container.args, [], True
    if own_entrypoint:
        value = _json(entrypoint) if entrypoint else ""
        option = container.option("entrypoint")
        unit.add(_SECTION, "PodmanArgs", quadlet_argument(option, f"--entrypoint={value}"))
    if words:
        unit.add(_SECTION, "Exec", literal(" ".join(words)))


def _add_environment(unit: UnitFile, container: ResolvedContainer, explicit: _ExplicitOptions) -> None:
    for name, value in explicit.environment.items():
        option = container.option(f"environment.{name}")
        unit.add(_SECTION, "Environment", quadlet_argument(option, f"{name}={value}"))
    for index, file in enumerate(container.declared.environment_files):
        option = container.option(f"environmentFiles[{index}]")
        unit.add(_SECTION, "EnvironmentFile", quadlet_argument(option, file))
    for name, value in explicit.labels.items():
        option = container.option(f"labels.{name}")
        unit.add(_SECTION, "PodmanArgs", quadlet_argument(option, f"--label={name}={value}"))


def _add_identity(unit: UnitFile, container: ResolvedContainer, explicit: _ExplicitOptions) -> None:
    if explicit.user:
        unit.add(_SECTION, "User", raw_argument(container.option("user"), explicit.user))
    if explicit.workdir:
        option = container.option("workdir")
        unit.add(_SECTION, "PodmanArgs", quadlet_argument(option, f"--workdir={explicit.workdir}"))
    if container.declared.hostname:
        unit.add(_SECTION, "PodmanArgs", literal(f"--hostname={container.declared.hostname}"))
    if container.parsed.timezone:
        unit.add(_SECTION, "PodmanArgs", literal(f"--tz={container.parsed.timezone}"))
    if container.declared.init:
        unit.add(_SECTION, "PodmanArgs", literal("--init"))


def _add_mounts(unit: UnitFile, container: ResolvedContainer, explicit: _ExplicitOptions) -> None:
    for index, mount in enumerate(container.parsed.volumes):
        unit.add(_SECTION, "Volume", raw_argument(container.option(f"volumes[{index}]"), _volume(mount)))
    for path in explicit.volumes:
        inode = container.tree.find(path)
        owned = inode is not None and container.user.uid == inode.uid != 0
        # in the store everything is root's; U gives the volume to the container's user
        value = f"--mount=type=volume,destination={path}" + (",U=true" if owned else "")
        unit.add(_SECTION, "PodmanArgs", quadlet_argument(container.option("image"), value))
    for index, tmpfs in enumerate(container.parsed.tmpfs):
        value = joined(tmpfs.target, ",".join(tmpfs.options))
        unit.add(_SECTION, "Tmpfs", raw_argument(container.option(f"tmpfs[{index}]"), value))


def _volume(mount: Mount) -> str:
    source = f"{mount.source}.volume" if mount.kind is Source.DECLARED_VOLUME else mount.source
    return joined(source, mount.target, ",".join(mount.options))


def _add_network(unit: UnitFile, container: ResolvedContainer) -> None:
    declared = container.declared
    add_ports(unit, _SECTION, container.parsed)
    add_networks(unit, _SECTION, container.parsed)
    _add_resolver(unit, container)
    if declared.pod:
        unit.add(_SECTION, "Pod", literal(f"{declared.pod}.pod"))
        if not declared.auto_start:
            unit.add(_SECTION, "StartWithPod", literal("false"))


def _add_resolver(unit: UnitFile, container: ResolvedContainer) -> None:
    declared = container.declared
    for field, flag, values in (
        ("dns", "--dns", declared.dns),
        ("dnsSearch", "--dns-search", declared.dns_search),
        ("dnsOptions", "--dns-option", declared.dns_options),
        ("extraHosts", "--add-host", declared.extra_hosts),
    ):
        for index, value in enumerate(values):
            option = container.option(f"{field}[{index}]")
            unit.add(_SECTION, "PodmanArgs", quadlet_argument(option, f"{flag}={value}"))


def _add_security(unit: UnitFile, container: ResolvedContainer) -> None:
    declared = container.declared
    for device in container.parsed.devices:
        unit.add(_SECTION, "AddDevice", literal(joined(device.source, device.target, device.access)))
    for capability, add in declared.capabilities.items():
        unit.add(_SECTION, "AddCapability" if add else "DropCapability", literal(capability))
    if declared.privileged:
        unit.add(_SECTION, "PodmanArgs", literal("--privileged"))
    if container.parsed.user_namespace is not None:
        unit.add(_SECTION, "PodmanArgs", literal(f"--userns={container.parsed.user_namespace.text}"))
    if declared.read_only:
        unit.add(_SECTION, "ReadOnly", literal("true"))
    for flag, limit in (
        ("--shm-size", declared.shm_size),
        ("--memory", declared.memory),
        ("--pids-limit", declared.pids_limit),
    ):
        if limit is not None:
            unit.add(_SECTION, "PodmanArgs", literal(f"{flag}={limit}"))
    for each in container.parsed.ulimits:
        unit.add(_SECTION, "PodmanArgs", literal(f"--ulimit={each.name}={each.soft}:{each.hard}"))
    for name, value in declared.sysctls.items():
        option = container.option(f"sysctls.{name}")
        unit.add(_SECTION, "PodmanArgs", quadlet_argument(option, f"--sysctl={name}={value}"))


def _add_health(unit: UnitFile, container: ResolvedContainer) -> None:
    """Add the health check, also the image's: podman does not read it from the config of an OCI image."""
    health = container.health
    option = container.option("healthcheck.test")
    if health is None:
        config = container.tree.image.config.config
        if config is not None and config.healthcheck is not None:
            unit.add(_SECTION, "HealthCmd", literal("none"))
        # without a check to turn off, podman would make a timer that never runs, at each start
        return
    unit.add(_SECTION, "HealthCmd", raw_argument(option, _health_command(health.test)))
    unit.add(_SECTION, "HealthInterval", literal(f"{health.interval // 1000}us"))
    unit.add(_SECTION, "HealthTimeout", literal(f"{health.timeout // 1000}us"))
    unit.add(_SECTION, "HealthStartPeriod", literal(f"{health.start_period // 1000}us"))
    unit.add(_SECTION, "HealthRetries", literal(str(health.retries)))
    if health.action is not HealthAction.NONE:
        unit.add(_SECTION, "HealthOnFailure", literal(str(health.action)))


def _add_log(unit: UnitFile, container: ResolvedContainer) -> None:
    unit.add(_SECTION, "LogDriver", literal(str(container.declared.log_driver or LogDriver.JOURNALD)))
    for name, value in container.declared.log_options.items():
        option = container.option(f"logOptions.{name}")
        unit.add(_SECTION, "PodmanArgs", quadlet_argument(option, f"--log-opt={name}={value}"))


def _health_command(test: HealthTest) -> str:
    """Return podman's notation: JSON of `CMD-SHELL` and a line, or of several arguments, or `CMD` and one word."""
    if test.shell:
        return _json(["CMD-SHELL", *test.command])
    return _json(test.command) if len(test.command) > 1 else f"CMD {test.command[0]}"


def _json(words: Iterable[str]) -> str:
    """Return a list for podman, in ASCII: JSON's escapes express what Quadlet cannot."""
    return json.dumps(list(words))


def _add_service(unit: UnitFile, container: ResolvedContainer) -> None:
    declared = container.declared
    if declared.notify is Notify.HEALTHY:
        unit.add(_SECTION, "Notify", literal("healthy"))
        unit.add("Service", "TimeoutStartSec", start_timeout(container))
    elif declared.notify is Notify.CONTAINER:
        unit.add(_SECTION, "Notify", literal("true"))
    unit.add("Service", "Restart", literal(str(declared.restart)))
    unit.add("Service", "TimeoutStopSec", stop_timeout(container))
    unset = _SYSTEMD_STOP_SIGNAL if container.runs_systemd else DEFAULT_STOP_SIGNAL
    add_clean_exit(unit, container, stop_signal(container, unset=unset), main_process=False)


def _add_secrets(unit: UnitFile, container: ResolvedContainer, tools: Tools, *, user: bool) -> None:
    secrets = container.parsed.secrets
    if not secrets:
        return
    unit.add("Service", "RuntimeDirectory", literal(runtime_directory(container.name)))
    unit.add("Service", "RuntimeDirectoryMode", literal("0700"))
    add_secrets(unit, container)
    unit.add("Service", "ExecStartPre", make_secrets(tools, secret_lines(container, user=user), user=user))
    # a user cannot give a file to another one; podman can, to one inside (`U`)
    options = "ro,U" if user and container.user.uid else "ro"
    for secret in secrets:
        target = raw_argument(container.option(f"secrets.{secret.name}.target"), secret.target)
        unit.add(_SECTION, "Volume", literal(f"{unit_secrets(container.name)}/{secret.name}:{target}:{options}"))
