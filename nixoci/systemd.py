"""Running systemctl: one function per command. `user` means the user's own systemd."""

import os
import re
from collections.abc import Iterable

from nixoci.errors import ProcessError
from nixoci.process import run
from nixoci.user import user_account

_STOPS_WITH = ("RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo")
"""Properties of a unit with the units that stop when it does (systemd.unit(5), the table of inverse properties)."""

_REFUSED = "Failed to enqueue jobs"
_NO_BUS = "Failed to connect to "
_LOADED, _FILE = "LoadState", "FragmentPath"
_COMMAND = re.compile(r" ; argv\[\]=(.*?) ; ignore_errors=")
_PROPERTY = re.compile(r"^([A-Za-z]+)=(.*)$", re.MULTILINE)


def unit_states(units: Iterable[str], *, user: bool) -> dict[str, str]:
    """Return the state of each unit (`ActiveState`): `active`, `failed`, or `inactive` for one that is not there.

    Raises:
        ProcessError: systemd does not answer.
    """
    names = list(units)
    if not names:
        return {}
    states = _systemctl("show", "--property=ActiveState", "--value", "--", *names, user=user).decode().split()
    if len(states) != len(names):
        raise ProcessError(f"systemctl show: {len(states)} states of {len(names)} units; is one of them an alias?")
    return dict(zip(names, states, strict=True))


def unit_files(units: Iterable[str], *, user: bool) -> dict[str, str]:
    """Return the file of each unit that has one (`FragmentPath`).

    Raises:
        ProcessError: systemd does not answer.
    """
    names = list(units)
    if not names:
        return {}
    shown = _systemctl("show", f"--property={_LOADED},{_FILE}", "--", *names, user=user)
    # a unit without a file has the first property alone, or the second one empty
    files = [dict(_PROPERTY.findall(each)).get(_FILE, "") for each in shown.decode().split(f"{_LOADED}=")[1:]]
    if len(files) != len(names):
        raise ProcessError(f"systemctl show: {len(files)} answers about {len(names)} units; is one of them an alias?")
    return {name: file for name, file in zip(names, files, strict=True) if file}


def unit_commands(unit: str) -> list[list[str]]:
    """Return the commands that start a service (`ExecStart`), each as its words; none if it is not there.

    systemd joins words by spaces here, so that a word with spaces becomes several.

    Raises:
        ProcessError: systemd does not answer.
    """
    shown = _systemctl("show", "--property=ExecStart", "--", unit, user=False).decode()
    return [words.split() for words in _COMMAND.findall(shown)]


def units_that_stop_with(units: Iterable[str], *, user: bool) -> set[str]:
    """Return the other units that systemd stops when it stops these, because they require one of them.

    Raises:
        ProcessError: systemd does not answer.
    """
    given = set(units)
    known, new = set(given), set(given)
    while new:
        properties = f"--property={','.join(_STOPS_WITH)}"
        shown = _systemctl("show", properties, "--", *sorted(new), user=user).decode()
        new = {name for _, value in _PROPERTY.findall(shown) for name in value.split()} - known
        known |= new
    return known - given


def stop_units(units: Iterable[str], *, user: bool) -> None:
    """Stop units, and those that require them."""
    if names := list(units):
        _systemctl("stop", "--", *names, user=user)


def start_units(units: Iterable[str], *, user: bool) -> list[str]:
    """Start units and wait until they are ready; return those that failed, by themselves or by a dependency.

    Raises:
        ProcessError: systemd does not answer.
    """
    names = list(units)
    if not names:
        return []
    try:
        _systemctl("start", "--", *names, user=user)
    except ProcessError as error:
        # systemctl has a sentence for each way to fail, and one without a name for what is no service
        named = {word.strip(".:") for word in error.stderr.split()}
        failed = [name for name, state in unit_states(names, user=user).items() if name in named or state == "failed"]
        if len(names) == 1 or (failed and _REFUSED not in error.stderr):
            return sorted(failed or names)
        # none was started, because of one that requires a unit which is not there, or whose file is not valid
        half = len(names) // 2
        return sorted(start_units(names[:half], user=user) + start_units(names[half:], user=user))
    return []


def reload_units(*, user: bool) -> None:
    """Make systemd read its unit files again."""
    _systemctl("daemon-reload", user=user)


def forget_failures(units: Iterable[str], *, user: bool) -> None:
    """Reset failed units, which systemd otherwise lists although their files are gone."""
    for name, state in unit_states(units, user=user).items():
        if state == "failed":
            _systemctl("reset-failed", "--", name, user=user)


def _systemctl(command: str, *arguments: str, user: bool) -> bytes:
    """Run a command of systemctl and return what it prints.

    Raises:
        ProcessError: It fails; for a user without a session, the message says how to get one.
    """
    try:
        return run(["systemctl", *(["--user"] if user else []), command, *arguments], package="systemd")
    except ProcessError as error:
        if not user or _NO_BUS not in error.stderr:
            raise
        name, _ = user_account()
        raise ProcessError(
            f"user {name}: no systemd of this user answers here ({_reason(error.stderr)}); log in as {name} and not"
            f" by su or sudo, or run `loginctl enable-linger {name}` as root and set"
            f" XDG_RUNTIME_DIR=/run/user/{os.geteuid()}",
            stderr=error.stderr,
        ) from error


def _reason(stderr: str) -> str:
    """Return the reason in systemctl's line about a bus that it does not reach, without the advice that follows."""
    line = next(line for line in stderr.splitlines() if _NO_BUS in line)
    return line.partition(": ")[2].partition(" (consider")[0]
