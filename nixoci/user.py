"""The directories of the user who runs this process (XDG Base Directory Specification)."""

import os
from pathlib import Path


def user_state() -> Path:
    """Return the directory of state: $XDG_STATE_HOME, or ~/.local/state."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")


def user_config() -> Path:
    """Return the directory of configuration: $XDG_CONFIG_HOME, or ~/.config."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
