"""The list of what nixoci has written to data roots; nothing else there is ever removed or changed.

It is written before the first of new images and after the last of removed ones, so that it never lacks one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nixoci.container.places import STATE
from nixoci.document import check_version, dump, load, structure
from nixoci.output import write_if_changed

LIST = Path(STATE) / "engines/docker.json"

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The images of a data root: the layer of each image by its id, and the image id of each name."""

    data_root: str
    images: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def gave(self, name: str, image: str) -> bool:
        """Return whether nixoci gave a name to an image.

        A run that was cut short may have left it at another image of nixoci's than the list says.
        """
        return name in self.names and (self.names[name] == image or image in self.images)


@dataclass(frozen=True, slots=True, kw_only=True)
class _List:
    version: int
    data_roots: list[Registered]


def read_registered(file: Path) -> list[Registered]:
    """Return the images of each data root.

    Raises:
        DocumentError: The list is damaged, or of another version (UnsupportedVersionError).
    """
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return []
    value = load(text, what=str(file))
    check_version(value, _VERSION, what=str(file), way_out="use the nixoci that wrote it")
    return structure(_List, value, what=str(file), strict=True).data_roots


def registered_in(known: Iterable[Registered], data_root: Path) -> Registered:
    """Return the images of a data root."""
    for one in known:
        if one.data_root == str(data_root):
            return one
    return Registered(data_root=str(data_root))


def write_registered(file: Path, new: Registered) -> None:
    """Write the images of a data root to the list, unless it has the same ones.

    Raises:
        DocumentError: The list is damaged.
        OSError: It cannot be written; it is as it was.
    """
    roots = {one.data_root: one for one in read_registered(file)}
    roots[new.data_root] = Registered(
        data_root=new.data_root, images=dict(sorted(new.images.items())), names=dict(sorted(new.names.items()))
    )
    left = [one for _, one in sorted(roots.items()) if one.images or one.names]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_if_changed(file, dump(_List(version=_VERSION, data_roots=left)))
