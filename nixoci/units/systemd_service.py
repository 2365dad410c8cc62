"""Services of the systemd backend: the container's process is the unit's own, and systemd makes its namespaces.

The unit starts a launcher, which becomes the container's user and then its program (`nixoci.units.launcher`).

The output goes through a pipe that a socket unit keeps open, to a service that writes it to the journal as the
container's. A program cannot open the sockets of the journal, and images link their log files to /dev/stdout. The
service starts with the first line, so that a start does not wait for it, and stays for the last line.
"""

import errno
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from nixoci.bundle import seccomp
from nixoci.container.capabilities import DEFAULT_CAPABILITIES
from nixoci.container.health import Health
from nixoci.container.model import HealthAction, Notify
from nixoci.container.places import (
    health_unit,
    keep_unit,
    log_pipe,
    log_unit,
    mount_source,
)
from nixoci.container.resolve import ResolvedContainer
from nixoci.errors import ContainerError
from nixoci.units.common import (
    add_install,
    add_order,
    add_resources,
    add_secrets,
    add_stop,
    end_signal,
)
from nixoci.units.directories import UnitsOutput
from nixoci.units.escape import UnitFile, command, literal, raw, word
from nixoci.units.health import check_units, limited
from nixoci.units.images import add_images_service
from nixoci.units.start import start_lines
from nixoci.units.systemd_mounts import LAUNCHERS, Mounts
from nixoci.units.tools import Tools

_OF_LAUNCHER = ("CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_ADMIN")
"""The capabilities by which the launcher hides paths and becomes another user; it drops them with the others."""

_OF_NSENTER = ("CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE")
OLDEST_SYSTEMD = 258
"""The first version of systemd with `AssertVersion=`, and with each option of a container's namespaces.

An older one ignores what it does not know: 257 gives the container the host's name, and with 256 and older the launcher
refuses to run among the processes of the host.
"""

_ALLOWING = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")

_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")

_ENTER = (
    'pid=$("$0" show --value --property=MainPID "$1"); [ "${pid:-0}" != 0 ] || exit 1;'
    ' nsenter=$2; shift 2; exec "$nsenter" --target "$pid" "$@"'
)
_END = '[ "$SERVICE_RESULT" != exit-code ] || exec "$0" "$@"'


def systemd_units(container: ResolvedContainer, mounts: Mounts, output: UnitsOutput) -> list[UnitFile]:
    """Return the units of a container: its service, the socket and service of its output, and those of its health."""
    return [
        _service(container, mounts, output),
        _keeper(container, mounts, output),
        *_log_units(container, output.tools),
        *_health_units(container, output),
    ]


def _service(container: ResolvedContainer, mounts: Mounts, output: UnitsOutput) -> UnitFile:
    parsed = container.parsed
    unit = UnitFile(f"{parsed.service}.service")
    add_order(unit, container)
    log, keeper = f"{log_unit(parsed.service)}.socket", f"{keep_unit(parsed.service)}.service"
    unit.add("Unit", "AssertVersion", literal(f"systemd >= {OLDEST_SYSTEMD}"))
    add_images_service(unit)
    unit.add("Unit", "Requires", literal(keeper), literal(log))
    unit.add("Unit", "After", literal(keeper), literal(log))
    for name, value in container.labels.items():
        unit.add("Unit", "X-Label", word(f"{name}={value}"))
    for mount in parsed.volumes:
        unit.add("Unit", "RequiresMountsFor", word(mount_source(mount)))
    if container.health is not None:
        unit.add("Unit", "Wants", literal(f"{health_unit(parsed.service)}.timer"))
    if container.declared.notify is Notify.CONTAINER:
        unit.add("Service", "Type", literal("notify"))
        unit.add("Service", "NotifyAccess", literal("all"))
    else:
        unit.add("Service", "Type", literal("exec"))
    unit.add("Service", "ExecStart", command([f"{LAUNCHERS}/start", *container.args]))
    mounts.add_to(unit)
    unit.add("Service", "StandardOutput", raw(container.option("serviceName"), f"file:{log_pipe(container.name)}"))
    unit.add("Service", "StandardError", literal("inherit"))
    _add_isolation(unit, container, output.profile)
    add_stop(unit, container)
    add_resources(unit, container)
    for limit in parsed.ulimits:
        soft, hard = ("infinity" if value < 0 else str(value) for value in (limit.soft, limit.hard))
        unit.add("Service", f"Limit{limit.name.upper()}", literal(f"{soft}:{hard}"))
    unit.add_settings(container.option("settings.unit"), container.declared.settings.unit)
    add_install(unit, container, user=False)
    return unit


