"""The tree of one layer in the form that an overlay mount stacks: what it adds, and markers for what it removes.

The layer is read by the rules of the merge, as if nothing were below it. A whiteout then becomes a character device
0:0, and an opaque directory gets the xattr `trusted.overlay.opaque` (Linux, Documentation/filesystems/overlayfs.rst).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nixoci.errors import LayerError
from nixoci.tree.limits import Limits
from nixoci.tree.merge import AUFS, OPAQUE, Merger, entries_limit, implied_directory
from nixoci.tree.model import Inode, Kind, walk
from nixoci.tree.tar_format import show
from nixoci.tree.tar_reader import WHITEOUT, Entry

_OPAQUE_XATTR = b"trusted.overlay.opaque"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The tree of one layer, and the paths of its directories that no entry describes."""

    root: Inode
    implied: list[bytes]


def read_changes(entries: Iterable[Entry], *, layer: str, limits: Limits) -> Changes:
    """Read the entries of one layer; `layer` names it in errors.

    Raises:
        LayerError: An entry breaks a rule, is a hardlink to a file of a lower layer, or hides all lower layers.
        LimitError: Too many entries, or too large in all.
    """
    markers = _Markers(layer, limits)
    merger = Merger(limits)
    merger.apply(markers.watch(entries), layer=layer)
    markers.place(merger.root)
    implied = [
        path for path, inode in walk(merger.root) if path and inode.is_directory and path not in markers.described
    ]
    return Changes(root=merger.root, implied=implied)


class _Markers:
    """The whiteouts and opaque markers among a layer's entries, each a directory and a name."""

    def __init__(self, layer: str, limits: Limits) -> None:
        self.described: set[bytes] = set()
        """The paths of directories that have an entry."""
        self._layer = layer
        self._limits = limits
        self._made = 0
        self._found: list[tuple[bytes, bytes]] = []

    def watch(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Pass on the entries."""
        for entry in entries:
            directory, _, name = entry.path.rpartition(b"/")
            inode = entry.inode
            if inode is not None and inode.is_directory:
                self.described.add(entry.path)
            elif inode is not None and inode.kind is Kind.CHARACTER and inode.device == (0, 0):
                self._found.append((directory, name))
            elif entry.path == OPAQUE:
                raise LayerError(
                    f"layer {self._layer}: entry {show(entry.path)}: it hides all lower layers, which no mount of the"
                    " layer can show; use the image without a layer cache"
                )
            elif name.startswith(WHITEOUT) and not entry.path.startswith(AUFS):
                self._found.append((directory, name if name == OPAQUE else name.removeprefix(WHITEOUT)))
            yield entry

    def place(self, root: Inode) -> None:
        """Put the markers into the tree; those below a name that this layer replaces hide nothing."""
        for directory, name in self._found:
            parent = self._make_directory(root, directory)
            if parent is None:
                continue
            hidden = parent if name == OPAQUE else parent.children.get(name)
            if hidden is None:
                parent.children[name] = Inode(Kind.CHARACTER, mode=0)
            elif hidden.is_directory:
                hidden.xattrs = hidden.xattrs | {_OPAQUE_XATTR: b"y"}

    def _make_directory(self, root: Inode, path: bytes) -> Inode | None:
        """Return the directory at a path, made if it is missing; None if the layer has another file on the way."""
        directory = root
        for name in path.split(b"/") if path else ():
            if name not in directory.children:
                self._made += 1
                if self._made > self._limits.entries:
                    raise entries_limit(self._layer, self._limits)
                directory.children[name] = implied_directory()
            directory = directory.children[name]
            if not directory.is_directory:
                return None
        return directory
