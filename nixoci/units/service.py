"""Plain services for bundles: systemd mounts the root and runs the OCI runtime, nothing else is needed.

The runtime leaves when the container runs, and the container's own process is the service's main one: systemd sees
it end, sends it the stop signal, and has its output in the journal. Only for a container that reports its readiness
itself the runtime stays, since systemd takes such reports from a service that it started in the foreground.

The output goes through a pipe: images have their log files linked to /dev/stdout, and the sockets of the journal
cannot be opened. A runtime gives the pipe to the container's user.
"""

import re
import shlex
import signal
from pathlib import Path

from nixoci.bundle.config import HOST_FILES, RUN, STATE, Bundle, named_volume, run_directory
from nixoci.bundle.root import Root
from nixoci.container.model import Notify, Runtime
from nixoci.container.resolve import Health, Resolved
from nixoci.errors import ContainerError
from nixoci.tree.model import Inode
from nixoci.units.common import (
    STOP_GRACE,
    add_install,
    add_order,
    add_secrets,
    secret_lines,
    start_timeout,
    tmpfiles_file,
)
from nixoci.units.runtime import Commands
from nixoci.units.text import UnitFile, command, literal, raw, word
from nixoci.units.tools import Tools

_IN_MOUNT_OPTIONS = set(',:\\ \t\n\r#"')
_META = "work/meta"
_PRIVATE = "0700"
_BOUND = f"{RUN}/.runtime"
"""Where crun's directory is mounted, by container: not in a directory that is removed with all that it holds."""
_UMASK = 0o022
_OF_MKDIR = 0o1777  # the bits that mkdir(2) sets
_SPINS = 100
_FEW_LINES = 100
_TRY = (
    "left=$1; pause=$2; interval=$3; shift 3;"
    ' until "$@"; do [ $((left -= 1)) -gt 0 ] || exit 1; "$pause" "$interval"; done'
)
# a container that has ended will not become healthy
_WAIT = 'read -r pid < $1; pause=$2; shift 2; until "$@"; do kill -0 "$pid" || exit 1; "$pause" 1; done'
_KILL_AFTER = "5s"
_SIGNAL_BASE = 128
_LIMIT = 1 << 20


def bundle_service(resolved: Resolved, bundle: Bundle, tools: Tools, *, share: Path) -> UnitFile:
    """Return the service of a bundle.

    Args:
        resolved: The container.
        bundle: Its bundle.
        tools: Programs of the target.
        share: The directory with `bundles/NAME/`, which holds config.json and its scripts, as the target sees it.
    """
    name, container = resolved.name, resolved.container
    folder = bundle_directory(share, name)
    runtime = _commands(resolved, tools)
    unit = UnitFile(f"{name}.service")
    add_order(unit, resolved)
    for mount in resolved.volumes:
        source = mount.source if mount.is_path else named_volume(mount.source)
        unit.add("Unit", "RequiresMountsFor", word(source))
    if resolved.health is not None:
        unit.add("Unit", "Wants", literal(f"{name}-health.timer"))
    if bundle.root is Root.PERSISTENT:
        # that, and nothing else, is what `systemctl clean` removes
        unit.add("Service", "StateDirectory", literal(f"nixoci/{name}"))
        unit.add("Service", "StateDirectoryMode", literal("0700"))
    add_secrets(unit, resolved)
    if container.notify is Notify.CONTAINER:
        unit.add("Service", "Type", literal("notify"))
        unit.add("Service", "NotifyAccess", literal("all"))
        # else the runtime takes the messages
        unit.add("Service", "UnsetEnvironment", literal("NOTIFY_SOCKET"))
    else:
        unit.add("Service", "Type", literal("forking"))
        unit.add("Service", "PIDFile", literal(_pid_file(name)))
    unit.add("Service", "ExecStart", command([tools.sh, str(folder / "start")]))
    if container.notify is Notify.HEALTHY and resolved.health is not None:
        check = _check(resolved.health, runtime, tools)
        wait = [tools.sh, "-c", _WAIT, name, _pid_file(name), tools.sleep, *check]
        unit.add("Service", "ExecStartPost", command(wait))
        unit.add("Service", "TimeoutStartSec", start_timeout(resolved))
    unit.add("Service", "ExecStopPost", command([tools.sh, str(folder / "stop")]))
    _add_limits(unit, resolved)
    if runtime.subgroup is not None:
        unit.add("Service", "DelegateSubgroup", literal(runtime.subgroup))
    unit.add_settings(resolved.option("settings.unit"), container.settings.unit)
    add_install(unit, resolved, user=False)
    return unit


