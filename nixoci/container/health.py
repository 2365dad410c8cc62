"""Health checks: a container's changes to the one of its image (image-spec config.md, `Healthcheck`)."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from nixoci.container.characters import replaceable, text
from nixoci.container.model import HealthAction, HealthcheckOptions
from nixoci.container.notation import MOST, duration
from nixoci.document import json_key
from nixoci.errors import ContainerError
from nixoci.oci.model import Healthcheck

_SECOND = 10**9
_MILLISECOND = 10**6
_INTERVAL = _TIMEOUT = 30 * _SECOND
_RETRIES = 3


@dataclass(frozen=True, slots=True)
class HealthTest:
    """The command of a health check; `shell` means that it is one line for /bin/sh."""

    command: tuple[str, ...]
    shell: bool

    @property
    def argv(self) -> tuple[str, ...]:
        """The command as it is executed."""
        return ("/bin/sh", "-c", *self.command) if self.shell else self.command


@dataclass(frozen=True, slots=True)
class HealthChanges:
    """A container's own health options, read; None means the image's. Times are in nanoseconds.

    `disabled` is `["NONE"]`. `names` are the options that are set, as the document calls them.
    """

    names: tuple[str, ...]
    disabled: bool = False
    test: HealthTest | None = None
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    retries: int | None = None
    action: HealthAction = HealthAction.NONE


@dataclass(frozen=True, slots=True)
class Health:
    """A health check with everything decided; times in nanoseconds. `action` is done once a container is unhealthy."""

    test: HealthTest
    interval: int
    timeout: int
    start_period: int
    retries: int
    action: HealthAction = HealthAction.NONE


def parse_health(option: Callable[[str], str], declared: HealthcheckOptions) -> HealthChanges:
    """Read a container's health options; `option` returns the path of one of them.

    Raises:
        ContainerError: One cannot be read; the message starts with the option.
    """
    names = tuple(json_key(field) for field in fields(declared) if getattr(declared, field.name))
    test = _parse_test(option("test"), declared.test) if declared.test else None
    if declared.test and test is None:
        return HealthChanges(names, disabled=True)

    def time(name: str, value: str | None, least: int) -> int | None:
        if value is None:
            return None
        if (read := duration(option(name), value)) < least:
            raise ContainerError(f"{option(name)}: {value!r} is too short; give 1ms or more")
        return read

    if declared.retries is not None and not 1 <= declared.retries <= MOST:
        raise ContainerError(f"{option('retries')}: {declared.retries}; give 1 to {MOST}")
    if declared.on_failure is HealthAction.RESTART:
        raise ContainerError(
            f"{option('onFailure')}: podman and systemd would both start the container again; use kill or stop, after"
            " which restart decides"
        )
    return HealthChanges(
        names,
        test=test,
        interval=time("interval", declared.interval, _MILLISECOND),
        timeout=time("timeout", declared.timeout, _MILLISECOND),
        start_period=time("startPeriod", declared.start_period, 0),
        retries=declared.retries,
        action=declared.on_failure or HealthAction.NONE,
    )


def resolve_health(option: Callable[[str], str], changes: HealthChanges, image: Healthcheck | None) -> Health | None:
    """Apply a container's changes to the health check of its image; None without a check.

    Args:
        option: Returns the path of an option of the container.
        changes: The container's changes.
        image: The image's health check, if it has one.

    Raises:
        ContainerError: There is nothing to change, or the image's check is of no known form.
    """
    image = image or Healthcheck()
    test = changes.test
    if test is None and not changes.disabled and image.test:
        with replaceable("healthcheck.test"):
            test = _parse_test(option("image"), image.test)
    if test is None:
        if changes.names and not changes.disabled:
            raise ContainerError(
                f"{option(f'healthcheck.{changes.names[0]}')}: neither the image nor the container has a health check;"
                " set healthcheck.test"
            )
        return None
    retries = image.retries or _RETRIES if changes.retries is None else changes.retries
    if retries < 1:
        raise ContainerError(
            f"{option('image')}: its health check has {retries} retries; set healthcheck.retries to 1 or more"
        )

    def time(name: str, own: int | None, inherited: int | None, default: int, least: int) -> int:
        if own is not None:
            return own
        if inherited and inherited < least:
            raise ContainerError(
                f"{option('image')}: the {name} of its health check, {inherited} ns, is too short; set"
                f" healthcheck.{name}"
            )
        return inherited or default

    return Health(
        test,
        interval=time("interval", changes.interval, image.interval, _INTERVAL, _MILLISECOND),
        timeout=time("timeout", changes.timeout, image.timeout, _TIMEOUT, _MILLISECOND),
        start_period=time("startPeriod", changes.start_period, image.start_period, 0, 0),
        retries=retries,
        action=changes.action,
    )


def _parse_test(option: str, test: list[str]) -> HealthTest | None:
    kind, *command = test
    if kind == "NONE":
        return None
    if kind not in {"CMD", "CMD-SHELL"} or not command or (kind == "CMD-SHELL" and len(command) != 1):
        raise ContainerError(
            f'{option}: the health check {test} is not of a known form; expected ["CMD", ...], ["CMD-SHELL", command]'
            ' or ["NONE"]'
        )
    return HealthTest(tuple(text(option, word) for word in command), kind == "CMD-SHELL")
