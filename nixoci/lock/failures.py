"""Failures of single images, which keep no other image from its turn."""

from nixoci.errors import NixociError

UNREADABLE = (NixociError, OSError)
"""The errors of an image whose source cannot be read."""


def failure_reason(name: str, error: Exception) -> str:
    """Return the text of one of these errors about an image, without its name.

    >>> failure_reason("web", FileNotFoundError(2, "No such file or directory", "app.tar"))
    'app.tar: No such file or directory'
    """
    if not isinstance(error, OSError):
        return str(error).removeprefix(f"image {name}: ")
    return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error.strerror)
