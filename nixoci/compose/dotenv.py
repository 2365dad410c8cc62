"""Files with variables, as Compose reads them (`.env`, `--env-file`, `env_file`)."""

import re
from collections.abc import Mapping
from pathlib import Path

from nixoci.compose.interpolate import substitute
from nixoci.errors import ComposeError

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*(?:[=:]\s*(.*))?", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


def read_dotenv(file: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Read a file of `NAME=VALUE` lines; values may use variables, also those of earlier lines.

    Args:
        file: The file.
        variables: Variables for its values, which have precedence over those of the file.

    Raises:
        ComposeError: A line is not of this form; the message starts with the file and the line.
        OSError: The file cannot be read.
    """
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ComposeError(f"{file}: not UTF-8; write it in UTF-8") from error
    return parse_dotenv(text, str(file), variables)


def parse_dotenv(text: str, file: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Read the text of such a file; like `read_dotenv`."""
    found: dict[str, str] = {}
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    at = 0
    while at < len(lines):
        number, line = at + 1, lines[at]
        at += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ComposeError(f"{file}:{number}: {line[:40]!r} is not a variable; expected NAME=VALUE")
        name, value = match[1], match[2]
        if value is None:
            if name in variables:
                found[name] = variables[name]
            continue
        quote = value[:1]
        if quote in {'"', "'"}:
            if _closing_quote(value) < 0:
                value = "\n".join((value, *lines[at:]))
            end = _closing_quote(value)
            if end < 0:
                raise ComposeError(f"{file}:{number}: the value of {name} has a quote that is not closed; close it")
            at += value.count("\n", 0, end)
            value = value[1:end]
        else:
            value = re.split(r"(?:^|\s)#", value, maxsplit=1)[0].rstrip()
        found[name] = value if quote == "'" else _expanded(value, quote, {**found, **variables}, f"{file}:{number}")
    return found


def podman_reads_alike(text: str) -> bool:
    """Return whether podman reads a file of variables as Compose does: it knows no quotes, variables and comments."""
    for line in (each.removesuffix("\r") for each in text.split("\n")):
        name, equals, value = line.partition("=")
        if not line.strip() or line.startswith("#"):
            continue
        value_is_plain = (
            value == value.strip() and value[:1] not in {'"', "'"} and "$" not in value and " #" not in value
        )
        if not equals or name != name.strip() or name.startswith("export ") or not value_is_plain:
            return False
    return True


def _closing_quote(value: str) -> int:
    """Return the place of the quote that closes the first one; -1 if it is not there."""
    at = 1
    while at < len(value):
        if value[at] == "\\" and value[0] == '"':
            at += 2
            continue
        if value[at] == value[0]:
            return at
        at += 1
    return -1


def _expanded(value: str, quote: str, variables: Mapping[str, str], place: str) -> str:
    if quote == '"':
        value = re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), value)
    try:
        return substitute(value, variables)
    except ComposeError as error:
        raise ComposeError(f"{place}: {error}") from error
