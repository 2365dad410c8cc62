"""A value of a Compose file that knows its place, and typed readers of it."""

from dataclasses import dataclass
from pathlib import Path

from nixoci.document import show
from nixoci.errors import ComposeError

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line of a file; `directory` is the base of the file's relative paths."""

    file: str
    line: int
    directory: Path

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A value and its place. `tag` is Compose's `!reset` or `!override`, else empty."""

    value: "Scalar | list[Node] | dict[str, Node]"
    place: Place
    tag: str = ""

    def error(self, message: str) -> ComposeError:
        """Return an error about this value, whose characters may be any."""
        line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)
        return ComposeError(f"{self.place}: {line}")

    def checked(self, text: str) -> str:
        """Return a text for this value, which a variable may have changed.

        Raises:
            ComposeError: It is not Unicode text, or has the character NUL, which no program can be given.
        """
        if "\0" in text:
            raise self.error(f"{text[:40]!r} has a NUL character; remove it")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self.error(f"{text[:40]!r} is not UTF-8; write other characters") from error
        return text

    @property
    def is_scalar(self) -> bool:
        """True for text, a number, true, false or nothing."""
        return not isinstance(self.value, list | dict)

    def items(self, what: str) -> "dict[str, Node]":
        """Return the entries of a mapping; of nothing, none."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.error(f"{what}: expected a mapping, got {self.shown()}")
        return self.value

    def sequence(self, what: str) -> "list[Node]":
        """Return the items of a list; of nothing, none."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.error(f"{what}: expected a list, got {self.shown()}")
        return self.value

    def one_or_more(self, what: str) -> "list[Node]":
        """Return the items of a list, or a single value as a list."""
        return [self] if self.is_scalar and self.value is not None else self.sequence(what)

    def text(self, what: str) -> str:
        """Return the text of a scalar; a number or a truth value is written as in YAML."""
        match self.value:
            case str():
                return self.value
            case bool():
                return "true" if self.value else "false"
            case int() | float():
                return str(self.value)
        raise self.error(f"{what}: expected text, got {self.shown()}")

    def number(self, what: str) -> int:
        """Return a whole number, which may be written as text."""
        try:
            return int(self.text(what))
        except ValueError as error:
            raise self.error(f"{what}: expected a whole number, got {self.shown()}") from error

    def truth(self, what: str) -> bool:
        """Return true or false, which may be written as text."""
        match self.text(what).lower():
            case "true" | "yes" | "on" | "1" | "y":
                return True
            case "false" | "no" | "off" | "0" | "n":
                return False
        raise self.error(f"{what}: expected true or false, got {self.shown()}")

    def pairs(self, what: str, *, separators: str = "=") -> "dict[str, Node]":
        """Return a mapping that may be written as a list of `NAME=VALUE`; the value of a bare NAME is None."""
        if not isinstance(self.value, list):
            return self.items(what)
        found = {}
        for item in self.value:
            text = item.text(what)
            at = min((text.index(each) for each in separators if each in text), default=len(text))
            value = text[at + 1 :] if at < len(text) else None
            found[text[:at]] = Node(value=value, place=item.place)
        return found

    def shown(self) -> str:
        """Return the value as errors show it."""
        if isinstance(self.value, list | dict):
            return "a list" if isinstance(self.value, list) else "a mapping"
        return show(self.value)
