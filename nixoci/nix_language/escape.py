"""The one way from data to Nix text: every value becomes a `NixExpr` here, and templates accept nothing else.

The layout is nixfmt's (RFC 166): two spaces, one item a line, keys sorted. Text stays raw UTF-8. The escapes are those
of Nix's lexer (Nix manual, String literal); JSON has escapes that Nix does not know.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Self

from nixoci.errors import EscapeError

_BARE_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_'-]*")
_BARE_PATH = re.compile(r"[a-zA-Z0-9._+-]+(/[a-zA-Z0-9._+-]+)*")
_KEYWORDS = frozenset({"assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with"})
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_LARGEST = 2**63 - 1
_KEY = object()


class NixExpr(str):
    """The text of exactly one Nix expression; only this module makes it."""

    __slots__ = ()

    def __new__(cls, text: str, key: object) -> Self:
        """Refuse a caller without this module's key."""
        if key is not _KEY:
            raise TypeError("NixExpr: only the functions of nixoci.nix_language.escape make Nix text")
        return super().__new__(cls, text)

    def indented(self, spaces: int) -> "NixExpr":
        """Return the expression with all lines but the first indented by `spaces`; no literal spans lines."""
        return _expr(
            "\n".join(" " * spaces + line if line and number else line for number, line in enumerate(self.split("\n")))
        )


def _expr(text: str) -> NixExpr:
    return NixExpr(text, _KEY)


def trusted(text: str) -> NixExpr:
    """Return an expression that comes with nixoci, as it is; never call it with anything that a user wrote."""
    return _expr(text)


def string(text: str) -> NixExpr:
    r"""Return a string literal.

    >>> print(string('say "${hi}"'))
    "say \"\${hi}\""

    Raises:
        EscapeError: NUL, which Nix strings cannot hold, or a surrogate, which UTF-8 cannot.
    """
    if "\0" in text:
        raise EscapeError(f"{text[:60]!r}: a Nix string cannot hold the character NUL")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EscapeError(f"{text[:60]!r}: not Unicode text: {error.reason}") from error
    return _expr('"' + text.translate(_ESCAPES).replace("${", "\\${") + '"')


def attribute_name(name: str) -> NixExpr:
    """Return an attribute name, without quotes if Nix allows that."""
    return _expr(name) if _BARE_NAME.fullmatch(name) and name not in _KEYWORDS else string(name)


def path(relative: PurePosixPath) -> NixExpr:
    """Return a path relative to the file that holds it, as a literal if its characters allow that.

    Raises:
        EscapeError: The path is absolute, or `string` refuses it.
    """
    if relative.is_absolute():
        raise EscapeError(f"{relative}: an absolute path; a generated file needs paths relative to itself")
    text = str(relative)
    if _BARE_PATH.fullmatch(text):
        return _expr(text if text.startswith("../") else f"./{text}")
    return _expr(f"(./. + {string(f'/{text}')})")


def boolean(value: bool) -> NixExpr:  # noqa: FBT001 - the value itself
    """Return `true` or `false`."""
    return _expr("true" if value else "false")


def integer(value: int) -> NixExpr:
    """Return an integer literal.

    Raises:
        EscapeError: Nix integers have 64 bits.
    """
    if not -_LARGEST <= value <= _LARGEST:
        raise EscapeError(f"{value}: too large for a Nix integer; the limit is {_LARGEST}")
    return _expr(str(value))


def real(value: float) -> NixExpr:
    """Return a float literal, which in Nix always has a dot.

    Raises:
        EscapeError: Infinite or not a number.
    """
    if not math.isfinite(value):
        raise EscapeError(f"{value}: Nix has no literal for this number")
    mantissa, e, exponent = repr(value).partition("e")
    return _expr((mantissa if "." in mantissa else f"{mantissa}.0") + e + exponent)


def null() -> NixExpr:
    """Return `null`."""
    return _expr("null")


def array(items: Iterable[NixExpr]) -> NixExpr:
    """Return a list, one item a line."""
    lines = [f"  {_element(item).indented(2)}\n" for item in items]
    return _expr(f"[\n{''.join(lines)}]" if lines else "[ ]")


def _element(item: NixExpr) -> NixExpr:
    """Return an expression as an element of a list, where a bare sign would be an operator."""
    return _expr(f"({item})") if item.startswith("-") else item


def attributes(items: Mapping[str, NixExpr]) -> NixExpr:
    """Return an attribute set, keys sorted, one a line."""
    lines = [f"  {attribute_name(name)} = {items[name].indented(2)};\n" for name in sorted(items)]
    return _expr(f"{{\n{''.join(lines)}}}" if lines else "{ }")


def value(data: Any) -> NixExpr:
    """Return the expression of a JSON value.

    >>> print(value({"ports": [80, -1], "user": None}))
    {
      ports = [
        80
        (-1)
      ];
      user = null;
    }

    Raises:
        EscapeError: Nix has no literal for a part of it, or it nests too deep.
    """
    try:
        return _value(data)
    except RecursionError as error:
        raise EscapeError("a JSON value nests too deep to be written as Nix") from error


def _value(data: Any) -> NixExpr:  # noqa: PLR0911 - one return for each kind of JSON value
    match data:
        case None:
            return null()
        case bool():
            return boolean(data)
        case int():
            return integer(data)
        case float():
            return real(data)
        case str():
            return string(data)
        case list():
            return array(map(_value, data))
        case dict():
            return attributes({name: _value(item) for name, item in data.items()})
    raise EscapeError(f"{data!r}: not a JSON value")
