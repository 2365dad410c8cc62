"""What is asked of an image's tree when a container is prepared: files by path, users and groups."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from nixoci.errors import ContainerError, StoreError
from nixoci.image_path import ImagePath
from nixoci.tree.dump import read_dump
from nixoci.tree.lookup import lookup
from nixoci.tree.model import Inode, Kind


@dataclass(frozen=True)
class ImageTree:
    """An image path with its tree read from the metadata dump, once."""

    image: ImagePath

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the image path at `path`.

        Raises:
            StoreError: Not an image path.
        """
        return cls(ImagePath.open(path))

    @cached_property
    def root(self) -> Inode:
        """The tree, with owners and modes as in the image."""
        try:
            with self.image.metadata.open("rb") as lines:
                return read_dump(lines)
        except OSError as error:
            raise StoreError(f"{self.image.metadata}: {error.strerror}; extract the image again") from error

    def find(self, path: str) -> Inode | None:
        """Return the file at an absolute path, symlinks followed inside the tree, or None."""
        found = lookup(self.root, path.encode())
        return None if found is None else found[1]

    def lines(self, path: str) -> list[str]:
        """Return the lines of a text file of the tree; none if it is not there."""
        found = lookup(self.root, path.encode())
        if found is None or found[1].kind is not Kind.REGULAR:
            return []
        file = self.image.rootfs / found[0].decode()
        return file.read_text(encoding="utf-8", errors="replace").splitlines()


@dataclass(frozen=True, slots=True)
class User:
    """The user a container's process runs as, all in numbers, and its home directory if it has one.

    `additional_gids` begins with `gid`, and is empty where no user is named, as podman has it.
    """

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str | None


def resolve_user(option: str, text: str, tree: ImageTree) -> User:
    """Look up `USER[:GROUP]` in the tree's /etc/passwd and /etc/group, as podman does.

    A number needs no entry, but if it has one its group and home count. Additional groups are those that list
    the user, unless a group is given. Without a user it is root, in no additional group.

    Raises:
        ContainerError: There is no such user or group; the message starts with `option`.
    """
    name, _, group = text.partition(":")
    name = name or "0"
    entry = next(
        (fields for fields in _entries(tree, "/etc/passwd", 7) if name in {fields[0], fields[2]}),
        None,
    )
    if entry is None and not _is_id(name):
        raise ContainerError(f"{option}: the image has no user {name!r} in /etc/passwd; name another or give a number")
    uid = int(entry[2]) if entry else int(name)
    gid = int(entry[3]) if entry else 0
    additional: list[int] = []
    groups = _entries(tree, "/etc/group", 4)
    if group:
        found = next((fields for fields in groups if group in {fields[0], fields[2]}), None)
        if found is None and not _is_id(group):
            raise ContainerError(
                f"{option}: the image has no group {group!r} in /etc/group; name another or give a number"
            )
        gid = int(found[2]) if found else int(group)
    elif entry:
        additional = [int(fields[2]) for fields in groups if entry[0] in fields[3].split(",")]
    gids = dict.fromkeys([gid, *additional]) if text else ()
    return User(uid, gid, tuple(gids), (entry[5] or "/") if entry else None)


def _entries(tree: ImageTree, path: str, length: int) -> list[list[str]]:
    """Return the entries of a colon-separated file whose ids are numbers; others count for nobody."""
    entries = [(line.strip().split(":") + [""] * length)[:length] for line in tree.lines(path)]
    return [fields for fields in entries if _is_id(fields[2]) and (length == 4 or _is_id(fields[3]))]


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) < 2**31
