"""The user of a container's process, looked up in the image's own files as podman does."""

from dataclasses import dataclass

from nixoci.container.image_tree import ImageTree
from nixoci.errors import ContainerError

_LARGEST = 2**31 - 1
"""The largest id that podman reads."""


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
    entry = next((fields for fields in _entries(tree, "/etc/passwd", 7) if _is_named(fields, name)), None)
    uid = int(entry[2]) if entry else _read_id(option, "user", name, "/etc/passwd")
    gid = int(entry[3]) if entry else 0
    additional: list[int] = []
    groups = _entries(tree, "/etc/group", 4)
    if group:
        found = next((fields for fields in groups if _is_named(fields, group)), None)
        gid = int(found[2]) if found else _read_id(option, "group", group, "/etc/group")
    elif entry:
        additional = [int(fields[2]) for fields in groups if entry[0] in fields[3].split(",")]
    gids = dict.fromkeys([gid, *additional]) if text else ()
    return User(uid, gid, tuple(gids), (entry[5] or "/") if entry else None)


def _entries(tree: ImageTree, path: str, length: int) -> list[list[str]]:
    """Return the entries of a colon-separated file whose ids are numbers; the others are ignored."""
    entries = [(line.strip().split(":") + [""] * length)[:length] for line in tree.lines(path)]
    return [fields for fields in entries if _is_id(fields[2]) and (length == 4 or _is_id(fields[3]))]


def _is_named(fields: list[str], text: str) -> bool:
    """Return whether a text names an entry: a number is always an id, also if an entry has it for its name."""
    return int(fields[2]) == int(text) if _is_id(text) else fields[0] == text


def _read_id(option: str, kind: str, text: str, file: str) -> int:
    """Return the id of a user or group that has no entry."""
    if _is_number(text) and not _is_id(text):
        raise ContainerError(f"{option}: the id of {kind} {text} is above {_LARGEST}, podman's largest; give another")
    if not _is_id(text):
        raise ContainerError(f"{option}: the image has no {kind} {text!r} in {file}; name another or give a number")
    return int(text)


def _is_id(text: str) -> bool:
    return _is_number(text) and len(text) < 20 and int(text) <= _LARGEST


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
