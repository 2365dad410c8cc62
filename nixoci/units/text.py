"""Text for systemd and Quadlet, through one escaper: what has not passed it cannot get into a unit file.

The template's `finalize` takes `UnitText` only, so that forgetting to escape is an error and not an injection
(systemd.syntax(7), systemd.service(5) "Command lines", systemd.unit(5) "Specifiers").
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, StrictUndefined

from nixoci.container.notation import line, text
from nixoci.errors import ContainerError

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_NONCHARACTER = re.compile(
    "[\ufdd0-\ufdef" + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17)) + "]"
)
_PLAIN = re.compile(r"[A-Za-z0-9_./-][A-Za-z0-9_./:=@,+-]*", re.ASCII)
_ESCAPES = {ord(char): f"\\x{ord(char):02x}" for char in map(chr, [*range(1, 32), 127])} | {
    ord("\\"): "\\\\",
    ord('"'): '\\"',
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}

TEMPLATE = """\
{% for comment in unit.comments %}
# {{ comment }}
{% endfor %}
{% for name, entries in unit.sections.items() %}

[{{ name }}]
{% for key, value in entries %}
{{ key }}={{ value }}
{% endfor %}
{% endfor %}
"""


class UnitText(str):
    """Text that is right where a unit file takes it; only this module makes it."""

    __slots__ = ()


@dataclass(slots=True)
class UnitFile:
    """A unit or Quadlet file: comments, then sections of keys in order."""

    name: str
    comments: list[UnitText] = field(default_factory=list)
    sections: dict[UnitText, list[tuple[UnitText, UnitText]]] = field(default_factory=dict)

    def add(self, section: str, key: str, *values: UnitText) -> None:
        """Append a key, once for each value; section and key are literals of the calling code."""
        self.sections.setdefault(UnitText(section), []).extend((UnitText(key), value) for value in values)

    def add_settings(self, option: str, sections: dict[str, dict[str, Any]]) -> None:
        """Append what is passed through; a list is one line for each of its values.

        Raises:
            ContainerError: A key or a value that would not stay on its line; the message starts with `option`.
        """
        for section, keys in sections.items():
            self.add_keys(f"{option}.{section}", section, keys)

    def add_keys(self, option: str, section: str, keys: dict[str, Any]) -> None:
        """Append keys that are passed through to a section; a list is one line for each of its values.

        Raises:
            ContainerError: A key or a value that would not stay on its line; the message starts with `option`.
        """
        for key, value in keys.items():
            if not _KEY.fullmatch(key):
                raise ContainerError(f"{option}: {key!r} is not a key of a unit file; use letters")
            for item in value if isinstance(value, list) else [value]:
                self.add(section, key, verbatim(f"{option}.{key}", item))

    def render(self) -> str:
        """Return the file's text."""
        return _ENVIRONMENT.from_string(TEMPLATE).render(unit=self).lstrip("\n")


def expressible(option: str, value: str) -> str:
    """Return a value that systemd takes as text, which Unicode's noncharacters are not.

    Raises:
        ContainerError: It is not; the message starts with `option`.
    """
    if (found := _NONCHARACTER.search(text(option, value))) is not None:
        raise ContainerError(f"{option}: the noncharacter U+{ord(found[0]):04X}, which no unit can express; remove it")
    return value


def word(value: str) -> UnitText:
    """Return one word of a list of words (`Environment=`): quoted where needed, C-escaped, specifiers off."""
    if _PLAIN.fullmatch(value):
        return UnitText(value)
    return UnitText(f'"{expressible("unit file", value).translate(_ESCAPES).replace("%", "%%")}"')


def argument(value: str) -> UnitText:
    """Return one argument of a command line (`ExecStart=`): as `word`, and variables off."""
    return UnitText(word(value).replace("$", "$$"))


def command(arguments: Iterable[str], *, prefix: str = "") -> UnitText:
    """Return a command line; `prefix` is of systemd's (`-`: a failure does not count)."""
    return UnitText(prefix + " ".join(map(argument, arguments)))


def raw(option: str, value: str) -> UnitText:
    """Return a value that is not unquoted (`PIDFile=`, `What=`): specifiers off.

    Raises:
        ContainerError: It would not stay on its line; the message starts with `option`.
    """
    return UnitText(line(option, value).replace("%", "%%"))


def raw_argument(option: str, value: str) -> UnitText:
    """Return a value that Quadlet makes one argument as it is (`Volume=`): as `raw`, and variables off."""
    return UnitText(raw(option, value).replace("$", "$$"))


def quadlet_argument(option: str, value: str) -> UnitText:
    """Return a word that Quadlet unquotes and makes one argument of podman (`Exec=`, `Environment=`).

    Raises:
        ContainerError: Quadlet does not carry it over; the message starts with `option`.
    """
    if value in {"", ";"}:  # an empty word ends the list, a lone semicolon the command
        raise ContainerError(f"{option}: Quadlet cannot express {value!r}; use the bundle backend")
    if "\x80" in value:
        raise ContainerError(f"{option}: Quadlet cannot express the character U+0080; use the bundle backend")
    return argument(expressible(option, value))


def verbatim(option: str, value: Any) -> UnitText:
    """Return a setting as the user wrote it: text, a number, true or false.

    Raises:
        ContainerError: Of another type, or not one line.
    """
    if isinstance(value, bool):
        return UnitText("true" if value else "false")
    if not isinstance(value, str | int | float):
        raise ContainerError(f"{option}: expected text, a number, true, false or a list of these, got {value!r}")
    written = expressible(option, str(value))
    if "\n" in written or "\r" in written or written.endswith("\\"):
        raise ContainerError(f"{option}: more than one line; write a line break as \\n, or use a list")
    return UnitText(written)


def verbatim_argument(option: str, value: str) -> UnitText:
    """Return a setting as one word that Quadlet unquotes: specifiers and variables are left to systemd.

    Raises:
        ContainerError: Quadlet does not carry it over; the message starts with `option`.
    """
    if "\x80" in value:
        raise ContainerError(f"{option}: Quadlet cannot express the character U+0080; leave it out")
    if _PLAIN.fullmatch(value):
        return UnitText(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return UnitText(f'"{escaped}"')


def literal(value: str) -> UnitText:
    """Return text that the calling code itself wrote: names that were checked, numbers, fixed words."""
    return UnitText(value)


def _finalize(value: object) -> object:
    if not isinstance(value, UnitText):
        raise TypeError(f"not escaped for a unit file: {value!r}")
    return value


_ENVIRONMENT = Environment(  # noqa: S701 - units are not HTML
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=_finalize
)
