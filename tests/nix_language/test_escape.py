from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nixoci.errors import EscapeError
from nixoci.nix_language.escape import NixExpr, array, attribute_name, attributes, integer, real, string, value

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("", '""'),
        ("plain", '"plain"'),
        ('say "hi"', r'"say \"hi\""'),
        (r"back\slash", r'"back\\slash"'),
        ("${builtins.currentTime}", r'"\${builtins.currentTime}"'),
        ("\\${x}", r'"\\\${x}"'),
        ("$${x}", r'"$\${x}"'),
        ("$x {y} $", '"$x {y} $"'),
        ("a\nb\rc\td", r'"a\nb\rc\td"'),
        ("\b\f\v\x1b", '"\b\f\v\x1b"'),  # raw: Nix would read \b as b
        ("é 🐳", '"é 🐳"'),
        ("''two quotes''", "\"''two quotes''\""),
    ],
)
def test_strings(text: str, literal: str) -> None:
    assert string(text) == literal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\0b", "'a\\x00b': a Nix string cannot hold the character NUL"),
        ("\udcff", "'\\udcff': not Unicode text: surrogates not allowed"),
    ],
)
def test_strings_that_nix_cannot_hold(text: str, message: str) -> None:
    with pytest.raises(EscapeError) as caught:
        string(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("nginx", "nginx"),
        ("_x'-9", "_x'-9"),
        ("9lives", '"9lives"'),
        ("-x", '"-x"'),
        ("a.b", '"a.b"'),
        ("linux/amd64", '"linux/amd64"'),
        ("", '""'),
        ("${x}", r'"\${x}"'),
        ("inherit", '"inherit"'),
        ("or", '"or"'),
        ("é", '"é"'),
        ("x\n", r'"x\n"'),
    ],
)
def test_attribute_names(name: str, written: str) -> None:
    assert attribute_name(name) == written


@pytest.mark.parametrize(
    ("number", "literal"),
    [
        (0.5, "0.5"),
        (1e22, "1.0e+22"),
        (1e-7, "1.0e-07"),
        (-2.0, "-2.0"),
    ],
)
def test_floats_have_a_dot(number: float, literal: str) -> None:
    assert real(number) == literal


@pytest.mark.parametrize(
    ("make", "refused"),
    [(integer, 2**63), (integer, -(2**63)), (real, float("inf")), (real, float("nan")), (value, {1, 2})],
)
def test_values_without_a_literal(make: Callable[[Any], NixExpr], refused: Any) -> None:
    with pytest.raises(EscapeError):
        make(refused)


def test_a_value_that_nests_too_deep_is_refused_in_one_line() -> None:
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(EscapeError, match="nests too deep"):
        value(deep)


def test_collections_are_one_item_a_line_and_sorted() -> None:
    assert value({"b": [1, -1, []], "a": {"x": None, "on": True}, "c": {}}) == (
        "{\n  a = {\n    on = true;\n    x = null;\n  };\n  b = [\n    1\n    (-1)\n    [ ]\n  ];\n  c = { };\n}"
    )
    assert array([]) == "[ ]"
    assert attributes({}) == "{ }"


def test_only_the_escaper_makes_nix_text() -> None:
    with pytest.raises(TypeError):
        NixExpr("1; evil", object())
    assert type(string("a") + "b") is str
