import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.errors import StoreError
from nixoci.nix_store.hashes import from_nix32, from_sri, is_sri, printed_to_sri, to_nix32, to_sri

EMPTY = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def test_the_forms_are_those_that_nix_prints() -> None:
    assert to_nix32(EMPTY) == b"0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"
    assert to_sri(EMPTY) == "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@given(st.sampled_from([16, 20, 32, 64]).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
def test_base_32_goes_both_ways(digest: bytes) -> None:
    assert from_nix32(to_nix32(digest).decode(), len(digest)) == digest


@given(st.binary(min_size=32, max_size=32))
def test_every_form_of_a_hash_is_the_same(digest: bytes) -> None:
    sri = f"sha256-{base64.b64encode(digest).decode()}"
    assert to_sri(digest) == sri
    assert is_sri(sri)
    assert from_sri(sri) == digest
    for printed in (sri, f"sha256:{digest.hex()}", f"sha256:{to_nix32(digest).decode()}"):
        assert printed_to_sri(printed) == sri


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "e" * 32, "\n" + "0" * 31, "0" * 31 + "\u0661"])
def test_something_else_is_no_base_32(text: str) -> None:
    with pytest.raises(StoreError, match="is not a hash of 20 bytes"):
        from_nix32(text, 20)


@pytest.mark.parametrize("text", ["", "sha256:", "md5:" + "0" * 26, "sha256:" + "z" * 52, "sha256-" + "A" * 44])
def test_something_else_is_no_hash(text: str) -> None:
    assert not is_sri(text)
    with pytest.raises(StoreError, match="is not a"):
        printed_to_sri(text)
