from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.compose.dotenv import parse_dotenv, podman_reads_alike
from nixoci.errors import ComposeError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB = two words \n", {"A": "1", "B": "two words"}),
        ("# comment\n\nexport A=1 # more\n", {"A": "1"}),
        ("A=a#b\n", {"A": "a#b"}),
        ("A='$B \\n'\n", {"A": "$B \\n"}),
        ('A="a\\nb \\"c\\""\n', {"A": 'a\nb "c"'}),
        ('A="one\ntwo"\nB=2\n', {"A": "one\ntwo", "B": "2"}),
        ("A=1\nB=${A}2\nC=${OUT}\n", {"A": "1", "B": "12", "C": "there"}),
        ("A: yaml\n", {"A": "yaml"}),
        ("A=\n", {"A": ""}),
        ("OUT\nNONE\n", {"OUT": "there"}),
        ("\ufeffA=1\r\nB='2\r\n3'\r\n", {"A": "1", "B": "2\n3"}),
        ("A=1\u2028\x0c2\n", {"A": "1\u2028\x0c2"}),
    ],
)
def test_a_file_has_its_variables(text: str, expected: dict[str, str]) -> None:
    assert parse_dotenv(text, ".env", {"OUT": "there"}) == expected


def test_a_quote_that_is_not_closed_takes_no_time() -> None:
    with pytest.raises(ComposeError, match=r"^\.env:1: .* not closed"):
        parse_dotenv("A='\n" + "B\n" * 200_000, ".env", {})


@pytest.mark.parametrize("text", ["A=1\n=2\n", "A=1\nB='2\n", "A=1\nB=${C\n"])
def test_a_wrong_line_is_named(text: str) -> None:
    with pytest.raises(ComposeError, match=r"^\.env:2: "):
        parse_dotenv(text, ".env", {})


@pytest.mark.parametrize(
    ("text", "alike"),
    [
        ("A=1\n# c\nB=x y\n", True),
        ("A='1'\n", False),
        ("A=$B\n", False),
        ("A=1 # c\n", False),
        ("export A=1\n", False),
        ("A = 1\n", False),
        ("A=1\vB\nC=1\u2028x\r\n", True),
        ("A=1\rB\n", True),
    ],
)
def test_podman_knows_no_quotes_variables_and_comments(text: str, alike: bool) -> None:
    assert podman_reads_alike(text) is alike


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_][A-Z0-9_]*", fullmatch=True), st.from_regex(r"[a-z0-9/:.,-]*", fullmatch=True)
    )
)
def test_files_without_notation_are_read_alike(values: dict[str, str]) -> None:
    text = "".join(f"{name}={value}\n" for name, value in values.items())
    assert parse_dotenv(text, ".env", {}) == values
    assert podman_reads_alike(text)
