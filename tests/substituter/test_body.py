"""The NAR that Nix reads: it is whole and right, or it does not end."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.nix_store.hashes import to_sri
from nixoci.substituter import body as module
from nixoci.substituter.body import START, NarBody, TooLateError, Waiting, WrongNarError

if TYPE_CHECKING:
    from collections.abc import Iterator

data = st.binary(min_size=1, max_size=300).map(lambda rest: START + rest)
chunk_sizes = st.lists(st.integers(1, 120), max_size=20)


class Out(io.BytesIO):
    """The connection that Nix reads from."""

    begun = 0

    def begin(self) -> Out:
        self.begun += 1
        return self


@pytest.fixture(params=[1 << 20, 0], ids=["small", "large"], autouse=True)
def whole(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take NARs of these sizes for small or for large ones."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_WHOLE", request.param)
        yield


def body_of(nar: bytes, out: Out) -> NarBody:
    return NarBody(to_sri(hashlib.sha256(nar).digest()), len(nar), out.begin)


def write(body: NarBody, nar: bytes, sizes: list[int]) -> None:
    at = 0
    for size in [*sizes, len(nar)]:
        if part := nar[at : at + size]:
            body.write(part)
            at += size


@given(data, chunk_sizes)
def test_a_right_nar_arrives(nar: bytes, sizes: list[int]) -> None:
    out = Out()
    body = body_of(nar, out)
    write(body, nar, sizes)
    assert out.getvalue() == (b"" if module._WHOLE else nar[:-1]), "the end waits for the hash"
    body.finish()
    assert out.getvalue() == nar
    assert out.begun == 1


@given(data, chunk_sizes, chunk_sizes, st.data())
def test_another_source_goes_on_where_the_first_ended(
    nar: bytes, sizes: list[int], again: list[int], draw: st.DataObject
) -> None:
    out = Out()
    body = body_of(nar, out)
    write(body, nar[: draw.draw(st.integers(0, len(nar)))], sizes)
    body.restart()
    write(body, nar, again)
    body.finish()
    assert out.getvalue() == nar
    assert out.begun == 1


@given(data, chunk_sizes, st.data())
def test_a_wrong_nar_never_ends(nar: bytes, sizes: list[int], draw: st.DataObject) -> None:
    """Whatever comes first, and even if the right one follows."""
    place = draw.draw(st.integers(0, len(nar) - 1))
    wrong = bytearray(nar)
    wrong[place] ^= draw.draw(st.integers(1, 255))
    kind = draw.draw(st.sampled_from(["changed", "short", "long"]))
    first = {"changed": bytes(wrong), "short": nar[:place], "long": nar + b"x"}[kind]
    out = Out()
    body = body_of(nar, out)
    with pytest.raises(WrongNarError):  # noqa: PT012 - either may
        write(body, first, sizes)
        body.finish()
    assert len(out.getvalue()) < len(nar)
    sent = out.getvalue()
    body.restart()
    with suppress(WrongNarError):
        write(body, nar, sizes)
        body.finish()
    assert (out.getvalue() == nar) == nar.startswith(sent)
    assert not (module._WHOLE and sent)
    assert out.getvalue() == nar or len(out.getvalue()) < len(nar)


def test_signs_of_life_are_the_start_of_every_nar() -> None:
    nar = START + b"x" * 20
    out = Out()
    body = body_of(nar, out)
    for _ in range(3):
        body.pulse()
    assert 0 < len(out.getvalue()) < len(START)
    write(body, nar, [])
    body.finish()
    assert out.getvalue() == nar


def test_signs_of_life_end() -> None:
    out = Out()
    body = body_of(START + b"x", out)
    asked = []

    def never(timeout: float) -> bool:
        asked.append(timeout)
        return False

    with pytest.raises(TooLateError):
        Waiting(body, pause=0.5).until(never)
    assert set(asked) == {0.5}
    assert len(asked) == 8
    assert out.getvalue() == START