def start_script(resolved: Resolved, bundle: Bundle, tools: Tools, *, share: Path) -> str:
    """Return the script that prepares the root and runs the container, in as few processes as will do.

    Args:
        resolved: The container.
        bundle: Its bundle.
        tools: Programs of the target.
        share: The directory with `bundles/NAME/`, that has config.json and the file of `mount_table`, and with the
            files of `start_lines` and `volume_lines`.
    """
    name = resolved.name
    folder = bundle_directory(share, name)
    # whoever kills the unit's processes may have killed the stop script with them
    runtime = _commands(resolved, tools)
    traces = f"[ -e {runtime.state} ] || [ -e {run_directory(name)} ]"
    clean_up = shlex.join([tools.sh, str(folder / "stop")])
    # messages of C need no files of a locale
    lines = ["export LC_ALL=C", f"umask {_UMASK:04o}"]
    # mount makes the container's directory, or else mkdir: for RuntimeDirectory= systemd would fork once more
    made = start_lines(resolved, bundle)
    if made or bundle.root is Root.TREE:
        lines.append(shlex.join([tools.mkdir, "-p", "-m", _PRIVATE, run_directory(name)]))
    if made:
        lines.append(shlex.join([tools.systemd_tmpfiles, "--create", str(tmpfiles_file(share, name))]))
    if bundle.root is not Root.TREE:
        mount = shlex.join([tools.mount, "--all", "--fstab", str(folder / "fstab")])
        lines.append(f"{mount} || {_say_what_a_layer_needs(resolved)}" if bundle.root is Root.PERSISTENT else mount)
    program = shlex.quote(runtime.program)
    if (bound := _bound(resolved, bundle, tools)) is not None:
        # crun may be a link that leads nowhere from there; then it protects itself
        inside = shlex.quote(f"{bound}/{Path(runtime.program).name}")
        lines.append(f'crun={inside}; [ -x "$crun" ] || crun={program}')
        program = '"$crun"'
    if volume_lines(resolved):
        volumes = [named_volume(mount.source) for mount in resolved.volumes if not mount.is_path]
        there = " && ".join(f"[ -e {shlex.quote(volume)} ]" for volume in volumes)
        copy = [tools.systemd_tmpfiles, "--create", str(tmpfiles_file(share, f"{name}-volumes"))]
        lines.append(f"{{ {there}; }} || {shlex.join(copy)}")
    if resolved.container.networks == ["host"]:
        lines += [_copy(tools), *(f"copy /etc/{file} > {run_directory(name)}/{file}" for file in HOST_FILES)]
    # which ends when nobody can write any more, whatever signals are sent to the whole unit
    pump = f"trap '' HUP INT QUIT TERM USR1 USR2; exec {shlex.quote(tools.cat)}"
    if resolved.container.notify is Notify.CONTAINER:
        log = f"{run_directory(name)}/log"
        lines += [f"[ -p {log} ] || {shlex.join([tools.mkfifo, '-m', '0600', log])}", f"({pump} < {log}) &"]
        lines.append(f"exec {program} {shlex.join(runtime.run_arguments(folder, pid_file=None))} > {log} 2>&1")
    else:
        pid_file = _pid_file(name)
        lines += _run_with_log(f"{program} {shlex.join(runtime.run_arguments(folder, pid_file=pid_file))}", pump)
        lines += _wait_for_adoption(pid_file, tools)
    return "\n".join(["set -eu", f"if {traces}; then", clean_up, "fi", *lines, ""])


