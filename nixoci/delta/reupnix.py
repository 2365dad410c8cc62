r"""The first stream format of reUpNix's `nix-store-send` and `nix-store-recv`, written and read.

A stream is a sequence of members, `NAME FLAGS SIZE\n<bytes>\n`. Files are named by the SHA-256 of their NAR, in Nix's
base 32, as in `/nix/store/.links`. The format carries no hash of a path and no references: the reader checks each
file against its name, and finds references as Nix does, by searching for the hash parts of known paths.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nixoci.delta.closure import Closure, Received, in_dependency_order
from nixoci.delta.format.model import MAX_DEPTH
from nixoci.delta.spool import need_space, spool
from nixoci.delta.summary import SendSummary
from nixoci.errors import DeltaError
from nixoci.nix_store.commands import all_paths, real_store_dir
from nixoci.nix_store.hashes import NIX32, HashingSink, to_nix32
from nixoci.nix_store.nar import NarWriter
from nixoci.nix_store.path import (
    HASH_PART_DIGITS,
    STORE_DIR,
    PathInfo,
    check_store_path,
    store_path_basename,
    store_path_hash,
)
from nixoci.nix_store.registration import registration
from nixoci.nix_store.trust import check_trust
from nixoci.openat import open_below, with_child
from nixoci.progress import byte_progress, item_progress
from nixoci.streams import Data, ProgressSink, Sink, read_fully
from nixoci.tree.limits import MAX_TARGET

_META = (b".toplevel-paths", b".restore-links", b".cerate-paths", b".delete-paths", b".prune-links")
_HASH = re.compile(rf"[{NIX32}]{{52}}".encode())
_HASH_PART = re.compile(rf"(?=([{NIX32}]{{{HASH_PART_DIGITS}}}))".encode())
_BLOCK = 1 << 20
_MAX_META = 1 << 30
_MAX_SIZE = 1 << 40


@dataclass(slots=True)
class _File:
    """A file or symlink in a new path: its hash, and the flag for executable files."""

    hash: bytes
    mode: bytes


_Tree = dict[bytes, "_File | _Tree"]


def write(old: Closure, new: Closure, out: Sink) -> SendSummary:
    """Write the stream that makes `new` from `old`, and lets the receiver delete the paths that only `old` has.

    In the summary, files count instead of segments; they are `kept` or `plain`. A symlink has the size of its target.

    Raises:
        DeltaError: A file changes while it is read.
        StoreError: A path holds something that no store path can, or cannot be read.
    """
    made = sorted(new.paths.keys() - old.paths.keys())
    dropped = sorted(old.paths.keys() - new.paths.keys())
    had = {hashed: path for path, hashed, _ in _leaves(old, sorted(old.paths)) if hashed}
    kept = {hashed for _, hashed, _ in _leaves(new, sorted(new.paths.keys() & old.paths.keys()))}
    wanted: dict[bytes, bytes] = {}
    steps: list[bytes] = []
    for path, hashed, step in _leaves(new, made):
        steps.append(step + b"\0")
        if hashed:
            wanted.setdefault(hashed, path)
    names = "\n".join(store_path_basename(root) for root in new.roots)
    # bash's read drops a trailing separator: such a file is sent
    restored = {hashed: had[hashed] for hashed in wanted if hashed in had and not had[hashed].endswith(b"=")}
    pruned = sorted(had.keys() - kept - wanted.keys())
    meta = (
        names.encode(),
        b"".join(b"%s=%s\0" % item for item in sorted(restored.items())),
        b"".join(steps),
        "\n".join(store_path_basename(path) for path in dropped).encode(),
        b"\n".join(pruned),
    )
    bases = {place.partition(b"/")[0] for place in restored.values()}
    nar_size = sum(new.paths[path].nar_size for path in made)
    summary = SendSummary(paths=len(made), bases=len(bases), nar_size=nar_size, delta_size=0, by={})
    counted = ProgressSink(out.write, summary.grow)
    for name, content in zip(_META, meta, strict=True):
        # the reader takes these line by line, and needs the last newline
        text = content + b"\n" if name in (b".delete-paths", b".prune-links") and content else content
        counted.write(b"%s - %d\n%s\n" % (name, len(text), text))
    counted.write(b".meta-end - 0\n\n")
    for place in map(os.fsdecode, restored.values()):
        summary.add("kept", (old.real / place).lstat().st_size)
    sent = sorted(wanted.keys() - restored.keys())
    with item_progress("sending files", len(sent)) as advance:
        for hashed in sent:
            size = _send_file(new, hashed, wanted[hashed], counted)
            summary.add("plain", size, size)
            advance(1)
    counted.write(b".data-end - 0\n\n")
    return summary


def receive(
    read: Callable[[int], bytes],
    *,
    what: str,
    store: str | None = None,
    dry_run: bool = False,
    accept: Callable[[tuple[str, ...]], object] | None = None,
) -> Received:
    """Make the paths of a stream, check every file against its name, find references, and register with Nix.

    Paths that the stream asks to delete are left to Nix's garbage collector. Arguments are those of `receive_delta`.

    Raises:
        DeltaError: The stream is damaged, or a file that it relies on is missing or has another content.
        StoreError: Nix refuses a path, or the stream names a malformed one.
        ProcessError: Nix is missing or fails.
    """
    real = real_store_dir(store)
    with spool() as folder:
        stream = _Stream(read, what)
        meta = {name: stream.meta(name) for name in _META}
        if stream.member() != (b".meta-end", b"-", 0):
            raise stream.broken("no .meta-end after the instructions")
        stream.end_member()
        files = folder / "files"
        files.mkdir()
        _read_files(stream, files)
        trees = _trees(meta[b".cerate-paths"], stream)
        links = _links(meta[b".restore-links"], stream)
        roots = tuple(f"{STORE_DIR}/{os.fsdecode(name)}" for name in meta[b".toplevel-paths"].split())
        for path in (*trees, *roots):
            check_store_path(path)
        if accept is not None:
            accept(roots)
        known = {store_path_hash(path).encode(): path for path in (*all_paths(store=store), *trees)}
        builder = _Builder(files, links, real, known)
        with registration(store=store, write=not dry_run) as nix:
            there = nix.valid(trees)
            missing = sorted(path for path in trees if path not in there)
            infos = in_dependency_order([builder.measure(path, trees[path]) for path in missing])
            if dry_run:
                check_trust(infos, store=store, folder=folder)
            added = [] if dry_run else infos
            with byte_progress("rebuilding", sum(info.nar_size for info in added)) as advance:
                for info in added:
                    nix.add(info, partial(builder.write, info, trees[info.path]))
                    advance(info.nar_size)
        return Received(
            roots=roots,
            added=tuple(info.path for info in infos),
            present=tuple(path for path in trees if path in there),
            delta_size=stream.size,
            nar_size=sum(info.nar_size for info in infos),
        )


class _Stream:
    """Reads the members of a stream, one after another."""

    def __init__(self, read: Callable[[int], bytes], what: str) -> None:
        self._read = read
        self._what = what
        self.size = 0

    def member(self) -> tuple[bytes, bytes, int]:
        """Read the head of a member: its name, flags and size."""
        line = b""
        while not line.endswith(b"\n"):
            if len(line) > 256:
                raise self.broken(f"a line that starts with {os.fsdecode(line[:40])!r}")
            line += self.take(1)
        parts = line[:-1].split(b" ")
        if len(parts) != 3 or not parts[2].isdigit() or len(parts[2]) > 15 or parts[1] not in (b"-", b"x", b"l"):
            raise self.broken(f"the line {os.fsdecode(line)!r}")
        return parts[0], parts[1], int(parts[2])

    def meta(self, name: bytes) -> bytes:
        """Read a member of instructions, which must have this name."""
        found, flags, size = self.member()
        if found != name or flags != b"-" or size > _MAX_META:
            raise self.broken(f"{os.fsdecode(found)!r} with {size} bytes instead of {os.fsdecode(name)!r}")
        content = b"".join(self.content(size))
        self.end_member()
        return content

    def content(self, size: int) -> Iterator[bytes]:
        """Yield the bytes of a member in blocks."""
        while size:
            block = self.take(min(size, _BLOCK))
            yield block
            size -= len(block)

    def end_member(self) -> None:
        """Read the newline after a member."""
        if self.take(1) != b"\n":
            raise self.broken("no newline after a member")

    def take(self, count: int) -> bytes:
        """Read exactly that many bytes."""
        data = read_fully(self._read, count)
        if len(data) < count:
            raise self.broken(f"its end after {self.size + len(data)} bytes")
        self.size += count
        return data

    def broken(self, found: str) -> DeltaError:
        """Return the error for a damaged stream."""
        return DeltaError(f"{self._what}: damaged reUpNix stream: it has {found}; send it again")


class _Builder:
    """Writes the NARs of new paths."""

    def __init__(self, files: Path, links: dict[bytes, bytes], real: Path, known: dict[bytes, str]) -> None:
        self._files = files
        self._links = links
        self._real = real
        self._known = known
        self._checked: set[bytes] = set()

    def measure(self, path: str, tree: "_File | _Tree") -> PathInfo:
        """Return the information to register a path with: its hash, size and references."""
        found: set[bytes] = set()
        hashed = HashingSink(_Finder(found, self._known))
        nar = NarWriter(hashed, limit=_MAX_SIZE, what=path)
        self._node(tree, nar)
        references = tuple(sorted(self._known[part] for part in found))
        return PathInfo(path=path, nar_hash=hashed.sri, nar_size=nar.size, references=references)

    def write(self, info: PathInfo, tree: "_File | _Tree", out: Sink) -> None:
        """Write the NAR of a path."""
        self._node(tree, NarWriter(out, limit=info.nar_size, what=info.path))

    def _node(self, node: "_File | _Tree", nar: NarWriter) -> None:
        if isinstance(node, _File):
            self._leaf(node.hash, nar)
            return
        nar.begin_directory()
        for name, child in sorted(node.items()):
            nar.begin_entry(name)
            self._node(child, nar)
            nar.end_entry()
        nar.end_directory()

    def _leaf(self, hashed: bytes, nar: NarWriter) -> None:
        def dump(handle: int) -> None:
            if hashed not in self._checked:
                alone = HashingSink()
                NarWriter(alone, limit=_MAX_SIZE, what=os.fsdecode(hashed)).dump(handle)
                if to_nix32(alone.digest) != hashed:
                    raise DeltaError(f"{os.fsdecode(hashed)}: the file of this name has another hash; send it again")
                self._checked.add(hashed)
            nar.dump(handle)

        if os.path.lexists(self._files / os.fsdecode(hashed)):
            open_below(self._files, hashed, dump)
            return
        if hashed not in self._links:
            raise DeltaError(f"{os.fsdecode(hashed)}: neither in the stream nor named as a copy; send it again")
        store_path, _, inner = self._links[hashed].partition(b"/")
        check_store_path(f"{STORE_DIR}/{os.fsdecode(store_path)}")
        open_below(self._real / os.fsdecode(store_path), inner, dump)


class _Finder:
    """A sink that finds the hash parts of known paths, across writes too."""

    def __init__(self, found: set[bytes], known: dict[bytes, str]) -> None:
        self._found = found
        self._known = known
        self._tail = b""

    def write(self, data: Data, /) -> None:
        """Search the data."""
        text = self._tail + data
        self._found.update(part for part in _HASH_PART.findall(text) if part in self._known)
        self._tail = text[1 - HASH_PART_DIGITS :]


def _leaves(closure: Closure, paths: list[str]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield the steps that make the paths, each as a file's path below the store, its hash, and the step.

    The path and the hash are empty for a step without a file.
    """
    for path in paths:
        root = closure.on_disk(path)
        name = os.fsencode(root.name)
        steps: list[tuple[bytes, bytes, bytes]] = []
        open_below(root, b"", partial(_walk, place=name, name=name, steps=steps))
        yield b"", b"", b"r"
        yield from steps


