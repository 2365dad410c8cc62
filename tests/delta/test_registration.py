"""What Nix is told of a path, byte by byte, and what becomes of what it refuses."""

import fcntl
import os
import struct
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.format import Sink
from nixoci.delta.model import PathInfo
from nixoci.delta.registration import RefusedError, registration, request
from nixoci.delta.wire import NUMBER, text, texts
from nixoci.errors import DeltaError
from tests.delta.trees import store_path

SERVER = """
import os, struct, sys

def log(*words):
    with open(os.environ["LOG"], "a") as file:
        print(*words, file=file)

def number(): return struct.unpack("<Q", sys.stdin.buffer.read(8))[0]
def text():
    size = number()
    return sys.stdin.buffer.read(size + -size % 8)[:size].decode()
def say(*numbers):
    sys.stdout.buffer.write(b"".join(struct.pack("<Q", each) for each in numbers))
    sys.stdout.buffer.flush()

if "--delete" in sys.argv:
    log("delete", sys.argv[-1])
    os.rename(os.environ["REAL"] + "/" + os.path.basename(sys.argv[-1]), os.environ["LOG"] + ".gone")
    sys.exit()
assert sys.argv[1:] == ["--store", f"local?real={os.environ['REAL']}", "--serve", "--write"], sys.argv
assert (number(), number() >> 8) == (0x390c9deb, 2)
say(0x5452eecb, int(os.environ["VERSION"], 16))
while command := sys.stdin.buffer.read(8):
    assert struct.unpack("<Q", command)[0] == 9
    path, deriver, digest = text(), text(), text()
    references = [text() for _ in range(number())]
    when, size, ultimate = number(), number(), number()
    signatures = [text() for _ in range(number())]
    address = text()
    place = os.environ["REAL"] + "/" + os.path.basename(path)
    for file in (place, place + ".lock"):
        open(file, "w").close()
    nar = sys.stdin.buffer.read(size)
    if len(nar) < size:
        sys.exit("error: unexpected end-of-file")
    if path == os.environ["REFUSE"]:
        sys.exit(f"error: cannot add path '{path}' because it lacks a signature by a trusted key")
    os.remove(place + ".lock")
    log("add", path, digest[:4], *references, size, len(nar))
    say(1)
"""
"""Nix's end of the protocol, as serve-protocol.hh and opServe of nix-store.cc have it."""


class Fake:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.real = folder / "store"
        self.store = f"local?real={self.real}"
        self.monkeypatch = monkeypatch
        for name in ("bin", "store"):
            (folder / name).mkdir()
        program = folder / "bin/nix-store"
        program.write_text(f"#!{sys.executable}\n{SERVER}", encoding="utf-8")
        program.chmod(0o755)
        self.set(PATH=f"{folder}/bin:{os.environ['PATH']}", LOG=f"{folder}/log", REAL=str(self.real))
        self.set(REFUSE="", VERSION="205")

    def set(self, **values: str) -> None:
        for name, value in values.items():
            self.monkeypatch.setenv(name, value)

    @property
    def log(self) -> list[str]:
        return (self.folder / "log").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def nix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(tmp_path, monkeypatch)


INFOS = [
    PathInfo(path=store_path(f"path-{number}", "abcdfghijk"[number % 10]), nar_hash=f"sha256-{'A' * 43}=", nar_size=40)
    for number in range(300)
]


def whole(out: Sink) -> None:
    out.write(bytes(40))


def register(nix: Fake, *paths: tuple[PathInfo, Callable[[Sink], None]]) -> None:
    with registration(store=nix.store) as new:
        for info, write in paths:
            new.add(info, write)


def test_paths_are_registered_in_order(nix: Fake) -> None:
    register(nix, *((info, whole) for info in INFOS))
    assert nix.log == [f"add {info.path} 0000 40 40" for info in INFOS]
    assert len(os.listdir(nix.real)) == len(INFOS)


@pytest.mark.parametrize("number", [0, 1, 5])
def test_what_was_registered_before_a_refusal_goes_again(nix: Fake, number: int) -> None:
    nix.set(REFUSE=INFOS[number].path)
    with pytest.raises(RefusedError, match="lacks a signature by a trusted key; receive it as root") as caught:
        register(nix, *((info, whole) for info in INFOS[:100]))
    assert str(caught.value).startswith(f"{INFOS[number].path}: Nix does not register it: ")
    assert caught.value.info == INFOS[number]
    assert not os.listdir(nix.real)
    assert [line for line in nix.log if line.startswith("add")] == [
        f"add {info.path} 0000 40 40" for info in INFOS[:number]
    ]


def test_what_comes_after_a_refusal_is_not_waited_for(nix: Fake) -> None:
    large = PathInfo(path=INFOS[1].path, nar_hash=INFOS[1].nar_hash, nar_size=50 << 20)
    nix.set(REFUSE=large.path)

    def write(out: Sink) -> None:
        for _ in range(50):
            out.write(bytes(1 << 20))

    with pytest.raises(RefusedError):
        register(nix, (large, write), (INFOS[2], write))
    assert not os.listdir(nix.real)


def test_what_cannot_be_made_is_not_registered(nix: Fake) -> None:
    def fail(out: Sink) -> None:
        out.write(bytes(1 << 20))
        raise DeltaError("no more")

    large = PathInfo(path=INFOS[9].path, nar_hash=INFOS[9].nar_hash, nar_size=2 << 20)

    with pytest.raises(DeltaError, match="no more"):
        register(nix, *((info, whole) for info in INFOS[:9]), (large, fail))
    assert not os.listdir(nix.real)


def test_a_lock_that_another_holds_stays(nix: Fake) -> None:
    lock = nix.real / f"{Path(INFOS[0].path).name}.lock"
    nix.set(REFUSE=INFOS[0].path)
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RefusedError):
            register(nix, (INFOS[0], whole))
    assert os.listdir(nix.real) == [lock.name]
    assert not lock.read_bytes()


@pytest.mark.parametrize("version", ["204", "305"])
def test_another_protocol_is_refused(nix: Fake, version: str) -> None:
    nix.set(VERSION=version)
    with pytest.raises(DeltaError, match=f"speaks version 0x{version} of its protocol, not 2.5; update Nix"):
        register(nix, (INFOS[0], whole))
    assert not os.listdir(nix.real)


@pytest.mark.parametrize("script", ["exit 1", "head -c 16 > /dev/null; exit 1"])
def test_a_nix_that_does_not_answer(nix: Fake, script: str) -> None:
    (nix.folder / "bin/nix-store").write_text(f"#!/bin/sh\necho error: broken >&2\n{script}\n", encoding="ascii")
    with pytest.raises(RefusedError, match="Nix does not register it: broken"):
        register(nix, (INFOS[0], whole))


def read_text(data: bytes, at: int) -> tuple[bytes, int]:
    """Read as Nix does (src/libutil/serialise.cc, readString): what pads must be zeros."""
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
    data = texts(contents) + NUMBER.pack(number) + text(last)
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
