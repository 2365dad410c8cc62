"""The facts about a machine that checks judge."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nixoci.image_store.storage_conf_files import ConfigFile

FIRST_ID = 100_000
"""The first subordinate id that systems give out (SUB_UID_MIN, login.defs(5))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStoreFacts:
    """An image store that podman's configuration names.

    Attributes:
        path: The path in the configuration.
        file: The file that names it.
        error: The reason that it is no image store.
        erofs: It has EROFS files, which only root can mount.
        images: Image ids by name.
        nameless: The number of images without a name.
        missing_trees: Image paths that its images run from and that do not exist.
        store_path: The Nix store path that it is in; None outside of the Nix store.
        roots: The garbage collector roots that keep the store path.
    """

    path: Path
    file: Path
    error: str = ""
    erofs: bool = False
    images: Mapping[str, str] = field(default_factory=dict)
    nameless: int = 0
    missing_trees: tuple[Path, ...] = ()
    store_path: Path | None = None
    roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A machine as one user sees it.

    Attributes:
        uid: The user's id; 0 examines root's podman, another the user's rootless podman.
        user: The user's name.
        kernel: The kernel's release, as `uname -r` prints it.
        programs: The output of `--version` by program; a program that is not on PATH is missing.
        config: Files of podman's storage configuration, in the order in which they count.
        image_stores: Image stores that the configuration names.
        podman_error: The message of a failed `podman info`.
        driver: podman's storage driver; empty if it is not known.
        native_diff: It commits the upper directory of a container as it is, and does not compare trees.
        own_images: Image ids by name in podman's own storage.
        nix_error: The reason that Nix cannot use its store.
        subordinate_ids: The number of ids for the user in /etc/subuid and /etc/subgid.
        free_ids: The first id in these files after which nobody has any.
        containers: The number of podman's containers that run from the Nix store.
        unrooted: Those of them without a garbage collector root, by name.
        roots_error: The reason that nothing is known about roots of containers.
        optimised: Nix makes equal files of the store one file, or it is not known.
    """

    uid: int
    user: str
    kernel: str
    programs: Mapping[str, str]
    config: tuple[ConfigFile, ...] = ()
    image_stores: tuple[ImageStoreFacts, ...] = ()
    podman_error: str = ""
    driver: str = ""
    native_diff: bool = False
    own_images: Mapping[str, str] = field(default_factory=dict)
    nix_error: str = ""
    subordinate_ids: tuple[int, int] = (0, 0)
    free_ids: tuple[int, int] = (FIRST_ID, FIRST_ID)
    containers: int = 0
    unrooted: tuple[str, ...] = ()
    roots_error: str = ""
    optimised: bool = True

    @property
    def rootless(self) -> bool:
        """The examined podman is not root's."""
        return self.uid != 0

    def version(self, program: str) -> tuple[int, ...] | None:
        """Return the version of a program; None if it is not there or does not say."""
        return version_of(self.programs.get(program, ""))


def version_of(text: str) -> tuple[int, ...] | None:
    """Return the first version number in a text.

    >>> version_of("podman version 5.8.6")
    (5, 8, 6)
    >>> version_of("6.12.41+deb13-amd64")
    (6, 12, 41)
    """
    for word in text.split():
        numbers = []
        for part in word.split("."):
            digits = part[: len(part) - len(part.lstrip("0123456789"))]
            if not digits:
                break
            numbers.append(int(digits))
            if digits != part:
                break
        if len(numbers) > 1:
            return tuple(numbers)
    return None