def _walk(handle: int, place: bytes, name: bytes, steps: list[tuple[bytes, bytes, bytes]]) -> None:
    mode = os.fstat(handle).st_mode
    if stat.S_ISDIR(mode):
        steps.append((b"", b"", b"d/" + name))
        for inner in sorted(os.fsencode(entry) for entry in os.listdir(handle)):
            with_child(handle, inner, partial(_walk, place=place + b"/" + inner, name=inner, steps=steps))
        steps.append((b"", b"", b"p"))
        return
    alone = HashingSink()
    NarWriter(alone, limit=_MAX_SIZE, what=os.fsdecode(place)).dump(handle)
    hashed = to_nix32(alone.digest)
    executable = b"x" if stat.S_ISREG(mode) and mode & stat.S_IXUSR else b"-"
    steps.append((place, hashed, b"f/%s/%s/%s" % (hashed, executable, name)))


def _send_file(closure: Closure, hashed: bytes, place: bytes, out: Sink) -> int:
    """Write a file or symlink, and return its size."""

    def write_member(handle: int) -> int:
        facts = os.fstat(handle)
        if stat.S_ISLNK(facts.st_mode):
            target = os.readlink(b"", dir_fd=handle)
            out.write(b"%s l %d\n%s\n" % (hashed, len(target), target))
            return len(target)
        out.write(b"%s %s %d\n" % (hashed, b"x" if facts.st_mode & stat.S_IXUSR else b"-", facts.st_size))
        offset = 0
        while block := os.pread(handle, _BLOCK, offset):
            out.write(block)
            offset += len(block)
        if offset != facts.st_size:
            raise DeltaError(f"{os.fsdecode(place)}: changed while it was read; verify the store")
        out.write(b"\n")
        return offset

    store_path, _, inner = place.partition(b"/")
    return open_below(closure.real / os.fsdecode(store_path), inner, write_member)


