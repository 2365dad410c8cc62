"""The stream of reUpNix without Nix; tests/host has tests with its own programs."""

import io
from pathlib import Path

import pytest

from nixoci.delta import reupnix
from nixoci.delta.summary import SendSummary, Totals
from nixoci.errors import DeltaError, NixociError
from tests.delta.trees import Spec, closure, nar, store_path

OLD, NEW = store_path("app-1.0", "a"), store_path("app-1.1", "b")
META = (".toplevel-paths", ".restore-links", ".cerate-paths", ".delete-paths", ".prune-links")
HASH = "0" * 52


def member(name: str, content: bytes = b"", flags: str = "-") -> bytes:
    return f"{name} {flags} {len(content)}\n".encode() + content + b"\n"


def stream(*files: bytes, **meta: bytes) -> bytes:
    """Return a stream of these files; instructions are given by name, without the dots and dashes."""
    parts = [member(name, meta.get(name.strip(".").replace("-", "_"), b"")) for name in META]
    return b"".join([*parts, member(".meta-end"), *files, member(".data-end")])


def read(data: bytes, real: Path, spool: Path) -> dict[str, tuple[str, int]]:
    """Return hash and size of each path that a stream makes, but for the part that asks Nix."""
    reader = reupnix._Stream(io.BytesIO(data).read, "it")
    meta = {name: reader.meta(name) for name in reupnix._META}
    if reader.member() != (b".meta-end", b"-", 0):
        raise reader.broken("no .meta-end after the instructions")
    reader.end_member()
    spool.mkdir(exist_ok=True)
    reupnix._read_files(reader, spool)
    trees = reupnix._trees(meta[b".cerate-paths"], reader)
    builder = reupnix._Builder(spool, reupnix._links(meta[b".restore-links"], reader), real, {})
    infos = [builder.measure(path, tree) for path, tree in trees.items()]
    return {info.path: (info.nar_hash, info.nar_size) for info in infos}


def test_a_stream_is_read_as_it_was_written(tmp_path: Path) -> None:
    files: dict[bytes, Spec] = {b"same": b"kept", b"out": ("l", b"/etc")}
    old = closure(tmp_path, {OLD: files})
    (tmp_path / "sender").mkdir()
    new = closure(tmp_path / "sender", {NEW: files | {b"new": ("x", b"made"), b"dir": {b"empty": b""}}})
    out = io.BytesIO()
    reupnix.write(old, new, out)
    _, sri, size = nar(new.on_disk(NEW))
    assert read(out.getvalue(), tmp_path, tmp_path / "spool") == {NEW: (sri, size)}


def test_the_figures_are_those_of_the_stream(tmp_path: Path) -> None:
    same: dict[bytes, Spec] = {b"kept": bytes(5000), b"link": ("l", b"kept")}
    old = closure(tmp_path, {OLD: {**same, b"changed": b"old"}})
    new = closure(tmp_path, {NEW: {**same, b"changed": b"new one", b"again": b"new one"}})
    out = io.BytesIO()
    assert reupnix.write(old, new, out) == SendSummary(
        paths=1,
        bases=1,
        nar_size=new.paths[NEW].nar_size,
        delta_size=len(out.getvalue()),
        by={"kept": Totals(count=2, size=5004, payload=0), "plain": Totals(count=1, size=7, payload=7)},
    )


def test_a_stream_without_changes_has_figures_too(tmp_path: Path) -> None:
    old = closure(tmp_path, {OLD: {b"file": b"content"}})
    out = io.BytesIO()
    summary = reupnix.write(old, old, out)
    assert (summary.paths, summary.by, summary.delta_size) == (0, {}, len(out.getvalue()))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (stream(member(HASH, b"", "l")), "a symlink of 0 bytes, to ''"),
        (stream(member(HASH, b"t" * 5000, "l")), "a symlink of 5000 bytes, to ''"),
        (stream(member(HASH, b"a\0b", "l")), r"a symlink of 3 bytes, to 'a\x00b'"),
        (stream(member(HASH, b"/nowhere", "l"), member(HASH, b"x")), f"a file named '{HASH}'"),
        (stream(member(HASH, b"/nowhere", "l"), member(HASH, b"/nowhere", "l")), f"a file named '{HASH}'"),
        (stream(member("../x", b"x")), "a file named '../x'"),
        (stream(cerate_paths=b"d/..\0"), "the instruction b'd/..'"),
        (stream(cerate_paths=b"d/a\0f/" + HASH.encode() + b"/-/x\0d/x\0"), "the instruction b'd/x'"),
        (stream(restore_links=b"x=y\0"), "the link 'x=y'"),
    ],
)
def test_a_hostile_stream_is_refused_in_one_line(data: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(DeltaError) as caught:
        read(data, tmp_path, tmp_path / "spool")
    assert str(caught.value) == f"it: damaged reUpNix stream: it has {says}; send it again"


@pytest.mark.parametrize(
    "place", [b"../../etc/passwd", OLD[11:].encode() + b"/../x", OLD[11:].encode() + b"/a\0b", b"", b"x"]
)
def test_a_copy_from_outside_of_the_store_is_refused(place: bytes, tmp_path: Path) -> None:
    links = HASH.encode() + b"=" + place + b"\0"
    with pytest.raises(NixociError):
        read(stream(restore_links=links, cerate_paths=b"f/" + HASH.encode() + b"/-/x\0"), tmp_path, tmp_path / "spool")
