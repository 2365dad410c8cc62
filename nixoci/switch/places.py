"""The paths of a switch: the system's, or those of a user."""

import os
from dataclasses import dataclass
from pathlib import Path

from nixoci.container.places import STATE
from nixoci.errors import StoreError
from nixoci.image_store.mount_options import DropIns
from nixoci.user import user_config, user_state


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The paths that a switch reads and writes.

    Attributes:
        units: The directory of links to units.
        drop_in: The link to the drop-in of storage.conf.
        record: The file of the record.
        profile: The Nix profile whose generations are the outputs.
        user: The units are those of a user's own systemd.
        drop_ins: The drop-ins of root's storage.conf; None for a user, whose podman needs no mount options.
    """

    units: Path
    drop_in: Path
    record: Path
    profile: Path
    user: bool
    drop_ins: DropIns | None = None

    def has(self, path: Path) -> bool:
        """Return whether a switch may make a link here."""
        return path == self.drop_in or (path.is_relative_to(self.units) and ".." not in path.parts)

    @classmethod
    def default(cls, *, user: bool) -> "Places":
        """Return the paths of the system, or of the user who runs this process.

        Raises:
            StoreError: They belong to somebody else.
        """
        root = os.geteuid() == 0
        if root and user:
            raise StoreError("--user: root's containers are the system's; run this without --user, or as another user")
        if not root and not user:
            raise StoreError("/etc/systemd/system: is root's; run this as root, or with --user for your own units")
        if root:
            return cls(
                units=Path("/etc/systemd/system"),
                drop_in=DropIns().store,
                # no container has a name that starts with a dot
                record=Path(STATE) / ".switch.json",
                profile=Path("/nix/var/nix/profiles/nixoci"),
                user=False,
                drop_ins=DropIns(),
            )
        return cls(
            units=user_config() / "systemd/user",
            drop_in=user_config() / "containers/storage.conf.d" / DropIns().store.name,
            record=user_state() / "nixoci/switch.json",
            profile=user_state() / "nix/profiles/nixoci",
            user=True,
        )