def mount_table(resolved: Resolved, bundle: Bundle, tools: Tools, *, erofs: Path) -> str:
    """Return the table (fstab(5)) of what is mounted for a start: the metadata, over it the tree, and the runtime.

    No process of its own makes the directories of a volatile layer, since mount makes those that it mounts on: the
    overlay is mounted over its own upper directory, and the metadata below the work directory, where the kernel
    touches only `work` and `index`.

    crun, so that no container can write to it (CVE-2019-5736), mounts itself read-only and executes itself from there,
    unless it is already executed from a read-only mount. That is dearer than one more line here, for the directory
    that it is in.

    Args:
        resolved: The container.
        bundle: Its bundle.
        tools: Programs of the target.
        erofs: The image's metadata.

    Raises:
        ContainerError: A path cannot be written there.
    """
    rootfs, run = str(resolved.tree.image.rootfs), run_directory(resolved.name)
    for path in (rootfs, str(erofs)):
        if _IN_MOUNT_OPTIONS & set(path):
            raise ContainerError(f"{resolved.option('image')}: {path!r} cannot be a mount option; use a plain path")
    options = {
        Root.VOLATILE: [f"upperdir={run}/root", f"workdir={run}/work"],
        Root.PERSISTENT: [f"upperdir={_kept(resolved)}/upper", f"workdir={_kept(resolved)}/work"],
    }.get(bundle.root, ["ro"])
    # the metadata's files name their content in the tree, which is what metacopy is
    options += [f"X-mount.mkdir={resolved.tree.root.mode:04o}", "nodev", "metacopy=on"]
    options.append(f"lowerdir={run}/{_META}::{rootfs}")
    private = f"X-mount.mkdir={_PRIVATE}"
    meta = f"{erofs} {run}/{_META} erofs ro,nodev,{private} 0 0\n"
    root = f"overlay {run}/root overlay {','.join(options)} 0 0\n"
    bound = _bound(resolved, bundle, tools)
    return meta + root + (f"{Path(tools.crun).parent} {bound} none bind,ro,{private} 0 0\n" if bound else "")


def stop_script(resolved: Resolved, bundle: Bundle, tools: Tools) -> str:
    """Return the script that takes down what the start script made, as far as it got."""
    commands, run = [_commands(resolved, tools).delete()], run_directory(resolved.name)
    if bundle.root is not Root.TREE:
        bound = _bound(resolved, bundle, tools)
        mounts = [f"{run}/root", f"{run}/{_META}", *([bound] if bound else [])]
        commands.append([tools.umount, "--lazy", *mounts])
        if bound:
            commands.append([tools.rm, "--force", "--dir", bound])  # which, should it be mounted still, is not emptied
    commands.append([tools.rm, "--recursive", "--force", "--one-file-system", run])
    return "".join(f"{shlex.join(command)} || :\n" for command in commands)


def bundle_directory(share: Path, name: str) -> Path:
    """Return the directory of a bundle."""
    return share / "bundles" / name


def health_units(resolved: Resolved, tools: Tools) -> list[UnitFile]:
    """Return a service that checks a bundle's health and the timer that starts it; none without a health check.

    A container whose checks failed so often in a row that it is not healthy is a failed NAME-health.service.
    """
    if (health := resolved.health) is None:
        return []
    name = resolved.name
    service = UnitFile(f"{name}-health.service")
    service.add("Unit", "Description", literal(f"Health of container {name}"))
    service.add("Unit", "Requisite", literal(f"{name}.service"))
    service.add("Unit", "After", literal(f"{name}.service"))
    service.add("Service", "Type", literal("oneshot"))
    check = _check(health, _commands(resolved, tools), tools)
    tries = [str(health.retries), tools.sleep, _seconds(health.interval)]
    service.add("Service", "ExecStart", command([tools.sh, "-c", _TRY, name, *tries, *check]))
    service.add("Service", "SyslogIdentifier", literal(f"{name}-health"))
    timer = UnitFile(f"{name}-health.timer")
    timer.add("Unit", "Description", literal(f"Health of container {name}"))
    timer.add("Unit", "BindsTo", literal(f"{name}.service"))
    timer.add("Unit", "After", literal(f"{name}.service"))
    timer.add("Timer", "OnActiveSec", literal(f"{max(health.start_period, health.interval) // 1000}us"))
    timer.add("Timer", "OnUnitInactiveSec", literal(f"{health.interval // 1000}us"))
    timer.add("Timer", "AccuracySec", literal("1s"))
    return [service, timer]


