"""Merge an image's config and a container's options into what runs (image-spec config.md and conversion.md)."""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from nixoci.container import notation
from nixoci.container.characters import replaceable, text
from nixoci.container.health import Health, resolve_health
from nixoci.container.image_tree import ImageTree
from nixoci.container.model import Container
from nixoci.container.parse import ParsedContainer
from nixoci.container.users import User, resolve_user
from nixoci.errors import ContainerError
from nixoci.oci.model import ExecutionConfig

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""podman's default PATH, for a container and an image that set none."""

DEFAULT_STOP_SIGNAL = "SIGTERM"

_HOSTNAME_LENGTH = 64
_ZONES = "/usr/share/zoneinfo"
_INIT = {"/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedContainer:
    """A container with everything decided: defaults come from the image, and names are looked up in it.

    `environment` is in the image's order, followed by the container's own. `user_notation` is `USER[:GROUP]` as the
    container or else the image has it. `image_volumes` are the mount points that the image declares and at which the
    container mounts nothing. `stop_signal` is None if neither sets one.
    """

    parsed: ParsedContainer
    tree: ImageTree
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    environment: dict[str, str]
    user: User
    user_notation: str
    workdir: str
    image_volumes: tuple[str, ...]
    labels: dict[str, str]
    stop_signal: str | None
    health: Health | None

    @property
    def name(self) -> str:
        """The container's name."""
        return self.parsed.name

    @property
    def declared(self) -> Container:
        """The options as the document has them."""
        return self.parsed.declared

    @property
    def hostname(self) -> str:
        """The host name inside, if the container has one of its own; Linux has names of 64 characters."""
        return self.declared.hostname or self.name[:_HOSTNAME_LENGTH].rstrip("-._")

    @property
    def args(self) -> tuple[str, ...]:
        """The process's arguments, its program first."""
        return self.entrypoint + self.cmd

    @property
    def runs_systemd(self) -> bool:
        """True if podman takes the program for systemd and prepares for it (podman-run(1), `--systemd`)."""
        words = self.args[2:] if len(self.args) > 2 and self.args[:2] == ("/bin/sh", "-c") else self.args
        return words[0] in _INIT or posixpath.basename(words[0]) == "systemd"

    @property
    def has_zone(self) -> bool:
        """True if the image has the file of the container's time zone."""
        zone = self.parsed.timezone
        return zone is not None and zone != "local" and self.tree.find(f"{_ZONES}/{zone}") is not None

    def has_path(self, path: str) -> bool:
        """Return whether the image has an absolute, clean path, or something is mounted at it or above it."""
        mounted = {*self.parsed.mount_targets, *self.image_volumes}
        way = (path, *map(str, PurePosixPath(path).parents))
        return self.tree.find(path) is not None or not mounted.isdisjoint(way)

    def option(self, field: str) -> str:
        """Return the path of an option, as errors start with it."""
        return self.parsed.option(field)


def resolve(container: ParsedContainer, tree: ImageTree) -> ResolvedContainer:
    """Merge a container with its image.

    An entrypoint replaces both the image's entrypoint and its command; a command replaces the command; the
    container's variables and labels win by name.

    Raises:
        ContainerError: The image does not have what an option names, or its config cannot be used; the message starts
            with the option.
    """
    declared, option = container.declared, container.option
    config = tree.image.config.config or ExecutionConfig()
    entrypoint, cmd = _command(container, config)
    user = declared.user or config.user or ""
    taken = {*container.mount_targets, "/"}
    # podman takes a relative path of an image from the root
    image_volumes = [notation.clean_path(option("image"), f"/{path}") for path in sorted(config.volumes or {})]
    return ResolvedContainer(
        parsed=container,
        tree=tree,
        entrypoint=entrypoint,
        cmd=cmd,
        environment=_image_environment(option("image"), config) | declared.environment,
        user=_user(container, user, tree),
        user_notation=user,
        workdir=container.workdir or notation.clean_path(option("image"), f"/{config.working_dir or ''}"),
        image_volumes=tuple(path for path in dict.fromkeys(image_volumes) if path not in taken),
        labels=_image_labels(config) | declared.labels,
        stop_signal=container.stop_signal or _image_stop_signal(option("image"), config),
        health=resolve_health(option, container.health, config.healthcheck),
    )


def _command(container: ParsedContainer, config: ExecutionConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    declared, option = container.declared, container.option
    replaced = declared.entrypoint is not None
    entrypoint = _words(option, "entrypoint", declared.entrypoint, config.entrypoint)
    if [word for _, word in entrypoint] == [""]:  # so Dockerfiles take that of their base image away
        entrypoint = []
    cmd = _words(option, "cmd", declared.cmd if replaced or declared.cmd else None, config.cmd)
    if not entrypoint + cmd:
        raise ContainerError(f"{option('cmd')}: neither the image nor the container has a command; set it")
    place, program = (entrypoint + cmd)[0]
    if not program:
        raise ContainerError(f"{place}: the program to run is empty; name one in entrypoint or cmd")
    return tuple(text(*word) for word in entrypoint), tuple(text(*word) for word in cmd)


def _words(
    option: Callable[[str], str], field: str, own: list[str] | None, image: list[str] | None
) -> list[tuple[str, str]]:
    """Return the container's words or else the image's, each with the option that its errors start with."""
    if own is None:
        return [(option("image"), word) for word in image or []]
    return [(option(f"{field}[{index}]"), word) for index, word in enumerate(own)]


def _user(container: ParsedContainer, user: str, tree: ImageTree) -> User:
    if container.declared.user:
        return resolve_user(container.option("user"), user, tree)
    with replaceable("user"):
        return resolve_user(container.option("image"), user, tree)


def _image_stop_signal(option: str, config: ExecutionConfig) -> str | None:
    if not config.stop_signal:
        return None
    with replaceable("stopSignal"):
        return notation.signal_name(option, config.stop_signal)


def _image_environment(option: str, config: ExecutionConfig) -> dict[str, str]:
    entries = (entry.partition("=") for entry in config.env or [])
    return {name: text(option, value) for name, equals, value in entries if name and equals}


def _image_labels(config: ExecutionConfig) -> dict[str, str]:
    """Return the labels that podman's `--label` and a bundle's annotations can express (runtime-spec config.md)."""
    return {name: value for name, value in (config.labels or {}).items() if name and "=" not in name}