def _read_files(stream: _Stream, folder: Path) -> None:
    while True:
        name, flags, size = stream.member()
        if name == b".data-end" and not size:
            stream.end_member()
            return
        if not _HASH.fullmatch(name) or os.path.lexists(folder / os.fsdecode(name)):
            raise stream.broken(f"a file named {os.fsdecode(name)!r}")
        need_space(folder, size, os.fsdecode(name))
        file = folder / os.fsdecode(name)
        if flags == b"l":
            target = b"".join(stream.content(size)) if size <= MAX_TARGET else b""
            if not target or b"\0" in target:
                raise stream.broken(f"a symlink of {size} bytes, to {os.fsdecode(target)!r}")
            file.symlink_to(os.fsdecode(target))
        else:
            with file.open("xb") as out:
                for block in stream.content(size):
                    out.write(block)
            file.chmod(0o555 if flags == b"x" else 0o444)
        stream.end_member()


def _trees(script: bytes, stream: _Stream) -> "dict[str, _File | _Tree]":
    """Return the trees that the instructions make, by store path."""
    top: _Tree = {}
    stack = [top]
    for step in script.split(b"\0")[:-1]:
        kind, *rest = step.split(b"/")
        if step == b"r":
            stack = [top]
            continue
        if step == b"p" and len(stack) > 1:
            stack.pop()
            continue
        name = rest[-1] if rest else b""
        if name in (b"", b".", b"..") or (name in stack[-1] and kind == b"f"):
            raise stream.broken(f"the instruction {step!r}")
        if kind == b"d" and len(rest) == 1 and len(stack) <= MAX_DEPTH:
            child = stack[-1].setdefault(name, {})
            if isinstance(child, _File):
                raise stream.broken(f"the instruction {step!r}")
            stack.append(child)
        elif kind == b"f" and len(rest) == 3 and _HASH.fullmatch(rest[0]) and rest[1] in (b"x", b"-"):
            stack[-1][name] = _File(rest[0], rest[1])
        else:
            raise stream.broken(f"the instruction {step!r}")
    return {f"{STORE_DIR}/{os.fsdecode(name)}": tree for name, tree in top.items()}


def _links(text: bytes, stream: _Stream) -> dict[bytes, bytes]:
    links = {}
    for line in text.split(b"\0")[:-1]:
        hashed, equals, place = line.partition(b"=")
        if not line:
            continue
        if not equals or not _HASH.fullmatch(hashed):
            raise stream.broken(f"the link {os.fsdecode(line)!r}")
        links[hashed] = place
    return links