def _keeper(container: ResolvedContainer, mounts: Mounts, output: UnitsOutput) -> UnitFile:
    """Return the service that runs for as long as the container's, with its layer and its garbage collector root.

    The container's own service can run no other program: systemd would make the mounts for it on the host. A container
    that needs nothing else before its start does not wait for this service.
    """
    service, tools = container.parsed.service, output.tools
    unit = UnitFile(f"{keep_unit(service)}.service")
    unit.add("Unit", "Description", literal(f"Image, layer, secrets and volumes of container {container.name}"))
    add_images_service(unit)
    for mount in container.parsed.named_volumes:
        unit.add("Unit", "RequiresMountsFor", word(mount_source(mount)))
    # a restart of the container makes a new layer
    unit.add("Unit", "PartOf", literal(f"{service}.service"))
    unit.add("Unit", "StopWhenUnneeded", literal("true"))
    # the limit of the container's own service applies
    unit.add("Unit", "StartLimitIntervalSec", literal("0"))
    add_secrets(unit, container)
    unit.add("Service", "Type", literal("oneshot" if needs_files(container, mounts) else "simple"))
    unit.add("Service", "RemainAfterExit", literal("true"))
    keep = [tools.sh, str(output.service(container.name) / "keep")]
    unit.add("Service", "ExecStart", command(keep))
    unit.add("Service", "ExecStopPost", command([*keep, "stop"]))
    unit.add("Service", "SyslogIdentifier", literal(container.name))
    return unit


def needs_files(container: ResolvedContainer, mounts: Mounts) -> bool:
    """Return whether a container starts after its root is mounted, or files are made."""
    return mounts.layered or bool(start_lines(container, mounts.kind) or container.parsed.named_volumes)


def _add_isolation(unit: UnitFile, container: ResolvedContainer, profile: seccomp.Profile | None) -> None:
    """Add the namespaces, devices, capabilities and system calls, as near to podman's as systemd comes."""
    parsed = container.parsed
    if parsed.no_network:
        unit.add("Service", "PrivateNetwork", literal("true"))
    unit.add("Service", "PrivatePIDs", literal("true"))
    unit.add("Service", "PrivateIPC", literal("true"))
    unit.add("Service", "ProtectHostname", literal(f"private:{container.hostname}"))
    unit.add("Service", "ProtectControlGroups", literal("strict"))
    unit.add("Service", "PrivateDevices", literal("true"))
    # each would be one more mount; the output has its own way
    unit.add("Service", "BindLogSockets", literal("false"))
    unit.add("Service", "MemoryPressureWatch", literal("off"))
    for device in parsed.devices:
        unit.add("Service", "DeviceAllow", raw(container.option("devices"), f"{device.source} {device.access}"))
    bounding = dict.fromkeys((*parsed.capabilities.bounding, *_OF_LAUNCHER))
    unit.add("Service", "CapabilityBoundingSet", literal(" ".join(sorted(bounding))))
    _add_system_calls(unit, container, profile)


