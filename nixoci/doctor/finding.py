"""The result of a check."""

from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """The severity of a finding: with a warning images run, but less than everything works or stays."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line about one thing: what was found and, unless it is ok, what to do."""

    check: str
    status: Status
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(check=check, status=Status.OK, found=found)


def warning(check: str, found: str, advice: str) -> Finding:
    """Return a finding that limits the machine or will matter later."""
    return Finding(check=check, status=Status.WARNING, found=found, advice=advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """Return a finding that stops images or containers."""
    return Finding(check=check, status=Status.PROBLEM, found=found, advice=advice)
