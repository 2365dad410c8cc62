"""The reader and the merge against random input."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.errors import LayerError
from nixoci.tree.byte_stream import ChunkStream
from nixoci.tree.model import Kind
from nixoci.tree.tar_format import KIND_FLAGS
from tests.support.layers import (
    content,
    description,
    directory,
    file,
    layer,
    merge,
    opaque,
    read,
    symlink,
    whiteout,
)

CHUNKS = st.lists(st.binary(max_size=20), max_size=12)


@given(
    CHUNKS, st.lists(st.tuples(st.sampled_from(["read", "skip", "pieces", "piece"]), st.integers(0, 30)), max_size=20)
)
def test_a_byte_stream_is_its_bytes_however_they_are_cut(chunks: list[bytes], steps: list[tuple[str, int]]) -> None:
    whole, stream = b"".join(chunks), ChunkStream(chunks)
    at = 0
    for step, length in steps:
        expected = whole[at : at + length]
        if step == "read":
            assert stream.read(length) == expected
        elif step == "pieces":
            assert b"".join(stream.pieces(length)) == expected
        elif step == "piece":
            piece = stream.piece(length)
            expected = expected if piece is not None else b""
            assert piece is None or piece == whole[at : at + length]
        else:
            assert stream.skip(length) is (len(expected) == length)
        at += len(expected)
        assert stream.position == at
    stream.drain()
    assert stream.position == len(whole)


@dataclass(frozen=True)
class Made:
    """One member of a random archive, as tarfile wants it."""

    info: tarfile.TarInfo
    data: bytes


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60)
PATHS = st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4).map("/".join)


@st.composite
def members(draw: st.DrawFn) -> Made:
    info = tarfile.TarInfo(draw(PATHS))
    types = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
    info.type = draw(st.sampled_from(types))
    info.mode = draw(st.integers(0, 0o7777))
    info.uid, info.gid = draw(st.integers(0, 1 << 31)), draw(st.integers(0, 1 << 31))
    info.mtime = draw(st.integers(-(1 << 40), 1 << 40))
    if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        info.linkname = draw(PATHS)
    if info.type == tarfile.CHRTYPE:
        info.devmajor, info.devminor = draw(st.integers(0, 4095)), draw(st.integers(0, (1 << 20) - 1))
    data = draw(st.binary(max_size=1500)) if info.type == tarfile.REGTYPE else b""
    info.size = len(data)
    return Made(info, data)


@given(st.lists(members(), max_size=6), st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), st.integers(1, 2000))
def test_what_tarfile_writes_is_read(made: list[Made], form: int, chunk: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for member in made:
            archive.addfile(member.info, io.BytesIO(member.data))
    data = buffer.getvalue()
    entries = read(data, chunk=chunk)
    assert [entry.path.decode() for entry in entries] == [member.info.name for member in made]
    for entry, member in zip(entries, made, strict=True):
        info, inode = member.info, entry.inode
        if info.type == tarfile.LNKTYPE:
            assert (inode, entry.link.decode()) == (None, info.linkname)
            continue
        assert inode is not None
        assert (inode.mode, inode.uid, inode.gid) == (info.mode, info.uid, info.gid)
        assert inode.mtime == info.mtime * 10**9
        assert KIND_FLAGS[inode.kind] == info.type
        if inode.kind is Kind.REGULAR:
            assert content(inode) == member.data
        if inode.kind is Kind.SYMLINK:
            assert inode.target.decode() == info.linkname
        if inode.kind is Kind.CHARACTER:
            assert inode.device == (info.devmajor, info.devminor)


def complaint(data: bytes) -> str:
    try:
        read(data)
    except LayerError as error:
        return str(error)
    return ""


@given(st.data())
@settings(max_examples=300)
def test_a_damaged_archive_is_an_error_of_one_line_or_still_an_archive(data: st.DataObject) -> None:
    whole = bytearray(
        layer(directory(b"d/"), file(b"d/f", b"c" * 700, mtime=1), symlink(b"s", b"d"), whiteout(b"d/x"), opaque(b"e"))
    )
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    message = complaint(bytes(whole))
    assert not message or message.startswith("layer L: ")
    assert "\n" not in message


@given(st.binary(max_size=3000))
def test_noise_is_an_error_of_one_line_or_an_archive(noise: bytes) -> None:
    assert "\n" not in complaint(noise)


LOWER = layer(
    directory(b"a/", mode=0o700),
    file(b"a/a"),
    file(b"a/b/a"),
    file(b"a/b/b"),
    file(b"b/a/a", b"1"),
    file(b"b/b"),
    file(b"c"),
)
PLACES = [b"a", b"b", b"c", b"a/a", b"a/b", b"b/a", b"a/b/a", b"a/b/b", b"b/a/a", b"a/b/c"]
REMOVALS = st.one_of(st.sampled_from(PLACES).map(whiteout), st.sampled_from([*PLACES, b""]).map(opaque))
ADDITIONS = st.one_of(
    st.sampled_from(PLACES).map(lambda path: file(path, b"new")),
    st.sampled_from(PLACES).map(lambda path: directory(path + b"/", mode=0o711)),
)


@given(st.lists(ADDITIONS, max_size=4), st.lists(REMOVALS, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_whiteouts_act_alike_wherever_in_their_layer_they_stand(
    additions: list[bytes], removals: list[bytes], random: object
) -> None:
    """Entries keep their order, since the last one wins; the removals are spread among them."""
    assert hasattr(random, "randint")
    spread = list(additions)
    for removal in removals:
        spread.insert(random.randint(0, len(spread)), removal)
    first = merge(LOWER, layer(*removals, *additions))
    assert description(merge(LOWER, layer(*additions, *removals))) == description(first)
    assert description(merge(LOWER, layer(*spread))) == description(first)
