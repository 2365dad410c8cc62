from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from nixoci.nix_language.escape import string
from nixoci.nix_language.render import environment


def render(template: str, **values: object) -> str:
    return environment().from_string(template).render(values)


def test_escaped_values_are_put_out() -> None:
    assert render("x = {{ x }};\n", x=string("${y}")) == 'x = "\\${y}";\n'


@pytest.mark.parametrize("bare", ["text", 1, True, None, ["a"]])
def test_what_was_not_escaped_is_refused(bare: object) -> None:
    with pytest.raises(TypeError, match="did not make"):
        render("x = {{ x }};", x=bare)


def test_a_changed_expression_is_not_escaped_any_more() -> None:
    with pytest.raises(TypeError, match="did not make"):
        render("x = {{ x | upper }};", x=string("a"))


def test_an_undefined_value_is_named() -> None:
    with pytest.raises(UndefinedError, match="'missing' is undefined"):
        render("x = {{ missing }};")
