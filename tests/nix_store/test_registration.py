"""Registering paths with a stand-in for Nix, and the removal of paths that it refuses."""

import fcntl
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nixoci import process
from nixoci.errors import ProcessError, StoreError
from nixoci.nix_store import commands
from nixoci.nix_store.content_address import nar_address
from nixoci.nix_store.hashes import to_sri
from nixoci.nix_store.path import PathInfo
from nixoci.nix_store.registration import RefusedError, registration
from nixoci.streams import Sink
from tests.delta.trees import store_path
from tests.nix_store.fake import WIRE, Fake


@pytest.fixture
def nix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(tmp_path, monkeypatch)


INFOS = [
    PathInfo(path=store_path(f"path-{number}", "abcdfghijk"[number % 10]), nar_hash=f"sha256-{'A' * 43}=", nar_size=40)
    for number in range(300)
]


def whole(out: Sink) -> None:
    out.write(bytes(40))


def register(nix: Fake, *paths: tuple[PathInfo, Callable[[Sink], object]]) -> None:
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
    # Nix deletes no path that another one refers to
    assert [line for line in nix.log if line.startswith("delete")] == [
        f"delete {info.path}" for info in reversed(INFOS[: number + 1])
    ]


def test_the_block_ends_when_nix_has_answered_for_the_last_path(nix: Fake) -> None:
    nix.set(REFUSE=INFOS[2].path)
    with pytest.raises(RefusedError) as caught:
        register(nix, *((info, whole) for info in INFOS[:3]))
    assert caught.value.info == INFOS[2]
    assert not os.listdir(nix.real)


