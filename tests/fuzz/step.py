"""A step of an attack: something that reads an input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nixoci.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that reads an input.

    Attributes:
        run: Do it; ends with SystemExit, as the command does, or with nixoci's own error.
        makes: Names in the folder that it may make, and must not leave behind if it fails; those that were there may
            change.
        sure: It must work if the step before it has.
    """

    run: Callable[[], None]
    makes: Sequence[str] = ()
    sure: bool = False


def command(*arguments: str, makes: Sequence[str] = (), sure: bool = False) -> Step:
    """Return the step of a command line."""
    return Step(run=lambda: main(arguments), makes=makes, sure=sure)
