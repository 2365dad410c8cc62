"""Random stacks of layers, small and dense: a few names, every kind of entry, everything on top of everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from nixoci.errors import LayerError
from nixoci.tree.model import Inode, walk
from tests.support.layers import hardlink, header, layer, merge, opaque, padded, pax, whiteout

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = (b"a", b"b", b"c")
TARGETS = (b"a", b"b", b"../a", b"/b", b"/a/b", b"../../c", b"c/../a", b"/nowhere/x", b".", b"b/../../c", b"a/./c")
NEWEST = 1_500_000_000
"""The latest time of any entry, so that a later time must come from a clock."""


@dataclass
class Stack:
    """One random image: for each layer its entries, as bytes and in words."""

    members: list[list[tuple[bytes, str]]] = field(default_factory=list)

    @property
    def layers(self) -> list[bytes]:
        """The layers' tar streams."""
        return [layer(*(data for data, _ in members)) for members in self.members]

    @property
    def hides_through_own_symlinks(self) -> bool:
        """True if a whiteout or an opaque marker is below a symlink, or a hardlink to one, of its own layer."""
        return any(
            path.startswith(f"{shown.partition(kind)[0]}/")
            for words, hidden in self._hidden()
            for path in hidden
            for kind in (" -> ", " hardlink to ")
            for shown in words
            if kind in shown
        )

    @property
    def hides_twice(self) -> bool:
        """True if a layer has a whiteout or an opaque marker below a name that it has a whiteout of."""
        return any(path.startswith(f"{other}/") for _, hidden in self._hidden() for path in hidden for other in hidden)

    def _hidden(self) -> Iterator[tuple[list[str], list[str]]]:
        """Yield each layer's entries in words, and the paths that it hides; that of an opaque marker ends in `/`."""
        for members in self.members:
            words = [shown for _, shown in members]
            hidden = [f"{shown.partition(' ')[2]}/" for shown in words if shown.startswith("opaque ")]
            hidden += [shown.removeprefix("whiteout of ") for shown in words if shown.startswith("whiteout of ")]
            yield words, hidden

    def were_at(self, path: bytes) -> Iterator[Inode]:
        """Yield what was at a path after each entry, as it was then."""
        for number, members in enumerate(self.members):
            for count in range(1, len(members) + 1):
                root = merge(*self.layers[:number], b"".join(data for data, _ in members[:count]))
                if found := dict(walk(root)).get(path):
                    yield found

    def __str__(self) -> str:
        lines = [", ".join(words for _, words in members) for members in self.members]
        return "\n".join(f"layer {number}: {line}" for number, line in enumerate(lines))


def random_stack(seed: int) -> Stack:
    """Return the stack of a seed; the same seed gives the same stack."""
    random = Random(seed)  # noqa: S311 - no secret
    stack = Stack()
    for number in range(random.randint(1, 4)):
        members = [_member(random, stack, [])] if number else [_root(random)]
        for _ in range(random.randint(1, 9)):
            members.append(_member(random, stack, [data for data, _ in members]))
        if number and random.random() < 0.1:
            members.insert(random.randint(0, len(members)), _root(random))
        stack.members.append(members)
    return stack


def _root(random: Random) -> tuple[bytes, str]:
    mode = random.choice((0o755, 0o700, 0o1777))
    return _attributed(random, b"./", b"5", mode), f"./ {mode:o}"


def _path(random: Random) -> bytes:
    return b"/".join(random.choice(NAMES) for _ in range(random.choice((1, 1, 2, 2, 2, 3, 3))))


def _member(random: Random, stack: Stack, before: list[bytes]) -> tuple[bytes, str]:
    path = _path(random)
    kind = random.choices(
        ("file", "directory", "symlink", "hardlink", "whiteout", "opaque", "fifo", "device"),
        (8, 5, 4, 3, 5, 3, 1, 1),
    )[0]
    shown = path.decode()
    if kind == "hardlink":
        target = random.choice(_linkable(stack.layers, before) or [b""])
        entry = hardlink(path, target)
        if target and _adds_a_name(stack.layers, before, entry, target):
            return entry, f"{shown} hardlink to {target.decode()}"
        kind = "file"
    if kind == "whiteout":
        return whiteout(path), f"whiteout of {shown}"
    if kind == "opaque":
        path = random.choice((path, path, b""))
        return opaque(path), f"opaque {path.decode() or '/'}"
    if kind == "symlink":
        target = random.choice(TARGETS)
        entry = header(path, b"2", link=target, mode=0o777, uid=random.randint(0, 9), mtime=random.randint(1, NEWEST))
        return entry, f"{shown} -> {target.decode()}"
    flags = {"file": b"0", "directory": b"5", "fifo": b"6", "device": b"3"}
    mode = random.choice((0o644, 0o600, 0o755, 0o4711, 0o1777, 0o000))
    return _attributed(random, path, flags[kind], mode), f"{shown} {kind} {mode:o}"


def _attributed(random: Random, path: bytes, flag: bytes, mode: int) -> bytes:
    records = {}
    if flag in b"05" and random.random() < 0.2:
        records[b"SCHILY.xattr.user.test"] = random.choice((b"value", b"\0\xff\n"))
    if random.random() < 0.3:
        records[b"mtime"] = b"%d.%09d" % (random.randint(1, NEWEST), random.randint(0, 999_999_999))
    body = random.randbytes(random.choice((0, 5, 700))) if flag == b"0" else b""
    entry = header(
        path,
        flag,
        size=len(body),
        mode=mode,
        uid=random.choice((0, 0, 33, 100_000)),
        gid=random.choice((0, 0, 42)),
        mtime=random.randint(1, NEWEST),
        device=(1, 3) if flag == b"3" else (0, 0),
    )
    return (pax(records) if records else b"") + entry + padded(body)


def _merged(layers: list[bytes], unfinished: list[bytes]) -> Inode | None:
    """Return the tree so far; None where an entry goes through a loop and the stack ends in an error anyway."""
    try:
        return merge(*layers, b"".join(unfinished))
    except LayerError:
        return None


def _linkable(layers: list[bytes], unfinished: list[bytes]) -> list[bytes]:
    """Return the paths that a hardlink may point to at this place of the stack."""
    root = _merged(layers, unfinished)
    return [path for path, inode in walk(root) if not inode.is_directory] if root else []


def _adds_a_name(layers: list[bytes], unfinished: list[bytes], entry: bytes, target: bytes) -> bool:
    """Tell whether a hardlink leaves its target in place: what replaces that, umoci cannot link to."""
    before, after = _merged(layers, unfinished), _merged(layers, [*unfinished, entry])
    return bool(before and after and _names(after, target) > _names(before, target))


def _names(root: Inode, path: bytes) -> int:
    paths = dict(walk(root))
    return sum(inode is paths.get(path) for inode in paths.values())
