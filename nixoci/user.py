"""The name and the directories of the user who runs this process (XDG Base Directory Specification)."""

import os
import pwd
from pathlib import Path

from nixoci.errors import StoreError


def user_account() -> tuple[str, Path]:
    """Return the user's name and home directory from the system's list, which may lack the user.

    Then they are the user's id, and $HOME or /. Variables do not decide the name: `su` and `sudo` may keep them.
    """
    uid = os.geteuid()
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return str(uid), Path(os.environ.get("HOME") or "/")
    return account.pw_name, Path(account.pw_dir)


def home_directory() -> Path | None:
    """Return the directory that ~ stands for: $HOME, or that of the system's list; None if there is neither."""
    try:
        return Path.home()
    except RuntimeError:
        return None


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
    home = home_directory()
    if home is None:
        raise StoreError(f"user {os.getuid()}: has no home directory; set HOME or {variable}")
    return home / below_home
