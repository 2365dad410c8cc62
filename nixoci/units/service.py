"""Services of bundles: systemd runs scripts that mount the root and call the OCI runtime; no engine is needed.

The runtime exits once the container is created, and the container's own process is the service's main one: systemd
sees it end, sends it the stop signal, and has its output in the journal. The container's program starts when systemd
knows that process, so that the exit code of one that ends at once is seen too. The runtime stays only for a container
that reports its readiness itself, since systemd takes such reports from a service that it started in the foreground.

The output goes through a pipe: images link their log files to /dev/stdout, and the sockets of the journal cannot be
opened. Every user inside may open the pipe.
"""

from nixoci.bundle.config import Bundle
from nixoci.bundle.root import Root
from nixoci.container.health import Health
from nixoci.container.model import HealthAction, Notify
from nixoci.container.places import health_unit, mount_source, pid_file, runtime_directory
from nixoci.container.resolve import ResolvedContainer
from nixoci.units.common import (
    STOP_GRACE,
    add_install,
    add_order,
    add_resources,
    add_secrets,
    add_stop,
    add_zone_directory,
    end_signal,
    signal_number,
    start_timeout,
)
from nixoci.units.directories import UnitsOutput
from nixoci.units.escape import UnitFile, command, literal, raw, word
from nixoci.units.health import check_units, limited
from nixoci.units.images import add_images_service
from nixoci.units.runtime import Commands
from nixoci.units.tools import Tools

# a container that has ended will not become healthy
_WAIT = 'read -r pid < "$1"; pause=$2; shift 2; until "$@"; do kill -0 "$pid" || exit 1; "$pause" 1; done'
# a container that has ended meanwhile gets no signal; its runtime forgets it when the unit has cleaned up
_END = (
    '[ "$SERVICE_RESULT" = exit-code ] || exit 0; state=$1; pause=$2; left=$3; signal=$4; shift 4;'
    ' "$@" "$signal" || exit 0;'
    ' while [ -e "$state" ]; do [ $((left -= 1)) -ge 0 ] || { "$@" 9; exit; }; "$pause" 1; done'
)


def bundle_service(container: ResolvedContainer, bundle: Bundle, output: UnitsOutput) -> UnitFile:
    """Return the service of a bundle.

    Args:
        container: The container.
        bundle: Its bundle.
        output: The output that has the bundle's directory.
    """
    name, declared, tools = container.name, container.declared, output.tools
    folder = output.bundle(name)
    runtime = Commands.of(container, tools)
    unit = UnitFile(f"{container.parsed.service}.service")
    add_order(unit, container)
    for mount in container.parsed.volumes:
        unit.add("Unit", "RequiresMountsFor", word(mount_source(mount)))
    if bundle.root is not Root.TREE:
        add_images_service(unit)
    if container.health is not None:
        unit.add("Unit", "Wants", literal(f"{health_unit(container.parsed.service)}.timer"))
    if bundle.root is Root.PERSISTENT:
        # `systemctl clean` removes this directory and nothing else
        unit.add("Service", "StateDirectory", literal(runtime_directory(name)))
        unit.add("Service", "StateDirectoryMode", literal("0700"))
    add_secrets(unit, container)
    add_zone_directory(unit, container)
    if declared.notify is Notify.CONTAINER:
        unit.add("Service", "Type", literal("notify"))
        unit.add("Service", "NotifyAccess", literal("all"))
        # otherwise the runtime would receive the messages
        unit.add("Service", "UnsetEnvironment", literal("NOTIFY_SOCKET"))
    else:
        unit.add("Service", "Type", literal("forking"))
        unit.add("Service", "PIDFile", literal(pid_file(name)))
    unit.add("Service", "ExecStart", command([tools.sh, str(folder / "start")]))
    if declared.notify is Notify.HEALTHY and container.health is not None:
        check = _check(container.health, runtime, tools)
        wait = [tools.sh, "-c", _WAIT, name, pid_file(name), tools.sleep, *check]
        unit.add("Service", "ExecStartPost", command(wait))
        unit.add("Service", "TimeoutStartSec", start_timeout(container))
    unit.add("Service", "ExecStopPost", command([tools.sh, str(folder / "stop")]))
    _add_limits(unit, container)
    if runtime.subgroup is not None:
        unit.add("Service", "DelegateSubgroup", literal(runtime.subgroup))
    unit.add_settings(container.option("settings.unit"), declared.settings.unit)
    add_install(unit, container, user=False)
    return unit


def health_units(container: ResolvedContainer, tools: Tools) -> list[UnitFile]:
    """Return the service that checks a bundle's health and its timer; nothing without a health check."""
    if (health := container.health) is None:
        return []
    end = None if health.action is HealthAction.NONE else _end(container, health.action, tools)
    return check_units(container, health, tools, check=_check(health, Commands.of(container, tools), tools), end=end)


def _end(container: ResolvedContainer, action: HealthAction, tools: Tools) -> list[str]:
    """Return the command that ends an unhealthy container, after a failed check only."""
    seconds = 0 if action is HealthAction.KILL else container.declared.stop_timeout
    number = signal_number(end_signal(container, action))
    runtime = Commands.of(container, tools)
    limits = [runtime.state, tools.sleep, str(seconds or STOP_GRACE), str(number)]
    return [tools.sh, "-c", _END, container.name, *limits, *runtime.kill]


def _add_limits(unit: UnitFile, container: ResolvedContainer) -> None:
    unit.add("Service", "KillMode", literal("mixed"))
    # otherwise systemd kills the process that writes the log when the container has ended, and the last lines are lost
    unit.add("Service", "ExitType", literal("cgroup"))
    add_stop(unit, container)
    add_resources(unit, container)
    unit.add("Service", "Delegate", literal("true"))
    unit.add("Service", "DevicePolicy", literal("closed"))
    # that allows terminals already; systemd compiles the list at each start
    devices = {"/dev/fuse": "rwm"} | {each.source: each.access for each in container.parsed.devices}
    for device, access in devices.items():
        unit.add("Service", "DeviceAllow", raw(container.option("devices"), f"{device} {access}"))


def _check(health: Health, runtime: Commands, tools: Tools) -> list[str]:
    return limited(health, runtime.execute(health.test.argv), tools)
