from __future__ import annotations

import base64
import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.errors import BlobError
from nixoci.oci.digest import Digest

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_sri_is_the_same_hash_in_base64() -> None:
    assert Digest.parse(f"sha256:{EMPTY}").sri == "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@given(st.binary(), st.sampled_from(["sha256", "sha512"]))
def test_a_digest_is_its_text(data: bytes, algorithm: str) -> None:
    digest = Digest.of(data, algorithm)
    assert str(digest) == f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    assert Digest.parse(str(digest)) == digest
    assert base64.b64decode(digest.sri.partition("-")[2]) == hashlib.new(algorithm, data).digest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        EMPTY,
        f"sha256:{EMPTY[:-1]}",
        f"sha256:{EMPTY}0",
        f"sha256:{EMPTY.upper()}",
        f"sha512:{EMPTY}",
        f"md5:{EMPTY[:32]}",
        f"sha256:../../{EMPTY[6:]}",
        f"sha256:{EMPTY}\n",
        f" sha256:{EMPTY}",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BlobError) as caught:
        Digest.parse(text)
    expected = f"digest {text!r}: expected sha256:<64 hex digits> or sha512:<128 hex digits>"
    assert str(caught.value) == expected


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    with suppress(BlobError):
        assert str(Digest.parse(text)) == text
