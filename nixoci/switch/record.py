"""The record of switches: the links that they made, and the units that run from the present output.

It is written before anything changes and after everything has, so that the next run completes one that was cut short.
"""

from dataclasses import dataclass, field
from pathlib import Path

from nixoci.document import check_version, dump, load, structure
from nixoci.errors import DocumentError, UnsupportedVersionError
from nixoci.output import write_if_changed

VERSION = 1

_WITHOUT = "then the links of the profile's present generation count as those of a switch, and others are named"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything that switches have made.

    Attributes:
        version: The version of this format.
        out: The output, None before the first switch has been completed.
        links: The possible targets of each symlink: two while a switch is under way.
        units: Digests of the units of the last completed switch, by name. While a switch is under way, those that it
            changes have none, the empty text: they may run from either output, or start by themselves after a reboot.
        start: Units that are still to be started.
    """

    version: int = VERSION
    out: str | None = None
    links: dict[str, list[str]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    start: list[str] = field(default_factory=list)


def read_record(file: Path) -> Record:
    """Read the record; an empty one if nothing was switched yet.

    Raises:
        DocumentError: It is damaged, or of another version (UnsupportedVersionError).
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return Record()
    try:
        value = load(data, what=str(file))
        check_version(value, VERSION, what=str(file), way_out="use the nixoci that wrote it")
        return structure(Record, value, what=str(file), strict=True)
    except UnsupportedVersionError:
        raise
    except DocumentError as error:
        raise DocumentError(f"{error}; remove this file, and run this again: {_WITHOUT}") from error


def write_record(file: Path, record: Record) -> None:
    """Write the record, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_if_changed(file, dump(record))
