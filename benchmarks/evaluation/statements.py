"""Statements about what tools, images and machines do with images of the Nix store."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The behavior, beside that with an image that the engine stored itself."""

    SAME = "works"
    DIFFERENT = "differs"
    FAILS = "fails"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """A statement about what something does with images of the Nix store.

    Attributes:
        about: The tool, kind of image or machine.
        says: The statement.
        outcome: The behavior that the statement describes.
        test: The test of the suite that fails if the statement is not true.
    """

    about: str
    says: str
    outcome: Outcome
    test: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A statement that this part tries.

    Attributes:
        about: The tool.
        says: The statement.
        outcome: The behavior that the statement describes.
        command: Shell commands that succeed if the statement is true. IMAGE is the image's id, and FILES its path in
            the store.
        long: True if they take minutes; then only a whole evaluation tries them.
    """

    about: str
    says: str
    outcome: Outcome
    command: str
    long: bool = False
