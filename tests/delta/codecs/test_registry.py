import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.codecs.elf import ELF
from nixoci.delta.codecs.registry import CODECS, decode
from nixoci.errors import DeltaError


def test_the_numbers_are_those_of_the_format() -> None:
    named = {number: codec.name for number, codec in CODECS.items()}
    expected = {0: "plain", 1: "hdiff", 2: "zstd", 3: "splice", 4: "elf", 5: "deflate", 6: "cds", 7: "jimage"}
    assert named == expected
    assert [number for number, codec in CODECS.items() if not codec.uses_old] == [0]


@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=40))
def test_any_payload_is_decoded_or_refused(number: int, payload: bytes) -> None:
    made, refusal = b"", ""
    try:
        made = decode(number, payload, b"an old content " * 9, 1000)
    except DeltaError as error:
        refusal = str(error)
    assert len(made) <= 1000
    assert "\n" not in refusal


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(DeltaError, match="codec 9 is not known"):
        decode(9, b"", b"", 1)


def test_a_slow_codec_declares_the_size_of_a_content() -> None:
    declaring = {codec.name: codec.declared for codec in CODECS.values() if codec.declared is not None}
    assert list(declaring) == ["elf"]
    assert declaring["elf"](b"\xac\x02" + bytes(9)) == 300


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\xff" * 12])
def test_a_payload_that_is_cut_declares_nothing(payload: bytes) -> None:
    assert ELF.declared is not None
    assert ELF.declared(payload) == 0
