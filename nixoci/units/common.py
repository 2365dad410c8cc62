"""The parts that the units of all backends have in common: order, time limits, secrets, installation."""

import re
import shlex
import signal

from nixoci.container.model import HealthAction, Restart
from nixoci.container.places import unit_secrets
from nixoci.container.resolve import DEFAULT_STOP_SIGNAL, ResolvedContainer
from nixoci.units.escape import UnitFile, UnitText, command, literal, raw, word
from nixoci.units.tools import Tools

_SECOND = 10**9
_SIGNAL_BASE = 128
_RESTART_AFTER_KILL = {Restart.ON_FAILURE, Restart.ON_ABNORMAL, Restart.ON_ABORT}
STOP_GRACE = 30
"""Seconds that a runtime needs to stop a container that has ended."""
_START_GRACE = 60
"""Seconds that a start may take besides its health checks."""
_LIMIT = 1 << 20
"""The open files, and the processes, that podman allows a container."""

USER_PATH = "/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The directories of programs on NixOS and elsewhere: rootless podman runs newuidmap, and its image store's mount
program runs others. A user's systemd on NixOS does not search the wrappers, which alone are setuid."""


def add_order(unit: UnitFile, container: ResolvedContainer) -> None:
    """Add the description, the image (a changed image is a changed unit) and the dependencies."""
    unit.add("Unit", "Description", literal(f"Container {container.name}"))
    unit.add("Unit", "X-Image", raw(container.option("image"), str(container.tree.image.path)))
    for other in container.parsed.after_services:
        unit.add("Unit", "Requires", literal(f"{other}.service"))
        unit.add("Unit", "After", literal(f"{other}.service"))


def add_path(unit: UnitFile, *, user: bool) -> None:
    """Add a PATH on which podman finds its programs for a user; one of `settings.unit` comes later and wins."""
    if user:
        unit.add("Service", "Environment", word(f"PATH={USER_PATH}"))


def add_zone_directory(unit: UnitFile, container: ResolvedContainer) -> None:
    """Pass on the directory of the host's time zones; NixOS sets it for systemd itself."""
    if container.parsed.timezone is not None:
        unit.add("Service", "PassEnvironment", literal("TZDIR"))


def add_install(unit: UnitFile, container: ResolvedContainer, *, user: bool) -> None:
    """Add `[Install]` for a container that starts by itself."""
    if container.declared.auto_start:
        unit.add("Install", "WantedBy", literal(default_target(user=user)))


def default_target(*, user: bool) -> str:
    """Return the target that starts with the machine, or with a user's session."""
    return "default.target" if user else "multi-user.target"


_HOLD_NAMESPACES = (
    '[ -e "$0" ] && { read -r pid < "$0" || [ -n "$pid" ]; } && kill -0 "$pid" 2> /dev/null && exit; '
    'exec "$1" unshare "$2" -c :'
)
"""Starts the process that holds a user's namespaces, whose file is `$0`, with podman `$1` and the shell `$2`."""


def add_namespaces(unit: UnitFile, tools: Tools, *, user: bool) -> None:
    """Let the process that holds a user's namespaces run before podman runs a container.

    Without that process, podman makes the namespaces, and runs the container in a child. It tells systemd that the
    container runs, and ends at once. systemd looks for the unit of a sender when it reads the message. If it has much
    to do, as when it starts several units, the sender has ended, the message is lost, and the unit fails with the
    result `protocol`. With that process, podman enters the namespaces itself, and systemd knows it as the main process.
    """
    if user:
        make = command([tools.sh, "-c", _HOLD_NAMESPACES])
        programs = command([tools.podman, tools.sh])
        unit.add("Service", "ExecStartPre", literal(f"{make} %t/libpod/tmp/pause.pid {programs}"))


def stop_timeout(container: ResolvedContainer) -> UnitText:
    """Return the longest time that a stop takes: the container's limit, plus the time of its runtime."""
    return literal(f"{container.declared.stop_timeout + STOP_GRACE}s")


def stop_signal(container: ResolvedContainer, *, unset: str) -> str:
    """Return the signal that stops a container: SIGKILL if it has no time to stop.

    Args:
        container: The container.
        unset: The signal if neither the image nor an option names one.
    """
    return container.stop_signal or unset if container.declared.stop_timeout else "SIGKILL"


def end_signal(container: ResolvedContainer, action: HealthAction) -> str:
    """Return the signal that ends an unhealthy container."""
    return "SIGKILL" if action is HealthAction.KILL else stop_signal(container, unset=DEFAULT_STOP_SIGNAL)


