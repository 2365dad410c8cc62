"""Paths inside a tree: resolved as a process inside would resolve them, without ever leaving the tree."""

import posixpath
from dataclasses import dataclass

from nixoci.tree.model import Inode, Kind

_MAX_SYMLINKS = 40  # as in path_resolution(7)


@dataclass(slots=True)
class Trail:
    """The steps from a tree's root, which is the first, to a path.

    `inode` of a step is None where the tree has nothing; `missing` says that such a step was taken, also if a `..`
    went back over it. `symlinks` are the symlinks that were followed, each as its directory and its name there.
    """

    steps: list[tuple[bytes, Inode | None]]
    symlinks: list[tuple[Inode, bytes]]
    missing: bool

    @property
    def names(self) -> list[bytes]:
        """The components of the canonical path."""
        return [name for name, _ in self.steps[1:]]


def follow(root: Inode, path: bytes) -> Trail | None:
    """Follow a path and every symlink on it, absolute ones and `..` from the tree's own root.

    Returns:
        The trail; None if there are more than 40 symlinks on the way.
    """
    steps: list[tuple[bytes, Inode | None]] = [(b"", root)]
    here: Inode | None = root
    symlinks: list[tuple[Inode, bytes]] = []
    missing = False
    pending = path.split(b"/")[::-1]
    while pending:
        name = pending.pop()
        if name in {b"", b"."}:
            continue
        if name == b"..":
            del steps[max(1, len(steps) - 1) :]
            here = steps[-1][1]
            continue
        child = here.children.get(name) if here is not None else None
        if child is None:
            missing = True
        elif here is not None and child.kind is Kind.SYMLINK:
            symlinks.append((here, name))
            if len(symlinks) > _MAX_SYMLINKS:
                return None
            if child.target.startswith(b"/"):
                del steps[1:]
                here = root
            pending += child.target.split(b"/")[::-1]
            continue
        steps.append((name, child))
        here = child
    return Trail(steps, symlinks, missing)


def lookup(root: Inode, path: bytes) -> tuple[bytes, Inode] | None:
    """Return the canonical path (relative, without symlinks) and the file that `path` leads to.

    None if there is no such file, or more than 40 symlinks on the way.
    """
    trail = follow(root, path)
    inode = trail.steps[-1][1] if trail is not None and not trail.missing else None
    return None if trail is None or inode is None else (b"/".join(trail.names), inode)


def clamped(path: str) -> str:
    """Return the canonical spelling of a path relative to a root, with every `..` kept inside; `""` is the root."""
    return posixpath.normpath(f"/{path}").lstrip("/")
