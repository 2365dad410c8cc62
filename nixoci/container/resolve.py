"""Merge an image's defaults and a container's options into what shall run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from nixoci.container import notation
from nixoci.container.image_tree import ImageTree, User, resolve_user
from nixoci.container.model import Container, Notify
from nixoci.container.notation import Mount
from nixoci.document import json_key
from nixoci.errors import ContainerError
from nixoci.oci.model import ExecutionConfig, Healthcheck

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH where neither the image nor the container sets it, as podman's default is."""

DEFAULT_STOP_SIGNAL = "SIGTERM"

_SECOND = 10**9
_MILLISECOND = 10**6
_INTERVAL = _TIMEOUT = 30 * _SECOND
_RETRIES = 3


@dataclass(frozen=True, slots=True)
class Health:
    """A health check; times in nanoseconds. `shell` is whether `command` is one line for /bin/sh."""

    command: tuple[str, ...]
    shell: bool
    interval: int
    timeout: int
    start_period: int
    retries: int

    @property
    def argv(self) -> tuple[str, ...]:
        """The command as it is executed."""
        return ("/bin/sh", "-c", *self.command) if self.shell else self.command


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A container with everything decided: what the image leaves open is filled in, what is named is looked up.

    `environment` is in the image's order, the container's own after. `image_volumes` are the mount points that the
    image declares and the container does not mount anything at.
    """

    name: str
    container: Container
    tree: ImageTree
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    environment: dict[str, str]
    user: User
    workdir: str
    volumes: tuple[Mount, ...]
    tmpfs: tuple[Mount, ...]
    devices: tuple[Mount, ...]
    image_volumes: tuple[str, ...]
    labels: dict[str, str]
    stop_signal: str
    health: Health | None

    @property
    def args(self) -> tuple[str, ...]:
        """The process's arguments, its program first."""
        return self.entrypoint + self.cmd

    def option(self, name: str) -> str:
        """Return what an option of this container is called in errors."""
        return f"containers.{self.name}.{name}"


def resolve(name: str, container: Container, tree: ImageTree) -> Resolved:
    """Merge the config of an image and a container (image-spec config.md and conversion.md).

    An entrypoint replaces both the image's entrypoint and its command; a command replaces the command; the
    container's variables and labels win by name.

    Raises:
        ContainerError: An option cannot be honoured; the message starts with it.
    """
    config = tree.image.config.config or ExecutionConfig()

    def option(field: str) -> str:
        return f"containers.{name}.{field}"

    entrypoint, cmd = _command(option("entrypoint"), option("cmd"), container, config)
    user_option = option("user") if container.user else option("image")
    mounts = tuple(_each(option("volumes"), container.volumes, notation.volume))
    tmpfs = tuple(_each(option("tmpfs"), container.tmpfs, notation.tmpfs))
    _refuse_twice(option, mounts, tmpfs)
    taken = {mount.target for mount in mounts + tmpfs}
    image_volumes = [notation.clean_path(option("image"), path) for path in sorted(config.volumes or {})]
    workdir_option = option("workdir") if container.workdir else option("image")
    signal_option = option("stopSignal") if container.stop_signal else option("image")
    if container.stop_timeout < 0:
        raise ContainerError(f"{option('stopTimeout')}: {container.stop_timeout} seconds; give 0 or more")
    health = _health(option, container, config.healthcheck)
    if container.notify is Notify.HEALTHY and health is None:
        raise ContainerError(
            f"{option('notify')}: neither the image nor the container has a health check; set healthcheck.test"
        )
    return Resolved(
        name=name,
        container=container,
        tree=tree,
        entrypoint=entrypoint,
        cmd=cmd,
        environment=_environment(option, container, config),
        user=resolve_user(user_option, container.user or config.user or "", tree),
        workdir=notation.clean_path(workdir_option, container.workdir or config.working_dir or "/"),
        volumes=mounts,
        tmpfs=tmpfs,
        devices=tuple(_each(option("devices"), container.devices, notation.device)),
        image_volumes=tuple(path for path in dict.fromkeys(image_volumes) if path not in taken and path != "/"),
        labels=_labels(option, container, config),
        stop_signal=notation.signal_name(
            signal_option, container.stop_signal or config.stop_signal or DEFAULT_STOP_SIGNAL
        ),
        health=health,
    )


