"""The protocol of `nix-store --serve`, byte by byte: requests to Nix, and the reading of its answers."""

import io
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.errors import StoreError
from nixoci.nix_store.hashes import to_nix32
from nixoci.nix_store.path import PathInfo
from nixoci.nix_store.serve import Server, request
from nixoci.nix_store.wire import NUMBER, pack_string, pack_strings
from nixoci.process import Conversation, HungUpError
from tests.delta.trees import store_path

GREETING = NUMBER.pack(0x5452EECB) + NUMBER.pack(0x206)
NAMES = [store_path(f"path-{letter}", letter) for letter in "abcdfghijk"]


def served(*answers: bytes) -> tuple[Server, io.BytesIO]:
    """Return a server with these answers, and the requests that it gets."""
    asked = io.BytesIO()
    return Server(Conversation(asked, io.BytesIO(b"".join(answers)))), asked


def read_text(data: bytes, at: int) -> tuple[bytes, int]:
    """Read as Nix does (src/libutil/serialise.cc, readString): padding must be zeros."""
    size = int.from_bytes(data[at : at + 8], "little")
    content = data[at + 8 : at + 8 + size]
    end = at + 8 + -(-size // 8) * 8
    assert len(content) == size
    assert len(data) >= end
    assert not any(data[at + 8 + size : end])
    return content, end


def read_texts(data: bytes, at: int) -> tuple[list[bytes], int]:
    count = int.from_bytes(data[at : at + 8], "little")
    at += 8
    found = []
    for _ in range(count):
        content, at = read_text(data, at)
        found.append(content)
    return found, at


@given(st.lists(st.binary(max_size=40)), st.integers(min_value=0, max_value=(1 << 64) - 1), st.binary(max_size=40))
def test_what_is_written_is_read_back(contents: list[bytes], number: int, last: bytes) -> None:
    data = pack_strings(contents) + NUMBER.pack(number) + pack_string(last)
    assert len(data) % 8 == 0
    found, at = read_texts(data, 0)
    assert found == contents
    assert int.from_bytes(data[at : at + 8], "little") == number
    assert read_text(data, at + 8) == (last, len(data))


_NAME = st.text("abcdfghijklmnpqrsvwxyz0123456789", min_size=1, max_size=20)
_PATH = _NAME.map(lambda name: store_path(name, "c"))


INFO = st.builds(
    PathInfo,
    path=_PATH,
    nar_hash=st.binary(min_size=32, max_size=32).map(lambda digest: f"sha256-{b64encode(digest).decode()}"),
    nar_size=st.integers(min_value=1, max_value=1 << 50),
    references=st.lists(_PATH, max_size=4).map(tuple),
    deriver=st.none() | _PATH,
    signatures=st.lists(_NAME, max_size=3).map(tuple),
    content_address=st.none() | _NAME,
)


@given(INFO)
def test_a_request_holds_all_of_a_path(info: PathInfo) -> None:
    data = request(info)
    assert data[:8] == bytes([9, 0, 0, 0, 0, 0, 0, 0])
    path, at = read_text(data, 8)
    made_by, at = read_text(data, at)
    hexadecimal, at = read_text(data, at)
    refers, at = read_texts(data, at)
    assert list(struct.unpack_from("<3Q", data, at)) == [0, info.nar_size, 0]
    signed, at = read_texts(data, at + 24)
    addressed, at = read_text(data, at)
    assert at == len(data)
    assert (path.decode(), made_by.decode()) == (info.path, info.deriver or "")
    assert f"sha256-{b64encode(bytes.fromhex(hexadecimal.decode())).decode()}" == info.nar_hash
    assert tuple(each.decode() for each in refers) == info.references
    assert tuple(each.decode() for each in signed) == info.signatures
    assert addressed.decode() == (info.content_address or "")


INFOS = st.lists(INFO, max_size=5, unique_by=lambda info: info.path)


def told(info: PathInfo) -> bytes:
    """Return a path as Nix tells of it (src/libstore/serve-protocol.cc, UnkeyedValidPathInfo)."""
    return b"".join(
        (
            pack_string(info.path.encode()),
            pack_string((info.deriver or "").encode()),
            pack_strings(reference.encode() for reference in info.references),
            NUMBER.pack(0) + NUMBER.pack(info.nar_size),
            pack_string(b"sha256:" + to_nix32(digest(info))),
            pack_string((info.content_address or "").encode()),
            pack_strings(signature.encode() for signature in info.signatures),
        )
    )


def digest(info: PathInfo) -> bytes:
    return b64decode(info.nar_hash.removeprefix("sha256-"))


def sorted_info(info: PathInfo) -> PathInfo:
    return replace(info, references=tuple(sorted(info.references)), signatures=tuple(sorted(info.signatures)))


@given(INFOS, st.lists(_PATH, max_size=3))
def test_what_nix_tells_of_paths_is_understood(infos: list[PathInfo], others: list[str]) -> None:
    server, asked = served(GREETING, *map(told, infos), pack_string(b""))
    paths = [info.path for info in infos] + others
    assert server.path_infos(paths) == {info.path: sorted_info(info) for info in infos}
    data = asked.getvalue()
    assert struct.unpack_from("<3Q", data) == (0x390C9DEB, 0x205, 2)
    found, at = read_texts(data, 24)
    assert (at, [each.decode() for each in found]) == (len(data), paths)


@given(st.sets(_PATH, max_size=5), st.sets(_PATH, max_size=5))
def test_what_is_valid_is_asked_so_that_it_stays(valid: set[str], others: set[str]) -> None:
    server, asked = served(GREETING, pack_strings(path.encode() for path in valid))
    assert server.valid_paths(sorted(valid | others)) == valid
    data = asked.getvalue()
    lock, substitute = 1, 0
    assert struct.unpack_from("<5Q", data) == (0x390C9DEB, 0x205, 1, lock, substitute)
    assert read_texts(data, 40) == ([path.encode() for path in sorted(valid | others)], len(data))


def info(path: str, *references: str) -> PathInfo:
    return PathInfo(path=path, nar_hash=f"sha256-{'A' * 43}=", nar_size=120, references=references)


def test_a_closure_is_what_its_paths_refer_to() -> None:
    top, other, library, lowest = (
        info(NAMES[0], NAMES[0], NAMES[2]),
        info(NAMES[1], NAMES[2], NAMES[3]),
        info(NAMES[2], NAMES[3]),
        info(NAMES[3]),
    )
    rounds = [told(top) + told(other) + pack_string(b""), told(library) + told(lowest) + pack_string(b"")]
    server, asked = served(GREETING, *rounds)
    assert server.closure([top.path, other.path]) == {each.path: each for each in (top, other, library, lowest)}
    assert asked.getvalue().count(NUMBER.pack(2) + NUMBER.pack(2)) == 2


def test_a_closure_of_what_is_not_valid() -> None:
    server, _ = served(GREETING, told(info(NAMES[0], NAMES[1])), pack_string(b""), pack_string(b""))
    with pytest.raises(StoreError, match=f"^{NAMES[1]}: not a valid path of the store; build or copy it first$"):
        server.closure([NAMES[0]])


@pytest.mark.parametrize("version", [0x204, 0x305, 0x105])
def test_another_version_of_the_protocol(version: int) -> None:
    server, _ = served(NUMBER.pack(0x5452EECB), NUMBER.pack(version))
    with pytest.raises(StoreError, match=f"^nix-store --serve speaks version {version:#x} of its protocol, not 2.5; "):
        server.valid_paths([])


def answer(nar_hash: bytes) -> Iterable[bytes]:
    return (
        pack_string(NAMES[0].encode()),
        pack_string(b""),
        pack_strings([]),
        bytes(16),
        pack_string(nar_hash),
        pack_string(b""),
        pack_strings([]),
        pack_string(b""),
    )


@pytest.mark.parametrize("nar_hash", [b"", b"md5:" + b"0" * 26, b"sha256:" + b"z" * 52, b"sha256:" + b"0" * 51])
def test_a_hash_that_is_none(nar_hash: bytes) -> None:
    server, _ = served(GREETING, *answer(nar_hash))
    with pytest.raises(StoreError, match=f"^nix-store --serve says of {NAMES[0]}: .*; update Nix$"):
        server.path_infos(NAMES[:1])


def test_an_answer_out_of_step() -> None:
    server, _ = served(GREETING, NUMBER.pack(1 << 40))
    with pytest.raises(StoreError, match=r"^nix-store --serve answers with a text of 1099511627776 bytes; update Nix$"):
        server.path_infos(NAMES[:1])
    server, _ = served(GREETING, NUMBER.pack(7))
    server.add(info(NAMES[0]), lambda _: None)
    with pytest.raises(StoreError, match=r"^nix-store --serve answers 7; update Nix$"):
        server.added()


@given(st.data())
def test_an_answer_that_ends_early(data: st.DataObject) -> None:
    whole = GREETING + told(info(*NAMES[:3])) + pack_string(b"")
    server, _ = served(whole[: data.draw(st.integers(min_value=0, max_value=len(whole) - 1))])
    with pytest.raises(HungUpError):
        server.path_infos(NAMES[:1])