def start_lines(resolved: Resolved, bundle: Bundle) -> list[str]:
    """Return the lines of tmpfiles.d(5) that come before the root is mounted.

    The upper directory's owner and mode are those of / inside. That of a volatile layer is made by mount where that can
    do it.
    """
    lines, top = secret_lines(resolved, user=False), resolved.tree.root
    attributes = f"{top.mode:04o} {top.uid} {top.gid}"
    if bundle.root is Root.VOLATILE and not _mkdir_makes(top):
        lines.append(f"d {run_directory(resolved.name)}/root {attributes} -")
    if bundle.root is Root.PERSISTENT:
        # not systemd's StateDirectory=, which would give the layer's files to root
        lines += [f"d {_kept(resolved)}/upper {attributes} -", f"d {_kept(resolved)}/work 0700 - - -"]
    return lines


def volume_lines(resolved: Resolved) -> list[str]:
    """Return the lines of tmpfiles.d(5) that come after it: new volumes start as what they cover in the image."""
    lines: list[str] = []
    for mount in resolved.volumes:
        if mount.is_path:
            continue
        volume = named_volume(mount.source)
        inode = resolved.tree.find(mount.target)
        if inode is None or not inode.is_directory:
            lines.append(f"d {volume} 0755 - - -")
            continue
        if not mount.target.isascii() or set(mount.target) & set(" \"'\\%"):
            raise ContainerError(
                f"{resolved.option('volumes')}: {mount.target!r} cannot be copied to a new volume; mount a path there"
            )
        lines.append(f"C {volume} - - - - {run_directory(resolved.name)}/root{mount.target}")
    return [f"d {STATE}/volumes 0700 - - -", *lines] if lines else []


def _kept(resolved: Resolved) -> str:
    """Return the directory of a layer that stays."""
    return f"{STATE}/{resolved.name}"


def _mkdir_makes(top: Inode) -> bool:
    """Whether root's mkdir(2) makes a directory like it."""
    return not (top.uid or top.gid) and top.mode == top.mode & _OF_MKDIR & ~_UMASK


def _say_what_a_layer_needs(resolved: Resolved) -> str:
    """Return the commands for a layer that is kept where none can be."""
    message = (
        f"error: {resolved.option('writableLayer')}: the root was not mounted, for the reason above; a layer that is"
        f" kept needs {STATE} on a file system that an overlay can write to, such as ext4, xfs or btrfs and no overlay"
    )
    return f"{{ printf '%s\\n' {shlex.quote(message)} >&2; exit 1; }}"


def _add_limits(unit: UnitFile, resolved: Resolved) -> None:
    unit.add("Service", "KillMode", literal("mixed"))
    # without time to end it is killed at once; the stop script has the same time, and needs some
    stop_timeout = resolved.container.stop_timeout
    signal_name = resolved.stop_signal if stop_timeout else "SIGKILL"
    unit.add("Service", "KillSignal", literal(signal_name))
    unit.add("Service", "TimeoutStopSec", literal(f"{stop_timeout or STOP_GRACE}s"))
    # ended by the signal that asked it to is a clean end, by it or by a shell's exit code for it
    unit.add("Service", "SuccessExitStatus", literal(f"{signal_name} {_exit_code(signal_name)}"))
    # as podman's containers have, or as near to it as the host allows
    for limit in ("LimitNOFILE", "LimitNPROC"):
        unit.add("Service", limit, literal(str(_LIMIT)))
    unit.add("Service", "Delegate", literal("true"))
    unit.add("Service", "DevicePolicy", literal("closed"))
    # terminals are allowed by that already; systemd compiles the list at each start
    devices = {"/dev/fuse": "rwm"} | {each.source: each.options[0] for each in resolved.devices}
    for device, access in devices.items():
        unit.add("Service", "DeviceAllow", raw(resolved.option("devices"), f"{device} {access}"))
    unit.add("Service", "Restart", literal(str(resolved.container.restart)))
    unit.add("Service", "SyslogIdentifier", literal(resolved.name))


