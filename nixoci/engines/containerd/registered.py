"""The list of what nixoci registered: only that is ever removed."""

from dataclasses import dataclass, field
from pathlib import Path

from nixoci.document import check_version, dump, load, structure
from nixoci.output import write_if_changed

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """Images of one namespace: manifests' digests by name, and chain ids of snapshots that a run had begun to adopt."""

    images: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredImages:
    """The file: namespaces by the directory of snapshots, which tells one containerd of the machine from another."""

    version: int
    engines: dict[str, dict[str, Registered]] = field(default_factory=dict)

    def of(self, directory: Path, namespace: str) -> Registered:
        """Return the images of a namespace."""
        return self.engines.get(str(directory), {}).get(namespace, Registered())


def read_registered(file: Path) -> RegisteredImages:
    """Read the list; it is empty if there is none.

    Raises:
        DocumentError: It is damaged, or of another version (UnsupportedVersionError).
    """
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return RegisteredImages(version=_VERSION)
    value = load(text, what=str(file))
    check_version(value, _VERSION, what=str(file), way_out="use the nixoci that wrote it")
    return structure(RegisteredImages, value, what=str(file), strict=True)


def write_registered(file: Path, directory: Path, namespace: str, registered: Registered) -> None:
    """Write the images of a namespace into the list; a reader sees the old list or the new one.

    Raises:
        DocumentError: The list is damaged.
        OSError: It cannot be written.
    """
    engines = dict(read_registered(file).engines)
    namespaces = {**engines.get(str(directory), {}), namespace: registered}
    engines[str(directory)] = {name: own for name, own in sorted(namespaces.items()) if own != Registered()}
    # one without images may still have links, of containers that run
    kept = {place: own for place, own in sorted(engines.items()) if own or Path(place).is_dir()}
    write_if_changed(file, dump(RegisteredImages(version=_VERSION, engines=kept)))


def known_directories(file: Path) -> list[Path]:
    """Return the directories of snapshots of all containerds that images were registered in.

    Raises:
        DocumentError: The list is damaged.
    """
    return [Path(directory) for directory in read_registered(file).engines]
