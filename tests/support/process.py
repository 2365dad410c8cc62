"""Processes of this machine."""

from pathlib import Path


def is_running(process: int) -> bool:
    """Return whether a process is there; one that has ended, and that nobody has waited for yet, is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