def _check(health: Health, runtime: Commands, tools: Tools) -> list[str]:
    """Return what checks health once, for as long as that may take."""
    return [tools.timeout, f"--kill-after={_KILL_AFTER}", _seconds(health.timeout), *runtime.execute(health.argv)]


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 10**9:.3f}".rstrip("0").rstrip(".")


def _commands(resolved: Resolved, tools: Tools) -> Commands:
    return Commands.of(resolved.name, resolved.container.runtime or Runtime.CRUN, tools)


def _bound(resolved: Resolved, bundle: Bundle, tools: Tools) -> str | None:
    """Return where crun's directory is mounted read-only for its execution, None where it is executed as it is."""
    runtime = resolved.container.runtime or Runtime.CRUN
    if runtime is not Runtime.CRUN or bundle.root is Root.TREE or _IN_MOUNT_OPTIONS & set(tools.crun):
        return None
    return f"{_BOUND}/{resolved.name}" if tools.crun.startswith("/") else None


def _copy(tools: Tools) -> str:
    """Return a shell's function that writes a file of the host, if there is one, and mostly without a process."""
    return "\n".join(
        (
            "copy() {",
            f'  [ -e "$1" ] || return 0; left={_FEW_LINES}',
            """  while IFS= read -r text || [ -n "$text" ]; do""",
            f"""    printf '%s\\n' "$text"; [ $((left -= 1)) -gt 0 ] || {{ {shlex.quote(tools.cat)}; break; }}""",
            '  done < "$1"',
            "}",
        )
    )


def _run_with_log(run: str, pump: str) -> list[str]:
    """Return lines that run a command with its output in a pipe, which outlives it, and fail if it fails.

    The exit code comes as the text of a command substitution, which ends when nobody has its end of the pipe open.
    """
    started = f'if {run} 2>&1 3>&- 4>&-; then echo 0 >&4; else echo "$?" >&4; fi'
    return [
        "exec 3>&1",
        f"code=$({{ {{ {started}; }} | ({pump} >&3 3>&- 4>&-) & }} 4>&1)",
        'exec 3>&-; [ "$code" = 0 ] || exit "${code:-1}"',
    ]


def _wait_for_adoption(pid_file: str, tools: Tools) -> list[str]:
    """Return lines that end when systemd is the parent of the container's process.

    crun leaves a process that is the parent a little longer than its command takes. If systemd meets a main process
    that is not its child, it does not wait for it at the stop, but kills it right after the stop signal.
    """
    # it has mostly gone by now, or goes before a process for waiting would have started
    return [
        f"read -r pid < {pid_file} || :",
        "adopted() {",
        '  [ -e "/proc/$pid/status" ] || return 0',
        "  while read -r key value; do",
        '    [ "$key" != PPid: ] || { [ "$value" = 1 ]; return; }',
        '  done < "/proc/$pid/status"',
        "}",
        "tries=0",
        "until adopted; do",
        "  tries=$((tries + 1))",
        f'  [ "$tries" -lt {_SPINS} ] || {tools.sleep} 0.01',
        "done",
    ]


def _pid_file(name: str) -> str:
    return f"{run_directory(name)}/pid"


def _exit_code(name: str) -> int:
    """Return the exit code by which a shell says that a signal ended its command."""
    number = getattr(signal, name, None)
    if number is None:
        _, base, offset = re.split(r"SIG(RTMIN|RTMAX)", name)
        number = (signal.SIGRTMIN if base == "RTMIN" else signal.SIGRTMAX) + int(offset)
    return _SIGNAL_BASE + int(number)