def test_a_path_that_is_still_in_use_is_deleted_later(nix: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_DELETE_PAUSE", 0)
    nix.set(REFUSE=INFOS[0].path, BUSY="3")
    with pytest.raises(RefusedError):
        register(nix, (INFOS[0], whole))
    assert not os.listdir(nix.real)
    assert nix.log == [f"delete {INFOS[0].path}"] * 4


def test_a_refusal_is_found_among_the_answers_that_were_not_read_before(nix: Fake) -> None:
    """Nix ends while a later path is sent, and its answers for the earlier ones are still in the pipe."""
    large = PathInfo(path=INFOS[9].path, nar_hash=INFOS[9].nar_hash, nar_size=50 << 20)
    nix.set(REFUSE=INFOS[5].path)

    def write(out: Sink) -> None:
        for _ in range(50):
            out.write(bytes(1 << 20))

    with pytest.raises(RefusedError) as caught:
        register(nix, *((info, whole) for info in INFOS[:6]), (large, write))
    assert caught.value.info == INFOS[5]
    assert not os.listdir(nix.real)


def test_paths_registered_before_a_failure_are_deleted(nix: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixoci.nix_store.registration._AHEAD", 4)

    def fail(_out: Sink) -> None:
        raise StoreError("no more")

    with pytest.raises(StoreError, match="no more"):
        register(nix, *((info, whole) for info in INFOS[:8]), (INFOS[8], fail))
    assert any(line.startswith("add") for line in nix.log)
    assert not os.listdir(nix.real)


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
        raise StoreError("no more")

    large = PathInfo(path=INFOS[9].path, nar_hash=INFOS[9].nar_hash, nar_size=2 << 20)

    with pytest.raises(StoreError, match="no more"):
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
    with pytest.raises(StoreError, match=f"speaks version 0x{version} of its protocol, not 2.5; update Nix"):
        register(nix, (INFOS[0], whole))
    assert not os.listdir(nix.real)


def test_what_is_valid_is_asked_after_what_was_added(nix: Fake) -> None:
    with registration(store=nix.store) as new:
        assert new.valid([INFOS[0].path, INFOS[1].path]) == {}
        new.add(INFOS[1], whole)
        assert new.valid([INFOS[0].path, INFOS[1].path]) == {INFOS[1].path: INFOS[1]}
        new.add(INFOS[0], whole)
    assert len(nix.log) == 2


CONTENT = bytes(2 << 20)
ADDRESSED = PathInfo(
    path=INFOS[0].path,
    nar_hash=to_sri(sha256(CONTENT).digest()),
    nar_size=len(CONTENT),
    content_address=nar_address(to_sri(sha256(CONTENT).digest())),
)

DAEMON = (
    WIRE
    + """
import os

assert sys.argv[1:] == ["--store", f"local?real={os.environ['REAL']}", "--stdio"]
hello = [number() for _ in range(4)]
assert hello[:2] == [0x6e697863, 0x123]
say(0x6478696f, 0x119, 0x616c7473)
while command := sys.stdin.buffer.read(8):
    asked = struct.unpack("<Q", command)[0], text(), text(), number(), number()
    assert asked == (7, "path-0", "fixed:r:sha256", 0, 0)
    nar = b""
    while size := number():
        nar += sys.stdin.buffer.read(size)
    if os.environ["REFUSE"]:
        say(0x63787470, "no space left on device", 1)
        continue
    open(os.environ["REAL"] + "/" + os.path.basename(os.environ["ADDED"]), "w").close()
    with open(os.environ["LOG"], "a") as file:
        print("content", len(nar), file=file)
    say(0x616c7473, os.environ["ADDED"], "", "0" * 64, 0, 0, len(nar), 0, 0, "")
"""
)


@pytest.fixture
def daemon(nix: Fake) -> Fake:
    program = nix.folder / "bin/nix-daemon"
    program.write_text(f"#!{sys.executable}\n{DAEMON}", encoding="ascii")
    program.chmod(0o755)
    nix.set(ADDED=ADDRESSED.path)
    return nix


def test_a_large_path_with_the_address_of_its_content_is_hashed_once(daemon: Fake) -> None:
    register(daemon, (INFOS[1], whole), (ADDRESSED, lambda out: out.write(CONTENT)), (INFOS[2], whole))
    assert sorted(daemon.log) == [
        f"add {INFOS[1].path} 0000 40 40",
        f"add {INFOS[2].path} 0000 40 40",
        f"content {len(CONTENT)}",
    ]
    assert len(os.listdir(daemon.real)) == 3


@pytest.mark.parametrize(
    "change",
    [{"content_address": None}, {"references": (INFOS[1].path,)}, {"content_address": "fixed:r:sha1:x"}],
    ids=["no address", "references", "another address"],
)
def test_other_large_paths_are_not(daemon: Fake, change: dict[str, Any]) -> None:
    info = replace(ADDRESSED, **change)
    register(daemon, (info, lambda out: out.write(CONTENT)))
    assert daemon.log[0].startswith(f"add {info.path} ")


def test_another_content_is_never_complete(daemon: Fake) -> None:
    with pytest.raises(RefusedError, match=r"hash mismatch: specified sha256-.*, got sha256-") as caught:
        register(daemon, (INFOS[1], whole), (ADDRESSED, lambda out: out.write(CONTENT[1:] + b"x")))
    assert caught.value.info == ADDRESSED
    assert not [line for line in daemon.log if line.startswith("content")]
    assert not os.listdir(daemon.real)


def test_what_the_daemon_refuses_is_named(daemon: Fake) -> None:
    daemon.set(REFUSE="all")
    with pytest.raises(RefusedError, match=r"Nix does not register it: no space left on device$") as caught:
        register(daemon, (INFOS[1], whole), (ADDRESSED, lambda out: out.write(CONTENT)))
    assert caught.value.info == ADDRESSED
    assert not os.listdir(daemon.real)


def test_nothing_is_left_of_what_the_daemon_refuses(daemon: Fake) -> None:
    """Nix leaves a path of less than 32 MiB, and its lock, where the disk is full in the middle of it."""
    daemon.set(REFUSE="all")
    name = Path(ADDRESSED.path).name

    def leave_half(out: Sink) -> None:
        out.write(CONTENT)
        for left in (name, f"{name}.lock"):
            (daemon.real / left).touch()

    with pytest.raises(RefusedError, match="no space left on device"):
        register(daemon, (ADDRESSED, leave_half))
    assert not os.listdir(daemon.real)


def test_a_signal_takes_back_what_was_registered(daemon: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_ended", threading.Event())

    def end(_: Sink) -> None:
        process.end_programs()
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        register(daemon, (ADDRESSED, lambda out: out.write(CONTENT)), (INFOS[1], end))
    assert not os.listdir(daemon.real)


def test_a_path_whose_hash_is_not_known(daemon: Fake) -> None:
    """It stays if the block fails: another may have added it before."""

    def add_and_fail() -> None:
        with registration(store=daemon.store) as new:
            new.get_ready()
            info = new.add_content("path-0", whole)
            assert (info.path, info.nar_size) == (ADDRESSED.path, 40)
            raise StoreError("no more")

    with pytest.raises(StoreError, match="no more"):
        add_and_fail()
    assert os.listdir(daemon.real) == [Path(ADDRESSED.path).name]


@pytest.mark.parametrize("script", ["exit 1", "head -c 16 > /dev/null; exit 1"])
def test_a_nix_that_does_not_answer(nix: Fake, script: str) -> None:
    (nix.folder / "bin/nix-store").write_text(f"#!/bin/sh\necho error: broken >&2\n{script}\n", encoding="ascii")
    with pytest.raises(ProcessError, match="exit code 1: error: broken"), registration(store=nix.store) as new:
        new.valid([INFOS[0].path])
