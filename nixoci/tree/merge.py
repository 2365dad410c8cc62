"""The merge of layers into one tree (image-spec layer.md, Applying Changesets).

Container engines disagree on whiteouts; here they act on lower layers only, wherever they stand in their layer, and
follow no symlink of their own layer. As overlayfs has it, a character device 0:0 removes a name too. Names that AUFS
kept for itself are no files (moby, pkg/archive/diff.go).
"""

from collections.abc import Iterable

from nixoci.errors import LayerError, LimitError
from nixoci.tree.limits import MAX_NAME, MAX_PATH, Limits
from nixoci.tree.lookup import Trail, follow
from nixoci.tree.model import Inode, Kind, Packer
from nixoci.tree.tar_format import show
from nixoci.tree.tar_reader import WHITEOUT, Entry

OPAQUE = b".wh..wh..opq"
AUFS = b".wh..wh."
"""The prefix of the names that AUFS kept for itself."""
_AUFS_LINKS = b".wh..wh.plnk"
"""AUFS's directory of the files that have several names; each name is a hardlink to a file there."""

_WAYS = {Kind.DIRECTORY, Kind.SYMLINK}
_NOT_NAMES = {b"", b".", b".."}


class Merger:
    """Applies layers, lowest first, to `root`."""

    def __init__(self, limits: Limits) -> None:
        self.root = implied_directory()
        self._packer = Packer()
        self._limits = limits
        self._entries = 0
        self._size = 0
        self._layer = ""
        self._fresh: dict[Inode, set[bytes]] = {}
        """The names in each directory that this layer has put there."""
        self._late: list[Entry] = []
        """Whiteouts through symlinks of lower layers, which this layer may yet replace."""
        self._aufs: dict[bytes, Inode] = {}
        """This layer's files in AUFS's directory of links."""
        self._own: set[Inode] = set()
        """The directories that hold only names of this layer: those that it has made, and purged ones. They are not in
        `_fresh`, and all below them are such directories too."""
        self._last: tuple[bytes, Inode] | None = None
        """The directory of the last entry, while nothing on its way can have changed: most entries share theirs."""

    def apply(self, entries: Iterable[Entry], *, layer: str) -> None:
        """Apply the next layer; `layer` names it in errors.

        Raises:
            LayerError: An entry breaks a rule.
            LimitError: Too many entries, or too large in all.
        """
        self._layer = layer
        self._fresh = {}
        self._own = set()
        self._late = []
        self._aufs = {}
        self._last = None
        for entry in entries:
            self._count(entry.path, entry.inode.size if entry.inode else 0)
            self._apply(entry)
        late, self._late = self._late, []
        for entry in late:
            self._hide_lower(entry, *_split(entry.path), last=True)

    def _count(self, path: bytes, size: int) -> None:
        self._entries += 1
        self._size += size
        if self._entries > self._limits.entries:
            raise entries_limit(self._layer, self._limits)
        if self._size > self._limits.total_size:
            raise LimitError(
                f"layer {self._layer}: entry {show(path)}: more than {self._limits.total_size} bytes of files"
                " in the image, the limit; raise it with --max-size if you trust the image"
            )

    def _error(self, path: bytes, message: str) -> LayerError:
        return LayerError(f"layer {self._layer}: entry {show(path)}: {message}")

    def _apply(self, entry: Entry) -> None:
        directory, name = _split(entry.path)
        if entry.path.startswith(AUFS) and entry.path != OPAQUE:
            self._keep_aufs(entry, name)
        elif WHITEOUT in directory and any(part.startswith(WHITEOUT) for part in directory.split(b"/")):
            raise self._error(entry.path, "it lies under a whiteout; the layer is malformed")
        elif not entry.path:
            self._apply_root(entry)
        elif name.startswith(WHITEOUT):
            self._last = None
            self._hide_lower(entry, directory, name)
        elif entry.inode is not None and entry.inode.kind is Kind.CHARACTER and entry.inode.device == (0, 0):
            self._make_directory(entry.path, directory).children.pop(name, None)
            self._last = None
        else:
            self._place(entry, directory, name)

    def _keep_aufs(self, entry: Entry, name: bytes) -> None:
        """Keep a file for the hardlinks to it; everything else of AUFS's is left out."""
        if entry.path.startswith(_AUFS_LINKS) and entry.inode is not None and entry.inode.kind is Kind.REGULAR:
            self._aufs[name] = entry.inode

    def _hide_lower(self, entry: Entry, directory: bytes, name: bytes, *, last: bool = False) -> None:
        """Apply a whiteout or an opaque marker; `last` says that the layer's other entries are in place."""
        trail = follow(self.root, directory)
        if trail is None:  # a loop of symlinks: there is nothing to hide
            return
        symlinks = trail.symlinks
        if any(self._is_fresh(parent, link) for parent, link in symlinks):
            return
        if symlinks and not last:
            self._late.append(entry)
        elif name == OPAQUE:
            hidden = self._find_directory(entry.path, directory)
            if hidden is not None:
                self._purge(hidden)
        else:
            self._whiteout(entry.path, directory, name.removeprefix(WHITEOUT))

    def _apply_root(self, entry: Entry) -> None:
        if entry.inode is None or not entry.inode.is_directory:
            raise self._error(b"/", "the root of a layer must be a directory")
        _take_attributes(self.root, entry.inode)

    def _whiteout(self, path: bytes, directory: bytes, name: bytes) -> None:
        if name in _NOT_NAMES:
            raise self._error(path, "a whiteout without a name; the layer is malformed")
        parent = self._find_directory(path, directory)
        child = parent.children.get(name) if parent is not None else None
        if parent is None or child is None:
            return
        if child.is_directory:
            self._purge(child)
        if not self._is_fresh(parent, name):
            self._hide(parent, name)

    def _hide(self, parent: Inode, name: bytes) -> None:
        """Remove a name of a lower layer; if names of this layer are below it, it stays as an implied directory."""
        child = parent.children[name]
        if child.children:
            _take_attributes(child, implied_directory())
            self._mark(parent, name)
        else:
            del parent.children[name]

    def _purge(self, directory: Inode) -> None:
        """Remove everything in a directory that comes from lower layers, at any depth."""
        found = [] if directory in self._own else [directory]
        for inode in found:
            found += [child for child in inode.children.objects() if child.is_directory and child not in self._own]
        for inode in reversed(found):
            fresh = self._fresh.get(inode, ())
            for name in [name for name in inode.children if name not in fresh]:
                self._hide(inode, name)
        self._own.update(found)

    def _place(self, entry: Entry, directory: bytes, name: bytes) -> None:
        inode = entry.inode
        linked = inode is None
        if inode is None:
            inode = self._link_target(entry)
        parent = self._make_directory(entry.path, directory)
        old = parent.children.get(name)
        if old is not None and old.is_directory and inode.is_directory:
            _take_attributes(old, inode)
        else:
            if linked:
                parent.children[name] = inode
            else:
                self._packer.pack(parent.children, name, inode)
            if inode.is_directory:
                self._own.add(inode)
            if old is not None and old.kind in _WAYS:
                self._last = None
        self._mark(parent, name)

    def _link_target(self, entry: Entry) -> Inode:
        directory, name = _split(entry.link)
        if entry.link.startswith(_AUFS_LINKS) and name in self._aufs:
            return self._aufs[name]
        parent = self._find_directory(entry.path, directory)
        inode = parent.children.share(name) if parent is not None else None
        if not entry.link:
            inode = self.root
        if inode is None:
            raise self._error(entry.path, f"a hardlink to {show(entry.link)}, which is not there")
        if inode.is_directory:
            raise self._error(entry.path, f"a hardlink to {show(entry.link or b'/')}, which is a directory")
        return inode

    def _is_fresh(self, parent: Inode, name: bytes) -> bool:
        return parent in self._own or name in self._fresh.get(parent, ())

    def _mark(self, parent: Inode, name: bytes) -> None:
        if parent in self._own:
            return
        names = self._fresh.get(parent)
        if names is None:
            self._fresh[parent] = names = set()
        names.add(name)

    def _find_directory(self, entry: bytes, path: bytes) -> Inode | None:
        """Return the directory at a path, symlinks resolved inside the root; None if there is none."""
        inode = self._trail(entry, path).steps[-1][1]
        return inode if inode is not None and inode.is_directory else None

    def _make_directory(self, entry: bytes, path: bytes) -> Inode:
        """Return the directory at a path; a component that is missing, or is not a directory, becomes one."""
        if self._last is not None and self._last[0] == path:
            return self._last[1]
        trail = self._trail(entry, path)
        if trail.symlinks:
            self._check_place(entry, [*trail.names, entry.rpartition(b"/")[2]])
        directory = self.root
        for name, inode in trail.steps[1:]:
            if inode is None or not inode.is_directory:
                self._count(entry, 0)
                inode = implied_directory()  # noqa: PLW2901
                directory.children[name] = inode
                self._own.add(inode)
                self._mark(directory, name)
            directory = inode
        # through symlinks, each entry's own name is checked
        self._last = None if trail.symlinks else (path, directory)
        return directory

    def _trail(self, entry: bytes, path: bytes) -> Trail:
        """Return the way to a directory; `entry` is named in an error."""
        trail = follow(self.root, path)
        if trail is None:
            raise self._error(entry, f"its directory {show(path)} is a loop of symlinks")
        return trail

    def _check_place(self, entry: bytes, names: list[bytes]) -> None:
        """Check that a path that was reached through symlinks follows the rules for the names of entries."""
        if any(name.startswith(WHITEOUT) for name in names):
            raise self._error(entry, "it lies under a whiteout; the layer is malformed")
        if any(len(name) > MAX_NAME for name in names) or len(b"/".join(names)) > MAX_PATH:
            raise LimitError(
                f"layer {self._layer}: entry {show(entry)}: its name is too long through symlinks;"
                f" a name has at most {MAX_NAME} bytes, a path {MAX_PATH}"
            )
        if len(names) > self._limits.depth:
            raise LimitError(
                f"layer {self._layer}: entry {show(entry)}: {len(names)} directories deep through symlinks, the"
                f" limit is {self._limits.depth}; raise it with --max-depth if you trust the image"
            )


def _split(path: bytes) -> tuple[bytes, bytes]:
    directory, _, name = path.rpartition(b"/")
    return directory, name


def entries_limit(layer: str, limits: Limits) -> LimitError:
    """Return the error of an image that has too many entries."""
    return LimitError(
        f"layer {layer}: more than {limits.entries} entries in the image, the limit; raise it with --max-entries if you"
        " trust the image"
    )


def implied_directory() -> Inode:
    """Return a directory that no entry describes: mode 0755, owned by root, with mtime 0."""
    return Inode(Kind.DIRECTORY, mode=0o755)


def _take_attributes(directory: Inode, new: Inode) -> None:
    directory.mode, directory.uid, directory.gid = new.mode, new.uid, new.gid
    directory.mtime, directory.xattrs = new.mtime, new.xattrs