def _command(
    entrypoint_option: str, cmd_option: str, container: Container, config: ExecutionConfig
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if container.entrypoint is None:
        entrypoint = config.entrypoint or []
        cmd = container.cmd or config.cmd or []
    else:
        entrypoint, cmd = container.entrypoint, container.cmd
    if not entrypoint + cmd:
        raise ContainerError(f"{cmd_option}: neither the image nor the container says what to run; set it")
    if not (entrypoint + cmd)[0]:
        raise ContainerError(f"{entrypoint_option}: the program to run is empty; name one")
    return (
        tuple(notation.text(f"{entrypoint_option}[{index}]", word) for index, word in enumerate(entrypoint)),
        tuple(notation.text(f"{cmd_option}[{index}]", word) for index, word in enumerate(cmd)),
    )


def _environment(option: Callable[[str], str], container: Container, config: ExecutionConfig) -> dict[str, str]:
    variables: dict[str, str] = {}
    for entry in config.env or []:
        name, equals, value = entry.partition("=")
        if name and equals:
            variables[name] = notation.text(option("image"), value)
    for name, value in container.environment.items():
        if not name or "=" in name or not name.isprintable() or name != name.strip():
            raise ContainerError(f"{option('environment')}: {name!r} cannot be the name of a variable; choose another")
        variables[name] = notation.text(f"{option('environment')}.{name}", value)
    return variables


def _labels(option: Callable[[str], str], container: Container, config: ExecutionConfig) -> dict[str, str]:
    for name, value in container.labels.items():
        if not name or "=" in name or not name.isprintable() or name != name.strip():
            raise ContainerError(f"{option('labels')}: {name!r} cannot be the name of a label; choose another")
        notation.text(f"{option('labels')}.{name}", value)
    return {**(config.labels or {}), **container.labels}


def _health(option: Callable[[str], str], container: Container, image: Healthcheck | None) -> Health | None:
    own, image = container.healthcheck, image or Healthcheck()
    test = own.test or image.test or []
    source = option("healthcheck.test") if own.test else option("image")
    kind, *command = test or ["NONE"]
    if kind == "NONE":
        for each in () if own.test else fields(own):
            if getattr(own, each.name):
                own_option = option(f"healthcheck.{json_key(each)}")
                raise ContainerError(
                    f"{own_option}: neither the image nor the container has a health check; set healthcheck.test"
                )
        return None
    if kind not in {"CMD", "CMD-SHELL"} or not command or (kind == "CMD-SHELL" and len(command) != 1):
        raise ContainerError(
            f'{source}: the health check {test} is not of a known form; expected ["CMD", ...], ["CMD-SHELL", command]'
            ' or ["NONE"]'
        )
    for word in command:
        notation.text(source, word)

    def time(field: str, text: str | None, inherited: int | None, default: int) -> int:
        if text is None:
            return inherited or default
        own = notation.duration(option(f"healthcheck.{field}"), text)
        if own < _MILLISECOND and default:
            raise ContainerError(f"{option(f'healthcheck.{field}')}: {text!r} is too short; give 1ms or more")
        return own

    retries = own.retries if own.retries is not None else image.retries or _RETRIES
    if retries < 1:
        raise ContainerError(f"{option('healthcheck.retries')}: {retries}; give 1 or more")
    return Health(
        command=tuple(command),
        shell=kind == "CMD-SHELL",
        interval=time("interval", own.interval, image.interval, _INTERVAL),
        timeout=time("timeout", own.timeout, image.timeout, _TIMEOUT),
        start_period=time("startPeriod", own.start_period, image.start_period, 0),
        retries=retries,
    )


def _refuse_twice(option: Callable[[str], str], mounts: tuple[Mount, ...], tmpfs: tuple[Mount, ...]) -> None:
    seen: set[str] = set()
    for field, group in (("volumes", mounts), ("tmpfs", tmpfs)):
        for mount in group:
            if mount.target in seen:
                raise ContainerError(f"{option(field)}: {mount.target} is mounted twice; mount one thing there")
            seen.add(mount.target)


def _each(option: str, values: list[str], read: Callable[[str, str], Mount]) -> Iterator[Mount]:
    for index, value in enumerate(values):
        yield read(f"{option}[{index}]", value)
