"""The mount options by which root's podman keeps the content of files when it commits and builds.

podman mounts what is upon an image path with metacopy and redirect_dir, whatever is configured. Files whose owner or
mode changes are then metadata without content in the upper directory, and renamed directories are empty there. commit
and build take layers from that directory as it is, unless podman knows by its configuration that it must compare trees.

redirect_dir=on is enough for that, and missed least when it goes: what containers wrote with it is readable without it,
and what they wrote with metacopy=on is not. A later file of the configuration replaces `mountopt` and cannot add to it.
So nixoci has a drop-in of its own for it, made of what the other files say at the time. It is there as long as another
drop-in of nixoci's names an image store with EROFS files.
"""

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nixoci.errors import StoreError
from nixoci.image_store.names import EROFS, OVERLAY
from nixoci.image_store.storage_conf import MOUNT_OPTIONS, render_mount_options
from nixoci.image_store.storage_conf_files import ConfigFile, overlay_option, read_config, read_drop_in
from nixoci.output import exclusive_directory, write_if_changed

_NOTE = (
    "Written by `nixoci switch` and `nixoci gc-roots`, which also remove it: the options of other files, and one by\n"
    "# which `podman commit` and `podman build` keep the content of files of image stores."
)
_COMPARING = {MOUNT_OPTIONS, "metacopy=on"}
_READ_ONLY = "on NixOS, the module virtualisation.nixoci makes podman's configuration"


@dataclass(frozen=True, slots=True)
class DropIns:
    """The drop-ins of root's storage.conf that nixoci makes on a machine, whose `etc` and `usr` are in `root`."""

    root: Path = Path("/")

    @property
    def store(self) -> Path:
        """The image store of the present output, a link by `nixoci switch`."""
        return self._folder / "50-nixoci.conf"

    @property
    def kept_images(self) -> Path:
        """The image store that `nixoci gc-roots` keeps for old containers."""
        return self._folder / "50-nixoci-kept-images.conf"

    @property
    def mount_options(self) -> Path:
        """The mount options of podman."""
        return self._folder / "50-nixoci-mount-options.conf"

    @property
    def _folder(self) -> Path:
        return self.root / "etc/containers/storage.rootful.conf.d"

    def read(self) -> list[ConfigFile]:
        """Read the configuration of root's podman."""
        return read_config(uid=0, home=self.root / "root", env={}, root=self.root)


def compares_trees(files: Sequence[ConfigFile]) -> bool:
    """Return whether these files make podman compare trees to find the changes of a container."""
    options = _options(files)
    return (
        bool(_COMPARING & set(options) or overlay_option(files, "mount_program"))
        or overlay_option(files, "use_composefs") == "true"
    )


def comparing_options(files: Sequence[ConfigFile]) -> str:
    """Return the mount options of a configuration with the one by which podman compares trees."""
    return ",".join([*(each for each in _options(files) if not each.startswith("redirect_dir=")), MOUNT_OPTIONS])


def wanted_mount_options(drop_ins: DropIns, files: Sequence[ConfigFile]) -> str | None:
    """Return the mount options that the drop-in for them should have.

    None if it should not be there: podman compares trees by itself, a file that comes later sets other options, or
    somebody has decided about redirect_dir otherwise.

    Args:
        drop_ins: The drop-ins.
        files: podman's configuration, in the order in which its files count.
    """
    own = drop_ins.mount_options
    others = [file for file in files if file.path != own]
    later = (file for file in others if file.drop_in and file.path.name > own.name)
    if compares_trees(others) or any("overlay.mountopt" in file.options for file in later):
        return None
    if any(each == "userxattr" or each.startswith("redirect_dir=") for each in _options(others)):
        return None
    return comparing_options(others)


def planned_mount_options(drop_ins: DropIns, stores: Iterable[Path]) -> str | None:
    """Return the mount options that the drop-in for them has once other drop-ins name these image stores alone."""
    files = [file for file in drop_ins.read() if file.path != drop_ins.mount_options]
    if any(file.error for file in files):  # no podman starts, and nobody knows its options
        return present_mount_options(drop_ins)
    return wanted_mount_options(drop_ins, files) if any(map(_has_erofs, stores)) else None


def present_mount_options(drop_ins: DropIns) -> str | None:
    """Return the mount options that the drop-in for them has; None if it is not there."""
    return read_drop_in(drop_ins.mount_options).options.get("overlay.mountopt")


def update_mount_options(drop_ins: DropIns, *, coming: Iterable[Path] = ()) -> None:
    """Write the drop-in for mount options if an image store needs them, or remove it.

    Args:
        drop_ins: The drop-ins.
        coming: Image stores that other drop-ins will name soon, besides those that they name now.

    Raises:
        StoreError: It cannot be written or removed.
    """
    own = drop_ins.mount_options
    coming = list(coming)
    if not own.exists() and planned_mount_options(drop_ins, [*coming, *_named(drop_ins)]) is None:
        return
    try:
        with exclusive_directory(own.parent, what=own):
            wanted = planned_mount_options(drop_ins, [*coming, *_named(drop_ins)])
            if wanted is None:
                own.unlink(missing_ok=True)
            else:
                write_if_changed(own, render_mount_options(wanted, note=_NOTE))
    except OSError as error:
        way = _READ_ONLY if error.errno == errno.EROFS else "mend that and run this again"
        raise StoreError(f"{own}: cannot be changed: {error.strerror}; {way}") from error


def drop_in_stores(file: Path) -> tuple[Path, ...]:
    """Return the image stores that a drop-in names; none if it is not there or cannot be read."""
    return read_drop_in(file).image_stores or ()


def _named(drop_ins: DropIns) -> list[Path]:
    return [store for file in (drop_ins.store, drop_ins.kept_images) for store in drop_in_stores(file)]


def _has_erofs(store: Path) -> bool:
    return any((layer / EROFS).exists() for layer in (store / OVERLAY).glob("*"))


def _options(files: Sequence[ConfigFile]) -> list[str]:
    return [text for each in overlay_option(files, "mountopt").split(",") if (text := each.strip())]
