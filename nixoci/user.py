"""The name and the directories of the user who runs this process (XDG Base Directory Specification)."""

import getpass
import os
from pathlib import Path

from nixoci.errors import StoreError


def user_name() -> str:
    """Return the user's name; the id of one who has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        return str(os.getuid())


def user_state() -> Path:
    """Return the directory of state: $XDG_STATE_HOME, or ~/.local/state.

    Raises:
        StoreError: The user has no home directory.
    """
    return _directory("XDG_STATE_HOME", ".local/state")


def user_config() -> Path:
    """Return the directory of configuration: $XDG_CONFIG_HOME, or ~/.config.

    Raises:
        StoreError: The user has no home directory.
    """
    return _directory("XDG_CONFIG_HOME", ".config")


def _directory(variable: str, below_home: str) -> Path:
    """Return the directory that a variable names; the specification ignores one that is relative."""
    named = Path(os.environ.get(variable, ""))
    if named.is_absolute():
        return named
    try:
        return Path.home() / below_home
    except RuntimeError as error:
        raise StoreError(f"user {os.getuid()}: has no home directory; set HOME or {variable}") from error
