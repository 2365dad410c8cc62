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
from nixoci.container.resolve import DEFAULT_STOP_SIGNAL, ResolvedContainer
from nixoci.units.common import (
    STOP_GRACE,
    add_clean_exit,
    add_install,
    add_order,
    add_secrets,
    add_zone_directory,
    signal_number,
    start_timeout,
    stop_signal,
    stop_timeout,
)
from nixoci.units.directories import Output
from nixoci.units.escape import UnitFile, command, literal, raw, word
from nixoci.units.images import add_images_service
from nixoci.units.runtime import Commands
from nixoci.units.tools import Tools

_TRY = (
    "left=$1; pause=$2; interval=$3; shift 3;"
    ' until "$@"; do [ $((left -= 1)) -gt 0 ] || exit 1; "$pause" "$interval"; done'
)
# a container that has ended will not become healthy
_WAIT = 'read -r pid < "$1"; pause=$2; shift 2; until "$@"; do kill -0 "$pid" || exit 1; "$pause" 1; done'
# a container that has ended meanwhile gets no signal; its runtime forgets it when the unit has cleaned up
_END = (
    '[ "$SERVICE_RESULT" = exit-code ] || exit 0; state=$1; pause=$2; left=$3; signal=$4; shift 4;'
    ' "$@" "$signal" || exit 0;'
    ' while [ -e "$state" ]; do [ $((left -= 1)) -ge 0 ] || { "$@" 9; exit; }; "$pause" 1; done'
)
_KILL_AFTER = "5s"
_LIMIT = 1 << 20


def bundle_service(container: ResolvedContainer, bundle: Bundle, output: Output) -> UnitFile:
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
    """Return a service that checks a bundle's health and its timer; nothing without a health check.

    The service, NAME-health, fails once so many checks in a row have failed that the container is unhealthy. Then it
    also does to the container what `onFailure` says.
    """
    if (health := container.health) is None:
        return []
    name, checked, checks = container.name, f"{container.parsed.service}.service", health_unit(container.parsed.service)
    service = UnitFile(f"{checks}.service")
    service.add("Unit", "Description", literal(f"Health of container {name}"))
    service.add("Unit", "Requisite", literal(checked))
    service.add("Unit", "After", literal(checked))
    service.add("Service", "Type", literal("oneshot"))
    check = _check(health, Commands.of(container, tools), tools)
    tries = [str(health.retries), tools.sleep, _seconds(health.interval)]
    service.add("Service", "ExecStart", command([tools.sh, "-c", _TRY, name, *tries, *check]))
    if health.action is not HealthAction.NONE:
        service.add("Service", "ExecStopPost", command(_end(container, health.action, tools)))
        service.add("Service", "TimeoutStopSec", stop_timeout(container))
    service.add("Service", "SyslogIdentifier", literal(checks))
    timer = UnitFile(f"{checks}.timer")
    timer.add("Unit", "Description", literal(f"Health of container {name}"))
    timer.add("Unit", "BindsTo", literal(checked))
    timer.add("Unit", "After", literal(checked))
    timer.add("Timer", "OnActiveSec", literal(f"{max(health.start_period, health.interval) // 1000}us"))
    timer.add("Timer", "OnUnitInactiveSec", literal(f"{health.interval // 1000}us"))
    timer.add("Timer", "AccuracySec", literal("1s"))
    return [service, timer]


def _end(container: ResolvedContainer, action: HealthAction, tools: Tools) -> list[str]:
    """Return the command that ends an unhealthy container, after a failed check only."""
    seconds = container.declared.stop_timeout
    kill = action is HealthAction.KILL or not seconds
    number = signal_number("SIGKILL" if kill else container.stop_signal or DEFAULT_STOP_SIGNAL)
    runtime = Commands.of(container, tools)
    limits = [runtime.state, tools.sleep, str(STOP_GRACE if kill else seconds), str(number)]
    return [tools.sh, "-c", _END, container.name, *limits, *runtime.kill]


def _add_limits(unit: UnitFile, container: ResolvedContainer) -> None:
    unit.add("Service", "KillMode", literal("mixed"))
    # otherwise systemd kills the process that writes the log when the container has ended, and the last lines are lost
    unit.add("Service", "ExitType", literal("cgroup"))
    # 0 would kill the container at once; the stop script has the same limit, and needs some time
    seconds = container.declared.stop_timeout
    signal_name = stop_signal(container, unset=DEFAULT_STOP_SIGNAL)
    unit.add("Service", "KillSignal", literal(signal_name))
    unit.add("Service", "TimeoutStopSec", literal(f"{seconds or STOP_GRACE}s"))
    add_clean_exit(unit, container, signal_name, main_process=True)
    # the limits of podman's containers, or the nearest that the host allows
    for limit in ("LimitNOFILE", "LimitNPROC"):
        unit.add("Service", limit, literal(str(_LIMIT)))
    if (memory := container.parsed.memory) is not None:
        # as podman: as much swap as memory
        unit.add("Service", "MemoryMax", literal(str(memory)))
        unit.add("Service", "MemorySwapMax", literal(str(memory)))
    if (most := container.declared.pids_limit) is not None:
        unit.add("Service", "TasksMax", literal("infinity" if most < 0 else str(most)))
    unit.add("Service", "Delegate", literal("true"))
    unit.add("Service", "DevicePolicy", literal("closed"))
    # that allows terminals already; systemd compiles the list at each start
    devices = {"/dev/fuse": "rwm"} | {each.source: each.access for each in container.parsed.devices}
    for device, access in devices.items():
        unit.add("Service", "DeviceAllow", raw(container.option("devices"), f"{device} {access}"))
    unit.add("Service", "Restart", literal(str(container.declared.restart)))
    unit.add("Service", "SyslogIdentifier", literal(container.name))


def _check(health: Health, runtime: Commands, tools: Tools) -> list[str]:
    """Return the command that checks health once, within the time for one check."""
    return [tools.timeout, f"--kill-after={_KILL_AFTER}", _seconds(health.timeout), *runtime.execute(health.test.argv)]


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 10**9:.3f}".rstrip("0").rstrip(".")
