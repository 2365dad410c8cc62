"""The user of a container's process, looked up in the image's own files as podman does."""

from dataclasses import dataclass

from nixoci.container.image_tree import ImageTree
from nixoci.errors import ContainerError


@dataclass(frozen=True, slots=True)
class User:
    """The user of a container's process in numbers, and its home directory if it has one.

    `additional_gids` begins with `gid`, and is empty if no user is named, as in podman.
    """

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str | None


def resolve_user(option: str, text: str, tree: ImageTree) -> User:
    """Look up `USER[:GROUP]` in the tree's /etc/passwd and /etc/group, as podman does.

    A number needs no entry; if it has one, the group and home are the entry's. The additional groups are those that
    list the user, unless a group is given. Without a user, the process runs as root, in no additional group.

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
    """Return the entries of a colon-separated file whose ids are numbers; the others are ignored."""
    entries = [(line.strip().split(":") + [""] * length)[:length] for line in tree.lines(path)]
    return [fields for fields in entries if _is_id(fields[2]) and (length == 4 or _is_id(fields[3]))]


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < 2**31