def add_clean_exit(unit: UnitFile, container: ResolvedContainer, name: str, *, main_process: bool) -> None:
    """Let the unit of a container that ends by its stop signal end cleanly.

    Args:
        unit: The unit.
        container: The container.
        name: The stop signal.
        main_process: The container's process is the unit's main one, which the signal itself may end. An engine's
            process ends with the exit code of a shell for the signal instead.
    """
    code = _SIGNAL_BASE + signal_number(name)
    status = f"{name} {code}" if main_process else str(code)
    unit.add("Service", "SuccessExitStatus", literal(status))
    if not container.declared.stop_timeout and container.declared.restart in _RESTART_AFTER_KILL:
        # the kernel kills with the same signal, and that is no clean exit
        unit.add("Service", "RestartForceExitStatus", literal(status))


def add_stop(unit: UnitFile, container: ResolvedContainer) -> None:
    """Add the end of a container whose own process is the unit's main one."""
    # 0 would kill the container at once; cleaning up has the same limit, and needs some time
    seconds = container.declared.stop_timeout
    signal_name = stop_signal(container, unset=DEFAULT_STOP_SIGNAL)
    unit.add("Service", "KillSignal", literal(signal_name))
    unit.add("Service", "TimeoutStopSec", literal(f"{seconds or STOP_GRACE}s"))
    add_clean_exit(unit, container, signal_name, main_process=True)


def add_resources(unit: UnitFile, container: ResolvedContainer) -> None:
    """Add the limits of a container that no engine runs, its restart and its name in the journal."""
    # the limits of podman's containers, or the nearest that the host allows
    for limit in ("LimitNOFILE", "LimitNPROC"):
        unit.add("Service", limit, literal(str(_LIMIT)))
    if (memory := container.parsed.memory) is not None:
        # as podman: as much swap as memory
        unit.add("Service", "MemoryMax", literal(str(memory)))
        unit.add("Service", "MemorySwapMax", literal(str(memory)))
    if (most := container.declared.pids_limit) is not None:
        unit.add("Service", "TasksMax", literal("infinity" if most < 0 else str(most)))
    unit.add("Service", "Restart", literal(str(container.declared.restart)))
    unit.add("Service", "SyslogIdentifier", literal(container.name))


def signal_number(name: str) -> int:
    """Return the number of a signal."""
    number = getattr(signal, name, None)
    if number is None:
        _, base, offset = re.split(r"SIG(RTMIN|RTMAX)", name)
        number = (signal.SIGRTMIN if base == "RTMIN" else signal.SIGRTMAX) + int(offset)
    return int(number)


def start_timeout(container: ResolvedContainer) -> UnitText:
    """Return the time after which a container that is not healthy never will be."""
    if (health := container.health) is None:
        return literal(f"{_START_GRACE}s")
    checks = (health.retries + 1) * (health.interval + health.timeout)
    return literal(f"{-(-(health.start_period + checks) // _SECOND) + _START_GRACE}s")


def add_secrets(unit: UnitFile, container: ResolvedContainer) -> None:
    """Let systemd load the secrets."""
    for secret in container.parsed.secrets:
        option = container.option(f"secrets.{secret.name}.source")
        unit.add("Service", "LoadCredential", literal(f"{secret.name}:{raw(option, secret.source)}"))


def secret_lines(container: ResolvedContainer, *, user: bool) -> list[str]:
    """Return the lines of tmpfiles.d(5) that make the files of secrets from the credentials that systemd loaded."""
    if not container.parsed.secrets:
        return []
    folder = unit_secrets(container.name)
    owner = "- -" if user else f"{container.user.uid} {container.user.gid}"
    return [
        f"d {folder} 0700 - - -",
        *(f"f^ {folder}/{each.name} {each.mode:04o} {owner} - {each.name}" for each in container.parsed.secrets),
    ]


def make_secrets(tools: Tools, lines: list[str], *, user: bool) -> UnitText:
    """Return the command that makes the files of these lines of tmpfiles.d(5).

    It has the lines themselves, and names no file of the output that the unit is in: such a unit would change, and be
    restarted, with anything in the deployment.
    """
    make = [tools.systemd_tmpfiles, *(["--user"] if user else []), "--create", "-"]
    script = f"printf '%s\\n' \"$@\" | {shlex.join(make)}"
    return command([tools.sh, "-c", script, "secrets", *lines])
