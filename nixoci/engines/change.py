"""The fates of images and names when the images of an image store are registered with an engine."""

from enum import Enum


class Change(Enum):
    """The fate of an image or a name; the documentation says which of them an engine has."""

    ADDED = "added"
    CHANGED = "changed"
    KEPT = "kept"
    MOVED = "moved"
    """A name that meant another image."""
    REPAIRED = "repaired"
    """Registered before, and incomplete: the engine has dropped it, or a run was cut short."""
    FOREIGN = "foreign"
    """The engine has the image itself, with its files; it only gets names."""
    USED = "used"
    """An image that is no longer declared, and stays for what still uses it."""
    REMOVED = "removed"
