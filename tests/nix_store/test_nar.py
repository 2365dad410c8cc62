import io
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from nixoci.errors import StoreError
from nixoci.nix_store.nar import NarWriter
from nixoci.openat import open_below
from nixoci.streams import Data, ThreadedSink
from tests.delta.trees import Spec, make, nar


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 20))

    class Cutting:
        def write(self, data: Data) -> None:
            if len(data) > 1000:
                os.truncate(tmp_path / "file", 300_000)

    writer = NarWriter(Cutting(), limit=1 << 40, what="d")
    with pytest.raises(
        StoreError, match=r"^d: a file in the store lacks 748576 of its 1048576 bytes; verify the store$"
    ):
        open_below(tmp_path / "file", b"", writer.dump)


def test_what_a_thread_writes_lacks_no_byte_of_a_file_that_shrinks_either(tmp_path: Path) -> None:
    class Cutting:
        def write(self, _: Data, /) -> None:
            os.truncate(tmp_path / "file", 2_000_000)

    (tmp_path / "file").write_bytes(bytes(8 << 20))
    with ThreadedSink(Cutting()) as sink:
        writer = NarWriter(sink, limit=1 << 40, what="d")
        with pytest.raises(StoreError, match=r"^d: a file in the store lacks [0-9]+ of its 8388608 bytes"):
            open_below(tmp_path / "file", b"", writer.dump)


def test_files_without_content_wait_in_pieces() -> None:
    """As one piece, 20 000 symlinks took 40 seconds."""
    pieces: list[int] = []

    class Measuring:
        def write(self, data: Data) -> None:
            pieces.append(len(data))

    writer = NarWriter(Measuring(), limit=1 << 40, what="d")
    writer.begin_directory()
    for number in range(3000):
        writer.begin_entry(b"%04d" % number)
        writer.symlink(b"target")
        writer.end_entry()
    writer.end_directory()
    assert sum(pieces) == writer.size
    assert len(pieces) == 3
    assert max(pieces) <= 1 << 18


def test_small_files_are_written_with_what_is_between_them(tmp_path: Path) -> None:
    class Counting:
        writes = 0
        data = b""

        def write(self, data: Data) -> None:
            self.writes += 1
            self.data += data

    for number in range(100):
        (tmp_path / str(number)).write_bytes(b"content")
    out = Counting()
    writer = NarWriter(out, limit=1 << 40, what="d")
    open_below(tmp_path, b"", writer.dump)
    assert (out.data, writer.size) == (nar(tmp_path)[0], len(out.data))
    assert out.writes == 1


NODES: Spec = {
    b"\xff": b"a name that is not UTF-8",
    b"empty": {},
    b"large": bytes(1 << 17) + b"x" * (1 << 18),
    b"links": {b"a": ("l", b"to"), "\u20ac".encode(): ("l", b"\xff"), b"z": ("x", b"")},
    b"program": ("x", b"#!"),
}


@pytest.mark.parametrize("threaded", [False, True])
def test_a_tree_has_one_archive_however_it_is_written(tmp_path: Path, threaded: bool) -> None:
    """The expected one is that of `nix-store --dump`, written by its specification."""
    make(os.fsencode(tmp_path / "tree"), NODES)
    out = io.BytesIO()
    with ThreadedSink(out) if threaded else nullcontext() as sink:
        writer = NarWriter(sink or out, limit=1 << 40, what="d")
        open_below(tmp_path / "tree", b"", writer.dump)
        if sink:
            sink.finish()
    assert out.getvalue() == specified(os.fsencode(tmp_path / "tree"))
    assert writer.size == len(out.getvalue())


def specified(path: bytes) -> bytes:
    """Return the archive of a tree, as the Nix manual defines it."""

    def text(*strings: bytes) -> bytes:
        return b"".join(len(each).to_bytes(8, "little") + each + bytes(-len(each) % 8) for each in strings)

    def node(path: bytes) -> bytes:
        if os.path.islink(path):
            inner = text(b"type", b"symlink", b"target", os.readlink(path))
        elif os.path.isdir(path):
            entries = ((name, node(path + b"/" + name)) for name in sorted(os.listdir(path)))
            inner = text(b"type", b"directory") + b"".join(
                text(b"entry", b"(", b"name", name, b"node") + child + text(b")") for name, child in entries
            )
        else:
            inner = text(b"type", b"regular", *([b"executable", b""] if os.access(path, os.X_OK) else []), b"contents")
            inner += text(Path(os.fsdecode(path)).read_bytes())
        return text(b"(") + inner + text(b")")

    return text(b"nix-archive-1") + node(path)


def test_a_nar_does_not_exceed_its_limit() -> None:
    class Counting:
        size = 0

        def write(self, data: Data) -> None:
            self.size += len(data)

    out = Counting()
    writer = NarWriter(out, limit=200, what="d")
    writer.begin_regular(1000, executable=False)
    with pytest.raises(StoreError, match=r"^d: its NAR is larger than the 200 bytes"):
        writer.write(bytes(1000))
    assert out.size <= 200
