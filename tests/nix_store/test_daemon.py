"""The worker protocol, byte by byte: what is sent to `nix-daemon --stdio`, and the reading of its answers."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.errors import StoreError
from nixoci.nix_store import daemon
from nixoci.nix_store.content_address import nar_address
from nixoci.nix_store.daemon import Adder, Daemon, RefusalError
from nixoci.nix_store.hashes import to_sri
from nixoci.nix_store.wire import NUMBER, pack_string, pack_strings
from nixoci.process import Conversation, HungUpError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nixoci.streams import Sink

MAGIC, LAST, ERROR = 0x6478696F, 0x616C7473, 0x63787470
PATH = f"/nix/store/{'a' * 32}-web-1"
DIGEST = bytes(range(32))


def packed(*values: int | str) -> bytes:
    return b"".join(NUMBER.pack(each) if isinstance(each, int) else pack_string(each.encode()) for each in values)


def greeting(version: int = 1 << 8 | 38) -> bytes:
    return packed(MAGIC, version, *(["2.34.8"] if version >= 0x121 else []), *([1] if version >= 0x123 else []), LAST)


def described(path: str = PATH) -> bytes:
    return (
        packed(path, "", DIGEST.hex())
        + pack_strings([])
        + packed(1_700_000_000, 40, 0)
        + pack_strings([])
        + packed(nar_address(to_sri(DIGEST)))
    )


def answering(*answers: bytes) -> tuple[Daemon, io.BytesIO]:
    asked = io.BytesIO()
    return Daemon(Conversation(asked, io.BytesIO(b"".join(answers)))), asked


def whole(out: Sink) -> None:
    out.write(bytes(40))


_TEXTS = st.text("abc", max_size=3)
_FIELDS = st.lists(
    st.integers(0, 9).map(lambda number: packed(0, number)) | _TEXTS.map(lambda text: packed(1, text)), max_size=3
).map(lambda fields: packed(len(fields)) + b"".join(fields))
_MESSAGES = st.lists(
    _TEXTS.map(lambda text: packed(0x6F6C6D67, text))
    | st.tuples(_TEXTS, _FIELDS).map(lambda it: packed(0x53545254, 1, 3, 0, it[0]) + it[1] + packed(0))
    | st.just(packed(0x53544F50, 1))
    | _FIELDS.map(lambda fields: packed(0x52534C54, 1, 105) + fields),
    max_size=4,
).map(b"".join)


@given(_MESSAGES, st.sampled_from([0x119, 0x120, 0x121, 0x122, 0x123, 0x126, 0x1FF]))
def test_messages_before_an_answer_are_skipped(messages: bytes, version: int) -> None:
    nix, _ = answering(greeting(version), messages, packed(LAST), described())
    info = nix.add("web-1", whole)
    assert (info.path, info.nar_hash, info.nar_size) == (PATH, to_sri(DIGEST), 40)
    assert info.content_address == nar_address(to_sri(DIGEST))


@given(st.lists(st.binary(max_size=70), max_size=9), st.integers(1, 64))
def test_a_nar_is_sent_in_frames(pieces: list[bytes], frame: int) -> None:
    nix, asked = answering(greeting(), packed(LAST), described())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daemon, "_FRAME", frame)
        nix.add("web-1", lambda out: [out.write(piece) for piece in pieces])
    sent = asked.getvalue()
    start = packed(0x6E697863, 0x123, 0, 0, 7, "web-1", "fixed:r:sha256", 0, 0)
    assert sent.startswith(start)
    at, nar, sizes = len(start), b"", []
    while size := NUMBER.unpack_from(sent, at)[0]:
        nar += sent[at + 8 : at + 8 + size]
        at += 8 + size
        sizes.append(size)
    assert (nar, at + 8) == (b"".join(pieces), len(sent))


@pytest.mark.parametrize(
    ("version", "error"),
    [
        (0x119, packed(ERROR, "no space left", 1)),
        (0x126, packed(ERROR, "Error", 0, "Error", "no space left", 0, 1, 0, "while adding")),
        (0x126, packed(ERROR, "Error", 0, "Error", "no \x1b[35;1mspace\x1b[0m\n  left\n", 0, 0)),
    ],
)
def test_a_refusal_has_the_reason_of_nix(version: int, error: bytes) -> None:
    nix, _ = answering(greeting(version), error, packed(LAST), described())
    with pytest.raises(RefusalError, match=r"^no space left$"):
        nix.add("web-1", whole)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (packed(MAGIC, 0x118), "speaks version 0x118 of its protocol, not 1.25; update Nix"),
        (packed(MAGIC, 0x226), "speaks version 0x226 of its protocol, not 1.25"),
        (packed(MAGIC + 1, 0x126), "of its protocol, not 1.25"),
        (greeting()[:-8] + packed(5), "answers 0x5"),
        (greeting() + packed(LAST, PATH, "", "x"), f"says of {PATH}: "),
        (packed(MAGIC, 0x126, 1 << 40), f"answers with a text of {1 << 40} bytes"),
    ],
)
def test_another_protocol_is_refused(answer: bytes, says: str) -> None:
    nix, _ = answering(answer, bytes(64))
    with pytest.raises(StoreError, match=r"^nix-daemon --stdio ") as caught:
        nix.add("web-1", whole)
    assert says in str(caught.value)


def test_a_daemon_that_has_ended_is_noticed() -> None:
    nix, _ = answering(greeting(), packed(LAST, PATH))
    with pytest.raises(HungUpError):
        nix.add("web-1", whole)


def test_a_nar_that_fails_is_not_complete() -> None:
    nix, asked = answering(greeting(), packed(LAST), described())

    def fail(out: Sink) -> None:
        whole(out)
        raise StoreError("no more")

    with pytest.raises(StoreError, match="no more"):
        nix.add("web-1", fail)
    assert asked.getvalue() == packed(0x6E697863, 0x123, 0, 0, 7, "web-1", "fixed:r:sha256", 0, 0)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes a program in place of `nix-daemon`."""

    def make(text: str) -> None:
        file = tmp_path / "nix-daemon"
        file.write_text(f"#!{sys.executable}\nimport sys\n{text}", encoding="ascii")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return make


SAY = "sys.stdout.buffer.write({!r}); sys.stdout.flush(); "


def test_it_starts_once_for_several_paths(program: Callable[[str], None]) -> None:
    answers = greeting() + (packed(LAST) + described()) * 2
    program(f"assert sys.argv[1:] == ['--store', '/chroot', '--stdio']\n{SAY.format(answers)}sys.stdin.read()")
    with Adder(store="/chroot") as adder:
        adder.start()
        assert [adder.add("web-1", whole).path for _ in range(2)] == [PATH, PATH]


def test_what_nix_says_when_it_ends_is_told(program: Callable[[str], None]) -> None:
    program(f"{SAY.format(greeting())}sys.exit('error: the disk is full')")
    with Adder(store=None) as adder, pytest.raises(RefusalError, match=r"^the disk is full$"):
        adder.add("web-1", whole)


@pytest.mark.parametrize("text", ["sys.exit('error: broken')", SAY.format(packed(MAGIC, 0x110)), None])
def test_where_it_does_not_work_there_is_none(
    program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    if text is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        program(text)
    with Adder(store=None) as adder:
        assert not adder.works()
        assert not adder.works()
        with pytest.raises(RefusalError, match=r"^there is no `nix-daemon` that can; install"):
            adder.add("web-1", whole)
