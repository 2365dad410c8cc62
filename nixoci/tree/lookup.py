"""Find a file in a tree by path as a process inside would, without ever leaving the tree."""

from nixoci.tree.model import Inode, Kind

_MAXIMUM_LINKS = 40  # as in path_resolution(7)


def lookup(root: Inode, path: bytes) -> tuple[bytes, Inode] | None:
    """Return the canonical path (relative, without symlinks) and the file that `path` leads to.

    Symlinks are followed, absolute ones and `..` from the tree's own root. None if there is no such file, or
    more than 40 symlinks on the way.
    """
    done: list[tuple[bytes, Inode]] = []
    todo = path.split(b"/")[::-1]
    links = 0
    while todo:
        name = todo.pop()
        if name in {b"", b"."}:
            continue
        if name == b"..":
            done = done[:-1]
            continue
        here = done[-1][1] if done else root
        if (inode := here.children.get(name)) is None:
            return None
        if inode.kind is Kind.SYMLINK:
            if (links := links + 1) > _MAXIMUM_LINKS:
                return None
            if inode.target.startswith(b"/"):
                done = []
            todo += inode.target.split(b"/")[::-1]
            continue
        done.append((name, inode))
    return b"/".join(name for name, _ in done), done[-1][1] if done else root
