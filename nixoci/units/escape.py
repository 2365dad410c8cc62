"""Text for systemd and Quadlet, through one escaper.

A unit file takes `UnitText` only, so that forgetting to escape is an error and not an injection (systemd.syntax(7),
systemd.service(5) "Command lines", systemd.unit(5) "Specifiers").
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nixoci.container.characters import line, text
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


class UnitText(str):
    """Text that is escaped for its place in a unit file; only this module makes it."""

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
        """Append settings of the user; a list is one line for each of its values.

        Raises:
            ContainerError: A key or a value that would not stay on its line; the message starts with `option`.
        """
        for section, keys in sections.items():
            self.add_keys(f"{option}.{section}", section, keys)

    def add_keys(self, option: str, section: str, keys: dict[str, Any]) -> None:
        """Append the user's keys to a section; a list is one line for each of its values.

        Raises:
            ContainerError: A key or a value that would not stay on its line; the message starts with `option`.
        """
        for key, value in keys.items():
            if not _KEY.fullmatch(key):
                raise ContainerError(f"{option}: {key!r} is not a key of a unit file; use letters")
            for item in value if isinstance(value, list) else [value]:
                self.add(section, key, verbatim(f"{option}.{key}", item))

    def render(self) -> str:
        """Return the file's text.

        Raises:
            TypeError: A part of it is not `UnitText`.
        """
        parts = ["".join(f"# {_escaped(comment)}\n" for comment in self.comments)]
        for section, entries in self.sections.items():
            keys = "".join(f"{_escaped(key)}={_escaped(value)}\n" for key, value in entries)
            parts.append(f"[{_escaped(section)}]\n{keys}")
        return "\n".join(part for part in parts if part)


def expressible(option: str, value: str) -> str:
    """Return a value that systemd takes as text: no noncharacters of Unicode.

    Raises:
        ContainerError: It has one; the message starts with `option`.
    """
    if (found := _NONCHARACTER.search(text(option, value))) is not None:
        raise ContainerError(f"{option}: the noncharacter U+{ord(found[0]):04X}, which no unit can express; remove it")
    return value


def word(value: str) -> UnitText:
    """Escape one word of a list of words (`Environment=`): quotes if needed, C escapes, `%`."""
    if _PLAIN.fullmatch(value):
        return UnitText(value)
    return UnitText(f'"{expressible("unit file", value).translate(_ESCAPES).replace("%", "%%")}"')


def argument(value: str) -> UnitText:
    """Escape one argument of a command line (`ExecStart=`): like `word`, and `$`."""
    return UnitText(word(value).replace("$", "$$"))


def command(arguments: Iterable[str]) -> UnitText:
    """Return a command line."""
    return UnitText(" ".join(map(argument, arguments)))


def raw(option: str, value: str) -> UnitText:
    """Escape a value that systemd takes verbatim (`PIDFile=`, `What=`): only `%` is special.

    Raises:
        ContainerError: It would not stay on its line; the message starts with `option`.
    """
    return UnitText(line(option, value).replace("%", "%%"))


def raw_argument(option: str, value: str) -> UnitText:
    """Escape a value that Quadlet turns into one argument without unquoting (`Volume=`): like `raw`, and `$`."""
    return UnitText(raw(option, value).replace("$", "$$"))


def quadlet_argument(option: str, value: str) -> UnitText:
    """Escape a word that Quadlet unquotes and passes to podman as one argument (`Exec=`, `Environment=`).

    Raises:
        ContainerError: Quadlet cannot pass it on; the message starts with `option`.
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
    """Quote a setting as one word that Quadlet unquotes: its specifiers and variables are left to systemd.

    Raises:
        ContainerError: Quadlet cannot pass it on; the message starts with `option`.
    """
    if "\x80" in value:
        raise ContainerError(f"{option}: Quadlet cannot express the character U+0080; leave it out")
    if _PLAIN.fullmatch(value):
        return UnitText(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return UnitText(f'"{escaped}"')


def literal(value: str) -> UnitText:
    """Return text that needs no escape: checked names, numbers, constants of the calling code."""
    return UnitText(value)


def _escaped(value: object) -> UnitText:
    if not isinstance(value, UnitText):
        raise TypeError(f"not escaped for a unit file: {value!r}")
    return value
