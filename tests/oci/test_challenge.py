"""The header in which a registry says where it gives tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.oci.challenge import bearer_challenge, parse_challenges
from tests.support.hang import no_hang

TOKENS = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", []),
        ("Bearer", [("bearer", {})]),
        ("Bearer x", [("bearer", {}), ("x", {})]),
        ('bearer realm="https://r/token"', [("bearer", {"realm": "https://r/token"})]),
        ("Bearer realm=https://r/token,service=s", [("bearer", {"realm": "https://r/token", "service": "s"})]),
        ('Bearer REALM = "a" ,\t service="b"', [("bearer", {"realm": "a", "service": "b"})]),
        ('Bearer realm="a", realm="b"', [("bearer", {"realm": "a"})]),
        ('Bearer realm="a", Basic realm="b"', [("bearer", {"realm": "a"}), ("basic", {"realm": "b"})]),
        ('Basic realm="b", Bearer realm="a"', [("basic", {"realm": "b"}), ("bearer", {"realm": "a"})]),
        ('Newauth realm="a, Bearer realm=x", Basic', [("newauth", {"realm": "a, Bearer realm=x"}), ("basic", {})]),
        (r'Bearer realm="a\"b\\"', [("bearer", {"realm": 'a"b\\'})]),
        ('Bearer realm="a",\r\n service="b"', [("bearer", {"realm": "a", "service": "b"})]),
        ('Bearer realm="never ends', [("bearer", {"realm": ""})]),
        ('realm="of nothing", Basic', [("basic", {})]),
        ("@@@, Basic", [("basic", {})]),
        (",,, Basic ,,", [("basic", {})]),
    ],
)
def test_challenges(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(header) == found


@given(
    st.lists(
        st.tuples(TOKENS.map(str.lower), st.dictionaries(TOKENS.map(str.lower), VALUES, min_size=1, max_size=4)),
        max_size=4,
    )
)
def test_what_is_written_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in said.items())
        for scheme, said in challenges
    )
    assert parse_challenges(header) == challenges


@given(st.text(st.characters(max_codepoint=255)) | st.text(st.sampled_from('Bearer realm=",\\ ')))
def test_any_header_is_read(header: str) -> None:
    challenge = bearer_challenge(header)
    assert challenge is None or challenge["realm"]


@pytest.mark.parametrize("part", ['a="', 'a="\\', "a ", "a@", "a=,", '"', "\\"])
def test_a_long_header_takes_no_longer_a_byte(part: str) -> None:
    with no_hang():
        parse_challenges(part * 400_000)
