"""Variables in Compose files: `$NAME`, `${NAME:-default}` and the like (compose-spec, 12-interpolation.md)."""

import re
from collections.abc import Mapping
from dataclasses import replace

from nixoci.compose.node import Node
from nixoci.errors import ComposeError

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_OPERATOR = re.compile(r":?[-+?]")
_DEEPEST = 20


def interpolated(node: Node, variables: Mapping[str, str], missing: dict[str, Node]) -> Node:
    """Return a value with the variables of all its texts replaced; keys stay as they are.

    Args:
        node: The value.
        variables: Their values.
        missing: Gets the variables that are not set, each with the first text that has it.

    Raises:
        ComposeError: A text is not valid, or a variable with `?` is missing.
    """
    match node.value:
        case str():
            names: set[str] = set()
            try:
                text = substitute(node.value, variables, names)
            except ComposeError as error:
                raise node.error(str(error)) from error
            for name in names:
                missing.setdefault(name, node)
            return replace(node, value=node.checked(text))
        case list():
            return replace(node, value=[interpolated(item, variables, missing) for item in node.value])
        case dict():
            return replace(
                node, value={key: interpolated(item, variables, missing) for key, item in node.value.items()}
            )
    return node


def substitute(text: str, variables: Mapping[str, str], missing: set[str] | None = None, depth: int = 0) -> str:
    """Return a text with its variables replaced.

    >>> substitute("${IMAGE:-nginx}:$TAG, $$5", {"TAG": "1.27"})
    'nginx:1.27, $5'

    Raises:
        ComposeError: Not a valid text, or a variable with `?` is missing.
    """
    found: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        found.append(text[at:dollar])
        if text.startswith("$$", dollar):
            found.append("$")
            at = dollar + 2
        elif text.startswith("${", dollar):
            end = _closing(text, dollar)
            found.append(_braced(text[dollar + 2 : end], variables, missing, depth))
            at = end + 1
        elif (name := _NAME.match(text, dollar + 1)) is not None:
            found.append(_value(name.group(), variables, missing))
            at = name.end()
        else:
            raise ComposeError(f"{text[:60]!r}: a $ without a name; write $$ for the character")
    return "".join((*found, text[at:]))


def _closing(text: str, start: int) -> int:
    """Return the place of the brace that closes the one after `start`; those of variables inside are skipped."""
    depth = 0
    at = start
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 2
            continue
        if text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    raise ComposeError(f"{text[:60]!r}: a variable's brace is not closed; add a }}")


def _braced(inside: str, variables: Mapping[str, str], missing: set[str] | None, depth: int) -> str:
    name = _NAME.match(inside)
    if name is None or depth > _DEEPEST:
        raise ComposeError(f"{'${' + inside[:60] + '}'!r}: not a variable; expected ${{NAME}} or ${{NAME:-default}}")
    rest = inside[name.end() :]
    if not rest:
        return _value(name.group(), variables, missing)
    operator = _OPERATOR.match(rest)
    if operator is None:
        raise ComposeError(f"{'${' + inside[:60] + '}'!r}: not a variable; expected ${{NAME}} or ${{NAME:-default}}")
    other = rest[operator.end() :]
    value = variables.get(name.group())
    there = bool(value) if operator.group().startswith(":") else value is not None
    match operator.group()[-1], there:
        case ("-", False) | ("+", True):
            return substitute(other, variables, missing, depth + 1)
        case ("?", False):
            reason = substitute(other, variables, missing, depth + 1) or "it is required"
            raise ComposeError(f"the variable {name.group()} is not set: {reason}; set it, or use --env-file")
        case ("+", False):
            return ""
    return value or ""


def _value(name: str, variables: Mapping[str, str], missing: set[str] | None) -> str:
    if name not in variables and missing is not None:
        missing.add(name)
    return variables.get(name, "")
