"""Writes a tree's rootfs: only what a NAR can hold, every content once, no write through a symlink.

The tree's directories are made first, in a new directory that only we write to, so that a path of the tree never
passes through anything but those directories. Symlinks and hardlinks come last. Devices and FIFOs are left out:
only the metadata dump has them.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from nixoci.errors import LayerError
from nixoci.progress import Advance, ignore
from nixoci.tree.model import Inode, Kind, Segment, walk
from nixoci.tree.tar_reader import ByteStream, show

_FILE = 0o444
_EXECUTABLE = 0o555
_DIRECTORY = 0o755
_EXECUTE_BITS = 0o111

LayerOpener = Callable[[int], Iterable[bytes]]
"""Returns the chunks of a layer's tar stream, given its number (0 is the lowest)."""


def write_rootfs(root: Inode, dest: Path, open_layer: LayerOpener, *, advance: Advance = ignore) -> None:
    """Write the tree to the new directory `dest`.

    Files get mode 0444, or 0555 where the image has any execute bit, directories 0755, whatever the umask.

    Args:
        root: The merged tree.
        dest: A path that does not exist; its parent does.
        open_layer: Gives the bytes of a layer.
        advance: Called with the number of content bytes that were written.

    Raises:
        LayerError: A layer ends before the content that it held when it was read first.
        OSError: The disk is full, or `dest` exists.
    """
    base = os.fsencode(dest)
    first: dict[int, bytes] = {}
    links: list[tuple[bytes, bytes]] = []
    files: dict[int, list[tuple[bytes, Inode]]] = {}
    for path, inode in walk(root):
        target = base + b"/" + path if path else base
        canonical = first.setdefault(id(inode), target)
        if inode.is_directory:
            os.mkdir(target)
            os.chmod(target, _DIRECTORY)
        elif canonical != target:
            if inode.kind in (Kind.REGULAR, Kind.SYMLINK):
                links.append((canonical, target))
        elif inode.kind is Kind.SYMLINK:
            os.symlink(inode.target, target)
        elif inode.kind is Kind.REGULAR:
            if inode.content is None or not inode.content.segments:
                os.close(_create(target, inode))
            else:
                files.setdefault(inode.content.layer, []).append((target, inode))
    for layer, members in sorted(files.items()):
        _write_contents(members, open_layer(layer), advance)
    for canonical, target in links:
        os.link(canonical, target, follow_symlinks=False)


def _create(target: bytes, inode: Inode) -> int:
    """Create a file of the right mode and size and return its descriptor."""
    file = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(file, _EXECUTABLE if inode.mode & _EXECUTE_BITS else _FILE)
        stored = sum(segment.length for segment in inode.content.segments) if inode.content else 0
        if stored != inode.size:
            os.ftruncate(file, inode.size)
    except OSError:
        os.close(file)
        raise
    return file


def _write_contents(members: list[tuple[bytes, Inode]], chunks: Iterable[bytes], advance: Advance) -> None:
    stream = ByteStream(chunks)
    members.sort(key=lambda member: _segments(member[1])[0].offset)
    for target, inode in members:
        file = _create(target, inode)
        try:
            for segment in _segments(inode):
                stream.skip(segment.offset - stream.position)
                for piece in _pieces(stream, segment, target):
                    _write_all(file, piece)
            advance(inode.size)
        finally:
            os.close(file)


def _segments(inode: Inode) -> tuple[Segment, ...]:
    return inode.content.segments if inode.content else ()


def _pieces(stream: ByteStream, segment: Segment, target: bytes) -> Iterator[tuple[int, memoryview]]:
    position = segment.position
    for piece in stream.pieces(segment.length):
        yield position, piece
        position += len(piece)
    if position != segment.position + segment.length:
        raise LayerError(f"{show(target)}: its layer ended before its content; the blob changed while it was read")


def _write_all(file: int, piece: tuple[int, memoryview]) -> None:
    position, data = piece
    while data:
        written = os.pwrite(file, data, position)
        data = data[written:]
        position += written
