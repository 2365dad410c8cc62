"""Rules of compose-spec, 12-interpolation.md."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.compose.interpolate import substitute
from nixoci.errors import ComposeError

VARIABLES = {"SET": "value", "EMPTY": "", "OTHER": "other"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$SET", "value"),
        ("${SET}", "value"),
        ("a${SET}b$OTHER.c", "avalueb" + "other.c"),
        ("$UNSET", ""),
        ("$$SET $$$SET $${SET}", "$SET $value ${SET}"),
        ("${UNSET:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY-default}", ""),
        ("${UNSET-default}", "default"),
        ("${SET:-default}", "value"),
        ("${SET:+there}", "there"),
        ("${EMPTY:+there}", ""),
        ("${EMPTY+there}", "there"),
        ("${UNSET+there}", ""),
        ("${SET:?no}", "value"),
        ("${EMPTY?no}", ""),
        ("${UNSET:-${OTHER}}", "other"),
        ("${UNSET:-a${UNSET:-${SET}}b}c", "avaluebc"),
        ("${UNSET:-http://$SET:80/?a-b}", "http://value:80/?a-b"),
        ("${UNSET:-$$x}", "$x"),
        ("no variable", "no variable"),
    ],
)
def test_a_text_has_its_variables_replaced(text: str, expected: str) -> None:
    assert substitute(text, VARIABLES) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${UNSET:?give a $SET}", "the variable UNSET is not set: give a value"),
        ("${EMPTY:?}", "the variable EMPTY is not set: it is required"),
        ("${UNSET?x}", "the variable UNSET is not set: x"),
        ("costs 5$", "a \\$ without a name"),
        ("$5", "a \\$ without a name"),
        ("${}", "not a variable"),
        ("${1A}", "not a variable"),
        ("${A!}", "not a variable"),
        ("${SET", "brace is not closed"),
        ("${UNSET:-${SET}", "brace is not closed"),
    ],
)
def test_what_is_no_variable_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ComposeError, match=message):
        substitute(text, VARIABLES)


def test_deep_defaults_are_refused() -> None:
    with pytest.raises(ComposeError):
        substitute("${A:-" * 2000 + "}" * 2000, {})


@given(st.text())
def test_a_doubled_dollar_is_always_the_character(text: str) -> None:
    assert substitute(text.replace("$", "$$"), VARIABLES) == text


@given(st.text(), st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True))
def test_a_value_is_never_replaced_again(value: str, name: str) -> None:
    assert substitute(f"<${{{name}}}>", {name: value}) == f"<{value}>"


@given(st.text(alphabet="${}:-?+AB", max_size=30))
def test_any_text_is_replaced_or_refused(text: str) -> None:
    try:
        substitute(text, {"A": "1"})
    except ComposeError as error:
        message = str(error)
    else:
        return
    assert "\n" not in message
