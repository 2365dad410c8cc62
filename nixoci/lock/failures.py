"""Failures of single images, which keep no other image from its turn."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFailure:
    """An image that failed, and why; the message does not name it."""

    name: str
    platform: str
    message: str

    @classmethod
    def of(cls, name: str, platform: str, error: Exception) -> Self:
        """Return the failure of an image with one of these errors."""
        return cls(name=name, platform=platform, message=failure_reason(name, error))

    def __str__(self) -> str:
        return f"image {self.name}, {self.platform}: {self.message}"


def failed_names(failures: Iterable[ImageFailure]) -> str:
    """Return the names of the images that failed, each once."""
    return ", ".join(dict.fromkeys(each.name for each in failures))
