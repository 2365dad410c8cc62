"""Running systemctl."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import ProcessError
from nixoci.systemd import unit_states
from nixoci.user import user_account
from tests.units.samples import executable

if TYPE_CHECKING:
    from pathlib import Path

UNSET = "$DBUS_SESSION_BUS_ADDRESS and $XDG_RUNTIME_DIR not defined"
ADVICE = " (consider using --machine=<user>@.host --user to connect to bus of other user)"


def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    """Put a systemctl on the PATH that fails with a line on stderr."""
    executable(tmp_path / "systemctl", f"#!/bin/sh\necho '{says}' >&2\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (f"Failed to connect to user scope bus via local transport: {UNSET}{ADVICE}", UNSET),
        ("Failed to connect to user scope bus via local transport: No such file or directory", "No such file"),
        (f"Failed to connect to bus: {UNSET}{ADVICE}", UNSET),
    ],
)
def test_a_user_without_a_session_learns_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, reason: str
) -> None:
    systemctl(tmp_path, monkeypatch, says)
    name, _ = user_account()
    with pytest.raises(ProcessError) as caught:
        unit_states(["web.service"], user=True)
    message = str(caught.value)
    assert message.startswith(f"user {name}: no systemd of this user answers here ({reason}")
    assert f"run `loginctl enable-linger {name}` as root" in message
    assert message.endswith(f"XDG_RUNTIME_DIR=/run/user/{os.geteuid()}")
    assert "--machine" not in message


def test_other_failures_are_those_of_systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl(tmp_path, monkeypatch, "Failed to connect to system scope bus: No such file or directory")
    with pytest.raises(ProcessError, match=r"^systemctl show .*: exit code 1: Failed to connect to system scope bus"):
        unit_states(["web.service"], user=False)
    systemctl(tmp_path, monkeypatch, "Invalid unit name")
    with pytest.raises(ProcessError, match=r"^systemctl --user show .*: exit code 1: Invalid unit name$"):
        unit_states(["web.service"], user=True)
