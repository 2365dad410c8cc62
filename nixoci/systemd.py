"""Running systemctl: one function per command. `user` means the user's own systemd."""

import re
from collections.abc import Iterable

from nixoci.errors import ProcessError
from nixoci.process import run

_FAILED_JOB = re.compile(r"ob for (\S+) (?:failed|canceled)")


def unit_states(units: Iterable[str], *, user: bool) -> dict[str, str]:
    """Return the state of each unit (`ActiveState`): `active`, `failed`, or `inactive` for one that is not there.

    Raises:
        ProcessError: systemd does not answer.
    """
    names = list(units)
    if not names:
        return {}
    show = _systemctl("show", "--property=ActiveState", "--value", "--", *names, user=user)
    states = run(show, package="systemd").decode().split()
    if len(states) != len(names):
        raise ProcessError(f"systemctl show: {len(states)} states of {len(names)} units; is one of them an alias?")
    return dict(zip(names, states, strict=True))


def stop_units(units: Iterable[str], *, user: bool) -> None:
    """Stop units, and those that require them."""
    if names := list(units):
        run(_systemctl("stop", "--", *names, user=user), package="systemd")


def start_units(units: Iterable[str], *, user: bool) -> list[str]:
    """Start units and wait until they are ready; return those that failed, by themselves or by a dependency.

    Raises:
        ProcessError: systemctl failed and named no unit.
    """
    names = list(units)
    if not names:
        return []
    try:
        run(_systemctl("start", "--", *names, user=user), package="systemd")
    except ProcessError as error:
        failed = set(_FAILED_JOB.findall(error.stderr))
        if not failed:
            raise
        return sorted(failed)
    return []


def reload_units(*, user: bool) -> None:
    """Make systemd read its unit files again."""
    run(_systemctl("daemon-reload", user=user), package="systemd")


def forget_failures(units: Iterable[str], *, user: bool) -> None:
    """Reset failed units, which systemd otherwise lists although their files are gone."""
    for name, state in unit_states(units, user=user).items():
        if state == "failed":
            run(_systemctl("reset-failed", "--", name, user=user), package="systemd")


def _systemctl(command: str, *arguments: str, user: bool) -> list[str]:
    return ["systemctl", *(["--user"] if user else []), command, *arguments]
