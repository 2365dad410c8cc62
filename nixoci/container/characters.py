"""Check that the text of a value has only characters that its destination can take."""

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager

from nixoci.errors import ContainerError

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
"""The names of containers, volumes, networks, pods and secrets."""


def text(option: str, value: str) -> str:
    """Return a value that can be passed to a process: no NUL, no lone surrogates.

    Raises:
        ContainerError: It has one of these; the message starts with `option`.
    """
    if "\0" in value:
        raise ContainerError(f"{option}: a NUL character, which cannot be passed to a process; remove it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ContainerError(f"{option}: half a surrogate pair, which is not text; remove it") from error
    return value


def line(option: str, value: str) -> str:
    """Return a value that stays on one line of a unit file: printable, without spaces at its ends.

    Raises:
        ContainerError: It does not; the message starts with `option`.
    """
    if not value.isprintable():
        raise ContainerError(f"{option}: {value!r} has a control character, which cannot be written there; remove it")
    if value != value.strip() or value.endswith("\\"):
        raise ContainerError(f"{option}: {value!r} must not begin or end with a space, nor end with a backslash")
    return value


@contextmanager
def replaceable(option: str) -> Iterator[None]:
    """Let an error about a value of the image name the option of the container that replaces it."""
    try:
        yield
    except ContainerError as error:
        raise ContainerError(f"{error}; set {option}") from error


def is_address(value: str) -> bool:
    """Return whether Go's `net.ParseIP`, and so podman, reads an IP address there: it knows no zones (`%eth0`)."""
    try:
        return "%" not in value and bool(ipaddress.ip_address(value))
    except ValueError:
        return False
