"""The output of `build_units`: its directories, and the settings that all units in it share."""

from dataclasses import dataclass
from pathlib import Path

from nixoci.bundle.seccomp import Profile
from nixoci.image_store.contents import ImageStore
from nixoci.units.escape import UnitFile
from nixoci.units.tools import Tools


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitsOutput:
    """The directory that units are written to, `out`, which they name by its absolute path on the target.

    `profile` is the seccomp profile of bundles, None for no confinement. `user` means units of a user's own systemd.
    """

    out: Path
    tools: Tools
    profile: Profile | None = None
    image_store: ImageStore | None = None
    user: bool = False

    @property
    def units(self) -> Path:
        """The directory of services."""
        return self.out / "lib/systemd" / ("user" if self.user else "system")

    @property
    def quadlets(self) -> Path:
        """The directory of Quadlet files."""
        return self.out / "share/containers/systemd"

    @property
    def bundles(self) -> Path:
        """The directory of bundles."""
        return self.out / "share/nixoci/bundles"

    @property
    def tmpfiles(self) -> Path:
        """The directory of tmpfiles.d(5) files that units apply; the boot does not read it."""
        return self.out / "share/nixoci/tmpfiles"

    @property
    def images(self) -> Path:
        """The directory with a link for each container that runs a mounted image: to its layer in an image store."""
        return self.out / "share/nixoci/images"

    def own_store(self, container: str) -> Path:
        """Return the image store of a container whose image is in no other."""
        return self.out / "share/nixoci/image-stores" / container

    def bundle(self, container: str) -> Path:
        """Return the directory of a bundle."""
        return self.bundles / container

    def service(self, container: str) -> Path:
        """Return the directory of the files that a service of the systemd backend reads."""
        return self.out / "share/nixoci/services" / container

    def start_tmpfiles(self, container: str) -> Path:
        """Return the file that applies before a bundle's root is mounted."""
        return self.tmpfiles / f"{container}.conf"

    def volume_tmpfiles(self, container: str) -> Path:
        """Return the file of a bundle's named volumes."""
        # in a directory of its own: a container may be called NAME-volumes
        return self.tmpfiles / "volumes" / f"{container}.conf"


def make_directories(output: UnitsOutput) -> None:
    """Make the directories of an output."""
    for folder in (output.units, output.quadlets, output.tmpfiles / "volumes", output.bundles, output.images):
        folder.mkdir(parents=True)


def lines_text(lines: list[str]) -> str:
    """Return the text of lines."""
    return "".join(f"{line}\n" for line in lines)


def write_text(file: Path, text: str) -> None:
    """Write a file, unless it would be empty."""
    if text:
        file.write_text(text, encoding="utf-8")


def write_unit(folder: Path, unit: UnitFile) -> None:
    """Write a unit or Quadlet file to a directory."""
    (folder / unit.name).write_text(unit.render(), encoding="utf-8")
