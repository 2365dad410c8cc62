"""The narinfos of a release in one file are read as they were written, and nothing that is read is too large."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.compression import compress
from nixoci.errors import DocumentError
from nixoci.nix_store.hashes import NIX32
from nixoci.publish import narinfos as module
from nixoci.publish.narinfos import MAX_NARINFOS, pack, unpack

hash_parts = st.text(NIX32, min_size=32, max_size=32)
lines = st.lists(st.from_regex(r"\A[A-Z][a-z]{1,9}: [ -~]{1,20}\Z"), max_size=4)


@given(st.dictionaries(hash_parts, lines, max_size=5), st.sampled_from((b"", b"\n")))
def test_narinfos_are_read_as_they_were_written(lines: dict[str, list[str]], end: bytes) -> None:
    texts = {
        part: "\n".join([f"StorePath: /nix/store/{part}-name", *more]).encode() + end for part, more in lines.items()
    }
    data = pack(texts.values())
    assert data is not None
    assert unpack(data, what="it") == {part: text.removesuffix(b"\n") + b"\n" for part, text in texts.items()}


def test_too_many_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NARINFOS", 100)
    assert pack([b"x" * 60]) is not None
    assert pack([b"x" * 60] * 2) is None


def test_a_small_file_is_no_large_one() -> None:
    half = compress(b" " * (MAX_NARINFOS // 2 + 1))
    with pytest.raises(DocumentError, match=f"^it: larger than {MAX_NARINFOS} bytes; publish again$"):
        unpack(half * 2, what="it")


@given(st.binary() | st.binary().map(compress))
def test_anything_else_is_one_kind_of_error(data: bytes) -> None:
    with suppress(DocumentError):
        assert all(len(part) == 32 for part in unpack(data, what="it"))