def check_system_calls(container: ResolvedContainer, profile: seccomp.Profile | None, needed: Collection[str]) -> None:
    """Refuse a seccomp profile that forbids a call of the launcher, which runs when the filter is in force.

    An OCI runtime installs the filter later. podman's own profile allows these calls, which need capabilities as well.

    Raises:
        ContainerError: The message names the calls.
    """
    calls = _system_calls(container, profile)
    if calls is not None and (missing := sorted(name for name in needed if (name in calls.names) != calls.allowed)):
        raise ContainerError(
            f"{container.option('backend')}: the seccomp profile does not allow {', '.join(missing)}, which a start"
            " with the backend systemd needs; allow them in the profile, or use the backend bundle"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _SystemCalls:
    """The calls that a filter names, with their errors: those that are `allowed`, or those that are not."""

    names: Mapping[str, str]
    allowed: bool


def _system_calls(container: ResolvedContainer, profile: seccomp.Profile | None) -> _SystemCalls | None:
    """Return a profile's list of calls for a container; systemd knows no conditions on arguments."""
    if profile is None:
        return None
    rules: dict[str, Any] = seccomp.for_container(
        profile,
        architecture=container.tree.image.config.architecture,
        capabilities=container.parsed.capabilities.bounding,
    )
    allows = [rule for rule in rules["syscalls"] if rule["action"] in _ALLOWING]
    if rules["defaultAction"] not in _ALLOWING:
        return _SystemCalls(names={name: "" for rule in allows for name in rule["names"]}, allowed=True)
    refused = {}
    for rule in rules["syscalls"]:
        if rule["action"] in _ALLOWING:
            continue
        if "args" in rule:
            raise ContainerError(
                f"{container.option('backend')}: the seccomp profile refuses {', '.join(rule['names'])} on conditions"
                " on the arguments, which systemd does not know; use the backend bundle"
            )
        refusal = _error(rule.get("errnoRet")) if rule["action"] == "SCMP_ACT_ERRNO" else "kill"
        refused.update(dict.fromkeys(rule["names"], refusal))
    return _SystemCalls(names=refused, allowed=False)


def _add_system_calls(
    unit: UnitFile, container: ResolvedContainer, profile: seccomp.Profile | None, *more: str
) -> None:
    """Add the system calls that a seccomp profile allows, and `more`."""
    calls = _system_calls(container, profile)
    if profile is None or calls is None:
        return
    if calls.allowed:
        unit.add("Service", "SystemCallFilter", literal(" ".join(sorted({*calls.names, *more}))))
        unit.add("Service", "SystemCallErrorNumber", literal(_error(profile.get("defaultErrnoRet"))))
    elif refused := [f"{name}:{error}" for name, error in sorted(calls.names.items()) if name not in more]:
        unit.add("Service", "SystemCallFilter", literal("~" + " ".join(refused)))
    # systemd compiles the list for each architecture
    unit.add("Service", "SystemCallArchitectures", literal("native"))


def _error(number: int | None) -> str:
    number = errno.EPERM if number is None else number
    return errno.errorcode.get(number, str(number))


def _log_units(container: ResolvedContainer, tools: Tools) -> list[UnitFile]:
    """Return the socket that holds the pipe of the output, and the service that writes it to the journal.

    The journal takes the lines for the container's (journalctl(1), `--unit`) by a field that root alone may set.
    """
    name, service = container.name, container.parsed.service
    pipe = UnitFile(f"{log_unit(service)}.socket")
    pipe.add("Unit", "Description", literal(f"Output of container {name}"))
    pipe.add("Socket", "ListenFIFO", raw(container.option("serviceName"), log_pipe(name)))
    # every user inside may open it as /dev/stdout; outside, only root enters its directory
    pipe.add("Socket", "SocketMode", literal("0666"))
    pipe.add("Socket", "DirectoryMode", literal("0700"))
    pipe.add("Socket", "RemoveOnStop", literal("true"))
    log = UnitFile(f"{log_unit(service)}.service")
    log.add("Unit", "Description", literal(f"Output of container {name}"))
    log.add("Service", "ExecStart", command([tools.cat]))
    log.add("Service", "StandardInput", literal("socket"))
    log.add("Service", "StandardOutput", literal("journal"))
    log.add("Service", "SyslogIdentifier", literal(name))
    log.add("Service", "LogExtraFields", literal(f"OBJECT_SYSTEMD_UNIT={service}.service"))
    return [pipe, log]


def _health_units(container: ResolvedContainer, output: UnitsOutput) -> list[UnitFile]:
    """Return the units that check health: the check runs in the container's namespaces, with its user and variables."""
    if (health := container.health) is None:
        return []
    end = None if health.action is HealthAction.NONE else _end(container, health.action, output.tools)
    units = check_units(container, health, output.tools, check=_check(container, health, output.tools), end=end)
    bounding = dict.fromkeys((*container.parsed.capabilities.bounding, *DEFAULT_CAPABILITIES, *_OF_NSENTER))
    units[0].add("Service", "CapabilityBoundingSet", literal(" ".join(sorted(bounding))))
    _add_system_calls(units[0], container, output.profile, "setns", "unshare")
    return units


def _check(container: ResolvedContainer, health: Health, tools: Tools) -> list[str]:
    """Return the command that checks health once, within the time for one check."""
    service = f"{container.parsed.service}.service"
    inside = [tools.nsenter, *_NAMESPACES, "--", f"{LAUNCHERS}/health"]
    enter = [tools.sh, "-c", _ENTER, tools.systemctl, service, *inside]
    return limited(health, enter, tools)


def _end(container: ResolvedContainer, action: HealthAction, tools: Tools) -> list[str]:
    """Return the command that ends an unhealthy container, after a failed check only."""
    service = f"{container.parsed.service}.service"
    signal = f"--signal={end_signal(container, action)}"
    return [tools.sh, "-c", _END, tools.systemctl, "kill", "--kill-whom=main", signal, service]
