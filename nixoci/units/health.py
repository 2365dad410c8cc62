"""The units that check the health of a container that no engine runs."""

from nixoci.container.health import Health
from nixoci.container.places import health_unit
from nixoci.container.resolve import ResolvedContainer
from nixoci.units.common import stop_timeout
from nixoci.units.escape import UnitFile, command, literal
from nixoci.units.tools import Tools

_TRY = (
    "left=$1; pause=$2; interval=$3; shift 3;"
    ' until "$@"; do [ $((left -= 1)) -gt 0 ] || exit 1; "$pause" "$interval"; done'
)
_KILL_AFTER = "5s"


def check_units(
    container: ResolvedContainer, health: Health, tools: Tools, *, check: list[str], end: list[str] | None
) -> list[UnitFile]:
    """Return a service that checks a container's health, and its timer.

    The service, NAME-health, fails once so many checks in a row have failed that the container is unhealthy. Then it
    also does to the container what `onFailure` says.

    Args:
        container: The container.
        health: Its health check.
        tools: Programs of the target.
        check: The command that checks health once.
        end: The command that ends an unhealthy container; None to leave it alone.
    """
    name, checked, checks = container.name, f"{container.parsed.service}.service", health_unit(container.parsed.service)
    service = UnitFile(f"{checks}.service")
    service.add("Unit", "Description", literal(f"Health of container {name}"))
    service.add("Unit", "Requisite", literal(checked))
    service.add("Unit", "After", literal(checked))
    service.add("Service", "Type", literal("oneshot"))
    tries = [str(health.retries), tools.sleep, _seconds(health.interval)]
    service.add("Service", "ExecStart", command([tools.sh, "-c", _TRY, name, *tries, *check]))
    if end is not None:
        service.add("Service", "ExecStopPost", command(end))
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


def limited(health: Health, check: list[str], tools: Tools) -> list[str]:
    """Return the command that runs one check within the time for it."""
    return [tools.timeout, f"--kill-after={_KILL_AFTER}", _seconds(health.timeout), *check]


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 10**9:.3f}".rstrip("0").rstrip(".")
