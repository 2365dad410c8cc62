from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

from nixoci.user import user_account

if TYPE_CHECKING:
    import pytest


def test_the_account_is_that_of_the_process_whatever_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        monkeypatch.setenv(name, "/somebody/else")
    own = pwd.getpwuid(os.geteuid())
    assert user_account() == (own.pw_name, Path(own.pw_dir))


def test_a_user_whom_the_system_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 4_000_000_001)
    monkeypatch.setenv("HOME", "/srv/home")
    assert user_account() == ("4000000001", Path("/srv/home"))
    monkeypatch.delenv("HOME")
    assert user_account() == ("4000000001", Path("/"))
